package plan

import (
	"context"
	"slices"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

// conditions answers conditions on attributes by the sets of one slot at one moment.
type conditions struct {
	view  fanfare.SlotView
	dirty *set.Set // whose profiles are to be read: no set of values says what they are now
	all   []condition
}

// condition is one condition while it is answered.
type condition struct {
	audience.Attribute
	absent bool     // it asks for who has no such attribute; whoever has it is looked for, and left out in the end
	base   *set.Set // as the sets say
	rest   *set.Set // who has a value without a set, where that matters
	scan   *set.Set // whose profiles decide
	hits   []uint32

	among map[string]struct{} // the texts of many values
}

// matches is Matches, told quickly of many values: it is asked of each profile that is read.
func (x *condition) matches(value any) bool {
	if x.among == nil {
		return x.Matches(value)
	}
	text, ok := audience.CanonicalText(value)
	_, is := x.among[text]
	return ok && is
}

// prepare makes what matches needs.
func (x *condition) prepare() {
	if x.Op != audience.In || len(x.Values) < manyValues || x.scan.Empty() {
		return
	}
	x.among = make(map[string]struct{}, len(x.Values))
	for _, v := range x.Values {
		x.among[v.Text] = struct{}{}
	}
}

// readConditions answers each condition, within whoever exists or beyond. rest names the attributes with more values than have sets.
func readConditions(ctx context.Context, view fanfare.SlotView, asked []audience.Attribute) (answers []*set.Set, rest []string, err error) {
	if len(asked) == 0 {
		return nil, nil, nil
	}
	c := conditions{view: view, all: make([]condition, len(asked))}
	if c.dirty, err = dirty(view); err != nil {
		return nil, nil, err
	}
	profiles := c.dirty
	for i, a := range asked {
		if err := ctx.Err(); err != nil { // there may be a thousand, of ten thousand values each
			return nil, nil, err
		}
		x := &c.all[i]
		x.Attribute, x.rest = a, set.New()
		if x.absent = a.Op == audience.Exists && a.Values[0].Text != "true"; x.absent {
			x.Values = []audience.Value{{Kind: audience.Bool, Text: "true"}}
		}
		if x.base, err = c.indexed(x); err != nil {
			return nil, nil, err
		}
		x.scan = c.dirty
		if !x.rest.Empty() {
			rest = append(rest, a.Name)
			x.scan = set.Or(c.dirty, x.rest)
			profiles = set.Or(profiles, x.rest)
		}
		x.prepare()
	}
	if err := c.profiles(ctx, profiles); err != nil {
		return nil, nil, err
	}
	return c.answers(rest)
}

// profiles reads who is in no set, once for all conditions.
func (c *conditions) profiles(ctx context.Context, of *set.Set) error {
	return c.view.Attributes(of, func(seq fanfare.Seq, attributes map[string]any) error {
		for i := range c.all {
			if x := &c.all[i]; (x.scan == of || x.scan.Contains(seq)) && x.matches(attributes[x.Name]) {
				x.hits = append(x.hits, seq)
			}
		}
		return ctx.Err()
	})
}

func (c *conditions) answers(rest []string) ([]*set.Set, []string, error) {
	found := make([]*set.Set, len(c.all))
	for i := range c.all {
		x := &c.all[i]
		if found[i] = x.base; !x.scan.Empty() {
			found[i] = set.AndNot(x.base, x.scan)
			found[i].AddMany(x.hits)
		}
		if x.absent {
			alive, err := c.view.LoadSet(fanfare.SetAlive)
			if err != nil {
				return nil, nil, err
			}
			found[i] = set.AndNot(alive, found[i])
		}
	}
	return found, rest, nil
}

// dirty gives who is not, or not yet again, in the sets of values.
func dirty(view fanfare.SlotView) (*set.Set, error) {
	all, err := view.LoadSet(fanfare.SetUnindexed)
	if err != nil {
		return nil, err
	}
	taken, err := view.SetNames(fanfare.IndexingPrefix)
	if err != nil {
		return nil, err
	}
	for _, name := range taken {
		members, err := view.LoadSet(name)
		if err != nil {
			return nil, err
		}
		all = set.Or(all, members)
	}
	return all, nil
}

// indexed answers by the sets alone. It notes in x.rest whom they do not tell about.
func (c *conditions) indexed(x *condition) (*set.Set, error) {
	switch x.Op {
	case audience.Exists:
		return c.view.LoadSet(fanfare.AttributeSet(fanfare.AttributeExists, x.Name))
	case audience.Eq, audience.In:
		return c.equal(x)
	case audience.Ne:
		exists, err := c.view.LoadSet(fanfare.AttributeSet(fanfare.AttributeExists, x.Name))
		if err != nil {
			return nil, err
		}
		equal, err := c.equal(x)
		if err != nil {
			return nil, err
		}
		return set.AndNot(exists, equal), nil
	case audience.Contains:
		return c.value(x, fanfare.AttributeItem, fanfare.AttributeItemRest, x.Values[0].Text)
	default:
		return c.ordered(x)
	}
}

// manyValues is from how many values on it is cheaper to ask first which sets there are.
const manyValues = 50

// equal gives who has one of the values: as a text, or as the number of which it is the text.
func (c *conditions) equal(x *condition) (*set.Set, error) {
	var there []fanfare.SetName
	many := len(x.Values) > manyValues
	if many {
		var err error
		if there, err = c.view.SetNames(fanfare.AttributeSets(fanfare.AttributeText, x.Name)); err != nil {
			return nil, err
		}
	}
	var found []*set.Set
	var numbers *bits
	for _, v := range x.Values {
		if many {
			if _, some := slices.BinarySearch(there, fanfare.AttributeValueSet(fanfare.AttributeText, x.Name, v.Text)); !some {
				if err := c.restOf(x, fanfare.AttributeTextRest); err != nil {
					return nil, err
				}
			} else if members, err := c.value(x, fanfare.AttributeText, fanfare.AttributeTextRest, v.Text); err != nil {
				return nil, err
			} else {
				found = append(found, members)
			}
		} else {
			members, err := c.value(x, fanfare.AttributeText, fanfare.AttributeTextRest, v.Text)
			if err != nil {
				return nil, err
			}
			found = append(found, members)
		}
		f, isNumber := audience.NumberOf(v.Text)
		if !isNumber {
			continue
		}
		if numbers == nil {
			var err error
			if numbers, err = c.bits(x.Name, fanfare.AttributeNumber, fanfare.AttributeNumBit); err != nil {
				return nil, err
			}
		}
		_, equal := numbers.compare(audience.NumberKey(f), neither)
		found = append(found, equal)
	}
	return union(found), nil
}

func union(all []*set.Set) *set.Set {
	switch len(all) {
	case 0:
		return set.New()
	case 1:
		return all[0]
	}
	sum := set.Or(all[0], all[1])
	for _, s := range all[2:] {
		sum.Union(s)
	}
	return sum
}

// value gives the set of a value. Where it has none, whoever has it is in the rest.
func (c *conditions) value(x *condition, family, rest fanfare.AttributeFamily, text string) (*set.Set, error) {
	members, err := c.view.LoadSet(fanfare.AttributeValueSet(family, x.Name, text))
	if err != nil || !members.Empty() {
		return members, err
	}
	return members, c.restOf(x, rest)
}

func (c *conditions) restOf(x *condition, rest fanfare.AttributeFamily) (err error) {
	x.rest, err = c.view.LoadSet(fanfare.AttributeSet(rest, x.Name))
	return err
}

func (c *conditions) ordered(x *condition) (*set.Set, error) {
	value := x.Values[0]
	all, family := fanfare.AttributeNumber, fanfare.AttributeNumBit
	if value.Kind == audience.Time {
		all, family = fanfare.AttributeTime, fanfare.AttributeTimeBit
	}
	key, ok := value.Key()
	if !ok {
		return set.New(), nil
	}
	b, err := c.bits(x.Name, all, family)
	if err != nil {
		return nil, err
	}
	wanted := less
	if x.Op == audience.Gt || x.Op == audience.Gte {
		wanted = greater
	}
	found, equal := b.compare(key, wanted)
	if x.Op == audience.Lte || x.Op == audience.Gte {
		found.Union(equal)
	}
	return found, nil
}

// bits are the bit slices of an attribute's numbers or times.
type bits struct {
	all    *set.Set
	slices [audience.KeyBits]*set.Set // nil: nobody has the bit
}

func (c *conditions) bits(attribute string, all, family fanfare.AttributeFamily) (*bits, error) {
	b := &bits{}
	var err error
	if b.all, err = c.view.LoadSet(fanfare.AttributeSet(all, attribute)); err != nil || b.all.Empty() {
		return b, err
	}
	names, sets, err := c.view.LoadSets(fanfare.AttributeSets(family, attribute))
	if err != nil {
		return nil, err
	}
	for i := range b.slices {
		if at, some := slices.BinarySearch(names, fanfare.AttributeBitSet(family, attribute, i)); some {
			b.slices[i] = sets[at]
		}
	}
	return b, nil
}

// side is whom compare looks for beside the equal.
type side int

const (
	neither side = iota
	less
	greater
)

// compare gives who has a key on one side of this one, and who has this one: from the highest bit down, as long as anybody is equal.
func (b *bits) compare(key audience.Key, wanted side) (beside, equal *set.Set) {
	beside = set.New()
	equal, own := b.all, false
	for i := audience.KeyBits - 1; i >= 0 && !equal.Empty(); i-- {
		slice, one := b.slices[i], key.Bit(i)
		if slice == nil {
			slice = set.New()
		}
		var off *set.Set
		switch {
		case one && wanted == less:
			off = set.AndNot(equal, slice)
		case !one && wanted == greater && b.slices[i] != nil:
			off = set.And(equal, slice)
		}
		switch {
		case off == nil || off.Empty():
		case beside.Empty():
			beside = off
		default:
			beside.Union(off)
		}
		switch {
		case !one && b.slices[i] == nil:
		case !own && one:
			equal, own = set.And(equal, slice), true
		case !own:
			equal, own = set.AndNot(equal, slice), true
		case one:
			equal.Intersect(slice)
		default:
			equal.Subtract(slice)
		}
	}
	return beside, equal
}
