package hostile_test

import (
	"fmt"
	"testing"
	"time"

	"fanfare/queues/hostile"
	"fanfare/queues/memory"
	"fanfare/queues/queuetest"
)

func TestQueue(t *testing.T) {
	for name, faults := range map[string]hostile.Faults{
		"none":     {},
		"loses":    {Lose: 0.3},
		"doubles":  {Double: 0.3},
		"delays":   {Delay: 0.3, Most: 5 * time.Millisecond},
		"reorders": {Reorder: 0.5},
		"all":      {Lose: 0.2, Double: 0.2, Delay: 0.2, Most: 5 * time.Millisecond, Reorder: 0.5},
	} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				t.Parallel()
				queuetest.Run(t, func(*testing.T) queuetest.Backend {
					return queuetest.Backend{Queue: hostile.New(memory.New(), faults, seed)}
				})
			})
		}
	}
}
