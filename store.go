package fanfare

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"fanfare/set"
)

// Store is all that a store keeps. It is composed of narrow contracts: a consumer asks for the one it needs. Every method may be
// called by many goroutines at once; an error that is not one of the kinds in errors.go is I/O and may be tried again. What a
// method changes it changes in one transaction of one shard, or not at all.
type Store interface {
	Control
	People
	SlotSets
	Freezer
	Journal
	Reports
	Receipts
	Inboxes
	Erasing
	Upkeep
}

// Control keeps the control tables, on the first shard.
type Control interface {
	// View runs fn on one consistent snapshot.
	View(ctx context.Context, fn func(ControlView) error) error
	// Update runs fn in one transaction; when fn answers an error nothing is kept. fn may run again after a conflict.
	Update(ctx context.Context, fn func(ControlTx) error) error
	// Look reads the unfinished messages (status 0 other than draft, 1 and 2) without content, for a node's look (every 250 ms): one cheap query.
	Look(ctx context.Context) ([]Look, error)
}

// Look is what a worker must know of a message before each send.
type Look struct {
	Num        MessageNum
	ID         MessageID
	State      State
	Revision   Revision
	Channel    ChannelName
	Provider   string
	Topic      string
	Essential  bool
	Rate       float64
	Priority   Priority
	Uncertain  Policy
	SendAt     time.Time
	NotAfter   time.Time
	StartGrace time.Duration
	Few        bool
	Waits      bool // it has a trigger: without SendAt, it waits for an event or another message
}

// ControlView reads the control tables.
type ControlView interface {
	Now() time.Time // the database's clock, one value for the whole transaction
	Message(id MessageID) (Message, error)
	MessageByNum(n MessageNum) (Message, error)
	Messages(f MessageFilter) (items []Message, next string, err error) // newest first
	List(name string) (List, error)
	Lists(cursor string, limit int) (items []List, next string, err error)
	Segments
	Provider(name string) (Provider, error)
	Providers() ([]Provider, error)
	Key(hash [32]byte) (Key, error)
	Keys() ([]Key, error)
	StoredAnswer(key string) (StoredAnswer, error) // ErrNotFound also when older than 48 h
	Import(id string) (Import, error)
	Imports(states ...ImportState) ([]Import, error) // all states if none is named; newest first
	Nodes() ([]Node, error)
	Audit(object, cursor string, limit int) (items []AuditEntry, next string, err error) // of all objects if it is empty; newest first
	Setting(name string) ([]byte, error)                                                 // ErrNotFound
}

// ControlTx changes the control tables.
type ControlTx interface {
	ControlView
	// InsertMessage gives the message its number. ErrExists if the id is taken.
	InsertMessage(m *Message) error
	// SaveMessage writes all but id, num and created_at, guarded by the former phase and generation: ErrConflict if they are not the row's. Few
	// is taken over from preparing only: later the store alone takes it back, see [Inboxes.SweepInboxes].
	SaveMessage(m *Message, from Phase, was Generation) error
	DeleteMessage(id MessageID) error
	InsertList(l *List) error // gives the number; ErrExists
	DeleteList(name string) error
	PutSegment(s *Segment) error // by name: made, or changed, when it keeps number and created_at, which are told
	DeleteSegment(name string) error
	PutProvider(p Provider) error
	DeleteProvider(name string) error
	InsertKey(k Key) error
	DeleteKey(id string) error
	StoreAnswer(a StoredAnswer) error
	PutImport(i Import) error
	PutNode(n Node) error
	AddAudit(e AuditEntry) error
	PutSetting(name string, value []byte) error
	// TakeLease gives the named lease to holder until Now()+ttl unless another holder's lives; it tells whether holder has it.
	TakeLease(name, holder string, ttl time.Duration) (bool, error)
	// ReservePermits takes up to want of the permits that the current window (by Now()) of the named rate still has.
	ReservePermits(name string, rate float64, want int) (window int64, granted int, err error)
}

// MessageFilter picks messages; zero fields pick all.
type MessageFilter struct {
	Status       *Status
	Phase        Phase
	Tag          string
	Name         string // a part of it, case as is
	CreatedAfter time.Time
	Unfinished   bool // status 0 other than draft, 1 and 2
	Cursor       string
	Limit        int // 0: 50
}

// Key is an API key; only its SHA-256 is kept.
type Key struct {
	ID        string
	Name      string
	Hash      [32]byte
	Scopes    []string
	Test      bool
	CreatedAt time.Time
}

// StoredAnswer is the answer of a call with an Idempotency-Key. Key names API key, method, path and Idempotency-Key.
type StoredAnswer struct {
	Key      string
	BodyHash [32]byte
	Status   int
	Header   json.RawMessage
	Body     []byte
	At       time.Time // set by the store
}

// ImportState is where an import stands.
type ImportState string

// The states of an import.
const (
	ImportQueued    ImportState = "queued"
	ImportRunning   ImportState = "running"
	ImportHeld      ImportState = "held"
	ImportDone      ImportState = "done"
	ImportFailed    ImportState = "failed"
	ImportCancelled ImportState = "cancelled"
)

// Import is one import of recipients. Counts are of rows.
type Import struct {
	ID         string
	State      ImportState
	Detail     string // why it failed or is held, and what to do
	List       string
	Options    json.RawMessage // the importer's own
	Rows       int64
	Created    int64
	Updated    int64
	Unchanged  int64
	Duplicates int64
	Failed     int64
	Block      int64 // blocks finished; what comes after is done again after a restart
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Node is what a node says of itself every second.
type Node struct {
	Name        string
	Incarnation int64
	Folder      string // names its data folder: one name is one folder's
	Version     string
	Roles       []string
	SeenAt      time.Time      // set by the store
	Left        bool           // it was stopped in order: it writes nothing more
	Free        map[string]int // free claims by provider
	Claims      map[string]int // held claims by provider
	Waiting     map[MessageNum]WaitingFor
}

// NodeTime is how long the report of a node counts.
const NodeTime = 5 * time.Second

// Alive says whether the node is there by now, by the database's clock.
func (n *Node) Alive(now time.Time) bool { return !n.Left && now.Sub(n.SeenAt) < NodeTime }

// AuditEntry says who did what.
type AuditEntry struct {
	At     time.Time // set by the store
	Actor  string
	Action string
	Object string
	Detail string
}

// People keeps recipients and the sets that are made of them.
type People interface {
	Slots() int
	// Upsert writes many recipients of one slot in one transaction: profiles, alive, address sets, the sets of opt. Two changes of
	// one external id apply in order. It answers one Upserted a change, in order. Whose address is another one leaves the sets bounced and
	// complained of its channel: they were said of the former one. Then whoever has an address with entries joins their sets, see Addresses.
	// Whoever is created with the external id or an address of somebody who was erased, or changed to such an address, joins SetErased; a
	// change that says Resubscribe leaves it.
	Upsert(ctx context.Context, s Slot, changes []RecipientChange, opt UpsertOptions) ([]Upserted, error)
	// Recipient finds by external id; ErrNotFound.
	Recipient(ctx context.Context, externalID string) (Recipient, error)
	// Resolve gives the seqs of external ids of one slot: as long as ids, −1 where unknown or erased.
	Resolve(ctx context.Context, s Slot, ids []string) ([]int64, error)
	// Profiles reads the recipients with these seqs (ascending); one entry each, with an empty ExternalID where there is none.
	Profiles(ctx context.Context, s Slot, seqs []Seq) ([]Recipient, error)
	// Scan lists recipients of a slot in order of seq from seq on, at most limit, whose external id or address contains query ("" = all).
	Scan(ctx context.Context, s Slot, from Seq, limit int, query string) ([]Recipient, error)
	// Mailboxes calls fn with seq and mailbox key (a 64-bit hash of the normalised address) of each member that has one on channel c.
	Mailboxes(ctx context.Context, s Slot, c ChannelName, members *set.Set, fn func(seq Seq, key uint64)) error
	// LoadSet reads a set; an unknown one is empty. The caller may keep it but must not change it: it may be a shared cache.
	LoadSet(ctx context.Context, s Slot, name SetName) (*set.Set, error)
	// ChangeSet adds and removes members (nil: none) and tells how many really changed. A change of a suppression set raises the
	// latch's rev in the same transaction: once it has returned, no intent that is journaled later reaches the added.
	ChangeSet(ctx context.Context, s Slot, name SetName, add, remove *set.Set) (added, removed int, err error)
	// DropSet removes a set in every slot.
	DropSet(ctx context.Context, name SetName) error
	// Number makes n recipients without profile in a slot, alive and members of the sets: numbers only, for benchmarks and rehearsals.
	Number(ctx context.Context, s Slot, n int, in ...SetName) error
	Addresses
}

// UpsertOptions says what else an upsert does in its transaction.
type UpsertOptions struct {
	Add  []SetName // sets that every changed recipient joins
	Mark *Mark     // makes a repetition harmless
	// RefuseErased creates nobody with the external id of somebody who was erased.
	RefuseErased bool
}

// Mark names one part of a longer work. An upsert whose mark is known already changes nothing and answers what it answered first.
type Mark struct {
	Work string
	Part int64
}

// Upserted is what became of one change.
type Upserted struct {
	Person
	Outcome UpsertOutcome
}

// UpsertOutcome is what became of one change.
type UpsertOutcome uint8

// The outcomes.
const (
	UpsertCreated UpsertOutcome = iota + 1
	UpsertUpdated
	UpsertUnchanged
	UpsertRefused // insert only, and it was there
	UpsertErased  // RefuseErased, and somebody who had the id was erased: there is nobody
)

// Freezer freezes audiences.
type Freezer interface {
	// Freeze runs fn in one transaction of the slot and stores what it answers: the parts, the batches of at most size planned members
	// (WholeRows: one a stored row of the planned), and frozen in the latch row. Guarded by not frozen and (preparing, generation): false and no change if the guard refuses.
	Freeze(ctx context.Context, s Slot, m MessageNum, g Generation, size int, fn func(FreezeView) (map[Part]*set.Set, error)) (bool, error)
	// FreezeMany is Freeze of several slots, ascending, in one transaction of each shard, for audiences of few: a transaction each costs more than what
	// is written. Each slot has its own guard; all: every one of them was frozen now. After an error it is not known which were: read Latches.
	// fn is called by one goroutine at a time, for a slot perhaps again.
	FreezeMany(ctx context.Context, slots []Slot, m MessageNum, g Generation, size int, fn func(Slot, FreezeView) (map[Part]*set.Set, error)) (all bool, err error)
	// Spread brings the message's latch row of a slot to phase and generation, made if it is missing. It never goes back: a row with a
	// higher generation, or the same one and a higher phase, stays. It waits for the writers that hold the latch.
	Spread(ctx context.Context, s Slot, m MessageNum, p SlotPhase, g Generation) error
	// SpreadMany is Spread of several slots, in one transaction of each shard: a slot of one that cannot be reached keeps no other from it.
	SpreadMany(ctx context.Context, slots []Slot, m MessageNum, p SlotPhase, g Generation) error
	// Latches reads the message's latch rows, by slot; missing rows are left out.
	Latches(ctx context.Context, m MessageNum) ([]Latch, error)
	// Forget removes what the slot keeps of a message that never started.
	Forget(ctx context.Context, s Slot, m MessageNum) error
}

// FreezeView reads sets inside the freeze's transaction.
type FreezeView interface {
	LoadSet(name SetName) (*set.Set, error)
	// Resolve gives the seqs of external ids of this slot, −1 where unknown.
	Resolve(ids []string) ([]int64, error)
}

// Journal is the batches and their exceptions.
type Journal interface {
	// Shards tells how many shards there are, ShardOf which one holds a slot. A group of entries lies on one shard.
	Shards() int
	ShardOf(s Slot) int
	// Append carries out claims, records and amendments in the order given, in one transaction: it reads the latches of all of them once with
	// a share lock, ascending, then asks Claim.Decide, Record.Decide or Amend.May and Amend.Decide for each. If the group fails for another reason than I/O each is
	// tried alone; one that fails alone answers Failed and its batch is held with that reason. If the commit's outcome is not known
	// all answer Unknown. It always gives one answer an entry. Calls may overlap; the store groups them (natural batching).
	Append(ctx context.Context, shard int, entries []Entry) []EntryAnswer
	// Peek reads rows as they are, for those whose answer was lost; one a ref, in order.
	Peek(ctx context.Context, refs []BatchRef) ([]Batch, error)
	// Members gives the seqs of the planned of rank [first, first+n) of a slot, ascending. ErrDamaged.
	Members(ctx context.Context, m MessageNum, s Slot, first uint32, n int) ([]Seq, error)
	// Backlog reads up to limit batches of a slot, from batch number from on, that are neither done nor held, without their sets, and the
	// number of the first batch that is not done (the number of batches if all are).
	Backlog(ctx context.Context, m MessageNum, s Slot, from BatchNo, limit int) (open []Batch, first BatchNo, err error)
	// VoidClaims ends the claims of former incarnations of this node on the batches of a message. A row that cannot be read is held.
	VoidClaims(ctx context.Context, m MessageNum, o Owner) error
	// Claims tells of a message and slot how many claims live, and lists the batches whose dead claim left somebody in flight.
	Claims(ctx context.Context, m MessageNum, s Slot) (live int, dead []BatchRef, err error)
}

// Entry is a claim, a record or an amendment.
type Entry struct {
	Claim  *Claim
	Record *Record
	Amend  *Amend
}

// Ref names the entry's batch.
func (e Entry) Ref() BatchRef {
	switch {
	case e.Claim != nil:
		return e.Claim.BatchRef
	case e.Amend != nil:
		return e.Amend.BatchRef
	default:
		return e.Record.BatchRef
	}
}

// EntryAnswer is a store's answer to one entry.
type EntryAnswer struct {
	Answer
	Row        Batch       // as written (Applied, Halted) or, where it is cheap, as found
	Exceptions []Exception // of a claim that was applied and did not deliver: all of the batch, Rank and Seq set; of an amendment: those it changed, as they are kept
	Members    []Seq       // of a claim that began its first chunk: all of the batch; of one that delivered a message to few: who got a row
	Err        error       // why it is Failed or Unknown
}

// Reports reads what became of everybody.
type Reports interface {
	// Tally adds up one slot of a message. A row that cannot be read is counted as Batches shows it, and is Unbalanced.
	Tally(ctx context.Context, m MessageNum, s Slot) (Tally, error)
	// Parts gives the sizes of the frozen parts of one slot.
	Parts(ctx context.Context, m MessageNum, s Slot) (map[Part]int, error)
	// PartSet reads one part of a frozen audience. ErrDamaged names the row.
	PartSet(ctx context.Context, m MessageNum, s Slot, p Part) (*set.Set, error)
	// PartOf tells in which part of a frozen audience somebody is, and their rank in it, by the rows that could hold them alone; false: in none. ErrDamaged.
	PartOf(ctx context.Context, m MessageNum, s Slot, seq Seq) (p Part, rank int, in bool, err error)
	// Batches reads rows in order from number from on, at most limit. One that cannot be read comes as held for that, by its plain
	// columns, with sets of 0 members.
	Batches(ctx context.Context, m MessageNum, s Slot, from BatchNo, limit int) ([]Batch, error)
	// Exceptions yields the rows of a slot in order of seq, from seq from on (Rank is not set).
	Exceptions(ctx context.Context, m MessageNum, s Slot, from Seq) iter.Seq2[Exception, error]
	// Exception reads one of them; false: there is none.
	Exception(ctx context.Context, m MessageNum, s Slot, seq Seq) (e Exception, there bool, err error)
	// Failures groups the failed of a slot by reason, code and text, at most limit groups, greatest first.
	Failures(ctx context.Context, m MessageNum, s Slot, limit int) ([]FailureGroup, error)
}

// Tally is the sum of one slot's batches of one message. Counts come from the rows' counters, Pending, InFlight and Doubted from
// their sets, Exceptions from the exception rows: that they agree is evidence.
type Tally struct {
	N, Sent, Failed, Skipped, Uncertain int
	Pending, InFlight, Doubted          int
	Batches, Done, Held                 int
	Unbalanced                          []BatchRef     // rows that do not add up, at most 100
	Exceptions                          map[Result]int // rows by result
}

// Add adds another tally to t.
func (t *Tally) Add(o Tally) {
	t.N += o.N
	t.Sent += o.Sent
	t.Failed += o.Failed
	t.Skipped += o.Skipped
	t.Uncertain += o.Uncertain
	t.Pending += o.Pending
	t.InFlight += o.InFlight
	t.Doubted += o.Doubted
	t.Batches += o.Batches
	t.Done += o.Done
	t.Held += o.Held
	t.Unbalanced = append(t.Unbalanced, o.Unbalanced...)
	if t.Exceptions == nil {
		t.Exceptions = make(map[Result]int, len(o.Exceptions))
	}
	for r, n := range o.Exceptions {
		t.Exceptions[r] += n
	}
}

// Balanced says whether planned = sent ⊎ failed ⊎ skipped ⊎ uncertain ⊎ in_flight ⊎ remaining in every batch, and the counters
// of the rows equal the exception rows.
func (t *Tally) Balanced(planned int) bool {
	return len(t.Unbalanced) == 0 && t.N == planned &&
		t.Sent+t.Failed+t.Skipped+t.Uncertain+t.Pending+t.InFlight == t.N &&
		t.Exceptions[ResultFailed] == t.Failed && t.Exceptions[ResultSkipped] == t.Skipped &&
		t.Exceptions[ResultUncertain] == t.Uncertain
}

// FailureGroup is a kind of failure.
type FailureGroup struct {
	Reason Reason
	Code   string
	Sample string
	Count  int
}

// Upkeep is what keeps a store in order.
type Upkeep interface {
	Features() StoreFeatures
	// Identity tells which database this is, and how far its journal has come (the sum of all shards' heads).
	Identity(ctx context.Context) (Identity, error)
	// Adopt makes the database's present place its own, after a person said so.
	Adopt(ctx context.Context) error
	// Alive notes that the database is being served now.
	Alive(ctx context.Context) error
	// Backup writes a consistent copy of everything to a new file while serving.
	Backup(ctx context.Context, file string) error
	// Check reads everything that has a checksum and lists what is damaged.
	Check(ctx context.Context) ([]string, error)
	// Close waits for what is under way and closes. Every later call answers ErrClosed.
	Close() error
}

// Identity of a database. Found differs from Stored after a copy or a restore elsewhere.
type Identity struct {
	Stored  string // as noted when it was made or adopted
	Found   string // as it is now
	Head    int64  // rises with each commit that changes what is kept, nodes, leases and rates apart
	AliveAt time.Time
}

// StoreFeatures says what a driver cannot do, or does otherwise.
type StoreFeatures struct {
	Name      string
	Durable   bool // what was answered is there after kill -9
	Shared    bool // several processes may use it at once
	CanBackup bool
	Files     bool // kept in files of this machine
}
