package api_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/api"
	"fanfare/channels/email"
	"fanfare/channels/null"
	"fanfare/deliver"
	"fanfare/plan"
	queue "fanfare/queues/memory"
)

// sends runs a planner and a worker that send by the sandbox, on the clock of the bubble.
func (w *world) sends(t *testing.T, url string) (stop func()) {
	t.Helper()
	q := queue.New()
	p := fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: url, From: "News <news@example.org>", Connections: 4, Chunk: 8,
		Retry: fanfare.Retry{Attempts: 3, First: time.Second, Most: time.Second}}
	mail := null.Sandbox{Channel: email.New(email.Config{Provider: func(*fanfare.Message) fanfare.Provider { return p }})}
	node := deliver.New(deliver.Config{Store: w.store, Queue: q, Owner: fanfare.Owner{Node: "n1", Incarnation: 1}, Key: []byte("k"), Unsubscribe: w.links.Unsubscribe,
		Lanes: func(context.Context) ([]deliver.Lane, error) {
			return []deliver.Lane{{Name: "mail", Provider: p, Channel: mail}}, nil
		}})
	planner := plan.New(plan.Config{Store: w.store, Queue: q, Node: "n1", Free: node.Free, BatchSize: 20, NeedsAddress: func(fanfare.ChannelName) bool { return true }})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = node.Run(ctx) })
	wg.Go(func() { _ = planner.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// people puts many, the first forty and every fiftieth without an address.
func (w *world) people(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		c := fanfare.RecipientChange{ExternalID: fmt.Sprintf("p%04d", i)}
		if i >= 40 && i%50 != 0 {
			address := fmt.Sprintf("p%d@example.com", i)
			c.Email, c.EmailState, c.Mailbox = &address, fanfare.AddressUsable, uint64(i)
		}
		if _, err := w.store.Upsert(t.Context(), fanfare.SlotOf(c.ExternalID, w.store.Slots()), []fanfare.RecipientChange{c}, fanfare.UpsertOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

type itemsPage struct {
	Items []struct {
		Recipient, Result, Reason, Code, Text string
		Attempts, Doubted                     int
		Revision                              *int
		SentAt                                *time.Time `json:"sent_at"`
	}
	Next *string `json:"next_cursor"`
}

// items reads all pages of a listing and counts by recipient.
func (w *world) items(t *testing.T, path string, limit int) map[string]string {
	t.Helper()
	found := make(map[string]string)
	cursor := ""
	for {
		a := w.do(t, request{method: "GET", path: fmt.Sprintf("%s&limit=%d&cursor=%s", path, limit, cursor)})
		var p itemsPage
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.StatusCode != 200 || len(p.Items) > limit {
			t.Fatalf("%d %v %s", a.StatusCode, err, a.body)
		}
		for _, it := range p.Items {
			if was, twice := found[it.Recipient]; twice {
				t.Errorf("%s comes twice: %s, %s", it.Recipient, was, it.Result)
			}
			found[it.Recipient] = it.Result
			if it.Result == "sent" && (it.SentAt == nil || it.Revision == nil || *it.Revision != 1 || it.Reason+it.Code+it.Text != "") {
				t.Errorf("%+v", it)
			}
		}
		if p.Next == nil {
			return found
		}
		cursor = *p.Next
	}
}

// TestEverybodyIsListed sends by a sandbox that refuses some, and compares items, filters, export, single items and progress.
func TestEverybodyIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.people(t, 3000)
		w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"sandbox:","from":"News <news@example.org>"}`)
		w.must(t, "POST", "/v1/suppressions", `{"recipient":"p0001","channel":"email","reason":"unsubscribed"}`)
		id := text(w.must(t, "POST", "/v1/messages", `{"channel":"email","audience":{"all":true},"uncertain":"hold","content":{"subject":"x","text":"{{ unsubscribe_url }}"},"start":true}`), "id")
		stop := w.sends(t, "sandbox:?fail=3%25&temporary=5%25&unknown=2%25")
		defer stop()
		at := "/v1/messages/" + id
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if text(w.must(t, "GET", at, ""), "phase") == "completed" {
				break
			}
		}
		p := w.must(t, "GET", at+"/progress", "")
		k, _ := p["counts"].(map[string]any)
		n := func(name string) int { f, _ := k[name].(float64); return int(f) }
		if p["phase"] != "completed" || p["balanced"] != true || p["outcome"] != "with_uncertain" || n("audience") != 3000 || n("skipped") != 99 || n("failed") == 0 || n("uncertain") == 0 ||
			n("sent")+n("failed")+n("uncertain")+n("skipped") != 3000 {
			t.Errorf("%v", p)
		}
		all := w.items(t, at+"/items?", 77)
		if len(all) != 3000 {
			t.Errorf("%d items", len(all))
		}
		for _, result := range []string{"sent", "failed", "skipped", "uncertain", "pending", "in_flight"} {
			some := w.items(t, at+"/items?result="+result, 7)
			if len(some) != n(result) && result != "pending" {
				t.Errorf("%d items are %s, progress says %d", len(some), result, n(result))
			}
			for who, is := range some {
				if is != result || all[who] != result {
					t.Errorf("%s is %s among the %s", who, is, result)
				}
			}
		}
		if doubted := w.items(t, at+"/items?doubted=true", 5); len(doubted) != n("doubted") || len(doubted) == 0 {
			t.Errorf("%d doubted, progress says %d", len(doubted), n("doubted"))
		}
		if some := w.items(t, at+"/items?reason=no_address", 9); len(some) != 98 {
			t.Errorf("%d without an address", len(some))
		}
		if some := w.items(t, at+"/items?reason=permanent", 9); len(some) != n("failed") {
			t.Errorf("%d refused for good", len(some))
		}
		w.checkExport(t, at, all)
		for _, who := range []string{"p0000", "p0001", "p0002", "p1234", "p2999"} {
			if it := w.must(t, "GET", at+"/items/"+who, ""); it["result"] != all[who] || it["recipient"] != who {
				t.Errorf("%v, listed as %s", it, all[who])
			}
		}
		for _, who := range []string{"p1001", "p1002"} {
			w.must(t, "POST", "/v1/receipts", fmt.Sprintf(`{"receipts":[{"message":%q,"recipient":%q,"kind":"read"}]}`, id, who))
		}
		for _, step := range []string{"", "?step=1s", "?step=1m", "?step=24h"} {
			var line []struct {
				At                 time.Time
				Sent, Failed, Read int
			}
			if err := json.Unmarshal([]byte(w.do(t, request{method: "GET", path: at + "/timeline" + step}).body), &line); err != nil {
				t.Fatal(err)
			}
			sum := [3]int{}
			for i, p := range line {
				sum[0], sum[1], sum[2] = sum[0]+p.Sent, sum[1]+p.Failed, sum[2]+p.Read
				if i > 0 && !line[i-1].At.Before(p.At) || p.Sent+p.Failed+p.Read == 0 || p.At.After(time.Now()) {
					t.Errorf("timeline%s: %+v", step, line)
				}
			}
			p := w.must(t, "GET", at+"/progress", "")
			k, _ := p["counts"].(map[string]any)
			if want := [3]int{n("sent"), n("failed"), int(k["read"].(float64))}; sum != want || want[2] == 0 {
				t.Errorf("timeline%s: the sums are %v, progress says %v", step, sum, want)
			}
			if step == "?step=1s" && len(line) < 3 {
				t.Errorf("one point for all: %+v", line)
			}
		}
		play(t, w, []step{{call: "GET " + at + "/timeline?step=1ms", status: 422, has: `"parameter":"step"`}, {call: "GET /v1/messages/none/timeline", status: 404}})
		w.must(t, "PUT", "/v1/recipients/late", `{"email":"late@example.com"}`)
		play(t, w, []step{{call: "GET " + at + "/items/late", status: 404, has: "not in the message's audience"}, {call: "GET " + at + "/items/ghost", status: 404},
			{call: "GET " + at + "/items?cursor=x", status: 400}, {call: "GET " + at + "/items?result=lost", status: 422},
			{call: "GET " + at + "/failures", status: 200, has: `"reason":"permanent","code":"550 5.1.1"`}})
	})
}

func (w *world) checkExport(t *testing.T, at string, all map[string]string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(w.do(t, request{method: "GET", path: at + "/items/export"}).body), "\n")
	rows, err := csv.NewReader(strings.NewReader(w.do(t, request{method: "GET", path: at + "/items/export?format=csv"}).body)).ReadAll()
	if err != nil || len(lines) != len(all) || len(rows) != len(all)+1 {
		t.Fatalf("%d lines, %d rows, %v", len(lines), len(rows), err)
	}
	for i, line := range lines {
		var it struct{ Recipient, Result string }
		if err := json.Unmarshal([]byte(line), &it); err != nil || all[it.Recipient] != it.Result || rows[i+1][0] != it.Recipient || rows[i+1][1] != it.Result {
			t.Errorf("%s / %v (%v)", line, rows[i+1], err)
		}
	}
}

// TestARecipientIsNoFormula: what is exported as CSV is text to a spreadsheet, whatever the external id begins with.
func TestARecipientIsNoFormula(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := `=HYPERLINK("http://evil.example")`
		w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"sandbox:","from":"News <news@example.org>"}`)
		w.must(t, "PUT", "/v1/recipients/"+url.PathEscape(id), `{"email":"a@example.com"}`)
		w.must(t, "PUT", "/v1/recipients/u1", `{"email":"b@example.com"}`)
		at := "/v1/messages/" + text(w.must(t, "POST", "/v1/messages", `{"channel":"email","audience":{"all":true},"start":true,"content":{"subject":"s","text":"x"}}`), "id")
		stop := w.sends(t, "sandbox:")
		time.Sleep(5 * time.Second)
		stop()
		rows, err := csv.NewReader(strings.NewReader(w.do(t, request{method: "GET", path: at + "/items/export?format=csv"}).body)).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%v, %v", rows, err)
		}
		if got := []string{rows[1][0], rows[2][0]}; !slices.Contains(got, "u1") || !slices.Contains(got, "'"+id) {
			t.Errorf("%q", got)
		}
	})
}

// flushed is a recorder that can be read while it is written, on the clock of the bubble.
type flushed struct {
	*httptest.ResponseRecorder
	mu   sync.Mutex
	at   []time.Time
	text bytes.Buffer
}

func (f *flushed) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = append(f.at, time.Now())
	return f.text.Write(b)
}

func (f *flushed) Flush() {}

// TestTheStream: events named progress, ids from 1, at least one a second, one last event after the final phase, then the end.
func TestTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		id := text(w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"all":true},"send_at":"2999-01-01T00:00:00Z"}`), "id")
		out := &flushed{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/messages/"+id+"/progress/stream", nil)
		req.Header.Set("Authorization", "Bearer "+w.key)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.ServeHTTP(out, req)
		}()
		time.Sleep(5 * time.Second)
		w.must(t, "POST", "/v1/messages/"+id+"/pause", "")
		time.Sleep(2 * time.Second)
		w.must(t, "POST", "/v1/messages/"+id+"/cancel", "")
		select {
		case <-ended:
		case <-time.After(time.Second):
			t.Fatal("the stream goes on after the final phase")
		}
		events := strings.Split(strings.TrimSpace(out.text.String()), "\n\n")
		if len(events) < 8 || len(events) > 14 {
			t.Errorf("%d events in 7 s", len(events))
		}
		for i, e := range events {
			if !strings.HasPrefix(e, fmt.Sprintf("id: %d\nevent: progress\ndata: {", i+1)) {
				t.Errorf("event %d: %s", i+1, e)
			}
			if i > 0 && out.at[i].Sub(out.at[i-1]) > time.Second+10*time.Millisecond {
				t.Errorf("%v of silence before event %d", out.at[i].Sub(out.at[i-1]), i+1)
			}
			if final := strings.Contains(e, `"phase":"cancelled"`); final != (i == len(events)-1) {
				t.Errorf("event %d of %d: %s", i+1, len(events), e)
			}
		}
		if got := out.Header().Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("of type %s", got)
		}
	})
}

// TestWhoAsksSeldomIsToldARate: two questions a minute apart were once answered with a rate of 0 and no eta.
func TestWhoAsksSeldomIsToldARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.people(t, 2050)
		w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"sandbox:","from":"News <news@example.org>"}`)
		at := "/v1/messages/" + text(w.must(t, "POST", "/v1/messages", `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"},"start":true}`), "id")
		stop := w.sends(t, "sandbox:?delay=2s")
		defer stop()
		time.Sleep(10 * time.Second)
		ask := func() (p map[string]any, sent, left float64) {
			p = w.must(t, "GET", at+"/progress", "")
			k, _ := p["counts"].(map[string]any)
			sent, _ = k["sent"].(float64)
			waiting, _ := k["remaining"].(float64)
			flying, _ := k["in_flight"].(float64)
			return p, sent, waiting + flying
		}
		_, was, _ := ask()
		for range 2 {
			time.Sleep(time.Minute)
			other := text(w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"all":true}}`), "id")
			w.must(t, "GET", "/v1/messages/"+other+"/progress", "") // whoever looks at another message ends no watch
			p, sent, left := ask()
			rate, _ := p["rate_per_second"].(float64)
			eta, _ := p["eta_seconds"].(float64)
			if mean := (sent - was) / 60; p["phase"] != "sending" || mean < 0.5 || math.Abs(rate-mean) > 0.06 || math.Abs(eta-left/mean) > 0.06 {
				t.Errorf("%v sent, %v a minute ago, %v are left: %v", sent, was, left, p)
			}
			was = sent
		}
	})
}

// counting counts how often a store is asked for sums.
type counting struct {
	api.Store
	mu    sync.Mutex
	asked int // guarded by mu
}

func (c *counting) Tally(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (fanfare.Tally, error) {
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
	return c.Store.Tally(ctx, m, s)
}

// TestManyWatchersCostAsOne: what a hundred watchers ask for is counted once, and a message that is done is never counted again.
func TestManyWatchersCostAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *counting
		w := newWorld(t, func(cfg *api.Config) { c = &counting{Store: cfg.Store}; cfg.Store = c })
		w.fill(t)
		id := text(w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"all":true},"start":true}`), "id")
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { w.must(t, "GET", "/v1/messages/"+id+"/progress", "") })
		}
		wg.Wait()
		if slots := w.store.Slots(); c.asked > 2*slots {
			t.Errorf("asked %d times for %d slots", c.asked, slots)
		}
		w.must(t, "POST", "/v1/messages/"+id+"/cancel", "")
		w.must(t, "GET", "/v1/messages/"+id+"/progress", "")
		before := c.asked
		time.Sleep(time.Hour)
		w.must(t, "GET", "/v1/messages/"+id+"/progress", "")
		if c.asked != before {
			t.Errorf("a cancelled message was counted again")
		}
	})
}
