package email

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"

	"fanfare"
)

// marked makes links that can be read again.
type marked struct{}

func (marked) Open(m *fanfare.Message, r *fanfare.Recipient) string {
	return "https://t.example/o/" + string(m.ID) + "-" + r.ExternalID
}

func (marked) Return(m *fanfare.Message, r *fanfare.Recipient) string {
	return "of-" + string(m.ID) + "-" + r.ExternalID
}

func (marked) Click(m *fanfare.Message, r *fanfare.Recipient, address string) string {
	return "https://t.example/c/" + r.ExternalID + "-" + base64.RawURLEncoding.EncodeToString([]byte(address))
}

func TestTracking(t *testing.T) {
	const page = `<body><a href="https://shop.example/p?id={{ id }}&amp;b=1">Buy</a> <a href="{{ unsubscribe_url }}">x</a> <a href="mailto:a@b.example">m</a></BODY></html>`
	content := fanfare.Content{Subject: "s", HTML: page, Text: "Buy: https://shop.example/p?id={{ id }}.\nOut: {{ unsubscribe_url }}"}
	click := "https://t.example/c/u-" + base64.RawURLEncoding.EncodeToString([]byte("https://shop.example/p?id=7&b=1"))
	clickText := "https://t.example/c/u-" + base64.RawURLEncoding.EncodeToString([]byte("https://shop.example/p?id=7"))
	const pixel = `<img src="https://t.example/o/m1-u" width="1" height="1" alt=""></BODY>`
	both, none := &fanfare.Track{Opens: true, Clicks: true}, &fanfare.Track{}
	for _, c := range []struct {
		name          string
		message       *fanfare.Track
		provider      fanfare.Track
		links         Links
		test          bool
		opens, clicks bool
	}{
		{"nobody says", nil, fanfare.Track{}, marked{}, false, false, false},
		{"the message", both, fanfare.Track{}, marked{}, false, true, true},
		{"the provider", nil, *both, marked{}, false, true, true},
		{"the message, otherwise", none, *both, marked{}, false, false, false},
		{"clicks alone", &fanfare.Track{Clicks: true}, fanfare.Track{}, marked{}, false, false, true},
		{"opens alone", &fanfare.Track{Opens: true}, fanfare.Track{}, marked{}, false, true, false},
		{"without links", both, fanfare.Track{}, nil, false, false, false},
		{"a test", both, fanfare.Track{}, marked{}, true, false, false},
	} {
		ch := New(Config{Provider: func(*fanfare.Message) fanfare.Provider { return fanfare.Provider{From: news, Track: c.provider} }, Links: c.links})
		content.Track = c.message
		m := testMessage(content)
		compiled, err := ch.Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		it := outgoing(m, &fanfare.Recipient{ExternalID: "u", Email: "ada@example.com", Attributes: map[string]any{"id": 7.0}})
		it.Test = c.test
		raw, err := compiled.Render(nil, it)
		if err != nil {
			t.Fatal(err)
		}
		read, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(string(raw))))
		if err != nil {
			t.Fatal(err)
		}
		text := string(read)
		for part, want := range map[string]bool{pixel: c.opens, `<a href="` + click + `">`: c.clicks, "Buy: " + clickText + ".": c.clicks,
			`<a href="https://shop.example/p?id=7&amp;b=1">`: !c.clicks, "Buy: https://shop.example/p?id=7.": !c.clicks,
			`<a href="https://example.org/u/t">`: true, "Out: https://example.org/u/t": true, `<a href="mailto:a@b.example">`: true} {
			if strings.Contains(text, part) != want {
				t.Errorf("%s: holds %s: %v\n%s", c.name, part, !want, text)
			}
		}
		seen, err := compiled.Preview(it)
		if err != nil || strings.Contains(seen["html"]+seen["text"], "t.example") {
			t.Errorf("%s: the preview is tracked: %v %v", c.name, seen, err)
		}
		if need := compiled.(*Content).Required(); !slices.Equal(need, []string{"id", "unsubscribe_url"}) {
			t.Errorf("%s: needs %v", c.name, need)
		}
	}
}
