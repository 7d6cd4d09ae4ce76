package sqlstore

import (
	"context"
	"database/sql/driver"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"fanfare"
)

//go:embed sql/*.sql sql/*/*.sql
var statementFiles embed.FS

//go:embed migrations/*/*.sql
var migrationFiles embed.FS

// Dialect is what differs between databases and can be said as data.
type Dialect struct {
	Name       string          // also the folder of its migrations, and of the statements that it says in another way
	BeginWrite string          // a transaction that is the only one that writes, or, with Locks, one whose every statement sees what is committed
	BeginRead  string          // a transaction on one snapshot
	Locks      bool            // others write at the same time: what is decided on is locked first, in the order of DESIGN.md
	ForUpdate  string          // what /*update a*/ in a statement becomes: such rows are locked; %s stands for a
	ForShare   string          // what /*share a*/ becomes: others may lock them so too
	Numbered   bool            // parameters are $1, $2 instead of ? and ?1
	Returning  bool            // an INSERT gives the new number by RETURNING
	Duplicate  bool            // ON CONFLICT is ON DUPLICATE KEY, and nothing is done by IGNORE
	Words      []string        // old and new, in pairs, of all statements
	Clock      string          // gives the database's clock in microseconds; empty: the machine's is the database's
	Migrate    string          // said in the transaction that makes tables, so that no two do at once; may be empty
	Copies     map[string]Copy // statements that take many rows by a Copier
	Setup      string          // said of a database that is known to be ours or empty, before anything is written; may be empty
	Tables     string          // counts the tables that are there, and those that only Fanfare makes
	Bulk       string          // said before a long import, and
	Steady     string          // after it; both may be empty
	Integrity  string          // lists what the database itself finds wrong; one row "ok" if nothing
	Backup     string          // writes a copy to the file that is its argument; may be empty
	Files      bool            // the database is a file of this machine
	Pages      string          // counts the pages of the file; empty: Database.Slack is not asked
	ReadPage   string          // reads the page that is its argument, and
	WritePage  string          // writes it: content, then number
	Hurry      string          // has a connection wait for others for a moment only
	Truncate   string          // takes the log into the file and empties it; its first column is 0 if it could
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

// PostgreSQL is the dialect of PostgreSQL 15 and later.
func PostgreSQL() Dialect {
	return Dialect{
		Name: "postgres", BeginWrite: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", BeginRead: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		Locks: true, ForUpdate: "FOR UPDATE OF %s", ForShare: "FOR SHARE OF %s", Numbered: true, Returning: true,
		Words:   []string{"CROSS JOIN", "JOIN"},
		Clock:   "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
		Migrate: "SELECT pg_advisory_xact_lock(7020099151)",
		Tables:  "SELECT COUNT(*), SUM(CASE WHEN tablename = 'fanfare_schema' THEN 1 ELSE 0 END) FROM pg_tables WHERE schemaname = current_schema()",
		Copies: map[string]Copy{
			"batches.insert":    {Table: "batches", Columns: []string{"message", "slot", "batch", "first", "n"}},
			"audiences.insert":  {Table: "audiences", Columns: []string{"message", "slot", "part", "chunk", "n", "first", "crc", "members"}},
			"recipients.insert": {Table: "recipients_" + slotMark, Columns: []string{"seq", "mailbox", "updated_at", "external_id", "email", "phone", "locale", "time_zone", "attributes"}},
		},
	}
}

// MySQL is the dialect of MariaDB and MySQL. Its driver has to give found rows as changed ones, and statements of WITH want as text.
func MySQL() Dialect {
	return Dialect{
		Name: "mysql", BeginWrite: "START TRANSACTION READ WRITE", BeginRead: "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
		Locks: true, ForUpdate: "FOR UPDATE", ForShare: "LOCK IN SHARE MODE", Duplicate: true,
		// keys and before are words there; not_before comes first, so that it stays.
		Words:   []string{"CROSS JOIN", "STRAIGHT_JOIN", "FROM keys", "FROM `keys`", "INTO keys", "INTO `keys`", "not_before", "not_before", "before", "`before`"},
		Clock:   "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
		Migrate: "SELECT GET_LOCK(CONCAT('fanfare ', LEFT(SHA1(DATABASE()), 40)), 60)",
		Tables:  "SELECT COUNT(*), SUM(CASE WHEN table_name = 'fanfare_schema' THEN 1 ELSE 0 END) FROM information_schema.tables WHERE table_schema = DATABASE()",
	}
}

// duplicate says ON CONFLICT as MySQL does; a condition for the update is for a block of its own.
func (d Dialect) duplicate(text string) string {
	if before, after, conflicts := strings.Cut(text, "ON CONFLICT "); d.Duplicate && conflicts {
		_, do, _ := strings.Cut(after, ") ")
		if do == "DO NOTHING" {
			return strings.Replace(strings.TrimSpace(before), "INSERT", "INSERT IGNORE", 1)
		}
		text = before + "ON DUPLICATE KEY UPDATE" + strings.TrimPrefix(do, "DO UPDATE SET")
		for {
			before, after, more := strings.Cut(text, "excluded.")
			if !more {
				break
			}
			end := strings.IndexFunc(after, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
			if end < 0 {
				end = len(after)
			}
			text = before + "VALUES(" + after[:end] + ")" + after[end:]
		}
	}
	return text
}

// Copy says where the rows of a statement go: its values are those of Columns, all others are defaults.
type Copy struct {
	Table   string
	Columns []string
}

// Pipeline is a connection that sends statements without waiting for what becomes of those before. A driver may have it.
type Pipeline interface {
	// Send queues a statement: it goes out with the next one that is waited for, or by Flush. row hears its rows and done how many it changed,
	// or its error, in order, before that one answers. After an error what follows is not carried out; the error, or what done makes of it, is
	// answered to whoever waits.
	Send(s driver.Stmt, args []driver.NamedValue, row func([]driver.Value) error, done func(changed int64, err error) error) error
	// Flush waits for all that is queued.
	Flush() error
	// Drop forgets what is queued and was not sent.
	Drop()
}

// Scripter is a connection that needs another way for several statements at once than for one that is prepared. A driver may have it.
type Scripter interface {
	Script(text string) error
}

// Copier is a connection that takes many rows at once. A driver may have it.
type Copier interface {
	// Copy adds rows, whose values lie one after another.
	Copy(to Copy, values []driver.Value) error
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
	Kind error // one of the kinds of the root package; nil: I/O that may be tried again
	Data bool  // the database refused this statement for its values; another may pass
	// Taken says that a unique key is there already: with Locks another node may have been faster since it was looked for.
	Taken bool
	// Again says that the transaction was undone because of others (a deadlock, a lock not had in time): it may be tried again as it was.
	Again bool
	Hint  string // what to do
	Err   error
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
type statements struct {
	texts    map[string]string
	numbered bool
}

// loadStatements reads the blocks "-- name: x" of all files, then those of the dialect's own folder, which replace them. A "-- fragment: x"
// is put where /*x*/ stands.
func loadStatements(d Dialect) (statements, error) {
	all, fragments := make(map[string]string), make(map[string]string)
	for _, folder := range [...]string{"sql", "sql/" + d.Name} {
		files, err := fs.Glob(statementFiles, folder+"/*.sql")
		if err != nil {
			return statements{}, err
		}
		for _, f := range files {
			text, err := statementFiles.ReadFile(f)
			if err != nil {
				return statements{}, err
			}
			for _, block := range strings.Split("\n"+string(text), "\n-- ")[1:] {
				head, body, _ := strings.Cut(block, "\n")
				body = strings.TrimSuffix(strings.TrimSpace(body), ";")
				if name, ok := strings.CutPrefix(head, "name: "); ok {
					all[name] = body
				} else if name, ok := strings.CutPrefix(head, "fragment: "); ok {
					fragments[name] = body
				}
			}
		}
	}
	var pairs []string
	for name, body := range fragments {
		pairs = append(pairs, "/*"+name+"*/", body)
	}
	fill, words := strings.NewReplacer(pairs...), strings.NewReplacer(d.Words...)
	for name, text := range all {
		all[name] = words.Replace(d.duplicate(d.locking(fill.Replace(text))))
	}
	return statements{all, d.Numbered}, nil
}

// locking says how rows are locked where the statement has a mark for that.
func (d Dialect) locking(text string) string {
	for _, mark := range [...]struct{ begin, say string }{{" /*update ", d.ForUpdate}, {" /*share ", d.ForShare}, {" /*returning ", "RETURNING %s"}} {
		before, rest, marked := strings.Cut(text, mark.begin)
		if !marked {
			continue
		}
		tables, after, _ := strings.Cut(rest, "*/")
		say := ""
		switch {
		case mark.begin == " /*returning " && !d.Returning:
		case strings.Contains(mark.say, "%s"):
			say = " " + fmt.Sprintf(mark.say, tables)
		case mark.say != "":
			say = " " + mark.say
		}
		text = before + say + after
	}
	return text
}

// numbered writes parameters as $1, $2. As in SQLite ?1 is the first and ? the one after the greatest so far; no statement has a ? in a string.
func numbered(text string) string {
	var b strings.Builder
	greatest := 0
	for {
		before, rest, more := strings.Cut(text, "?")
		b.WriteString(before)
		if !more {
			return b.String()
		}
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil {
			n = greatest + 1
		}
		greatest = max(greatest, n)
		b.WriteString("$" + strconv.Itoa(n))
		text = rest[digits:]
	}
}

// inSlot names a statement for the table of a slot.
func inSlot(n fanfare.Slot, name string) string { return name + "@" + strconv.Itoa(int(n)) }

// slotMark stands in statements and migrations for the number of a slot.
const slotMark = "/*slot*/"

// of gives the statement, for the slot that its name may say, and made for n rows where it has a row to repeat.
func (s statements) of(name string, n int) (string, error) {
	name, slot, _ := strings.Cut(name, "@")
	text, ok := s.texts[name]
	if !ok {
		return "", fmt.Errorf("there is no statement %s", name)
	}
	text = strings.ReplaceAll(text, slotMark, slot)
	if before, rest, repeats := strings.Cut(text, "/*rows*/"); repeats {
		row, after, _ := strings.Cut(rest, "/*end*/")
		text = before + strings.Repeat(row+", ", n-1) + row + after
	}
	if s.numbered {
		text = numbered(text)
	}
	return text, nil
}

func preparedName(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + "#" + strconv.Itoa(n)
}
