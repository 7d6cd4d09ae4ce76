package sqlstore

import (
	"context"
	"database/sql/driver"
	"embed"
	"fmt"
	"strconv"
	"strings"

	"fanfare"
)

//go:embed sql/*.sql
var statementFiles embed.FS

//go:embed migrations/*/*.sql
var migrationFiles embed.FS

// Dialect is what differs between databases and can be said as data.
type Dialect struct {
	Name       string // also the folder of its migrations
	BeginWrite string // a transaction that is the only one that writes, or whose rows are locked as they are read
	BeginRead  string // a transaction on one snapshot
	Setup      string // said of a database that is known to be ours or empty, before anything is written; may be empty
	Tables     string // counts the tables that are there, and those that only Fanfare makes
	Bulk       string // said before a long import, and
	Steady     string // after it; both may be empty
	Integrity  string // lists what the database itself finds wrong; one row "ok" if nothing
	Backup     string // writes a copy to the file that is its argument; may be empty
	Files      bool   // the database is a file of this machine
	Pages      string // counts the pages of the file; empty: Database.Slack is not asked
	ReadPage   string // reads the page that is its argument, and
	WritePage  string // writes it: content, then number
	Hurry      string // has a connection wait for others for a moment only
	Truncate   string // takes the log into the file and empties it; its first column is 0 if it could
}

// SQLite is the dialect of SQLite.
func SQLite() Dialect {
	return Dialect{
		Name: "sqlite", BeginWrite: "BEGIN IMMEDIATE", BeginRead: "BEGIN", Setup: "PRAGMA journal_mode = WAL",
		Tables: "SELECT COUNT(*), SUM(name = 'fanfare_schema') FROM sqlite_schema WHERE type = 'table'",
		Bulk:   "PRAGMA wal_autocheckpoint = 50000", Steady: "PRAGMA wal_autocheckpoint = 4000",
		Integrity: "PRAGMA integrity_check(100)", Backup: "VACUUM INTO ?", Files: true,
		Pages: "PRAGMA page_count", ReadPage: "SELECT data FROM sqlite_dbpage WHERE pgno = ?", WritePage: "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?",
		Hurry: "PRAGMA busy_timeout = 200", Truncate: "PRAGMA wal_checkpoint(TRUNCATE)",
	}
}

// Database is what a driver does in its own way.
type Database interface {
	// Name names the database for people, as in an error.
	Name() string
	// Connect makes a connection; one that reads never writes. It is used by one goroutine at a time.
	Connect(ctx context.Context, read bool) (driver.Conn, error)
	// Failure says what an error of a connection means.
	Failure(err error) *Failure
	// Slack gives the page of that number with zeros where nothing is kept any more, or nil if there are zeros already.
	Slack(number int64, page []byte) []byte
	// Identity says which database this is and where it lies.
	Identity(ctx context.Context) (string, error)
}

// Failure is an error of the database, and what it means.
type Failure struct {
	Kind error  // one of the kinds of the root package; nil: I/O that may be tried again
	Data bool   // the database refused this statement for its values; another may pass
	Hint string // what to do
	Err  error
}

func (f *Failure) Error() string {
	text := f.Err.Error()
	if f.Kind != nil {
		text = f.Kind.Error() + ": " + text
	}
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	return text
}

func (f *Failure) Unwrap() []error {
	if f.Kind == nil {
		return []error{f.Err}
	}
	return []error{f.Kind, f.Err}
}

// statements are the texts of the .sql files by name.
type statements map[string]string

// loadStatements reads the blocks "-- name: x" of all files. A "-- fragment: x" is put where /*x*/ stands.
func loadStatements() (statements, error) {
	all, fragments := statements{}, []string{}
	files, err := statementFiles.ReadDir("sql")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := statementFiles.ReadFile("sql/" + f.Name())
		if err != nil {
			return nil, err
		}
		for _, block := range strings.Split("\n"+string(text), "\n-- ")[1:] {
			head, body, _ := strings.Cut(block, "\n")
			body = strings.TrimSuffix(strings.TrimSpace(body), ";")
			if name, ok := strings.CutPrefix(head, "name: "); ok {
				all[name] = body
			} else if name, ok := strings.CutPrefix(head, "fragment: "); ok {
				fragments = append(fragments, "/*"+name+"*/", body)
			}
		}
	}
	fill := strings.NewReplacer(fragments...)
	for name, text := range all {
		all[name] = fill.Replace(text)
	}
	return all, nil
}

// inSlot names a statement for the table of a slot.
func inSlot(n fanfare.Slot, name string) string { return name + "@" + strconv.Itoa(int(n)) }

// slotMark stands in statements and migrations for the number of a slot.
const slotMark = "/*slot*/"

// of gives the statement, for the slot that its name may say, and made for n rows where it has a row to repeat.
func (s statements) of(name string, n int) (string, error) {
	name, slot, _ := strings.Cut(name, "@")
	text, ok := s[name]
	if !ok {
		return "", fmt.Errorf("there is no statement %s", name)
	}
	text = strings.ReplaceAll(text, slotMark, slot)
	before, rest, repeats := strings.Cut(text, "/*rows*/")
	if !repeats {
		return text, nil
	}
	row, after, _ := strings.Cut(rest, "/*end*/")
	return before + strings.Repeat(row+", ", n-1) + row + after, nil
}

func preparedName(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + "#" + strconv.Itoa(n)
}
