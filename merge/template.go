package merge

import (
	"strings"
	"sync"
	"time"
)

// Options are the choices of a compilation.
type Options struct {
	Part Part           // how values are escaped
	Zone *time.Location // of the date filter where it names none; nil: the value's own offset
	// Links: the variables are asked for another address of each link, see [Linker]. Of HTML and Text.
	Links bool
}

// Limits bound one rendering. Zero fields mean the defaults.
type Limits struct {
	Steps  int // nodes executed, conditions, filters and what they read; 100,000
	Output int // bytes; 4 MiB
	// Lenient leaves out a value that is missing, where its item cannot be taken back any more.
	Lenient bool
}

const (
	defaultSteps  = 100_000
	defaultOutput = 4 << 20

	maxSource = 2 << 20 // bytes of a template
	maxDepth  = 32      // blocks inside blocks
	maxTerms  = 100     // of a condition
)

// Template is a compiled template.
type Template struct {
	part      Part
	nodes     []node
	literals  []string
	variables []string
	required  []string
	written   [][]string
	slots     int // loop variables alive at once
	pool      sync.Pool
}

// Sink receives a rendering piece by piece, in order: a literal by its place in [Template.Literals], a value as escaped bytes that
// are only valid until Value returns. So whoever encodes the output encodes literals once and only values for each recipient.
type Sink interface {
	Literal(id int)
	Value(b []byte)
}

// Literals are the fixed texts of the template, as [Sink.Literal] names them.
func (t *Template) Literals() []string { return t.literals }

// Static answers the whole output if the template has no tags that are executed.
func (t *Template) Static() (string, bool) {
	var s strings.Builder
	for i := range t.nodes {
		if t.nodes[i].kind != nodeLiteral {
			return "", false
		}
		s.WriteString(t.literals[t.nodes[i].literal])
	}
	return s.String(), true
}

// Variables lists the paths that the template reads, sorted, each once.
func (t *Template) Variables() []string { return t.variables }

// Required lists the paths without which every rendering fails: written out, not in a block, without a default.
func (t *Template) Required() []string { return t.required }

// Written lists the paths that are written out without a default, also in blocks: whoever has all of them lacks nothing that the template
// names. What a loop names is not among them.
func (t *Template) Written() [][]string { return t.written }

// Render appends the output to dst. After an error dst is answered as it was.
func (t *Template) Render(dst []byte, vars Vars, limits Limits) ([]byte, error) {
	e := t.start(vars, limits)
	e.dst = dst
	err := e.run(t.nodes)
	out := e.dst
	t.stop(e)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// RenderTo gives the output to a sink. After an error the sink has got a part of it.
func (t *Template) RenderTo(sink Sink, vars Vars, limits Limits) error {
	e := t.start(vars, limits)
	e.sink = sink
	err := e.run(t.nodes)
	t.stop(e)
	return err
}

func (t *Template) start(vars Vars, limits Limits) *exec {
	e, _ := t.pool.Get().(*exec)
	if e == nil {
		e = &exec{t: t, locals: make([]local, t.slots)}
	}
	e.vars, e.steps, e.room, e.lenient = vars, limits.Steps, limits.Output, limits.Lenient
	if e.steps <= 0 {
		e.steps = defaultSteps
	}
	if e.room <= 0 {
		e.room = defaultOutput
	}
	e.limit, e.begun = e.room, false
	e.linker, _ = vars.(Linker)
	return e
}

// stop forgets what belongs to the recipient.
func (t *Template) stop(e *exec) {
	e.vars, e.sink, e.dst, e.linker = nil, nil, nil, nil
	clear(e.locals)
	clear(e.args[:])
	if cap(e.scratch) > 64<<10 {
		e.scratch = nil
	}
	t.pool.Put(e)
}
