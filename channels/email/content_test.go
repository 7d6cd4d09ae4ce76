package email

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/mail"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/merge/mailbody"

	"github.com/google/go-cmp/cmp"
)

const news = "News <news@example.org>"

func testChannel(p fanfare.Provider) *Channel {
	if p.From == "" {
		p.From = news
	}
	return New(Config{Provider: func(*fanfare.Message) fanfare.Provider { return p }})
}

func testMessage(c fanfare.Content) *fanfare.Message {
	return &fanfare.Message{ID: "m1", Name: "Spring", Channel: fanfare.ChannelEmail, Content: c,
		Data: json.RawMessage(`{"n":9007199254740993,"who":"us"}`), Metadata: json.RawMessage(`{"k":"v"}`)}
}

func outgoing(m *fanfare.Message, r *fanfare.Recipient) *fanfare.Outgoing {
	address, _ := New(Config{}).Address(r)
	return &fanfare.Outgoing{Recipient: r, Address: address, Key: "KEY-1", Unsubscribe: "https://example.org/u/t", Message: m, Attempt: 1,
		Date: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
}

func render(t *testing.T, c *Channel, m *fanfare.Message, r *fanfare.Recipient) *mail.Message {
	t.Helper()
	compiled, err := c.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := compiled.Render(nil, outgoing(m, r))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestAMessageIDStaysWhateverChanges: neither another sender nor another provider changes the Message-ID of a message that has its domain.
func TestAMessageIDStaysWhateverChanges(t *testing.T) {
	type change struct{ from, provider string }
	for locale, de := range map[string]string{"": "", "de": "DE <de@drei.example>"} {
		m := testMessage(fanfare.Content{Subject: "s", Text: "t", From: "News <news@eins.example>", Locales: map[string]fanfare.Content{"de": {Subject: "s", Text: "t", From: de}}})
		r := &fanfare.Recipient{ExternalID: "u1", Email: "ada@example.com", Locale: locale}
		first := render(t, testChannel(fanfare.Provider{}), m, r).Header.Get("Message-ID")
		if !strings.HasSuffix(first, "@eins.example>") {
			t.Fatal(first)
		}
		compiled, err := testChannel(fanfare.Provider{}).Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		m.Content.MessageIDDomain = compiled.(*Content).Domain()
		for _, c := range []change{{"News <news@zwei.example>", ""}, {"", "p@vier.example"}, {"{{ recipient.external_id }}@fuenf.example", ""}} {
			m.Content.From = c.from
			if again := render(t, testChannel(fanfare.Provider{From: c.provider}), m, r).Header.Get("Message-ID"); again != first {
				t.Errorf("%+v: %s, was %s", c, again, first)
			}
		}
	}
}

func TestVariables(t *testing.T) {
	m := testMessage(fanfare.Content{Subject: "{{ city }} {{ recipient.external_id }} {{ recipient.email }} {{ recipient.locale }} {{ message.id }} {{ message.name }} " +
		"{{ message.metadata.k }} {{ data.n }} {{ data.who }} {{ unsubscribe_url }}", Text: "x", ReplyTo: "help@bücher.example"})
	r := &fanfare.Recipient{ExternalID: "u1", Email: "ada@example.com", Locale: "de", Attributes: map[string]any{"city": "Beijing"}}
	got := render(t, testChannel(fanfare.Provider{}), m, r)
	for name, want := range map[string]string{
		"Subject": "Beijing u1 ada@example.com de m1 Spring v 9007199254740993 us https://example.org/u/t",
		"From":    news, "To": "ada@example.com", "Message-ID": "<KEY-1@example.org>", "X-Fanfare-Message": "m1", "Reply-To": "help@xn--bcher-kva.example",
		"List-Unsubscribe": "<https://example.org/u/t>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "Date": "Sun, 01 Mar 2026 08:00:00 +0000",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
}

func TestLocales(t *testing.T) {
	m := testMessage(fanfare.Content{Subject: "plain {{ a }}", Text: "x", From: "a@plain.example", Headers: map[string]string{"X-A": "b"}, Locales: map[string]fanfare.Content{
		"zh-CN": {Subject: "zh-CN {{ a }} {{ b }}", Text: "x"}, "de": {Subject: "de {{ a }}", Text: "x", From: "b@de.example"}, "zh": {Subject: "zh {{ a }}", Text: "x"}}})
	c := testChannel(fanfare.Provider{})
	for _, w := range []struct{ locale, subject, from string }{
		{"", "plain 1", "a@plain.example"}, {"fr", "plain 1", "a@plain.example"}, {"zh-CN", "zh-CN 1 2", "a@plain.example"}, {"zh_cn", "zh-CN 1 2", "a@plain.example"},
		{"zh-TW", "zh 1", "a@plain.example"}, {"zh-Hant-TW", "zh 1", "a@plain.example"}, {"zho", "plain 1", "a@plain.example"}, {"de-AT", "de 1", "b@de.example"}, {"-", "plain 1", "a@plain.example"},
	} {
		got := render(t, c, m, &fanfare.Recipient{Email: "ada@example.com", Locale: w.locale, Attributes: map[string]any{"a": 1.0, "b": 2.0}})
		if got.Header.Get("Subject") != w.subject || got.Header.Get("From") != w.from || got.Header.Get("Message-ID") != "<KEY-1@plain.example>" || got.Header.Get("X-A") != "b" {
			t.Errorf("%s: %v", w.locale, got.Header)
		}
	}
	compiled, err := c.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	content := compiled.(*Content)
	if diff := cmp.Diff([]string{"a"}, content.Required()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, content.RequiredFor("zh-CN")); diff != "" {
		t.Error(diff)
	}
}

func TestCompileNamesTheField(t *testing.T) {
	ok := fanfare.Content{Subject: "s", Text: "t"}
	with := func(change func(*fanfare.Message)) *fanfare.Message {
		m := testMessage(ok)
		change(m)
		return m
	}
	locale := func(name string, c fanfare.Content) *fanfare.Message {
		return with(func(m *fanfare.Message) { m.Content.Locales = map[string]fanfare.Content{"de": ok, name: c} })
	}
	for _, c := range []struct {
		m           *fanfare.Message
		field, says string
	}{
		{with(func(m *fanfare.Message) { m.Content.Subject = " " }), "content.subject", "write one"},
		{with(func(m *fanfare.Message) { m.Content.Subject = "{{ a" }), "content.subject", ""},
		{with(func(m *fanfare.Message) { m.Content.Text = "" }), "content.text", "write one of them"},
		{with(func(m *fanfare.Message) { m.Content.HTML = "{% if %}" }), "content.html", ""},
		{with(func(m *fanfare.Message) { m.Content.From = "nobody" }), "content.from", "address"},
		{with(func(m *fanfare.Message) { m.Content.From = "a@b.example, c@d.example" }), "content.from", ""},
		{with(func(m *fanfare.Message) { m.Content.From = "a@1.2.3.4" }), "content.from", "domain"},
		{with(func(m *fanfare.Message) { m.Content.ReplyTo = "x\r\nBcc: y@z.example" }), "content.reply_to", ""},
		{with(func(m *fanfare.Message) { m.Content.Headers = map[string]string{"Bcc": "x"} }), "content.headers.Bcc", "remove it"},
		{with(func(m *fanfare.Message) { m.Content.Headers = map[string]string{"X-A: b\r\nBcc": "x"} }), "content.headers.X-A: b\r\nBcc", ""},
		{with(func(m *fanfare.Message) { m.Data = json.RawMessage(`{`) }), "data", "JSON"},
		{with(func(m *fanfare.Message) { m.Metadata = json.RawMessage(`{} {}`) }), "metadata", "JSON"},
		{locale("zh-CN", fanfare.Content{Subject: "s", HTML: "{{"}), "content.locales.zh-CN.html", ""},
		{locale("zh-CN", fanfare.Content{Text: "x"}), "content.locales.zh-CN.subject", "write one"},
		{locale("zh-CN", fanfare.Content{Subject: "s"}), "content.locales.zh-CN.text", ""},
		{locale("DE", ok), "content.locales.de", "another spelling"},
		{locale("not a locale", ok), "content.locales.not a locale", "zh-CN"},
		{locale("fr", fanfare.Content{Subject: "s", Text: "t", Locales: map[string]fanfare.Content{}}), "content.locales.fr.locales", "move them up"},
		{with(func(m *fanfare.Message) { m.Essential, m.Content.HTML = true, "{{ unsubscribe_url }}" }), "content.html", "remove"},
		{with(func(m *fanfare.Message) {
			m.Essential, m.Content.Headers = true, map[string]string{"X-U": "{{ unsubscribe_url }}"}
		}), "content.headers.X-U", "remove"},
	} {
		_, err := testChannel(fanfare.Provider{}).Compile(c.m)
		e, ok := errors.AsType[*mailbody.FieldError](err)
		if !ok || e.Field != c.field || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
	m := with(func(m *fanfare.Message) {
		m.Essential, m.Content.HTML = true, "{{ unsubscribe_url | default: '' }}{% if unsubscribe_url %}{{ unsubscribe_url }}{% endif %}"
	})
	if _, err := testChannel(fanfare.Provider{}).Compile(m); err != nil {
		t.Error(err)
	}
	_, err := New(Config{}).Compile(testMessage(ok))
	if e, ok := errors.AsType[*mailbody.FieldError](err); !ok || e.Field != "content.from" || !strings.Contains(err.Error(), "e-mail provider") {
		t.Errorf("no sender: %v", err)
	}
}

func TestSkips(t *testing.T) {
	m := testMessage(fanfare.Content{Subject: "{{ name }}", Text: "x", ReplyTo: "{{ contact | default: 'a@b.example' }}"})
	c := testChannel(fanfare.Provider{OnlyTo: []string{"*@Example.com", "*+test@*.bücher.example"}})
	compiled, err := c.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		email   string
		attrs   map[string]any
		reason  fanfare.Reason
		details string
	}{
		{"a@example.com", map[string]any{"name": "A"}, "", ""},
		{"A@EXAMPLE.COM", map[string]any{"name": "A"}, "", ""},
		{"é@example.com", map[string]any{"name": "A"}, "", ""},
		{"a+test@x.BÜCHER.example", map[string]any{"name": "A"}, "", ""},
		{"a@example.com", map[string]any{"name": " "}, fanfare.ReasonMissingField, "name"},
		{"a@example.com", nil, fanfare.ReasonMissingField, "name"},
		{"a@example.com.evil.example", map[string]any{"name": "A"}, fanfare.ReasonFiltered, "only_to"},
		{"a@example.com", map[string]any{"name": "A", "contact": "x\r\nBcc: y@z.example"}, fanfare.ReasonInvalid, "reply_to"},
		{"a@example.com", map[string]any{"name": "A", "contact": "é@z.example"}, fanfare.ReasonInvalid, "reply_to"},
	} {
		before := []byte("before")
		out, err := compiled.Render(before, outgoing(m, &fanfare.Recipient{Email: w.email, Attributes: w.attrs}))
		skip, _ := errors.AsType[*fanfare.SkipError](err)
		switch {
		case w.reason == "":
			if err != nil || !bytes.HasPrefix(out, before) || len(out) == len(before) {
				t.Errorf("%s %v: %v", w.email, w.attrs, err)
			}
		case skip == nil || skip.Reason != w.reason || !strings.Contains(skip.Detail, w.details) || !bytes.Equal(out, before):
			t.Errorf("%s %v: %v", w.email, w.attrs, err)
		}
	}
	it := outgoing(m, &fanfare.Recipient{Email: "a@example.com", Attributes: map[string]any{"name": "A"}})
	it.Key = "a b"
	if _, err := compiled.Render(nil, it); err == nil || errors.As(err, new(*fanfare.SkipError)) {
		t.Errorf("a wrong key is nobody's: %v", err)
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		email, address string
		why            fanfare.Reason
	}{
		{"", "", fanfare.ReasonNoAddress}, {"a@b.example", "a@b.example", ""}, {"é@bücher.example", "é@xn--bcher-kva.example", ""}, {" a@b.example", "", fanfare.ReasonInvalid},
		{"a@x> SIZE=1 <b@x.example", "", fanfare.ReasonInvalid}, {"a@b.example\r\nRCPT TO:<c@d.example>", "", fanfare.ReasonInvalid}, {"A <a@b.example>", "", fanfare.ReasonInvalid},
	} {
		if address, why := New(Config{}).Address(&fanfare.Recipient{Email: c.email}); address != c.address || why != c.why {
			t.Errorf("%q: %q %q", c.email, address, why)
		}
	}
}

func TestPreview(t *testing.T) {
	m := testMessage(fanfare.Content{Subject: "Hi {{ name }}", HTML: "<b>{{ name }}</b>"})
	compiled, err := testChannel(fanfare.Provider{}).Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := compiled.Preview(outgoing(m, &fanfare.Recipient{Email: "a@b.example", Attributes: map[string]any{"name": "A&B"}}))
	if diff := cmp.Diff(map[string]string{"from": news, "to": "a@b.example", "subject": "Hi A&B", "html": "<b>A&amp;B</b>"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := compiled.Preview(outgoing(m, &fanfare.Recipient{Email: "a@b.example"})); !errors.As(err, new(*fanfare.SkipError)) {
		t.Error(err)
	}
}
