package fanfare

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"fanfare/set"
)

// SlotSets reads and changes many sets of one slot at one moment.
type SlotSets interface {
	// ReadSlot runs fn on one consistent snapshot of a slot.
	ReadSlot(ctx context.Context, s Slot, fn func(SlotView) error) error
	// Edit runs fn in one transaction of the slot and makes the changes that it answers: all of them or, when it answers an error, none.
	// A name that comes twice is changed twice, in order. A change of alive or a suppression raises the latch's rev, as ChangeSet does.
	// Writers wait meanwhile, so fn must not call the store, and should not take long.
	Edit(ctx context.Context, s Slot, fn func(SlotView) ([]SetChange, error)) error
}

// SetChange is what becomes of one set: Add joins, then Remove leaves. Either may be nil.
type SetChange struct {
	Name        SetName
	Add, Remove *set.Set
}

// SlotView reads a slot as it is at one moment.
type SlotView interface {
	FreezeView
	// SetNames lists the sets that are not empty and whose names begin with prefix, ascending byte by byte; a damaged one is listed too.
	SetNames(prefix SetName) ([]SetName, error)
	// LoadSets reads the sets that SetNames would list, in that order.
	LoadSets(prefix SetName) ([]SetName, []*set.Set, error)
	// Attributes calls fn with the attributes of each member that has a profile, in order of seq; nil where there are none. fn may keep
	// what it gets but must not change it, and must not call the view.
	Attributes(members *set.Set, fn func(seq Seq, attributes map[string]any) error) error
}

// Attributes are sets too. An upsert writes only who has changed (SetUnindexed); an indexer takes them from there into the sets of
// their values: first into an IndexingSet of its own, then, once it has read their profiles, where they belong. So
//
//	whoever matches = (the value's sets − unindexed − indexing) ∪ a scan of these
//
// is exact at any moment. An indexer that takes gives back what another one took before (it dies with its claim: what is no longer in
// its own IndexingSet it must not write), so no two ever write what they read at different times.
//
// Texts and the elements of lists have a set a value, up to MaxValueSets an attribute and slot. Who has one more is in the attribute's rest
// set; while that has members no set is made, so everybody who has a value is in the value's set, or everybody in the rest. Numbers and
// times have bit slices of their audience.Key instead, so there may be any number of them.

// MaxValueSets is how many values of an attribute have sets of their own in a slot.
const MaxValueSets = 4096

const (
	// SetUnindexed holds who is new, or whose attributes have changed since they were taken into the sets of values.
	SetUnindexed SetName = "unindexed"
	// SetIndexed holds who may be in sets of values: who was taken into them once.
	SetIndexed SetName = "indexed"
	// IndexingPrefix begins the names of all IndexingSets.
	IndexingPrefix SetName = "indexing:"
	// AttributePrefix begins the names of all sets that AttributeSet names.
	AttributePrefix SetName = "attribute:"
)

// IndexingSet holds whom an indexer is just taking into the sets of values; token is of one taking.
func IndexingSet(token string) SetName { return IndexingPrefix + SetName(token) }

// AttributeFamily is a kind of set that an attribute has.
type AttributeFamily string

// The families.
const (
	AttributeExists   AttributeFamily = "exists"    // one set: who has the attribute
	AttributeText     AttributeFamily = "text"      // a set a canonical text of a string or boolean
	AttributeTextRest AttributeFamily = "text-rest" // one set: who has a text without a set
	AttributeItem     AttributeFamily = "item"      // a set an element of lists
	AttributeItemRest AttributeFamily = "item-rest" // one set: who has an element without a set
	AttributeNumber   AttributeFamily = "number"    // one set: who has a number
	AttributeNumBit   AttributeFamily = "numbit"    // a set a bit of audience.NumberKey that is 1
	AttributeTime     AttributeFamily = "time"      // one set: who has a time
	AttributeTimeBit  AttributeFamily = "timebit"   // a set a bit of audience.TimeKey that is 1
)

// AttributeSet names the set of an attribute in a family that has one set.
func AttributeSet(f AttributeFamily, attribute string) SetName {
	return AttributePrefix + SetName(f) + ":" + SetName(nameKey(attribute))
}

// AttributeSets is how the names of an attribute's sets begin in a family that has many.
func AttributeSets(f AttributeFamily, attribute string) SetName {
	return AttributeSet(f, attribute) + ":"
}

// AttributeFamilySets is how the names of all sets of a family begin.
func AttributeFamilySets(f AttributeFamily) SetName { return AttributePrefix + SetName(f) + ":" }

// AttributeValueSet names the set of a text or an element.
func AttributeValueSet(f AttributeFamily, attribute, value string) SetName {
	return AttributeSets(f, attribute) + SetName(nameKey(value))
}

// AttributeBitSet names the set of a bit.
func AttributeBitSet(f AttributeFamily, attribute string, bit int) SetName {
	return AttributeSets(f, attribute) + SetName(strconv.Itoa(bit))
}

// longName is from how many bytes on a name or value is told by its SHA-256.
const longName = 64

// nameKey gives text from outside as a part of a set's name: no two texts have the same, and it is valid UTF-8 without colons or control
// characters.
func nameKey(text string) string {
	if len(text) > longName || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		sum := sha256.Sum256([]byte(text))
		return "#" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if strings.ContainsAny(text, "%:") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "%", "%25"), ":", "%3A")
	}
	return "=" + text
}
