package serve

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// How much a node lets lie before it collects: twice what lives while that is little, and no more than garbageBytes when caches are full. With a
// share alone a node of 250 MB of caches takes 750.
const (
	mostPercent  = 200
	leastPercent = 25
	garbageBytes = 96 << 20
)

// percentFor gives the percentage of garbage for a heap of which so much lives.
func percentFor(live uint64) int {
	if live == 0 {
		return mostPercent
	}
	return int(math.Max(leastPercent, math.Min(mostPercent, garbageBytes*100/float64(live))))
}

// boundGarbage has each collection say how much may lie until the next one, until stop.
func boundGarbage() (stop func()) {
	g := &garbage{percent: mostPercent}
	debug.SetGCPercent(mostPercent)
	g.watch()
	return func() { g.stopped.Store(true) }
}

// garbage is looked at by the one goroutine that runs finalizers.
type garbage struct {
	stopped atomic.Bool
	percent int
}

// beat is unreachable from the start, so that its finalizer runs after the next collection.
type beat struct{ of *garbage }

func (g *garbage) watch() {
	runtime.SetFinalizer(&beat{g}, func(b *beat) {
		if b.of.stopped.Load() {
			return
		}
		b.of.adjust()
		b.of.watch()
	})
}

func (g *garbage) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	if p := percentFor(live[0].Value.Uint64()); p < g.percent*9/10 || p > g.percent*11/10 { // to set it stops the world for a moment
		g.percent = p
		debug.SetGCPercent(p)
	}
}
