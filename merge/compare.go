package merge

import (
	"cmp"
	"strings"
	"time"
)

// equal is Liquid's ==: numbers by value, everything else only with its own kind; empty and blank are tests, not values.
func equal(a, b Value) bool {
	if a.kind == kindEmpty || a.kind == kindBlank {
		a, b = b, a
	}
	switch b.kind {
	case kindEmpty:
		n, ok := a.size()
		return a.kind == kindEmpty || ok && n == 0
	case kindBlank:
		n, ok := a.size()
		return a.kind == kindBlank || !a.truthy() || a.IsMissing() || ok && n == 0
	}
	if a.kind == kindNil || b.kind == kindNil || a.kind == kindBool || b.kind == kindBool {
		return a.kind == b.kind && a.num == b.num
	}
	c, ok := order(a, b)
	return ok && c == 0
}

// order compares numbers, texts and times; ok is false where there is no order. A time and a text compare as times if the text is one.
func order(a, b Value) (c int, ok bool) {
	switch {
	case a.kind == kindInt && b.kind == kindInt:
		return cmp.Compare(a.int(), b.int()), true
	case (a.kind == kindInt || a.kind == kindFloat) && (b.kind == kindInt || b.kind == kindFloat):
		return cmp.Compare(a.asFloat(), b.asFloat()), true
	case a.kind == kindString && b.kind == kindString:
		return strings.Compare(a.str, b.str), true
	case a.kind == kindTime || b.kind == kindTime:
		s, ok1 := asTime(a)
		t, ok2 := asTime(b)
		return s.Compare(t), ok1 && ok2
	}
	return 0, false
}

func asTime(v Value) (time.Time, bool) {
	switch v.kind {
	case kindTime:
		return v.ref.(time.Time), true
	case kindString:
		t, err := time.Parse(time.RFC3339, v.str)
		return t, err == nil
	}
	return time.Time{}, false
}

// contains tells whether a text holds another, or a list an element with that text.
func contains(a, b Value) bool {
	if b.kind == kindNil {
		return false
	}
	switch a.kind {
	case kindString:
		return strings.Contains(a.str, b.text())
	case kindList:
		if list, ok := a.ref.([]string); ok && b.kind == kindString {
			for _, s := range list {
				if s == b.str {
					return true
				}
			}
			return false
		}
		for i := range a.len() {
			if equal(a.index(i), b) {
				return true
			}
		}
	case kindMap:
		return !a.child(b.text()).IsNil()
	}
	return false
}
