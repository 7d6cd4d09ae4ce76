package doctor

import (
	"context"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// looks is how often a difference is looked at again before it counts: on a database that is being served it may be a change that
// came between two reads.
const looks = 3

// people checks the sets of recipients: each within alive, and those of addresses against the profiles.
func (r *Report) people(ctx context.Context, store Store) error {
	names, err := setNames(ctx, store)
	if err != nil {
		return err
	}
	for s := range store.Slots() {
		slot := fanfare.Slot(s) //nolint:gosec // slots fit
		alive, err := store.LoadSet(ctx, slot, fanfare.SetAlive)
		if err := r.damaged(err); err != nil {
			return fmt.Errorf("slot %d: %w", s, err)
		}
		if alive == nil { // damaged: nothing can be compared with it
			continue
		}
		r.Recipients += alive.Len()
		for name, called := range names {
			if err := r.within(ctx, store, slot, name, called); err != nil {
				return fmt.Errorf("slot %d: %s: %w", s, called, err)
			}
		}
		if err := r.addresses(ctx, store, slot); err != nil {
			return fmt.Errorf("slot %d: addresses: %w", s, err)
		}
		if err := r.attributes(ctx, store, slot); err != nil {
			return fmt.Errorf("slot %d: attributes: %w", s, err)
		}
	}
	return nil
}

// setNames gives the sets that lie within alive, and what a person calls them.
func setNames(ctx context.Context, store Store) (map[fanfare.SetName]string, error) {
	names := map[fanfare.SetName]string{
		fanfare.AddressSet(fanfare.ChannelEmail): "those with an e-mail address",
		fanfare.InvalidSet(fanfare.ChannelEmail): "those with an invalid e-mail address",
	}
	err := store.View(ctx, func(v fanfare.ControlView) error {
		for cursor := ""; ; {
			lists, next, err := v.Lists(cursor, 200)
			if err != nil {
				return err
			}
			for _, l := range lists {
				names[fanfare.ListSet(l.ID)] = fmt.Sprintf("list %q", l.Name)
			}
			if cursor = next; next == "" {
				return nil
			}
		}
	})
	return names, err
}

// lasting gives the members that differ each time they are looked at; nil if a set is damaged.
func (r *Report) lasting(look func() (*set.Set, error)) (*set.Set, error) {
	var rest *set.Set
	for range looks {
		found, err := look()
		if err != nil {
			return nil, r.damaged(err)
		}
		if rest == nil {
			rest = found
		} else {
			rest = set.And(rest, found)
		}
		if rest.Empty() {
			break
		}
	}
	return rest, nil
}

func (r *Report) within(ctx context.Context, store Store, s fanfare.Slot, name fanfare.SetName, called string) error {
	outside, err := r.lasting(func() (*set.Set, error) {
		members, err := store.LoadSet(ctx, s, name) // before alive: whoever is new in both is no difference
		if err != nil {
			return nil, err
		}
		alive, err := store.LoadSet(ctx, s, fanfare.SetAlive)
		if err != nil {
			return nil, err
		}
		return set.AndNot(members, alive), nil
	})
	if err != nil || outside == nil || outside.Empty() {
		return err
	}
	r.add(Found{Slot: &s, What: fmt.Sprintf("%s: %d members are not alive (%s)", called, outside.Len(), some(outside))})
	return nil
}

// addresses counts anew from the profiles who can be reached by e-mail.
func (r *Report) addresses(ctx context.Context, store Store, s fanfare.Slot) error {
	name := fanfare.AddressSet(fanfare.ChannelEmail)
	differ, err := r.lasting(func() (*set.Set, error) {
		alive, err := store.LoadSet(ctx, s, fanfare.SetAlive)
		if err != nil {
			return nil, err
		}
		told, err := store.LoadSet(ctx, s, name)
		if err != nil {
			return nil, err
		}
		counted := set.New()
		if err := store.Mailboxes(ctx, s, fanfare.ChannelEmail, alive, func(seq fanfare.Seq, _ uint64) { counted.Add(seq) }); err != nil {
			return nil, err
		}
		told = set.And(told, alive) // who is not alive is named elsewhere
		return set.Or(set.AndNot(told, counted), set.AndNot(counted, told)), nil
	})
	if err != nil || differ == nil || differ.Empty() {
		return err
	}
	r.add(Found{Slot: &s, What: fmt.Sprintf("those with an e-mail address: the set and the profiles differ in %d people (%s)", differ.Len(), some(differ))})
	return nil
}

// some names a few members.
func some(s *set.Set) string {
	text := "seq"
	for i, seq := range s.SelectRange(nil, 0, 6) {
		if i == 5 {
			return text + " …"
		}
		text += fmt.Sprintf(" %d", seq)
	}
	return text
}
