package bench

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/spawn"
	"fanfare/set"
)

const (
	markClients = 64
	markTime    = 4 * time.Second
	warm        = 256 // marks before the clock runs
)

// marks is the row `marks`: read marks of a message that ten million have read already, first in the store called directly, then over HTTP.
func marks(ctx context.Context, b *bench) (Row, error) {
	n, more := b.n(10_000_000), b.n(400_000)
	data := filepath.Join(b.dir, "marks")
	names, err := readers(ctx, data, n+more, more)
	if err != nil {
		return Row{}, err
	}
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return Row{}, err
	}
	id, err := message(ctx, s, map[string]any{"name": "bench marks", "channel": "inbox", "audience": map[string]string{"list": everyone},
		"content": map[string]string{"title": "News", "body": "The news of this autumn."}})
	if err == nil {
		_, err = completed(ctx, s, id, 5*time.Minute)
	}
	if err := errors.Join(err, s.Stop()); err != nil {
		return Row{}, err
	}
	stored, direct, err := markDirectly(ctx, data, n)
	if err != nil {
		return Row{}, err
	}
	over, told, err := b.markOverHTTP(ctx, data, id, names, n)
	if err == nil {
		err = examine(ctx, data)
	}
	if err != nil {
		return Row{}, err
	}
	each, err := transactionEach(ctx, filepath.Join(b.dir, "bare-marks.db"), b.n(400_000))
	if err != nil {
		return Row{}, err
	}
	return Row{What: fmt.Sprintf("read marks, one a call, %d clients, %d stored already", markClients, n),
		Budget: "20,000/s over HTTP, p99 under 10 ms; the store called directly 100,000/s",
		Figures: map[string]float64{"http_per_second": over.rate(), "http_p50_ms": over.ms(50), "http_p99_ms": over.ms(99), "http_server_cpu_us": over.each(),
			"reports_per_second": told.rate(), "reports_server_cpu_us": told.each(),
			"direct_per_second": direct.rate(), "direct_p99_ms": direct.ms(99), "direct_cpu_us": direct.each(), "bulk_per_second": stored, "peak_rss_mb": float64(over.rss) / 1e6,
			"bare_per_second": each},
		Bare:  fmt.Sprintf("a row and a transaction each, in SQLite: %.0f/s", each),
		Ratio: over.rate() / each,
		text: fmt.Sprintf("over HTTP (POST /v1/inbox/{message}/read): %.0f/s, p50 %.1f ms, p99 %.1f ms, %.0f µs of the server's processor each; by POST /v1/receipts: %.0f/s, %.0f µs each; peak %.0f MB; store called directly: %.0f/s, p99 %.1f ms, %.0f µs each; 10,000 a call: %.0f/s; doctor passes",
			over.rate(), over.ms(50), over.ms(99), over.each(), told.rate(), told.each(), float64(over.rss)/1e6, direct.rate(), direct.ms(99), direct.each(), stored)}, nil
}

// readers makes a data folder of numbers and of people with a name, all on the list, and gives the names.
func readers(ctx context.Context, data string, numbers, people int) (names []string, err error) {
	if err := numbered(ctx, data, numbers); err != nil {
		return nil, err
	}
	store, err := open(ctx, data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var list fanfare.List
	if err := store.View(ctx, func(v fanfare.ControlView) (err error) { list, err = v.List(everyone); return err }); err != nil {
		return nil, err
	}
	changes := make([][]fanfare.RecipientChange, slots)
	for i := range people {
		id := fmt.Sprintf("user-%d", i)
		names = append(names, id)
		slot := fanfare.SlotOf(id, slots)
		changes[slot] = append(changes[slot], fanfare.RecipientChange{ExternalID: id})
	}
	for slot, these := range changes {
		for part := range slices.Chunk(these, 10_000) {
			if _, err := store.Upsert(ctx, fanfare.Slot(slot), part, fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(list.ID)}}); err != nil { //nolint:gosec // 16
				return nil, err
			}
		}
	}
	return names, nil
}

// marked is what a run took.
type marked struct {
	marks int64
	took  time.Duration
	cpu   time.Duration
	rss   int64
	waits []time.Duration // ascending
}

func (m *marked) rate() float64 { return float64(m.marks) / m.took.Seconds() }

// each is the processor time of one mark in microseconds.
func (m *marked) each() float64 { return m.cpu.Seconds() / float64(m.marks) * 1e6 }

func (m *marked) ms(percent int) float64 {
	if len(m.waits) == 0 {
		return 0
	}
	return float64(m.waits[len(m.waits)*percent/100].Microseconds()) / 1000
}

// together has clients mark one after the other, each what is left next, until time is up or nothing is left.
func together(most int64, one func(client int, i int64) error) (m marked, err error) {
	var next atomic.Int64
	var mu sync.Mutex
	var failed []error // guarded by mu, as is m
	var wg sync.WaitGroup
	began := time.Now()
	for c := range markClients {
		wg.Go(func() {
			var waits []time.Duration
			var err error
			for time.Since(began) < markTime && err == nil {
				i := next.Add(1) - 1
				if i >= most {
					break
				}
				asked := time.Now()
				if err = one(c, i); err == nil {
					waits = append(waits, time.Since(asked))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			m.waits, m.marks = append(m.waits, waits...), m.marks+int64(len(waits))
			if err != nil {
				failed = append(failed, err)
			}
		})
	}
	wg.Wait()
	m.took = time.Since(began)
	slices.Sort(m.waits)
	return m, errors.Join(failed...)
}

// markDirectly stores n marks in calls of 10,000, then single ones of the people after them.
func markDirectly(ctx context.Context, data string, n int) (bulk float64, m marked, err error) {
	store, err := open(ctx, data)
	if err != nil {
		return 0, m, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var rest []fanfare.Receipt
	began := time.Now()
	for s := range fanfare.Slot(slots) {
		here, err := store.PartSet(ctx, 1, s, fanfare.PartSend)
		if err != nil {
			return 0, m, err
		}
		all := here.Slice(0, n/slots)
		if err := markAll(ctx, store, s, all); err != nil {
			return 0, m, err
		}
		numbers, err := store.LoadSet(ctx, s, fanfare.SetAlive)
		if err != nil {
			return 0, m, err
		}
		for seq := range set.And(here, set.Range(uint64(n/slots), uint64(n/slots+400_000/slots*n/10_000_000))).All() { //nolint:gosec // positive
			if numbers.Contains(seq) {
				rest = append(rest, fanfare.Receipt{Message: 1, Person: fanfare.Person{Slot: s, Seq: seq}, Kind: fanfare.ReceiptRead})
			}
		}
		for more := true; more; {
			if more, err = store.Fold(ctx, 0); err != nil {
				return 0, m, err
			}
		}
	}
	bulk = float64(n) / time.Since(began).Seconds()
	own := ownCPU()
	m, err = together(int64(len(rest)), func(_ int, i int64) error {
		at := int(i*7919) % len(rest) // all slots, and no order
		logged, err := store.LogReceipts(ctx, 0, rest[at:at+1])
		if err == nil && logged[0] == fanfare.LoggedDamaged {
			err = fanfare.ErrDamaged
		}
		return err
	})
	m.cpu = ownCPU() - own
	return bulk, m, err
}

func markAll(ctx context.Context, store fanfare.Store, s fanfare.Slot, who *set.Set) error {
	these := make([]fanfare.Receipt, 0, 10_000)
	for seq := range who.All() {
		if these = append(these, fanfare.Receipt{Message: 1, Person: fanfare.Person{Slot: s, Seq: seq}, Kind: fanfare.ReceiptRead}); len(these) == cap(these) {
			if _, err := store.LogReceipts(ctx, 0, these); err != nil {
				return err
			}
			these = these[:0]
		}
	}
	_, err := store.LogReceipts(ctx, 0, these)
	return err
}

// markOverHTTP marks people with names, each client over a connection of its own: half of them by the recipients' own route, half by reports.
func (b *bench) markOverHTTP(ctx context.Context, data, id string, names []string, stored int) (own, told marked, err error) {
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return own, told, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	clients := make([]*keepAlive, markClients)
	for i := range clients {
		if clients[i], err = dial(ctx, s); err != nil {
			return own, told, err
		}
		defer clients[i].conn.Close() //nolint:errcheck // over
	}
	var key client.InboxKey
	if err := s.Do(ctx, http.MethodPost, "/v1/inbox_keys", nil, &key); err != nil {
		return own, told, err
	}
	half := len(names) / 2
	tokens := signed(names[:half], key)
	for i := range min(warm, half) { // what lies in the log and whose inboxes these are is read once
		if _, err := clients[0].post("/v1/inbox/"+id+"/read", tokens[i], nil); err != nil {
			return own, told, err
		}
	}
	if own, err = measured(s, half, func(client int, i int64) error {
		_, err := clients[client].post("/v1/inbox/"+id+"/read", tokens[i], nil)
		return err
	}); err != nil {
		return own, told, err
	}
	if told, err = measured(s, half, func(client int, i int64) error {
		body, err := json.Marshal(map[string]any{"receipts": []map[string]string{{"message": id, "recipient": names[half+int(i)], "kind": "read"}}})
		if err != nil {
			return err
		}
		answer, err := clients[client].post("/v1/receipts", s.Key, body)
		if err != nil {
			return err
		}
		var got struct{ Accepted int }
		if err := json.Unmarshal(answer, &got); err != nil || got.Accepted != 1 {
			return fmt.Errorf("a mark was not accepted: %s", answer)
		}
		return nil
	}); err != nil {
		return own, told, err
	}
	var p struct{ Counts struct{ Read int } }
	if err := s.Do(ctx, http.MethodGet, "/v1/messages/"+id+"/progress", nil, &p); err != nil {
		return own, told, err
	}
	if want := int64(stored) + own.marks + told.marks; int64(p.Counts.Read) < want {
		return own, told, fmt.Errorf("%d are counted as read, at least %d have", p.Counts.Read, want)
	}
	own.rss, err = s.PeakRSS()
	return own, told, err
}

// measured is together with the processor time that the server used for it.
func measured(s *spawn.Server, most int, one func(client int, i int64) error) (m marked, err error) {
	before, err := s.CPU()
	if err != nil {
		return m, err
	}
	if m, err = together(int64(most), one); err != nil {
		return m, err
	}
	after, err := s.CPU()
	m.cpu = after - before
	return m, err
}

// transactionEach writes a row for each mark, as is usual.
func transactionEach(ctx context.Context, file string, most int) (perSecond float64, err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "create table r(message integer, person integer, read_at integer, primary key (message, person)) without rowid"); err != nil {
		return 0, err
	}
	m, err := together(int64(most), func(_ int, i int64) error {
		_, err := db.ExecContext(ctx, "insert into r(message, person, read_at) values (1, ?, ?)", i*7919%100_000_007, i)
		return err
	})
	return m.rate(), err
}
