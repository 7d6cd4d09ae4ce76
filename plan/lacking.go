package plan

import (
	"context"
	"strings"

	"fanfare"
	"fanfare/set"
)

// Content says whom a message cannot be made for. What it names by Needs decides who is asked about: whoever has all these attributes, as
// texts that are not blank or as numbers, lacks nothing, unless everybody has to be asked about.
type Content interface {
	Needs() (attributes []string, everybody bool)
	Lacks(r *fanfare.Recipient) bool
}

// How many profiles are read at a time, and in one step of the planner.
const (
	askTogether = 1000
	askInStep   = 20 * askTogether
)

// unsure gives those of members who may lack something, by the sets of values alone.
func unsure(view fanfare.SlotView, c Content, members *set.Set) (*set.Set, error) {
	attributes, everybody := c.Needs()
	if everybody || members.Empty() {
		return members, nil
	}
	all, err := dirty(view)
	if err != nil {
		return nil, err
	}
	all = set.And(all, members)
	for _, name := range attributes {
		numbers, err := view.LoadSet(fanfare.AttributeSet(fanfare.AttributeNumber, name))
		if err != nil {
			return nil, err
		}
		prefix := fanfare.AttributeSets(fanfare.AttributeText, name)
		names, texts, err := view.LoadSets(prefix)
		if err != nil {
			return nil, err
		}
		without := set.AndNot(members, numbers)
		for i := range names { // a name that is no text itself (of a long one, of one with control characters) tells nothing
			if text, plain := strings.CutPrefix(strings.TrimPrefix(string(names[i]), string(prefix)), "="); plain && strings.TrimSpace(text) != "" {
				without.Subtract(texts[i])
			}
		}
		all = set.Or(all, without)
	}
	return all, nil
}

// lacking asks about everybody of a slot who may lack something, for a count: somebody waits for it, so it ends when they go.
func (a *answer) lacking(ctx context.Context, s fanfare.Slot) (*set.Set, error) {
	if a.content == nil {
		return nil, nil
	}
	k, err := a.look(ctx, s, nil)
	for more := true; more && err == nil; {
		more, err = a.askMore(ctx, s, k)
	}
	if err != nil {
		return nil, err
	}
	return k.lacking, nil
}

// askMore asks about some more of whom may lack something; more: there are others. A step is short: the planner has other messages.
func (a *answer) askMore(ctx context.Context, s fanfare.Slot, k *known) (more bool, err error) {
	if k.maybe == nil {
		return false, nil
	}
	n := k.maybe.Len()
	for til := min(k.asked+askInStep, n); k.asked < til; {
		seqs := k.maybe.Slice(k.asked, min(k.asked+askTogether, til)).ToArray()
		profiles, err := a.store.Profiles(ctx, s, seqs)
		if err != nil {
			return false, err
		}
		for i := range profiles {
			if profiles[i].ExternalID == "" || a.content.Lacks(&profiles[i]) { // who has no profile has no values
				k.lacking.Add(seqs[i])
			}
		}
		k.asked += len(seqs)
	}
	return k.asked < n, nil
}
