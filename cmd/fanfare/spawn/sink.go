package spawn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/sink"
)

// Sink is a mail sink in a process of its own.
type Sink struct {
	*Process
	SMTP string // host:port
	*client.Client
}

// StartSink starts `fanfare sink` on free ports.
func StartSink(ctx context.Context, exe string, more ...string) (*Sink, error) {
	args := append([]string{"sink", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"}, more...)
	var smtp, status string // each on a line of its own
	p, err := begin(exe, args, nil, func(line []byte) string {
		for word := range strings.FieldsSeq(string(line)) {
			word = strings.Trim(word, ",;.()")
			if at, ok := strings.CutPrefix(word, "smtp://"); ok {
				smtp = strings.TrimSuffix(at, "/")
			} else if at, ok := strings.CutPrefix(word, "http://"); ok {
				status, _, _ = strings.Cut(at, "/")
			}
		}
		if smtp != "" && status != "" {
			return smtp + " " + status
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	at, err := p.address(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	smtpAt, statusAt, _ := strings.Cut(at, " ")
	c, err := client.New("http://"+statusAt, "", "")
	return &Sink{Process: p, SMTP: smtpAt, Client: c}, err
}

// Counts reads its sums.
func (k *Sink) Counts(ctx context.Context) (c sink.Counts, err error) {
	return c, k.Do(ctx, http.MethodGet, "/counts", nil, &c)
}

// Mode tells it to be down, to answer 421, or neither.
func (k *Sink) Mode(ctx context.Context, down, answer421 bool) error {
	return k.Do(ctx, http.MethodPost, "/mode", map[string]bool{"down": down, "answer_421": answer421}, nil)
}

// Messages reads the last messages that it kept whole, newest first.
func (k *Sink) Messages(ctx context.Context, limit int) (kept []sink.Message, err error) {
	return kept, k.Do(ctx, http.MethodGet, "/messages?limit="+strconv.Itoa(limit), nil, &kept)
}

// Ledger reads what it knows of every address that an envelope was begun for.
func (k *Sink) Ledger(ctx context.Context) ([]sink.Entry, error) {
	r, err := k.Send(ctx, http.MethodGet, "/ledger", "", nil, nil)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close() //nolint:errcheck // read to its end
	var all []sink.Entry
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for head := true; lines.Scan(); head = false {
		if head {
			continue
		}
		e, err := entry(strings.Split(lines.Text(), "\t"))
		if err != nil {
			return nil, fmt.Errorf("ledger: %q: %w", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all, lines.Err()
}

func entry(cells []string) (e sink.Entry, err error) {
	if len(cells) != 5 {
		return e, errors.New("not five cells")
	}
	var bad [3]error
	e.Address = cells[0]
	e.Copies, bad[0] = strconv.Atoi(cells[1])
	e.First, bad[1] = time.Parse(time.RFC3339Nano, cells[2])
	e.Last, bad[2] = time.Parse(time.RFC3339Nano, cells[3])
	if e.Copies > 0 {
		e.MessageIDs = strings.Split(cells[4], ",")
	}
	return e, errors.Join(bad[:]...)
}
