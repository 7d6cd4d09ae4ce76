package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"fanfare/cmd/fanfare/client"
)

type statusCommand struct {
	one
	Watch bool `help:"Follow it until it is done."`
	JSON  bool `name:"json" help:"As JSON; with --watch one object a line."`
}

// Help teaches by example.
func (*statusCommand) Help() string {
	return `The balance says of everybody in the audience, exactly once, what became of them.

  fanfare status MESSAGE --watch
  fanfare status MESSAGE --json | jq .counts.sent`
}

// Run shows progress.
func (s *statusCommand) Run(ctx context.Context, io streams) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	if s.Watch && s.JSON {
		return c.Watch(ctx, s.ID, func(p client.Progress) error {
			_, err := fmt.Fprintf(io.out, "%s\n", p.Raw)
			return err
		})
	}
	if s.Watch {
		return watch(ctx, c, s.ID, io, false)
	}
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodGet, s.path()+"/progress", nil, &raw); err != nil {
		return err
	}
	if s.JSON {
		return indent(io.out, raw)
	}
	var p client.Progress
	if err := json.Unmarshal(raw, &p); err != nil {
		return err
	}
	fmt.Fprintln(io.out, line(p))
	fmt.Fprint(io.out, balance(p.Counts, p.Balanced))
	return nil
}

// watch follows a message to its end; wait makes another end than completed an error.
func watch(ctx context.Context, c *client.Client, id string, io streams, wait bool) error {
	width := columns(io.out)
	var last client.Progress
	var printed time.Time
	stop := errors.New("paused")
	err := c.Watch(ctx, id, func(p client.Progress) error {
		last = p
		switch {
		case width > 0:
			fmt.Fprint(io.out, redrawn(line(p), width))
		case time.Since(printed) > 5*time.Second || p.Status == 3:
			fmt.Fprintln(io.out, line(p))
			printed = time.Now()
		}
		if wait && p.Phase == "paused" {
			return stop
		}
		return nil
	})
	if width > 0 {
		fmt.Fprintln(io.out)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no longer watching; the message goes on in the server: fanfare status %s --watch", id)
	}
	if err != nil && !errors.Is(err, stop) {
		return err
	}
	fmt.Fprint(io.out, balance(last.Counts, last.Balanced))
	if wait && last.Phase != "completed" {
		return fmt.Errorf("message %s is %s: %w", id, last.Phase, errEnded)
	}
	if last.Counts.Failed > 0 {
		fmt.Fprintf(io.out, "%s failed; see who and why with: fanfare items %s --result failed\n", number(last.Counts.Failed), id)
	}
	return nil
}

// redrawn writes text over the line that the cursor is on, cut so that it does not wrap.
func redrawn(text string, width int) string {
	if r := []rune(text); len(r) >= width {
		text = string(r[:width-1])
	}
	return "\r\x1b[K" + text
}

// line is a progress as one line.
func line(p client.Progress) string {
	k := p.Counts
	over := k.Planned - k.Remaining - k.InFlight
	if p.Phase == "cancelled" || p.Phase == "expired" { // who remained is called skipped
		over = k.Sent + k.Failed + k.Uncertain
	}
	share := 0.0
	if k.Planned > 0 {
		share = float64(over) * 100 / float64(k.Planned)
	} else if p.Phase == "completed" {
		share = 100
	}
	const width = 24
	full := min(width, max(0, int(share*width/100)))
	text := fmt.Sprintf("%-10s [%s%s] %5.1f%%  %s sent", p.Phase, strings.Repeat("#", full), strings.Repeat("·", width-full), share, number(k.Sent))
	if k.Failed > 0 {
		text += fmt.Sprintf(", %s failed", number(k.Failed))
	}
	if k.Uncertain > 0 {
		text += fmt.Sprintf(", %s uncertain", number(k.Uncertain))
	}
	text += fmt.Sprintf(" of %s", number(k.Planned))
	if p.Rate > 0 {
		text += fmt.Sprintf(", %s/s", number(int(p.Rate)))
	}
	if p.ETA != nil && *p.ETA > 0 && *p.ETA < 1e8 {
		text += ", " + time.Duration(*p.ETA*float64(time.Second)).Round(time.Second).String() + " to go"
	}
	if p.Waiting != nil {
		text += fmt.Sprintf("  waiting: %s %s", p.Waiting.Reason, printable(p.Waiting.Detail))
	}
	return text
}

// balance is the sum that proves that nobody is lost.
func balance(k client.Counts, balanced bool) string {
	verdict := "balanced"
	if !balanced {
		verdict = "DOES NOT BALANCE: run fanfare doctor"
	}
	reads := ""
	if k.Read > 0 || k.Seen > 0 {
		reads = fmt.Sprintf("of the sent, read %s (%.1f%%), seen %s\n", number(k.Read), math.Floor(float64(k.Read)*1000/float64(max(k.Sent, 1)))/10, number(k.Seen))
	}
	return fmt.Sprintf("audience %s = sent %s + failed %s + skipped %s + uncertain %s + remaining %s + in flight %s   %s (ever in doubt: %s)\n",
		number(k.Audience), number(k.Sent), number(k.Failed), number(k.Skipped), number(k.Uncertain), number(k.Remaining), number(k.InFlight), verdict, number(k.Doubted)) + reads
}
