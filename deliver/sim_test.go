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
	often, seldom := kinds()
	for _, what := range often {
		if all[what] < max(1, n/50) {
			t.Errorf("%q was tried %d times in %d seeds: what is not tried is not proven", what, all[what], n)
		}
	}
	for _, what := range seldom {
		if all[what] < n/1000 {
			t.Errorf("%q was tried %d times in %d seeds: what is not tried is not proven", what, all[what], n)
		}
	}
}

// kinds are the faults, answers and transitions that a run has to have seen, often or at least now and then.
func kinds() (often, seldom []string) {
	often = []string{
		"421", "actor stalled between two calls", "amendment over", "answer to an actor lost", "batch done", "batch held", "cancelling → cancelled", "cancelling → expired",
		"busy while its provider moved", "chunk taken whole", "claim", "claim that delivers", "claim with its first chunk", "claim busy", "claim over", "claim stale", "claims freed", "commit failed", "commit late", "commit lost", "commit slow", "commit twice",
		"completed → sending", "completed all_sent", "completed with_failures", "completed with_uncertain", "connection lost", "content unread", "control silent", "control tables silent", "crash",
		"dial failed", "doubted", "draft → cancelled", "draft → preparing", "draft → scheduled", "erasure",
		"exception failed permanent", "exception failed technical", "exception failed temporary_exhausted", "exception pending temporary", "exception sent ",
		"exception skipped missing_field", "exception uncertain no_answer", "frozen", "hung", "load failed", "look failed", "look refused a send",
		"message rate changed", "new revision", "node never came back", "not begun", "operator: cancel", "operator: pause", "operator: resume",
		"operator: schedule", "operator: start", "opt-out", "paused as damaged", "paused → cancelled", "paused → preparing", "paused → scheduled", "paused → sending",
		"pausing → cancelling", "pausing → paused", "pausing → sending", "peek", "peek failed", "permanent", "planner died", "planner stalled past its lease",
		"preparing → cancelled", "preparing → paused", "preparing → sending", "provider busy", "provider changed", "provider down", "provider gone", "provider moved", "publish failed",
		"queue forgot everything", "rate kept", "record", "record halted", "reopened failed", "reopened uncertain", "scope added", "settled as failed", "settled as sent", "record refused alone", "record stale", "reserve", "reserve failed",
		"scheduled → paused", "scheduled → preparing", "second copy", "sending → cancelling", "sending → completed", "sending → pausing", "sent",
		"sent after a stall, its question was before", "settled by a planner", "skipped at the intent", "skipped or technical",
		"slot tables silent", "stale task dropped", "stall", "stall past the lease", "stop", "stop took longer than the grace", "stopped in time",
		"task acknowledged", "task delayed", "task doubled", "task lost", "task of a claimed batch dropped", "task published", "task returned",
		"temporary", "uncertain, interrupted", "unknown", "waiting backoff", "waiting journal", "waiting provider_down", "waiting rate", "waiting shard",
	}
	seldom = []string{"amendment busy", "amendment stale", "another copy than two asked for", "audience damaged", "sent within 750 ms of a stop", "skipped at the claim", "skipped by a claim that delivers", "double task dropped", "doubted twice", "freeze refused", "paused → expired", "preparing → expired", "scheduled → cancelled", "scheduled → expired"}
	return often, seldom
}
