package esmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestReply(t *testing.T) {
	for _, c := range []struct {
		in             string
		code           int
		enhanced, text string
	}{
		{"250 OK\r\n", 250, "", "OK"},
		{"250\r\n", 250, "", ""},
		{"250 \r\n", 250, "", ""},
		{"250 2.0.0 Ok: queued as 4F\r\n", 250, "2.0.0", "Ok: queued as 4F"},
		{"550 5.1.1\r\n", 550, "5.1.1", ""},
		{"550-5.1.1 no such\r\n550 5.1.1 user\r\n", 550, "5.1.1", "no such user"},
		{"550 2.1.1 wrong class\r\n", 550, "", "2.1.1 wrong class"},
		{"550 5.1.1.1 no code\r\n", 550, "", "5.1.1.1 no code"},
		{"550 5.1111.1 no code\r\n", 550, "", "5.1111.1 no code"},
		{"450 4.2.0 a\x00b\x1bc\xff\r\n", 450, "4.2.0", "a b c\ufffd"},
		{"250-a\r\n250-\r\n250 b\r\n", 250, "", "a  b"},
		{"571 blocked\r\n", 571, "", "blocked"},
		{"550 " + strings.Repeat("é", 400) + "\r\n", 550, "", strings.Repeat("é", 250)},
	} {
		in := newReplies(strings.NewReader(c.in))
		r, err := in.read()
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if enhanced, text := r.words(); r.code != c.code || enhanced != c.enhanced || text != c.text {
			t.Errorf("%q: got %d %q %q", c.in, r.code, enhanced, text)
		}
	}
}

func TestReplyRefuses(t *testing.T) {
	for _, in := range []string{
		"\r\n", "OK\r\n", "25\r\n", "2500 x\r\n", "150 x\r\n", "650 x\r\n", "250 x\n", "250-a\r\n251 b\r\n", "250-a\r\n\r\n", "25a x\r\n", "250_x\r\n",
		" 250 x\r\n", "250 a\rb\r\n", "HTTP/1.1 200 OK\r\n",
		"250 " + strings.Repeat("x", maxReplyLine) + "\r\n",
		strings.Repeat("250-"+strings.Repeat("x", 500)+"\r\n", 100) + "250 x\r\n",
	} {
		r := newReplies(strings.NewReader(in))
		if got, err := r.read(); !errors.Is(err, ErrProtocol) {
			t.Errorf("%.60q: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "250", "250-a\r\n", "250 a"} {
		r := newReplies(strings.NewReader(in))
		if _, err := r.read(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// What we accept, net/textproto accepts, and reads the same; the text that comes out is fit to store.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 OK\r\n", "250-a\r\n250 b\r\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "421 4.3.2 x\x00\r\n", "250\r\n", "250-a\r\n251 b\r\n", "354 \r\n250 x\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := newReplies(bytes.NewReader(b))
		r, err := in.read()
		if err != nil {
			return
		}
		enhanced, text := r.words()
		if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Fatalf("%q gives the text %q", b, text)
		}
		if enhanced != "" && !bytes.HasPrefix(r.text, []byte(enhanced)) {
			t.Fatalf("%q gives the enhanced code %q", b, enhanced)
		}
		// textproto wants a space after the code even where nothing follows.
		theirs := bytes.Clone(b)
		if len(theirs) >= 5 && theirs[3] == '\r' {
			theirs = append([]byte(string(theirs[:3])+" "), theirs[3:]...)
		} else if bytes.HasSuffix(r.text, []byte{'\n'}) || bytes.Contains(b, []byte("\r\n"+string(b[:3])+"\r\n")) {
			return
		}
		code, message, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(theirs))).ReadResponse(0)
		if err != nil {
			t.Fatalf("textproto refuses %q: %v", b, err)
		}
		if code != r.code || message != string(r.text) {
			t.Fatalf("%q: textproto reads %d %q, we %d %q", b, code, message, r.code, r.text)
		}
	})
}

// What leaves as a body is what a server reads back, whatever was in it.
func FuzzStuffed(f *testing.F) {
	for _, s := range []string{"", ".", "a", "a\r\n", ".a\r\n..b\r\n", "a\n.b", "a\r.b\r\r\n", "\r\n.\r\n", "a\n.\nMAIL", "\r", "\n", ".\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		out := appendStuffed([]byte("x"), body)
		if out[0] != 'x' {
			t.Fatal("what was there before is gone")
		}
		out = out[1:]
		if len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Fatalf("%q leaves as %q", body, out)
		}
		if bare := bytes.ReplaceAll(out, []byte("\r\n"), nil); bytes.ContainsAny(bare, "\r\n") {
			t.Fatalf("%q leaves with a bare line end: %q", body, out)
		}
		// Oracle: every kind of line end made CRLF, then net/textproto's writer.
		plain := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(body))
		if plain != "" && !strings.HasSuffix(plain, "\n") {
			plain += "\n"
		}
		var b bytes.Buffer
		w := textproto.NewWriter(bufio.NewWriter(&b)).DotWriter()
		_, _ = w.Write([]byte(plain))
		_ = w.Close()
		want := strings.TrimSuffix(b.String(), ".\r\n")
		if plain == "" {
			want = ""
		}
		if string(out) != want {
			t.Fatalf("%q leaves as %q, want %q", body, out, want)
		}
	})
}

// A canonical body is one that would leave as it is from any server's point of view.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"", "a\r\n", "a", ".a\r\n", "a\r\n.b\r\n", "a\n", "a\r", "\r\n", "a\r\r\n", "\n", "\xc3\xa9\r\n", "a\r\nb.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want := bytes.Equal(appendStuffed(nil, body), body) && !eightBit(body)
		if got := IsCanonical(body); got != want {
			t.Fatalf("%q: %v, want %v", body, got, want)
		}
	})
}

func TestEightBit(t *testing.T) {
	for n := range 70 {
		b := bytes.Repeat([]byte{'a'}, n)
		if eightBit(b) {
			t.Fatalf("%d ASCII bytes", n)
		}
		for i := range b {
			b[i] = 0x80
			if !eightBit(b) {
				t.Fatalf("byte %d of %d", i, n)
			}
			b[i] = 'a'
		}
	}
}
