package email

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare"
)

// fiveKB is a newsletter of about 5 kB of HTML with a text beside it.
func fiveKB() fanfare.Content {
	html := "<html><body><h1>Hello {{ name }}</h1>\r\n"
	for i := 0; len(html) < 4900; i++ {
		html += fmt.Sprintf("<p>Offer %d for {{ city }}: a line of words that nobody reads to its end.</p>\r\n", i)
	}
	return fanfare.Content{Subject: "Hello {{ name }}", HTML: strings.Replace(strings.ReplaceAll(html, "{{ city }}", "Beijing"), "Beijing", "{{ city }}", 3) + "</body></html>"}
}

func benchItems(b *testing.B, n int) (fanfare.Compiled, []fanfare.Outgoing) {
	b.Helper()
	c := testChannel(fanfare.Provider{})
	m := testMessage(fiveKB())
	compiled, err := c.Compile(m)
	if err != nil {
		b.Fatal(err)
	}
	items := make([]fanfare.Outgoing, n)
	for i := range items {
		r := &fanfare.Recipient{ExternalID: fmt.Sprint("u", i), Email: fmt.Sprintf("r%d@example.com", i),
			Attributes: map[string]any{"name": fmt.Sprint("Name ", i), "city": "上海"}}
		items[i] = *outgoing(m, r)
		items[i].Date = time.Now()
	}
	return compiled, items
}

func BenchmarkRender(b *testing.B) {
	compiled, items := benchItems(b, 1000)
	var dst []byte
	var err error
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if dst, err = compiled.Render(dst[:0], &items[i%len(items)]); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(dst)))
}

// BenchmarkSend renders and sends over 32 connections to the sink that FANFARE_BENCH_SMTP names (host:port, as of fanfare sink), a
// process of its own, in chunks of 8.
func BenchmarkSend(b *testing.B) {
	addr := os.Getenv("FANFARE_BENCH_SMTP")
	if addr == "" {
		b.Skip("FANFARE_BENCH_SMTP names no sink: run fanfare sink beside it")
	}
	const connections, chunk = 32, 8
	compiled, items := benchItems(b, 1000)
	c := testChannel(fanfare.Provider{})
	work := make(chan int)
	var wg sync.WaitGroup
	for range connections {
		conn, err := c.Dial(b.Context(), fanfare.Provider{URL: "smtp://" + addr + "?starttls=off", From: news})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close() //nolint:errcheck // a benchmark's
			mine := make([]fanfare.Outgoing, chunk)
			bodies := make([][]byte, chunk)
			for first := range work {
				for i := range mine {
					mine[i] = items[(first+i)%len(items)]
					var err error
					bodies[i], err = compiled.Render(bodies[i][:0], &mine[i])
					if err != nil {
						b.Error(err)
					}
					mine[i].Rendered = bodies[i]
				}
				err := conn.Send(b.Context(), mine, always, func(_ int, a fanfare.SendAnswer) {
					if a.Kind != fanfare.SendOK {
						b.Errorf("%+v", a)
					}
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	began := time.Now()
	for i := 0; i < b.N; i += chunk {
		work <- i
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "mails/s")
}
