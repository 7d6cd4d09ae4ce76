package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/serve"
	"fanfare/cmd/fanfare/spawn"
	"fanfare/set"
)

// picked makes a data folder with n numbered recipients and a list of a random share of them.
func picked(ctx context.Context, data string, n int, share float64, stores ...string) (members int, err error) {
	if err := numbered(ctx, data, n, stores...); err != nil {
		return 0, err
	}
	store, err := open(ctx, data, stores...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	l := fanfare.List{Name: "picked"}
	if err := store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&l) }); err != nil {
		return 0, err
	}
	dice := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same people in every run
	for s := range fanfare.Slot(slots) {
		alive, err := store.LoadSet(ctx, s, fanfare.SetAlive)
		if err != nil {
			return 0, err
		}
		chosen := set.New()
		for seq := range alive.All() {
			if dice.Float64() < share {
				chosen.Add(seq)
			}
		}
		added, _, err := store.ChangeSet(ctx, s, fanfare.ListSet(l.ID), chosen, nil)
		if err != nil {
			return 0, err
		}
		members += added
	}
	return members, nil
}

// broadcast is what one inbox message cost.
type broadcast struct {
	people  int
	seconds float64
	cpu     time.Duration
	bytes   float64 // that the database file grew by
	rss     int64
}

func (b broadcast) each() float64 { return b.bytes / float64(b.people) }

// broadcasts sends an inbox message to whoever is picked, in a server of its own, twice: the first one finds nothing in memory. Their times are
// the second's, what is kept on disk is of both.
func (b *bench) broadcasts(ctx context.Context, name string, n int, share float64) (r broadcast, err error) {
	data := filepath.Join(b.dir, name)
	if r.people, err = picked(ctx, data, n, share); err != nil {
		return r, err
	}
	was, err := os.Stat(filepath.Join(data, serve.DatabaseFile))
	if err != nil {
		return r, err
	}
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return r, err
	}
	const messages = 2
	for range messages {
		before, e := s.CPU()
		id, e2 := message(ctx, s, map[string]any{"name": "bench inbox", "channel": "inbox", "audience": map[string]string{"list": "picked"},
			"content": map[string]string{"title": "News", "body": "The news of this autumn.", "url": "https://example.com/news"}})
		if err = errors.Join(e, e2); err != nil {
			break
		}
		if r.seconds, err = completed(ctx, s, id, 5*time.Minute); err != nil {
			break
		}
		after, e := s.CPU()
		if r.cpu, err = after-before, e; err != nil {
			break
		}
	}
	rss, rssErr := s.PeakRSS()
	if err := errors.Join(err, rssErr, s.Stop()); err != nil {
		return r, err
	}
	is, err := os.Stat(filepath.Join(data, serve.DatabaseFile))
	if err != nil {
		return r, err
	}
	r.bytes, r.rss = float64(is.Size()-was.Size())/messages, rss
	return r, errors.Join(examine(ctx, data), os.RemoveAll(data))
}

// inbox is the row `inbox`.
func inbox(ctx context.Context, b *bench) (Row, error) {
	n := b.n(10_000_000)
	half, err := b.broadcasts(ctx, "inbox", 2*n, 0.5)
	if err != nil {
		return Row{}, err
	}
	few, err := b.broadcasts(ctx, "inbox-few", 2*n, 0.05)
	if err != nil {
		return Row{}, err
	}
	all, err := b.broadcasts(ctx, "inbox-all", 10*n, 1)
	if err != nil {
		return Row{}, err
	}
	insert, update, err := bareRows(ctx, filepath.Join(b.dir, "bare-inbox.db"), half.people)
	if err != nil {
		return Row{}, err
	}
	return Row{What: fmt.Sprintf("in-app inbox to %d numbered recipients, a random half of %d, start to completed", half.people, 2*n),
		Budget: "10,000,000 under 0.2 s, under 300 MB, under 0.5 byte each (5 % of 20,000,000: under 3.5), 30 × faster than rows; 100,000,000 under 1.5 s",
		Figures: map[string]float64{"seconds": half.seconds, "cpu_seconds": half.cpu.Seconds(), "bytes_each": half.each(), "peak_rss_mb": float64(half.rss) / 1e6,
			"few_seconds": few.seconds, "few_bytes_each": few.each(), "all_seconds": all.seconds, "all_cpu_seconds": all.cpu.Seconds(), "all_bytes_each": all.each(),
			"all_peak_rss_mb": float64(all.rss) / 1e6, "bare_insert_seconds": insert, "bare_update_seconds": update, "ratio_with_update": (insert + update) / half.seconds},
		Bare:  fmt.Sprintf("the same people as SQLite rows, 50 a statement, 10,000 a commit: %.2f s; updated in 500s later: %.2f s more, ratio %.0f", insert, update, (insert+update)/half.seconds),
		Ratio: insert / half.seconds,
		text: fmt.Sprintf("%.3f s (%.3f s of processor), %.2f byte each, peak %.0f MB; 5 %% (%d): %.3f s, %.2f bytes each; all of %d: %.3f s (%.3f s of processor), %.4f byte each, peak %.0f MB; doctor passes",
			half.seconds, half.cpu.Seconds(), half.each(), float64(half.rss)/1e6, few.people, few.seconds, few.each(), all.people, all.seconds, all.cpu.Seconds(), all.each(), float64(all.rss)/1e6)}, nil
}

// bareRows is the bare loop of the inbox: a row a recipient, then each of them marked as sent.
func bareRows(ctx context.Context, file string, n int) (insert, update float64, err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, db.Close(), os.Remove(file)) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "create table i(message integer, person integer, state integer, primary key (message, person)) without rowid"); err != nil {
		return 0, 0, err
	}
	const rows = 50
	statement := "insert into i(message, person, state) values " + strings.Repeat("(1,?,0),", rows-1) + "(1,?,0)"
	began := time.Now()
	err = inCommits(ctx, db, n, statement, rows, 10_000, func(args []any, at int) []any {
		for i := at; i < at+rows; i++ {
			args = append(args, 2*i)
		}
		return args
	})
	insert = time.Since(began).Seconds()
	if err != nil {
		return 0, 0, err
	}
	began = time.Now()
	err = inCommits(ctx, db, n, "update i set state = 1 where message = 1 and person >= ? and person < ?", 500, 500, func(args []any, at int) []any {
		return append(args, 2*at, 2*(at+500))
	})
	return insert, time.Since(began).Seconds(), err
}

// inCommits runs a statement for every so many rows, in transactions of more.
func inCommits(ctx context.Context, db *sql.DB, n int, statement string, rows, commit int, args func([]any, int) []any) error {
	values := make([]any, 0, rows)
	for at := 0; at+rows <= n; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		st, err := tx.PrepareContext(ctx, statement)
		for end := min(at+commit, n); err == nil && at+rows <= end; at += rows {
			_, err = st.ExecContext(ctx, args(values[:0], at)...)
		}
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}
