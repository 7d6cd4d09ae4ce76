package sqlite

import (
	"bytes"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestSlack: what is wiped of a page is nothing that SQLite misses, and leaves no trace of what was deleted.
func TestSlack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.db")
	db, err := sql.Open("sqlite", "file:"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // only read at the end
	db.SetMaxOpenConns(1)
	say := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	say("CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT UNIQUE, long TEXT); CREATE TABLE b (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID")
	say("BEGIN")
	for i := range 3000 {
		say("INSERT INTO a VALUES (?, ?, ?)", i, fmt.Sprint("name ", i*7919%3001), strings.Repeat("long ", i%2000))
		say("INSERT INTO b VALUES (?, ?)", fmt.Sprint("key ", i*31%3001), strings.Repeat("v", i%900))
	}
	say("UPDATE a SET long = 'short' WHERE id % 3 = 0")
	say("DELETE FROM a WHERE id % 5 = 0")
	say("DELETE FROM b WHERE k LIKE 'key 1%'")
	say("COMMIT")
	say("BEGIN")
	var pages int64
	if err := db.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	wiped := 0
	for n := int64(1); n <= pages; n++ {
		var page []byte
		if err := db.QueryRowContext(t.Context(), "SELECT data FROM sqlite_dbpage WHERE pgno = ?", n).Scan(&page); err != nil {
			t.Fatal(err)
		}
		was := bytes.Clone(page)
		next := database{}.Slack(n, page)
		if !bytes.Equal(was, page) {
			t.Fatalf("page %d was changed in place", n)
		}
		if next == nil {
			continue
		}
		wiped++
		if again := (database{}).Slack(n, next); again != nil {
			t.Errorf("page %d is wiped twice", n)
		}
		say("UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?", next, n)
	}
	say("COMMIT")
	if wiped == 0 {
		t.Error("no page had anything to wipe")
	}
	for _, q := range []struct {
		query string
		want  string
	}{
		{"PRAGMA integrity_check", "ok"},
		{"SELECT COUNT(*) FROM a", "2400"},
		{"SELECT COUNT(*) FROM a INDEXED BY sqlite_autoindex_a_1 WHERE name >= ''", "2400"},
		{"SELECT SUM(length(long)) FROM a WHERE id % 3 <> 0", fmt.Sprint(lengths())},
		{"SELECT COUNT(*) FROM b WHERE k LIKE 'key 1%'", "0"},
	} {
		var got string
		if err := db.QueryRowContext(t.Context(), q.query).Scan(&got); err != nil || got != q.want {
			t.Errorf("%s: %s (%v), want %s", q.query, got, err, q.want)
		}
	}
	say("INSERT INTO a SELECT id + 100000, name || ' again', long FROM a")
	say("UPDATE b SET v = v || v")
}

func lengths() (sum int) {
	for i := range 3000 {
		if i%3 != 0 && i%5 != 0 {
			sum += 5 * (i % 2000)
		}
	}
	return sum
}

// FuzzSlack: whatever a page holds, its cells stay.
func FuzzSlack(f *testing.F) {
	f.Add(int64(2), []byte{13, 0, 0, 0, 1, 15, 250, 0, 15, 250})
	f.Add(int64(1), bytes.Repeat([]byte{5}, 200))
	f.Fuzz(func(t *testing.T, number int64, head []byte) {
		page := make([]byte, 4096)
		for i := range page {
			page[i] = byte(i)
		}
		copy(page, head)
		next := database{}.Slack(number, page)
		if next != nil && len(next) != len(page) {
			t.Fatalf("%d bytes of a page of %d", len(next), len(page))
		}
		for i := range next {
			if next[i] != page[i] && next[i] != 0 {
				t.Fatalf("byte %d became %d", i, next[i])
			}
		}
	})
}
