package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"fanfare"
	"fanfare/cmd/fanfare/client"
)

// sendCommand creates and starts a message.
type sendCommand struct {
	Server   string  `help:"The server's address." default:"http://127.0.0.1:8080" env:"FANFARE_URL"`
	Key      string  `help:"An API key; without it the admin key of the data folder is used." env:"FANFARE_KEY"`
	Folder   string  `name:"data-folder" help:"The server's data folder, for its admin.key." default:"fanfare-data" env:"FANFARE_DATA" type:"path"`
	Channel  string  `required:"" enum:"inbox,email,null" help:"inbox, email or null."`
	List     string  `help:"Send to this list." xor:"to" required:""`
	Audience string  `help:"Send to this audience (JSON), for example '{\"every\":[{\"list\":\"vip\"},{\"not\":{\"list\":\"staff\"}}]}'." xor:"to" required:""`
	Name     string  `help:"A name for people."`
	Subject  string  `help:"The subject; merge tags as in the bodies."`
	Title    string  `help:"The title of an inbox message; merge tags as in the bodies."`
	Body     string  `help:"File with the plain text ('-' reads standard input)."`
	HTML     string  `name:"html" help:"File with the HTML."`
	Link     string  `name:"url" help:"Where an inbox message leads." env:"FANFARE_MESSAGE_URL"`
	Rate     float64 `help:"At most so many a second."`
	Provider string  `help:"The provider, if the channel has several."`
	Content  string  `name:"data" help:"JSON object for {{ data.… }}." env:"FANFARE_MESSAGE_DATA"`
	At       string  `help:"When to send (RFC 3339, e.g. 2027-01-31T08:00:00Z)."`
	Wait     bool    `help:"Wait until it is done; exit 3 if it ends paused, cancelled or expired."`
	DryRun   bool    `help:"Show whom it would go to, and stop."`
	Yes      bool    `help:"Do not ask."`
	Expect   *int    `help:"Start only if exactly so many would be sent to."`
	JSON     bool    `name:"json" help:"Print JSON only: the message; with --dry-run the count, with --wait the last progress."`
}

// Help teaches by example.
func (*sendCommand) Help() string {
	return `Examples:

  fanfare send --channel email --list customers --subject "News" --html news.html --wait
  fanfare send --channel email --list customers --subject "News" --body news.txt --dry-run
  fanfare send --channel inbox --list customers --title "Hello {{ first_name | default: 'you' }}" --body news.txt --url https://example.com/news --yes
  fanfare send --channel null --list everyone --rate 500 --yes`
}

type count struct {
	Recipients int            `json:"recipients"`
	Planned    int            `json:"planned"`
	Skipped    map[string]int `json:"skipped"`
	Scanned    []string       `json:"scanned"`
}

// Run sends.
func (s *sendCommand) Run(ctx context.Context, io streams) error {
	c, err := client.New(s.Server, s.Key, s.Folder)
	if err != nil {
		return err
	}
	draft, err := s.draft(io.in)
	if err != nil {
		return err
	}
	out := io.out
	if s.JSON { // what is meant for people goes where it is in no program's way
		io.out = io.err
	}
	var raw json.RawMessage
	var n count
	asked := map[string]any{"audience": draft["audience"], "channel": s.Channel}
	for _, name := range [...]string{"name", "content", "data"} { // whoever lacks what they write out is skipped
		if v, there := draft[name]; there {
			asked[name] = v
		}
	}
	if err := do(ctx, c, "/v1/audiences/count", asked, &raw, &n); err != nil {
		return err
	}
	fmt.Fprintln(io.out, s.summary(n, s.limit(ctx, c)))
	if s.DryRun {
		return s.tell(out, raw)
	}
	expect, err := s.agreed(n, io)
	if err != nil {
		return err
	}
	var m client.Message
	if err := do(ctx, c, "/v1/messages", draft, &raw, &m); err != nil {
		return err
	}
	if s.At == "" {
		start := map[string]any{}
		if expect != nil {
			start["expect_recipients"] = *expect
		}
		if err := do(ctx, c, "/v1/messages/"+m.ID+"/start", start, &raw, &m); err != nil {
			return fmt.Errorf("message %s stays a draft: %w", m.ID, err)
		}
	}
	fmt.Fprintf(io.out, "message %s: %s\n", m.ID, m.Phase)
	if s.Wait {
		ended := watch(ctx, c, m.ID, io, true)
		if !s.JSON || ended != nil && !errors.Is(ended, errEnded) {
			return ended
		}
		if err := c.Do(ctx, http.MethodGet, "/v1/messages/"+m.ID+"/progress", nil, &raw); err != nil {
			return err
		}
		return errors.Join(s.tell(out, raw), ended)
	}
	fmt.Fprintf(io.out, "follow it with: fanfare status %s --watch\n", m.ID)
	return s.tell(out, raw)
}

// tell prints an answer if JSON was asked for.
func (s *sendCommand) tell(out io.Writer, raw json.RawMessage) error {
	if !s.JSON {
		return nil
	}
	return indent(out, raw)
}

// do posts and gives the answer twice, as it came and read.
func do(ctx context.Context, c *client.Client, path string, body any, raw *json.RawMessage, to any) error {
	if err := c.Do(ctx, http.MethodPost, path, body, raw); err != nil {
		return err
	}
	return json.Unmarshal(*raw, to)
}

// limit is the smaller of the message's rate and its provider's, 0 if there is none or it is not told.
func (s *sendCommand) limit(ctx context.Context, c *client.Client) float64 {
	var all struct {
		Items []struct {
			Name, Channel string
			Default       bool
			Rate          float64 `json:"rate_per_second"`
		}
	}
	if c.Do(ctx, http.MethodGet, "/v1/providers", nil, &all) != nil {
		return s.Rate // a key that may send need not be one that may see providers
	}
	rate, mine := 0.0, 0
	for _, p := range all.Items {
		if p.Channel != s.Channel || s.Provider != "" && p.Name != s.Provider {
			continue
		}
		if mine++; mine == 1 || p.Default {
			rate = p.Rate
		}
	}
	if rate == 0 || s.Rate > 0 && s.Rate < rate {
		return s.Rate
	}
	return rate
}

func (s *sendCommand) summary(n count, rate float64) string {
	text := fmt.Sprintf("audience %s: %s will be sent to", number(n.Recipients), number(n.Planned))
	reasons := make([]string, 0, len(n.Skipped))
	for r, k := range n.Skipped {
		if k > 0 {
			reasons = append(reasons, fmt.Sprintf("%s %s", number(k), strings.ReplaceAll(r, "_", " ")))
		}
	}
	sort.Strings(reasons)
	if len(reasons) > 0 {
		text += "; skipped: " + strings.Join(reasons, ", ")
	}
	if len(n.Scanned) > 0 {
		text += "; read profile by profile, as they have more than 4,096 values: " + strings.Join(n.Scanned, ", ")
	}
	if rate > 0 {
		text += fmt.Sprintf("; at %g a second it takes %s", rate, (time.Duration(float64(n.Planned) / rate * float64(time.Second))).Round(time.Second))
	}
	return text
}

// agreed asks, unless the command line has answered. What was agreed to is how many: the start holds the server to it.
func (s *sendCommand) agreed(n count, io streams) (expect *int, err error) {
	switch {
	case s.Expect != nil && *s.Expect != n.Planned:
		return nil, fmt.Errorf("--expect %d, but %d would be sent to; nothing was sent", *s.Expect, n.Planned)
	case s.Yes || s.Expect != nil:
		return s.Expect, nil
	case !terminal(io.in):
		return nil, fmt.Errorf("%w: not on a terminal: say --yes, or --expect %d to send only if the number is still the same", fanfare.ErrUsage, n.Planned)
	}
	fmt.Fprintf(io.out, "Send to %s people? [y/N] ", number(n.Planned))
	line, _ := bufio.NewReader(io.in).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return nil, errors.New("not confirmed; nothing was sent")
	}
	return &n.Planned, nil
}

func (s *sendCommand) draft(in io.Reader) (map[string]any, error) {
	d := map[string]any{"name": s.Name, "channel": s.Channel}
	if s.Name == "" {
		d["name"] = strings.TrimSpace(s.Subject + s.Title)
	}
	if s.List != "" {
		d["audience"] = map[string]string{"list": s.List}
	} else if !json.Valid([]byte(s.Audience)) {
		return nil, fmt.Errorf("%w: --audience is no JSON; write it like {\"list\":\"vip\"}", fanfare.ErrUsage)
	} else {
		d["audience"] = json.RawMessage(s.Audience)
	}
	content := map[string]string{}
	inbox := s.Channel == string(fanfare.ChannelInbox)
	body := "text"
	switch {
	case inbox && s.Subject+s.HTML != "":
		return nil, fmt.Errorf("%w: an inbox message has --title, --body and --url; leave --subject and --html out", fanfare.ErrUsage)
	case !inbox && s.Title+s.Link != "":
		return nil, fmt.Errorf("%w: --title and --url belong to inbox messages; the server's address is told by --server or FANFARE_URL", fanfare.ErrUsage)
	case inbox:
		body = "body"
	}
	for name, value := range map[string]string{"subject": s.Subject, "title": s.Title, "url": s.Link} {
		if value != "" {
			content[name] = value
		}
	}
	for name, file := range map[string]string{body: s.Body, "html": s.HTML} {
		text, err := read(file, in)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", fanfare.ErrUsage, err)
		}
		if text != "" {
			content[name] = text
		}
	}
	d["content"] = content
	if s.Rate > 0 {
		d["rate"] = s.Rate
	}
	if s.Provider != "" {
		d["provider"] = s.Provider
	}
	if s.Content != "" {
		if !json.Valid([]byte(s.Content)) {
			return nil, fmt.Errorf("%w: --data is no JSON", fanfare.ErrUsage)
		}
		d["data"] = json.RawMessage(s.Content)
	}
	if s.At != "" {
		if _, err := time.Parse(time.RFC3339, s.At); err != nil {
			return nil, fmt.Errorf("%w: --at %q is no time; write it like 2027-01-31T08:00:00Z", fanfare.ErrUsage, s.At)
		}
		d["send_at"] = s.At
	}
	return d, nil
}

func read(file string, in io.Reader) (string, error) {
	switch file {
	case "":
		return "", nil
	case "-":
		b, err := io.ReadAll(in)
		return string(b), err
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

// messagesCommand lists messages.
type messagesCommand struct {
	server
	Status string `help:"0 not started, 1 sending, 2 paused, 3 done; or a phase: draft, scheduled, sending, paused, completed, …"`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

// Help teaches by example.
func (*messagesCommand) Help() string {
	return `Newest first.

  fanfare messages --status 1
  fanfare messages --status completed --json | jq -r .id`
}

// Run lists.
func (m *messagesCommand) Run(ctx context.Context, io streams) error {
	c, err := m.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {"100"}}
	switch phase := fanfare.Phase(m.Status); {
	case m.Status == "":
	case slices.Contains(fanfare.Phases(), phase):
		query.Set("phase", m.Status)
	case len(m.Status) == 1 && m.Status[0] >= '0' && m.Status[0] <= '3':
		query.Set("status", m.Status)
	default:
		return fmt.Errorf("%w: --status %q: there are 0, 1, 2, 3 and the phases %v", fanfare.ErrUsage, m.Status, fanfare.Phases())
	}
	w := tabwriter.NewWriter(io.out, 2, 4, 2, ' ', 0)
	if !m.JSON {
		fmt.Fprintln(w, "ID\tPHASE\tCHANNEL\tCREATED\tNAME")
	}
	err = pages(ctx, c, "/v1/messages", query, func(raw json.RawMessage) error {
		if m.JSON {
			_, err := fmt.Fprintf(io.out, "%s\n", raw)
			return err
		}
		var one client.Message
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", one.ID, one.Phase, one.Channel, one.CreatedAt.Format(time.DateTime), printable(one.Name))
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// pages calls fn for each item of a listing.
func pages(ctx context.Context, c *client.Client, path string, query url.Values, fn func(json.RawMessage) error) error {
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next_cursor"`
		}
		if err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, raw := range page.Items {
			if err := fn(raw); err != nil {
				return err
			}
		}
		if page.Next == nil || *page.Next == "" {
			return nil
		}
		query.Set("cursor", *page.Next)
	}
}

// one is a message named on the command line.
type one struct {
	server
	ID string `arg:"" help:"The message's id."`
}

func (o *one) path() string { return "/v1/messages/" + url.PathEscape(o.ID) }

// moved is a message that a command moves.
type moved struct {
	one
	JSON bool `name:"json" help:"Print the message as JSON."`
}

// act calls a state action and prints where the message stands.
func (o *moved) act(ctx context.Context, io streams, action string, body any) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	var m client.Message
	if err := do(ctx, c, o.path()+"/"+action, body, &raw, &m); err != nil {
		return err
	}
	if o.JSON {
		return indent(io.out, raw)
	}
	_, err = fmt.Fprintf(io.out, "message %s: %s\n", m.ID, m.Phase)
	return err
}

type startCommand struct {
	moved
	Expect *int `help:"Start only if exactly so many would be sent to."`
}

// Run starts.
func (s *startCommand) Run(ctx context.Context, io streams) error {
	body := map[string]any{}
	if s.Expect != nil {
		body["expect_recipients"] = *s.Expect
	}
	return s.act(ctx, io, "start", body)
}

type pauseCommand struct{ moved }

// Run pauses.
func (p *pauseCommand) Run(ctx context.Context, io streams) error {
	return p.act(ctx, io, "pause", nil)
}

type cancelCommand struct{ moved }

// Run cancels.
func (c *cancelCommand) Run(ctx context.Context, io streams) error {
	return c.act(ctx, io, "cancel", nil)
}

type resumeCommand struct {
	moved
	Scope  string   `enum:"remaining,failed,uncertain" default:"remaining" help:"remaining, failed or uncertain."`
	Reason []string `help:"With --scope failed: only these reasons (permanent, temporary_exhausted, technical, settled)."`
	Again  bool     `help:"With --scope uncertain: also whoever was in doubt twice, and may get a third copy."`
}

// Help teaches by example.
func (*resumeCommand) Help() string {
	return `  fanfare resume MESSAGE                                                  what remains
  fanfare resume MESSAGE --scope failed --reason temporary_exhausted      send again to these; also once it is completed
  fanfare resume MESSAGE --scope uncertain                                whose answer never came, but for those in doubt twice`
}

// Run resumes.
func (r *resumeCommand) Run(ctx context.Context, io streams) error {
	body := map[string]any{"scope": r.Scope}
	if len(r.Reason) > 0 {
		body["reasons"] = r.Reason
	}
	if r.Again {
		body["again"] = true
	}
	return r.act(ctx, io, "resume", body)
}

type settleCommand struct {
	one
	As        string   `required:"" enum:"sent,failed" help:"sent or failed."`
	Recipient []string `help:"Only these; without it all whose result is uncertain." sep:"none"`
	JSON      bool     `name:"json" help:"As JSON."`
}

// Help teaches by example.
func (*settleCommand) Help() string {
	return `  fanfare items MESSAGE --result uncertain
  fanfare settle MESSAGE --as sent --recipient u1 --recipient u2
  fanfare settle MESSAGE --as failed                           all the others`
}

// Run settles.
func (s *settleCommand) Run(ctx context.Context, io streams) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	body := map[string]any{"as": s.As}
	if len(s.Recipient) > 0 {
		body["recipients"] = s.Recipient
	}
	var raw json.RawMessage
	var done struct {
		Settled, Busy int
		Left          []string
	}
	if err := do(ctx, c, s.path()+"/settle", body, &raw, &done); err != nil {
		return err
	}
	if s.JSON {
		return indent(io.out, raw)
	}
	fmt.Fprintf(io.out, "%s settled as %s\n", number(done.Settled), s.As)
	for _, who := range done.Left {
		fmt.Fprintf(io.out, "%s is not uncertain, or is just being sent to\n", printable(who))
	}
	if done.Busy > 0 {
		return fmt.Errorf("%s are in batches that are just being sent; pause the message, or settle again in a moment", number(done.Busy))
	}
	return nil
}

type remindCommand struct {
	one
	Name string `help:"The reminder's name."`
	JSON bool   `name:"json" help:"Print the draft as JSON."`
}

// Help teaches by example.
func (*remindCommand) Help() string {
	return `The draft has the message's content and goes to whoever was sent to and has not read it when it is started.

  fanfare remind MESSAGE
  fanfare start REMINDER`
}

// Run makes a draft of the same content to whoever has not read.
func (r *remindCommand) Run(ctx context.Context, io streams) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	var of, m client.Message
	if err := c.Do(ctx, http.MethodGet, r.path(), nil, &of); err != nil {
		return err
	}
	if r.Name == "" {
		if r.Name = "Reminder"; of.Name != "" {
			r.Name += ": " + of.Name
		}
		r.Name = cutName(r.Name)
	}
	var raw json.RawMessage
	if err := do(ctx, c, r.path()+"/clone", map[string]any{"name": r.Name, "audience": map[string]any{"message": of.ID, "read": false}}, &raw, &m); err != nil {
		return err
	}
	if r.JSON {
		return indent(io.out, raw)
	}
	_, err = fmt.Fprintf(io.out, "message %s: %s\nlook at it with: fanfare preview %s --as RECIPIENT; then: fanfare start %s\n", m.ID, m.Phase, m.ID, m.ID)
	return err
}

// cutName cuts a name to what the server takes.
func cutName(s string) string {
	for len(s) > 200 {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

type previewCommand struct {
	one
	As   string `required:"" help:"The recipient's external id."`
	JSON bool   `name:"json" help:"As JSON."`
}

// Help teaches by example.
func (*previewCommand) Help() string { return `  fanfare preview MESSAGE --as u1` }

// Run previews.
func (p *previewCommand) Run(ctx context.Context, io streams) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	var out json.RawMessage
	if err := c.Do(ctx, http.MethodPost, p.path()+"/preview", map[string]string{"recipient": p.As}, &out); err != nil {
		return err
	}
	if p.JSON {
		return indent(io.out, out)
	}
	var shown struct {
		Content map[string]string
		Skipped *struct{ Reason, Detail string }
	}
	if err := json.Unmarshal(out, &shown); err != nil {
		return err
	}
	if shown.Skipped != nil {
		_, err := fmt.Fprintf(io.out, "%s would be skipped: %s %s\n", p.As, strings.ReplaceAll(shown.Skipped.Reason, "_", " "), printable(shown.Skipped.Detail))
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(shown.Content)) {
		if name != "text" && name != "html" {
			fmt.Fprintf(io.out, "%s: %s\n", name, printable(shown.Content[name]))
		}
	}
	for _, name := range []string{"text", "html"} {
		if body := shown.Content[name]; body != "" {
			fmt.Fprintf(io.out, "\n── %s ──\n", name)
			for line := range strings.SplitSeq(strings.TrimSpace(body), "\n") {
				fmt.Fprintln(io.out, printable(line))
			}
		}
	}
	return nil
}

type testCommand struct {
	one
	To   []string `required:"" help:"Addresses to send to."`
	As   string   `help:"Render as this recipient."`
	JSON bool     `name:"json" help:"As JSON."`
}

// Help teaches by example.
func (*testCommand) Help() string { return `  fanfare test MESSAGE --to me@example.com --as u1` }

// Run tests.
func (t *testCommand) Run(ctx context.Context, io streams) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	body := map[string]any{"to": t.To}
	if t.As != "" {
		body["as"] = t.As
	}
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodPost, t.path()+"/test", body, &raw); err != nil {
		return err
	}
	var out struct {
		Results []struct{ To, Result, Reason, Code, Text string }
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return err
	}
	bad := 0
	for _, r := range out.Results {
		if r.Result != string(fanfare.ResultSent) {
			bad++
		}
		if !t.JSON {
			fmt.Fprintln(io.out, printable(strings.Join(strings.Fields(strings.Join([]string{r.To + ":", r.Result, r.Reason, r.Code, r.Text}, " ")), " ")))
		}
	}
	if t.JSON {
		if err := indent(io.out, raw); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d were not sent", bad, len(out.Results))
	}
	return nil
}

func indent(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimSpace(b.Bytes()))
	return err
}

type itemsCommand struct {
	one
	Result  string `enum:",pending,in_flight,sent,failed,skipped,uncertain" default:"" help:"pending, in_flight, sent, failed, skipped or uncertain."`
	Reason  string `help:"Only this reason, such as permanent, unsubscribed or missing_field."`
	Doubted bool   `help:"Only whoever was ever in doubt: those who may have got two."`
	Read    string `enum:",true,false" default:"" help:"true: whoever has read. false: whoever was sent to and has not."`
	CSV     bool   `name:"csv" help:"As CSV."`
	JSON    bool   `name:"json" help:"One JSON object a line."`
}

// Help teaches by example.
func (*itemsCommand) Help() string {
	return `  fanfare items MESSAGE --result failed --csv > failed.csv
  fanfare items MESSAGE --result skipped --reason unsubscribed
  fanfare items MESSAGE --read false            who has not read it
  fanfare items MESSAGE --doubted               who may have got two copies: nobody else can`
}

type item struct {
	Recipient, Result, Reason, Code, Text string
	Attempts, Doubted                     int
	SentAt                                *time.Time `json:"sent_at"`
	ReadAt                                *time.Time `json:"read_at"`
}

// Run lists items.
func (i *itemsCommand) Run(ctx context.Context, io streams) error {
	c, err := i.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {"1000"}}
	if i.Result != "" {
		query.Set("result", i.Result)
	}
	if i.Reason != "" {
		query.Set("reason", i.Reason)
	}
	if i.Doubted {
		query.Set("doubted", "true")
	}
	if i.Read != "" {
		query.Set("read", i.Read)
	}
	table := csv.NewWriter(io.out)
	if !i.CSV {
		table.Comma = '\t'
	}
	if !i.JSON {
		_ = table.Write([]string{"recipient", "result", "reason", "code", "text", "attempts", "doubted", "sent_at", "read_at"})
	}
	err = pages(ctx, c, i.path()+"/items", query, func(raw json.RawMessage) error {
		if i.JSON {
			_, err := fmt.Fprintf(io.out, "%s\n", raw)
			return err
		}
		var it item
		if err := json.Unmarshal(raw, &it); err != nil {
			return err
		}
		at := func(t *time.Time) string {
			if t == nil {
				return ""
			}
			return t.Format(time.RFC3339)
		}
		return table.Write([]string{printable(it.Recipient), it.Result, it.Reason, printable(it.Code), printable(it.Text), strconv.Itoa(it.Attempts), strconv.Itoa(it.Doubted), at(it.SentAt), at(it.ReadAt)})
	})
	table.Flush()
	if err != nil {
		return err
	}
	return table.Error()
}

// printable keeps foreign text from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// number writes 1234567 as 1,234,567.
func number(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
