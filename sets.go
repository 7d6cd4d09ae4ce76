package fanfare

import (
	"fmt"
	"strings"
)

// SetName names a set of recipients that each slot keeps.
type SetName string

// SetAlive holds whoever exists and is not erased. Every audience is taken within it.
const SetAlive SetName = "alive"

// ListSet is the set of a list's members.
func ListSet(id int64) SetName { return SetName(fmt.Sprintf("list:%d", id)) }

// AddressSet holds whoever has an address that the channel can use.
func AddressSet(c ChannelName) SetName { return SetName("address:" + string(c)) }

// InvalidSet holds whoever has an address that the channel's grammar refuses.
func InvalidSet(c ChannelName) SetName { return SetName("invalid:" + string(c)) }

// SuppressionSet holds whoever is suppressed for reason: unsubscribed and suppressed belong to a topic ("" = the whole channel),
// bounced and complained to the channel.
func SuppressionSet(c ChannelName, topic string, why Reason) SetName {
	return SetName(fmt.Sprintf("suppressed:%s:%s:%s", c, why, topic))
}

// Suppression gives what SuppressionSet made the name of.
func (n SetName) Suppression() (c ChannelName, topic string, why Reason, ok bool) {
	parts := strings.SplitN(string(n), ":", 4)
	if len(parts) != 4 || parts[0] != "suppressed" {
		return "", "", "", false
	}
	return ChannelName(parts[1]), parts[3], Reason(parts[2]), true
}

// ofAddress says whether the set is one of the suppressions that belong to an address, not to what its owner wants.
func (n SetName) ofAddress() bool {
	_, _, why, _ := n.Suppression()
	return why == ReasonBounced || why == ReasonComplained
}

// OfAttribute says whether the set is one of those that attributes have.
func (n SetName) OfAttribute() bool { return strings.HasPrefix(string(n), string(AttributePrefix)) }

// Suppresses says whether the set is one of the suppressions.
func (n SetName) Suppresses() bool { return strings.HasPrefix(string(n), "suppressed:") }

// SuppressionPart is one reason not to send, and the sets that hold it.
type SuppressionPart struct {
	Reason Reason
	Sets   []SetName
}

// Suppressions lists, in the order in which they are named, the reasons not to send a message of channel and topic, and their
// sets. Whoever is not alive is skipped as erased before any of these, as is who came again after an erasure. An essential message also
// goes to the unsubscribed.
func Suppressions(c ChannelName, topic string, essential bool) []SuppressionPart {
	parts := append(make([]SuppressionPart, 0, 5), SuppressionPart{ReasonErased, []SetName{SetErased}})
	if !essential {
		parts = append(parts, SuppressionPart{ReasonUnsubscribed, []SetName{
			SuppressionSet(c, topic, ReasonUnsubscribed), SuppressionSet(c, "", ReasonUnsubscribed)}})
	}
	return append(parts,
		SuppressionPart{ReasonBounced, []SetName{SuppressionSet(c, "", ReasonBounced)}},
		SuppressionPart{ReasonComplained, []SetName{SuppressionSet(c, "", ReasonComplained)}},
		SuppressionPart{ReasonSuppressed, []SetName{SuppressionSet(c, topic, ReasonSuppressed), SuppressionSet(c, "", ReasonSuppressed)}},
	)
}

// Part names a part of a frozen audience: PartSend, or the reason to skip.
type Part string

// PartSend is the part that is planned: those to be sent to.
const PartSend Part = "send"
