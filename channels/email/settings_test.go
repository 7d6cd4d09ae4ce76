package email

import (
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/esmtp"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		url, says string
	}{
		{"smtp://127.0.0.1:2525?starttls=off", ""},
		{"smtp://user:p%40ss@mail.example.org:587", ""},
		{"smtps://user:pass@mail.example.org/", ""},
		{"smtp://me:pass@[::1]:25?starttls=off", ""},
		{"smtp://mail.example.org?starttls=opportunistic", ""},
		{"", "missing"},
		{"http://example.org", "smtp:// or smtps://"},
		{"mail.example.org:25", "smtp:// or smtps://"},
		{"smtp:mail.example.org", "no host"},
		{"smtp://:25", "no host"},
		{"smtp://mail.example.org:99999", "1 to 65535"},
		{"smtp://mail.example.org:0", "1 to 65535"},
		{"smtp://me:secret#1@mail.example.org", "percent-encode"},
		{"smtp://me:secret/1@mail.example.org", "percent-encode"},
		{"smtp://me@mail.example.org", "password"},
		{"smtp://mail.example.org/inbox", "percent-encode"},
		{"smtp://mail.example.org?starttls=maybe", "opportunistic or off"},
		{"smtp://mail.example.org?starttls=off&starttls=required", "twice"},
		{"smtp://mail.example.org?tls=off", "only starttls"},
		{"smtp://mail.example.org?%zz", "starttls=required"},
		{"smtps://mail.example.org?starttls=off", "leave starttls out"},
		{"smtp://me:secret@mail.example.org?starttls=off", "without TLS"},
	} {
		err := New(Config{}).Check(fanfare.Provider{Name: "mail", URL: c.url, From: news})
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "provider mail: ")) {
			t.Errorf("%s: %v", c.url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", c.url, err)
		}
	}
	const url = "smtp://127.0.0.1:2525?starttls=off"
	for _, c := range []struct {
		p    fanfare.Provider
		says string
	}{
		{fanfare.Provider{URL: url}, "from is missing"},
		{fanfare.Provider{URL: url, From: "News"}, "no address"},
		{fanfare.Provider{URL: url, From: "a@1.2.3.4"}, "no address"},
		{fanfare.Provider{URL: url, From: "a@b.example\r\nBcc: c@d.example"}, "no address"},
		{fanfare.Provider{URL: url, From: news, OnlyTo: []string{"example.com"}}, "*@example.com"},
		{fanfare.Provider{URL: url, From: news, Timeout: -1}, "negative"},
		{fanfare.Provider{URL: url, From: "Bücher <news@bücher.example>", OnlyTo: []string{"*"}}, ""},
		{fanfare.Provider{URL: url, From: news, Bounces: "b+KEY@bounce.example.org"}, ""},
		{fanfare.Provider{URL: url, From: news, Bounces: "bounces.of-KEY@bücher.example"}, ""},
		{fanfare.Provider{URL: url, From: news, Bounces: "a-bounces.of-KEY@bounce.example"}, "bounces: "},
		{fanfare.Provider{URL: url, From: news, Bounces: "b@KEY.example.org"}, "bounces: "},
		{fanfare.Provider{URL: url, From: news, Bounces: "b@bounce.example.org"}, "bounces: "},
		{fanfare.Provider{URL: url, From: news, Bounces: "KEY+KEY@b.example"}, "bounces: "},
		{fanfare.Provider{URL: url, From: news, Bounces: "Bounces <b+KEY@b.example>"}, "bounces: "},
		{fanfare.Provider{URL: url, From: news, Bounces: "bü+KEY@b.example"}, "bounces: "},
	} {
		if err := New(Config{}).Check(c.p); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.p, err)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		url  string
		want esmtp.Config
	}{
		{"smtp://h.example", esmtp.Config{Addr: "h.example:25"}},
		{"smtp://u%40x:p%3A@h.example", esmtp.Config{Addr: "h.example:587", Username: "u@x", Password: "p:"}},
		{"smtps://h.example", esmtp.Config{Addr: "h.example:465", ImplicitTLS: true}},
		{"smtp://[::1]:99?starttls=off", esmtp.Config{Addr: "[::1]:99", StartTLS: esmtp.Off}},
		{"smtp://h.example?starttls=opportunistic", esmtp.Config{Addr: "h.example:25", StartTLS: esmtp.Opportunistic}},
	} {
		s, err := parse(fanfare.Provider{URL: c.url, From: news, Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		got := s.smtp
		if got.Addr != c.want.Addr || got.Username != c.want.Username || got.Password != c.want.Password || got.StartTLS != c.want.StartTLS || got.ImplicitTLS != c.want.ImplicitTLS {
			t.Errorf("%s: %+v", c.url, got)
		}
		if got.Timeouts.Command != 10*time.Second || got.Timeouts.Final != 300*time.Second {
			t.Errorf("%s: %+v", c.url, got.Timeouts)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a@b", "a@b", true}, {"a@b", "a@bc", false}, {"*@b", "x@b", true}, {"*@b", "x@b.b", false}, {"*", "", true}, {"a*a", "a", false}, {"a*b*c", "abc", true},
		{"a*b*c", "acbc", true}, {"a*b*c", "acc", false}, {"*@*.b", "x@.b", true}, {"*ab*ab", "ab", false}, {"**", "x", true},
	} {
		if got := match(c.pattern, c.s); got != c.want {
			t.Errorf("%s %s: %v", c.pattern, c.s, got)
		}
	}
}
