package set_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"fanfare/set"
)

// bitsProgram reads bytes as operations on two Bits and their models.
func bitsProgram(t *testing.T, n int, code []byte) {
	t.Helper()
	var bs [2]set.Bits
	var ms [2][]bool
	for i := range bs {
		bs[i], ms[i] = set.NewBits(n), make([]bool, n)
	}
	for len(code) >= 3 {
		op, arg := code[0], int(code[1])<<8|int(code[2])
		code = code[3:]
		a, b := op>>4&1, op>>5&1
		bitsStep(&bs[a], bs[b], ms[a], ms[b], op&15, arg)
		checkBits(t, bs[a], ms[a])
	}
	for _, p := range []struct {
		what string
		got  set.Bits
		f    func(x, y bool) bool
	}{
		{"Or", bs[0].Or(bs[1]), func(x, y bool) bool { return x || y }},
		{"And", bs[0].And(bs[1]), func(x, y bool) bool { return x && y }},
		{"AndNot", bs[0].AndNot(bs[1]), func(x, y bool) bool { return x && !y }},
		{"Not", bs[0].Not(), func(x, _ bool) bool { return !x }},
	} {
		want := make([]bool, n)
		for i := range want {
			want[i] = p.f(ms[0][i], ms[1][i])
		}
		checkBits(t, p.got, want)
		for i := range n { // and shares nothing
			p.got.Set(i)
		}
	}
	if got := bs[0].Overlap(bs[1]); got != !bs[0].And(bs[1]).Empty() {
		t.Fatalf("Overlap %v", got)
	}
	if got := bs[0].Equal(bs[1]); got != slices.Equal(ms[0], ms[1]) {
		t.Fatalf("Equal %v", got)
	}
	checkBits(t, bs[0], ms[0])
	checkBits(t, bs[1], ms[1])
}

func bitsStep(a *set.Bits, b set.Bits, am, bm []bool, op byte, arg int) {
	each := func(f func(x, y bool) bool) {
		for i := range am {
			am[i] = f(am[i], bm[i])
		}
	}
	switch n := a.N(); op % 8 {
	case 0, 1:
		if n > 0 {
			a.Set(arg % n)
			am[arg%n] = true
		}
	case 2:
		if n > 0 {
			a.Clear(arg % n)
			am[arg%n] = false
		}
	case 3:
		a.Union(b)
		each(func(x, y bool) bool { return x || y })
	case 4:
		a.Intersect(b)
		each(func(x, y bool) bool { return x && y })
	case 5:
		a.Subtract(b)
		each(func(x, y bool) bool { return x && !y })
	case 6:
		*a = set.FullBits(n)
		each(func(_, _ bool) bool { return true })
	case 7:
		a.Reset()
		each(func(_, _ bool) bool { return false })
	}
}

func checkBits(t *testing.T, b set.Bits, m []bool) {
	t.Helper()
	var want []int
	for i, in := range m {
		if in {
			want = append(want, i)
		}
		if b.Has(i) != in {
			t.Fatalf("Has(%d) = %v", i, !in)
		}
	}
	if got := slices.Collect(b.All()); !slices.Equal(got, want) {
		t.Fatalf("has %v, want %v", got, want)
	}
	if b.Len() != len(want) || b.Empty() != (len(want) == 0) || b.N() != len(m) || b.Has(-1) || b.Has(len(m)) {
		t.Fatalf("Len %d, Empty %v, N %d; want %d of %d", b.Len(), b.Empty(), b.N(), len(want), len(m))
	}
	var walked []int
	for i, ok := b.Next(0); ok; i, ok = b.Next(i + 1) {
		walked = append(walked, i)
	}
	if !slices.Equal(walked, want) {
		t.Fatalf("Next walks %v, want %v", walked, want)
	}
	p := b.Bytes()
	if (p == nil) != b.Empty() || !b.Empty() && len(p) != (len(m)+7)/8 {
		t.Fatalf("%d bytes for %d bits", len(p), len(m))
	}
	back, err := set.BitsFromBytes(len(m), p)
	if err != nil || !back.Equal(b) || !b.Equal(back) || !bytes.Equal(back.AppendBytes([]byte("x")), append([]byte("x"), p...)) {
		t.Fatalf("came back different: %v", err)
	}
}

func FuzzBits(f *testing.F) {
	f.Add(uint16(500), []byte{0x06, 0, 0, 0x10, 0, 9, 0x25, 0, 0, 0x02, 0, 3})
	f.Add(uint16(64), []byte{0x06, 0, 0, 0x16, 0, 0, 0x24, 0, 0, 0x34, 0, 0})
	f.Add(uint16(0), []byte{0x06, 0, 0})
	f.Add(uint16(1), []byte{0x00, 0, 0, 0x07, 0, 0})
	f.Fuzz(func(t *testing.T, n uint16, code []byte) {
		bitsProgram(t, int(n%700), code[:min(len(code), 90)])
		b, err := set.BitsFromBytes(int(n), code)
		if err != nil {
			if !errors.Is(err, set.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if got := b.Bytes(); !b.Empty() && !bytes.Equal(got, code) {
			t.Fatalf("accepted %x, writes %x", code, got)
		}
	})
}

func TestBitsOfEveryLength(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 500, 65_535, 65_536} {
		b := set.FullBits(n)
		m := make([]bool, n)
		for i := range m {
			m[i] = true
		}
		if b.Len() != n {
			t.Errorf("FullBits(%d) has %d", n, b.Len())
		}
		if n < 1000 {
			checkBits(t, b, m)
		}
		back, err := set.BitsFromBytes(n, b.Bytes())
		if err != nil || !back.Equal(b) {
			t.Errorf("%d bits came back different: %v", n, err)
		}
	}
}

func TestBitsRefusesWhatItWouldNotWrite(t *testing.T) {
	for name, c := range map[string]struct {
		n int
		p []byte
	}{
		"too short": {500, make([]byte, 62)}, "too long": {500, make([]byte, 64)}, "beyond n": {5, []byte{0x20}}, "negative": {-1, nil},
		"too many": {set.MaxBits + 1, nil}, "bytes for none": {0, []byte{0}}, "whole word beyond n": {65, append(make([]byte, 8), 2)},
	} {
		if _, err := set.BitsFromBytes(c.n, c.p); !errors.Is(err, set.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range [][]byte{nil, {}, make([]byte, 63)} {
		if b, err := set.BitsFromBytes(500, p); err != nil || !b.Empty() || b.Bytes() != nil {
			t.Errorf("%d bytes of zero: %v", len(p), err)
		}
	}
}

func TestBitsMisusePanics(t *testing.T) {
	b, short := set.NewBits(10), set.NewBits(9)
	for name, f := range map[string]func(){
		"Set": func() { b.Set(10) }, "Set negative": func() { b.Set(-1) }, "Clear": func() { b.Clear(10) }, "Union": func() { b.Union(short) },
		"NewBits": func() { set.NewBits(set.MaxBits + 1) }, "NewBits negative": func() { set.NewBits(-1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			f()
		}()
	}
}

func TestBitsTakesNoMemoryBeforeTheFirstSet(t *testing.T) {
	full := set.FullBits(500)
	if n := testing.AllocsPerRun(100, func() {
		b := set.NewBits(500)
		b.Clear(3)
		b.Subtract(full)
		b.Intersect(full)
		if !b.Empty() || b.Has(7) || b.Bytes() != nil {
			t.Error("not empty")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
