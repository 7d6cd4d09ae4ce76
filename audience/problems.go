package audience

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The codes of problems.
const (
	CodeNotJSON        = "not_json"        // no JSON, or not UTF-8
	CodeWrongType      = "wrong_type"      // JSON of another type
	CodeNoKind         = "no_kind"         // an object that names no kind
	CodeSeveralKinds   = "several_kinds"   // an object that names more than one
	CodeUnknownField   = "unknown_field"   // a field that is not in the language or not in this kind
	CodeDuplicateField = "duplicate_field" // a field that is there twice
	CodeMissing        = "missing"         // a kind without its condition, any or every without parts
	CodeSeveral        = "several"         // more than one condition
	CodeInvalid        = "invalid"         // a value that cannot be
	CodeTooDeep        = "too_deep"        // deeper than MaxDepth
	CodeTooMany        = "too_many"        // more than MaxNodes, MaxRecipients or MaxValues
	CodeMoreProblems   = "more_problems"   // there are more, which are left out
	CodeNotSupported   = "not_supported"   // right, but this server cannot evaluate it
)

// maxProblems are told at once: a person mends no more before asking again, and a hostile document gets no long answer.
const maxProblems = 100

// Problem is one thing that is wrong with an audience. Detail says what to do.
type Problem struct {
	Pointer string `json:"pointer"` // JSON pointer as a URI fragment: #/every/0/list
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

// Problems are all things that are wrong with an audience, in its order; there is at least one. After a hundred one says that there
// are more.
type Problems []Problem

// Error gives the first problem and the number of the others.
func (p Problems) Error() string {
	if len(p) == 0 {
		return "audience: no problem"
	}
	text := fmt.Sprintf("audience %s: %s", p[0].Pointer, p[0].Detail)
	if len(p) > 1 {
		text += fmt.Sprintf(" (and %d more)", len(p)-1)
	}
	return text
}

// At gives the problems with pointers from the root of a document that holds the audience at prefix, such as #/audience.
func (p Problems) At(prefix string) Problems {
	out := slices.Clone(p)
	for i := range out {
		out[i].Pointer = prefix + strings.TrimPrefix(out[i].Pointer, "#")
	}
	return out
}

// Check reports the leaves of e that are of no kind among those an evaluator can do.
func Check(e Expr, can ...Kind) Problems {
	var c collector
	names := make([]string, len(can))
	for i, k := range can {
		names[i] = string(k)
	}
	for at, leaf := range LeavesAt(e) {
		if k := leaf.Kind(); !slices.Contains(can, k) {
			c.add(at, CodeNotSupported, "this server cannot evaluate %q yet: use %s, and any, every or not of them", k, strings.Join(names, ", "))
		}
	}
	return c.problems
}

// collector gathers problems up to the limit.
type collector struct{ problems Problems }

func (c *collector) add(at, code, detail string, args ...any) {
	switch len(c.problems) {
	case maxProblems:
		c.problems = append(c.problems, Problem{Pointer: "#", Code: CodeMoreProblems, Detail: "there are more problems: mend these and ask again"})
	case maxProblems + 1:
	default:
		c.problems = append(c.problems, Problem{Pointer: at, Code: code, Detail: fmt.Sprintf(detail, args...)})
	}
}

// field gives the pointer to a field of the object at at. A name too long to repeat gives the object's.
func field(at, name string) string {
	if len(name) > 100 {
		return at
	}
	return at + "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
}

func index(at string, i int) string { return at + "/" + strconv.Itoa(i) }

// quote repeats what somebody wrote, shortened.
func quote(s string) string {
	if r := []rune(s[:min(len(s), 400)]); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return strconv.Quote(s)
}
