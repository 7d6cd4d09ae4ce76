package merge

import (
	"math"
	"math/bits"
	"strconv"
)

// arithmetic answers a number, or nothing where there is no sane answer: not a number, division by zero, overflow of a float. Whole
// numbers stay whole, also in a division by a whole number (rounded down, as in Liquid).
func arithmetic(id filterID, v Value, args []Value) Value {
	a := v.number()
	if a.kind == kindNil {
		return a
	}
	if id == filterRound || id == filterCeil || id == filterFloor || id == filterAbs {
		return rounding(id, a, args)
	}
	b := args[0].number()
	if b.kind == kindNil {
		return b
	}
	if a.kind == kindInt && b.kind == kindInt {
		if n, ok := whole(id, a.int(), b.int()); ok {
			return n
		}
	}
	x, y := a.asFloat(), b.asFloat()
	switch id {
	case filterPlus:
		return decimal(x + y)
	case filterMinus:
		return decimal(x - y)
	case filterTimes:
		return decimal(x * y)
	case filterDividedBy:
		return Float(x / y) // zero: infinite or NaN, which is missing
	default:
		return decimal(x - y*math.Floor(x/y))
	}
}

// whole computes with integers; ok is false when the result does not fit.
func whole(id filterID, a, b int64) (v Value, ok bool) {
	switch id {
	case filterPlus:
		c := a + b
		return Int(c), (c > a) == (b > 0)
	case filterMinus:
		c := a - b
		return Int(c), (c < a) == (b > 0)
	case filterTimes:
		hi, lo := bits.Mul64(magnitude(a), magnitude(b))
		return Int(a * b), hi == 0 && lo <= math.MaxInt64
	}
	if b == 0 {
		return Value{}, true
	}
	if b == -1 { // the one quotient that overflows
		if id == filterModulo {
			return Int(0), true
		}
		return Int(-a), a != math.MinInt64
	}
	q, r := a/b, a%b
	if r != 0 && (r < 0) != (b < 0) {
		q, r = q-1, r+b
	}
	if id == filterModulo {
		return Int(r), true
	}
	return Int(q), true
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// decimal drops the binary dust of a sum or product: 0.1 + 0.2 is 0.3.
func decimal(f float64) Value {
	g, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 15, 64), 64)
	if err != nil {
		g = f
	}
	return Float(g)
}

func rounding(id filterID, a Value, args []Value) Value {
	places := 0
	if id == filterRound && len(args) > 0 {
		places = int(max(-15, min(15, args[0].number().asFloat())))
	}
	if a.kind == kindInt && places >= 0 {
		switch {
		case id != filterAbs || a.int() >= 0:
			return a
		case a.int() != math.MinInt64:
			return Int(-a.int())
		}
	}
	f := a.asFloat()
	switch id {
	case filterCeil:
		return ofFloat(math.Ceil(f))
	case filterFloor:
		return ofFloat(math.Floor(f))
	case filterAbs:
		return Float(math.Abs(f))
	}
	if places <= 0 {
		scale := math.Pow10(-places)
		return ofFloat(math.Round(f/scale) * scale)
	}
	if math.Abs(f) >= maxExact {
		return a
	}
	scale := math.Pow10(places)
	return decimal(math.Round(decimal(f*scale).float()) / scale) // 1.005 is 100.49999… hundredths, but people mean 100.5
}
