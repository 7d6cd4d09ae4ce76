package memory_test

import (
	"testing"

	"fanfare"
	"fanfare/stores/memory"
	"fanfare/stores/storetest"
)

func open(_ *testing.T, o storetest.Options) storetest.Backend {
	s := memory.Open(memory.Config{Slots: o.Slots, Now: o.Clock})
	return storetest.Backend{Store: s, Damage: func(_ *testing.T, m fanfare.MessageNum, n fanfare.Slot, p fanfare.Part) { s.Damage(m, n, p) },
		DamageBatch: func(_ *testing.T, r fanfare.BatchRef) { s.DamageBatch(r) },
		DamageReceipts: func(_ *testing.T, m fanfare.MessageNum, n fanfare.Slot, k fanfare.ReceiptKind, chunk uint16) {
			s.DamageReceipts(m, n, k, chunk)
		}}
}

func TestStore(t *testing.T) { storetest.Run(t, open) }

// TestShards runs the suite with slots that lie on several shards.
func TestShards(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, o storetest.Options) storetest.Backend {
		return storetest.Backend{Store: memory.Open(memory.Config{Slots: o.Slots, Shards: 3, Now: o.Clock})}
	})
}

func TestRelocated(t *testing.T) {
	s := memory.Open(memory.Config{})
	s.Relocate("elsewhere")
	id, err := s.Identity(t.Context())
	if err != nil || id.Stored == id.Found {
		t.Errorf("%+v (%v)", id, err)
	}
	if err := s.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if id, err = s.Identity(t.Context()); err != nil || id.Stored != "elsewhere" || id.Found != "elsewhere" {
		t.Errorf("%+v (%v)", id, err)
	}
}
