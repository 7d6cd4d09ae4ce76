package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare"
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
	for name, step := range map[string]int{"in order": 1, "in no order": 7919} {
		b.Run(name, func(b *testing.B) {
			m := meter{b: b}
			b.StopTimer()
			for range b.N {
				s := benchStore(b)
				for first := 0; first < importPeople; first += importRows {
					by := importBlock(importPeople, first, importRows, s.Slots(), step)
					m.start()
					for slot, changes := range by {
						if _, err := s.Upsert(b.Context(), fanfare.Slot(slot), changes, fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}, //nolint:gosec // small
							Mark: &fanfare.Mark{Work: "bench", Part: int64(first)}}); err != nil {
							b.Fatal(err)
						}
					}
					m.stop()
				}
			}
			m.report(importPeople, "rows")
		})
	}
}

// BenchmarkImportBare inserts the same rows into the same table and index by the fastest plain statements, without anything else.
func BenchmarkImportBare(b *testing.B) {
	m := meter{b: b}
	b.StopTimer()
	for range b.N {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(50000)&_pragma=cache_size(-32000)")
		if err != nil {
			b.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		for _, ddl := range []string{"CREATE TABLE r (person INTEGER PRIMARY KEY, slot INTEGER, mailbox INTEGER, updated_at INTEGER, external_id TEXT, email TEXT, phone TEXT, locale TEXT, time_zone TEXT, attributes TEXT)",
			"CREATE UNIQUE INDEX r_id ON r (slot, external_id)"} {
			if _, err := db.ExecContext(b.Context(), ddl); err != nil {
				b.Fatal(err)
			}
		}
		const rows = 50
		text := "INSERT INTO r VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" + strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows-1)
		var people [16]int64
		for first := 0; first < importPeople; first += importRows {
			by := importBlock(importPeople, first, importRows, len(people), 1)
			m.start()
			tx, err := db.BeginTx(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			insert, err := tx.PrepareContext(b.Context(), text)
			if err != nil {
				b.Fatal(err)
			}
			var values []any
			for slot, changes := range by {
				for i := range changes {
					c := &changes[i]
					values = append(values, int64(slot)<<32|people[slot], slot, int64(c.Mailbox), time.Now().UnixMicro(), c.ExternalID, *c.Email, "", "", "", //nolint:gosec // a hash
						`{"city":"Berlin","level":12,"name":"Name `+c.ExternalID+`"}`)
					if people[slot]++; len(values) == 10*rows {
						if _, err := insert.ExecContext(b.Context(), values...); err != nil {
							b.Fatal(err)
						}
						values = values[:0]
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
