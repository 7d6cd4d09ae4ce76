package audience

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// Matches says whether somebody with this value of the attribute is meant: a string, a float64, a bool or a []string as profiles hold them,
// nil where there is none. It is the meaning of a condition; whoever answers faster has to agree with it.
func (a Attribute) Matches(value any) bool {
	if a.Op == Exists {
		return (value != nil) == (a.Values[0].Text == "true")
	}
	if value == nil {
		return false
	}
	switch a.Op {
	case Eq, In:
		return a.equals(value)
	case Ne:
		return !a.equals(value)
	case Contains:
		list, _ := value.([]string)
		return slices.Contains(list, a.Values[0].Text)
	case Lt, Lte, Gt, Gte:
		key, ok := keyOf(value, a.Values[0].Kind)
		if !ok {
			return false
		}
		than, ok := a.Values[0].Key()
		return ok && a.Op.holds(key.Compare(than))
	default:
		return false
	}
}

func (a Attribute) equals(value any) bool {
	text, ok := CanonicalText(value)
	return ok && slices.ContainsFunc(a.Values, func(v Value) bool { return v.Text == text })
}

func (o Op) holds(order int) bool {
	switch o {
	case Lt:
		return order < 0
	case Lte:
		return order <= 0
	case Gt:
		return order > 0
	default:
		return order >= 0
	}
}

// CanonicalText gives the text by which a value is compared with eq, ne and in; a list of strings has none.
func CanonicalText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return CanonicalNumber(strconv.FormatFloat(v, 'g', -1, 64))
	default:
		return "", false
	}
}

// NumberOf gives the number whose canonical text this is.
func NumberOf(text string) (float64, bool) {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	canonical, ok := CanonicalText(f)
	return f, ok && canonical == text
}

// Key orders numbers among numbers and times among times: whole part first, then what is left of it.
type Key [2]uint64

// KeyBits is how many bits a key has.
const KeyBits = 128

// Compare gives the order of two keys of one kind.
func (k Key) Compare(o Key) int {
	if c := cmp.Compare(k[0], o[0]); c != 0 {
		return c
	}
	return cmp.Compare(k[1], o[1])
}

// Bit tells bit i, the least being 0.
func (k Key) Bit(i int) bool { return k[1-i/64]>>(i%64)&1 == 1 }

// Key gives the key of what lt to gte compare with: a number or a time.
func (v Value) Key() (Key, bool) {
	switch v.Kind {
	case Number:
		f, _ := strconv.ParseFloat(v.Text, 64) // beyond all numbers it is an infinity, which has its place too
		return NumberKey(f), true
	case Time:
		return TimeKey(v.Text)
	default:
		return Key{}, false
	}
}

func keyOf(value any, kind ValueKind) (Key, bool) {
	switch v := value.(type) {
	case float64:
		return NumberKey(v), kind == Number
	case string:
		if kind != Time {
			return Key{}, false
		}
		return TimeKey(v)
	default:
		return Key{}, false
	}
}

// NumberKey gives a number's key. Whole numbers below 2⁵³ take few bits: their key has no second half.
func NumberKey(f float64) Key {
	const bias, whole = 1 << 62, 1 << 53
	floor := math.Floor(f)
	if floor == f && math.Abs(f) < whole {
		return Key{uint64(int64(f) + bias), 0} //nolint:gosec // below 2⁶³
	}
	order := math.Float64bits(f)
	if order>>63 == 1 {
		order = ^order
	} else {
		order |= 1 << 63
	}
	return Key{uint64(int64(max(-bias, min(floor, bias))) + bias), order} //nolint:gosec // 0 to 2⁶³
}

// TimeKey gives the key of a time as RFC 3339 writes it; false if text is none.
func TimeKey(text string) (Key, bool) {
	if len(text) < len("2006-01-02T15:04:05Z") || text[4] != '-' || text[10] != 'T' { // most texts
		return Key{}, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return Key{}, false
	}
	const bias = 1 << 62
	return Key{uint64(t.Unix() + bias), uint64(t.Nanosecond())}, true //nolint:gosec // years of four digits
}
