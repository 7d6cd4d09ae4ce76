package deliver

import (
	"fmt"
	"time"

	"fanfare"
)

// Instant is a time on CLOCK_BOOTTIME, which goes on while the machine sleeps; only differences mean anything.
type Instant time.Duration

// After gives the instant d later.
func (i Instant) After(d time.Duration) Instant { return i + Instant(d) }

// Since gives the time that has passed from e to i.
func (i Instant) Since(e Instant) time.Duration { return time.Duration(i - e) }

// Never is later than every other instant.
const Never = Instant(1<<63 - 1)

// ClaimID numbers the claims of one core, ConnID its connections, EntryID its journal writes.
type (
	ClaimID uint64
	ConnID  uint64
	EntryID uint64
)

// Event is what happened outside of the core.
type Event interface{ event() }

// The events.
type (
	// Configured tells of all lanes, at the start and whenever one changed. Connections and chunk are above zero.
	Configured struct{ Lanes []Setting }
	// Looked answers Look. Began is from before the statement left.
	Looked struct {
		Began Instant
		Looks []fanfare.Look
		Err   error
	}
	// Received answers Receive.
	Received struct {
		Lane       string
		Deliveries []fanfare.Delivery
		Err        error
	}
	// Journaled answers Append.
	Journaled struct {
		ID     EntryID
		Answer fanfare.EntryAnswer
	}
	// Peeked answers Peek.
	Peeked struct {
		ID  EntryID
		Row fanfare.Batch
		Err error
	}
	// Loaded answers Load: the seqs of all members of the batch.
	Loaded struct {
		Claim   ClaimID
		Members []fanfare.Seq
		Err     error
	}
	// Dialed answers Dial. Again: the failure is another place's too, which was told of it; the breaker counts it once.
	Dialed struct {
		Conn  ConnID
		Err   error
		Again bool
	}
	// Sent answers Send, one answer an item; nil: all items were taken. Err: the connection is of no use any more, and is closed. Unread:
	// what to send could not be read, so nothing was begun; that is the store's fault, and the connection stays.
	Sent struct {
		Conn    ConnID
		Answers []Said
		Err     error
		Unread  error
	}
	// Permitted answers Reserve. At is the database's time of it.
	Permitted struct {
		Name    string
		Window  int64
		Granted int
		At      time.Time
		Err     error
	}
	// Nudged: a message changed, the next reading is due now.
	Nudged struct{}
	// Stopping: nothing new is begun. What is under way ends and is recorded, then Done says so.
	Stopping struct{}
)

// Said is what became of one item in the shell's hands.
type Said struct {
	fanfare.SendAnswer
	Skip      fanfare.Reason // it could not be made for this person: skipped, nothing left
	Technical bool           // it could not be made at all: failed, nothing left
}

// Setting is a lane: a provider, or a channel that needs none.
type Setting struct {
	Name     string
	Provider fanfare.Provider
	Bare     bool // members go as numbers, without profiles
	Inline   bool // the claim delivers: there are no connections, and nobody holds a batch
}

// reach gives what connections of the lane depend on: all but what the core alone goes by.
func (s Setting) reach() string {
	p := &s.Provider
	p.Rate, p.Connections, p.Chunk, p.Retry, p.Default = 0, 0, 0, fanfare.Retry{}, false
	return fmt.Sprintf("%#v", s)
}

// Effect is what the shell is to do. It never blocks the core.
type Effect interface{ effect() }

// The effects.
type (
	// Look reads the messages' rows.
	Look struct{}
	// Receive waits for up to most tasks of a lane; one at a time a lane.
	Receive struct {
		Lane string
		Most int
	}
	// Ack and Return answer a delivery.
	Ack    struct{ Delivery fanfare.Delivery }
	Return struct {
		Delivery fanfare.Delivery
		Delay    time.Duration
	}
	// Append writes to the journal.
	Append struct {
		ID    EntryID
		Entry fanfare.Entry
	}
	// Peek reads the row of a write whose answer was lost, not before the delay is over.
	Peek struct {
		ID    EntryID
		Ref   fanfare.BatchRef
		Delay time.Duration
	}
	// Load reads a claimed batch's members, and their profiles where the lane's channel needs them. Pending are the ranks that matter.
	Load struct {
		Claim   ClaimID
		Lane    string
		Row     fanfare.Batch
		Delay   time.Duration
		Attempt int // from 0
	}
	// Forget drops what was loaded for a claim.
	Forget struct{ Claim ClaimID }
	// Dial opens a connection of a lane, Close closes one.
	Dial struct {
		Lane string
		Conn ConnID
	}
	Close struct{ Conn ConnID }
	// Send hands a chunk to a connection. Its intent is durable.
	Send struct {
		Conn  ConnID
		Chunk *Chunk
	}
	// Reserve takes permits of the current window.
	Reserve struct {
		Name string
		Rate float64
		Want int
	}
	// Refuse pauses a message that is refused too often.
	Refuse struct {
		ID         fanfare.MessageID
		Generation fanfare.Generation
	}
	// Freed: claims became free, the planner may publish.
	Freed struct{}
)

// Chunk is what one connection has in flight.
type Chunk struct {
	Claim    ClaimID
	Lane     string
	Ref      fanfare.BatchRef
	Revision fanfare.Revision
	Items    []ChunkItem
	Pass     *Pass
	claim    *claim
}

// ChunkItem is one member of a chunk.
type ChunkItem struct {
	fanfare.Member
	Attempt int // of this person, from 1
}

func (Configured) event() {}
func (Looked) event()     {}
func (Received) event()   {}
func (Journaled) event()  {}
func (Peeked) event()     {}
func (Loaded) event()     {}
func (Dialed) event()     {}
func (Sent) event()       {}
func (Permitted) event()  {}
func (Nudged) event()     {}
func (Stopping) event()   {}

func (Look) effect()    {}
func (Receive) effect() {}
func (Ack) effect()     {}
func (Return) effect()  {}
func (Append) effect()  {}
func (Peek) effect()    {}
func (Load) effect()    {}
func (Forget) effect()  {}
func (Dial) effect()    {}
func (Close) effect()   {}
func (Send) effect()    {}
func (Reserve) effect() {}
func (Refuse) effect()  {}
func (Freed) effect()   {}
