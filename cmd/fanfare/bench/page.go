package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	"fanfare"
	channel "fanfare/channels/inbox"
	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/serve"
	"fanfare/cmd/fanfare/spawn"
	reading "fanfare/inbox"
	"fanfare/set"
)

const (
	halves  = 16     // lists, each a random half of all
	readMax = 10_000 // people with a name, who have tokens
)

// manyPeople is how many there are at least, so that half of a slot are too many for a message to few, of which inboxes have rows.
const manyPeople = 5000

// pageRow is the row `page`: pages of people's inboxes of a thousand active messages, each to a random half.
func pageRow(ctx context.Context, b *bench) (Row, error) {
	people, messages := max(b.n(1_000_000), manyPeople), max(20, 1000/max(1, b.Scale))
	named := min(readMax, people/10)
	data := filepath.Join(b.dir, "page")
	names, err := readers(ctx, data, people-named, named)
	if err != nil {
		return Row{}, err
	}
	if err := b.fillInboxes(ctx, data, messages); err != nil {
		return Row{}, err
	}
	state, first, memory, err := pageState(ctx, data, names, messages, people)
	if err != nil {
		return Row{}, err
	}
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return Row{}, err
	}
	plain, err := readPages(ctx, s, names)
	var rss int64
	if err == nil {
		rss, err = s.PeakRSS()
	}
	var tagged marked
	if err == nil {
		if err = inTurn(ctx, s, 20, 8, func(i int) map[string]any { return news(i, "everyone", "Hello {{ recipient.external_id }}") }); err == nil {
			tagged, err = readPages(ctx, s, names)
		}
	}
	if err := errors.Join(err, s.Stop()); err != nil {
		return Row{}, err
	}
	c, err := spawn.Constant(ctx, b.Exe)
	if err != nil {
		return Row{}, err
	}
	bare, err := pages(ctx, c, signed(names, client.InboxKey{ID: serve.BenchSecret, Key: serve.BenchSecret}))
	if err := errors.Join(err, c.Stop(), examine(ctx, data)); err != nil {
		return Row{}, err
	}
	us := func(m marked) float64 { return m.cpu.Seconds() / float64(max(1, m.marks)) * 1e6 }
	return Row{What: fmt.Sprintf("inbox pages of 20 with counts, %d active messages to random halves of %d people, %d clients", messages, people, markClients),
		Budget: "state under 50 µs; over HTTP 20,000/s, p99 under 10 ms, 0.7 of the constant answer; with merge tags 10,000/s",
		Figures: map[string]float64{"state_us": state, "first_ms": first, "cache_mb": memory / 1e6, "http_per_second": plain.rate(), "http_p50_ms": plain.ms(50), "http_p99_ms": plain.ms(99), "http_cpu_us": us(plain),
			"tags_per_second": tagged.rate(), "tags_p99_ms": tagged.ms(99), "tags_cpu_us": us(tagged), "bare_per_second": bare.rate(), "bare_p99_ms": bare.ms(99), "bare_cpu_us": us(bare), "peak_rss_mb": float64(rss) / 1e6},
		Bare:  fmt.Sprintf("the same handler with a constant page: %.0f/s, p99 %.1f ms, %.1f µs of processor each", bare.rate(), bare.ms(99), us(bare)),
		Ratio: plain.rate() / bare.rate(),
		text: fmt.Sprintf("state %.1f µs (the first of 65,536 people %.0f ms; %.0f MB kept); over HTTP %.0f/s, p50 %.1f ms, p99 %.1f ms, %.1f µs of processor each (by processor time the ratio is %.2f), peak %.0f MB; with merge tags %.0f/s, p99 %.1f ms; doctor passes",
			state, first, memory/1e6, plain.rate(), plain.ms(50), plain.ms(99), us(plain), us(bare)/us(plain), float64(rss)/1e6, tagged.rate(), tagged.ms(99))}, nil
}

func news(i int, list, title string) map[string]any {
	return map[string]any{"name": fmt.Sprint("bench page ", i), "channel": "inbox", "audience": map[string]string{"list": list},
		"content": map[string]string{"title": fmt.Sprintf("%s %03d", title, i), "body": "The news of this autumn.", "url": "https://example.com/news"}}
}

// fillInboxes makes lists of random halves and sends messages to them in turn.
func (b *bench) fillInboxes(ctx context.Context, data string, messages int) (err error) {
	store, err := open(ctx, data)
	if err != nil {
		return err
	}
	dice := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same in every run
	for k := 0; k < halves && err == nil; k++ {
		l := fanfare.List{Name: fmt.Sprint("half-", k)}
		err = store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&l) })
		for s := fanfare.Slot(0); s < slots && err == nil; s++ {
			var alive *set.Set
			if alive, err = store.LoadSet(ctx, s, fanfare.SetAlive); err != nil {
				break
			}
			half := set.New()
			for seq := range alive.All() {
				if dice.IntN(2) == 0 {
					half.Add(seq)
				}
			}
			_, _, err = store.ChangeSet(ctx, s, fanfare.ListSet(l.ID), half, nil)
		}
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return err
	}
	err = inTurn(ctx, s, messages, 16, func(i int) map[string]any { return news(i, fmt.Sprint("half-", i%halves), "News") })
	return errors.Join(err, s.Stop())
}

// inTurn starts messages, so many at once, and waits until all are completed.
func inTurn(ctx context.Context, s *spawn.Server, n, at int, draft func(i int) map[string]any) error {
	for from := 0; from < n; from += at {
		var ids []string
		for i := from; i < min(n, from+at); i++ {
			id, err := message(ctx, s, draft(i))
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		for _, id := range ids {
			if err := s.Until(ctx, "an inbox message", 5*time.Millisecond, func() (bool, error) {
				var m client.Message
				err := s.Do(ctx, http.MethodGet, "/v1/messages/"+id, nil, &m)
				return m.Phase == "completed", err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// pageState marks some messages as read, then reads pages without HTTP: the processor time of one in µs, of the very first of a chunk in ms, and
// the memory that is kept.
func pageState(ctx context.Context, data string, names []string, messages, marks int) (us, first, memory float64, err error) {
	store, err := open(ctx, data)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	dice := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // as above
	watched := reading.Watch(store)
	var list []fanfare.InboxMessage
	if list, err = store.InboxMessages(ctx); err != nil || len(list) < messages {
		return 0, 0, 0, errors.Join(err, fmt.Errorf("%d active messages of %d", len(list), messages))
	}
	for i := range list {
		for slot := range fanfare.Slot(slots) {
			to, err := store.PartSet(ctx, list[i].Num, slot, fanfare.PartSend)
			if err != nil {
				return 0, 0, 0, err
			}
			var these []fanfare.Receipt
			for range marks / messages / slots {
				if seq, some := to.Select(dice.IntN(max(1, to.Len()))); some {
					these = append(these, fanfare.Receipt{Message: list[i].Num, Person: fanfare.Person{Slot: slot, Seq: seq}, Kind: fanfare.ReceiptRead})
				}
			}
			if _, err := store.LogReceipts(ctx, 0, these); err != nil {
				return 0, 0, 0, err
			}
		}
	}
	for more := true; more; {
		if more, err = store.Fold(ctx, 0); err != nil {
			return 0, 0, 0, err
		}
	}
	reader := reading.New(reading.Config{Store: watched, Compile: func(m *fanfare.Message) (reading.Content, error) {
		c, err := channel.New().Compile(m)
		if err != nil {
			return nil, err
		}
		return c.(*channel.Content), nil //nolint:forcetypeassert // what the channel makes
	}})
	read := func(i int) error {
		who, _, err := reader.Who(ctx, names[i%len(names)])
		if err == nil {
			_, err = reader.Page(ctx, who, reading.Query{Limit: 20})
		}
		return err
	}
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for i := range names { // to find people is no part of it
		if _, _, err := reader.Who(ctx, names[i]); err != nil {
			return 0, 0, 0, err
		}
	}
	before, began := heap(), ownCPU()
	for i := range names {
		if err := read(i); err != nil {
			return 0, 0, 0, err
		}
	}
	first = (ownCPU() - began).Seconds() * 1e3 / slots
	memory = heap() - before
	const rounds = 3
	began = ownCPU()
	for i := range rounds * len(names) {
		if err := read(i); err != nil {
			return 0, 0, 0, err
		}
	}
	return (ownCPU() - began).Seconds() * 1e6 / float64(rounds*len(names)), first, memory, nil
}

// readPages reads pages over HTTP with tokens that a key of the server has signed, after each chunk was read once.
func readPages(ctx context.Context, s *spawn.Server, names []string) (m marked, err error) {
	var key client.InboxKey
	if err := s.Do(ctx, http.MethodPost, "/v1/inbox_keys", nil, &key); err != nil {
		return m, err
	}
	tokens := signed(names, key)
	warm, err := greet(ctx, s)
	if err != nil {
		return m, err
	}
	defer warm.conn.Close() //nolint:errcheck // over
	for i := range min(len(tokens), 2000) {
		if _, err := warm.get("/v1/inbox?limit=20", tokens[i]); err != nil {
			return m, err
		}
	}
	return pages(ctx, s, tokens)
}

// pages has 64 clients read pages for a while.
func pages(ctx context.Context, s *spawn.Server, tokens []string) (m marked, err error) {
	clients := make([]*keepAlive, markClients)
	for i := range clients {
		if clients[i], err = greet(ctx, s); err != nil {
			return m, err
		}
		defer clients[i].conn.Close() //nolint:errcheck // over
	}
	before, err := s.CPU()
	if err != nil {
		return m, err
	}
	m, err = together(1<<40, func(client int, i int64) error {
		answer, err := clients[client].get("/v1/inbox?limit=20", tokens[int(i*7919)%len(tokens)])
		if err == nil && !bytes.HasPrefix(answer, []byte(`{"items":[`)) {
			err = fmt.Errorf("no page: %s", answer)
		}
		return err
	})
	after, err2 := s.CPU()
	m.cpu = after - before
	return m, errors.Join(err, err2)
}

// signed makes a token for each name.
func signed(names []string, k client.InboxKey) []string {
	tokens, until := make([]string, len(names)), time.Now().Add(time.Hour)
	for i, name := range names {
		tokens[i] = k.Token(name, until)
	}
	return tokens
}
