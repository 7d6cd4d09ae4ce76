package fanfare

import (
	"maps"
	"reflect"
)

// ChangeKind says how a change meets what is there.
type ChangeKind uint8

// The kinds.
const (
	ChangeMerge   ChangeKind = iota // fields that are set replace, the others stay
	ChangeReplace                   // what is not set goes
	ChangeInsert                    // refused if the recipient is there
)

// RecipientChange is what a caller wants a recipient to be. Nil fields say nothing. Usable and Invalid are decided by the caller,
// who knows the channels' grammars.
type RecipientChange struct {
	Kind       ChangeKind
	ExternalID string
	Email      *string
	Phone      *string
	Locale     *string
	TimeZone   *string
	Attributes map[string]any // a nil value removes
	EmailState AddressState   // of Email, where it is set
	Mailbox    uint64         // mailbox key of Email where usable
	// Resubscribe: the owner of the address consented anew, so its entries (Addresses) suppress this recipient no more, but for what the
	// address itself did: bounced and complained.
	Resubscribe bool
}

// Born says whether an entry of the change's address makes its owner a member of the set, or takes them out of it (member false); neither:
// the recipient had this address before. Fresh: the address is a new one of theirs.
func (c *RecipientChange) Born(name SetName, fresh bool) (member, said bool) {
	if c.Resubscribe && !name.ofAddress() {
		return false, true
	}
	return true, fresh
}

// AddressState says whether a channel can use an address.
type AddressState uint8

// The states.
const (
	AddressNone AddressState = iota
	AddressUsable
	AddressInvalid
)

// Apply gives the recipient after the change; old is nil if there is none. changed is false if nothing would differ.
func (c *RecipientChange) Apply(old *Recipient) (next Recipient, changed bool) {
	if old != nil {
		next = *old
	}
	next.ExternalID = c.ExternalID
	replace := c.Kind == ChangeReplace || old == nil
	text := func(to *string, from *string) {
		if from != nil {
			*to = *from
		} else if replace {
			*to = ""
		}
	}
	text(&next.Email, c.Email)
	text(&next.Phone, c.Phone)
	text(&next.Locale, c.Locale)
	text(&next.TimeZone, c.TimeZone)
	var attributes map[string]any
	if !replace {
		attributes = old.Attributes
	}
	if len(c.Attributes) > 0 {
		attributes = maps.Clone(attributes)
		if attributes == nil {
			attributes = make(map[string]any, len(c.Attributes))
		}
		for k, v := range c.Attributes {
			if v == nil {
				delete(attributes, k)
			} else {
				attributes[k] = v
			}
		}
	}
	next.Attributes = attributes
	if old == nil {
		return next, true
	}
	return next, next.Email != old.Email || next.Phone != old.Phone || next.Locale != old.Locale || next.TimeZone != old.TimeZone ||
		!SameAttributes(next.Attributes, old.Attributes)
}

// SameAttributes says whether two profiles hold the same attributes.
func SameAttributes(a, b map[string]any) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	return reflect.DeepEqual(a, b)
}
