package deliver

import (
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fanfare"
)

// seeds is how many seeds are to be run.
func seeds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FANFARE_SIM_SEEDS")
	if text == "" {
		return 300
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("FANFARE_SIM_SEEDS=%q: a number from 1", text)
	}
	return n
}

// TestSim plays seeds, each a small world of its own, and tells of the first in which a promise was broken. With FANFARE_SIM_SEED=n it
// plays that one alone and prints all that happens in it.
func TestSim(t *testing.T) {
	if text := os.Getenv("FANFARE_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("FANFARE_SIM_SEED=%q: a number", text)
		}
		w := newWorld(seed, fanfare.Rules{})
		w.trace = &strings.Builder{}
		broken := w.run()
		t.Log("\n" + w.trace.String())
		if broken != nil {
			t.Fatalf("seed %d: %v", seed, broken)
		}
		return
	}
	n := seeds(t)
	var next atomic.Uint64
	var mu sync.Mutex // guards all below
	all := make(map[string]int)
	broken := make(map[uint64]*violation)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			seen := make(map[string]int)
			for seed := next.Add(1); seed <= uint64(n); seed = next.Add(1) { //nolint:gosec // from 1
				w := newWorld(seed, fanfare.Rules{})
				v := w.run()
				for what, k := range w.seen {
					seen[what] += k
				}
				if v != nil {
					mu.Lock()
					broken[seed] = v
					mu.Unlock()
					next.Store(uint64(n)) //nolint:gosec // as above
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for what, k := range seen {
				all[what] += k
			}
		})
	}
	workers.Wait()
	for _, seed := range slices.Sorted(maps.Keys(broken)) {
		t.Fatalf("seed %d: %v\nto see it all: FANFARE_SIM_SEED=%d go test -run '^TestSim$' -v ./deliver", seed, broken[seed], seed)
	}
	for _, what := range slices.Sorted(maps.Keys(all)) {
		t.Logf("%9d %s", all[what], what)
	}
}
