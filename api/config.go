package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"

	"fanfare"
)

// Store is what the API asks of a store.
type Store interface {
	fanfare.Control
	fanfare.People
	fanfare.Freezer
	fanfare.Settler
	fanfare.Receipts
	fanfare.Erasing
}

// Config makes a Server. Nothing of it is called by [New].
type Config struct {
	Store Store
	Queue Queue
	// Shards are those of Store; nil: it is one database.
	Shards Shards
	Imports
	Providers
	// Channel gives the driver of a channel; false if there is none of that name.
	Channel func(fanfare.ChannelName) (fanfare.Channel, bool)
	// Count tells whom an audience would reach if it were frozen now.
	Count func(context.Context, CountQuery) (Counts, error)
	// CheckRecipient completes a change; a *FieldError says what cannot be kept.
	CheckRecipient func(*fanfare.RecipientChange) error
	// Receive takes reports of what became of items; one that is refused refuses no other.
	Receive func(context.Context, []fanfare.ReceiptReport) (fanfare.Reception, error)
	// Inbox reads recipients' own inboxes.
	Inbox Inbox
	// Feed tells what is new in them.
	Feed InboxFeed
	// SendTest sends a message's content outside of any audience; one answer an item.
	SendTest func(ctx context.Context, m *fanfare.Message, to []fanfare.Recipient) ([]TestResult, error)
	// Tokens makes and reads recipients' tokens; see [NewTokens].
	Tokens *Tokens
	// InboxOrigins are the origins of the pages that may ask for a recipient's own inbox, see [CheckOrigin].
	InboxOrigins []string
	// Link makes and reads the links in mail; see [NewLinks].
	Links *Links
	// Wake has planner and deliverer look at once: something was started, stopped or changed.
	Wake func()
	// Reload has the deliverer read the providers again.
	Reload func()
	// Alone says that no other node writes in the store; nil: there is none. Else what is kept for a second is read each time.
	Alone func() bool
	// Seal and Open keep a stored answer that holds a secret unreadable at rest.
	Seal func(name, text string) string
	Open func(name, text string) (string, error)
	// PublicURL is where recipients reach this server; empty: not at all.
	PublicURL string
	Version   string
	Log       *slog.Logger // nil: silent
}

// Queue is what the API asks of a queue.
type Queue interface {
	Depth(ctx context.Context, provider string) (int, error)
	Ping(ctx context.Context) error
}

// Imports takes files of recipients in.
type Imports interface {
	// Accept takes a whole body to disk and queues the import; then (nil: nothing) runs in the transaction that queues it. An error that is
	// fanfare.ErrUsage says what is wrong with the file.
	Accept(ctx context.Context, body io.Reader, o ImportOptions, then func(fanfare.ControlTx, fanfare.Import) error) (fanfare.Import, error)
	// Refused opens the CSV file of the refused rows; fs.ErrNotExist where none was refused, fanfare.ErrElsewhere if it lies with another node.
	Refused(i fanfare.Import) (io.ReadCloser, error)
	Confirm(ctx context.Context, id string) (fanfare.Import, error)
	Cancel(ctx context.Context, id string) (fanfare.Import, error)
	// Waiting says why an import does not go on just now; empty: it does.
	Waiting(i fanfare.Import) string
}

// ImportOptions says how one import is read and what becomes of its list.
type ImportOptions struct {
	NDJSON      bool              // otherwise CSV
	List        string            // empty: none
	Map         map[string]string // a column's name in the file → its name here
	EmptyRemove bool              // an empty cell removes
	Insert      bool              // refuse recipients that are there
	Replace     bool              // the list's members become those of the file
	// Suppressions: the file is CSV and says who gets nothing; nothing above but Map matters.
	Suppressions bool
}

// Providers knows all providers of the installation.
type Providers interface {
	// All lists them by name, with their secrets. Those that cannot be opened are left out and named in the error.
	All(ctx context.Context) ([]fanfare.Provider, error)
	// Fixed says whether the configuration file holds the provider.
	Fixed(name string) bool
	// Put keeps a provider, its secrets sealed.
	Put(tx fanfare.ControlTx, p fanfare.Provider) error
	// Check refuses settings that cannot work, by the provider's channel.
	Check(p fanfare.Provider) error
	// DKIMRecord gives the DNS record that belongs to a key: its name and value.
	DKIMRecord(d fanfare.DKIM) (name, value string, err error)
	// Try opens one connection and closes it; a *fanfare.SendError tells how far it came.
	Try(ctx context.Context, p fanfare.Provider) error
}

// CountQuery asks how many an audience would reach.
type CountQuery struct {
	Audience  json.RawMessage
	Channel   fanfare.ChannelName // empty: nobody is skipped
	Topic     string
	Essential bool
	Dedupe    fanfare.Dedupe
	Message   *fanfare.Message // whose content is meant; nil: none is known
}

// Counts is the answer: recipients = planned + all skipped.
type Counts struct {
	Recipients int
	Planned    int
	Skipped    map[fanfare.Reason]int
	Scanned    []string // attributes for which profiles were read: they have more values than have sets
}

// TestResult is what became of one test.
type TestResult struct {
	To     string
	Result fanfare.Result // sent, failed, skipped or uncertain
	Reason fanfare.Reason
	Code   string
	Text   string
}

// FieldError says which field of a recipient is wrong, and what to do.
type FieldError struct {
	Field  string // external_id, email, attributes.NAME, …
	Code   string
	Detail string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Detail }
