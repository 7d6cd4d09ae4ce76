//go:build unix

package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

// These benchmarks print what the budgets of the design need to know, each beside a bare loop where there is one. They assert no time.

func benchStore(b *testing.B) fanfare.Store {
	b.Helper()
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "fanfare.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// importBlock is one block of n people with three attributes, as a CSV file gives them, by slot. Ids come in steps.
func importBlock(n, first, block, slots, step int) [][]fanfare.RecipientChange {
	cities := [...]string{"Beijing", "Shanghai", "Berlin", "Paris", "東京"}
	by := make([][]fanfare.RecipientChange, slots)
	for i := first; i < min(first+block, n); i++ {
		id := fmt.Sprintf("user-%08d", i*step%n)
		mail := id + "@example.com"
		s := fanfare.SlotOf(id, slots)
		by[s] = append(by[s], fanfare.RecipientChange{ExternalID: id, Email: &mail, EmailState: fanfare.AddressUsable, Mailbox: uint64(i) * 0x9E3779B97F4A7C15, //nolint:gosec // a hash
			Attributes: map[string]any{"city": cities[i%len(cities)], "level": float64(i % 100), "name": "Name " + id}})
	}
	return by
}

const (
	importPeople = 1_000_000
	importRows   = 50_000 // a block, as package people cuts them
)

// processor is the processor time of this process so far: on a busy machine it says more than the clock.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// meter stops and starts a benchmark's clock together with the processor's.
type meter struct {
	b    *testing.B
	used time.Duration
	from time.Duration
}

func (m *meter) start() {
	m.from = processor(m.b)
	m.b.StartTimer()
}

func (m *meter) stop() {
	m.b.StopTimer()
	m.used += processor(m.b) - m.from
}

func (m *meter) report(n int, unit string) {
	m.b.ReportMetric(m.b.Elapsed().Seconds()/float64(m.b.N), "s")
	m.b.ReportMetric(m.used.Seconds()/float64(m.b.N), "cpu-s")
	m.b.ReportMetric(float64(m.b.N*n)/m.b.Elapsed().Seconds(), unit+"/s")
}

func BenchmarkImport(b *testing.B) {
	for _, c := range []struct {
		name  string
		step  int
		aside bool
	}{{"in order", 1, false}, {"in no order", 7919, false}, {"in order, slots side by side", 1, true}} {
		b.Run(c.name, func(b *testing.B) {
			m := meter{b: b}
			b.StopTimer()
			for range b.N {
				s := benchStore(b)
				for first := 0; first < importPeople; first += importRows {
					by := importBlock(importPeople, first, importRows, s.Slots(), c.step)
					upsert := func(slot int) {
						if _, err := s.Upsert(b.Context(), fanfare.Slot(slot), by[slot], fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}, //nolint:gosec // small
							Mark: &fanfare.Mark{Work: "bench", Part: int64(first)}}); err != nil {
							b.Error(err)
						}
					}
					m.start()
					var group sync.WaitGroup
					for slot := range by {
						if c.aside {
							group.Go(func() { upsert(slot) })
						} else {
							upsert(slot)
						}
					}
					group.Wait()
					m.stop()
				}
			}
			m.report(importPeople, "rows")
		})
	}
}

// BenchmarkImportBare inserts the same rows into the same tables and indexes by the fastest plain statements, without anything else.
func BenchmarkImportBare(b *testing.B) {
	m := meter{b: b}
	b.StopTimer()
	for range b.N {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(50000)&_pragma=cache_size(-32000)")
		if err != nil {
			b.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		const rows = 50
		var seqs [16]int64
		var values [len(seqs)][]any // of a statement that is not full yet
		for slot := range seqs {
			if _, err := db.ExecContext(b.Context(), fmt.Sprintf("CREATE TABLE r%d (seq INTEGER PRIMARY KEY, mailbox INTEGER, updated_at INTEGER, external_id TEXT UNIQUE, email TEXT, phone TEXT, locale TEXT, time_zone TEXT, attributes TEXT)", slot)); err != nil {
				b.Fatal(err)
			}
		}
		for first := 0; first < importPeople; first += importRows {
			by := importBlock(importPeople, first, importRows, len(seqs), 1)
			m.start()
			tx, err := db.BeginTx(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			for slot, changes := range by {
				insert, err := tx.PrepareContext(b.Context(), fmt.Sprintf("INSERT INTO r%d VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", slot)+strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows-1))
				if err != nil {
					b.Fatal(err)
				}
				for i := range changes {
					c := &changes[i]
					values[slot] = append(values[slot], seqs[slot], int64(c.Mailbox), time.Now().UnixMicro(), c.ExternalID, *c.Email, "", "", "", //nolint:gosec // a hash
						`{"city":"Berlin","level":12,"name":"Name `+c.ExternalID+`"}`)
					if seqs[slot]++; len(values[slot]) == 9*rows {
						if _, err := insert.ExecContext(b.Context(), values[slot]...); err != nil {
							b.Fatal(err)
						}
						values[slot] = values[slot][:0]
					}
				}
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
			m.stop()
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
	m.report(importPeople, "rows")
}

// BenchmarkProfiles reads the recipients of one batch, as rendering does.
func BenchmarkProfiles(b *testing.B) {
	s := benchStore(b)
	const people = 200_000
	by := importBlock(people, 0, people, s.Slots(), 1)
	done, err := s.Upsert(b.Context(), 3, by[3], fanfare.UpsertOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for name, step := range map[string]int{"neighbours": 1, "one in ten": 10} {
		b.Run(name, func(b *testing.B) {
			var seqs []fanfare.Seq
			for i := 0; len(seqs) < 500; i += step {
				seqs = append(seqs, done[i].Seq)
			}
			for b.Loop() {
				found, err := s.Profiles(b.Context(), 3, seqs)
				if err != nil || found[499].ExternalID == "" {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSets(b *testing.B) {
	s := benchStore(b)
	m := benchMessage(b, s, 1_000_000, 500)
	b.Run("LoadSet", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.LoadSet(b.Context(), 3, fanfare.SetAlive); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Members", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if got, err := s.Members(b.Context(), m, 3, uint32(i%100*500), 500); err != nil || len(got) != 500 { //nolint:gosec // small
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("Backlog", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := s.Backlog(b.Context(), m, 3, 0, 10); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Tally", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Tally(b.Context(), m, 3); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchMessage freezes a message to n people, numbers only, and lets it send.
func benchMessage(b *testing.B, s fanfare.Store, n, size int) fanfare.MessageNum {
	b.Helper()
	m := fanfare.Message{ID: "bench", Channel: fanfare.ChannelNull, State: fanfare.State{Phase: fanfare.PhaseSending, Generation: 1}}
	if err := s.Update(b.Context(), func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }); err != nil {
		b.Fatal(err)
	}
	for i := range s.Slots() {
		slot := fanfare.Slot(i) //nolint:gosec // slots fit
		if err := s.Number(b.Context(), slot, n/s.Slots()); err != nil {
			b.Fatal(err)
		}
	}
	benchFreeze(b, s, m.Num, size)
	for i := range s.Slots() {
		if err := s.Spread(b.Context(), fanfare.Slot(i), m.Num, fanfare.SlotSending, 1); err != nil { //nolint:gosec // slots fit
			b.Fatal(err)
		}
	}
	return m.Num
}

func benchFreeze(b *testing.B, s fanfare.Store, m fanfare.MessageNum, size int) {
	b.Helper()
	for i := range s.Slots() {
		slot := fanfare.Slot(i) //nolint:gosec // slots fit
		if err := s.Spread(b.Context(), slot, m, fanfare.SlotPreparing, 1); err != nil {
			b.Fatal(err)
		}
		if done, err := s.Freeze(b.Context(), slot, m, 1, size, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			alive, err := v.LoadSet(fanfare.SetAlive)
			return map[fanfare.Part]*set.Set{fanfare.PartSend: alive}, err
		}); err != nil || !done {
			b.Fatal(done, err)
		}
	}
}

func BenchmarkFreeze(b *testing.B) {
	s := benchStore(b)
	benchMessage(b, s, 10_000_000, 500)
	m := fanfare.MessageNum(1)
	for b.Loop() {
		m++
		benchFreeze(b, s, m, 500)
	}
}

// journal drives every batch of a message from its claim to its end, many batches in each call, chunk members a record.
type journal struct {
	b       *testing.B
	s       fanfare.Store
	message fanfare.MessageNum
	chunk   int
	records int
}

// side drives the batches of some slots, so that calls of several sides overlap as those of a node's providers do.
func (j *journal) side(ctx context.Context, slots []fanfare.Slot, batches, at int) (records int, err error) {
	type held struct {
		row     fanfare.Batch
		members []fanfare.Seq
		next    int
	}
	suppressions := fanfare.Suppressions(fanfare.ChannelEmail, "news", false)
	for _, slot := range slots {
		for first := 0; first < batches; first += at {
			var entries []fanfare.Entry
			for k := first; k < min(first+at, batches); k++ {
				entries = append(entries, fanfare.Entry{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: j.message, Slot: slot, Batch: fanfare.BatchNo(k)}, //nolint:gosec // small
					Generation: 1, Owner: fanfare.Owner{Node: "bench", Incarnation: 1}, Lease: fanfare.LeaseTime}})
			}
			open := make([]*held, 0, len(entries))
			for _, a := range j.s.Append(ctx, 0, entries) {
				if a.Answer != fanfare.Applied {
					return records, fmt.Errorf("claim: %d: %w", a.Answer, a.Err)
				}
				members, err := j.s.Members(ctx, j.message, slot, a.Row.First, a.Row.N)
				if err != nil {
					return records, err
				}
				open = append(open, &held{row: a.Row, members: members})
			}
			for len(open) > 0 {
				entries = entries[:0]
				for _, h := range open {
					r := &fanfare.Record{BatchRef: h.row.BatchRef, Generation: 1, Fence: h.row.Fence, Step: h.row.Step, Next: h.row, Lease: fanfare.LeaseTime}
					if h.next > 0 {
						r.SentNow = true
						if len(r.Next.Runs) == 0 {
							r.Next.Runs = []fanfare.Run{{Revision: 1}}
						}
						r.Next.Sent += r.Next.InFlight.Len()
						r.Next.InFlight.Reset()
					}
					if h.next < h.row.N {
						r.Intent = &fanfare.Intent{Suppressions: suppressions}
						for range min(j.chunk, h.row.N-h.next) {
							r.Intent.Members = append(r.Intent.Members, fanfare.Member{Rank: h.next, Seq: h.members[h.next]})
							h.next++
						}
					} else {
						r.Lease = 0
					}
					entries = append(entries, fanfare.Entry{Record: r})
				}
				records += len(entries)
				left := open[:0]
				for i, a := range j.s.Append(ctx, 0, entries) {
					if a.Answer != fanfare.Applied {
						return records, fmt.Errorf("record: %d: %w", a.Answer, a.Err)
					}
					if h := open[i]; a.Row.State != fanfare.BatchDone {
						h.row = a.Row
						left = append(left, h)
					}
				}
				open = left
			}
		}
	}
	return records, nil
}

func (j *journal) run(batches, at, sides int) {
	j.b.Helper()
	var group sync.WaitGroup
	counts, errs := make([]int, sides), make([]error, sides)
	for i := range sides {
		group.Go(func() {
			var slots []fanfare.Slot
			for n := i; n < j.s.Slots(); n += sides {
				slots = append(slots, fanfare.Slot(n)) //nolint:gosec // slots fit
			}
			counts[i], errs[i] = j.side(j.b.Context(), slots, batches, at)
		})
	}
	group.Wait()
	for i := range sides {
		j.records += counts[i]
		if errs[i] != nil {
			j.b.Fatal(errs[i])
		}
	}
}

// BenchmarkJournal sends to 10,000,000 in whole batches, and to fewer in chunks of 8, as e-mail is journaled.
func BenchmarkJournal(b *testing.B) {
	for _, c := range []struct {
		name      string
		n, chunk  int
		at, sides int
	}{
		{"whole batches", 10_000_000, 500, 64, 2},
		{"chunks of 8", 1_600_000, 8, 64, 2},
		{"chunks of 8, small calls", 800_000, 8, 4, 8},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, records := meter{b: b}, 0
			b.StopTimer()
			for range b.N {
				s := benchStore(b)
				j := &journal{b: b, s: s, message: benchMessage(b, s, c.n, 500), chunk: c.chunk}
				m.start()
				j.run(c.n/s.Slots()/500, c.at, c.sides)
				m.stop()
				records += j.records
			}
			m.report(records/b.N, "records")
		})
	}
}

// save is the statement with which a record writes its row.
const save = `UPDATE batches SET state = ?, sent = ?, failed = ?, skipped = ?, uncertain = ?, fence = ?, step = ?, owner = ?, incarnation = ?,
  lease_until = ?, not_before = ?, pending = ?, in_flight = ?, doubted = ?, runs = ?, held = ?
WHERE message = ? AND slot = ? AND batch = ? AND fence = ? AND step = ? AND first = ? AND n = ?`

// BenchmarkJournalBare is the bare committer: it makes the statements of BenchmarkJournal's chunks of 8, ready made, in as large groups.
func BenchmarkJournalBare(b *testing.B) {
	const people, size, chunk, group = 800_000, 500, 8, 128
	m, records := meter{b: b}, 0
	b.StopTimer()
	for range b.N {
		name := filepath.Join(b.TempDir(), "fanfare.db")
		s, err := sqlite.Open(b.Context(), name, sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		num, slots := benchMessage(b, s, people, size), s.Slots()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		db, err := sql.Open("sqlite", "file:"+name+"?_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(4000)&_pragma=cache_size(-32000)")
		if err != nil {
			b.Fatal(err)
		}
		c, err := db.Conn(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Raw(func(raw any) error {
			run := func(s driver.Stmt, args []driver.NamedValue) error {
				r, err := s.(driver.StmtExecContext).ExecContext(b.Context(), args) //nolint:forcetypeassert // of this driver
				if err == nil && args != nil {
					if n, _ := r.RowsAffected(); n != 1 {
						err = fmt.Errorf("%d rows changed", n)
					}
				}
				return err
			}
			var prepared [3]driver.Stmt
			for i, text := range [...]string{"BEGIN IMMEDIATE", save, "COMMIT"} {
				s, err := raw.(driver.Conn).Prepare(text) //nolint:forcetypeassert // of this driver
				if err != nil {
					return err
				}
				defer s.Close() //nolint:errcheck // ends with the connection
				prepared[i] = s
			}
			pending, inFlight := set.FullBits(size), set.NewBits(size)
			for k := range chunk {
				inFlight.Set(k)
			}
			m.start()
			defer m.stop()
			args := make([]driver.NamedValue, 23)
			for first := 0; first < people/size; first += group { // the batches that are under way at the same time
				for step := range size/chunk + 2 {
					if err := run(prepared[0], nil); err != nil {
						return err
					}
					for k := first; k < min(first+group, people/size); k++ {
						lease := time.Now().Add(fanfare.LeaseTime).UnixMicro()
						for i, v := range [...]driver.Value{int64(1), int64(step * chunk), int64(0), int64(0), int64(0), int64(0), int64(step + 1), "bench", int64(1),
							lease, int64(0), pending.Bytes(), inFlight.Bytes(), nil, `[{"revision":1,"at":1770000000000000}]`, nil,
							int64(num), int64(k % slots), int64(k / slots), int64(0), int64(step), int64(k / slots * size), int64(size)} {
							args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
						}
						if err := run(prepared[1], args); err != nil {
							return err
						}
						records++
					}
					if err := run(prepared[2], nil); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(c.Close(), db.Close()); err != nil {
			b.Fatal(err)
		}
	}
	m.report(records/b.N, "records")
}
