package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"fanfare"
	"fanfare/api"
	"fanfare/channels/email"
	"fanfare/channels/inbox"
	"fanfare/channels/null"
	"fanfare/cmd/fanfare/providers"
	"fanfare/deliver"
	"fanfare/people"
)

// catalog knows the channels, and by what each message goes.
type catalog struct {
	ctx  context.Context //nolint:containedctx // of the process: a channel that compiles is given none
	book *providers.Book
	log  *slog.Logger
	box  fanfare.Channel
	mail fanfare.Channel
	null fanfare.Channel

	mu   sync.Mutex
	last []fanfare.Provider // guarded by mu; as read last
}

func newCatalog(ctx context.Context, book *providers.Book, links *api.Links, log *slog.Logger) *catalog {
	c := &catalog{ctx: ctx, book: book, log: log, box: inbox.New(), null: null.New()}
	c.mail = email.New(email.Config{Provider: c.of, Links: links})
	return c
}

// channel gives a channel by its name.
func (c *catalog) channel(name fanfare.ChannelName) (fanfare.Channel, bool) {
	switch name {
	case fanfare.ChannelInbox:
		return c.box, true
	case fanfare.ChannelEmail:
		return c.mail, true
	case fanfare.ChannelNull:
		return c.null, true
	}
	return nil, false
}

// all lists the providers, those read last if the database does not answer.
func (c *catalog) all(ctx context.Context) ([]fanfare.Provider, error) {
	found, err := c.book.All(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && len(found) < len(c.last) {
		return slices.Clone(c.last), err
	}
	c.last = slices.Clone(found)
	return found, err
}

// placeholder is the sender of tests with test keys where no provider is there yet.
const placeholder = "Fanfare test <test@fanfare.invalid>"

// of gives the provider that a message goes by, as far as it is settled: the one it names, or its channel's only or default one.
func (c *catalog) of(m *fanfare.Message) fanfare.Provider {
	all, err := c.all(c.ctx)
	if err != nil {
		c.log.Warn("providers: not all of them can be read", "error", err)
	}
	name := m.Provider
	if _, test := api.IsTestProvider(name); test {
		name = ""
	}
	var mine []fanfare.Provider
	for _, p := range all {
		switch {
		case p.Channel != m.Channel:
		case name != "" && p.Name == name, name == "" && p.Default:
			return p
		case name == "":
			mine = append(mine, p)
		}
	}
	switch {
	case len(mine) > 0 && (len(mine) == 1 || m.Test):
		return mine[0]
	case m.Test:
		return fanfare.Provider{Name: m.Provider, Channel: m.Channel, From: placeholder}
	}
	return fanfare.Provider{}
}

// lane gives the lane of a provider.
func (c *catalog) lane(p fanfare.Provider) (deliver.Lane, bool) {
	channel, ok := c.channel(p.Channel)
	if ok && p.Channel != fanfare.ChannelNull && sandboxed(p) {
		channel = null.Sandbox{Channel: channel}
	}
	return deliver.Lane{Name: p.Name, Provider: p, Channel: channel}, ok
}

// lanes lists all there is to send by: the providers, the channels that need none, and the sandbox of test keys for each channel.
func (c *catalog) lanes(ctx context.Context) ([]deliver.Lane, error) {
	all, err := c.all(ctx)
	if err != nil {
		c.log.Warn("providers: not all of them can be read", "error", err)
	}
	if err != nil && len(all) == 0 {
		return nil, err
	}
	for _, name := range []fanfare.ChannelName{fanfare.ChannelInbox, fanfare.ChannelEmail, fanfare.ChannelNull} {
		all = append(all, fanfare.Provider{Name: api.TestProvider(name), Channel: name, URL: "sandbox:", From: placeholder, Connections: 2})
	}
	var lanes []deliver.Lane
	for _, p := range all {
		if l, ok := c.lane(p); ok {
			lanes = append(lanes, l)
		}
	}
	for _, of := range []fanfare.Channel{c.box, c.null} { // they need no provider
		if name := string(of.Name()); !slices.ContainsFunc(lanes, func(l deliver.Lane) bool { return l.Name == name }) {
			lanes = append(lanes, deliver.Lane{Name: name, Provider: fanfare.Provider{Name: name, Channel: of.Name()}, Channel: of})
		}
	}
	return lanes, nil
}

// shelf is what the API knows of providers.
type shelf struct {
	*providers.Book
	catalog *catalog
}

// Check implements api.Providers.
func (s shelf) Check(p fanfare.Provider) error { return checkProvider(p) }

// DKIMRecord implements api.Providers.
func (s shelf) DKIMRecord(d fanfare.DKIM) (name, value string, err error) { return email.DKIMRecord(d) }

// Try implements api.Providers.
func (s shelf) Try(ctx context.Context, p fanfare.Provider) error {
	l, ok := s.catalog.lane(p)
	if !ok {
		return checkProvider(p)
	}
	conn, err := l.Channel.Dial(ctx, l.Provider)
	if err != nil {
		return err
	}
	return conn.Close()
}

// files is what the API knows of imports.
type files struct {
	importer *people.Importer
	heard    func(node string) bool // whether another node lives
}

// Accept implements api.Imports.
func (f files) Accept(ctx context.Context, body io.Reader, o api.ImportOptions, then func(fanfare.ControlTx, fanfare.Import) error) (fanfare.Import, error) {
	format := people.CSV
	if o.NDJSON {
		format = people.NDJSON
	}
	return f.importer.Accept(ctx, body, o.List, people.Options{Format: format, Map: o.Map, EmptyRemove: o.EmptyRemove, Insert: o.Insert, Replace: o.Replace, Suppressions: o.Suppressions, Then: then})
}

// Refused implements api.Imports.
func (f files) Refused(i fanfare.Import) (io.ReadCloser, error) {
	if node, away := f.importer.Elsewhere(&i); away {
		return nil, fmt.Errorf("import %s, node %s: %w", i.ID, node, fanfare.ErrElsewhere)
	}
	return os.Open(f.importer.ErrorsFile(i.ID))
}

// Confirm implements api.Imports.
func (f files) Confirm(ctx context.Context, id string) (fanfare.Import, error) {
	return f.importer.Confirm(ctx, id)
}

// Cancel implements api.Imports.
func (f files) Cancel(ctx context.Context, id string) (fanfare.Import, error) {
	return f.importer.Cancel(ctx, id)
}

// Waiting implements api.Imports.
func (f files) Waiting(i fanfare.Import) string {
	if node, away := f.importer.Elsewhere(&i); away {
		if !f.heard(node) {
			return "its file lies with the node " + node + ", which is not heard; it goes on when that is back"
		}
		return ""
	}
	return f.importer.Waiting(i.ID)
}

// tester sends a message's content to somebody, outside of any audience and never counted.
type tester struct {
	catalog *catalog
	links   *api.Links
}

// testTime is how long a test may take altogether.
const testTime = time.Minute

func (t *tester) send(ctx context.Context, m *fanfare.Message, to []fanfare.Recipient) ([]api.TestResult, error) {
	ctx, stop := context.WithTimeout(ctx, testTime)
	defer stop()
	l, err := t.lane(ctx, m)
	if err != nil {
		return nil, err
	}
	compiled, err := l.Channel.Compile(m)
	if err != nil {
		return nil, err
	}
	results := make([]api.TestResult, len(to))
	var items []fanfare.Outgoing
	var of []int
	for i := range to {
		it, why := t.item(l, compiled, m, &to[i])
		results[i] = api.TestResult{To: to[i].Email, Result: fanfare.ResultSkipped}
		if skip, ok := errors.AsType[*fanfare.SkipError](why); ok {
			results[i].Reason, results[i].Text = skip.Reason, skip.Detail
		} else if why != nil {
			return nil, why
		} else {
			items, of = append(items, it), append(of, i)
		}
	}
	if len(items) == 0 {
		return results, nil
	}
	answer := func(i int, r fanfare.Result, why fanfare.Reason, code, text string) {
		results[of[i]].Result, results[of[i]].Reason, results[of[i]].Code, results[of[i]].Text = r, why, code, fanfare.CleanText(text)
	}
	if err := exchange(ctx, l, items, answer); err != nil {
		for i := range items {
			if results[of[i]].Result == fanfare.ResultSkipped {
				answer(i, fanfare.ResultFailed, fanfare.ReasonTechnical, "", err.Error())
			}
		}
	}
	return results, nil
}

func (t *tester) lane(ctx context.Context, m *fanfare.Message) (deliver.Lane, error) {
	lanes, err := t.catalog.lanes(ctx)
	if err != nil {
		return deliver.Lane{}, err
	}
	want := m.Provider
	if want == "" {
		want = string(m.Channel)
	}
	for _, l := range lanes {
		if l.Name == want {
			return l, nil
		}
	}
	return deliver.Lane{}, fanfare.ErrNotFound
}

// item renders one item. Its key is made up: a test is no item of the message.
func (t *tester) item(l deliver.Lane, compiled fanfare.Compiled, m *fanfare.Message, r *fanfare.Recipient) (fanfare.Outgoing, error) {
	address, why := l.Channel.Address(r)
	if why != "" && l.Channel.Features().NeedsAddress {
		return fanfare.Outgoing{}, &fanfare.SkipError{Reason: why, Detail: "no mail can go to this address"}
	}
	it := fanfare.Outgoing{Recipient: r, Person: r.Person, Address: address, Key: "test-" + rand.Text(), Unsubscribe: t.links.Unsubscribe(m, r), Message: m, Test: true,
		Attempt: 1, Date: time.Now().UTC()}
	var err error
	it.Rendered, err = compiled.Render(nil, &it)
	return it, err
}

// exchange hands items to a provider over a connection of their own.
func exchange(ctx context.Context, l deliver.Lane, items []fanfare.Outgoing, answer func(int, fanfare.Result, fanfare.Reason, string, string)) (err error) {
	conn, err := l.Channel.Dial(ctx, l.Provider)
	if err != nil {
		return err
	}
	var mu sync.Mutex // answers may come from another goroutine
	err = conn.Send(ctx, items, func(int) bool { return ctx.Err() == nil }, func(i int, a fanfare.SendAnswer) {
		mu.Lock()
		defer mu.Unlock()
		switch a.Kind {
		case fanfare.SendOK:
			answer(i, fanfare.ResultSent, "", a.Code, a.Text)
		case fanfare.SendPermanent:
			answer(i, fanfare.ResultFailed, fanfare.ReasonPermanent, a.Code, a.Text)
		case fanfare.SendTemporary:
			answer(i, fanfare.ResultFailed, fanfare.ReasonTemporary, a.Code, a.Text)
		case fanfare.SendUnknown:
			answer(i, fanfare.ResultUncertain, fanfare.ReasonNoAnswer, a.Code, a.Text)
		default:
			answer(i, fanfare.ResultFailed, fanfare.ReasonTechnical, a.Code, "it was not handed over; try again")
		}
	})
	return errors.Join(err, conn.Close())
}
