package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fanfare/cmd/fanfare/serve"
	"fanfare/cmd/fanfare/sink"
)

type importCommand struct {
	server
	File        string   `arg:"" type:"existingfile" help:"FILE.csv or FILE.ndjson, may end in .gz."`
	List        string   `help:"Add them to this list; it is made if it is missing."`
	Mode        string   `enum:"upsert,insert" default:"upsert" help:"insert refuses recipients that are there."`
	Replace     bool     `help:"The list's members become those of the file."`
	Map         []string `help:"Names of columns: 用户ID:external_id,邮箱:email."`
	EmptyRemove bool     `help:"An empty cell removes the attribute."`
	JSON        bool     `name:"json" help:"Print the import as JSON when it has ended."`
}

type importState struct {
	ID, State, Detail                                     string
	Waiting                                               *string
	Rows, Created, Updated, Unchanged, Duplicates, Failed int
}

// Help teaches by example.
func (*importCommand) Help() string {
	return `Examples:

  fanfare import people.csv --list customers
  fanfare import people.csv.gz --list 客户 --map 用户ID:external_id,邮箱:email

The first line of a CSV file names the columns: external_id (or id), email, phone, locale, time_zone; every other one is an attribute.`
}

// Run imports.
func (i *importCommand) Run(ctx context.Context, s streams) error {
	c, err := i.client()
	if err != nil {
		return err
	}
	f, err := os.Open(i.File)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	kind := "text/csv"
	if name := strings.TrimSuffix(i.File, ".gz"); strings.HasSuffix(name, ".ndjson") || strings.HasSuffix(name, ".jsonl") {
		kind = "application/x-ndjson"
	}
	query := url.Values{"mode": {i.Mode}}
	if i.List != "" {
		query.Set("list", i.List)
	}
	if i.Replace {
		query.Set("members", "replace")
	}
	if len(i.Map) > 0 {
		query.Set("map", strings.Join(i.Map, ","))
	}
	if i.EmptyRemove {
		query.Set("empty", "remove")
	}
	out := s.out
	if i.JSON {
		s.out = s.err
	}
	bar := &bar{out: s.out, width: columns(s.out), at: time.Now()}
	body := &meter{r: f, total: info.Size(), bar: bar}
	r, err := c.Send(ctx, http.MethodPost, "/v1/imports?"+query.Encode(), kind, body, nil)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	var state importState
	if err = json.NewDecoder(r.Body).Decode(&raw); err == nil {
		err = json.Unmarshal(raw, &state)
	}
	if cerr := r.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("import: the answer cannot be read: %w", err)
	}
	for state.State == "queued" || state.State == "running" {
		bar.show(state.progress())
		select {
		case <-ctx.Done():
			bar.end()
			return fmt.Errorf("import %s goes on in the server; look at GET /v1/imports/%s", state.ID, state.ID)
		case <-time.After(150 * time.Millisecond):
		}
		if err := c.Do(ctx, http.MethodGet, "/v1/imports/"+state.ID, nil, &raw); err != nil {
			return err
		}
		state = importState{}
		if err := json.Unmarshal(raw, &state); err != nil {
			return err
		}
	}
	bar.end()
	if i.JSON {
		if err := indent(out, raw); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "import %s: %s: %s rows: %s created, %s updated, %s unchanged, %s duplicates, %s refused\n", state.ID, state.State, number(state.Rows),
		number(state.Created), number(state.Updated), number(state.Unchanged), number(state.Duplicates), number(state.Failed))
	if state.Failed > 0 {
		if err := i.refused(ctx, c.Send, state.ID, s.out); err != nil {
			return err
		}
	}
	if state.State != "done" {
		return errors.New(state.Detail)
	}
	return nil
}

func (i *importState) progress() string {
	line := fmt.Sprintf("stored %s rows, %s refused", number(i.Rows), number(i.Failed))
	if i.Waiting != nil {
		return "waiting: " + *i.Waiting + " (" + line + ")"
	}
	return line
}

// refused saves the refused rows beside the imported file.
func (i *importCommand) refused(ctx context.Context, send func(context.Context, string, string, string, io.Reader, http.Header) (*http.Response, error), id string, out io.Writer) error {
	r, err := send(ctx, http.MethodGet, "/v1/imports/"+id+"/errors", "", nil, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // read to its end
	name := filepath.Base(i.File) + ".refused.csv"
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the refused rows, with line and reason: %s\n", name)
	return err
}

// bar is one redrawn line on a terminal, a plain line now and then elsewhere.
type bar struct {
	out   io.Writer
	width int // of the terminal; 0: none
	at    time.Time
	shown bool
}

func (b *bar) show(text string) {
	every := 3 * time.Second
	if b.width > 0 {
		every = 80 * time.Millisecond
	}
	if time.Since(b.at) < every {
		return
	}
	b.at = time.Now()
	if b.width > 0 {
		fmt.Fprint(b.out, redrawn(text, b.width))
		b.shown = true
	} else {
		fmt.Fprintln(b.out, text)
	}
}

func (b *bar) end() {
	if b.shown {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.shown = false
	}
}

// meter shows how much of a file has been read.
type meter struct {
	r        io.Reader
	n, total int64
	bar      *bar
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.bar.show(fmt.Sprintf("sending the file: %d%%", m.n*100/max(m.total, 1)))
	return n, err
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "fanfare", version())
	return err
}

// sinkCommand runs a mail server for trying things out.
type sinkCommand struct {
	Listen    string        `default:"127.0.0.1:2525" help:"Where to listen for SMTP." env:"FANFARE_SINK_LISTEN"`
	Status    string        `default:"127.0.0.1:2526" help:"Where to answer HTTP: /counts, /messages, /ledger, POST /mode." env:"FANFARE_SINK_STATUS"`
	Refuse    sink.Rate     `default:"0" help:"Share of addresses refused for good, such as 1%."`
	Temporary sink.Rate     `default:"0" help:"Share of addresses refused at the first try."`
	Delay     time.Duration `help:"Answer each message so late."`
	Ledger    string        `help:"Append what was accepted to this file." type:"path"`
}

// Help teaches by example.
func (*sinkCommand) Help() string {
	return `It delivers nothing. Who is refused is decided by a hash of the address, so it is the same in every run.

  fanfare sink --refuse 1% --temporary 1% --delay 20ms
  curl http://127.0.0.1:2526/                                       what it got
  curl -d '{"answer_421":true}' http://127.0.0.1:2526/mode          busy, until it is taken back; {"down":true} closes the port`
}

// Run serves until it is stopped.
func (k *sinkCommand) Run(ctx context.Context, s streams) error {
	return sink.Run(ctx, sink.Config{Listen: k.Listen, Status: k.Status, Refuse: k.Refuse, Temporary: k.Temporary, Delay: k.Delay, Ledger: k.Ledger}, s.out)
}

// constantCommand is the bare loop of the benchmark's row page.
type constantCommand struct{}

// Run serves.
func (*constantCommand) Run(ctx context.Context, io streams) error {
	return serve.Constant(ctx, "127.0.0.1:0", slog.New(slog.NewJSONHandler(io.err, nil)))
}
