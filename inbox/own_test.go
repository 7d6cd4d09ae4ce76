package inbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/set"
)

// toFew sends a message to a few people of slot 0 and delivers it.
func (w *world) toFew(t interface{ Fatal(...any) }, who ...fanfare.Seq) *mail {
	m := w.send(t, [2]*set.Set{set.Of(who...), set.New()}, 0)
	if !m.Few {
		t.Fatal("it is not to few")
	}
	w.deliver(t, m, 0)
	w.deliver(t, m, 0)
	return m
}

// TestNoLimitOfMessagesToFew: there may be more than two bytes count, of which one person has all, and none of them is in a chunk.
func TestNoLimitOfMessagesToFew(t *testing.T) {
	const n = 1<<16 + 100
	w := newWorld(t, t.Context(), 0)
	who, other := fanfare.Person{Seq: 7}, fanfare.Person{Seq: 8}
	both := [2]*set.Set{set.Range(0, people), set.Range(0, people)}
	many := w.send(t, both, 0)
	w.deliver(t, many, 0)
	var last *mail
	for i := range n {
		w.now = w.now.Add(time.Second)
		last = w.toFew(t, who.Seq)
		if i == 0 { // read in between, so that later ones come to a chunk that is known
			if got, err := w.reader.Count(w.ctx, who); err != nil || got != (Counts{2, 2, 2}) {
				t.Fatal(got, err)
			}
		}
	}
	if got, err := w.reader.Count(w.ctx, who); err != nil || got != (Counts{n + 1, n + 1, n + 1}) {
		t.Fatal(got, err)
	}
	page, err := w.reader.Page(w.ctx, who, Query{Limit: 2})
	if err != nil || page.Items[0].Message != last.ID || page.Total != n+1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if err := w.reader.ReadAll(w.ctx, who, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := w.reader.Count(w.ctx, who); err != nil || got != (Counts{0, 0, n + 1}) {
		t.Fatal(got, err)
	}
	if got, err := w.reader.Count(w.ctx, other); err != nil || got != (Counts{1, 1, 1}) {
		t.Fatal(got, err)
	}
	if len(w.reader.entries) != 1 || len(w.reader.chunks[place{}].cells) != 1 {
		t.Errorf("%d messages are known, %d of them in the chunk", len(w.reader.entries), len(w.reader.chunks[place{}].cells))
	}
}

// TestOwnMessagesTogether: while messages to few come and are marked and recalled, whoever looks after an answer sees what was answered.
func TestOwnMessagesTogether(t *testing.T) {
	for _, cache := range []int{1, 0} {
		w := newWorld(t, t.Context(), cache)
		var mu sync.Mutex // of w.mails and the store's clock
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				who := fanfare.Person{Seq: fanfare.Seq(g * 9000)} //nolint:gosec // small
				for i := range 40 {
					mu.Lock()
					m := w.toFew(t, who.Seq, fanfare.Seq(i)) //nolint:gosec // small
					mu.Unlock()
					got, err := w.reader.Page(w.ctx, who, Query{Limit: 100})
					if err != nil || got.Total < i+1 || got.Unread < 1 || !slices.ContainsFunc(got.Items, func(it Item) bool { return it.Message == m.ID }) {
						t.Errorf("after %d messages %v has %+v (%v)", i+1, who, got.Counts, err)
						return
					}
					if err := w.reader.Mark(w.ctx, who, m.ID, fanfare.ReceiptRead); err != nil {
						t.Error(err)
						return
					}
					if after, err := w.reader.Count(w.ctx, who); err != nil || g > 0 && after.Unread != 0 {
						t.Errorf("all is read, but %+v (%v)", after, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if got, err := w.reader.Count(w.ctx, fanfare.Person{Seq: 9000}); err != nil || got != (Counts{0, 0, 40}) {
			t.Errorf("cache of %d: %+v (%v)", cache, got, err)
		}
		if used := 0; w.reader.ownBytes > 0 {
			for _, o := range w.reader.owns {
				used += o.bytes
			}
			if used != w.reader.ownBytes {
				t.Errorf("%d bytes of own messages are kept, %d are counted", used, w.reader.ownBytes)
			}
		}
	}
}

// TestAPageIsBounded: of long contents a page has fewer than were asked for, and the next one goes on behind them.
func TestAPageIsBounded(t *testing.T) {
	w := newWorld(t, t.Context(), 0)
	w.reader.Compile = func(*fanfare.Message) (Content, error) { return plain{strings.Repeat("x", mostContent/4)}, nil }
	who := fanfare.Person{Seq: 11}
	var all, got []fanfare.MessageID
	for range 10 {
		w.now = w.now.Add(time.Second)
		all = append(all, w.toFew(t, who.Seq).ID)
	}
	slices.Reverse(all)
	for cursor, pages := "", 1; ; pages++ {
		p, err := w.reader.Page(w.ctx, who, Query{Limit: 1000, Cursor: cursor})
		if err != nil || len(p.Items) > 4 || p.Total != 10 {
			t.Fatalf("page %d has %d items of %d (%v)", pages, len(p.Items), p.Total, err)
		}
		for _, it := range p.Items {
			got = append(got, it.Message)
		}
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, all) {
		t.Errorf("%v, want %v", got, all)
	}
}

// TestManyOwnersAtOnce: more people got messages to few than are remembered for whoever has to know, or a commit's answer was lost.
func TestManyOwnersAtOnce(t *testing.T) {
	w := newWorld(t, t.Context(), 0)
	who := fanfare.Person{Seq: 11}
	count := func(want int) {
		t.Helper()
		if got, err := w.reader.Count(w.ctx, who); err != nil || got.Total != want {
			t.Fatalf("%+v, want %d (%v)", got, want, err)
		}
	}
	count(0)
	w.toFew(t, who.Seq)
	for range 3 {
		w.store.owners.add(1, make([]fanfare.Seq, mostOwners))
	}
	count(1)
	other := fanfare.Person{Seq: 12}
	m := w.send(t, [2]*set.Set{set.Of(other.Seq), set.New()}, 0)
	claim := &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: m.Num}, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: time.Minute, Deliver: &fanfare.Inline{Revision: 1, Few: true}}
	lost := Watched{Store: lostAnswers{w.store.Store}}
	lost.Append(w.ctx, 0, []fanfare.Entry{{Claim: claim}})
	if _, _, isLost := lost.owners.since(0); !isLost {
		t.Error("a lost answer loses nothing")
	}
	w.store.owners.lose()
	w.store.state.Add(1)
	who = other
	count(1)
}

// lostAnswers carries out what is appended, and does not say so.
type lostAnswers struct{ fanfare.Store }

func (s lostAnswers) Append(ctx context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	answers := s.Store.Append(ctx, shard, entries)
	for i := range answers {
		answers[i] = fanfare.EntryAnswer{Answer: fanfare.Unknown}
	}
	return answers
}

// TestFollowersOfMessagesToFew: the stream tells of them as of all others, and of nobody else's.
func TestFollowersOfMessagesToFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := newWorld(t, ctx, 0)
		hub := NewHub(w.reader)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := hub.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		f, other := hub.Follow(fanfare.Person{Seq: 5}, ""), hub.Follow(fanfare.Person{Seq: 6}, "")
		for _, f := range []*Follower{f, other} {
			if ids, _ := news(t, f); len(ids) > 0 {
				t.Errorf("told of %v", ids)
			}
		}
		w.now = w.now.Add(time.Minute)
		m := w.toFew(t, 5)
		if ids, n := told(t, f); fmt.Sprint(ids) != fmt.Sprint([]fanfare.MessageID{m.ID}) || n.Counts != (Counts{1, 1, 1}) {
			t.Errorf("told of %v, %+v", ids, n.Counts)
		}
		if ids, n := news(t, other); len(ids) > 0 || n.Counts != (Counts{}) {
			t.Errorf("another is told of %v, %+v", ids, n.Counts)
		}
		if err := w.reader.Mark(ctx, fanfare.Person{Seq: 5}, m.ID, fanfare.ReceiptRead); err != nil {
			t.Error(err)
		}
		if ids, n := news(t, f); len(ids) > 0 || n.Counts != (Counts{0, 0, 1}) || !n.Changed {
			t.Errorf("after the mark %v, %+v", ids, n.Counts)
		}
		f.Close()
		other.Close()
		stop()
		wg.Wait()
	})
}
