package merge

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode"
)

type kind uint8

const (
	kindNil kind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindTime
	kindList  // ref is []any or []string
	kindMap   // ref is map[string]any or map[string]string
	kindEmpty // the literal empty
	kindBlank // the literal blank
)

// Value is one value of a template. The zero Value is missing.
type Value struct {
	kind kind
	num  uint64 // bool, int64 or the bits of a float64
	str  string
	ref  any
}

// maxExact is 2^53: integers up to it are exact in a float64.
const maxExact = 1 << 53

// String makes a Value of text.
func String(s string) Value { return Value{kind: kindString, str: s} }

// Int makes a Value of an integer.
func Int(n int64) Value { return Value{kind: kindInt, num: uint64(n)} }

// Bool makes a Value of a truth.
func Bool(b bool) Value {
	v := Value{kind: kindBool}
	if b {
		v.num = 1
	}
	return v
}

// Float makes a Value of a number; NaN and infinities are missing.
func Float(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	return Value{kind: kindFloat, num: math.Float64bits(f)}
}

// Of makes a Value of a string, bool, any integer or float, json.Number, time.Time, []string, []any, map[string]any or
// map[string]string. A float64 that is a whole number up to 2^53 is an integer, since JSON does not tell them apart. Nil and every
// other type are missing.
func Of(x any) Value {
	switch x := x.(type) {
	case string:
		return String(x)
	case float64:
		return ofFloat(x)
	case bool:
		return Bool(x)
	case int:
		return Int(int64(x))
	case int64:
		return Int(x)
	case json.Number:
		return ofNumber(string(x))
	case time.Time:
		return Value{kind: kindTime, ref: x}
	case []string:
		if x == nil {
			return Value{}
		}
		return Value{kind: kindList, ref: x}
	case []any:
		if x == nil {
			return Value{}
		}
		return Value{kind: kindList, ref: x}
	case map[string]any:
		if x == nil {
			return Value{}
		}
		return Value{kind: kindMap, ref: x}
	case map[string]string:
		if x == nil {
			return Value{}
		}
		return Value{kind: kindMap, ref: x}
	case Value:
		return x
	}
	return ofRare(x)
}

func ofRare(x any) Value {
	switch x := x.(type) {
	case float32:
		return ofFloat(float64(x))
	case int8:
		return Int(int64(x))
	case int16:
		return Int(int64(x))
	case int32:
		return Int(int64(x))
	case uint8:
		return Int(int64(x))
	case uint16:
		return Int(int64(x))
	case uint32:
		return Int(int64(x))
	case uint:
		return ofUint(uint64(x))
	case uint64:
		return ofUint(x)
	}
	return Value{}
}

func ofUint(n uint64) Value {
	if n > math.MaxInt64 {
		return Float(float64(n))
	}
	return Int(int64(n))
}

func ofFloat(f float64) Value {
	if f == math.Trunc(f) && math.Abs(f) <= maxExact {
		return Int(int64(f))
	}
	return Float(f)
}

// ofNumber reads a decimal number; what is none is missing.
func ofNumber(s string) Value {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Int(n)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Value{}
	}
	return ofFloat(f)
}

func (v Value) int() int64     { return int64(v.num) }
func (v Value) float() float64 { return math.Float64frombits(v.num) }

// IsNil tells whether the value is absent or null.
func (v Value) IsNil() bool { return v.kind == kindNil }

// IsMissing tells whether the value counts as missing when it is written out: nil, or a string of nothing but white space.
func (v Value) IsMissing() bool {
	return v.kind == kindNil || v.kind == kindString && isBlank(v.str)
}

func isBlank(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return allSpace(s[i:])
		}
		switch s[i] {
		case ' ', '\t', '\n', '\r', '\v', '\f':
		default:
			return false
		}
	}
	return true
}

func allSpace(s string) bool {
	for _, r := range s {
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// truthy is Liquid's truth: everything but nil and false.
func (v Value) truthy() bool {
	return v.kind != kindNil && (v.kind != kindBool || v.num != 0)
}

// size is the number of characters, elements or entries; ok is false for what has none.
func (v Value) size() (n int, ok bool) {
	switch v.kind {
	case kindString:
		return runeCount(v.str), true
	case kindList:
		return v.len(), true
	case kindMap:
		switch m := v.ref.(type) {
		case map[string]any:
			return len(m), true
		case map[string]string:
			return len(m), true
		}
	}
	return 0, false
}

// len is the length of a list.
func (v Value) len() int {
	switch l := v.ref.(type) {
	case []any:
		return len(l)
	case []string:
		return len(l)
	}
	return 0
}

// index is element i of a list; negative counts from the end.
func (v Value) index(i int) Value {
	if i < 0 {
		i += v.len()
	}
	if i < 0 || i >= v.len() {
		return Value{}
	}
	switch l := v.ref.(type) {
	case []any:
		return Of(l[i])
	case []string:
		return String(l[i])
	}
	return Value{}
}

// At follows a path into maps and lists. A list understands numbers (negative from the end), first, last and size; a string and a
// map understand size, unless the map has an entry of that name. What is not there is missing.
func (v Value) At(path []string) Value {
	for _, name := range path {
		v = v.child(name)
		if v.kind == kindNil {
			return v
		}
	}
	return v
}

func (v Value) child(name string) Value {
	switch v.kind {
	case kindMap:
		switch m := v.ref.(type) {
		case map[string]any:
			if x, ok := m[name]; ok {
				return Of(x)
			}
		case map[string]string:
			if x, ok := m[name]; ok {
				return String(x)
			}
		}
	case kindList:
		switch name {
		case "first":
			return v.index(0)
		case "last":
			return v.index(-1)
		case "size":
		default:
			i, err := strconv.Atoi(name)
			if err != nil {
				return Value{}
			}
			return v.index(i)
		}
	}
	if name == "size" {
		if n, ok := v.size(); ok {
			return Int(int64(n))
		}
	}
	return Value{}
}

// Append appends the value's canonical text: numbers in decimals without an exponent, times in RFC 3339, the elements of a list one
// after the other, a map as JSON, nothing for what is missing.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case kindBool:
		return strconv.AppendBool(dst, v.num != 0)
	case kindInt:
		return strconv.AppendInt(dst, v.int(), 10)
	case kindFloat:
		return appendFloat(dst, v.float())
	case kindString:
		return append(dst, v.str...)
	case kindTime:
		return v.ref.(time.Time).AppendFormat(dst, time.RFC3339Nano)
	case kindList:
		for i := range v.len() {
			dst = v.index(i).Append(dst)
		}
	case kindMap:
		dst = append(dst, v.json()...)
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // also for -0
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// text is Append as a string, without a copy for strings.
func (v Value) text() string {
	if v.kind == kindString {
		return v.str
	}
	return string(v.Append(nil))
}

// number is the value as a number: strings are read, anything else is missing.
func (v Value) number() Value {
	switch v.kind {
	case kindInt, kindFloat:
		return v
	case kindString:
		return ofNumber(trimSpace(v.str))
	}
	return Value{}
}

func (v Value) asFloat() float64 {
	if v.kind == kindInt {
		return float64(v.int())
	}
	return v.float()
}

func (v Value) json() string {
	var x any
	switch v.kind {
	case kindBool:
		x = v.num != 0
	case kindInt:
		x = v.int()
	case kindFloat:
		return string(appendFloat(nil, v.float()))
	case kindString:
		x = v.str
	default:
		x = v.ref
	}
	b, err := json.Marshal(x)
	if err != nil { // a NaN, a channel, a cycle deep inside
		return "null"
	}
	return string(b)
}
