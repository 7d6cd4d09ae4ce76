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
		m := made{sets: make(map[fanfare.SetName]*set.Set), names: names, seen: set.New(), attributes: make(map[string]*attribute)}
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
	sets       map[fanfare.SetName]*set.Set
	names      []fanfare.SetName // that there are
	seen       *set.Set
	attributes map[string]*attribute
}

// attribute remembers an attribute's sets: to put a name together for each value of each person takes longer than all else.
type attribute struct {
	name           string
	exists         *set.Set
	texts, items   map[string]*set.Set
	numbers, times *keys
}

type keys struct {
	all  *set.Set
	bits [audience.KeyBits]*set.Set
}

// set gives the set of a name, to be added to.
func (m *made) set(name fanfare.SetName) *set.Set {
	if m.sets[name] == nil {
		m.sets[name] = set.New()
	}
	return m.sets[name]
}

func (m *made) add(seq fanfare.Seq, name string, value any) {
	if value == nil {
		return
	}
	a := m.attributes[name]
	if a == nil {
		a = &attribute{name: name, exists: m.set(fanfare.AttributeSet(fanfare.AttributeExists, name)), texts: make(map[string]*set.Set), items: make(map[string]*set.Set)}
		m.attributes[name] = a
	}
	a.exists.Add(seq)
	switch value := value.(type) {
	case float64:
		m.key(seq, a, &a.numbers, audience.NumberKey(value), fanfare.AttributeNumber, fanfare.AttributeNumBit)
		return
	case []string:
		for _, item := range value {
			m.value(seq, a, a.items, item, fanfare.AttributeItem, fanfare.AttributeItemRest)
		}
	case string:
		if key, ok := audience.TimeKey(value); ok {
			m.key(seq, a, &a.times, key, fanfare.AttributeTime, fanfare.AttributeTimeBit)
		}
	}
	if text, ok := audience.CanonicalText(value); ok {
		m.value(seq, a, a.texts, text, fanfare.AttributeText, fanfare.AttributeTextRest)
	}
}

// value: where a value has a set everybody is there, else in the rest.
func (m *made) value(seq fanfare.Seq, a *attribute, known map[string]*set.Set, value string, family, rest fanfare.AttributeFamily) {
	members := known[value]
	if members == nil {
		name := fanfare.AttributeValueSet(family, a.name, value)
		if _, there := slices.BinarySearch(m.names, name); !there {
			name = fanfare.AttributeSet(rest, a.name)
		}
		members = m.set(name)
		known[value] = members
	}
	members.Add(seq)
}

func (m *made) key(seq fanfare.Seq, a *attribute, of **keys, key audience.Key, all, family fanfare.AttributeFamily) {
	if *of == nil {
		*of = &keys{all: m.set(fanfare.AttributeSet(all, a.name))}
	}
	k := *of
	k.all.Add(seq)
	for i := range k.bits {
		if !key.Bit(i) {
			continue
		}
		if k.bits[i] == nil {
			k.bits[i] = m.set(fanfare.AttributeBitSet(family, a.name, i))
		}
		k.bits[i].Add(seq)
	}
}

func (r *Report) compare(v fanfare.SlotView, s fanfare.Slot, alive *set.Set, m made) error {
	for _, name := range m.names {
		if !name.OfAttribute() {
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
