package plan

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

// The indexer's times.
const (
	indexEvery = time.Second      // it looks whether anybody is unindexed
	indexYield = time.Minute      // that it lets imports and messages have the machine at most
	indexLease = 30 * time.Second // only saves work: two at once void each other's taking
)

// changesTogether is how many sets one transaction of the indexer changes at most: others write in between.
const changesTogether = 500

// foldMost is about how many bytes the values may take of those who are taken together.
const foldMost = 64 << 20

// IndexStore is what an indexer asks of a store.
type IndexStore interface {
	fanfare.Control
	fanfare.SlotSets
	Slots() int
}

// Indexer takes who is unindexed into the sets of their attributes' values.
type Indexer struct {
	Store  IndexStore
	Node   string       // its name, for the lease
	Logger *slog.Logger // nil: silent
	Most   int          // bytes of values that are taken together; 0: 64 MB

	since time.Time // when somebody was first found while others were busy; zero: not now
}

// Run indexes until ctx ends.
func (x *Indexer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := x.Tick(ctx)
		if err != nil && ctx.Err() == nil && !failed && x.Logger != nil {
			x.Logger.Warn("indexer: tried again in a moment", "error", err)
		}
		failed = err != nil
		timer.Reset(indexEvery)
	}
}

// Tick takes everybody who is unindexed, unless an import runs or a message is being sent.
func (x *Indexer) Tick(ctx context.Context) error {
	mine := false
	for n := range x.Store.Slots() {
		s := fanfare.Slot(n) //nolint:gosec // slots fit
		for {
			some, err := x.pending(ctx, s)
			if err == nil && some {
				if !mine {
					mine, err = x.may(ctx)
				}
				if err == nil && !mine {
					return nil
				}
				if err == nil {
					err = x.Index(ctx, s)
				}
			}
			if err != nil {
				return fmt.Errorf("slot %d: %w", s, err)
			}
			if !some {
				break
			}
		}
	}
	return nil
}

func (x *Indexer) pending(ctx context.Context, s fanfare.Slot) (some bool, err error) {
	err = x.Store.ReadSlot(ctx, s, func(v fanfare.SlotView) error {
		all, err := dirty(v)
		some = err == nil && !all.Empty()
		return err
	})
	return some, err
}

// may says whether it is this indexer's turn: it lets imports and messages go first for a while.
func (x *Indexer) may(ctx context.Context) (mine bool, err error) {
	looks, err := x.Store.Look(ctx)
	if err != nil {
		return false, err
	}
	busy := slices.ContainsFunc(looks, func(l fanfare.Look) bool { return l.State.Phase == fanfare.PhaseSending })
	err = x.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		mine = false
		imports, err := tx.Imports(fanfare.ImportRunning)
		if err != nil {
			return err
		}
		switch now := tx.Now(); {
		case len(imports) == 0 && !busy:
		case x.since.IsZero():
			x.since = now
			return nil
		case now.Sub(x.since) < indexYield:
			return nil
		}
		mine, err = tx.TakeLease("indexer", x.Node, indexLease)
		return err
	})
	if mine && err == nil {
		x.since = time.Time{}
	}
	return mine, err
}

// Index takes the unindexed of one chunk of a slot into the sets of their values: takes them into a set of its own, reads their profiles,
// and then changes the sets, without keeping writers waiting while it reads.
func (x *Indexer) Index(ctx context.Context, s fanfare.Slot) error {
	mine := fanfare.IndexingSet(rand.Text())
	var taken *set.Set
	err := x.Store.Edit(ctx, s, func(v fanfare.SlotView) (changes []fanfare.SetChange, err error) {
		taken, changes, err = take(v, mine)
		return changes, err
	})
	if err != nil || taken.Empty() {
		return err
	}
	var f fold
	if err := x.Store.ReadSlot(ctx, s, func(v fanfare.SlotView) (err error) {
		f, err = newFold(v, taken, cmp.Or(x.Most, foldMost))
		return err
	}); err != nil {
		return err
	}
	for _, changes := range f.steps(mine) {
		err := x.Store.Edit(ctx, s, func(v fanfare.SlotView) ([]fanfare.SetChange, error) {
			left, err := v.LoadSet(mine)
			if err != nil {
				return nil, err
			}
			if left.Empty() {
				return nil, errVoid
			}
			return within(changes, left), nil
		})
		if errors.Is(err, errVoid) {
			return nil // another indexer has them now, or all of them were erased
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errVoid says that nobody is left of whom the indexer took.
var errVoid = errors.New("whom the indexer took is not its own any more")

// take moves the unindexed of the first chunk that has any into mine. Whom another one took is unindexed again: that one is dead or, if
// it is not, will find its own set empty.
func take(v fanfare.SlotView, mine fanfare.SetName) (taken *set.Set, changes []fanfare.SetChange, err error) {
	all, err := dirty(v)
	if err != nil {
		return nil, nil, err
	}
	first, some := all.Min()
	if !some {
		return all, nil, nil
	}
	chunk := uint64(first) / set.ChunkSize * set.ChunkSize
	taken = set.And(all, set.Range(chunk, chunk+set.ChunkSize))
	others, err := v.SetNames(fanfare.IndexingPrefix)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range others {
		changes = append(changes, fanfare.SetChange{Name: name, Remove: all})
	}
	return taken, append(changes, fanfare.SetChange{Name: fanfare.SetUnindexed, Add: all, Remove: taken}, fanfare.SetChange{Name: mine, Add: taken}), nil
}

// within leaves out of changes who was erased since they were taken.
func within(changes []fanfare.SetChange, left *set.Set) []fanfare.SetChange {
	now := slices.Clone(changes)
	for i := range now {
		if now[i].Add != nil {
			now[i].Add = set.And(now[i].Add, left)
		}
	}
	return now
}

// fold is what the sets of a slot become when some people are taken into them.
type fold struct {
	taken *set.Set                     // whose values were read
	later *set.Set                     // who is too many
	join  map[fanfare.SetName]*set.Set // who is to be in
	leave []fanfare.SetName            // sets in which some are who are not to be
}

// errMany says that the values of those read so far take enough memory.
var errMany = errors.New("the others later")

func newFold(v fanfare.SlotView, taken *set.Set, most int) (fold, error) {
	f := fold{taken: taken, later: set.New(), join: make(map[fanfare.SetName]*set.Set)}
	held := make(map[string]*values)
	bytes := 0
	if err := v.Attributes(taken, func(seq fanfare.Seq, attributes map[string]any) error {
		if bytes > most {
			f.later = set.And(taken, set.Range(uint64(seq), set.Universe))
			f.taken = set.AndNot(taken, f.later)
			return errMany
		}
		for name, value := range attributes {
			if value == nil {
				continue
			}
			h := held[name]
			if h == nil {
				h = &values{texts: make(map[string][]uint32), items: make(map[string][]uint32)}
				held[name] = h
				bytes += attributeBytes
			}
			bytes += h.add(seq, value)
		}
		return nil
	}); err != nil && !errors.Is(err, errMany) {
		return f, err
	}
	for name, h := range held {
		if err := f.attribute(v, name, h); err != nil {
			return f, err
		}
	}
	return f, f.stale(v)
}

// values are one attribute's values among those taken, ascending by seq.
type values struct {
	exists         []uint32
	texts, items   map[string][]uint32
	numbers, times *keys
}

type keys struct {
	all  []uint32
	bits [audience.KeyBits][]uint32
}

// with adds a key to keys that may not be there yet.
func (k *keys) with(seq uint32, key audience.Key) *keys {
	if k == nil {
		k = &keys{}
	}
	k.all = append(k.all, seq)
	for i := range k.bits {
		if key.Bit(i) {
			k.bits[i] = append(k.bits[i], seq)
		}
	}
	return k
}

// About what one value takes beside its text, and an attribute beside its values.
const (
	valueBytes     = 100
	attributeBytes = 4096
)

// add answers about how many bytes that took.
func (h *values) add(seq uint32, value any) (bytes int) {
	h.exists = append(h.exists, seq)
	switch value := value.(type) {
	case float64:
		h.numbers = h.numbers.with(seq, audience.NumberKey(value))
		return valueBytes
	case []string:
		for _, item := range value {
			if had := h.items[item]; len(had) == 0 || had[len(had)-1] != seq { // once, however often it is in the list
				h.items[item] = append(had, seq)
			}
			bytes += valueBytes + len(item)
		}
		return bytes
	case string:
		if key, ok := audience.TimeKey(value); ok {
			h.times = h.times.with(seq, key)
		}
	}
	text, ok := audience.CanonicalText(value)
	if ok {
		h.texts[text] = append(h.texts[text], seq)
	}
	return valueBytes + len(text)
}

func (f *fold) put(name fanfare.SetName, members []uint32) {
	if len(members) == 0 {
		return
	}
	s := set.New()
	s.AddMany(members)
	f.join[name] = s
}

func (f *fold) attribute(v fanfare.SlotView, name string, h *values) error {
	f.put(fanfare.AttributeSet(fanfare.AttributeExists, name), h.exists)
	f.keys(name, fanfare.AttributeNumber, fanfare.AttributeNumBit, h.numbers)
	f.keys(name, fanfare.AttributeTime, fanfare.AttributeTimeBit, h.times)
	return errors.Join(f.values(v, name, fanfare.AttributeText, fanfare.AttributeTextRest, h.texts),
		f.values(v, name, fanfare.AttributeItem, fanfare.AttributeItemRest, h.items))
}

func (f *fold) keys(name string, all, family fanfare.AttributeFamily, k *keys) {
	if k == nil {
		return
	}
	f.put(fanfare.AttributeSet(all, name), k.all)
	for i, members := range k.bits {
		f.put(fanfare.AttributeBitSet(family, name, i), members)
	}
}

// values puts people into the sets of their values, those that many have first, as far as there may be sets; all others go into the rest.
// While somebody is in the rest no set is made: whoever has its value might be there.
func (f *fold) values(v fanfare.SlotView, name string, family, restFamily fanfare.AttributeFamily, all map[string][]uint32) error {
	if len(all) == 0 {
		return nil
	}
	there, err := v.SetNames(fanfare.AttributeSets(family, name))
	if err != nil {
		return err
	}
	restName := fanfare.AttributeSet(restFamily, name)
	rest, err := v.LoadSet(restName)
	if err != nil {
		return err
	}
	room := fanfare.MaxValueSets - len(there)
	if !rest.Empty() {
		room = 0
	}
	type value struct {
		text    string
		members []uint32
	}
	sorted := make([]value, 0, len(all))
	for text, members := range all {
		sorted = append(sorted, value{text, members})
	}
	slices.SortFunc(sorted, func(a, b value) int {
		return cmp.Or(cmp.Compare(len(b.members), len(a.members)), strings.Compare(a.text, b.text))
	})
	more := set.New()
	for _, v := range sorted {
		set := fanfare.AttributeValueSet(family, name, v.text)
		if _, some := slices.BinarySearch(there, set); !some {
			if room <= 0 {
				more.AddMany(v.members)
				continue
			}
			room--
		}
		f.put(set, v.members)
	}
	if !more.Empty() {
		f.join[restName] = more
	}
	return nil
}

// stale finds the sets that some of the taken are in from before.
func (f *fold) stale(v fanfare.SlotView) error {
	indexed, err := v.LoadSet(fanfare.SetIndexed)
	if err != nil {
		return err
	}
	were := set.And(indexed, f.taken)
	if were.Empty() {
		return nil
	}
	prefix := fanfare.AttributeFamilySets(fanfare.AttributeExists)
	attributes, err := v.SetNames(prefix)
	if err != nil {
		return err
	}
	look := func(name fanfare.SetName) (some bool, err error) {
		members, err := v.LoadSet(name)
		if err == nil && set.Overlap(members, were) {
			some = true
			f.leave = append(f.leave, name)
		}
		return some, err
	}
	for _, exists := range attributes {
		some, err := look(exists)
		if err != nil {
			return err
		}
		if !some {
			continue
		}
		key := strings.TrimPrefix(string(exists), string(prefix))
		for _, family := range []fanfare.AttributeFamily{fanfare.AttributeText, fanfare.AttributeTextRest, fanfare.AttributeItem, fanfare.AttributeItemRest,
			fanfare.AttributeNumber, fanfare.AttributeNumBit, fanfare.AttributeTime, fanfare.AttributeTimeBit} {
			one := fanfare.AttributeFamilySets(family) + fanfare.SetName(key)
			names := []fanfare.SetName{one}
			switch family {
			case fanfare.AttributeText, fanfare.AttributeItem, fanfare.AttributeNumBit, fanfare.AttributeTimeBit:
				if names, err = v.SetNames(one + ":"); err != nil {
					return err
				}
			}
			for _, name := range names {
				if _, err := look(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// steps gives the changes, some together. Until the last one the taken are in mine, so that no half of it is seen. Who was taken is noted
// first as indexed and under the attributes they have, and leaves those they had last: so whoever takes them again finds the sets they are in.
func (f *fold) steps(mine fanfare.SetName) [][]fanfare.SetChange {
	exists := string(fanfare.AttributeFamilySets(fanfare.AttributeExists))
	changes := map[fanfare.SetName]fanfare.SetChange{}
	for name, members := range f.join {
		changes[name] = fanfare.SetChange{Name: name, Add: members}
	}
	first := []fanfare.SetChange{{Name: fanfare.SetUnindexed, Add: f.later}, {Name: mine, Remove: f.later}, {Name: fanfare.SetIndexed, Add: f.taken}}
	last := []fanfare.SetChange{}
	for _, name := range f.leave {
		c := changes[name]
		c.Name, c.Remove = name, f.taken
		if c.Add != nil {
			c.Remove = set.AndNot(f.taken, c.Add)
		}
		if strings.HasPrefix(string(name), exists) {
			last = append(last, fanfare.SetChange{Name: name, Remove: c.Remove})
			c.Remove = nil
		}
		changes[name] = c
	}
	var middle []fanfare.SetChange
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		c := changes[name]
		switch {
		case c.Add == nil && c.Remove == nil:
		case strings.HasPrefix(string(name), exists):
			first = append(first, c)
		default:
			middle = append(middle, c)
		}
	}
	all := slices.Concat(first, middle, last, []fanfare.SetChange{{Name: mine, Remove: f.taken}})
	return slices.Collect(slices.Chunk(all, changesTogether))
}
