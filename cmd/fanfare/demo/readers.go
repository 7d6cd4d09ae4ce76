package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"fanfare/cmd/fanfare/client"
)

const (
	comeTime     = 4 * time.Second // over which the readers come
	atOnce       = 32              // readers
	reportedLots = 500             // people in one report
)

// readers is how many open their inbox; one of stride people does.
func (c *Config) readers() int { return min(5000, c.Recipients/20) }
func (c *Config) stride() int  { return c.Recipients / c.readers() }

// deed is what a reader does with the message, having looked at their inbox.
type deed struct {
	name        string
	marks       []string // POST /v1/inbox/{message}/…
	read, click bool     // what is true of it in the end
	archived    bool
}

func deeds() []deed {
	read := deed{name: "read", marks: []string{"read"}, read: true}
	return []deed{read, read, read, {name: "look only"}, read, {name: "click", marks: []string{"click"}, read: true, click: true}, read,
		{name: "archive", marks: []string{"archive"}, archived: true}, read, {name: "change their mind", marks: []string{"read", "unread"}}}
}

// expected is what the readers did, kept here to be compared with what Fanfare says.
type expected struct {
	read          map[string]bool
	seen, clicked int
}

func external(i int) string { return "u" + strconv.Itoa(i+1) }

// expect says what the people will do: a tenth of it each deed, and what another program reports.
func (s *show) expect() (e expected, reported []string) {
	e.read = make(map[string]bool)
	all := deeds()
	for k := range s.readers() {
		d := all[k%len(all)]
		e.seen++ // whoever looks has seen
		if d.read {
			e.read[external(k*s.stride())] = true
		}
		if d.click {
			e.clicked++
		}
		for i := 1; i <= s.stride()/4; i++ {
			id := external(k*s.stride() + i)
			e.read[id] = true
			e.seen++
			reported = append(reported, id)
		}
	}
	return e, reported
}

// sendInbox sends to the in-app inbox of everybody.
func (s *show) sendInbox(ctx context.Context) error {
	s.say("7. A message to the in-app inbox of the same %d people.", s.Recipients)
	var m client.Message
	err := s.server.Do(ctx, http.MethodPost, "/v1/messages", map[string]any{
		"name": "Autumn in the app", "channel": "inbox", "audience": map[string]string{"list": "everyone"}, "start": true,
		"content": map[string]string{"title": "Hello {{ first_name }} in {{ city }}", "body": "The leaves are down, the new release is up.", "url": "https://app.example.com/autumn"},
	}, &m)
	if err != nil {
		return err
	}
	s.inbox = m.ID
	var p client.Progress
	if err := s.server.Watch(ctx, s.inbox, func(now client.Progress) error { p = now; return nil }); err != nil {
		return err
	}
	if err := s.server.Do(ctx, http.MethodGet, "/v1/messages/"+s.inbox, nil, &m); err != nil {
		return err
	}
	if m.Phase != "completed" || m.StartedAt == nil || m.FinishedAt == nil {
		return fmt.Errorf("the inbox message is %s", m.Phase)
	}
	took := m.FinishedAt.Sub(*m.StartedAt)
	s.line("   started → completed in %d ms: sent %d, balanced: %t. It is in each of their inboxes now.", took.Milliseconds(), p.Counts.Sent, p.Balanced)
	if !p.Balanced || p.Counts.Audience != s.Recipients || p.Counts.Sent != s.Recipients {
		return errors.New("the inbox message does not balance")
	}
	return nil
}

// page is an inbox as its owner gets it.
type page struct {
	Items []struct {
		Message, Title, Body string
		ReadAt               *time.Time `json:"read_at"`
	}
	Unread, Unseen int
}

// reading is what the readers share: the key that the demo, in the place of your product's server, signs their tokens with.
type reading struct {
	*show
	http *http.Client
	key  client.InboxKey
}

func (s *show) openInboxes(ctx context.Context) (*reading, error) {
	kept := &http.Transport{MaxIdleConnsPerHost: atOnce}
	r := &reading{show: s, http: &http.Client{Transport: kept}}
	return r, s.server.Do(ctx, http.MethodPost, "/v1/inbox_keys", map[string]string{"name": "demo"}, &r.key)
}

// own is a client of one recipient's, with their token.
func (r *reading) own(id string) *client.Client {
	return &client.Client{URL: r.server.URL, Key: r.key.Token(id, time.Now().Add(15*time.Minute)), HTTP: r.http}
}

// visit is one person: they open their inbox, have seen it, do their deed, and look at the counts once more.
func (r *reading) visit(ctx context.Context, id string, d deed) error {
	c := r.own(id)
	var found page
	if err := c.Do(ctx, http.MethodGet, "/v1/inbox", nil, &found); err != nil {
		return err
	}
	if len(found.Items) != 1 || found.Items[0].Message != r.inbox || found.Unread != 1 {
		return fmt.Errorf("their inbox has %d messages, %d unread, instead of this one", len(found.Items), found.Unread)
	}
	if err := c.Do(ctx, http.MethodPost, "/v1/inbox/seen", map[string]any{"messages": []string{r.inbox}}, nil); err != nil {
		return err
	}
	for _, mark := range d.marks {
		if err := c.Do(ctx, http.MethodPost, "/v1/inbox/"+r.inbox+"/"+mark, nil, nil); err != nil {
			return err
		}
	}
	var count struct{ Unread, Unseen, Total int }
	if err := c.Do(ctx, http.MethodGet, "/v1/inbox/count", nil, &count); err != nil {
		return err
	}
	want := count
	want.Unread, want.Unseen, want.Total = 1, 0, 1
	if d.read || d.archived {
		want.Unread = 0
	}
	if d.archived {
		want.Total = 0
	}
	if count != want {
		return fmt.Errorf("who did %q sees %+v, not %+v", d.name, count, want)
	}
	return nil
}

// read lets people read: some thousands in their inbox, more in another program, which reports it.
func (s *show) read(ctx context.Context) error {
	s.say("8. %d of them open their inbox over HTTP, each with their own token, and read, click, archive or", s.readers())
	_, reported := s.expect()
	fmt.Fprintf(s.Out, "   only look. %d more read it in another app, which tells by POST /v1/receipts.\n", len(reported))
	r, err := s.openInboxes(ctx)
	if err != nil {
		return err
	}
	defer r.http.CloseIdleConnections()
	if err := r.look(ctx, "before"); err != nil {
		return err
	}
	if err := r.come(ctx, reported); err != nil {
		return err
	}
	return r.look(ctx, "after")
}

// come lets them all come, over a few seconds, and shows the counts meanwhile.
func (r *reading) come(ctx context.Context, reported []string) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	began := time.Now()
	var crowd sync.WaitGroup
	for w := range atOnce {
		crowd.Go(func() {
			all := deeds()
			for k := w; k < r.readers() && ctx.Err() == nil; k += atOnce {
				if err := pause(ctx, time.Until(began.Add(comeTime*time.Duration(k)/time.Duration(r.readers())))); err != nil {
					return
				}
				if err := r.visit(ctx, external(k*r.stride()), all[k%len(all)]); err != nil {
					stop(fmt.Errorf("reader %s: %w", external(k*r.stride()), err))
				}
			}
		})
	}
	crowd.Go(func() {
		for i := 0; i < len(reported) && ctx.Err() == nil; i += reportedLots {
			if err := pause(ctx, time.Until(began.Add(comeTime*time.Duration(i)/time.Duration(len(reported))))); err != nil {
				return
			}
			if err := r.report(ctx, reported[i:min(len(reported), i+reportedLots)]); err != nil {
				stop(err)
			}
		}
	})
	over := make(chan struct{})
	go func() { crowd.Wait(); close(over) }()
	err := r.followReads(ctx, over)
	stop(nil)
	<-over
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// report tells that people read in another program. Telling it twice makes no difference.
func (s *show) report(ctx context.Context, who []string) error {
	type receipt struct {
		Message   string `json:"message"`
		Recipient string `json:"recipient"`
		Kind      string `json:"kind"`
	}
	var in struct {
		Receipts []receipt `json:"receipts"`
	}
	for _, id := range who {
		in.Receipts = append(in.Receipts, receipt{s.inbox, id, "read"})
	}
	for _, want := range []int{len(who), 0} {
		var got struct {
			Accepted int
			Refused  []json.RawMessage
		}
		if err := s.server.Do(ctx, http.MethodPost, "/v1/receipts", in, &got); err != nil {
			return err
		}
		if got.Accepted != want || len(got.Refused) > 0 {
			return fmt.Errorf("of %d reads reported, %d were taken as new and %d refused", len(who), got.Accepted, len(got.Refused))
		}
	}
	return nil
}

// look shows one inbox as its owner sees it.
func (r *reading) look(ctx context.Context, when string) error {
	const who = 0 // a reader that reads
	c := r.own(external(who))
	var found page
	if err := c.Do(ctx, http.MethodGet, "/v1/inbox", nil, &found); err != nil {
		return err
	}
	fmt.Fprintf(r.Out, "   The inbox of %s, %s: %d unread\n", external(who), when, found.Unread)
	for _, it := range found.Items {
		mark := "●"
		if it.ReadAt != nil {
			mark = "○"
		}
		fmt.Fprintf(r.Out, "     %s %s\n       %s\n", mark, it.Title, it.Body)
		if !strings.Contains(it.Title, firstNames()[who]) || !strings.Contains(it.Title, cities()[who]) || strings.Contains(it.Title, "{{") {
			return fmt.Errorf("the title is not theirs: %q", it.Title)
		}
	}
	return nil
}

// followReads shows the counts grow until the readers are over.
func (s *show) followReads(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var printed time.Time
	for last := false; !last; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			last = true
		case <-tick.C:
		}
		var p client.Progress
		if err := s.server.Do(ctx, http.MethodGet, "/v1/messages/"+s.inbox+"/progress", nil, &p); err != nil {
			return err
		}
		if s.Columns > 0 && !last {
			s.redraw("%s", readBar(p))
		} else if last || time.Since(printed) > time.Second {
			printed = time.Now()
			s.line("%s", readBar(p))
		}
	}
	return nil
}

func readBar(p client.Progress) string {
	k := p.Counts
	const width = 24
	full := 0
	if k.Sent > 0 {
		full = min(width, k.Read*width/k.Sent)
	}
	return fmt.Sprintf("   read %-6d [%s%s] unread %d · seen %d · clicked %d", k.Read, strings.Repeat("█", full), strings.Repeat("░", width-full), k.Sent-k.Read, k.Seen, k.Clicked)
}

// readProof compares what Fanfare says of the reads with what the readers did, person by person, and makes the draft to the others.
func (s *show) readProof(ctx context.Context) error {
	s.say("9. The balance of the reads, and a reminder.")
	want, _ := s.expect()
	var p client.Progress
	if err := s.server.Do(ctx, http.MethodGet, "/v1/messages/"+s.inbox+"/progress", nil, &p); err != nil {
		return err
	}
	k := p.Counts
	unread := s.Recipients - len(want.read)
	fmt.Fprintf(s.Out, "   sent %d = read %d + unread %d; the readers say %d + %d   balanced: %t\n", k.Sent, k.Read, k.Sent-k.Read, len(want.read), unread, p.Balanced)
	fmt.Fprintf(s.Out, "   seen %d, clicked %d; the readers say %d, %d\n", k.Seen, k.Clicked, want.seen, want.clicked)
	listed, err := s.listed(ctx, s.inbox, url.Values{"read": {"true"}})
	if err != nil {
		return err
	}
	wrong := 0
	for id := range want.read {
		if !listed[id] {
			wrong++
		}
	}
	for id := range listed {
		if !want.read[id] {
			wrong++
		}
	}
	fmt.Fprintf(s.Out, "   the list of who has read has %d people; %d of them wrong or missing\n", len(listed), wrong)

	rest := map[string]any{"message": s.inbox, "read": false}
	var draft client.Message
	if err := s.server.Do(ctx, http.MethodPost, "/v1/messages/"+s.inbox+"/clone", map[string]any{"name": "Reminder: Autumn in the app", "audience": rest}, &draft); err != nil {
		return err
	}
	var count struct{ Recipients, Planned int }
	if err := s.server.Do(ctx, http.MethodPost, "/v1/audiences/count", map[string]any{"audience": rest, "channel": "inbox"}, &count); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "   remind: %s, a %s, would go to the %d who have not read it\n", draft.ID, draft.Phase, count.Planned)
	switch {
	case !p.Balanced || k.Audience != s.Recipients || k.Sent != s.Recipients:
		return errors.New("the inbox message does not balance")
	case k.Read != len(want.read) || k.Seen != want.seen || k.Clicked != want.clicked:
		return errors.New("the reads do not add up")
	case wrong > 0:
		return fmt.Errorf("%d people are listed as having read, or not, and it is the other way", wrong)
	case count.Planned != unread || count.Recipients != unread || draft.Phase != "draft":
		return fmt.Errorf("the reminder would go to %d, but %d have not read", count.Planned, unread)
	}
	fmt.Fprintln(s.Out, "   Every read that was answered is counted, once, and of the right person. It adds up.")
	return nil
}
