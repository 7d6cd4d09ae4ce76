package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"
)

// conn is one connection with its prepared statements, used by one goroutine at a time. It goes to the driver without database/sql
// between: the committer makes tens of thousands of statements a second.
type conn struct {
	db       Database
	raw      driver.Conn
	ctx      context.Context // never cancelled: a statement ends, then its caller looks
	texts    statements
	prepared map[string]driver.Stmt
	args     []driver.NamedValue // reused
	rows     []driver.Value      // reused
	scratch  []byte              // reused
}

func connect(ctx context.Context, db Database, texts statements, read bool) (*conn, error) {
	raw, err := db.Connect(ctx, read)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", db.Name(), failed(db, err))
	}
	return &conn{db: db, raw: raw, ctx: context.WithoutCancel(ctx), texts: texts, prepared: make(map[string]driver.Stmt)}, nil
}

// failed says what err means, once.
func failed(db Database, err error) error {
	if f := (*Failure)(nil); err == nil || errors.As(err, &f) {
		return err
	}
	return db.Failure(err)
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.prepared {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// mostPrepared is how many statements a connection keeps from one transaction to the next: each slot has its own.
const mostPrepared = 1000

// begin begins a transaction with a statement of the dialect.
func (c *conn) begin(text string) error {
	if len(c.prepared) > mostPrepared {
		for key, s := range c.prepared { // none is under way now
			delete(c.prepared, key)
			if err := s.Close(); err != nil {
				return c.fail(key, err)
			}
		}
	}
	return c.plain(text)
}

func (c *conn) fail(name string, err error) error {
	return fmt.Errorf("%s: %s: %w", c.db.Name(), name, failed(c.db, err))
}

// statement gives the prepared statement for n rows.
func (c *conn) statement(name string, n int) (driver.Stmt, error) {
	key := preparedName(name, n)
	if s, ok := c.prepared[key]; ok {
		return s, nil
	}
	text, err := c.texts.of(name, n)
	if err != nil {
		return nil, err
	}
	return c.prepare(key, text)
}

func (c *conn) prepare(key, text string) (driver.Stmt, error) {
	s, err := c.raw.Prepare(text)
	if err != nil {
		return nil, c.fail(key, err)
	}
	c.prepared[key] = s
	return s, nil
}

// statementOf gives the prepared statement of a text that has no name: of the dialect, or a savepoint.
func (c *conn) statementOf(text string) (driver.Stmt, error) {
	if s, ok := c.prepared[text]; ok {
		return s, nil
	}
	return c.prepare(text, text)
}

// plain runs one of them.
func (c *conn) plain(text string) error {
	s, err := c.statementOf(text)
	if err == nil {
		_, err = c.run(text, s, nil)
	}
	return err
}

// script runs statements that are not prepared.
func (c *conn) script(text string) error {
	s, err := c.raw.Prepare(text)
	if err != nil {
		return c.fail("script", err)
	}
	_, err = c.run("script", s, nil)
	return errors.Join(err, s.Close())
}

func (c *conn) bind(values []driver.Value) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, v := range values {
		switch x := v.(type) {
		case nil, int64, float64, string:
		case int:
			v = int64(x)
		case uint32:
			v = int64(x)
		case bool:
			v = int64(0)
			if x {
				v = int64(1)
			}
		case []byte:
			if x == nil {
				v = nil
			}
		case time.Time:
			v = micros(x)
		default:
			return nil, fmt.Errorf("no value for a statement: %T", v)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

func (c *conn) run(name string, s driver.Stmt, values []driver.Value) (driver.Result, error) {
	args, err := c.bind(values)
	if err != nil {
		return nil, c.fail(name, err)
	}
	var r driver.Result
	if with, ok := s.(driver.StmtExecContext); ok {
		r, err = with.ExecContext(c.ctx, args)
	} else {
		err = errors.New("the driver cannot run statements with a context")
	}
	if err != nil {
		return nil, c.fail(name, err)
	}
	return r, nil
}

// exec runs a named statement and tells how many rows it changed.
func (c *conn) exec(name string, values ...driver.Value) (int64, error) {
	s, err := c.statement(name, 1)
	if err != nil {
		return 0, err
	}
	r, err := c.run(name, s, values)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// insert runs a named statement and gives the number that the database gave the row.
func (c *conn) insert(name string, values ...driver.Value) (int64, error) {
	s, err := c.statement(name, 1)
	if err != nil {
		return 0, err
	}
	r, err := c.run(name, s, values)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// exact runs a named statement made for n rows with arguments that are of the driver's types already.
func (c *conn) exact(name string, n int, args []driver.NamedValue) error {
	s, err := c.statement(name, n)
	if err != nil {
		return err
	}
	with, ok := s.(driver.StmtExecContext)
	if !ok {
		return c.fail(name, errors.New("the driver cannot run statements with a context"))
	}
	if _, err = with.ExecContext(c.ctx, args); err != nil {
		return c.fail(name, err)
	}
	return nil
}

// manyRows is how many rows one statement takes: more of them cost more to bind than they save.
const manyRows = 50

// rowsOf is for how many of the rows that are left the next statement is made.
func rowsOf(left int) int {
	for _, size := range [...]int{manyRows, 10} {
		if left >= size {
			return size
		}
	}
	return 1
}

// execRows runs a statement for all rows that values hold, width values each.
func (c *conn) execRows(name string, width int, values []driver.Value) error {
	for len(values) > 0 {
		n := rowsOf(len(values) / width)
		s, err := c.statement(name, n)
		if err != nil {
			return err
		}
		if _, err := c.run(name, s, values[:n*width]); err != nil {
			return err
		}
		values = values[n*width:]
	}
	return nil
}

// query calls scan with each row of a named statement. The row is reused, what it holds is the callee's.
func (c *conn) query(scan func(row []driver.Value) error, name string, values ...driver.Value) error {
	s, err := c.statement(name, 1)
	if err != nil {
		return err
	}
	return c.scan(name, s, values, scan)
}

// queryRows runs a statement for all rows that values hold, width values each; more comes after the rows of each statement.
// Unused rows are null, which equals nothing.
func (c *conn) queryRows(scan func(row []driver.Value) error, name string, width int, values []driver.Value, more ...driver.Value) error {
	for len(values) > 0 {
		n := manyRows
		for _, size := range [...]int{1, 8} {
			if len(values) <= size*width {
				n = size
				break
			}
		}
		s, err := c.statement(name, n)
		if err != nil {
			return err
		}
		take := min(n*width, len(values))
		c.rows = append(c.rows[:0], values[:take]...)
		for len(c.rows) < n*width {
			c.rows = append(c.rows, nil)
		}
		c.rows = append(c.rows, more...)
		if err := c.scan(name, s, c.rows, scan); err != nil {
			return err
		}
		values = values[take:]
	}
	return nil
}

func (c *conn) scan(name string, s driver.Stmt, values []driver.Value, scan func(row []driver.Value) error) (err error) {
	args, err := c.bind(values)
	if err != nil {
		return c.fail(name, err)
	}
	with, ok := s.(driver.StmtQueryContext)
	if !ok {
		return c.fail(name, errors.New("the driver cannot query with a context"))
	}
	rows, err := with.QueryContext(c.ctx, args)
	if err != nil {
		return c.fail(name, err)
	}
	defer func() {
		if e := rows.Close(); e != nil && err == nil {
			err = c.fail(name, e)
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return c.fail(name, err)
		}
		if err := scan(row); err != nil {
			return err
		}
	}
}

// one is query for at most one row; it tells whether there was one.
func (c *conn) one(scan func(row []driver.Value) error, name string, values ...driver.Value) (found bool, err error) {
	err = c.query(func(row []driver.Value) error {
		found = true
		return scan(row)
	}, name, values...)
	return found, err
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// What a row holds is of these types, or the row is damaged; a wrong type reads as nothing, and what it breaks is noticed by count and
// checksum.

func integer(v driver.Value) int64 {
	switch x := v.(type) {
	case int64:
		return x
	case float64:
		return int64(x)
	}
	return 0
}

func real(v driver.Value) float64 {
	switch x := v.(type) {
	case float64:
		return x
	case int64:
		return float64(x)
	}
	return 0
}

func text(v driver.Value) string {
	switch x := v.(type) {
	case string:
		return x
	case []byte:
		return string(x)
	}
	return ""
}

func blob(v driver.Value) []byte {
	switch x := v.(type) {
	case string:
		return []byte(x)
	case []byte:
		return x
	}
	return nil
}

func moment(v driver.Value) time.Time {
	if n := integer(v); n != 0 {
		return time.UnixMicro(n).UTC()
	}
	return time.Time{}
}
