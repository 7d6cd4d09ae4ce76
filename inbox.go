package fanfare

import (
	"context"
	"time"

	"fanfare/set"
)

// Recall says from whose inboxes a message was taken back.
type Recall string

// The recalls. One of all is not made smaller by one of the unread.
const (
	RecallNone   Recall = ""
	RecallUnread Recall = "unread" // whoever had not read it
	RecallAll    Recall = "all"
)

// InboxMessage is a message as the inboxes know it.
type InboxMessage struct {
	Num       MessageNum
	ID        MessageID
	Revision  Revision
	Phase     Phase
	Recall    Recall
	StartedAt time.Time
	ExpiresAt time.Time
}

// fewAlways is how many planned of a slot are few, however small the slot is.
const fewAlways = 64

// IsFew says whether a message to so many planned of a slot with so many numbers goes to few there: fewer than 1 in 128. Who gets a message that
// goes to few in every slot has a row for it; of any other message only the sets tell who got it.
func IsFew(planned, numbers int) bool { return planned <= fewAlways || planned < numbers/128 }

// InboxRow is a message to few in somebody's inbox.
type InboxRow struct {
	InboxMessage
	At      time.Time // of the delivery
	Marks   Receipted
	Damaged error // ErrDamaged: Marks cannot be read
}

// Inboxes are what is read of a store for inboxes.
type Inboxes interface {
	// InboxMessages lists the messages to many that are in inboxes at the store's time: started and past preparing, not expired, not recalled
	// from all, and none of a test key's. Newest start first; of one moment the higher number first. One cheap query.
	InboxMessages(ctx context.Context) ([]InboxMessage, error)
	// InboxRows lists the messages to few that are in somebody's inbox, with what is known of each item, all of one snapshot. The same conditions,
	// the same order.
	InboxRows(ctx context.Context, who Person) ([]InboxRow, error)
	// InboxOwners gives who of 65,536 numbers of a slot, seq from chunk·65,536 on, has a row, of whatever message.
	InboxOwners(ctx context.Context, s Slot, chunk uint16) (*set.Set, error)
	// InboxIndex calls fn with each row of a slot.
	InboxIndex(ctx context.Context, s Slot, fn func(seq Seq, m MessageNum) error) error
	// SweepInboxes takes out rows of messages that are in no inbox any more, at most about a thousand; from then on these count as messages to
	// many, so whichever comes back is found by its sets. more: there are others.
	SweepInboxes(ctx context.Context) (more bool, err error)
	// InboxChunk tells of 65,536 numbers of a slot, seq from chunk·65,536 on, to whom of them each of the messages was delivered and who marked
	// it, delivered or not; one answer each, in order, all of one snapshot.
	InboxChunk(ctx context.Context, s Slot, chunk uint16, messages []MessageNum) ([]InboxPart, error)
}

// InboxPart is what one message delivered to a chunk.
type InboxPart struct {
	Members *set.Set  // nil: nobody (yet)
	At      time.Time // of the delivery
	Open    bool      // there is a batch that is not done: more may come
	Damaged error     // ErrDamaged: its row cannot be read, of what lies above nothing else is set

	Marks        map[ReceiptKind]InboxMarks // of InboxKinds; a kind that nobody has is left out
	MarksDamaged error                      // ErrDamaged: some marks cannot be read, none are told
}

// InboxKinds lists what an inbox has to know of its messages. It is not to be changed.
func InboxKinds() []ReceiptKind {
	return []ReceiptKind{ReceiptSeen, ReceiptRead, ReceiptUnread, ReceiptArchived}
}

// InboxMarks is when a fact of some people of a chunk was, by the low halves of their seqs, ascending.
type InboxMarks struct {
	Lows []uint16
	At   []Minute
}
