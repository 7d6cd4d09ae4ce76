package audience

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Results lists what a condition on a message may ask for: the results of an item.
func Results() []string {
	return []string{"pending", "in_flight", "sent", "failed", "skipped", "uncertain"}
}

// Reasons lists the reasons that a condition on a message may ask for: those of failed, then those of skipped.
func Reasons() []string {
	return []string{"permanent", "temporary_exhausted", "technical", "settled",
		"unsubscribed", "bounced", "complained", "suppressed", "erased", "no_address", "duplicate_address", "missing_field", "invalid",
		"filtered", "expired", "cancelled"}
}

// Receipts lists the receipts that a condition on a message may ask for.
func Receipts() []string {
	return []string{"read", "seen", "clicked", "delivered", "bounced", "doubted"}
}

func (p *parser) message(f fields, at string, v []byte) Expr {
	m := Message{ID: p.name(at, v, "the id of a message")}
	found := 0
	for _, name := range append([]string{"result", "reason"}, Receipts()...) {
		v, at, ok := f.take(name)
		if !ok {
			continue
		}
		found++
		switch name {
		case "result":
			m.Result = p.oneOf(at, v, Results())
		case "reason":
			m.Reason = p.oneOf(at, v, Reasons())
		default:
			m.Receipt, m.Is = name, p.boolean(at, v)
		}
	}
	p.exactlyOne(f.at, found, `"result", "reason" or one of `+join(Receipts()))
	return m
}

func (p *parser) exactlyOne(at string, found int, what string) {
	switch {
	case found == 0:
		p.add(at, CodeMissing, "there is no condition: add %s", what)
	case found > 1:
		p.add(at, CodeSeveral, `there are %d conditions and must be one: put each in an object of its own, inside {"every": [...]}`, found)
	}
}

func (p *parser) oneOf(at string, v []byte, allowed []string) string {
	if v[0] == '"' {
		if s := text(v); slices.Contains(allowed, s) {
			return s
		}
	}
	p.add(at, CodeInvalid, "this must be one of %s", join(allowed))
	return ""
}

func (p *parser) boolean(at string, v []byte) bool {
	if v[0] != 't' && v[0] != 'f' {
		p.add(at, CodeWrongType, "this is %s and must be true or false", typeOf(v))
	}
	return v[0] == 't'
}

func (p *parser) attribute(f fields, at string, v []byte) Expr {
	a := Attribute{Name: p.name(at, v, "the name of an attribute")}
	found := 0
	for _, op := range Ops() {
		v, at, ok := f.take(string(op))
		if !ok {
			continue
		}
		found++
		a.Op = op
		if op == In {
			a.Values = p.values(at, v)
		} else {
			a.Values = []Value{p.operand(at, v, op)}
		}
	}
	p.exactlyOne(f.at, found, "one of "+join(Ops()))
	return a
}

func (p *parser) values(at string, v []byte) []Value {
	if v[0] != '[' {
		p.add(at, CodeWrongType, `this is %s and must be an array of values, or use "eq"`, typeOf(v))
		return nil
	}
	all := elements(v, MaxRecipients)
	if len(all) > MaxRecipients {
		p.add(at, CodeTooMany, "there are more than %d values: keep these people on a list", MaxRecipients)
		return nil
	}
	if !p.several(at, len(all)) {
		return nil
	}
	out := make([]Value, len(all))
	for i, v := range all {
		out[i] = p.scalar(index(at, i), v)
	}
	return out
}

// operand reads what one operator but In compares with.
func (p *parser) operand(at string, v []byte, op Op) Value {
	switch op {
	case Exists:
		return Value{Bool, strconv.FormatBool(p.boolean(at, v))}
	case Contains:
		if v[0] != '"' {
			p.add(at, CodeWrongType, "this is %s and must be a string: what the list of strings shall contain", typeOf(v))
			return Value{}
		}
		return p.scalar(at, v)
	case Lt, Lte, Gt, Gte:
		return p.ordered(at, v)
	default:
		return p.scalar(at, v)
	}
}

// ordered reads a number or a time.
func (p *parser) ordered(at string, v []byte) Value {
	switch v[0] {
	case '"':
		if t, ok := canonicalTime(text(v)); ok {
			return Value{Time, t}
		}
	case '{', '[', 't', 'f', 'n':
	default:
		return p.scalar(at, v)
	}
	p.add(at, CodeInvalid, `this must be a number, or a time such as "2026-01-31T08:00:00Z"`)
	return Value{}
}

// scalar reads a string, a number or a boolean.
func (p *parser) scalar(at string, v []byte) Value {
	switch v[0] {
	case '"':
		s := text(v)
		if strings.ContainsRune(s, 0) {
			p.add(at, CodeInvalid, "this has a NUL character, which no attribute has: remove it")
		}
		return Value{Text, s}
	case 't', 'f':
		return Value{Bool, string(v)}
	case '{', '[':
		p.add(at, CodeWrongType, `this is %s and must be a string, a number or a boolean: for one of several values use "in"`, typeOf(v))
	case 'n':
		p.add(at, CodeWrongType, `this is null and must be a string, a number or a boolean: for people without the attribute use {"exists": false}`)
	default:
		if n, ok := CanonicalNumber(string(v)); ok {
			return Value{Number, n}
		}
		p.add(at, CodeInvalid, "this number is too large, too small or too long for any attribute: write it as a string if it is text")
	}
	return Value{}
}

// canonicalTime gives a time of RFC 3339 in UTC.
func canonicalTime(s string) (string, bool) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", false
	}
	t = t.UTC()
	if t.Year() < 0 || t.Year() > 9999 { // a zone at either end: RFC 3339 cannot write it
		return "", false
	}
	return t.Format(time.RFC3339Nano), true
}

func join[T ~string](names []T) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ", ")
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
