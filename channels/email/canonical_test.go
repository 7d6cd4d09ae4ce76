package email

import (
	"testing"

	"fanfare"
	"fanfare/esmtp"
)

// FuzzRenderedIsCanonical: what is made for an address of ASCII leaves unread, so it must be what DATA wants, whatever the content and the
// person say.
func FuzzRenderedIsCanonical(f *testing.F) {
	for _, s := range []string{"Ada", ".", "\n.\n", "a\r\n.\r\nMAIL FROM:<x@y.example>", "北京", "\xff", "\r", " .", "=\n.", "x\t"} {
		f.Add(s, s, "{{ a }}"+s, s+"{{ a }}\n.{{ a }}")
		f.Add(".{{ a }}", s, s, "")
		f.Add(s, s, "", s)
	}
	f.Fuzz(func(t *testing.T, subject, a, text, html string) {
		m := testMessage(fanfare.Content{Subject: subject, Text: text, HTML: html, Headers: map[string]string{"X-A": "{{ a }}", "X-B": text}, ReplyTo: `"{{ a }}" <help@example.org>`})
		c, err := testChannel(fanfare.Provider{}).Compile(m)
		if err != nil {
			return
		}
		raw, err := c.Render(nil, outgoing(m, &fanfare.Recipient{ExternalID: a, Email: "ada@example.org", Attributes: map[string]any{"a": a}}))
		if err != nil {
			return
		}
		if !esmtp.IsCanonical(raw) {
			t.Fatalf("%q", raw)
		}
	})
}
