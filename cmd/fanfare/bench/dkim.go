package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"fanfare/cmd/fanfare/spawn"
)

// mostSigned is how many mails are signed: enough to see what a signature costs, which is a hundred times the rest of a mail.
const mostSigned = 5_000

// signedMail sends to some of the people again, now signed with a key of RSA-2048; it gives how many mails, in what time, for how much
// processor, the mail server's included.
func (b *bench) signedMail(ctx context.Context, s *spawn.Server, k *spawn.Sink, n int) (signed int, seconds float64, used time.Duration, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, 0, 0, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return 0, 0, 0, err
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := mailProvider(ctx, s, k, map[string]any{"dkim": map[string]string{"domain": "fanfare.example", "selector": "bench", "key": text}}); err != nil {
		return 0, 0, 0, err
	}
	who := make([]string, min(n, mostSigned))
	for i := range who {
		who[i] = person(i)[0]
	}
	before, err := cpu(s.Process, k.Process)
	if err != nil {
		return 0, 0, 0, err
	}
	id, err := message(ctx, s, mail(map[string]any{"audience": map[string]any{"recipients": who}}))
	if err != nil {
		return 0, 0, 0, err
	}
	if seconds, err = completed(ctx, s, id, 10*time.Minute); err != nil {
		return 0, 0, 0, err
	}
	after, err := cpu(s.Process, k.Process)
	if err != nil {
		return 0, 0, 0, err
	}
	return len(who), seconds, after - before, b.wereSigned(ctx, k)
}

// wereSigned sees to it that the figure is of what it says.
func (b *bench) wereSigned(ctx context.Context, k *spawn.Sink) error {
	kept, err := k.Messages(ctx, 1)
	if err == nil && (len(kept) != 1 || len(kept[0].Raw) < 14 || kept[0].Raw[:14] != "DKIM-Signature") {
		err = fmt.Errorf("the last of %d mails is not signed", len(kept))
	}
	return err
}
