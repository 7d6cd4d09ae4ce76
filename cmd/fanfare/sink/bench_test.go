package sink_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fanfare/cmd/fanfare/sink"
	"fanfare/esmtp"
)

// mail is a message of the given size with CRLF line ends.
func mail(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: News <news@example.org>\r\nTo: u@example.com\r\nSubject: Hello\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\n" +
		"Message-ID: <0123456789abcdef0123456789abcdef@example.org>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/html; charset=utf-8\r\n\r\n")
	line := strings.Repeat("<p>word</p>", 6) + "\r\n"
	for b.Len() < size-len(line) {
		b.WriteString(line)
	}
	b.WriteString(strings.Repeat("x", max(size-b.Len()-2, 0)) + "\r\n")
	return b.Bytes()
}

const benchConnections = 32

// run starts a sink that ends with the test.
func run(t testing.TB, cfg sink.Config) *sink.Server {
	t.Helper()
	s, err := sink.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func BenchmarkBareLoop(b *testing.B) {
	for _, size := range []int{300, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := run(b, sink.Config{})
			prepared := mail(size)
			b.ResetTimer()
			took, err := sink.BareLoop(b.Context(), s.Addr(), benchConnections, b.N, prepared)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/took.Seconds(), "msg/s")
		})
	}
}

// BenchmarkClient sends in chunks of 8, as e-mail is journaled, and of 64.
func BenchmarkClient(b *testing.B) {
	for _, size := range []int{300, 5000} {
		for _, chunk := range []int{8, 64} {
			b.Run(fmt.Sprintf("%d/chunk=%d", size, chunk), func(b *testing.B) {
				s := run(b, sink.Config{})
				b.ResetTimer()
				b.ReportAllocs()
				clients(b, s.Addr(), mail(size), chunk)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

func clients(b *testing.B, addr string, body []byte, chunk int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range benchConnections {
		wg.Go(func() {
			c, err := esmtp.Dial(b.Context(), esmtp.Config{Addr: addr, StartTLS: esmtp.Off})
			if err != nil {
				b.Error(err)
				return
			}
			defer func() { _ = c.Quit(b.Context()) }()
			render := func(dst []byte) ([]byte, error) { return append(dst, body...), nil }
			for {
				var msgs []esmtp.Message
				for range chunk {
					k := left.Add(-1)
					if k < 0 {
						break
					}
					msgs = append(msgs, esmtp.Message{From: "news@example.org", To: fmt.Sprintf("bare-%012d@example.com", k), Render: render})
				}
				if len(msgs) == 0 {
					return
				}
				err := c.Send(b.Context(), msgs, func(int) bool { return true }, func(_ int, a esmtp.Answer) {
					if a.Kind != esmtp.Sent {
						b.Error(a)
					}
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
