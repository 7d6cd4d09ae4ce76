package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fanfare"
	"fanfare/cmd/fanfare/spawn"
)

// postgresRow names the row that --postgres adds.
const postgresRow = "postgres"

// postgres is that row: one inbox message on a PostgreSQL database, and its people as rows beside it. All lies in a schema of its own that is dropped.
func postgres(ctx context.Context, b *bench) (row Row, err error) {
	admin, err := pgconn.Connect(ctx, b.Postgres)
	if err != nil {
		return Row{}, fmt.Errorf("%w: --postgres: %w", fanfare.ErrUsage, err)
	}
	defer func() { err = errors.Join(err, admin.Close(context.WithoutCancel(ctx))) }()
	do := func(text string) error {
		_, err := admin.Exec(ctx, text).ReadAll()
		return err
	}
	schema := fmt.Sprintf("fanfare_bench_%d", os.Getpid())
	if err := do("CREATE SCHEMA " + schema); err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, do("DROP SCHEMA "+schema+" CASCADE")) }()
	mark := "?"
	if strings.Contains(b.Postgres, "?") {
		mark = "&"
	}
	dsn, data := b.Postgres+mark+"search_path="+schema, filepath.Join(b.dir, "postgres")
	size := func() (n float64, err error) {
		r, err := admin.Exec(ctx, "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = '"+schema+"'::regnamespace").ReadAll()
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(string(r[0].Rows[0][0]), 64)
	}
	n := b.n(10_000_000)
	people, err := picked(ctx, data, 2*n, 0.5, dsn)
	if err != nil {
		return Row{}, err
	}
	was, err := size()
	if err != nil {
		return Row{}, err
	}
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors, "--store", dsn)
	if err != nil {
		return Row{}, err
	}
	const messages = 2 // the first one finds nothing in memory
	var seconds float64
	for range messages {
		id, e := message(ctx, s, map[string]any{"name": "bench inbox", "channel": "inbox", "audience": map[string]string{"list": "picked"},
			"content": map[string]string{"title": "News", "body": "The news of this autumn.", "url": "https://example.com/news"}})
		if err = e; err == nil {
			seconds, err = completed(ctx, s, id, 5*time.Minute)
		}
		if err != nil {
			break
		}
	}
	if err := errors.Join(err, s.Stop()); err != nil {
		return Row{}, err
	}
	is, err := size()
	if err == nil {
		err = examine(ctx, data, dsn)
	}
	if err != nil {
		return Row{}, err
	}
	each := (is - was) / messages / float64(people)
	copied, insert, update, err := copyRows(ctx, admin, schema, people)
	if err != nil {
		return Row{}, err
	}
	return Row{What: fmt.Sprintf("PostgreSQL: in-app inbox to %d numbered recipients, a random half of %d, start to completed", people, 2*n),
		Budget: "at least 20 × faster than COPY of as many rows, 100 × than insert and update, under 1 byte each",
		Figures: map[string]float64{"seconds": seconds, "bytes_each": each, "copy_seconds": copied, "insert_seconds": insert, "update_seconds": update,
			"ratio_with_update": (insert + update) / seconds},
		Bare:  fmt.Sprintf("COPY of final rows: %.2f s; COPY of pending rows and an update in 500s, a commit each: %.2f + %.2f s, ratio %.0f", copied, insert, update, (insert+update)/seconds),
		Ratio: copied / seconds, text: fmt.Sprintf("%.3f s, %.2f byte each; doctor passes", seconds, each)}, nil
}

// copyRows is the bare loop: a row a recipient by COPY, once as they end, once pending and then each marked as sent.
func copyRows(ctx context.Context, c *pgconn.PgConn, schema string, n int) (copied, insert, update float64, err error) {
	fill := func(table string, state byte) (float64, error) {
		if _, err := c.Exec(ctx, "CREATE TABLE "+schema+"."+table+" (message bigint, person bigint, state smallint, PRIMARY KEY (message, person))").ReadAll(); err != nil {
			return 0, err
		}
		began := time.Now()
		r, w := io.Pipe()
		go func() {
			var line []byte
			var err error
			for i := 0; i < n && err == nil; {
				line = line[:0]
				for end := min(i+1000, n); i < end; i++ {
					line = append(strconv.AppendInt(append(line, '1', '\t'), int64(2*i), 10), '\t', state, '\n')
				}
				_, err = w.Write(line)
			}
			_ = w.CloseWithError(err) // what reads is told
		}()
		_, err := c.CopyFrom(ctx, r, "COPY "+schema+"."+table+" FROM STDIN")
		return time.Since(began).Seconds(), errors.Join(err, r.Close())
	}
	if copied, err = fill("final_rows", '1'); err != nil {
		return 0, 0, 0, err
	}
	if insert, err = fill("pending_rows", '0'); err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	for at := 0; at < n; at += 500 {
		if r := c.ExecParams(ctx, "UPDATE "+schema+".pending_rows SET state = 1 WHERE message = 1 AND person >= $1 AND person < $2",
			[][]byte{strconv.AppendInt(nil, int64(2*at), 10), strconv.AppendInt(nil, int64(2*at+1000), 10)}, nil, nil, nil).Read(); r.Err != nil {
			return 0, 0, 0, r.Err
		}
	}
	return copied, insert, time.Since(began).Seconds(), nil
}
