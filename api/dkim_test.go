package api_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
)

// TestDKIMKeysAreWrittenNeverRead: a key comes in by PUT, stays when it is left out, and no answer shows it; the record to publish is shown.
func TestDKIMKeysAreWrittenNeverRead(t *testing.T) {
	w := newWorld(t)
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	quoted, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	secret := base64.StdEncoding.EncodeToString(der)
	const begin = `{"channel":"email","url":"smtp://mail.example.org","from":"a@b.example"`
	value := base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
	play(t, w, []step{
		{call: "PUT /v1/providers/mail", body: begin + `,"dkim":{"domain":"b.example","selector":"s1","key":` + string(quoted) + `}}`, status: 201,
			has: `"dkim":{"domain":"b.example","selector":"s1","record":"s1._domainkey.b.example","value":"v=DKIM1; k=ed25519; p=` + value + `"}`, not: secret},
		{call: "PUT /v1/providers/mail", body: begin + `,"dkim":{"domain":"b.example","selector":"s2"}}`, status: 200, has: `"record":"s2._domainkey.b.example" ~ ` + value, not: secret},
		{call: "GET /v1/providers/mail", status: 200, has: value, not: secret},
		{call: "GET /v1/providers", status: 200, has: value, not: secret},
		{call: "PUT /v1/providers/other", body: begin + `,"dkim":{"domain":"b.example","selector":"s1"}}`, status: 422, has: `"pointer":"#/dkim" ~ openssl genrsa`},
		{call: "PUT /v1/providers/other", body: begin + `,"dkim":{"domain":"b","selector":"s1","key":` + string(quoted) + `}}`, status: 422, has: `"pointer":"#/dkim" ~ domain`, not: secret},
		{call: "PUT /v1/providers/other", body: begin + `,"dkim":{"selector":"s1"}}`, status: 422, has: `"pointer":"#/dkim/domain"`},
		{call: "PUT /v1/providers/mail", body: begin + `}`, status: 200, has: `"dkim":null`},
		{call: "PUT /v1/providers/mail", body: begin + `,"dkim":{"domain":"b.example","selector":"s2"}}`, status: 422, has: `key is missing`},
	})
}
