package mailbody

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"

	"fanfare/merge"
)

// parsed is a message as the standard library reads it.
type parsed struct {
	header mail.Header
	kinds  []string
	bodies map[string]string // by media type, line ends as \n
}

func parse(t *testing.T, raw []byte) parsed {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in\n%q", err, raw)
	}
	p := parsed{header: m.Header, bodies: map[string]string{}}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "multipart/alternative" {
		if cte := m.Header.Get("Content-Transfer-Encoding"); cte != "quoted-printable" {
			t.Fatalf("encoding %q", cte)
		}
		p.add(t, kind, quotedprintable.NewReader(m.Body))
		return p
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := r.NextPart() // decodes quoted-printable
		if err == io.EOF {
			return p
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, raw)
		}
		kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || !strings.EqualFold(params["charset"], "utf-8") {
			t.Fatalf("part of %q %v: %v", kind, params, err)
		}
		p.add(t, kind, part)
	}
}

func (p *parsed) add(t *testing.T, kind string, r io.Reader) {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	p.kinds = append(p.kinds, kind)
	p.bodies[kind] = strings.ReplaceAll(string(b), "\r\n", "\n")
}

func (p *parsed) decoded(t *testing.T, name string) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(p.header.Get(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkLines checks what every message promises of its bytes.
func checkLines(t *testing.T, raw []byte) {
	t.Helper()
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		t.Fatalf("the message does not end with a line end: %q", raw)
	}
	inBody := false
	for line := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		inBody = inBody || line == ""
		if strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("a bare line end or NUL in %q", line)
		}
		if len(line) > 998 || inBody && len(line) > 76 {
			t.Fatalf("a line of %d characters: %q", len(line), line)
		}
		if strings.HasPrefix(line, ".") {
			t.Fatalf("a line begins with a dot: %q", line)
		}
		if inBody && (strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t")) {
			t.Fatalf("white space at the end of %q", line)
		}
		for i := range len(line) {
			if line[i] >= 0x80 {
				t.Fatalf("not ASCII: %q", line)
			}
		}
	}
}

// plainSink is the plain rendering: each piece with \n as its line end, and U+FFFD for each byte that is no UTF-8.
type plainSink struct {
	t   *merge.Template
	out strings.Builder
}

func normal(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(string([]rune(s)), "\r\n", "\n"), "\r", "\n")
}

func (p *plainSink) Literal(id int) { p.out.WriteString(normal(p.t.Literals()[id])) }
func (p *plainSink) Value(b []byte) { p.out.WriteString(normal(string(b))) }

// plainly renders a template without any mail around it.
func plainly(t *testing.T, src string, part merge.Part, vars merge.Vars) (string, error) {
	t.Helper()
	if part != merge.Header {
		src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	}
	tpl, err := merge.Compile(src, merge.Options{Part: part})
	if err != nil {
		t.Fatal(err)
	}
	sink := &plainSink{t: tpl}
	err = tpl.RenderTo(sink, vars, merge.Limits{})
	return sink.out.String(), err
}
