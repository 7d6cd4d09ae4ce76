package people

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"fanfare"
)

// Format is a file's format.
type Format string

// The formats.
const (
	CSV    Format = "csv"
	NDJSON Format = "ndjson"
)

// maxLine bounds one row.
const maxLine = 1 << 20

// RowError says why one row is refused; reading goes on after it.
type RowError struct {
	Line int // from 1
	Err  error
}

func (e *RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *RowError) Unwrap() error { return e.Err }

// RowOptions says how rows are read.
type RowOptions struct {
	Map         map[string]string // a column's or field's name in the file → its name here
	EmptyRemove bool              // an empty CSV cell removes, instead of saying nothing
	Insert      bool
}

// Rows reads changes. Next answers io.EOF at the end, a *RowError for a row that is refused (call again), any other error if the
// file cannot be read on.
type Rows interface {
	Next() (c fanfare.RecipientChange, line int, err error)
}

// NewRows reads rows of a format from text in an encoding.
func NewRows(r io.Reader, f Format, e Encoding, o RowOptions) (Rows, error) {
	text, err := decode(r, e)
	if err != nil {
		return nil, err
	}
	if f == NDJSON {
		return &jsonRows{r: bufio.NewReaderSize(text, 1<<16), o: o, zones: zones{}}, nil
	}
	return newCSVRows(text, o)
}

type column struct {
	name string // external_id, email, phone, locale, time_zone, or an attribute's
	kind byte   // 'i' id, 'e', 'p', 'l', 'z', 'a' attribute, 't' attribute as text
}

type csvRows struct {
	r       *csv.Reader
	limit   *lineLimit
	o       RowOptions
	columns []column
	zones   zones
}

func newCSVRows(text io.Reader, o RowOptions) (*csvRows, error) {
	limit := &lineLimit{r: newQuoteGuard(text)}
	r := csv.NewReader(limit)
	r.ReuseRecord = true
	r.FieldsPerRecord = -1
	limit.left = maxLine
	header, err := r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty; its first line must name the columns, external_id among them")
	case err != nil:
		return nil, fmt.Errorf("the header row cannot be read: %w", err)
	}
	c := &csvRows{r: r, limit: limit, o: o, zones: zones{}}
	seen := make(map[string]bool, len(header))
	for i, h := range header {
		col, err := headerColumn(h, o.Map)
		if err != nil {
			return nil, fmt.Errorf("column %d of the header row: %w", i+1, err)
		}
		if seen[col.name] {
			return nil, fmt.Errorf("the header row names %q twice; rename one of the columns", col.name)
		}
		seen[col.name] = true
		c.columns = append(c.columns, col)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Map)) {
		if !slices.ContainsFunc(header, func(h string) bool { return strings.TrimSpace(h) == name }) {
			return nil, fmt.Errorf("map names the column %q, which the header row %q does not have; mend the name", name, strings.Join(header, ","))
		}
	}
	if !seen["external_id"] {
		return nil, fmt.Errorf("no column external_id (or id) in the header row %q; rename one or use map=COLUMN:external_id", strings.Join(header, ","))
	}
	return c, nil
}

func headerColumn(h string, names map[string]string) (column, error) {
	h = strings.TrimSpace(h)
	if to, ok := names[h]; ok {
		h = to
	}
	switch h {
	case "external_id", "id":
		return column{"external_id", 'i'}, nil
	case "email":
		return column{h, 'e'}, nil
	case "phone":
		return column{h, 'p'}, nil
	case "locale":
		return column{h, 'l'}, nil
	case "time_zone":
		return column{h, 'z'}, nil
	}
	kind := byte('a')
	if name, ok := strings.CutSuffix(h, ":text"); ok {
		h, kind = name, 't'
	}
	return column{h, kind}, CheckAttributeName(h)
}

// Next implements Rows.
func (c *csvRows) Next() (fanfare.RecipientChange, int, error) {
	var change fanfare.RecipientChange
	c.limit.left = maxLine
	record, err := c.r.Read()
	if err != nil {
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			return change, parse.StartLine, &RowError{parse.StartLine, fmt.Errorf("is no CSV: %w; quote the cell and double the quotes in it", parse.Err)}
		}
		return change, 0, err
	}
	line, _ := c.r.FieldPos(0)
	if len(record) != len(c.columns) {
		return change, line, &RowError{line, fmt.Errorf("has %d cells, the header row has %d", len(record), len(c.columns))}
	}
	if c.o.Insert {
		change.Kind = fanfare.ChangeInsert
	}
	c.fill(&change, record)
	if err := check(&change, c.zones.known); err != nil {
		return change, line, &RowError{line, err}
	}
	return change, line, nil
}

func (c *csvRows) fill(change *fanfare.RecipientChange, record []string) {
	fields := make([]string, 4) // one allocation for those that are addressed
	for i, cell := range record {
		col := c.columns[i]
		if col.kind == 'i' {
			change.ExternalID = strings.TrimSpace(cell)
			continue
		}
		if cell == "" && !c.o.EmptyRemove {
			continue
		}
		switch col.kind {
		case 'e':
			fields[0] = strings.TrimSpace(cell)
			change.Email = &fields[0]
		case 'p':
			fields[1] = strings.TrimSpace(cell)
			change.Phone = &fields[1]
		case 'l':
			fields[2] = strings.TrimSpace(cell)
			change.Locale = &fields[2]
		case 'z':
			fields[3] = strings.TrimSpace(cell)
			change.TimeZone = &fields[3]
		default:
			if change.Attributes == nil {
				change.Attributes = make(map[string]any, len(c.columns))
			}
			switch {
			case cell == "":
				change.Attributes[col.name] = nil
			case col.kind == 't':
				change.Attributes[col.name] = cell
			default:
				change.Attributes[col.name] = Cell(cell)
			}
		}
	}
}

// errTooLong ends the reading of a file with a row that no row can be.
var errTooLong = fmt.Errorf("a row has more than %d bytes; a quote that is never closed does this", maxLine)

// lineLimit bounds how much is read for one record.
type lineLimit struct {
	r    io.Reader
	left int
}

func (l *lineLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

type jsonRows struct {
	r     *bufio.Reader
	o     RowOptions
	line  int
	buf   []byte
	zones zones
}

// Next implements Rows.
func (j *jsonRows) Next() (fanfare.RecipientChange, int, error) {
	for {
		text, err := j.readLine()
		if err != nil {
			return fanfare.RecipientChange{}, j.line, err
		}
		if len(strings.TrimSpace(string(text))) == 0 {
			continue
		}
		c, err := j.change(text)
		if err == nil {
			err = check(&c, j.zones.known)
		}
		if err != nil {
			return c, j.line, &RowError{j.line, err}
		}
		return c, j.line, nil
	}
}

func (j *jsonRows) readLine() ([]byte, error) {
	j.buf = j.buf[:0]
	j.line++
	for {
		part, err := j.r.ReadSlice('\n')
		j.buf = append(j.buf, part...)
		switch {
		case len(j.buf) > maxLine:
			return nil, errTooLong
		case err == nil, errors.Is(err, io.EOF) && len(j.buf) > 0:
			return j.buf, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (j *jsonRows) change(text []byte) (fanfare.RecipientChange, error) {
	var c fanfare.RecipientChange
	if j.o.Insert {
		c.Kind = fanfare.ChangeInsert
	}
	if !utf8.Valid(text) {
		return c, errors.New("is not valid UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return c, noObject(err)
	}
	if fields == nil {
		return c, errors.New("is null; write an object with external_id")
	}
	seen := make(map[string]bool, len(fields)) // a map has no order: of two fields with one name here none may win
	for name, raw := range fields {
		if to, ok := j.o.Map[name]; ok {
			name = to
		}
		if name == "id" {
			name = "external_id"
		}
		if seen[name] {
			return c, &FieldError{name, "invalid", "is given twice"}
		}
		seen[name] = true
		if err := setField(&c, name, raw); err != nil {
			return c, err
		}
	}
	return c, nil
}

// noObject says in words of this program why a line is no JSON object.
func noObject(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("is no JSON, from byte %d on; write one object a line", syntax.Offset)
	}
	if other, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(other.Value, " ") // it may go on with the value
		return fmt.Errorf("is no JSON object but of type %s; write one object a line", kind)
	}
	return errors.New("is no JSON object; write one object a line")
}

func setField(c *fanfare.RecipientChange, name string, raw json.RawMessage) error {
	switch name {
	case "external_id":
		if json.Unmarshal(raw, &c.ExternalID) != nil {
			var n json.Number
			if json.Unmarshal(raw, &n) != nil {
				return &FieldError{"external_id", "invalid", "is no string"}
			}
			c.ExternalID = n.String()
		}
		return nil
	case "email":
		return setText(&c.Email, name, raw)
	case "phone":
		return setText(&c.Phone, name, raw)
	case "locale":
		return setText(&c.Locale, name, raw)
	case "time_zone":
		return setText(&c.TimeZone, name, raw)
	case "attributes":
		var attributes map[string]any
		if err := json.Unmarshal(raw, &attributes); err != nil {
			return &FieldError{name, "invalid", "is no object"}
		}
		for k, v := range attributes {
			if err := setAttribute(c, k, v); err != nil {
				return err
			}
		}
		return nil
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return &FieldError{name, "invalid", "is no JSON value"}
	}
	return setAttribute(c, name, v)
}

func setText(to **string, name string, raw json.RawMessage) error {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		return &FieldError{name, "invalid", "is neither a string nor null"}
	}
	if s == nil { // null removes, as in a merge patch
		s = new(string)
	}
	*to = s
	return nil
}

func setAttribute(c *fanfare.RecipientChange, name string, v any) error {
	value, ok := Value(v)
	if !ok {
		return &FieldError{"attributes." + name, "invalid", "is neither a string, a number, a boolean nor a list of strings"}
	}
	if c.Attributes == nil {
		c.Attributes = make(map[string]any)
	}
	if _, there := c.Attributes[name]; there {
		return &FieldError{"attributes." + name, "invalid", "is given twice"}
	}
	c.Attributes[name] = value
	return nil
}
