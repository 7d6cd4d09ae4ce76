package merge

import (
	"errors"
	"maps"
	"slices"
)

type nodeKind uint8

const (
	nodeLiteral nodeKind = iota
	nodeOutput
	nodeIf
	nodeFor
	nodeLink
)

type node struct {
	kind    nodeKind
	literal int
	out     *output
	arms    []arm
	loop    *loop
	link    []node
}

// output is {{ base | filters }}.
type output struct {
	base    operand
	filters []filterCall
	raw     bool // stands by itself, unescaped: {{ x | json }} in JSON
	free    bool // no path in base: never missing
	place   place
}

type filterCall struct {
	filter
	args  []operand
	empty bool // a default that is an empty literal: nothing is fine
	date  *dateFormat
}

// arm is one branch of an if; a nil condition is else.
type arm struct {
	when *condition
	body []node
}

type loop struct {
	list          operand
	slot          int
	limit, offset *operand
	reversed      bool
	body, none    []node
}

type operandKind uint8

const (
	operandLiteral operandKind = iota
	operandPath
	operandLocal
	operandLoop // forloop.NAME
)

type operand struct {
	kind operandKind
	lit  Value
	slot int
	path []string
	text string // as written, for errors
}

type compareOp uint8

const (
	opTruth compareOp = iota
	opEqual
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opContains
)

// condition is a comparison, joined with the rest to its right.
type condition struct {
	op     compareOp
	a, b   operand
	negate bool // of all of it: unless
	and    bool
	rest   *condition
}

// local is a loop's variable and state.
type local struct {
	item          Value
	index, length int
}

// exec is one rendering.
type exec struct {
	t       *Template
	vars    Vars
	sink    Sink
	dst     []byte
	scratch []byte
	linker  Linker // nil: nobody wants links
	address []byte // of the link under way
	locals  []local
	args    [3]Value
	steps   int
	room    int // bytes of output left
	limit   int // of one value on its way through filters
	begun   bool
	lenient bool
}

func (e *exec) step(n int) error {
	e.steps -= n
	if e.steps < 0 {
		return ErrTooManySteps
	}
	return nil
}

func (e *exec) took(n int) error {
	e.room -= n
	if e.room < 0 {
		return ErrOutputTooLarge
	}
	if n > 0 {
		e.begun = true
	}
	return nil
}

func (e *exec) run(nodes []node) error {
	for i := range nodes {
		if err := e.step(1); err != nil {
			return err
		}
		n := &nodes[i]
		var err error
		switch n.kind {
		case nodeLiteral:
			err = e.literal(n.literal)
		case nodeOutput:
			if err = e.output(n.out); e.lenient && errors.Is(err, ErrMissing) {
				err = nil
			}
		case nodeIf:
			err = e.branch(n.arms)
		case nodeFor:
			err = e.loop(n.loop)
		case nodeLink:
			err = e.linkTo(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *exec) literal(id int) error {
	text := e.t.literals[id]
	if err := e.took(len(text)); err != nil {
		return err
	}
	if e.sink != nil {
		e.sink.Literal(id)
	} else {
		e.dst = append(e.dst, text...)
	}
	return nil
}

func (e *exec) branch(arms []arm) error {
	for i := range arms {
		yes := true
		if arms[i].when != nil {
			var err error
			if yes, err = e.test(arms[i].when); err != nil {
				return err
			}
		}
		if yes {
			return e.run(arms[i].body)
		}
	}
	return nil
}

func (e *exec) loop(l *loop) error {
	list := e.resolve(&l.list)
	switch list.kind {
	case kindString: // as in Liquid, a text is a list of one
		if list.str != "" {
			list = Of([]string{list.str})
		}
	case kindMap:
		list = pairs(list)
	}
	from, to := 0, 0
	if list.kind == kindList {
		to = list.len()
	}
	from = min(to, e.bound(l.offset, 0))
	to = from + min(to-from, e.bound(l.limit, to-from))
	if from == to {
		return e.run(l.none)
	}
	at := &e.locals[l.slot]
	at.length = to - from
	for i := range at.length {
		place := from + i
		if l.reversed {
			place = to - 1 - i
		}
		at.item, at.index = list.index(place), i
		if err := e.step(1); err != nil {
			return err
		}
		if err := e.run(l.body); err != nil {
			return err
		}
	}
	return nil
}

// bound is a limit or an offset; what is no number says nothing.
func (e *exec) bound(o *operand, otherwise int) int {
	if o == nil {
		return otherwise
	}
	n := e.resolve(o).number()
	if n.kind == kindNil {
		return otherwise
	}
	return int(max(0, min(n.asFloat(), 1<<31)))
}

// pairs are the entries of a map as lists of name and value, in the order of the names.
func pairs(m Value) Value {
	var list []any
	switch m := m.ref.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(m)) {
			list = append(list, []any{k, m[k]})
		}
	case map[string]string:
		for _, k := range slices.Sorted(maps.Keys(m)) {
			list = append(list, []any{k, m[k]})
		}
	}
	return Of(list)
}

func (e *exec) resolve(o *operand) Value {
	switch o.kind {
	case operandPath:
		return e.vars.Lookup(o.path)
	case operandLocal:
		return e.locals[o.slot].item.At(o.path)
	case operandLoop:
		at := &e.locals[o.slot]
		switch o.path[0] {
		case "index":
			return Int(int64(at.index + 1))
		case "index0":
			return Int(int64(at.index))
		case "rindex":
			return Int(int64(at.length - at.index))
		case "first":
			return Bool(at.index == 0)
		case "last":
			return Bool(at.index == at.length-1)
		default:
			return Int(int64(at.length))
		}
	}
	return o.lit
}

func (e *exec) test(c *condition) (bool, error) {
	a := e.resolve(&c.a)
	if err := e.step(1 + len(a.str)/256); err != nil {
		return false, err
	}
	var yes bool
	switch c.op {
	case opTruth:
		yes = a.truthy()
	case opEqual, opUnequal:
		yes = equal(a, e.resolve(&c.b)) == (c.op == opEqual)
	case opContains:
		if err := e.step(a.len() / 8); err != nil {
			return false, err
		}
		yes = contains(a, e.resolve(&c.b))
	default:
		n, ok := order(a, e.resolve(&c.b))
		yes = ok && (c.op == opLess && n < 0 || c.op == opLessEqual && n <= 0 || c.op == opGreater && n > 0 || c.op == opGreaterEqual && n >= 0)
	}
	// The terms to the right are one term: a and b or c is a and (b or c).
	if c.rest != nil && yes == c.and {
		var err error
		if yes, err = e.test(c.rest); err != nil {
			return false, err
		}
	}
	return yes != c.negate, nil
}

// output evaluates and writes one {{ … }}.
func (e *exec) output(o *output) error {
	v := e.resolve(&o.base)
	free := o.free
	safe := o.raw
	for i := range o.filters {
		f := &o.filters[i]
		missing := v.kind == kindNil || !free && v.IsMissing()
		if missing && f.id != filterDefault && (v.kind == kindNil || !f.takesBlank) {
			continue
		}
		next, err := e.apply(f, v, missing, &safe)
		if err != nil {
			return err
		}
		v = next
		free = free || f.empty
		if len(v.str) > e.limit {
			return ErrOutputTooLarge
		}
		if err := e.step(len(v.str) / 256); err != nil {
			return err
		}
	}
	if v.kind == kindList {
		v = String(v.text()) // an empty list is as missing as an empty text
	}
	if v.kind == kindNil || !free && v.IsMissing() {
		return &MissingError{Path: o.missingPath()}
	}
	if o.place != placeText && v.kind != kindInt && v.kind != kindFloat && v.kind != kindBool {
		v = String(o.place.at(v.text()))
	}
	return e.write(v, safe)
}

// missingPath is the path to name: the base, or the first path among the arguments.
func (o *output) missingPath() string {
	if o.base.kind != operandLiteral {
		return o.base.text
	}
	for i := range o.filters {
		for j := range o.filters[i].args {
			if o.filters[i].args[j].kind != operandLiteral {
				return o.filters[i].args[j].text
			}
		}
	}
	return o.base.text
}

func (e *exec) apply(f *filterCall, v Value, missing bool, safe *bool) (Value, error) {
	if err := e.step(1 + len(v.str)/256 + v.len()/8); err != nil {
		return Value{}, err
	}
	if f.id == filterDefault {
		return e.otherwise(f, v, missing, safe), nil
	}
	args := e.args[:len(f.args)]
	for i := range f.args {
		args[i] = e.resolve(&f.args[i])
		// "Dear " | append: name would be "Dear " of a name that is empty.
		joins := (f.id == filterAppend || f.id == filterPrepend) && f.args[i].kind != operandLiteral
		if args[i].kind == kindNil || joins && args[i].IsMissing() {
			return Value{}, &MissingError{Path: f.args[i].text}
		}
	}
	return e.filter(f, v, args, safe)
}

// otherwise is the default filter: it replaces what is missing, false (unless allow_false) and empty lists.
func (e *exec) otherwise(f *filterCall, v Value, missing bool, safe *bool) Value {
	replace := missing || v.kind == kindString && isBlank(v.str)
	switch v.kind {
	case kindBool:
		keep := len(f.args) > 1 && e.resolve(&f.args[1]).truthy()
		replace = v.num == 0 && !keep
	case kindList, kindMap:
		n, _ := v.size()
		replace = n == 0
	}
	if replace {
		*safe = *safe && e.t.part != HTML // what was escaped before is not this value
		return e.resolve(&f.args[0])
	}
	return v
}

func (e *exec) write(v Value, safe bool) error {
	buf := e.dst
	if e.sink != nil {
		buf = e.scratch[:0]
	}
	from := len(buf)
	switch {
	case v.kind == kindInt || v.kind == kindFloat || v.kind == kindBool || safe && v.kind != kindString:
		buf = v.Append(buf)
	case safe:
		buf = append(buf, v.str...)
	default:
		buf = appendEscaped(buf, v.text(), e.t.part, !e.begun)
	}
	if err := e.took(len(buf) - from); err != nil {
		return err
	}
	if e.sink != nil {
		e.scratch = buf
		e.sink.Value(buf)
	} else {
		e.dst = buf
	}
	return nil
}
