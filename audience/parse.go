package audience

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// skip is the value of "unknown".
const skip = "skip"

// Parse reads an audience from untrusted JSON. What is wrong with it comes as [Problems], all at once; the Expr is nil then.
func Parse(doc []byte) (Expr, error) {
	var p parser
	if !utf8.Valid(doc) {
		p.add("#", CodeNotJSON, "the audience is not valid UTF-8: encode it as UTF-8")
		return nil, p.problems
	}
	if !json.Valid(doc) {
		p.add("#", CodeNotJSON, "the audience is not valid JSON%s: mend it there", whereBroken(doc))
		return nil, p.problems
	}
	e := p.expr("#", trim(doc), 1)
	if p.problems != nil {
		return nil, p.problems
	}
	return e, nil
}

func whereBroken(doc []byte) string {
	var raw json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(doc, &raw), &syntax) {
		return " (" + syntax.Error() + " at byte " + itoa(syntax.Offset) + ")"
	}
	return ""
}

// parser turns valid JSON into an Expr. Its functions give nil where they told of a problem.
type parser struct {
	collector
	nodes int
	named int // ids and values so far
}

// several counts ids or values. It is false for those that are too many with all before them.
func (p *parser) several(at string, n int) bool {
	before := p.named
	p.named += n
	if before <= MaxValues && p.named > MaxValues { // told once
		p.add(at, CodeTooMany, "an audience names at most %d ids and values in all: put people on a list, or split this into several messages", MaxValues)
	}
	return p.named <= MaxValues
}

// fields are the fields of one expression while it is read. What is used is taken out; the rest is unknown.
type fields struct {
	at   string
	kind Kind
	m    map[string][]byte
}

func (p *parser) expr(at string, v []byte, depth int) Expr {
	if p.nodes > MaxNodes || p.full() {
		return nil
	}
	p.nodes++
	if p.nodes > MaxNodes {
		p.add(at, CodeTooMany, "an audience has at most %d expressions: put people on a list and name the list instead", MaxNodes)
		return nil
	}
	if depth > MaxDepth {
		p.add(at, CodeTooDeep, "expressions lie at most %d deep: save the inner ones as a segment or join nested any and every", MaxDepth)
		return nil
	}
	if v[0] != '{' {
		p.add(at, CodeWrongType, `this is %s and must be an object such as {"all": true} or {"list": "vip"}`, typeOf(v))
		return nil
	}
	f, ok := p.open(at, v)
	if !ok {
		return nil
	}
	e := p.kind(f, depth)
	p.close(f)
	return e
}

// open reads the fields of an object and finds its kind.
func (p *parser) open(at string, v []byte) (fields, bool) {
	f := fields{at: at, m: map[string][]byte{}}
	twice := map[string]bool{}
	var kinds []string
	for _, m := range members(v) {
		if _, there := f.m[m.name]; there {
			if !twice[m.name] {
				p.add(field(at, m.name), CodeDuplicateField, "the field %s is there more than once: leave one", quote(m.name))
			}
			twice[m.name] = true
			continue
		}
		f.m[m.name] = m.value
		if slices.Contains(Kinds(), Kind(m.name)) {
			kinds = append(kinds, m.name)
		}
	}
	switch len(kinds) {
	case 1:
		f.kind = Kind(kinds[0])
		return f, true
	case 0:
		p.add(at, CodeNoKind, "this names no kind of audience: give it one of %s", join(Kinds()))
	default:
		p.add(at, CodeSeveralKinds, `this names %s at once: put each in an object of its own, inside {"every": [...]} or {"any": [...]}`, strings.Join(kinds, ", "))
	}
	return f, false
}

// close reports the fields that nobody took.
func (p *parser) close(f fields) {
	var left []string
	for name := range f.m {
		left = append(left, name)
	}
	slices.Sort(left)
	for _, name := range left {
		p.add(field(f.at, name), CodeUnknownField, "%q does not know the field %s: remove it or mend its name", f.kind, quote(name))
	}
}

func (f fields) take(name string) ([]byte, string, bool) {
	v, ok := f.m[name]
	delete(f.m, name)
	return v, field(f.at, name), ok
}

func (p *parser) kind(f fields, depth int) Expr {
	v, at, _ := f.take(string(f.kind))
	switch f.kind {
	case KindAll:
		if string(v) != "true" {
			p.add(at, CodeInvalid, `"all" can only be true: write {"all": true}, or {"not": {"all": true}} for nobody`)
		}
		return All{}
	case KindList:
		return List{p.name(at, v, "the name of a list")}
	case KindSegment:
		return Segment{p.name(at, v, "the name of a segment")}
	case KindRecipients:
		return p.recipients(f, at, v)
	case KindMessage:
		return p.message(f, at, v)
	case KindAttribute:
		return p.attribute(f, at, v)
	case KindAny:
		return Any{p.parts(at, v, depth)}
	case KindEvery:
		return Every{p.parts(at, v, depth)}
	default:
		return Not{p.expr(at, v, depth+1)}
	}
}

func (p *parser) parts(at string, v []byte, depth int) []Expr {
	if v[0] != '[' {
		p.add(at, CodeWrongType, "this is %s and must be an array of expressions", typeOf(v))
		return nil
	}
	parts := elements(v, MaxNodes)
	if len(parts) == 0 {
		p.add(at, CodeMissing, `there is no part: give at least one, or write {"all": true} for everybody`)
		return nil
	}
	out := make([]Expr, len(parts))
	for i, part := range parts {
		out[i] = p.expr(index(at, i), part, depth+1)
	}
	return out
}

// name reads a string that names something: not empty, and nothing a database could not store.
func (p *parser) name(at string, v []byte, what string) string {
	if v[0] != '"' {
		p.add(at, CodeWrongType, "this is %s and must be a string: %s", typeOf(v), what)
		return ""
	}
	s := text(v)
	switch {
	case s == "":
		p.add(at, CodeInvalid, "this is empty: give %s", what)
	case strings.ContainsRune(s, 0):
		p.add(at, CodeInvalid, "this has a NUL character, which nothing can be called: remove it from %s", what)
	}
	return s
}

func (p *parser) recipients(f fields, at string, v []byte) Expr {
	var r Recipients
	if unknown, at, ok := f.take("unknown"); ok {
		r.SkipUnknown = unknown[0] == '"' && text(unknown) == skip
		if !r.SkipUnknown {
			p.add(at, CodeInvalid, `"unknown" can only be "skip": without it, ids that nobody has are an error`)
		}
	}
	if v[0] != '[' {
		p.add(at, CodeWrongType, "this is %s and must be an array of external ids", typeOf(v))
		return nil
	}
	ids := elements(v, MaxRecipients)
	if len(ids) > MaxRecipients {
		p.add(at, CodeTooMany, "there are more than %d ids: import them as a list and name the list", MaxRecipients)
		return nil
	}
	if !p.several(at, len(ids)) {
		return nil
	}
	r.IDs = make([]string, len(ids))
	for i, id := range ids {
		r.IDs[i] = p.name(index(at, i), id, "an external id")
	}
	return r
}

func (p *parser) full() bool { return len(p.problems) > maxProblems }
