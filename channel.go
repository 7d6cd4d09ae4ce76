package fanfare

import (
	"context"
	"time"
)

// Channel reaches recipients in one way: a driver for one kind of provider.
type Channel interface {
	Name() ChannelName
	Features() ChannelFeatures
	// Check refuses a provider's settings that cannot work, with what to do.
	Check(p Provider) error
	// Compile prepares a message's content once a revision; every error names the field.
	Compile(m *Message) (Compiled, error)
	// Address tells whether the recipient can be reached; a Reason to skip it otherwise (no_address, invalid). Skips as in Render.
	Address(r *Recipient) (address string, why Reason)
	// Dial opens one connection to a provider. A failure is a *SendError whose step tells how far it came.
	Dial(ctx context.Context, p Provider) (Connection, error)
}

// ChannelFeatures says what a channel needs and can do.
type ChannelFeatures struct {
	NeedsProfile bool // Send needs recipients, not only their numbers
	NeedsAddress bool // recipients without an address are skipped
	Leaves       bool // something leaves this process
	Inline       bool // the claim of a batch delivers it: nothing is dialed or rendered for it
	Chunk        int  // default members a connection journals together
	Connections  int  // default connections of each worker node
	Streams      bool // its connections are Streamers
}

// Compiled is a message's content, compiled. It is used by many goroutines at once.
type Compiled interface {
	// Render makes the item's bytes, appended to dst. A value that is missing answers a *SkipError (reason missing_field).
	Render(dst []byte, it *Outgoing) ([]byte, error)
	// Preview renders for a person's eyes: header fields and bodies by name.
	Preview(it *Outgoing) (map[string]string, error)
}

// Outgoing is one item on its way.
type Outgoing struct {
	Recipient   *Recipient // nil where the channel needs no profile
	Person      Person
	Address     string // as Channel.Address gave it
	Key         string // ItemKey
	Unsubscribe string // the one-click link; empty: without
	Message     *Message
	Attempt     int // of this person, from 1; never part of what is sent
	Date        time.Time
	Rendered    []byte // by Compiled.Render
	Test        bool   // no item of the message: nothing that is learned of it counts
}

// Connection sends chunks, one at a time.
type Connection interface {
	// Send hands over the items in order. May is asked immediately before the first byte of an item leaves; when it answers false the
	// item and all later ones are NotBegun. answer is called exactly once an item, from this goroutine or another, before Send
	// returns. An error means that the connection is of no use any more; it is a *SendError for what the provider said.
	Send(ctx context.Context, items []Outgoing, may func(i int) bool, answer func(i int, a SendAnswer)) error
	Close() error
}

// Streamer is a connection over which one chunk follows another without a pause.
type Streamer interface {
	Connection
	// Stream is Send of chunk after chunk, items numbered through. more is asked, from this goroutine, when an item could leave and all
	// that it gave before were begun or answered; it does not wait. When it gives nothing, or may says no, Stream returns as soon as all
	// that was given is answered. An item must stay as it is until it is answered.
	Stream(ctx context.Context, more func() []Outgoing, may func(i int) bool, answer func(i int, a SendAnswer)) error
}

// SendKind is what became of one item in a connection's hands.
type SendKind uint8

// The kinds.
const (
	NotBegun      SendKind = iota // nothing of it left, or the provider certainly does not have it: no attempt of the person
	SendOK                        // the provider took it
	SendPermanent                 // refused for good
	SendTemporary                 // refused for now: an attempt of the person
	SendUnknown                   // handed over, answer unknown
)

// SendAnswer is what a provider said of one item.
type SendAnswer struct {
	Kind SendKind
	Code string // "550 5.1.1"
	Text string
}

// SendError is a failure of the connection, not of a person.
type SendError struct {
	Step string // connect, greeting, ehlo, starttls, auth, mail, …
	Busy bool   // the provider said 421 or its like
	Auth bool   // the provider refused the account: nothing will work before a person mends it
	Code string
	Text string
	Err  error
}

func (e *SendError) Error() string {
	s := "at " + e.Step
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Text != "" {
		s += " " + e.Text
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *SendError) Unwrap() error { return e.Err }

// SkipError says that an item cannot be made for this person.
type SkipError struct {
	Reason Reason
	Detail string // the missing path, or what is wrong with the address
}

func (e *SkipError) Error() string { return string(e.Reason) + ": " + e.Detail }
