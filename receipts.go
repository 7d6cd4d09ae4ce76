package fanfare

import (
	"context"
	"fmt"
	"time"

	"fanfare/set"
)

// ReceiptKind says what was learned of an item after it was sent. The numbers are kept on disk.
type ReceiptKind uint8

// The kinds. Unread ends read, unarchived ends archived; their own sets hold whoever ever said so, and when last.
const (
	ReceiptDelivered  ReceiptKind = 1
	ReceiptBounced    ReceiptKind = 2
	ReceiptComplained ReceiptKind = 3
	ReceiptSeen       ReceiptKind = 4
	ReceiptRead       ReceiptKind = 5
	ReceiptUnread     ReceiptKind = 6
	ReceiptClicked    ReceiptKind = 7
	ReceiptArchived   ReceiptKind = 8
	ReceiptUnarchived ReceiptKind = 9
	// ReceiptUnsubscribed: by a link of this very message. Whether they still are is for the suppressions to say.
	ReceiptUnsubscribed ReceiptKind = 10
)

// ReceiptKinds lists all kinds.
func ReceiptKinds() []ReceiptKind {
	return []ReceiptKind{ReceiptDelivered, ReceiptBounced, ReceiptComplained, ReceiptSeen, ReceiptRead, ReceiptUnread, ReceiptClicked,
		ReceiptArchived, ReceiptUnarchived, ReceiptUnsubscribed}
}

// Valid says whether there is such a kind.
func (k ReceiptKind) Valid() bool { return k >= ReceiptDelivered && k <= ReceiptUnsubscribed }

// Reportable says whether somebody outside may tell it; the others are learned by this server only.
func (k ReceiptKind) Reportable() bool { return k.Valid() && k != ReceiptUnsubscribed }

// String gives the kind as the API names it.
func (k ReceiptKind) String() string {
	switch k {
	case ReceiptDelivered:
		return "delivered"
	case ReceiptBounced:
		return "bounced"
	case ReceiptComplained:
		return "complained"
	case ReceiptSeen:
		return "seen"
	case ReceiptRead:
		return "read"
	case ReceiptUnread:
		return "unread"
	case ReceiptClicked:
		return "clicked"
	case ReceiptArchived:
		return "archived"
	case ReceiptUnarchived:
		return "unarchived"
	case ReceiptUnsubscribed:
		return "unsubscribed"
	}
	return fmt.Sprintf("receipt kind %d", uint8(k))
}

// ParseReceiptKind reads what String gives.
func ParseReceiptKind(s string) (ReceiptKind, bool) {
	for _, k := range ReceiptKinds() {
		if k.String() == s {
			return k, true
		}
	}
	return 0, false
}

// Facts lists what a receipt of the kind says, itself first: whoever clicked has read, whoever read has seen. It is not to be changed.
func (k ReceiptKind) Facts() []ReceiptKind {
	switch k {
	case ReceiptClicked:
		return []ReceiptKind{ReceiptClicked, ReceiptRead, ReceiptSeen}
	case ReceiptRead:
		return []ReceiptKind{ReceiptRead, ReceiptSeen}
	}
	return []ReceiptKind{k}
}

// Ends gives the kind that this one takes back, 0 if none.
func (k ReceiptKind) Ends() ReceiptKind {
	switch k {
	case ReceiptUnread:
		return ReceiptRead
	case ReceiptUnarchived:
		return ReceiptArchived
	}
	return 0
}

// EndedBy gives the kind that takes this one back, 0 if none.
func (k ReceiptKind) EndedBy() ReceiptKind {
	switch k {
	case ReceiptRead:
		return ReceiptUnread
	case ReceiptArchived:
		return ReceiptUnarchived
	}
	return 0
}

// ReadSource says how it is known that somebody read; of other kinds it says nothing.
type ReadSource uint8

// The sources. The numbers are kept on disk.
const (
	SourceInbox    ReadSource = 0 // in our own inbox
	SourceReported ReadSource = 1 // told by POST /v1/receipts
	SourceInferred ReadSource = 2 // guessed, as from a picture in a mail that was fetched
)

// String gives the source as the API names it.
func (s ReadSource) String() string {
	switch s {
	case SourceInbox:
		return "inbox"
	case SourceReported:
		return "reported"
	case SourceInferred:
		return "inferred"
	}
	return fmt.Sprintf("read source %d", uint8(s))
}

// Minute is a time as receipts keep it: minutes since 1970; 0 is never.
type Minute uint32

// MinuteOf cuts a time to its minute. What lies outside of 1970 to 2097 is brought in.
func MinuteOf(t time.Time) Minute {
	if t.IsZero() {
		return 0
	}
	return Minute(min(max(t.Unix()/60, 1), 1<<26-1)) //nolint:gosec // in range
}

// Time gives the minute's begin, the zero time for never.
func (m Minute) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(int64(m)*60, 0).UTC()
}

// Receipt is one thing learned of one item.
type Receipt struct {
	Message MessageNum
	Person
	Kind   ReceiptKind
	At     time.Time // zero: now, by the store's clock, and after all that was said before. Later than now: now
	Source ReadSource
}

// Stamp is when a fact of an item was, and how it is known; the zero stamp: it is not.
type Stamp struct {
	At     Minute
	Source ReadSource // of read only
}

// Decide says what the receipt does at now to what is known of its item: it calls note with each fact and its new stamp, and tells whether
// the receipt's own kind began with it (unread: whether read ended). A fact that is noted replaces its former stamp and takes away what
// it ends, see [ReceiptKind.Ends]. So what is noted may be applied again, in order, over whatever it led to: folding twice is harmless.
//
// The same fact twice counts once, and the earliest time stays. What is reported of a time before the fact was ended says nothing.
func (r *Receipt) Decide(now Minute, known func(ReceiptKind) Stamp, note func(ReceiptKind, Stamp)) (began bool) {
	at, own := MinuteOf(r.At), r.At.IsZero()
	if own || at > now {
		at = now
	}
	for i, k := range r.Kind.Facts() {
		is := r.decide(k, at, own, known, note)
		if i == 0 {
			began = is
		}
	}
	return began
}

func (r *Receipt) decide(k ReceiptKind, at Minute, own bool, known func(ReceiptKind) Stamp, note func(ReceiptKind, Stamp)) bool {
	was := known(k).At
	other := k.EndedBy() + k.Ends() // at most one of them is there
	var turned Minute
	if other != 0 {
		turned = known(other).At
	}
	if turned > at {
		if !own {
			return false
		}
		at = turned // the clock went back, or the minute is not over
	}
	stamp := Stamp{At: at}
	if k == ReceiptRead {
		stamp.Source = r.Source
	}
	if k.Ends() != 0 {
		stamp.At = max(at, was)
		if turned != 0 || !own && was < at { // of what is not (yet) known to have begun a report is remembered: the reports may come out of order
			note(k, stamp)
		}
		return turned != 0
	}
	if was == 0 || at < was {
		note(k, stamp)
	}
	return was == 0
}

// Logged is what became of one receipt.
type Logged uint8

// The answers.
const (
	LoggedBefore  Logged = iota // it is known already, or was ended since
	LoggedNew                   // it began with this (unread: read ended)
	LoggedDamaged               // the row that would hold it is damaged; it was not logged
)

// Receipts keeps what is learned of items: one log a shard, and sets that are its snapshot. What others changed of what inboxes show stands in the log too
// ([News]), so that one question for the tail tells a node of all of it. Whatever it tells is sets and log in one
// snapshot: whoever asks after LogReceipts has answered, here or in another process, sees what was logged. It does not ask whether
// anybody was sent to.
type Receipts interface {
	// LogReceipts logs receipts of people of one shard, in order, in one transaction: they are durable when it answers, one answer each. Calls may
	// overlap; the store groups them (natural batching). ErrUsage, and nothing is logged: a person of another shard, a kind or source that is none.
	LogReceipts(ctx context.Context, shard int, receipts []Receipt) ([]Logged, error)
	// ReceiptSet gives whoever a fact is true of: read without those whose read ended. It may be a shared one and is not to be changed. ErrDamaged.
	ReceiptSet(ctx context.Context, m MessageNum, s Slot, k ReceiptKind) (*set.Set, error)
	// ReceiptCounts gives the sizes of these sets; kinds that nobody has are left out.
	ReceiptCounts(ctx context.Context, m MessageNum, s Slot) (map[ReceiptKind]int, error)
	// ReceiptTimes tells of each of seqs, in order, when each fact was. ErrDamaged.
	ReceiptTimes(ctx context.Context, m MessageNum, s Slot, seqs []Seq) ([]Receipted, error)
	// Tail reads the log after an entry, oldest first, for whoever keeps a picture of their own: first ask with after 0, load what you need if
	// Folded > after, then go on with Next. What is applied twice does no harm.
	Tail(ctx context.Context, shard int, after int64) (TailPage, error)
	// Fold carries a part of the log into the sets, at most 1,000 rows of sets in one transaction; the last one of a round moves Folded and
	// deletes what lies behind. Folding twice, or twice at once, is harmless. ErrDamaged names a row that cannot take its part: its log stays.
	Fold(ctx context.Context, shard int) (more bool, err error)
	// Unfolded tells about how many facts the log holds that Fold would carry; 0 only if it would not even cut the log.
	Unfolded(ctx context.Context, shard int) (int, error)
}

// ReceiptReport is a receipt as somebody outside tells it.
type ReceiptReport struct {
	Index     int // of the caller's: refusals name it
	Message   MessageID
	Recipient string
	Kind      ReceiptKind // one that is none is refused
	At        time.Time   // zero: now
	Guess     bool        // nobody told it: SourceInferred
}

// RefusedReceipt says why a report was not taken.
type RefusedReceipt struct {
	Index  int    `json:"index"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Reception says what became of reports: each was accepted, or was known, or was refused.
type Reception struct {
	Accepted int
	Known    int
	Refused  []RefusedReceipt
}

// Receipted is what is known of one item.
type Receipted [ReceiptUnsubscribed + 1]Stamp

// At tells when a fact was; zero: it is not.
func (r *Receipted) At(k ReceiptKind) time.Time { return r[k].At.Time() }

// Note makes the changes of one note of [Receipt.Decide].
func (r *Receipted) Note(k ReceiptKind, s Stamp) {
	r[k] = s
	if ended := k.Ends(); ended != 0 {
		r[ended] = Stamp{}
	}
}

// TailPage is a part of the log.
type TailPage struct {
	Entries []LogEntry
	Next    int64 // ask with it for what comes after this page; the head of the shard if nothing does yet
	More    bool  // there is more at this moment
	Folded  int64 // entries up to here are gone, the sets hold them. If it is more than was asked after, the page is empty
}

// LogEntry is what one commit logged.
type LogEntry struct {
	ID    int64
	Notes []Note
	News  []News
}

// NewsKind says what else of what inboxes show was changed by a commit. The numbers are kept on disk.
type NewsKind uint8

// The kinds of news.
const (
	NewsDelivered NewsKind = 1 // to people of a slot, or taken back from there: by a claim that delivers, or an amendment
	NewsMessage   NewsKind = 2 // an inbox message: it was started, corrected, recalled, … The control shard's log has it
	NewsPeople    NewsKind = 3 // the profile of somebody of a slot who was there before, or they were erased
	// NewsDeliveredFew: a message to few; somebody may have rows who had none.
	NewsDeliveredFew NewsKind = 4
	// NewsMoved: a slot came from another shard, or went there: whatever was read of it may be old.
	NewsMoved NewsKind = 5
)

// News says that a picture of something is no longer true. It does not say what is.
type News struct {
	Kind    NewsKind
	Message MessageNum // 0: of people
	Slot    Slot       // 0: of a message
}

// Note is one fact that changed, as [Receipt.Decide] noted it.
type Note struct {
	Message MessageNum
	Person
	Kind ReceiptKind
	Stamp
}
