package sink

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// BareLoop sends n messages of the same prepared bytes (header and body, dots stuffed, ending in CRLF) over as many connections at
// once, pipelined as far as SMTP allows: body and last dot with the whole envelope of the next. Each goes to an address of its own and,
// where the bytes have a Message-ID, under one of its own, other ones in each run, so that the server's work is that of real messages;
// nothing else is made, checked or kept. Any refusal is an error.
func BareLoop(ctx context.Context, addr string, connections, n int, prepared []byte) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var left atomic.Int64
	left.Store(int64(n))
	conns := make([]net.Conn, connections)
	for i := range conns {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return 0, fmt.Errorf("bare loop: %w", err)
		}
		defer func() { _ = c.Close() }()
		conns[i] = c
	}
	start := time.Now()
	first := start.UnixMicro() % 1e12 // a mail takes longer than a microsecond, so runs do not overlap
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			b := bare{c: c, in: make([]byte, 4096), first: first}
			if err := b.run(&left, prepared); err != nil {
				cancel(fmt.Errorf("bare loop: %w", err))
			}
		})
	}
	wg.Wait()
	return time.Since(start), context.Cause(ctx)
}

type bare struct {
	c     net.Conn
	in    []byte
	first int64 // number
}

const bareEnvelope = "MAIL FROM:<bare@example.org>\r\nRCPT TO:<bare-000000000000@example.com>\r\nDATA\r\n"

func (b *bare) run(left *atomic.Int64, prepared []byte) error {
	if err := b.expect(1); err != nil {
		return err
	}
	if _, err := b.c.Write([]byte("EHLO bare.localhost\r\n")); err != nil {
		return err
	}
	if err := b.ehlo(); err != nil {
		return err
	}
	all := append(append(bytes.Clone(prepared), ".\r\n"...), bareEnvelope...)
	envelope := all[len(all)-len(bareEnvelope):]
	digits := envelope[bytes.IndexByte(envelope, '-')+1:][:12]
	id := idDigits(all[:len(prepared)])
	k := left.Add(-1)
	if k < 0 {
		return nil
	}
	number(digits, b.first+k)
	for out, answers := envelope, 3; ; out, answers = all, 4 {
		if answers == 4 {
			number(id, b.first+k)
			if k = left.Add(-1); k < 0 {
				out, answers = all[:len(all)-len(bareEnvelope)], 1
			} else {
				number(digits, b.first+k)
			}
		}
		if _, err := b.c.Write(out); err != nil {
			return err
		}
		if err := b.expect(answers); err != nil {
			return err
		}
		if answers == 1 {
			return nil
		}
	}
}

// idDigits are the first characters of the Message-ID; none where there is none that long.
func idDigits(mail []byte) []byte {
	const field = "\r\nMessage-ID: <"
	head, _, _ := bytes.Cut(mail, []byte("\r\n\r\n"))
	at := bytes.Index(head, []byte(field))
	if at < 0 {
		return nil
	}
	id := head[at+len(field):]
	if end := bytes.IndexByte(id, '@'); end < 12 {
		return nil
	}
	return id[:12]
}

// number writes the last digits of k.
func number(digits []byte, k int64) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + k%10)
		k /= 10
	}
}

// expect reads that many one-line answers, none of them a refusal.
func (b *bare) expect(answers int) error {
	atStart := true
	for answers > 0 {
		n, err := b.c.Read(b.in)
		if err != nil {
			return err
		}
		for in := b.in[:n]; len(in) > 0; {
			if atStart && in[0] != '2' && in[0] != '3' {
				return fmt.Errorf("refused: %q", in)
			}
			end := bytes.IndexByte(in, '\n')
			if atStart = end >= 0; !atStart {
				break
			}
			answers--
			in = in[end+1:]
		}
	}
	return nil
}

// ehlo reads the one answer of several lines.
func (b *bare) ehlo() error {
	var got []byte
	for {
		n, err := b.c.Read(b.in)
		if err != nil {
			return err
		}
		got = append(got, b.in[:n]...)
		last := got[bytes.LastIndexByte(bytes.TrimSuffix(got, []byte("\r\n")), '\n')+1:]
		if bytes.HasPrefix(last, []byte("250 ")) && bytes.HasSuffix(last, []byte("\n")) {
			return nil
		}
		if len(got) > 16<<10 {
			return fmt.Errorf("no end of the answer to EHLO: %q", got[:80])
		}
	}
}
