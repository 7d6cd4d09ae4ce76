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

// Inboxes are what is read of a store for inboxes.
type Inboxes interface {
	// InboxMessages lists the messages that are in inboxes at the store's time: started, not expired, not recalled from all, and none of a
	// test key's. Newest start first; of one moment the higher number first. One cheap query.
	InboxMessages(ctx context.Context) ([]InboxMessage, error)
	// InboxChunk tells of 65,536 numbers of a slot, seq from chunk·65,536 on, to whom of them each of the messages was delivered; one answer
	// each, in order, all of one snapshot.
	InboxChunk(ctx context.Context, s Slot, chunk uint16, messages []MessageNum) ([]InboxPart, error)
}

// InboxPart is what one message delivered to a chunk.
type InboxPart struct {
	Members *set.Set  // nil: nobody (yet)
	At      time.Time // of the delivery
	Open    bool      // there is a batch that is not done: more may come
	Damaged error     // ErrDamaged: its row cannot be read, nothing else is set
}
