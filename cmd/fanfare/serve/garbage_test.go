package serve

import "testing"

// TestGarbageIsBounded: by a share of a small heap, by bytes of a large one, and of a very large one by a share again, so that it is not collected without end.
func TestGarbageIsBounded(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 1 << 20: 200, 48 << 20: 200, 96 << 20: 100, 192 << 20: 50, 384 << 20: 25, 1 << 40: 25} {
		if got := percentFor(live); got != want {
			t.Errorf("%d MB live: %d %%, want %d", live>>20, got, want)
		}
	}
}
