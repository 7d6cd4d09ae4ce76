package deliver

import (
	"slices"
	"strings"
	"testing"

	"fanfare"
)

// mutantSeeds is within how many seeds each broken rule must be noticed.
const mutantSeeds = 10_000

// mutant is one rule left out, and the promises that this breaks.
type mutant struct {
	name     string
	leave    func(r *fanfare.Rules)
	promises []string
}

func mutants() []mutant {
	return []mutant{
		{"ProgressAtFetch", func(r *fanfare.Rules) { r.ProgressAtFetch = true }, []string{"sent"}},
		{"ResultsBeforeSend", func(r *fanfare.Rules) { r.ResultsBeforeSend = true }, []string{"sent"}},
		{"ResultsGuardedByGen", func(r *fanfare.Rules) { r.ResultsGuardedByGen = true }, []string{"results"}},
		{"ClaimWithoutLatch", func(r *fanfare.Rules) { r.ClaimWithoutLatch = true }, []string{"stale claim"}},
		{"NoLookBeforeSend", func(r *fanfare.Rules) { r.NoLookBeforeSend = true }, []string{"look"}},
		{"NoFence", func(r *fanfare.Rules) { r.NoFence = true }, []string{"stale write"}},
		{"BlindCommitRetry", func(r *fanfare.Rules) { r.BlindCommitRetry = true }, []string{"stale write"}},
		{"DoubtedInMemory", func(r *fanfare.Rules) { r.DoubtedInMemory = true }, []string{"doubted", "copies"}},
		{"SuppressionsBefore", func(r *fanfare.Rules) { r.SuppressionsBefore = true }, []string{"opt-out"}},
		{"AttemptInKey", func(r *fanfare.Rules) { r.AttemptInKey = true }, []string{"key"}},
		{"AckBeforeClaim", func(r *fanfare.Rules) { r.AckBeforeClaim = true }, []string{"ack"}},
		{"CompletedWhenEmpty", func(r *fanfare.Rules) { r.CompletedWhenEmpty = true }, []string{"completed"}},
		{"SentComputed", func(r *fanfare.Rules) { r.SentComputed = true }, []string{"sent", "balance"}},
		{"AmendWithoutLatch", func(r *fanfare.Rules) { r.AmendWithoutLatch = true }, []string{"stale amendment"}},
		{"FreezeTwice", func(r *fanfare.Rules) { r.FreezeTwice = true }, []string{"freeze"}},
	}
}

// TestSimMutants leaves out one rule after the other: each must be noticed, by the promise that rests on it.
func TestSimMutants(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var rules fanfare.Rules
			m.leave(&rules)
			for seed := range uint64(mutantSeeds) {
				w := newWorld(seed+1, rules)
				if v := w.run(); v != nil {
					if !slices.Contains(m.promises, v.promise) {
						t.Fatalf("seed %d: caught by another promise than %v: %v", seed+1, m.promises, v)
					}
					t.Logf("caught after %d seeds: %v", seed+1, v)
					return
				}
			}
			t.Fatalf("not noticed in %d seeds", mutantSeeds)
		})
	}
}

// TestSimIsDeterministic: a seed gives the same run twice, to the last line.
func TestSimIsDeterministic(t *testing.T) {
	for seed := range uint64(30) {
		var traces [2]strings.Builder
		for i := range traces {
			w := newWorld(seed+1, fanfare.Rules{})
			w.trace = &traces[i]
			w.run()
		}
		one, other := strings.Split(traces[0].String(), "\n"), strings.Split(traces[1].String(), "\n")
		for i := range min(len(one), len(other)) {
			if one[i] != other[i] {
				t.Fatalf("seed %d, line %d:\n%s\n%s", seed+1, i, one[i], other[i])
			}
		}
		if len(one) != len(other) || len(one) < 20 {
			t.Fatalf("seed %d: %d lines and %d", seed+1, len(one), len(other))
		}
	}
}
