package plan

import (
	"context"
	"slices"
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

// askTogether is how many profiles are read at a time.
const askTogether = 1000

// unsure gives those of members who may lack something, by the sets of values alone.
func unsure(view fanfare.SlotView, c Content, members *set.Set) (*set.Set, error) {
	attributes, everybody := c.Needs()
	if everybody {
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

// lacking asks about each of members.
func (a *answer) lacking(ctx context.Context, s fanfare.Slot, members *set.Set) (*set.Set, error) {
	found := set.New()
	for at, n := 0, members.Len(); at < n; at += askTogether {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		seqs := slices.Collect(members.Slice(at, min(at+askTogether, n)).All())
		profiles, err := a.store.Profiles(ctx, s, seqs)
		if err != nil {
			return nil, err
		}
		for i := range profiles {
			if profiles[i].ExternalID == "" || a.content.Lacks(&profiles[i]) { // who has no profile has no values
				found.Add(seqs[i])
			}
		}
	}
	return found, nil
}
