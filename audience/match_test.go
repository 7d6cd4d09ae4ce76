package audience_test

import (
	"cmp"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanfare/audience"
)

func TestNumberKeysAreInOrder(t *testing.T) {
	some := []float64{0, math.Copysign(0, -1), 1, -1, 0.5, -0.5, 0.25, 99, 1 << 53, 1<<53 - 1, -(1 << 53), 1 << 62, -(1 << 62), 1 << 63, 1e21, -1e21, math.MaxFloat64, -math.MaxFloat64,
		math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.Nextafter(1<<62, 0), math.Nextafter(-(1 << 62), math.Inf(-1)), math.Nextafter(3, 4)}
	check := func(t rapid.TB, a, b float64) {
		x, y := audience.NumberKey(a), audience.NumberKey(b)
		if x.Compare(y) != cmp.Compare(a, b) || y.Compare(x) != cmp.Compare(b, a) {
			t.Fatalf("%v and %v have keys %x and %x", a, b, x, y)
		}
		for i := audience.KeyBits - 1; i >= 0; i-- { // the highest bit that differs decides
			if x.Bit(i) != y.Bit(i) {
				if x.Bit(i) != (a > b) {
					t.Fatalf("%v and %v: bit %d", a, b, i)
				}
				return
			}
		}
	}
	for _, a := range some {
		for _, b := range some {
			check(t, a, b)
		}
	}
	number := rapid.OneOf(rapid.Float64(), rapid.SampledFrom(some), rapid.Custom(func(r *rapid.T) float64 { return float64(rapid.Int64().Draw(r, "whole")) }),
		rapid.Custom(func(r *rapid.T) float64 { return float64(rapid.IntRange(-400, 400).Draw(r, "quarters")) / 4 }))
	rapid.Check(t, func(r *rapid.T) { check(r, number.Draw(r, "a"), number.Draw(r, "b")) })
	for i := range 100 { // few bits for what is usual
		k := audience.NumberKey(float64(i))
		for bit := range audience.KeyBits {
			if k.Bit(bit) && bit != 64+62 && (bit < 64 || bit > 64+6) {
				t.Errorf("%d has bit %d", i, bit)
			}
		}
	}
}

func TestTimeKeysAreInOrder(t *testing.T) {
	moment := rapid.Custom(func(r *rapid.T) time.Time {
		at := time.Date(rapid.IntRange(0, 9999).Draw(r, "year"), 1, rapid.IntRange(1, 366).Draw(r, "day"), 0, 0, rapid.IntRange(0, 86399).Draw(r, "second"), rapid.SampledFrom([]int{0, 1, 999_999_999, 500_000_000}).Draw(r, "nano"), time.UTC)
		if rapid.Bool().Draw(r, "elsewhere") {
			return at.In(time.FixedZone("", 60*rapid.IntRange(-12*60, 14*60).Draw(r, "zone")))
		}
		return at
	})
	rapid.Check(t, func(r *rapid.T) {
		a, b := moment.Draw(r, "a"), moment.Draw(r, "b")
		if rapid.IntRange(0, 3).Draw(r, "near") == 0 {
			b = a.Add(time.Duration(rapid.IntRange(-2, 2).Draw(r, "by"))).In(b.Location())
		}
		if a.Year() < 0 || a.Year() > 9999 || b.Year() < 0 || b.Year() > 9999 {
			return
		}
		x, ok := audience.TimeKey(a.Format(time.RFC3339Nano))
		y, too := audience.TimeKey(b.Format(time.RFC3339Nano))
		if !ok || !too || x.Compare(y) != a.Compare(b) {
			t.Fatalf("%v, %v: keys %x (%v), %x (%v)", a, b, x, ok, y, too)
		}
	})
	for _, text := range []string{"", "2026-01-31", "2026-01-31 08:00:00Z", "2026-01-31T08:00:00", "2026-13-31T08:00:00Z", "2026-01-31T08:00:00Zx", "yesterday at noon, 2026", "2026-1-31T08:00:00Z   "} {
		if _, ok := audience.TimeKey(text); ok {
			t.Errorf("%q is a time", text)
		}
	}
}

func TestNumbersAreTheNumberOfTheirText(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }).Draw(r, "number")
		text, ok := audience.CanonicalText(f)
		if back, is := audience.NumberOf(text); !ok || !is || back != f {
			t.Fatalf("%v is %q (%v), which is %v (%v)", f, text, ok, back, is)
		}
	})
	for _, text := range []string{"", "5.0", "05", "+5", "5 ", "0x5", "1_000", "NaN", "Inf", "-Inf", "-0", "1e3", "1e400", "9007199254740993", "five", "."} {
		if f, ok := audience.NumberOf(text); ok {
			t.Errorf("%q is the text of %v", text, f)
		}
	}
}

func TestMatches(t *testing.T) {
	for doc, c := range map[string]struct{ yes, no []any }{
		`{"attribute":"a","eq":5}`:                       {[]any{5.0, "5"}, []any{nil, 5.5, "5.0", true, []string{"5"}}},
		`{"attribute":"a","eq":"true"}`:                  {[]any{true, "true"}, []any{false, "True", 1.0}},
		`{"attribute":"a","ne":"x"}`:                     {[]any{"y", 1.0, []string{"x"}, ""}, []any{nil, "x"}},
		`{"attribute":"a","in":["x",2,false]}`:           {[]any{"x", 2.0, "2", false, "false"}, []any{nil, "", 3.0, true}},
		`{"attribute":"a","in":[]}`:                      {nil, []any{nil, "", "x"}},
		`{"attribute":"a","lt":5}`:                       {[]any{4.9, -1e300}, []any{nil, 5.0, "4", "1999-01-01T00:00:00Z", true}},
		`{"attribute":"a","gte":1e400}`:                  {nil, []any{math.MaxFloat64}},
		`{"attribute":"a","gt":"2026-01-31T08:00:00Z"}`:  {[]any{"2026-01-31T08:00:00.1Z", "2026-01-31T07:00:00-02:00"}, []any{nil, "2026-01-31T16:00:00+08:00", 1e20, "zzz"}},
		`{"attribute":"a","lte":"2026-01-31T08:00:00Z"}`: {[]any{"2026-01-31T16:00:00+08:00"}, []any{"2026-01-31T08:00:00.1Z", ""}},
		`{"attribute":"a","contains":"x"}`:               {[]any{[]string{"y", "x"}}, []any{nil, "x", []string{}, []string{"X"}}},
		`{"attribute":"a","exists":true}`:                {[]any{"", 0.0, false, []string{}}, []any{nil}},
		`{"attribute":"a","exists":false}`:               {[]any{nil}, []any{"", 0.0, false, []string{}}},
	} {
		e, err := audience.Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		a, ok := e.(audience.Attribute)
		if !ok {
			t.Fatalf("%s is %T", doc, e)
		}
		for _, v := range c.yes {
			if !a.Matches(v) {
				t.Errorf("%s does not match %#v", doc, v)
			}
		}
		for _, v := range c.no {
			if a.Matches(v) {
				t.Errorf("%s matches %#v", doc, v)
			}
		}
	}
}
