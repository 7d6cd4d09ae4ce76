package mailbody

import (
	"bytes"
	"errors"
	"mime"
	"net/mail"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"fanfare/merge"

	"github.com/google/go-cmp/cmp"
	gomail "github.com/wneessen/go-mail"
)

func testEnvelope(vars merge.Vars) Envelope {
	return Envelope{To: "ada@example.org", Key: "k1", Date: time.Date(2026, 3, 9, 8, 5, 3, 0, time.UTC), Unsubscribe: "https://example.org/u/t0k", Vars: vars}
}

func make1(t *testing.T, c Content, o Options, env Envelope) []byte {
	t.Helper()
	s, err := Compile(c, o)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Append(nil, env)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestMessage(t *testing.T) {
	c := Content{Subject: "Hello {{ name }}", Text: "Dear {{ name }},\n.dot\n= é \n", HTML: "<p>Dear {{ name }}</p>", From: "News <news@example.com>", ReplyTo: "help@example.com",
		Headers: map[string]string{"X-B": "b {{ name }}", "X-A": "a", "X-None": "{% if no %}x{% endif %}"}}
	raw := make1(t, c, Options{Message: "m7"}, testEnvelope(merge.Map{"name": "Ada & Co"}))
	checkLines(t, raw)
	want := strings.ReplaceAll(`From: News <news@example.com>
Reply-To: help@example.com
Subject: Hello Ada & Co
X-A: a
X-B: b Ada & Co
To: ada@example.org
Date: Mon, 09 Mar 2026 08:05:03 +0000
Message-ID: <k1@example.com>
List-Unsubscribe: <https://example.org/u/t0k>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
X-Fanfare-Message: m7
MIME-Version: 1.0
Content-Type: multipart/alternative;
 boundary="BOUNDARY"

--BOUNDARY
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Dear Ada & Co,
=2Edot
=3D =C3=A9=20

--BOUNDARY
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Dear Ada &amp; Co</p>
--BOUNDARY--
`, "\n", "\r\n")
	i := bytes.Index(raw, []byte("=_"))
	boundary := string(raw[i : i+26])
	if diff := cmp.Diff(want, strings.ReplaceAll(string(raw), boundary, "BOUNDARY")); diff != "" {
		t.Error(diff)
	}
	if again := make1(t, c, Options{Message: "m7"}, testEnvelope(merge.Map{"name": "Ada & Co"})); !bytes.Equal(raw, again) {
		t.Error("not the same twice")
	}
}

func TestOnePart(t *testing.T) {
	for _, c := range []struct {
		content    Content
		kind, want string
	}{
		{Content{Text: "a\r\nb\rc"}, "text/plain", "a\nb\nc\n"},
		{Content{Text: "a\n"}, "text/plain", "a\n"},
		{Content{HTML: "<b>{{ name }}</b>"}, "text/html", "<b>&lt;&gt;</b>\n"},
		{Content{Text: "{% if no %}x{% endif %}"}, "text/plain", "\n"},
		{Content{Text: "a {{ name }} "}, "text/plain", "a <> \n"},
	} {
		c.content.From = "a@b.example"
		env := testEnvelope(merge.Map{"name": "<>"})
		env.Unsubscribe = ""
		raw := make1(t, c.content, Options{}, env)
		checkLines(t, raw)
		p := parse(t, raw)
		if p.bodies[c.kind] != c.want || len(p.kinds) != 1 {
			t.Errorf("%+v: %q", c.content, p.bodies)
		}
		for _, name := range []string{"List-Unsubscribe", "List-Unsubscribe-Post", "Subject", "X-Fanfare-Message"} {
			if _, ok := p.header[name]; ok {
				t.Errorf("%s is there", name)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("a long subject ", 20))
	for _, subject := range []string{"plain", "北京的秋天很漂亮，" + strings.Repeat("欢迎", 60), "Grüße aus Köln", "=?utf-8?q?fake?=", long, strings.Repeat("x", 300), strings.Repeat("y", 2000), "a  b   c", "é",
		strings.Repeat("mostly ascii ", 15) + "é", "emoji 👩‍👩‍👧‍👦 " + strings.Repeat("👍🏽", 30), "\u2028x\x00y"} {
		for _, src := range []string{subject, "{{ s }}"} { // both as a literal and as a value
			raw := make1(t, Content{Subject: src, Text: "x", From: "a@b.example"}, Options{}, testEnvelope(merge.Map{"s": subject}))
			checkLines(t, raw)
			p := parse(t, raw)
			want, _ := plainly(t, "{{ s }}", merge.Header, merge.Map{"s": subject})
			if got := p.decoded(t, "Subject"); got != strings.TrimSpace(want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
			for line := range strings.SplitSeq(string(raw), "\r\n") {
				for _, word := range strings.Fields(line) {
					if s, err := new(mime.WordDecoder).Decode(word); err == nil && (!utf8.ValidString(s) || len(word) > 75) {
						t.Errorf("an encoded word that is too long or breaks a character: %q", word)
					}
				}
				if len(line) > 76 && !strings.Contains(line, strings.Repeat("x", 300)) {
					t.Errorf("a long line: %q", line)
				}
			}
		}
	}
}

func TestMailboxes(t *testing.T) {
	vars := merge.Map{"name": "Ann \"X\" <evil@example.net>, b", "zh": "李雷", "mail": "x@y.example", "bad": "a@b.example, c@d.example", "long": strings.Repeat("long name ", 10)}
	for _, c := range []struct{ src, name, address string }{
		{"news@example.com", "", "news@example.com"},
		{"News, Inc. <news@example.com>", "", "-"},
		{`"News, Inc." <news@example.com>`, "News, Inc.", "news@example.com"},
		{"新闻 <news@example.com>", "新闻", "news@example.com"},
		{"=?utf-8?q?Gr=C3=BC=C3=9Fe?= <news@example.com>", "Grüße", "news@example.com"},
		{"{{ name }} <news@example.com>", `Ann "X" <evil@example.net>, b`, "news@example.com"},
		{`"{{ zh }}" <news@example.com>`, "李雷", "news@example.com"},
		{"{{ long }}<news@example.com>", strings.TrimSpace(strings.Repeat("long name ", 10)), "news@example.com"},
		{"{% if no %}x{% endif %} <news@example.com>", "", "news@example.com"},
		{"{{ zh }} <{{ mail }}>", "李雷", "x@y.example"},
		{"{{ mail }}", "", "x@y.example"},
		{"{{ bad }}", "", "!"},
		{"{{ name }} <{{ mail }}>", "", "!"},
		{"a@b@c", "", "-"}, {"", "", "-"}, {"a@b.example, c@d.example", "", "-"}, {"ü@b.example", "", "-"}, {"a@-b.example", "", "-"},
	} {
		s, err := Compile(Content{Text: "x", From: c.src}, Options{Domain: "d.example"})
		if c.address == "-" {
			if !errors.Is(err, ErrContent) {
				t.Errorf("%s: %v", c.src, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		raw, err := s.Append(nil, testEnvelope(vars))
		if c.address == "!" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", c.src, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		checkLines(t, raw)
		p := parse(t, raw)
		from, err := mail.ParseAddress(p.header.Get("From"))
		if err != nil || from.Name != c.name || from.Address != c.address {
			t.Errorf("%s: %v, %v", c.src, from, err)
		}
	}
}

func TestRefused(t *testing.T) {
	header := func(name string) Content {
		return Content{Text: "x", From: "a@b.example", Headers: map[string]string{name: "v"}}
	}
	for _, c := range []struct {
		content Content
		field   string
	}{
		{Content{From: "a@b.example"}, "text"},
		{Content{Text: "{{", From: "a@b.example"}, "text"},
		{Content{HTML: "{{ a | b }}", From: "a@b.example"}, "html"},
		{Content{Subject: "{% if %}", Text: "x", From: "a@b.example"}, "subject"},
		{Content{Text: "x", From: "{{ a }}"}, "from"},
		{Content{Text: "x", From: "a@b.example", ReplyTo: "?"}, "reply_to"},
		{header("bcc"), "headers.bcc"}, {header("Content-Type"), "headers.Content-Type"}, {header("X-Fanfare-Y"), "headers.X-Fanfare-Y"}, {header("a b"), "headers.a b"},
		{header(""), "headers."}, {header("X:"), "headers.X:"}, {header("X\r\nBcc"), "headers.X\r\nBcc"}, {header("ü"), "headers.ü"}, {header(strings.Repeat("x", 61)), "headers." + strings.Repeat("x", 61)},
		{Content{Text: "x", From: "a@b.example", Headers: map[string]string{"X-A": "1", "x-a": "2"}}, "headers.x-a"},
	} {
		_, err := Compile(c.content, Options{})
		var field *FieldError
		if !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%+v: %v", c.content, err)
		}
	}
}

func TestRecipientErrors(t *testing.T) {
	s, err := Compile(Content{Subject: "{{ s | default: 'x' }}", Text: "{{ name }}", From: "a@b.example"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := testEnvelope(merge.Map{"name": "x"})
	for field, change := range map[string]func(*Envelope){
		"to": func(e *Envelope) { e.To = "a@b.example\r\nBcc: c@d.example" }, "key": func(e *Envelope) { e.Key = "a>b" }, "date": func(e *Envelope) { e.Date = time.Time{} },
		"unsubscribe_url": func(e *Envelope) { e.Unsubscribe = "https://x/>\r\nX: y" }, "text": func(e *Envelope) { e.Vars = merge.Map{} },
	} {
		env := good
		change(&env)
		out, err := s.Append([]byte("kept"), env)
		var at *FieldError
		if !errors.As(err, &at) || at.Field != field || string(out) != "kept" {
			t.Errorf("%s: %q %v", field, out, err)
		}
		if field == "text" && !errors.Is(err, merge.ErrMissing) {
			t.Errorf("%v", err)
		}
		if (field == "to" || field == "key" || field == "unsubscribe_url") && !errors.Is(err, ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
	for _, to := range []string{"", "@", "a@", "@b", "a", ".a@b.example", "a.@b.example", "a..b@c.example", "a@b..c", "a b@c.example", "a@b_c.example", "ü@b.example", "a@ü.example", "a@x> SIZE=1 <b@x", strings.Repeat("a", 65) + "@b.example"} {
		env := good
		env.To = to
		if _, err := s.Append(nil, env); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", to, err)
		}
	}
	u, err := Compile(Content{Text: "x", From: "a@b.example"}, Options{UTF8Addresses: true})
	if err != nil {
		t.Fatal(err)
	}
	good.To = "用户@例子.example"
	if raw, err := u.Append(nil, good); err != nil || !bytes.Contains(raw, []byte("\r\nTo: 用户@例子.example\r\n")) {
		t.Errorf("%q %v", raw, err)
	}
	for _, to := range []string{"a\u2028b@c.example", "a\u00a0b@c.example", "\xff@b.example"} {
		good.To = to
		if _, err := u.Append(nil, good); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", to, err)
		}
	}
}

// Lines at every column around the limit: literals, values and line ends in every order keep their text and their lines short.
func TestSoftBreaks(t *testing.T) {
	for n := range 160 {
		for _, value := range []string{"v", "é漢", "a b ", " ", "x\n", "\n.", ".", "=\t", strings.Repeat("w", 80), "\t\n"} {
			src := strings.Repeat("a", n) + "{{ v | default: v2 }}" + strings.Repeat("é", n%20) + " {{ w }} \n.{{ w }}" + strings.Repeat("b", 75) + " {{ w }}\n" + strings.Repeat("c", n) + "\t\n"
			vars := merge.Map{"v": value, "v2": "..", "w": value + "!"}
			raw := make1(t, Content{Text: src, HTML: src, From: "a@b.example"}, Options{}, testEnvelope(vars))
			checkLines(t, raw)
			p := parse(t, raw)
			want, err := plainly(t, src, merge.Text, vars)
			if err != nil || p.bodies["text/plain"] != want {
				t.Fatalf("%d %q: %q\nwant %q %v", n, value, p.bodies["text/plain"], want, err)
			}
		}
	}
}

// The library that this package replaces reads and writes the same.
func TestLikeGoMail(t *testing.T) {
	for _, c := range []struct{ subject, text, html string }{
		{"Hello Ada", "Dear Ada,\nbye\n", "<p>Dear Ada</p>"},
		{"你好，世界！这是一个很长很长的主题，用来测试折行的行为是否正确", "多行\n文字 = ok \n.\n" + strings.Repeat("长", 200), "<p>" + strings.Repeat("x ", 300) + "é</p>"},
	} {
		m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
		if err := errors.Join(m.FromFormat("Grüße, Inc", "news@example.com"), m.To("ada@example.org")); err != nil {
			t.Fatal(err)
		}
		m.Subject(c.subject)
		m.SetBodyString(gomail.TypeTextPlain, c.text)
		m.AddAlternativeString(gomail.TypeTextHTML, c.html)
		var buf bytes.Buffer
		if _, err := m.WriteTo(&buf); err != nil {
			t.Fatal(err)
		}
		theirs := parse(t, buf.Bytes())
		ours := parse(t, make1(t, Content{Subject: "{{ s }}", Text: "{{ t }}", HTML: "{{ h | raw }}", From: `"Grüße, Inc" <news@example.com>`}, Options{},
			testEnvelope(merge.Map{"s": c.subject, "t": c.text, "h": c.html})))
		if diff := cmp.Diff(theirs.bodies, ours.bodies); diff != "" {
			t.Error(diff)
		}
		if a, b := theirs.decoded(t, "Subject"), ours.decoded(t, "Subject"); a != b {
			t.Errorf("%q and %q", a, b)
		}
		a, err1 := theirs.header.AddressList("From")
		b, err2 := ours.header.AddressList("From")
		if diff := cmp.Diff(a, b); diff != "" || err1 != nil || err2 != nil {
			t.Error(diff, err1, err2)
		}
	}
}

func TestPreviewAndPaths(t *testing.T) {
	s, err := Compile(Content{Subject: "S {{ a }}", Text: "T {{ b | default: 1 }}", HTML: "{{ c }}<", From: "{{ d }} <a@b.example>", Headers: map[string]string{"X-A": "{{ a }}"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Preview(merge.Map{"a": "A", "c": "<", "d": "D"})
	want := map[string]string{"subject": "S A", "text": "T 1", "html": "&lt;<", "from": "D <a@b.example>", "headers.X-A": "A"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, s.Variables()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "c", "d"}, s.Required()); diff != "" {
		t.Error(diff)
	}
}

// TestDateOfEach: the text of a date is kept for the next message, and only for one of the same second and zone.
func TestDateOfEach(t *testing.T) {
	s, err := Compile(Content{Subject: "s", Text: "t", From: "news@example.com"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 8, 0, 0, 999, time.UTC)
	for _, date := range []time.Time{at, at, at.Add(time.Second), at, at.In(time.FixedZone("", 3600)), at.In(time.FixedZone("", 7200))} {
		env := testEnvelope(nil)
		env.Date = date
		raw, err := s.Append(nil, env)
		if want := "\r\nDate: " + date.Format(time.RFC1123Z) + "\r\n"; err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%v, no %q in %q", err, want, raw)
		}
	}
}
