package mailbody

import (
	"errors"
	"net/mail"
	"strings"
	"testing"

	"fanfare/merge"
)

// FuzzMIME splices hostile values into a hostile template: what the standard library reads is the plain rendering, the headers are
// those of the skeleton, and the lines keep their lengths.
func FuzzMIME(f *testing.F) {
	for _, s := range []string{"Ada", "a\r\nBcc: x@y.example\r\n\r\nbody", "北京", "\xff\xfe", "=?utf-8?q?a?=", "--=_\r\n", " \t", ".\r\n.\r\n", strings.Repeat("long ", 50), strings.Repeat("长", 60), "</p><script>", "a\u2028b\x00\x7f\u0085"} {
		f.Add("Dear {{ a }},\n.{{ b }}\n", s, "x "+s)
		f.Add("{% if a %}{{ a }} {% endif %}\n{{ b }}{{ a }} \t\r\n", s, s)
		f.Add(s+" {{ b }}", s, ".")
	}
	f.Fuzz(func(t *testing.T, src, a, b string) {
		vars := merge.Map{"a": a, "b": b}
		c := Content{Subject: "S {{ a }} é {{ b }}", Text: src + "\n.", HTML: src + "{{ a }}", From: "{{ a }} <news@example.com>", ReplyTo: "help@example.com", Headers: map[string]string{"X-A": "{{ a }}{{ b }}", "X-B": src + "b"}}
		s, err := Compile(c, Options{Message: "m"})
		if err != nil {
			var field *FieldError
			var syntax *merge.SyntaxError
			if !errors.As(err, &field) || !errors.As(err, &syntax) {
				t.Fatal(err)
			}
			return
		}
		raw, err := s.Append(nil, testEnvelope(vars))
		if err != nil {
			if !errors.Is(err, merge.ErrMissing) && !errors.Is(err, merge.ErrTooManySteps) && !errors.Is(err, merge.ErrOutputTooLarge) {
				t.Fatal(err)
			}
			return
		}
		checkLines(t, raw)
		p := parse(t, raw)
		if len(p.kinds) != 2 {
			t.Fatalf("parts %q in\n%s", p.kinds, raw)
		}
		for kind, body := range map[string]struct {
			src  string
			part merge.Part
		}{"text/plain": {c.Text, merge.Text}, "text/html": {c.HTML, merge.HTML}} {
			if want, err := plainly(t, body.src, body.part, vars); err != nil || p.bodies[kind] != want {
				t.Fatalf("%s is %q\nwant %q, %v", kind, p.bodies[kind], want, err)
			}
		}
		checkHeaders(t, p, c, vars)
	})
}

func checkHeaders(t *testing.T, p parsed, c Content, vars merge.Vars) {
	t.Helper()
	count := 0
	for name, values := range p.header {
		if len(values) != 1 {
			t.Fatalf("%d times %s", len(values), name)
		}
		count++
	}
	want := 12 // From, Reply-To, Subject, To, Date, Message-ID, the unsubscribe pair, X-Fanfare-Message, MIME-Version, Content-Type, X-B
	for name, src := range map[string]string{"Subject": c.Subject, "X-A": c.Headers["X-A"], "X-B": c.Headers["X-B"]} {
		text, err := plainly(t, src, merge.Header, vars)
		if err != nil {
			t.Fatal(err)
		}
		if name == "X-A" && strings.TrimSpace(text) != "" {
			want++
		}
		if got := p.decoded(t, name); got != strings.TrimSpace(text) {
			t.Fatalf("%s is %q, want %q (%q)", name, got, text, p.header.Get(name))
		}
	}
	if count != want {
		t.Fatalf("%d headers, want %d: %v", count, want, p.header)
	}
	from, err := mail.ParseAddress(p.header.Get("From"))
	name, _ := plainly(t, "{{ a }}", merge.Header, vars)
	if err != nil || from.Address != "news@example.com" || from.Name != strings.TrimSpace(name) {
		t.Fatalf("From %q is %+v, %v", p.header.Get("From"), from, err)
	}
}
