package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

// attributes makes the sets of attributes anew from the profiles, for everybody whom the indexer has taken, and compares. Who has no profile
// is a number only: of these the sets are all that is known.
func (r *Report) attributes(ctx context.Context, store Store, s fanfare.Slot) error {
	return store.ReadSlot(ctx, s, func(v fanfare.SlotView) error {
		names, err := v.SetNames("")
		if err != nil {
			return err
		}
		alive, err := v.LoadSet(fanfare.SetAlive)
		if err != nil {
			return r.damaged(err)
		}
		clean := alive
		for _, name := range names {
			if name != fanfare.SetUnindexed && !strings.HasPrefix(string(name), string(fanfare.IndexingPrefix)) {
				continue
			}
			members, err := v.LoadSet(name)
			if err != nil {
				return r.damaged(err) // whom the sets tell of is not known
			}
			clean = set.AndNot(clean, members)
		}
		m := made{sets: make(map[fanfare.SetName]*set.Set), names: names, seen: set.New()}
		if err := v.Attributes(clean, func(seq fanfare.Seq, attributes map[string]any) error {
			m.seen.Add(seq)
			for name, value := range attributes {
				m.add(seq, name, value)
			}
			return ctx.Err()
		}); err != nil {
			return r.damaged(err)
		}
		return r.compare(v, s, alive, m)
	})
}

// made are sets as the profiles say.
type made struct {
	sets  map[fanfare.SetName]*set.Set
	names []fanfare.SetName // that there are
	seen  *set.Set
}

func (m *made) put(name fanfare.SetName, seq fanfare.Seq) {
	if m.sets[name] == nil {
		m.sets[name] = set.New()
	}
	m.sets[name].Add(seq)
}

func (m *made) add(seq fanfare.Seq, attribute string, value any) {
	if value == nil {
		return
	}
	m.put(fanfare.AttributeSet(fanfare.AttributeExists, attribute), seq)
	switch value := value.(type) {
	case float64:
		m.key(seq, attribute, audience.NumberKey(value), fanfare.AttributeNumber, fanfare.AttributeNumBit)
		return
	case []string:
		for _, item := range value {
			m.value(seq, attribute, item, fanfare.AttributeItem, fanfare.AttributeItemRest)
		}
	case string:
		if key, ok := audience.TimeKey(value); ok {
			m.key(seq, attribute, key, fanfare.AttributeTime, fanfare.AttributeTimeBit)
		}
	}
	if text, ok := audience.CanonicalText(value); ok {
		m.value(seq, attribute, text, fanfare.AttributeText, fanfare.AttributeTextRest)
	}
}

// value: where a value has a set everybody is there, else in the rest.
func (m *made) value(seq fanfare.Seq, attribute, value string, family, rest fanfare.AttributeFamily) {
	name := fanfare.AttributeValueSet(family, attribute, value)
	if _, there := slices.BinarySearch(m.names, name); !there {
		name = fanfare.AttributeSet(rest, attribute)
	}
	m.put(name, seq)
}

func (m *made) key(seq fanfare.Seq, attribute string, key audience.Key, all, family fanfare.AttributeFamily) {
	m.put(fanfare.AttributeSet(all, attribute), seq)
	for i := range audience.KeyBits {
		if key.Bit(i) {
			m.put(fanfare.AttributeBitSet(family, attribute, i), seq)
		}
	}
}

func (r *Report) compare(v fanfare.SlotView, s fanfare.Slot, alive *set.Set, m made) error {
	for _, name := range m.names {
		if !strings.HasPrefix(string(name), string(fanfare.AttributePrefix)) {
			continue
		}
		told, err := v.LoadSet(name)
		if err := r.damaged(err); err != nil {
			return err
		}
		counted := m.sets[name]
		delete(m.sets, name)
		if told == nil { // damaged
			continue
		}
		if counted == nil {
			counted = set.New()
		}
		if outside := set.AndNot(told, alive); !outside.Empty() {
			r.add(Found{Slot: &s, What: fmt.Sprintf("set %q: %d members are not alive (%s)", name, outside.Len(), some(outside))})
		}
		told = set.And(told, m.seen)
		if differ := set.Or(set.AndNot(told, counted), set.AndNot(counted, told)); !differ.Empty() {
			r.add(Found{Slot: &s, What: fmt.Sprintf("set %q and the profiles differ in %d people (%s)", name, differ.Len(), some(differ))})
		}
	}
	for name, counted := range m.sets {
		r.add(Found{Slot: &s, What: fmt.Sprintf("set %q is missing: by the profiles %d people are in it (%s)", name, counted.Len(), some(counted))})
	}
	return nil
}
