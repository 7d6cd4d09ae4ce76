package audience

import (
	"strconv"
	"strings"
)

// CanonicalNumber gives the one way to write the number that a JSON literal stands for, exactly: no digit is lost, whatever its size. Numbers
// are written as JavaScript does: 1e3 is 1000, 0.10 is 0.1, -0 is 0, 1e21 is 1e+21. It is false if literal is no JSON
// number, is longer than 1,000 bytes, not below 1e401 or closer to 0 than 1e-400.
func CanonicalNumber(literal string) (string, bool) {
	if len(literal) > 1000 {
		return "", false
	}
	sign := ""
	rest, negative := strings.CutPrefix(literal, "-")
	if negative {
		sign = "-"
	}
	mantissa, exponent := rest, 0
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		e, err := strconv.Atoi(rest[i+1:])
		if err != nil {
			return "", false
		}
		mantissa, exponent = rest[:i], e
	}
	whole, fraction, dot := strings.Cut(mantissa, ".")
	if !digits(whole) || dot && !digits(fraction) || len(whole) > 1 && whole[0] == '0' {
		return "", false
	}
	ds := strings.TrimLeft(whole+fraction, "0")
	if ds == "" {
		return "0", true
	}
	if exponent > 1_000_000 || exponent < -1_000_000 { // so that the sum below cannot overflow
		return "", false
	}
	point := exponent + len(ds) - len(fraction) // the number is 0.ds × 10^point
	ds = strings.TrimRight(ds, "0")
	if point > 401 || point < -399 {
		return "", false
	}
	switch n := len(ds); {
	case n <= point && point <= 21:
		return sign + ds + strings.Repeat("0", point-n), true
	case 0 < point && point <= 21:
		return sign + ds[:point] + "." + ds[point:], true
	case -6 < point && point <= 0:
		return sign + "0." + strings.Repeat("0", -point) + ds, true
	}
	e := strconv.Itoa(point - 1)
	if point > 0 {
		e = "+" + e
	}
	if len(ds) > 1 {
		ds = ds[:1] + "." + ds[1:]
	}
	return sign + ds + "e" + e, true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
