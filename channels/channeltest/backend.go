package channeltest

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"fanfare"
)

// Fault is a way in which a provider misbehaves.
type Fault string

// The faults. The first ones meet whoever dials, the others an item.
const (
	Healthy         Fault = "healthy"
	Down            Fault = "down"             // nobody listens
	GreetingRefused Fault = "greeting refused" // wants nobody, for good
	GreetingBusy    Fault = "greeting busy"    // 421 or its like
	AccountRefused  Fault = "account refused"

	RefusedForGood Fault = "refused for good"
	RefusedForNow  Fault = "refused for now"
	Unsaid         Fault = "unsaid"        // takes the item, and tells that it does not know what became of it
	Busy           Fault = "busy"          // 421 or its like; ends the connection
	ClosedBefore   Fault = "closed before" // ends the connection before it has all of the item
	ClosedAfter    Fault = "closed after"  // has all of the item and ends the connection without an answer
	HangsBefore    Fault = "hangs before"  // stops answering before it has all of the item
	HangsAfter     Fault = "hangs after"   // has all of the item and does not answer
)

// dialing says whether the fault meets whoever dials.
func (f Fault) dialing() bool {
	return slices.Contains([]Fault{Down, GreetingRefused, GreetingBusy, AccountRefused}, f)
}

// kind is how the item that the fault meets must be answered.
func (f Fault) kind() fanfare.SendKind {
	switch f {
	case Healthy:
		return fanfare.SendOK
	case RefusedForGood:
		return fanfare.SendPermanent
	case RefusedForNow:
		return fanfare.SendTemporary
	case Unsaid, ClosedAfter, HangsAfter:
		return fanfare.SendUnknown
	default:
		return fanfare.NotBegun
	}
}

// ends says whether the fault ends the connection.
func (f Fault) ends() bool {
	return slices.Contains([]Fault{Busy, ClosedBefore, ClosedAfter, HangsBefore, HangsAfter}, f)
}

// hangs says whether only the end of its context ends the Send that meets the fault.
func (f Fault) hangs() bool { return f == HangsBefore || f == HangsAfter }

// Trouble is a fault and the item that it meets: the At-th, from 0, that the provider is offered. It meets all items after it too
// where Features says so.
type Trouble struct {
	Fault Fault
	At    int
}

// Features say what a backend can do.
type Features struct {
	Faults  []Fault // that it can be asked for; Healthy need not be among them
	All     bool    // a fault meets every item, from the first on
	Ledger  bool    // it tells what arrived
	Renders bool    // the channel makes messages of content: subject, text, html
	Streams bool    // its connections are Streamers
}

// Backend is a channel and a provider to try it on. It ends with its test.
type Backend struct {
	Channel  fanfare.Channel
	Provider fanfare.Provider
	// Strike, if set, begins the misbehaviour, once a connection is there. Nil: it is there from the start.
	Strike func()
	// Reached is closed when a provider that hangs was reached.
	Reached <-chan struct{}
	// Arrived tells all that the provider has got, whether or not it said so. It is called after every connection is closed.
	Arrived func() []Arrival
}

// Open makes a backend for one test.
type Open func(t *testing.T, trouble Trouble) Backend

// Arrival is what a provider got for one address.
type Arrival struct {
	Sender  string
	Address string
	Key     string   // the item's key as it stands in it
	Shape   []string // what it is made of: the names of its fields and the kinds of its parts, in order
	Fields  map[string]string
	Bodies  []string
}

// Mail reads an e-mail as an Arrival.
func Mail(sender, address string, raw []byte) (Arrival, error) {
	a := Arrival{Sender: sender, Address: address, Fields: map[string]string{}}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return a, fmt.Errorf("mail to %s: %w", address, err)
	}
	head, _, _ := strings.Cut(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n\n")
	for line := range strings.Lines(head) {
		if name, _, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			a.Shape = append(a.Shape, name)
		}
	}
	words := new(mime.WordDecoder)
	for name := range m.Header {
		if a.Fields[name], err = words.DecodeHeader(m.Header.Get(name)); err != nil {
			return a, fmt.Errorf("mail to %s: %s: %w", address, name, err)
		}
	}
	id := strings.Trim(m.Header.Get("Message-Id"), "<>")
	a.Key, _, _ = strings.Cut(id, "@")
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return a, fmt.Errorf("mail to %s: %w", address, err)
	}
	a.Shape = append(a.Shape, kind)
	if !strings.HasPrefix(kind, "multipart/") {
		return a, a.body(m.Body)
	}
	for parts := multipart.NewReader(m.Body, parameters["boundary"]); ; {
		part, err := parts.NextPart()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return a, fmt.Errorf("mail to %s: %w", address, err)
		}
		a.Shape = append(a.Shape, part.Header.Get("Content-Type"))
		if err := a.body(part); err != nil {
			return a, fmt.Errorf("mail to %s: %w", address, err)
		}
	}
}

func (a *Arrival) body(r io.Reader) error {
	b, err := io.ReadAll(r)
	a.Bodies = append(a.Bodies, string(b))
	return err
}
