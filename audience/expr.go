package audience

import (
	"encoding/json"
	"iter"
	"strconv"
)

// The limits of the language.
const (
	MaxDepth      = 16     // expressions inside each other
	MaxNodes      = 1_000  // expressions in all
	MaxRecipients = 10_000 // ids of one Recipients, values of one "in"
	MaxValues     = 20_000 // ids and values of all of them: 990 times 1,000 took ten seconds to evaluate
)

// Kind names a kind of expression as the language does.
type Kind string

// The kinds.
const (
	KindAll        Kind = "all"
	KindList       Kind = "list"
	KindSegment    Kind = "segment"
	KindRecipients Kind = "recipients"
	KindMessage    Kind = "message"
	KindAttribute  Kind = "attribute"
	KindAny        Kind = "any"
	KindEvery      Kind = "every"
	KindNot        Kind = "not"
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{KindAll, KindList, KindSegment, KindRecipients, KindMessage, KindAttribute, KindAny, KindEvery, KindNot}
}

// Expr is an expression: one of [All], [List], [Segment], [Recipients], [Message], [Attribute] (the leaves), [Any], [Every] and [Not],
// all of them values, never pointers. It marshals to its canonical JSON. An Expr is not changed once it is made.
type Expr interface {
	json.Marshaler
	Kind() Kind
	expr()
}

type (
	// All is everybody alive.
	All struct{}

	// List is who is on a list.
	List struct{ Name string }

	// Segment is whom a saved expression yields, evaluated at the freeze.
	Segment struct{ Name string }

	// Recipients is who is named by external id, in the order given.
	Recipients struct {
		IDs         []string
		SkipUnknown bool // ids that nobody has are left out; otherwise they are an error
	}

	// Message is a part of another message's audience. Exactly one of Result, Reason and Receipt is set.
	Message struct {
		ID      string
		Result  string
		Reason  string
		Receipt string // read, seen, clicked, delivered, bounced or doubted
		Is      bool   // whether Receipt holds, among those who were sent to
	}

	// Attribute is whose attribute fulfils a condition.
	Attribute struct {
		Name   string
		Op     Op
		Values []Value // of In any number, of the others exactly one
	}

	// Any is who is in at least one part. There is at least one.
	Any struct{ Parts []Expr }

	// Every is who is in each part. There is at least one.
	Every struct{ Parts []Expr }

	// Not is who is alive and not in the part.
	Not struct{ Part Expr }
)

// Op is the operator of a condition.
type Op string

// The operators. Eq, Ne and In compare canonical text; Lt to Gte numbers with numbers and times with times; Contains looks into lists of
// strings; Exists has a boolean.
const (
	Eq       Op = "eq"
	Ne       Op = "ne"
	In       Op = "in"
	Lt       Op = "lt"
	Lte      Op = "lte"
	Gt       Op = "gt"
	Gte      Op = "gte"
	Contains Op = "contains"
	Exists   Op = "exists"
)

// Ops lists all operators.
func Ops() []Op { return []Op{Eq, Ne, In, Lt, Lte, Gt, Gte, Contains, Exists} }

// ValueKind is the type of a [Value].
type ValueKind uint8

// The kinds of value. Time occurs with Lt to Gte only.
const (
	Text ValueKind = iota
	Number
	Bool
	Time
)

// Value is what a condition compares with, as canonical text: a number as [CanonicalNumber] gives it, a boolean as true or false, a
// time in RFC 3339 and UTC.
type Value struct {
	Kind ValueKind
	Text string
}

func (All) expr()        {}
func (List) expr()       {}
func (Segment) expr()    {}
func (Recipients) expr() {}
func (Message) expr()    {}
func (Attribute) expr()  {}
func (Any) expr()        {}
func (Every) expr()      {}
func (Not) expr()        {}

// Kind is [KindAll].
func (All) Kind() Kind { return KindAll }

// Kind is [KindList].
func (List) Kind() Kind { return KindList }

// Kind is [KindSegment].
func (Segment) Kind() Kind { return KindSegment }

// Kind is [KindRecipients].
func (Recipients) Kind() Kind { return KindRecipients }

// Kind is [KindMessage].
func (Message) Kind() Kind { return KindMessage }

// Kind is [KindAttribute].
func (Attribute) Kind() Kind { return KindAttribute }

// Kind is [KindAny].
func (Any) Kind() Kind { return KindAny }

// Kind is [KindEvery].
func (Every) Kind() Kind { return KindEvery }

// Kind is [KindNot].
func (Not) Kind() Kind { return KindNot }

// Leaves iterates over the leaves of e from left to right: what a source is asked for, All included.
func Leaves(e Expr) iter.Seq[Expr] {
	return func(yield func(Expr) bool) {
		for _, leaf := range LeavesAt(e) {
			if !yield(leaf) {
				return
			}
		}
	}
}

// LeavesAt is [Leaves] with the pointer to each leaf's kind: #/every/0/list.
func LeavesAt(e Expr) iter.Seq2[string, Expr] {
	return func(yield func(string, Expr) bool) {
		if e != nil {
			leaves("#", e, yield)
		}
	}
}

func leaves(at string, e Expr, yield func(string, Expr) bool) bool {
	at += "/" + string(e.Kind())
	switch e := e.(type) {
	case Any:
		return leavesOf(at, e.Parts, yield)
	case Every:
		return leavesOf(at, e.Parts, yield)
	case Not:
		return leaves(at, e.Part, yield)
	default:
		return yield(at, e)
	}
}

func leavesOf(at string, parts []Expr, yield func(string, Expr) bool) bool {
	for i, p := range parts {
		if !leaves(at+"/"+strconv.Itoa(i), p, yield) {
			return false
		}
	}
	return true
}
