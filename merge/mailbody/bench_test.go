package mailbody

import (
	"strings"
	"testing"

	"fanfare/merge"
)

// BenchmarkSkeleton5kB is one recipient's message: 5 kB of HTML with a text part and five merge tags.
func BenchmarkSkeleton5kB(b *testing.B) {
	paragraph := "<p style=\"margin:0 0 16px\">The quick brown fox jumps over the lazy dog, again and again, until the page is full of it.</p>\n"
	html := "<html><body><h1>Hello {{ first_name }}</h1>\n" + strings.Repeat(paragraph, 20) + "<p>{{ city }}: {{ points }} points</p>\n" + strings.Repeat(paragraph, 20) + "<a href=\"{{ unsubscribe_url }}\">leave</a></body></html>\n"
	text := "Hello {{ first_name }},\n\nyou have {{ points }} points.\n"
	for _, bench := range []struct{ name, text, subject string }{{"html", "", "News for {{ first_name }}"}, {"text and html", text, "News for {{ first_name }}"}, {"chinese subject", "", "给{{ first_name }}的消息，请查收"}} {
		b.Run(bench.name, func(b *testing.B) {
			s, err := Compile(Content{Subject: bench.subject, Text: bench.text, HTML: html, From: "News <news@example.com>"}, Options{Message: "m1"})
			if err != nil {
				b.Fatal(err)
			}
			env := testEnvelope(&merge.Fields{Attributes: map[string]any{"first_name": "Ada", "city": "London & more", "points": 120.0}, UnsubscribeURL: "https://example.org/u/t0k"})
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				if dst, err = s.Append(dst[:0], env); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}
