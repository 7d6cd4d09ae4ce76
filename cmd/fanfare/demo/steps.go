package demo

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fanfare/cmd/fanfare/client"
)

// htmlBody is what the made-up people get.
const htmlBody = `<html><body><h1>Hello {{ first_name | default: "there" }}</h1><p>This is message {{ message.name }} to {{ recipient.email }} in {{ city }}.</p>
<p><a href="{{ unsubscribe_url }}">No more of these</a></p></body></html>`

func (s *show) people(ctx context.Context) error {
	s.say("2. %d made-up people, as a CSV file.", s.Recipients)
	began := time.Now()
	var state struct {
		ID, State, Detail string
		Rows, Failed      int
	}
	r, err := s.server.Send(ctx, http.MethodPost, "/v1/imports?list=everyone", "text/csv", bytes.NewReader(made(s.Recipients)), nil)
	if err != nil {
		return err
	}
	err = json.NewDecoder(r.Body).Decode(&state)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	for state.State == "queued" || state.State == "running" {
		s.redraw("   stored %d", state.Rows)
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if err := s.server.Do(ctx, http.MethodGet, "/v1/imports/"+state.ID, nil, &state); err != nil {
			return err
		}
	}
	if state.State != "done" || state.Failed > 0 {
		return fmt.Errorf("the import is %s: %s (%d refused)", state.State, state.Detail, state.Failed)
	}
	s.line("   %d people stored in %.1f s", state.Rows, time.Since(began).Seconds())
	return nil
}

func firstNames() []string {
	return []string{"Ada", "Grace", "Linus", "Mei", "Omar", "Chidi", "Sofía", "伟", "芳", "Björn"}
}

func cities() []string {
	return []string{"Beijing", "Lagos", "Lima", "Oslo", "Berlin", "上海", "Pune", "Quito"}
}

// made makes a CSV file of n people.
func made(n int) []byte {
	first, cities := firstNames(), cities()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"external_id", "email", "first_name", "city", "level"})
	for i := range n {
		id := external(i)
		_ = w.Write([]string{id, id + "@people.example", first[i%len(first)], cities[i/3%len(cities)], strconv.Itoa(i % 100)})
	}
	w.Flush()
	return b.Bytes()
}

func (s *show) send(ctx context.Context) error {
	s.say("3. One e-mail message to all of them, over real SMTP: %d connections, %d in flight on each.", s.connections(), chunk)
	var m client.Message
	err := s.server.Do(ctx, http.MethodPost, "/v1/messages", map[string]any{
		"name": "Autumn news", "channel": "email", "audience": map[string]string{"list": "everyone"}, "start": true,
		"content": map[string]string{"subject": "Hello {{ first_name }} in {{ city }}", "html": htmlBody, "text": "Hello {{ first_name }}! {{ unsubscribe_url }}"},
	}, &m)
	if err != nil {
		return err
	}
	s.message = m.ID
	return s.follow(ctx, func(p client.Progress) bool { return p.Counts.Sent > s.Recipients/5 })
}

func (s *show) pause(ctx context.Context) error {
	s.say("4. Pause.")
	path := "/v1/messages/" + s.message
	if err := s.server.Do(ctx, http.MethodPost, path+"/pause", nil, nil); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	before, _ := s.sink.Begun()
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	after, _ := s.sink.Begun()
	var p client.Progress
	if err := s.server.Do(ctx, http.MethodGet, path+"/progress", nil, &p); err != nil {
		return err
	}
	s.line("   %s; the mail server saw %d new envelopes in the two seconds after the first one", p.Phase, after-before)
	if after != before {
		return fmt.Errorf("%d envelopes were begun more than a second after the pause", after-before)
	}
	s.say("   Resume.")
	if err := s.server.Do(ctx, http.MethodPost, path+"/resume", nil, nil); err != nil {
		return err
	}
	return s.follow(ctx, func(p client.Progress) bool { return p.Counts.Sent > s.Recipients/2 })
}

func (s *show) kill(ctx context.Context) error {
	pid := s.server.PID()
	if err := s.server.Kill(); err != nil {
		return err
	}
	s.say("5. kill -9 of process %d in mid-batch. The mail server has %d messages.", pid, s.sink.Accepted())
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	began := time.Now()
	before, _ := s.sink.Begun()
	if err := s.serve(ctx); err != nil {
		return err
	}
	if err := s.server.Until(ctx, "the first send", 5*time.Millisecond, func() (bool, error) {
		n, _ := s.sink.Begun()
		return n > before, nil
	}); err != nil {
		return err
	}
	s.line("   a new process, %d, sends again %.0f ms after its start; nothing had to be told to it", s.server.PID(), float64(time.Since(began).Milliseconds()))
	return nil
}

func (s *show) finish(ctx context.Context) error {
	if err := s.follow(ctx, func(p client.Progress) bool { return p.Status == 3 }); err != nil {
		return err
	}
	return nil
}

// proof compares what Fanfare says with what the mail server got.
func (s *show) proof(ctx context.Context) error {
	s.say("6. The balance.")
	var p client.Progress
	if err := s.server.Do(ctx, http.MethodGet, "/v1/messages/"+s.message+"/progress", nil, &p); err != nil {
		return err
	}
	k := p.Counts
	fmt.Fprintf(s.Out, "   audience %d = sent %d + failed %d + skipped %d + uncertain %d + remaining %d + in flight %d\n   balanced: %t\n",
		k.Audience, k.Sent, k.Failed, k.Skipped, k.Uncertain, k.Remaining, k.InFlight, p.Balanced)
	doubted, err := s.listed(ctx, s.message, url.Values{"doubted": {"true"}})
	if err != nil {
		return err
	}
	twice := s.sink.Duplicates()
	counts := s.sink.Counts()
	fmt.Fprintf(s.Out, "   the mail server has mail for %d people; %d of them got two copies\n", counts.Recipients, len(twice))
	wrong := 0
	copies := make(map[string]int)
	for _, d := range twice {
		id, _, _ := strings.Cut(d.Address, "@")
		copies[id] = d.Copies
		if !doubted[id] || d.Copies > 2 || len(slices.Compact(slices.Clone(d.MessageIDs))) != 1 {
			wrong++
		}
	}
	fmt.Fprintf(s.Out, "   ever in doubt, because they were in flight when the process died: %d\n   (at most %d connections × %d; ×2 got both copies)\n", len(doubted), s.connections(), chunk)
	fmt.Fprint(s.Out, named(doubted, copies))
	switch {
	case !p.Balanced || k.Audience != s.Recipients || k.Sent+k.Uncertain != s.Recipients:
		return errors.New("it does not balance")
	case int(counts.Recipients) < k.Sent:
		return fmt.Errorf("the mail server has mail for %d people only, %d are said to be sent", counts.Recipients, k.Sent)
	case wrong > 0:
		return fmt.Errorf("%d people got a copy that is not listed as doubted, a third copy, or another Message-ID", wrong)
	}
	fmt.Fprintln(s.Out, "   Nobody lost. Who got two is on the list, never more than two, with one Message-ID. It balances.")
	return nil
}

// listed reads all pages of a message's items.
func (s *show) listed(ctx context.Context, message string, query url.Values) (map[string]bool, error) {
	found := make(map[string]bool)
	query.Set("limit", "1000")
	for {
		var page struct {
			Items []struct{ Recipient string } `json:"items"`
			Next  *string                      `json:"next_cursor"`
		}
		if err := s.server.Do(ctx, http.MethodGet, "/v1/messages/"+message+"/items?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, it := range page.Items {
			found[it.Recipient] = true
		}
		if page.Next == nil {
			return found, nil
		}
		query.Set("cursor", *page.Next)
	}
}

// named lists the doubted, a few a line, and marks who got two copies.
func named(doubted map[string]bool, copies map[string]int) string {
	var text, line strings.Builder
	for _, id := range slices.Sorted(maps.Keys(doubted)) {
		if copies[id] > 1 {
			id += fmt.Sprintf("×%d", copies[id])
		}
		if utf8.RuneCountInString(line.String()+id) > 94 {
			text.WriteString("     " + line.String() + "\n")
			line.Reset()
		}
		line.WriteString(" " + id)
	}
	if line.Len() > 0 {
		text.WriteString("     " + line.String() + "\n")
	}
	return text.String()
}

// follow shows progress until enough says so.
func (s *show) follow(ctx context.Context, enough func(client.Progress) bool) error {
	stop := errors.New("enough")
	var last client.Progress
	var printed time.Time
	said := ""
	err := s.server.Watch(ctx, s.message, func(p client.Progress) error {
		last = p
		if s.Columns > 0 {
			s.redraw("%s", bar(p))
		} else if time.Since(printed) > 2*time.Second {
			printed, said = time.Now(), bar(p)
			fmt.Fprintln(s.Out, said)
		}
		if enough(p) {
			return stop
		}
		return nil
	})
	if errors.Is(err, stop) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("follow the message: %w", err)
	}
	if bar(last) != said {
		s.line("%s", bar(last))
	}
	return nil
}

func bar(p client.Progress) string {
	k := p.Counts
	const width = 24
	full := 0
	if k.Planned > 0 {
		full = min(width, (k.Planned-k.Remaining-k.InFlight)*width/k.Planned)
	}
	return fmt.Sprintf("   %-9s [%s%s] sent %d · in flight %d · remaining %d · %.0f/s", p.Phase, strings.Repeat("█", full), strings.Repeat("░", width-full),
		k.Sent, k.InFlight, k.Remaining, p.Rate)
}

func (s *show) redraw(format string, args ...any) {
	if s.Columns == 0 {
		return
	}
	text := []rune(fmt.Sprintf(format, args...))
	fmt.Fprintf(s.Out, "\r\x1b[K%s", string(text[:min(len(text), s.Columns-1)]))
}

func (s *show) line(format string, args ...any) {
	if s.Columns > 0 {
		fmt.Fprint(s.Out, "\r\x1b[K")
	}
	fmt.Fprintf(s.Out, format+"\n", args...)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
