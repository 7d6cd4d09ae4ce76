package inbox

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanfare"
	"fanfare/merge/mailbody"
)

type item struct{ Title, Body, URL string }

func message(c fanfare.Content) *fanfare.Message {
	return &fanfare.Message{ID: "m1", Name: "News", Channel: fanfare.ChannelInbox, Content: c, Data: json.RawMessage(`{"shop":"Tea & <Co>","n":3}`)}
}

func compile(t interface{ Fatal(...any) }, c fanfare.Content) *Content {
	compiled, err := New().Compile(message(c))
	if err != nil {
		t.Fatal(err)
	}
	return compiled.(*Content)
}

func render(t interface{ Fatal(...any) }, c *Content, r *fanfare.Recipient) (it item) {
	b, err := c.Render([]byte("{"), &fanfare.Outgoing{Recipient: r})
	if err == nil {
		err = json.Unmarshal(append(b, '}'), &it)
	}
	if err != nil {
		t.Fatal(err, string(b))
	}
	return it
}

func TestRender(t *testing.T) {
	c := compile(t, fanfare.Content{Title: "Hello {{ first_name | default: 'you' }}", Body: "\"{{ data.shop }}\"\n{{ city }}.", URL: "https://x.example/{{ recipient.external_id }}?c={{ city }}",
		Locales: map[string]fanfare.Content{"zh-CN": {Title: "你好", Body: "正文"}, "de": {Title: "Hallo {{ city }}", URL: "/de"}}})
	for _, x := range []struct {
		what string
		r    fanfare.Recipient
		want item
	}{
		{"all there", fanfare.Recipient{ExternalID: "u/1", Attributes: map[string]any{"first_name": "A\r\nB", "city": "X&y=\"z\""}},
			item{"Hello A B", "\"Tea & <Co>\"\nX&y=\"z\".", "https://x.example/u%2F1?c=X%26y%3D%22z%22"}},
		{"missing values are left out", fanfare.Recipient{ExternalID: "u1"}, item{"Hello you", "\"Tea & <Co>\"\n.", "https://x.example/u1?c="}},
		{"a locale, its url the plain one's", fanfare.Recipient{ExternalID: "u1", Locale: "zh_cn", Attributes: map[string]any{"city": "北"}}, item{"你好", "正文", "https://x.example/u1?c=%E5%8C%97"}},
		{"its language", fanfare.Recipient{ExternalID: "u1", Locale: "de-AT"}, item{"Hallo ", "", "/de"}},
		{"another locale", fanfare.Recipient{ExternalID: "u1", Locale: "fr"}, item{"Hello you", "\"Tea & <Co>\"\n.", "https://x.example/u1?c="}},
	} {
		if got := render(t, c, &x.r); got != x.want {
			t.Errorf("%s: %q, want %q", x.what, got, x.want)
		}
	}
	if _, fixed := c.Fixed(""); fixed || !c.Personal() {
		t.Error("what names a recipient is called fixed")
	}
}

func TestFixed(t *testing.T) {
	c := compile(t, fanfare.Content{Title: "{{ data.n }} at {{ data.shop }}", Body: "{{ message.name }}"})
	b, fixed := c.Fixed("zh-CN")
	var it item
	if err := json.Unmarshal([]byte("{"+string(b)+"}"), &it); err != nil || !fixed || it != (item{Title: "3 at Tea & <Co>", Body: "News"}) || c.Personal() {
		t.Errorf("%v %s (%v)", fixed, b, err)
	}
	if strings.ContainsAny(string(b), "<>&") {
		t.Errorf("%s would not be safe in a page", b)
	}
}

// TestHostileValues: whatever a value holds, the item stays the JSON it was, and its url leads where the author said.
func TestHostileValues(t *testing.T) {
	c := compile(t, fanfare.Content{Title: "a{{ v }}b", Body: "c{{ v }}d", URL: "https://x.example/{{ v }}"})
	rapid.Check(t, func(r *rapid.T) {
		v := "v" + rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{`","url":"https://evil.example`, "\x00", "\u2028", "</script>", "//evil.example/", "\\u0022"})).Draw(r, "value")
		it := render(r, c, &fanfare.Recipient{Attributes: map[string]any{"v": v}})
		if it.Body != "c"+v+"d" {
			r.Fatalf("%q became %q", v, it.Body)
		}
		if !strings.HasPrefix(it.Title, "a") || !strings.HasSuffix(it.Title, "b") || strings.ContainsAny(it.Title, "\r\n\x00") {
			r.Fatalf("title %q", it.Title)
		}
		if rest, ok := strings.CutPrefix(it.URL, "https://x.example/"); !ok || strings.ContainsAny(rest, "/?#\"<> ") {
			r.Fatalf("url %q", it.URL)
		}
	})
}

func TestNoUTF8(t *testing.T) {
	c := compile(t, fanfare.Content{Title: "t", Body: "{{ v }}"})
	if it := render(t, c, &fanfare.Recipient{Attributes: map[string]any{"v": "a\xff\xfe"}}); !strings.HasPrefix(it.Body, "a\uFFFD") {
		t.Errorf("%q", it.Body)
	}
}

func TestRefused(t *testing.T) {
	many := map[string]fanfare.Content{"zh-CN": {Title: "x"}, "zh_cn": {Title: "y"}}
	for at, c := range map[string]fanfare.Content{
		"content.title":              {Body: "b"},
		"content.url":                {Title: "t", URL: "javascript:alert(1)"},
		"content.locales.de.url":     {Title: "t", Locales: map[string]fanfare.Content{"de": {Title: "t", URL: "{{ link }}"}}},
		"content.locales.de.title":   {Title: "t", Locales: map[string]fanfare.Content{"de": {Body: "b"}}},
		"content.locales.a b":        {Title: "t", Locales: map[string]fanfare.Content{"a b": {Title: "t"}}},
		"content.locales.zh_cn":      {Title: "t", Locales: many},
		"content.locales.de.locales": {Title: "t", Locales: map[string]fanfare.Content{"de": {Title: "t", Locales: many}}},
		"content.body":               {Title: "t", Body: "{{ x"},
		"content.locales.de.body":    {Title: "t", Locales: map[string]fanfare.Content{"de": {Title: "t", Body: strings.Repeat("x", maxBody+1)}}},
	} {
		_, err := New().Compile(message(c))
		if e, ok := errors.AsType[*mailbody.FieldError](err); !ok || e.Field != at {
			t.Errorf("%s: %v", at, err)
		}
	}
	for _, url := range []string{"//evil.example", "data:text/html,x", "data://x", "JavaScript://x", "x", "{{ base }}/a", "://x", "1a://x", "ht{{ x }}tp://a"} {
		if _, err := New().Compile(message(fanfare.Content{Title: "t", URL: url})); err == nil {
			t.Errorf("%s is taken", url)
		}
	}
	for _, url := range []string{"", "/news/{{ x }}", "https://a.example", "HTTP://a", "my-app+1://open/{{ x }}"} {
		compile(t, fanfare.Content{Title: "t", URL: url})
	}
}

func TestPreview(t *testing.T) {
	c := compile(t, fanfare.Content{Title: "Hello {{ first_name }}"})
	got, err := c.Preview(&fanfare.Outgoing{Recipient: &fanfare.Recipient{Attributes: map[string]any{"first_name": "Ada"}}})
	if err != nil || len(got) != 1 || got["title"] != "Hello Ada" {
		t.Errorf("%v (%v)", got, err)
	}
	_, err = c.Preview(&fanfare.Outgoing{Recipient: &fanfare.Recipient{}})
	if skip, ok := errors.AsType[*fanfare.SkipError](err); !ok || skip.Reason != fanfare.ReasonMissingField || skip.Detail != "first_name" {
		t.Errorf("a missing value: %v", err)
	}
	if need := c.Required("de"); len(need) != 1 || need[0] != "first_name" {
		t.Errorf("required %v", need)
	}
}

// TestLacking: whom a content cannot be made for, and what of a recipient decides that.
func TestLacking(t *testing.T) {
	for title, c := range map[string]struct {
		need      string
		everybody bool
		ok, lacks []map[string]any
	}{
		"Dear {{ name }}": {need: "name", ok: []map[string]any{{"name": "Ada"}, {"name": 7.0}, {"name": false}, {"name": []string{"x"}}},
			lacks: []map[string]any{nil, {"name": ""}, {"name": " \u3000"}, {"name": []string{}}, {"other": "x"}}},
		"{{ name | upcase }} {{ n }}":             {need: "n name", ok: []map[string]any{{"name": "a", "n": 1.0}}, lacks: []map[string]any{{"name": "a"}, {"n": 1.0}}},
		`Dear {{ name | default: "you" }}`:        {},
		"{% if vip %}{{ name }}{% endif %}x":      {need: "name", ok: []map[string]any{nil, {"vip": true, "name": "x"}}, lacks: []map[string]any{{"vip": true}}},
		"{{ tags[0] }}":                           {need: "tags", everybody: true, ok: []map[string]any{{"tags": []string{"x"}}}, lacks: []map[string]any{{"tags": []string{}}, nil}},
		"{{ recipient.email }}":                   {everybody: true, lacks: []map[string]any{nil}},
		"{{ recipient.external_id }}":             {},
		"{{ now | date: '%Y' }} {{ message.id }}": {},
		"{{ unsubscribe_url }}":                   {},
		"plain":                                   {},
	} {
		l := compile(t, fanfare.Content{Title: title}).Lacking(time.Time{})
		if l == nil {
			if c.need != "" || c.everybody {
				t.Errorf("%s: nobody lacks anything", title)
			}
			continue
		}
		if need, everybody := l.Needs(); strings.Join(need, " ") != c.need || everybody != c.everybody {
			t.Errorf("%s: needs %v, %v", title, need, everybody)
		}
		for want, all := range map[bool][]map[string]any{false: c.ok, true: c.lacks} {
			for _, attributes := range all {
				if got := l.Lacks(&fanfare.Recipient{ExternalID: "u", Attributes: attributes}); got != want {
					t.Errorf("%s: %v lacks: %v", title, attributes, got)
				}
			}
		}
	}
	l := compile(t, fanfare.Content{Title: "Dear {{ name }}", Locales: map[string]fanfare.Content{"de": {Title: "Hallo {{ vorname }}"}}}).Lacking(time.Time{})
	if need, _ := l.Needs(); strings.Join(need, " ") != "name vorname" {
		t.Errorf("of all locales: %v", need)
	}
	r := &fanfare.Recipient{Locale: "de-AT", Attributes: map[string]any{"vorname": "Ada"}}
	if l.Lacks(r) {
		t.Error("who has what the own locale needs lacks something")
	}
	if r.Locale = "en"; !l.Lacks(r) {
		t.Error("who has not what the plain one needs lacks nothing")
	}
}

func TestNoProvider(t *testing.T) {
	if err := New().Check(fanfare.Provider{Name: "x"}); err == nil || !strings.Contains(err.Error(), "no provider") {
		t.Error(err)
	}
	if _, err := New().Dial(t.Context(), fanfare.Provider{}); !errors.As(err, new(*fanfare.SendError)) {
		t.Error(err)
	}
	if f := New().Features(); !f.Inline || f.NeedsAddress || f.Leaves || New().Name() != fanfare.ChannelInbox {
		t.Errorf("%+v", f)
	}
}
