package esmtp

import (
	"errors"
	"net/mail"
	"strings"
	"testing"
	"unicode"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in, wire, key string
		utf8          bool
	}{
		{"a@b", "a@b", "a@b", false},
		{"User.Name+tag@Example.COM", "User.Name+tag@Example.COM", "user.name+tag@example.com", false},
		{"!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~@x.example", false},
		{"a@1.2.3.example", "a@1.2.3.example", "a@1.2.3.example", false},
		{"a@bücher.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example", false},
		{"a@Bücher.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example", false},
		{"a@例子.中国", "a@xn--fsqu00a.xn--fiqs8s", "a@xn--fsqu00a.xn--fiqs8s", false},
		{"用户@例子.中国", "用户@xn--fsqu00a.xn--fiqs8s", "用户@xn--fsqu00a.xn--fiqs8s", true},
		{"Jose\u0301@x.example", "Jose\u0301@x.example", "jos\u00e9@x.example", true},
		{strings.Repeat("a", 64) + "@x.example", "", "", false},
	} {
		a, err := ParseAddress(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if c.wire == "" {
			c.wire, c.key = c.in, c.in
		}
		if a.String() != c.in || a.Wire() != c.wire || a.Key() != c.key || a.UTF8 != c.utf8 {
			t.Errorf("%q: got %q, %q, %q, %v", c.in, a.String(), a.Wire(), a.Key(), a.UTF8)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, in := range []string{
		"", "@", "a", "a@", "@b", "a@b@c", "a b@c", "a@b c", " a@b", "a@b ", "a@b\r\n", "a\x00@b", "a@b\x00", "a\t@b", "a@b\n.c",
		"a@x> SIZE=1 <b@x", "<a@b>", "A <a@b>", "a@b>", "a@b, c@d", "a@b;c@d", "a@b(c)", "(c)a@b", `"a"@b`, `"a b"@c`, `a\@b@c`,
		".a@b", "a.@b", "a..b@c", "a@.b", "a@b.", "a@b..c", "a@-b", "a@b-", "a@b.-c.d", "a@b_c", "a@[127.0.0.1]", "a@127.0.0.1",
		"a@b:25", "a@b/c", "a,b@c", "a:b@c", "a[b@c", "a@b%c", "route@here:a@b",
		strings.Repeat("a", 65) + "@b", "a@" + label + "a", "a@" + label + "." + label + "." + label + "." + label,
		"a\u00a0b@c", "a\u2028b@c", "a\u202eb@c", "a\u200bb@c", "a\u0085@c", "a\xff@c", "a@\xffc", "a@b\u3002c", "a@b\uff0ec", "a@b\u2044c",
		"a@\u2100c", "a@\u00adb", "a@xn--\u00fc", "用户@" + strings.Repeat("例", 60), "a@b\u202ec", "a\u3000@b", "a＠b",
	} {
		if a, err := ParseAddress(in); err == nil {
			t.Errorf("%q was accepted as %q", in, a.Wire())
		} else if !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v is not an ErrAddress", in, err)
		}
	}
}

// What we accept, net/mail accepts, and reads the same. Nothing that could leave a command's argument passes.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@b", "a.b+c@d.example", "用户@例子.中国", "a@x> SIZE=1 <b@x", "a@bücher.example", `"q"@x`, "=?utf-8?q?a?=@b", "a@xn--a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if a.String() != s {
			t.Fatalf("%q became %q", s, a)
		}
		for _, out := range []string{s, a.Wire(), a.Key()} {
			if strings.ContainsAny(out, "<> \r\n\x00\t\"\\") || strings.ContainsFunc(out, unicode.IsControl) || strings.Count(out, "@") != 1 {
				t.Fatalf("%q gives %q", s, out)
			}
		}
		m, err := mail.ParseAddress(s)
		if err != nil {
			t.Fatalf("net/mail refuses %q: %v", s, err)
		}
		if m.Address != s || m.Name != "" {
			t.Fatalf("net/mail reads %q as %q", s, m)
		}
		again, err := ParseAddress(a.Wire())
		if err != nil || again.Wire() != a.Wire() || again.Key() != a.Key() {
			t.Fatalf("%q as sent, %q, parses as %q, key %q, %v", s, a.Wire(), again.Wire(), again.Key(), err)
		}
		if !ascii(a.wire) || len(a.Wire()) > maxAddress {
			t.Fatalf("%q is sent as %q", s, a.Wire())
		}
	})
}

// TestAtext: the bits are those of RFC 5322, 3.2.3.
func TestAtext(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
		if want := letter || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", b) >= 0; atext(b) != want {
			t.Errorf("%q: %v", b, !want)
		}
	}
}
