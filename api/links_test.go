package api

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"fanfare"
)

func TestLinksSayOneThingOnly(t *testing.T) {
	l := NewLinks("https://x.example/", []byte("k"))
	m := &fanfare.Message{Num: 1 << 40}
	r := &fanfare.Recipient{Person: fanfare.Person{Slot: 65_535, Seq: 1<<32 - 1}, ExternalID: "u1"}
	link := l.Unsubscribe(m, r)
	token, ok := strings.CutPrefix(link, "https://x.example/u/")
	if !ok || len(link) > 90 {
		t.Fatalf("%s", link)
	}
	got, err := l.read(linkUnsubscribe, token)
	if err != nil || got.message != m.Num || got.person != r.Person || got.tag != l.tagOf("u1") || got.tag == l.tagOf("u2") {
		t.Errorf("%+v %v", got, err)
	}
	for i := range token {
		other := []byte(token)
		other[i] = 'A'
		if other[i] == token[i] {
			other[i] = 'B'
		}
		if _, err := l.read(linkUnsubscribe, string(other)); !errors.Is(err, fanfare.ErrNotFound) {
			t.Errorf("character %d changed: %v", i, err)
		}
	}
	if _, err := NewLinks("https://x.example", []byte("other")).read(linkUnsubscribe, token); !errors.Is(err, fanfare.ErrNotFound) {
		t.Errorf("of another installation: %v", err)
	}
	if got := NewLinks("", []byte("k")).Unsubscribe(m, r) + l.Unsubscribe(m, nil) + l.Unsubscribe(&fanfare.Message{Essential: true}, r); got != "" {
		t.Errorf("there should be no link: %s", got)
	}
}

// TestLinksAtOnce: many goroutines make links.
func TestLinksAtOnce(t *testing.T) {
	l := NewLinks("https://x.example", []byte("k"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := &fanfare.Recipient{Person: fanfare.Person{Seq: uint32(i)}, ExternalID: strings.Repeat("u", i+1)} //nolint:gosec // small
			for range 200 {
				got, err := l.read(linkUnsubscribe, strings.TrimPrefix(l.Unsubscribe(&fanfare.Message{Num: 7}, r), "https://x.example/u/"))
				if err != nil || got.person != r.Person || got.tag != l.tagOf(r.ExternalID) {
					t.Errorf("%+v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkUnsubscribe(b *testing.B) {
	l := NewLinks("https://news.example.org", []byte("k"))
	m := &fanfare.Message{Num: 12}
	r := &fanfare.Recipient{Person: fanfare.Person{Slot: 3, Seq: 12345}, ExternalID: "customer-12345"}
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Unsubscribe(m, r)
	}
}
