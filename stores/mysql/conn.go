package mysql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"fanfare"
	"fanfare/stores/sqlstore"
)

// rawConn is what a connection of go-sql-driver can.
type rawConn interface {
	driver.Conn
	driver.Validator
	driver.QueryerContext
	driver.ExecerContext
}

// connection is a driver.Conn that sqlstore can use.
type connection struct {
	raw    rawConn
	ctx    context.Context // never cancelled
	maria  bool
	locked bool // GET_LOCK is held
}

// Close implements driver.Conn.
func (c *connection) Close() error { return c.raw.Close() }

// Begin implements driver.Conn; nobody calls it.
func (c *connection) Begin() (driver.Tx, error) { return nil, errors.ErrUnsupported }

// IsValid implements driver.Validator.
func (c *connection) IsValid() bool { return c.raw.IsValid() }

// say runs a statement that is not prepared.
func (c *connection) say(text string) error {
	_, err := c.raw.ExecContext(c.ctx, text, nil)
	return err
}

// look runs a query of one row.
func (c *connection) look(query string) (found []string, err error) {
	rows, err := c.raw.QueryContext(c.ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(row); err != nil {
		return nil, err
	}
	for _, v := range row {
		switch v := v.(type) {
		case []byte:
			found = append(found, string(v))
		case nil:
			found = append(found, "")
		default:
			found = append(found, fmt.Sprint(v))
		}
	}
	return found, nil
}

// Script implements sqlstore.Scripter: the statements of a migration, one after the other. CREATE commits by itself; what comes after the last
// of them is in a transaction again, so that it is there as a whole or not at all.
func (c *connection) Script(text string) error {
	if strings.HasPrefix(text, "SELECT GET_LOCK(") {
		got, err := c.look(text)
		switch {
		case err != nil:
			return err
		case got[0] != "1":
			return &sqlstore.Failure{Kind: fanfare.ErrLocked, Err: errors.New("another process makes its tables for a minute already"), Hint: "wait for it, or end it"}
		}
		c.locked = true
		return nil
	}
	collation := "utf8mb4_0900_bin"
	if c.maria {
		collation = "utf8mb4_nopad_bin"
	}
	text = strings.ReplaceAll(text, "/*text*/", bin+collation)
	commits := false
	for _, statement := range strings.Split(text, ";\n") {
		if statement = strings.TrimSuffix(strings.TrimSpace(bare(statement)), ";"); statement == "" {
			continue
		}
		if err := c.say(statement); err != nil && !made(err) {
			return fmt.Errorf("%.60q: %w", statement, err)
		}
		commits = commits || strings.HasPrefix(statement, "CREATE") || strings.HasPrefix(statement, "ALTER") || strings.HasPrefix(statement, "DROP")
	}
	if commits {
		return c.say("START TRANSACTION READ WRITE")
	}
	return nil
}

// made says that a table, a column or a key is there already: the process that began the migration got so far.
func made(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1050 || e.Number == 1060 || e.Number == 1061)
}

// bare takes comments that are lines out.
func bare(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// Prepare implements driver.Conn.
func (c *connection) Prepare(text string) (driver.Stmt, error) {
	word, _, _ := strings.Cut(text, " ")
	switch word {
	case "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE": // not all can be prepared
		return &literal{c, text}, nil
	case "WITH": // the types of a list of parameters are not known when they are prepared: nothing would be found
		return &literal{c, c.list(text)}, nil
	}
	text, order := positions(text)
	s, err := c.raw.Prepare(text)
	if err != nil {
		return nil, err
	}
	both, ok := s.(preparedStmt)
	if !ok {
		return nil, errors.Join(errors.New("the driver cannot run statements with a context"), s.Close())
	}
	return &prepared{preparedStmt: both, order: order}, nil
}

// list says VALUES (…), (…) in a way that MySQL knows too.
func (c *connection) list(text string) string {
	before, rest, found := strings.Cut(text, "(VALUES (")
	if c.maria || !found {
		return text
	}
	rows, after, _ := strings.Cut(rest, "))")
	return before + "(SELECT " + strings.ReplaceAll(rows, "), (", " UNION ALL SELECT ") + ")" + after
}

// positions writes ?1 as ?, and tells which argument each ? takes; nil if they are in order. As in SQLite a ? is the one after the greatest so far.
func positions(text string) (plain string, order []int) {
	var b strings.Builder
	greatest, inOrder := 0, true
	for {
		before, rest, more := strings.Cut(text, "?")
		b.WriteString(before)
		if !more {
			break
		}
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil {
			n = greatest + 1
		}
		greatest = max(greatest, n)
		inOrder = inOrder && n == len(order)+1
		order = append(order, n-1)
		b.WriteByte('?')
		text = rest[digits:]
	}
	if inOrder {
		order = nil
	}
	return b.String(), order
}

type preparedStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// prepared is a statement that the server has prepared.
type prepared struct {
	preparedStmt
	order []int
	args  []driver.NamedValue // reused
}

func (s *prepared) ordered(args []driver.NamedValue) []driver.NamedValue {
	if s.order == nil {
		return args
	}
	s.args = s.args[:0]
	for i, n := range s.order {
		a := args[n]
		a.Ordinal = i + 1
		s.args = append(s.args, a)
	}
	return s.args
}

// NumInput implements driver.Stmt.
func (s *prepared) NumInput() int { return -1 }

// ExecContext implements driver.StmtExecContext.
func (s *prepared) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.preparedStmt.ExecContext(ctx, s.ordered(args))
}

// QueryContext implements driver.StmtQueryContext.
func (s *prepared) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return plain(s.preparedStmt.QueryContext(ctx, s.ordered(args)))
}

// literal is a statement whose values are written into its text.
type literal struct {
	c    *connection
	text string
}

// Close implements driver.Stmt.
func (s *literal) Close() error { return nil }

// NumInput implements driver.Stmt.
func (s *literal) NumInput() int { return -1 }

// Exec implements driver.Stmt; nobody calls it.
func (s *literal) Exec([]driver.Value) (driver.Result, error) { return nil, errors.ErrUnsupported }

// Query implements driver.Stmt; nobody calls it.
func (s *literal) Query([]driver.Value) (driver.Rows, error) { return nil, errors.ErrUnsupported }

// ExecContext implements driver.StmtExecContext.
func (s *literal) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	r, err := s.c.raw.ExecContext(ctx, s.text, args)
	if err == nil && s.c.locked && (s.text == "COMMIT" || s.text == "ROLLBACK") {
		s.c.locked = false
		err = s.c.say("DO RELEASE_ALL_LOCKS()")
	}
	return r, err
}

// QueryContext implements driver.StmtQueryContext.
func (s *literal) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return plain(s.c.raw.QueryContext(ctx, s.text, args))
}

// rows gives values of the types that sqlstore knows: what it is given is its own.
type rows struct {
	driver.Rows
	kinds []kind
}

type kind int

const (
	asText kind = iota
	asBytes
	asNumber // a decimal, as sums are
)

type typed interface{ ColumnTypeDatabaseTypeName(index int) string }

func plain(r driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, err
	}
	kinds := make([]kind, len(r.Columns()))
	if t, ok := r.(typed); ok {
		for i := range kinds {
			switch name := t.ColumnTypeDatabaseTypeName(i); {
			case name == "DECIMAL":
				kinds[i] = asNumber
			case strings.Contains(name, "BLOB"), strings.Contains(name, "BINARY"):
				kinds[i] = asBytes
			}
		}
	}
	return &rows{r, kinds}, nil
}

// Next implements driver.Rows.
func (r *rows) Next(row []driver.Value) error {
	if err := r.Rows.Next(row); err != nil {
		return err
	}
	for i, v := range row {
		switch v := v.(type) {
		case []byte:
			switch r.kinds[i] {
			case asText:
				row[i] = string(v)
			case asBytes:
				row[i] = bytes.Clone(v)
			case asNumber:
				n, err := strconv.ParseFloat(string(v), 64)
				if whole, e := strconv.ParseInt(string(v), 10, 64); e == nil {
					row[i] = whole
				} else if row[i] = n; err != nil {
					return err
				}
			}
		case uint64:
			if v > math.MaxInt64 {
				return fmt.Errorf("%d is no number of this program", v)
			}
			row[i] = int64(v)
		case float32:
			row[i] = float64(v)
		}
	}
	return nil
}

const (
	fullHint   = "make room on the server's disk; what was accepted is safe, and goes on by itself"
	brokenHint = "stop fanfare, keep the files as they are, run fanfare doctor to see what is affected, and restore a backup"
	rightsHint = "let the database's user make tables in it and write to them"
	noneHint   = "make it first: CREATE DATABASE … CHARACTER SET utf8mb4"
	manyHint   = "raise max_connections: a node takes up to 40"
	packetHint = "raise max_allowed_packet to 64M"
)

// Failure implements sqlstore.Database.
func (d *database) Failure(err error) *sqlstore.Failure {
	f := &sqlstore.Failure{Err: err}
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		if errors.Is(err, io.EOF) {
			f.Err = fmt.Errorf("the connection was lost: %w", err)
		}
		return f
	}
	switch e.Number {
	case 1213, 1205, 1020: // deadlock, a lock not had in time, a row that changed in between
		f.Again = true
	case 1062, 1586:
		f.Data, f.Taken = true, true
	case 1021, 1114, 3, 1041:
		f.Kind, f.Hint = fanfare.ErrFull, fullHint
	case 1040, 1203, 1226:
		f.Hint = manyHint
	case 1290, 1792, 1836, 1044, 1142, 1143, 1227:
		f.Kind, f.Hint = fanfare.ErrReadOnly, rightsHint
	case 1049:
		f.Kind, f.Hint = fanfare.ErrNotFound, noneHint
	case 1034, 1194, 1195, 1712, 1033, 1877:
		f.Kind, f.Hint = fanfare.ErrDamaged, brokenHint
	case 1153, 1301:
		f.Data, f.Hint = true, packetHint
	case 1048, 1064, 1105, 1136, 1138, 1146, 1054, 1264, 1265, 1292, 1300, 1366, 1367, 1406, 1411, 1690, 3140, 4025, 1364, 1267:
		f.Data = true
	}
	return f
}
