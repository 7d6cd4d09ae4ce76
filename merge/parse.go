package merge

import (
	"strconv"
	"strings"
	"time"
)

// parser reads the tokens of one tag.
type parser struct {
	c      *compiler
	tokens []token
	at     int
}

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// sign takes the next token if it is that sign.
func (p *parser) sign(s string) bool {
	t := p.tokens[p.at]
	if t.kind == tokenSign && t.text == s {
		p.at++
		return true
	}
	return false
}

// word takes the next token if it is that name.
func (p *parser) word(s string) bool {
	t := p.tokens[p.at]
	if t.kind == tokenName && t.text == s {
		p.at++
		return true
	}
	return false
}

func (p *parser) end() error {
	if t := p.tokens[p.at]; t.kind != tokenEnd {
		return p.c.errorAt(t.pos, "unexpected %s; the tag should end here", t)
	}
	return nil
}

// operand reads a literal or a path.
func (p *parser) operand() (operand, error) {
	t := p.next()
	switch {
	case t.kind == tokenString:
		return operand{lit: String(t.text), text: t.text}, nil
	case t.kind == tokenNumber:
		v := ofNumber(t.text)
		if strings.IndexByte(t.text, '.') >= 0 {
			f, _ := strconv.ParseFloat(t.text, 64) // the lexer lets nothing else through
			v = Float(f)                           // 7.0 is no integer
		}
		if v.IsNil() {
			return operand{}, p.c.errorAt(t.pos, "the number %.20s is too large", t.text)
		}
		return operand{lit: v, text: t.text}, nil
	case t.kind == tokenName && p.peekPath():
		return p.path(t)
	case t.kind == tokenName:
		switch t.text {
		case "true", "false":
			return operand{lit: Bool(t.text == "true"), text: t.text}, nil
		case "nil", "null":
			return operand{text: t.text}, nil
		case "empty":
			return operand{lit: Value{kind: kindEmpty}, text: t.text}, nil
		case "blank":
			return operand{lit: Value{kind: kindBlank}, text: t.text}, nil
		}
		return p.path(t)
	case t.kind == tokenSign && t.text == "[":
		p.at--
		return p.path(token{pos: t.pos})
	}
	return operand{}, p.c.errorAt(t.pos, "expected a name, a number or a quoted text, not %s", t)
}

// peekPath tells whether a path goes on.
func (p *parser) peekPath() bool {
	t := p.tokens[p.at]
	return t.kind == tokenSign && (t.text == "." || t.text == "[")
}

// path reads the rest of a path whose first name is root (or, if that is empty, in brackets).
func (p *parser) path(root token) (operand, error) {
	var path []string
	var text strings.Builder
	if root.text != "" {
		path = append(path, root.text)
		text.WriteString(root.text)
	}
	for {
		switch {
		case p.sign("."):
			t := p.next()
			if t.kind != tokenName {
				return operand{}, p.c.errorAt(t.pos, "expected a name after the dot, not %s; write [\"…\"] around names with other signs", t)
			}
			path = append(path, t.text)
			text.WriteString("." + t.text)
		case p.sign("["):
			t := p.next()
			switch {
			case t.kind == tokenString:
				text.WriteString("[" + strconv.Quote(t.text) + "]")
			case t.kind == tokenNumber && !strings.Contains(t.text, ".") && len(path) > 0:
				text.WriteString("[" + t.text + "]")
			default:
				return operand{}, p.c.errorAt(t.pos, "expected a number or a quoted name in the brackets, not %s", t)
			}
			if end := p.next(); end.kind != tokenSign || end.text != "]" {
				return operand{}, p.c.errorAt(end.pos, "expected ], not %s", end)
			}
			path = append(path, t.text)
		default:
			return p.c.resolveName(root, operand{kind: operandPath, path: path, text: text.String()})
		}
	}
}

// resolveName tells loop variables from variables.
func (c *compiler) resolveName(root token, o operand) (operand, error) {
	for i := len(c.scopes) - 1; i >= 0 && root.text != ""; i-- {
		if root.text == c.scopes[i] {
			o.kind, o.slot, o.path = operandLocal, i, o.path[1:]
			return o, nil
		}
		if root.text == "forloop" {
			if len(o.path) == 2 {
				switch o.path[1] {
				case "index", "index0", "rindex", "first", "last", "length":
					o.kind, o.slot, o.path = operandLoop, i, o.path[1:]
					return o, nil
				}
			}
			return o, c.errorAt(root.pos, "forloop has index, index0, rindex, first, last and length; write forloop.index")
		}
	}
	c.variables = append(c.variables, o.text)
	return o, nil
}

// output reads base | filter: arguments | …
func (c *compiler) output(p *parser) (*output, error) {
	base, err := p.operand()
	if err != nil {
		return nil, err
	}
	o := &output{base: base, free: base.kind == operandLiteral}
	if base.lit.kind == kindEmpty || base.lit.kind == kindBlank || base.kind == operandLiteral && base.lit.kind == kindNil {
		return nil, c.errorAt(p.tokens[0].pos, "%s is nothing to write out; it belongs into a condition", base.text)
	}
	needs := []operand{base}
	for p.sign("|") {
		f, err := p.filter()
		if err != nil {
			return nil, err
		}
		o.filters = append(o.filters, f)
		if f.id != filterDefault {
			needs = append(needs, f.args...)
		}
	}
	if t := p.tokens[p.at]; t.kind != tokenEnd {
		return nil, c.errorAt(t.pos, "unexpected %s; filters are written | name: argument, argument", t)
	}
	if !hasDefault(o.filters) {
		for _, n := range needs {
			if n.kind != operandPath {
				continue
			}
			if c.t.written = append(c.t.written, n.path); c.blocks == 0 {
				c.required = append(c.required, n.text)
			}
		}
	}
	return o, c.finishOutput(o, p)
}

func hasDefault(list []filterCall) bool {
	for i := range list {
		if list[i].id == filterDefault {
			return true
		}
	}
	return false
}

// finishOutput decides what is not escaped.
func (c *compiler) finishOutput(o *output, p *parser) error {
	for i := range o.filters {
		last := i == len(o.filters)-1
		switch o.filters[i].id {
		case filterRaw:
			if c.opts.Part != HTML || !last {
				return c.errorAt(p.tokens[0].pos, "raw is for HTML only, and the last filter; remove it or move it")
			}
		case filterJSON:
			o.raw = c.opts.Part == JSON && last
		}
	}
	return nil
}

func (p *parser) filter() (filterCall, error) {
	name := p.next()
	if name.kind != tokenName {
		return filterCall{}, p.c.errorAt(name.pos, "expected a filter's name after |, not %s", name)
	}
	f, ok := filterNamed(name.text)
	if !ok {
		return filterCall{}, p.c.errorAt(name.pos, "unknown filter %s; the filters are %s", name.text, filterNames)
	}
	call := filterCall{filter: f}
	for more := p.sign(":"); more; more = p.sign(",") {
		if f.id == filterDefault && len(call.args) == 1 && p.word("allow_false") {
			if !p.sign(":") {
				return call, p.c.errorAt(p.tokens[p.at].pos, "write allow_false: true")
			}
			call.max = 2
		}
		arg, err := p.operand()
		if err != nil {
			return call, err
		}
		call.args = append(call.args, arg)
	}
	if len(call.args) < call.min || len(call.args) > call.max {
		return call, p.c.errorAt(name.pos, "the filter %s takes %s, not %d", name.text, countWords(f.min, f.max), len(call.args))
	}
	return call, p.checkFilter(name, &call)
}

func countWords(least, most int) string {
	switch {
	case most == 0:
		return "no argument"
	case least == most && most == 1:
		return "1 argument"
	case least == most:
		return strconv.Itoa(most) + " arguments"
	}
	return strconv.Itoa(least) + " to " + strconv.Itoa(most) + " arguments"
}

// checkFilter finds at compile time what can be found there.
func (p *parser) checkFilter(name token, call *filterCall) error {
	isLiteral := func(i int, k kind) bool {
		return call.args[i].kind == operandLiteral && call.args[i].lit.kind == k
	}
	for i := range call.args {
		if k := call.args[i].lit.kind; k == kindEmpty || k == kindBlank || isLiteral(i, kindNil) {
			return p.c.errorAt(name.pos, "%s is no argument for %s; write a value, or \"\" for nothing", call.args[i].text, name.text)
		}
	}
	switch call.id {
	case filterDefault:
		call.empty = isLiteral(0, kindString) && isBlank(call.args[0].lit.str)
	case filterDividedBy, filterModulo:
		if n := call.args[0].lit.number(); n.kind != kindNil && n.asFloat() == 0 {
			return p.c.errorAt(name.pos, "%s by zero has no result; use another number", name.text)
		}
	case filterDate:
		call.date = &dateFormat{zone: p.c.opts.Zone}
		if !isLiteral(0, kindString) {
			return p.c.errorAt(name.pos, "the format of date must be a quoted text, like \"%%Y-%%m-%%d\"")
		}
		call.date.format = call.args[0].lit.str
		if err := parseFormat(call.date.format); err != nil {
			return p.c.errorAt(name.pos, "%v", err)
		}
		if len(call.args) == 2 {
			if !isLiteral(1, kindString) {
				return p.c.errorAt(name.pos, "the time zone of date must be a quoted name, like \"Asia/Shanghai\"")
			}
			zone, err := time.LoadLocation(call.args[1].lit.str)
			if err != nil {
				return p.c.errorAt(name.pos, "unknown time zone %q; use a name like \"Asia/Shanghai\" or \"UTC\"", call.args[1].lit.str)
			}
			call.date.zone = zone
		}
	}
	return nil
}

func (p *parser) condition() (*condition, error) {
	first, err := p.comparison()
	if err != nil {
		return nil, err
	}
	last := first
	for terms := 2; ; terms++ {
		t := p.tokens[p.at]
		and := p.word("and")
		if !and && !p.word("or") {
			if t.kind != tokenEnd {
				return nil, p.c.errorAt(t.pos, "unexpected %s; terms are joined by and, or (no brackets, no filters)", t)
			}
			return first, nil
		}
		if terms > maxTerms {
			return nil, p.c.errorAt(t.pos, "a condition has at most %d terms", maxTerms)
		}
		last.and = and
		if last.rest, err = p.comparison(); err != nil {
			return nil, err
		}
		last = last.rest
	}
}

func (p *parser) comparison() (*condition, error) {
	a, err := p.operand()
	if err != nil {
		return nil, err
	}
	c := &condition{a: a}
	switch {
	case p.sign("=="):
		c.op = opEqual
	case p.sign("!="), p.sign("<>"):
		c.op = opUnequal
	case p.sign("<="):
		c.op = opLessEqual
	case p.sign(">="):
		c.op = opGreaterEqual
	case p.sign("<"):
		c.op = opLess
	case p.sign(">"):
		c.op = opGreater
	case p.word("contains"):
		c.op = opContains
	default:
		return c, nil
	}
	c.b, err = p.operand()
	return c, err
}

// loop reads x in list limit:n offset:n reversed.
func (p *parser) loop() (*loop, string, error) {
	name := p.next()
	if name.kind != tokenName || name.text == "forloop" {
		return nil, "", p.c.errorAt(name.pos, "expected a name for the loop's variable, not %s; write for x in list", name)
	}
	if t := p.tokens[p.at]; !p.word("in") {
		return nil, "", p.c.errorAt(t.pos, "expected in, not %s; write for x in list", t)
	}
	list, err := p.operand()
	if err != nil {
		return nil, "", err
	}
	l := &loop{list: list}
	for {
		t := p.next()
		var to **operand
		switch {
		case t.kind == tokenEnd:
			return l, name.text, nil
		case t.kind == tokenName && t.text == "reversed":
			l.reversed = true
			continue
		case t.kind == tokenName && t.text == "limit":
			to = &l.limit
		case t.kind == tokenName && t.text == "offset":
			to = &l.offset
		}
		if to == nil || !p.sign(":") {
			return nil, "", p.c.errorAt(t.pos, "unexpected %s; after the list may stand limit: n, offset: n and reversed", t)
		}
		n, err := p.operand()
		if err != nil {
			return nil, "", err
		}
		*to = &n
	}
}
