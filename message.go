package fanfare

import (
	"encoding/json"
	"time"
)

// ChannelName names a channel.
type ChannelName string

// The channels of this version.
const (
	ChannelInbox ChannelName = "inbox"
	ChannelEmail ChannelName = "email"
	ChannelNull  ChannelName = "null"
)

// Priority shares the window of published tasks 6 : 3 : 1 among high, normal and low.
type Priority string

// The priorities.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityLow    Priority = "low"
)

// Share gives the priority's part of ten.
func (p Priority) Share() int {
	switch p {
	case PriorityHigh:
		return 6
	case PriorityLow:
		return 1
	default:
		return 3
	}
}

// Levels are the priorities, the highest first: high, normal, low.
const Levels = 3

// Level gives the place of a priority among the levels.
func (p Priority) Level() int {
	switch p {
	case PriorityHigh:
		return 0
	case PriorityLow:
		return 2
	default:
		return 1
	}
}

// Policy says what happens to whoever is in doubt for the first time.
type Policy string

// The policies for the uncertain.
const (
	PolicyResend Policy = "resend" // once; the default
	PolicyHold   Policy = "hold"   // uncertain until a person decides
)

// Dedupe says what counts as the same recipient.
type Dedupe string

// The kinds of dedupe.
const (
	DedupeRecipient Dedupe = "recipient"
	DedupeAddress   Dedupe = "address" // one mail a mailbox; the default for email
)

// Content is what a message says; every value is a template. See the API: email uses subject, text, html, from, reply_to, headers; inbox
// uses title, body, url, expires_at.
type Content struct {
	Title     string             `json:"title,omitempty"`
	Body      string             `json:"body,omitempty"`
	URL       string             `json:"url,omitempty"`
	ExpiresAt time.Time          `json:"expires_at,omitzero"` // gone from every inbox then; zero: ExpireAfter its start
	Subject   string             `json:"subject,omitempty"`
	Text      string             `json:"text,omitempty"`
	HTML      string             `json:"html,omitempty"`
	From      string             `json:"from,omitempty"`
	ReplyTo   string             `json:"reply_to,omitempty"`
	Headers   map[string]string  `json:"headers,omitempty"`
	Track     *Track             `json:"track,omitempty"`   // of e-mail; nil: as the provider has it. Of locales the plain one counts
	Locales   map[string]Content `json:"locales,omitempty"` // picked by the recipient's locale, then its language, then the plain one
	// MessageIDDomain stands in every Message-ID, whatever changes after the first start: an item that is sent again carries the same one.
	// It is settled from what the channel compiled, never told or shown. Empty: the channel takes its own.
	MessageIDDomain string `json:"message_id_domain,omitempty"`
}

// Track says what mail tells of itself when it is read. The zero value: nothing.
type Track struct {
	Opens  bool `json:"opens"`  // a picture that is fetched: a guess, mail servers fetch it too
	Clicks bool `json:"clicks"` // links lead here first
}

// Trigger makes a message wait for an event or for another message.
type Trigger struct {
	Event string        `json:"event,omitempty"`
	After *TriggerAfter `json:"after,omitempty"`
}

// TriggerAfter is the trigger by another message.
type TriggerAfter struct {
	Message      MessageID `json:"message"`
	Phase        Phase     `json:"phase"`
	DelaySeconds int       `json:"delay_seconds"`
}

// Message is what is sent to many. All times are UTC; a zero time means none.
type Message struct {
	ID       MessageID
	Num      MessageNum
	Name     string
	Channel  ChannelName
	Audience json.RawMessage // canonical JSON of the audience language
	Content  Content
	Revision Revision
	Provider string // the provider's name as chosen at creation or start; empty: the channel's only or default one
	Topic    string // "general" unless said
	State

	Scopes     []Scope // while Reopens: who is to be sent to again
	Essential  bool
	SendAt     time.Time
	Trigger    *Trigger
	Rate       float64 // permits a second; 0: none
	Priority   Priority
	Uncertain  Policy
	StartGrace time.Duration
	NotAfter   time.Time
	Dedupe     Dedupe
	Data       json.RawMessage
	Metadata   json.RawMessage
	Tags       []string

	CreatedAt  time.Time
	UpdatedAt  time.Time
	StartedAt  time.Time // first preparing
	FinishedAt time.Time
	Outcome    Outcome
	Waiting    *WaitingFor
	Test       bool // made with a test key: every channel is the sandbox
	Recall     Recall
	// Few: an inbox message that goes to few in every slot, see [IsFew]; settled when its audience is frozen.
	Few bool
}

// WaitingFor says why a message that is sending does not move, as far as the nodes know.
type WaitingFor struct {
	Reason    Waiting   `json:"reason"`
	Provider  string    `json:"provider,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Since     time.Time `json:"since"`
	NextTryAt time.Time `json:"next_try_at,omitzero"`
}

// WholeRows is the BatchSize of messages whose batch k is row k of the slot's frozen audience: at most [set.ChunkSize] recipients.
const WholeRows = 0

// BatchSize is how many planned recipients of one slot a batch of this message holds at most, or WholeRows.
func (m *Message) BatchSize() int {
	if m.Channel == ChannelInbox {
		return WholeRows
	}
	return 500
}

// ExpireAfter is how long a message stays in inboxes that says nothing else.
const ExpireAfter = 90 * 24 * time.Hour

// ExpiresAt is when an inbox message is gone from every inbox.
func (m *Message) ExpiresAt() time.Time {
	if !m.Content.ExpiresAt.IsZero() {
		return m.Content.ExpiresAt
	}
	return m.StartedAt.Add(ExpireAfter)
}

// Recipient is a person. ExternalID is yours: 1 to 255 bytes of valid UTF-8 without control characters.
type Recipient struct {
	Person
	ExternalID string
	Email      string
	Phone      string
	Attributes map[string]any // string, float64, bool, []string; a time is a string in RFC 3339
	Locale     string
	TimeZone   string
	UpdatedAt  time.Time
}

// List is a fixed set of recipients. Its members are the set ListSet(ID) of each slot.
type List struct {
	ID        int64
	Name      string
	CreatedAt time.Time
}

// Provider is one configured account of a channel. Secrets in URL are sealed by the store's user, never by the store.
type Provider struct {
	Name        string
	Channel     ChannelName
	URL         string
	From        string
	Connections int           // of each worker node
	Chunk       int           // members one connection journals together
	Rate        float64       // permits a second; 0: as fast as it takes
	Timeout     time.Duration // of an answer
	Retry       Retry
	OnlyTo      []string // patterns of addresses; others are skipped as filtered
	Default     bool
	DKIM        DKIM
	Track       Track  // of messages that do not say
	Bounces     string // the envelope sender of e-mail, in which KEY stands for an item's token; empty: the address of From
}

// DKIM says by what a provider's e-mail is signed; the zero value: by nothing. The key is a secret like the URL's password.
type DKIM struct {
	Domain   string // the signature's d=
	Selector string // its s=: the public key is the TXT record SELECTOR._domainkey.DOMAIN
	Key      string // PEM of an RSA or Ed25519 private key
}

// Retry is the schedule of temporary refusals: × 4 each, ± 20 %.
type Retry struct {
	Attempts int // at most, the first included
	First    time.Duration
	Most     time.Duration
}
