package fanfare

import (
	"context"
	"slices"
	"time"
)

// SlotState says how a shard has a slot. The numbers are kept on disk.
type SlotState int

// The states. A slot that moves goes from open by draining and closed to away on the shard that it leaves, and from away to open on the other.
const (
	SlotAway     SlotState = 0 // it lies on another shard: nothing of it is read or written here
	SlotOpen     SlotState = 1
	SlotDraining SlotState = 2 // nothing is claimed and no intent is granted; everything else goes on
	SlotClosed   SlotState = 3 // it is read, not written
)

// Readable says whether the slot may be read here, Writable whether it may be written.
func (s SlotState) Readable() bool { return s != SlotAway }

// Writable says whether the slot may be written here.
func (s SlotState) Writable() bool { return s == SlotOpen || s == SlotDraining }

// SlotTurn is how a shard has one slot.
type SlotTurn struct {
	Slot  Slot
	Epoch int64 // of the latch: rises with each move
	State SlotState
}

// Placement is a row of the slot map: where a slot lies, and how far its move has come.
type Placement struct {
	Slot   Slot
	Shard  int
	Epoch  int64 // rises with each move
	Step   MoveStep
	Other  int       // while it moves: the shard that it goes to (MoveAsked, MoveBack) or came from (MoveOpening)
	Detail string    // why its last move went back
	At     time.Time // of the last change; set by the store
}

// MoveStep is how far a slot's move has come.
type MoveStep string

// The steps. Until the map points to the other shard a move may go back, from then on it only goes on.
const (
	MoveNone    MoveStep = ""
	MoveAsked   MoveStep = "moving"     // it is drained, closed, copied and compared
	MoveBack    MoveStep = "going back" // what was copied is removed, and the slot opens where it lies
	MoveOpening MoveStep = "opening"    // the map points to the new shard: it opens there, and goes from the former one
)

// RosterEntry names a shard for people, in the order of --store.
type RosterEntry struct {
	Number  int
	Name    string // the store's address without secrets
	AddedAt time.Time
}

// Membership says which shard of which installation a database is.
type Membership struct {
	Installation string // empty: of none; it is alone
	Number       int
}

// Shard is a store that may be one of several, see package stores/sharded. A call about a slot that is away answers ErrMoving, and so does a write
// to one that is closed. Of journal entries: claims and amendments are Stale, records Unknown, and their Err is ErrMoving.
type Shard interface {
	Store
	Roster
	ErasingApart
	InboxesApart
	Moving
	// Membership tells what Join wrote.
	Membership(ctx context.Context) (Membership, error)
	// Join makes the database a shard. All of an installation hash addresses with one key, so that their entries can be copied and named alike.
	// The slots of away, which were never used here, lie elsewhere. ErrConflict: it is one of another installation, or has another number, or
	// it has entries under another key. It may be repeated.
	Join(ctx context.Context, m Membership, addressKey []byte, away []Slot) error
	// AddressKey is the key of the hashes of addresses. It goes to other shards only.
	AddressKey(ctx context.Context) ([]byte, error)
	// SlotTurns lists how the shard has each slot, ascending.
	SlotTurns(ctx context.Context) ([]SlotTurn, error)
	// TurnSlot makes now of was by one guarded statement, waiting for the writers that hold the slot's latch. ErrConflict: it is not was.
	TurnSlot(ctx context.Context, was, now SlotTurn) error
}

// Roster is which shards there are and which slots lie on them. It is kept on the first shard.
type Roster interface {
	// Roster gives both in one snapshot, ascending; nothing before Found.
	Roster(ctx context.Context) ([]RosterEntry, []Placement, error)
	// Found writes them for the first time, in one transaction. ErrExists: it was done before.
	Found(ctx context.Context, shards []RosterEntry, slots []Placement) error
	// Place makes now of was by one guarded statement. ErrConflict: shard, epoch or step is not that of was.
	Place(ctx context.Context, was, now Placement) error
}

// Traces is what Erase has to write on other shards than the one of the slot.
type Traces struct {
	Names     []string // external ids and addresses, which answers and audiences may have
	Phones    []string
	Mailboxes []uint64
}

// Same says whether two traces are the same.
func (t *Traces) Same(o *Traces) bool {
	return slices.Equal(t.Names, o.Names) && slices.Equal(t.Phones, o.Phones) && slices.Equal(t.Mailboxes, o.Mailboxes)
}

// ErasingApart is the parts of Erase that lie on several shards.
type ErasingApart interface {
	// Traces tells what erasing ids of a slot now would have to write elsewhere.
	Traces(ctx context.Context, s Slot, ids []string) (Traces, error)
	// EraseTraced is Erase if the traces are still the same: ErrConflict else.
	EraseTraced(ctx context.Context, s Slot, ids []string, t Traces) ([]Erased, error)
	// NoteErased keeps the hashes of addresses of somebody who is erased on another shard.
	NoteErased(ctx context.Context, t Traces) error
	// ForgetNames takes names out of audiences of messages and segments, and out of stored answers.
	ForgetNames(ctx context.Context, names []string) error
}

// InboxesApart is the parts of what Inboxes does with messages to few that lie on several shards: the rows with their slot, the messages on the first.
type InboxesApart interface {
	// InboxItems is InboxRows without asking about the messages: of them only Num is set.
	InboxItems(ctx context.Context, who Person) ([]InboxRow, error)
	// FewMessages gives those of messages that are to few and in inboxes, in no order.
	FewMessages(ctx context.Context, nums []MessageNum) ([]InboxMessage, error)
	// SweepFew is SweepInboxes and tells of which messages.
	SweepFew(ctx context.Context) (swept []MessageNum, more bool, err error)
	// SweepRows takes out the rows of messages of which SweepFew told on the first shard.
	SweepRows(ctx context.Context, nums []MessageNum) error
}

// SlotRow is a row that a slot takes along when it moves. Values are int64, string, []byte or nil, in the order of the table's columns; a store
// that keeps something else than tables sends what only its own kind understands.
type SlotRow struct {
	Table  string
	Values []any
}

// TableErased names rows that are not the slot's alone: hashes of all who were erased on the shard. They are added to what is there.
const TableErased = "erased"

// SlotCounters are what of a slot only rises.
type SlotCounters struct {
	Next    int64 // the number that the next recipient gets
	Rev     int64
	Changed int64
}

// Moving is how a slot comes from one shard to another.
type Moving interface {
	// ExportSlot calls fn with all rows of a slot, of one snapshot, and with those of TableErased. Whether the slot lies here is not asked.
	ExportSlot(ctx context.Context, s Slot, fn func(SlotRow) error) error
	// ImportSlot adds rows to a slot that is away, in one transaction. ErrConflict: it is not. ErrUsage: the rows are of another kind of store.
	ImportSlot(ctx context.Context, s Slot, rows []SlotRow) error
	// ClearSlot removes all rows of a slot that is away; its counters stay. ErrConflict: it is not away.
	ClearSlot(ctx context.Context, s Slot) error
	SlotCounters(ctx context.Context, s Slot) (SlotCounters, error)
	// TakeSlot is TurnSlot of a slot that is away: its counters become higher than they were here and than k; Next may stay.
	TakeSlot(ctx context.Context, was, now SlotTurn, k SlotCounters) error
}
