package postgres

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fanfare/stores/sqlstore"
)

// Types by their numbers in pg_type.
const (
	oidBool    = 16
	oidBytes   = 17
	oidInt8    = 20
	oidInt2    = 21
	oidInt4    = 23
	oidText    = 25
	oidFloat8  = 701
	oidNumeric = 1700
)

// connection speaks to the server by its binary protocol, without database/sql between: statements are prepared when their first values tell
// the types of parameters, and what is queued goes out with what is waited for.
type connection struct {
	pg      *pgconn.PgConn
	ctx     context.Context // never cancelled: a statement ends, then its caller looks; a server that says nothing is left by deadline
	queue   []queued
	arena   []byte // values of what is queued
	open    *rows  // of a query that is not read to its end
	number  int    // of prepared statements
	columns map[string][]uint32
}

var (
	_ sqlstore.Pipeline       = (*connection)(nil)
	_ sqlstore.Copier         = (*connection)(nil)
	_ sqlstore.Scripter       = (*connection)(nil)
	_ driver.Validator        = (*connection)(nil)
	_ driver.StmtQueryContext = (*statement)(nil)
	_ driver.StmtExecContext  = (*statement)(nil)
)

// queued is a statement that was not sent yet.
type queued struct {
	*statement
	values [][]byte
	row    func([]driver.Value) error
	done   func(changed int64, err error) error
}

func (c *connection) IsValid() bool { return !c.pg.IsClosed() }

const closeTime = 2 * time.Second

func (c *connection) Close() error {
	ctx, cancel := context.WithTimeout(c.ctx, closeTime)
	defer cancel()
	return c.pg.Close(ctx)
}

// Begin is not used: transactions begin by a statement of the dialect.
func (c *connection) Begin() (driver.Tx, error) { return nil, errors.ErrUnsupported }

// Prepare only notes the text.
func (c *connection) Prepare(text string) (driver.Stmt, error) {
	return &statement{c: c, text: text, commits: text == "COMMIT"}, nil
}

// Script implements sqlstore.Scripter.
func (c *connection) Script(text string) error {
	if err := c.Flush(); err != nil {
		return err
	}
	_, err := c.pg.Exec(c.ctx, text).ReadAll()
	return err
}

// statement is one that is prepared on its first use.
type statement struct {
	c       *connection
	text    string
	commits bool
	known   *pgconn.StatementDescription
	results []int16
}

func (s *statement) Close() error {
	if s.known == nil || s.c.pg.IsClosed() {
		return nil
	}
	name := s.known.Name
	s.known = nil
	return s.c.pg.Deallocate(s.c.ctx, name)
}

func (s *statement) NumInput() int { return -1 }

// Exec and Query are not used, but a statement has to have them.
func (s *statement) Exec([]driver.Value) (driver.Result, error) { return nil, errors.ErrUnsupported }

func (s *statement) Query([]driver.Value) (driver.Rows, error) { return nil, errors.ErrUnsupported }

// prepare prepares the statement with parameters of the types that these values have; one that is null has the type that PostgreSQL finds.
func (s *statement) prepare(args []driver.NamedValue) error {
	if s.known != nil {
		return nil
	}
	types := make([]uint32, len(args))
	for i := range args {
		switch args[i].Value.(type) {
		case int64:
			types[i] = oidInt8
		case string:
			types[i] = oidText
		case []byte:
			types[i] = oidBytes
		case float64:
			types[i] = oidFloat8
		}
	}
	s.c.number++
	known, err := s.c.pg.Prepare(s.c.ctx, "f"+strconv.Itoa(s.c.number), s.text, types)
	if err != nil {
		return err
	}
	if len(known.ParamOIDs) != len(args) {
		return fmt.Errorf("%d values for %d parameters", len(args), len(known.ParamOIDs))
	}
	s.known, s.results = known, make([]int16, len(known.Fields))
	for i := range known.Fields {
		if known.Fields[i].DataTypeOID != oidNumeric {
			s.results[i] = 1 // binary
		}
	}
	return nil
}

// encode writes values behind one another.
func (c *connection) encode(args []driver.NamedValue, types []uint32) ([][]byte, error) {
	values := make([][]byte, len(args))
	for i := range args {
		if args[i].Value == nil {
			continue
		}
		from := len(c.arena)
		var err error
		if c.arena, err = appendValue(c.arena, args[i].Value, types[i]); err != nil {
			return nil, fmt.Errorf("parameter %d: %w", i+1, err)
		}
		values[i] = c.arena[from:len(c.arena):len(c.arena)]
	}
	return values, nil
}

// appendValue writes a value as the server wants one of that type.
func appendValue(to []byte, v driver.Value, oid uint32) ([]byte, error) {
	switch x := v.(type) {
	case int64:
		switch {
		case oid == oidInt8:
			return binary.BigEndian.AppendUint64(to, uint64(x)), nil //nolint:gosec // all 64 bits
		case oid == oidInt4 && x >= math.MinInt32 && x <= math.MaxInt32:
			return binary.BigEndian.AppendUint32(to, uint32(x)), nil //nolint:gosec // checked
		case oid == oidInt2 && x >= math.MinInt16 && x <= math.MaxInt16:
			return binary.BigEndian.AppendUint16(to, uint16(x)), nil //nolint:gosec // checked
		case oid == oidFloat8:
			return binary.BigEndian.AppendUint64(to, math.Float64bits(float64(x))), nil
		}
	case float64:
		if oid == oidFloat8 {
			return binary.BigEndian.AppendUint64(to, math.Float64bits(x)), nil
		}
	case string:
		if oid == oidText {
			return append(to, x...), nil
		}
	case []byte:
		if oid == oidBytes {
			return append(to, x...), nil
		}
	}
	return to, &pgconn.PgError{Code: "22003", Severity: "ERROR", Message: fmt.Sprintf("a %T is not of type %d, or out of its range", v, oid)}
}

// value reads what the server wrote; what is long is copied.
func value(raw []byte, oid uint32) (driver.Value, error) {
	if raw == nil {
		return nil, nil
	}
	switch oid {
	case oidInt8:
		return int64(binary.BigEndian.Uint64(raw)), nil //nolint:gosec // all 64 bits
	case oidInt4:
		return int64(int32(binary.BigEndian.Uint32(raw))), nil //nolint:gosec // all 32 bits
	case oidInt2:
		return int64(int16(binary.BigEndian.Uint16(raw))), nil //nolint:gosec // all 16 bits
	case oidBool:
		return int64(raw[0]), nil
	case oidFloat8:
		return math.Float64frombits(binary.BigEndian.Uint64(raw)), nil
	case oidNumeric: // as text
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return n, nil
		}
		return strconv.ParseFloat(string(raw), 64)
	case oidBytes:
		return bytes.Clone(raw), nil
	}
	return string(raw), nil
}

func (s *statement) scan(raw [][]byte, to []driver.Value) (err error) {
	for i := range raw {
		if to[i], err = value(raw[i], s.known.Fields[i].DataTypeOID); err != nil {
			return err
		}
	}
	return nil
}

// Send implements sqlstore.Pipeline.
func (c *connection) Send(s driver.Stmt, args []driver.NamedValue, row func([]driver.Value) error, done func(changed int64, err error) error) error {
	st, ok := s.(*statement)
	if !ok {
		return errors.ErrUnsupported
	}
	if err := c.settle(); err != nil {
		return err
	}
	if err := st.prepare(args); err != nil {
		return err
	}
	values, err := c.encode(args, st.known.ParamOIDs)
	if err != nil {
		return err
	}
	c.queue = append(c.queue, queued{st, values, row, done})
	return nil
}

// Drop implements sqlstore.Pipeline.
func (c *connection) Drop() {
	clear(c.queue)
	c.queue, c.arena = c.queue[:0], c.arena[:0]
}

// Flush implements sqlstore.Pipeline.
func (c *connection) Flush() error {
	if err := c.settle(); err != nil || len(c.queue) == 0 {
		return err
	}
	p, err := c.sendQueue(nil, nil)
	if p != nil {
		err = errors.Join(err, c.closed(p, err))
	}
	return err
}

// settle reads a query that is still under way to its end, into memory.
func (c *connection) settle() error {
	if c.open != nil {
		return c.open.settle()
	}
	return nil
}

// sendQueue sends what is queued and then last, if there is one, and hears what became of the former. The pipeline is to be closed.
func (c *connection) sendQueue(last *statement, values [][]byte) (*pgconn.Pipeline, error) {
	p := c.pg.StartPipeline(c.ctx)
	queue := c.queue
	defer c.Drop()
	binaries := []int16{1}
	for i := range queue {
		p.SendQueryStatement(queue[i].known, queue[i].values, binaries, queue[i].results)
	}
	if last != nil {
		p.SendQueryStatement(last.known, values, binaries, last.results)
	}
	if err := p.Sync(); err != nil {
		return p, err
	}
	var first error
	for i := range queue {
		err := queue[i].hear(p)
		if first == nil {
			first = err
		}
		var e *pgconn.PgError
		if errors.As(err, &e) || c.pg.IsClosed() { // what comes after it was not carried out
			break
		}
	}
	return p, first
}

func (q *queued) hear(p *pgconn.Pipeline) error {
	got, err := p.GetResults()
	if err != nil {
		return q.done(0, err)
	}
	r, ok := got.(*pgconn.ResultReader)
	if !ok {
		return q.done(0, fmt.Errorf("the server answered with %T", got))
	}
	var row []driver.Value
	for r.NextRow() {
		if q.row == nil || err != nil {
			continue
		}
		raw := r.Values()
		row = append(row[:0], make([]driver.Value, len(raw))...)
		if err = q.scan(raw, row); err == nil {
			err = q.row(row)
		}
	}
	tag, failed := r.Close()
	if failed != nil {
		return q.done(0, failed)
	}
	return errors.Join(err, q.done(tag.RowsAffected(), nil))
}

// closed ends a pipeline; the error of a statement that is known already is not said twice.
func (c *connection) closed(p *pgconn.Pipeline, known error) error {
	err := p.Close()
	if known != nil {
		return nil
	}
	return err
}

// begin sends the statement, behind what is queued.
func (s *statement) begin(args []driver.NamedValue) (*rows, error) {
	c := s.c
	if err := c.settle(); err != nil {
		return nil, err
	}
	if err := s.prepare(args); err != nil {
		return nil, err
	}
	if len(c.queue) == 0 {
		c.arena = c.arena[:0]
	}
	values, err := c.encode(args, s.known.ParamOIDs)
	if err != nil {
		return nil, err
	}
	r := &rows{s: s}
	if len(c.queue) == 0 {
		r.from = c.pg.ExecStatement(c.ctx, s.known, values, []int16{1}, s.results)
		return r, nil
	}
	p, err := c.sendQueue(s, values)
	if err != nil {
		return nil, errors.Join(err, c.closed(p, err))
	}
	got, err := p.GetResults()
	if err != nil {
		return nil, errors.Join(err, c.closed(p, err))
	}
	from, ok := got.(*pgconn.ResultReader)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the server answered with %T", got), p.Close())
	}
	r.from, r.pipeline = from, p
	return r, nil
}

// ExecContext implements driver.StmtExecContext.
func (s *statement) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	r, err := s.begin(args)
	if err != nil {
		return nil, err
	}
	tag, err := r.end()
	if err != nil {
		return nil, err
	}
	if s.commits && tag.String() != "COMMIT" {
		return nil, fmt.Errorf("the server answered %s to COMMIT", tag)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

// QueryContext implements driver.StmtQueryContext.
func (s *statement) QueryContext(_ context.Context, args []driver.NamedValue) (driver.Rows, error) {
	r, err := s.begin(args)
	if err != nil {
		return nil, err
	}
	s.c.open = r
	return r, nil
}

// rows are what a query answers. They come from the server as they are read, unless another statement is run before their end.
type rows struct {
	s        *statement
	from     *pgconn.ResultReader
	pipeline *pgconn.Pipeline // that from is of; may be nil
	kept     [][]driver.Value // read before another statement
	ended    bool
	err      error
}

func (r *rows) Columns() []string { return make([]string, len(r.s.known.Fields)) }

func (r *rows) Next(to []driver.Value) error {
	if len(r.kept) > 0 {
		copy(to, r.kept[0])
		r.kept = r.kept[1:]
		return nil
	}
	if !r.ended && r.from.NextRow() {
		return r.s.scan(r.from.Values(), to)
	}
	if _, err := r.end(); err != nil {
		return err
	}
	return io.EOF
}

// settle keeps what is left.
func (r *rows) settle() error {
	for r.from.NextRow() {
		row := make([]driver.Value, len(r.s.known.Fields))
		if err := r.s.scan(r.from.Values(), row); err != nil {
			return err
		}
		r.kept = append(r.kept, row)
	}
	_, err := r.end()
	return err
}

// end leaves the rest of the rows and tells how it went.
func (r *rows) end() (tag pgconn.CommandTag, err error) {
	if r.ended {
		return tag, r.err
	}
	r.ended = true
	if r.s.c.open == r {
		r.s.c.open = nil
	}
	tag, r.err = r.from.Close()
	if r.pipeline != nil {
		r.err = errors.Join(r.err, r.s.c.closed(r.pipeline, r.err))
	}
	return tag, r.err
}

func (r *rows) Close() error {
	r.kept = nil
	_, err := r.end()
	return err
}

// Copy implements sqlstore.Copier, in the binary format.
func (c *connection) Copy(to sqlstore.Copy, values []driver.Value) error {
	if err := c.Flush(); err != nil {
		return err
	}
	columns := `"` + strings.Join(to.Columns, `", "`) + `"`
	types, known := c.columns[to.Table]
	if !known {
		d, err := c.pg.Prepare(c.ctx, "", "SELECT "+columns+" FROM "+to.Table, nil)
		if err != nil {
			return err
		}
		for _, f := range d.Fields {
			types = append(types, f.DataTypeOID)
		}
		if c.columns == nil {
			c.columns = make(map[string][]uint32)
		}
		c.columns[to.Table] = types
	}
	packed := append(make([]byte, 0, 64*len(values)), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for len(values) > 0 {
		packed = binary.BigEndian.AppendUint16(packed, uint16(len(types))) //nolint:gosec // few
		for i, oid := range types {
			if values[i] == nil {
				packed = append(packed, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			at := len(packed)
			var err error
			if packed, err = appendValue(append(packed, 0, 0, 0, 0), plain(values[i]), oid); err != nil {
				return err
			}
			binary.BigEndian.PutUint32(packed[at:], uint32(len(packed)-at-4)) //nolint:gosec // shorter than a message may be
		}
		values = values[len(types):]
	}
	packed = append(packed, 0xff, 0xff)
	_, err := c.pg.CopyFrom(c.ctx, bytes.NewReader(packed), "COPY "+to.Table+" ("+columns+") FROM STDIN (FORMAT binary)")
	return err
}

// plain makes of the types that sqlstore has those that are kept.
func plain(v driver.Value) driver.Value {
	switch x := v.(type) {
	case uint32:
		return int64(x)
	case int:
		return int64(x)
	}
	return v
}

// deadline is a connection to a server that has to say something within a time once it is waited for.
type deadline struct {
	net.Conn
	wait time.Duration
}

func (d deadline) Read(b []byte) (int, error) {
	if err := d.SetReadDeadline(time.Now().Add(d.wait)); err != nil {
		return 0, err
	}
	return d.Conn.Read(b)
}
