package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// conn is one connection with its prepared statements, used by one goroutine at a time. It goes to the driver without database/sql
// between: the committer makes tens of thousands of statements a second.
type conn struct {
	db       Database
	dialect  Dialect
	raw      driver.Conn
	pipeline Pipeline        // raw, if it is one
	unsent   int             // statements that the pipeline may hold
	ctx      context.Context // never cancelled: a statement ends, then its caller looks
	texts    statements
	prepared map[string]driver.Stmt
	args     []driver.NamedValue // reused
	rows     []driver.Value      // reused
	scratch  []byte              // reused
	values   []driver.Value      // reused
	heard    bool                // the database has answered in this transaction
}

func connect(ctx context.Context, d Dialect, db Database, texts statements, read bool) (*conn, error) {
	raw, err := db.Connect(ctx, read)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", db.Name(), failed(db, err))
	}
	c := &conn{db: db, dialect: d, raw: raw, ctx: context.WithoutCancel(ctx), texts: texts, prepared: make(map[string]driver.Stmt)}
	c.pipeline, _ = raw.(Pipeline)
	return c, nil
}

// askClock reads the database's clock.
func (c *conn) askClock(now *time.Time) error {
	scan := func(r []driver.Value) error {
		*now = moment(r[0])
		return nil
	}
	s, err := c.statementOf(c.dialect.Clock)
	switch {
	case err != nil:
		return err
	case c.pipeline == nil:
		return c.scan("clock", s, nil, scan)
	}
	return c.send("clock", s, nil, scan, nil)
}

// lost says whether the connection is no more.
func (c *conn) lost() bool {
	v, ok := c.raw.(driver.Validator)
	return ok && !v.IsValid()
}

// failed says what err means, once.
func failed(db Database, err error) error {
	if f := (*Failure)(nil); err == nil || errors.As(err, &f) {
		return err
	}
	return db.Failure(err)
}

func (c *conn) close() error {
	if c.lost() {
		_ = c.raw.Close() // there is nothing left to say
		return nil
	}
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
	c.heard = false
	return c.soon(text)
}

// unheard says that the connection was lost before the database answered anything: whatever was asked may be asked again.
func (c *conn) unheard() bool { return c.lost() && !c.heard }

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

// soon runs one of them with the next statement that is waited for, where the driver can.
func (c *conn) soon(text string) error {
	if c.pipeline == nil {
		return c.plain(text)
	}
	s, err := c.statementOf(text)
	if err != nil {
		return err
	}
	return c.send(text, s, nil, nil, nil)
}

// send queues a statement. done may be nil.
func (c *conn) send(name string, s driver.Stmt, values []driver.Value, row func([]driver.Value) error, done func(changed int64) error) error {
	args, err := c.bind(values)
	if err != nil {
		return c.fail(name, err)
	}
	if err := c.pipeline.Send(s, args, row, func(changed int64, err error) error {
		switch {
		case err != nil:
			return c.fail(name, err)
		case done != nil:
			return done(changed)
		}
		return nil
	}); err != nil {
		return c.fail(name, err)
	}
	const most = 200 // with their values they wait in memory
	if c.unsent++; c.unsent >= most {
		return c.flush()
	}
	return nil
}

// later runs a named statement with the next one that is waited for, where the driver can; done hears how many rows it changed. Its error is
// answered by that one.
func (c *conn) later(name string, done func(changed int64) error, values ...driver.Value) error {
	if c.pipeline == nil {
		n, err := c.exec(name, values...)
		if err == nil && done != nil {
			err = done(n)
		}
		return err
	}
	s, err := c.statement(name, 1)
	if err != nil {
		return err
	}
	return c.send(name, s, values, nil, done)
}

// ask is query whose rows come with the answer to the next statement that is waited for, where the driver can.
func (c *conn) ask(scan func(row []driver.Value) error, name string, values ...driver.Value) error {
	if c.pipeline == nil {
		return c.query(scan, name, values...)
	}
	s, err := c.statement(name, 1)
	if err != nil {
		return err
	}
	return c.send(name, s, values, scan, nil)
}

// askRows is queryRows as ask is query, without more.
func (c *conn) askRows(scan func(row []driver.Value) error, name string, width int, values []driver.Value) error {
	if c.pipeline == nil {
		return c.queryRows(scan, name, width, values)
	}
	return c.portions(name, width, values, nil, func(s driver.Stmt) error { return c.send(name, s, c.rows, scan, nil) })
}

// padded is for how many rows a question is made that has so many values left.
func (c *conn) padded(left, width int) int {
	for _, size := range [...]int{1, 8} {
		if left <= size*width {
			return size
		}
	}
	return manyRows
}

// pad fills c.rows with values, and nulls behind them.
func (c *conn) pad(values []driver.Value, n int) {
	c.rows = append(c.rows[:0], values...)
	for len(c.rows) < n {
		c.rows = append(c.rows, nil)
	}
}

// flush waits for what is queued.
func (c *conn) flush() error {
	if c.pipeline == nil || c.unsent == 0 {
		return nil
	}
	c.unsent = 0
	if err := c.pipeline.Flush(); err != nil {
		return c.failOnce("flush", err)
	}
	c.heard = true
	return nil
}

// drop forgets what is queued and was not sent.
func (c *conn) drop() {
	if c.pipeline != nil {
		c.unsent = 0
		c.pipeline.Drop()
	}
}

// failOnce is fail unless the error has a name already: that of a statement that was sent before.
func (c *conn) failOnce(name string, err error) error {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return err
	}
	if errors.Is(err, errMoved) {
		return err
	}
	return c.fail(name, err)
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
	if r, ok := c.raw.(Scripter); ok {
		if err := r.Script(text); err != nil {
			return c.fail("script", err)
		}
		return nil
	}
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
		return nil, c.failOnce(name, err)
	}
	c.heard = true
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
	if c.dialect.Returning {
		var number int64
		_, err := c.one(func(row []driver.Value) error {
			number = integer(row[0])
			return nil
		}, name, values...)
		return number, err
	}
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
		return c.failOnce(name, err)
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
	if copied, err := c.copyRows(name, width, values); copied || err != nil {
		return err
	}
	for len(values) > 0 {
		n := rowsOf(len(values) / width)
		s, err := c.statement(name, n)
		if err != nil {
			return err
		}
		if c.pipeline != nil {
			if err := c.send(name, s, values[:n*width], nil, nil); err != nil {
				return err
			}
			values = values[n*width:]
			continue
		}
		if _, err := c.run(name, s, values[:n*width]); err != nil {
			return err
		}
		values = values[n*width:]
	}
	return nil
}

// copyRows is execRows for many rows by the driver's own means, if it has some for the statement.
func (c *conn) copyRows(name string, width int, values []driver.Value) (done bool, err error) {
	copier, can := c.raw.(Copier)
	base, slot, _ := strings.Cut(name, "@")
	to, known := c.dialect.Copies[base]
	if !can || !known || len(values) < manyRows*width {
		return false, nil
	}
	to.Table = strings.ReplaceAll(to.Table, slotMark, slot)
	if err := copier.Copy(to, values); err != nil {
		return false, c.failOnce(name, err)
	}
	return true, nil
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
	return c.portions(name, width, values, more, func(s driver.Stmt) error { return c.scan(name, s, c.rows, scan) })
}

// portions calls fn with a statement for as many of the rows as it takes, which are in c.rows then, until all are done.
func (c *conn) portions(name string, width int, values, more []driver.Value, fn func(s driver.Stmt) error) error {
	for len(values) > 0 {
		n := c.padded(len(values), width)
		s, err := c.statement(name, n)
		if err != nil {
			return err
		}
		take := min(n*width, len(values))
		c.pad(values[:take], n*width)
		c.rows = append(c.rows, more...)
		if err := fn(s); err != nil {
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
		return c.failOnce(name, err)
	}
	defer func() {
		if e := rows.Close(); e != nil && err == nil {
			err = c.failOnce(name, e)
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			c.heard = true
			return nil
		} else if err != nil {
			return c.failOnce(name, err)
		}
		c.heard = true
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
