package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/spawn"
)

// marker marks people of its own, one after the other, and knows what was answered of each.
type marker struct {
	ids  []string
	told map[string]told
}

// told is what a person's marks say: the last one that was answered, and the one after it that was not, if any.
type told struct {
	read, seen bool
	doubt      bool // a mark that was not answered may be there: read says nothing
}

// flood marks until a call fails.
func (m *marker) flood(ctx context.Context, s *spawn.Server, message string, answered *atomic.Int64) error {
	for {
		kinds := []string{"read", "unread", "seen", "clicked"}
		var these []map[string]string
		now := make(map[string]told)
		for range 1 + rand.IntN(4) {
			who, kind := m.ids[rand.IntN(len(m.ids))], kinds[rand.IntN(len(kinds))]
			if _, twice := now[who]; twice {
				continue
			}
			is := m.told[who]
			switch kind {
			case "read", "clicked":
				is = told{read: true, seen: true}
			case "unread":
				is = told{read: false, seen: is.seen}
			case "seen":
				is.seen = true
			}
			now[who] = is
			these = append(these, map[string]string{"message": message, "recipient": who, "kind": kind})
		}
		var answer struct{ Refused []json.RawMessage }
		if err := s.Do(ctx, http.MethodPost, "/v1/receipts", map[string]any{"receipts": these}, &answer); err != nil {
			for who := range now {
				is := m.told[who]
				is.doubt = true
				m.told[who] = is
			}
			return err
		}
		if len(answer.Refused) > 0 {
			return fmt.Errorf("refused: %s", answer.Refused[0])
		}
		for who, is := range now {
			m.told[who] = is
		}
		answered.Add(int64(len(these)))
	}
}

// TestKilledWhileMarksComeIn: kill -9, twenty times in the middle of a flood of marks over HTTP. Every mark that was answered is there, and
// the counts equal the sets.
func TestKilledWhileMarksComeIn(t *testing.T) {
	t.Parallel()
	const kills, people, markers = 20, 4_000, 16
	p := settle(t)
	p.people(people)
	p.do(http.MethodPut, "/v1/providers/nowhere", map[string]any{"channel": "null", "url": "null:"}, nil)
	var m client.Message
	p.do(http.MethodPost, "/v1/messages", map[string]any{"name": "news", "channel": "null", "audience": map[string]string{"list": "everyone"}, "start": true}, &m)
	p.until(m.ID, "the end", phase("completed"))
	all := make([]*marker, markers)
	for i := range all {
		all[i] = &marker{told: make(map[string]told)}
	}
	for i := range people {
		id, _ := person(i)
		all[i%markers].ids = append(all[i%markers].ids, id)
	}
	var marked int64
	for k := range kills {
		var answered atomic.Int64
		var wg sync.WaitGroup
		for _, one := range all {
			wg.Go(func() {
				if err := one.flood(ctx(t), p.Server, m.ID, &answered); err == nil || strings.HasPrefix(err.Error(), "refused") {
					t.Error(err)
				}
			})
		}
		p.must(p.Until(ctx(t), "marks", 1e6, func() (bool, error) { return answered.Load() >= int64(100+25*k), nil }))
		p.must(p.Kill())
		wg.Wait()
		marked += answered.Load()
		p.serve()
		if k%4 == 3 { // what lies in the log, and what was folded
			p.doctor()
		}
		p.marks(m.ID, all)
	}
	p.doctor()
	p.marks(m.ID, all)
	t.Logf("%d kills, %d marks answered", kills, marked)
}

// marks compares what is listed and counted with what was answered.
func (p *place) marks(id string, all []*marker) {
	p.t.Helper()
	items, read := p.items(id, nil), p.items(id, url.Values{"read": {"true"}})
	var seen int
	for _, m := range all {
		for who, is := range m.told {
			it := items[who]
			got := told{read: it.ReadAt != nil, seen: it.SeenAt != nil}
			if _, listed := read[who]; listed != got.read || !is.doubt && got != is || is.doubt && is.seen && !got.seen {
				p.t.Errorf("%s was answered to be %+v, and is %+v (listed as read: %t)", who, is, got, listed)
			}
			m.told[who] = got
			if got.seen {
				seen++
			}
		}
	}
	if k := p.progress(id).Counts; k.Read != len(read) || k.Seen != seen {
		p.t.Errorf("%d are listed as read, %d as seen; the counts are %+v", len(read), seen, k)
	}
}
