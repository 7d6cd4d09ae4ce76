package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the bare loop beside imports

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/spawn"
)

// person gives the i-th made-up person's cells: external_id, email, first_name, city, level.
func person(i int) [5]string {
	id := strconv.Itoa(i)
	return [5]string{"user-" + id, "u" + id + "@people.example", "Name" + id, "City" + strconv.Itoa(i%500), strconv.Itoa(i % 100)}
}

// people makes a CSV file of n people with three attributes.
func people(n int) []byte {
	var b bytes.Buffer
	b.WriteString("external_id,email,first_name,city,level\n")
	for i := range n {
		p := person(i)
		for k, cell := range p {
			if k > 0 {
				b.WriteByte(',')
			}
			b.WriteString(cell)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

type importState struct {
	ID, State, Detail string
	Rows, Failed      int
}

// importInto imports a file into a list and waits until it is done.
func importInto(ctx context.Context, s *spawn.Server, list string, file []byte) error {
	r, err := s.Send(ctx, http.MethodPost, "/v1/imports?list="+list, "text/csv", bytes.NewReader(file), nil)
	if err != nil {
		return err
	}
	var state importState
	err = json.NewDecoder(r.Body).Decode(&state)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	return s.Until(ctx, "import", 10*time.Millisecond, func() (bool, error) {
		err := s.Do(ctx, http.MethodGet, "/v1/imports/"+state.ID, nil, &state)
		if err == nil && state.State == "failed" {
			err = errors.New(state.Detail)
		}
		return state.State == "done", err
	})
}

// imports is the row `import`.
func imports(ctx context.Context, b *bench) (Row, error) {
	n := b.n(1_000_000)
	file := people(n)
	s, err := spawn.Serve(ctx, b.Exe, filepath.Join(b.dir, "import"), "127.0.0.1:0", b.Errors)
	if err != nil {
		return Row{}, err
	}
	began := time.Now()
	err = importInto(ctx, s, everyone, file)
	took := time.Since(began).Seconds()
	rss, rssErr := s.PeakRSS()
	used, cpuErr := s.CPU()
	if err := errors.Join(err, rssErr, cpuErr, s.Stop()); err != nil {
		return Row{}, err
	}
	own := ownCPU()
	bare, err := bareImport(ctx, filepath.Join(b.dir, "bare-import.db"), n)
	if err != nil {
		return Row{}, err
	}
	own = ownCPU() - own
	return Row{What: fmt.Sprintf("%d recipients from CSV over HTTP, three attributes, a list", n), Budget: "1,000,000 under 5 s",
		Figures: map[string]float64{"seconds": took, "rows_per_second": float64(n) / took, "bare_seconds": bare, "peak_rss_mb": float64(rss) / 1e6,
			"cpu_seconds": used.Seconds(), "bare_cpu_seconds": own.Seconds()},
		Bare:  fmt.Sprintf("bulk insert of the same rows into SQLite, 50 a statement, 10,000 a commit: %.2f s, %.2f s of processor", bare, own.Seconds()),
		Ratio: bare / took,
		text:  fmt.Sprintf("%.2f s, %.0f rows/s, peak %.0f MB; %.2f s of processor", took, float64(n)/took, float64(rss)/1e6, used.Seconds())}, nil
}

// bareImport inserts the same people as plain rows.
func bareImport(ctx context.Context, file string, n int) (seconds float64, err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "create table r(id integer primary key, external_id text unique, email text, attributes text)"); err != nil {
		return 0, err
	}
	began := time.Now()
	const rows, commit = 50, 10_000
	statement := "insert into r(id, external_id, email, attributes) values " + strings.Repeat("(?,?,?,?),", rows-1) + "(?,?,?,?)"
	for at := 0; at+rows <= n; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return 0, err
		}
		st, err := tx.PrepareContext(ctx, statement)
		if err != nil {
			return 0, errors.Join(err, tx.Rollback())
		}
		for end := min(at+commit, n); at+rows <= end; at += rows {
			args := make([]any, 0, rows*4)
			for i := at; i < at+rows; i++ {
				p := person(i)
				args = append(args, i, p[0], p[1], `{"first_name":"`+p[2]+`","city":"`+p[3]+`","level":`+p[4]+`}`)
			}
			if _, err := st.ExecContext(ctx, args...); err != nil {
				return 0, errors.Join(err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return 0, err
		}
	}
	return time.Since(began).Seconds(), nil
}

// message creates and starts a message and gives its id.
func message(ctx context.Context, s *spawn.Server, draft map[string]any) (string, error) {
	draft["start"] = true
	var m client.Message
	err := s.Do(ctx, http.MethodPost, "/v1/messages", draft, &m)
	return m.ID, err
}

// completed waits for a message's end and gives the seconds from start to finish by the database's clock.
func completed(ctx context.Context, s *spawn.Server, id string, most time.Duration) (float64, error) {
	limit := time.Now().Add(most)
	for {
		var m client.Message
		if err := s.Do(ctx, http.MethodGet, "/v1/messages/"+id, nil, &m); err != nil {
			return 0, err
		}
		switch {
		case m.Phase == "completed" && m.StartedAt != nil && m.FinishedAt != nil:
			return m.FinishedAt.Sub(*m.StartedAt).Seconds(), balanced(ctx, s, id)
		case m.Status == 3 || m.Phase == "paused":
			return 0, fmt.Errorf("the message is %s (%s)", m.Phase, m.PauseReason)
		case time.Now().After(limit):
			return 0, fmt.Errorf("the message is still %s after %s: %s", m.Phase, most, s.Said())
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func balanced(ctx context.Context, s *spawn.Server, id string) error {
	var p client.Progress
	if err := s.Do(ctx, http.MethodGet, "/v1/messages/"+id+"/progress", nil, &p); err != nil {
		return err
	}
	if !p.Balanced {
		return fmt.Errorf("it does not balance: %+v", p.Counts)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// html is a page of about 5 kB with five merge tags.
func html() string {
	var b strings.Builder
	b.WriteString(`<html><body><h1>Hello {{ first_name }}</h1><p>You are at level {{ level }} in {{ city }}.</p>`)
	for b.Len() < 4800 {
		b.WriteString("<p style=\"margin:0 0 12px\">The quick brown fox jumps over the lazy dog, and the news of this autumn goes on below.</p>\n")
	}
	b.WriteString(`<p>Sent to {{ recipient.email }}. <a href="{{ unsubscribe_url }}">No more of these</a></p></body></html>`)
	return b.String()
}
