package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/spawn"
)

// nothing is a message of the null channel to everybody through a provider.
func nothing(provider string) map[string]any {
	return map[string]any{"name": "bench " + provider, "channel": "null", "provider": provider, "audience": map[string]string{"list": everyone}}
}

// nowhere makes a provider of the null channel.
func nowhere(ctx context.Context, s *spawn.Server, name string, chunk, conns int) error {
	return s.Do(ctx, http.MethodPut, "/v1/providers/"+name, map[string]any{"channel": "null", "url": "null:", "chunk": chunk, "connections": conns}, nil)
}

// delivery is the row `delivery`: batches of 500 to the null channel, one chunk a batch, then in chunks of 8 as e-mail is journaled.
// Half of the bare loop runs before and half after, so that a machine that changes its mind changes it for both.
func delivery(ctx context.Context, b *bench) (Row, error) {
	n := b.n(10_000_000)
	data := filepath.Join(b.dir, "delivery")
	if err := numbered(ctx, data, n); err != nil {
		return Row{}, err
	}
	before, err := b.bare(ctx, n/2)
	if err != nil {
		return Row{}, err
	}
	whole, eights, rss, err := b.deliver(ctx, data)
	if err == nil {
		err = examine(ctx, data)
	}
	if err != nil {
		return Row{}, err
	}
	after, err := b.bare(ctx, n-n/2)
	if err != nil {
		return Row{}, err
	}
	bare, bareCPU, records := before.seconds+after.seconds, (before.cpu + after.cpu).Seconds(), before.records+after.records
	return Row{What: fmt.Sprintf("null channel to %d numbered recipients, batches of 500, start to completed", n),
		Budget: "10,000,000 in one chunk a batch under 1 s; in chunks of 8 at least 0.7 of the bare loop",
		Figures: map[string]float64{"whole_batch_seconds": whole.seconds, "whole_batch_cpu_seconds": whole.cpu.Seconds(), "chunks_of_8_seconds": eights.seconds,
			"chunks_of_8_cpu_seconds": eights.cpu.Seconds(), "chunks_of_8_per_second": float64(n) / eights.seconds, "bare_seconds": bare, "bare_cpu_seconds": bareCPU,
			"bare_records": float64(records), "peak_rss_mb": float64(rss) / 1e6},
		Bare: fmt.Sprintf("the same records of 8 through Store.Append, %d a commit, nothing else: %.2f s, %.0f records/s (%.2f s half of it before, %.2f s after), %.2f s of processor",
			connections, bare, float64(records)/bare, before.seconds, after.seconds, bareCPU),
		Ratio: bare / eights.seconds,
		text: fmt.Sprintf("one chunk a batch, %d connections: %.2f s (%.2f s of processor); chunks of 8: %.2f s, %.0f chunks/s (%.2f s of processor); peak %.0f MB; doctor passes",
			wide, whole.seconds, whole.cpu.Seconds(), eights.seconds, float64(n)/8/eights.seconds, eights.cpu.Seconds(), float64(rss)/1e6)}, nil
}

// spent is what a run took.
type spent struct {
	seconds float64
	cpu     time.Duration
	records int
}

// bare measures the bare committer on n numbers in a folder of its own.
func (b *bench) bare(ctx context.Context, n int) (r spent, err error) {
	data := filepath.Join(b.dir, "bare-delivery")
	if err = numbered(ctx, data, n); err != nil {
		return r, fmt.Errorf("bare loop: %w", err)
	}
	var began time.Time
	var own time.Duration
	r.records, err = commit(ctx, data, 8, func() { began, own = time.Now(), ownCPU() })
	r.seconds, r.cpu = time.Since(began).Seconds(), ownCPU()-own
	if err == nil {
		err = examine(ctx, data)
	}
	if err := errors.Join(err, os.RemoveAll(data)); err != nil {
		return r, fmt.Errorf("bare loop: %w", err)
	}
	return r, nil
}

// wide is how many batches are under way at once where each is one chunk, so that a commit has something to group.
const wide = 512

func (b *bench) deliver(ctx context.Context, data string) (whole, eights spent, rss int64, err error) {
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return whole, eights, 0, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := errors.Join(nowhere(ctx, s, "whole", 500, wide), nowhere(ctx, s, "eights", 8, connections)); err != nil {
		return whole, eights, 0, err
	}
	if whole, err = through(ctx, s, "whole"); err != nil {
		return whole, eights, 0, err
	}
	if eights, err = through(ctx, s, "eights"); err != nil {
		return whole, eights, 0, err
	}
	rss, err = s.PeakRSS()
	return whole, eights, rss, err
}

// through sends to everybody through a provider.
func through(ctx context.Context, s *spawn.Server, provider string) (r spent, err error) {
	before, err := s.CPU()
	if err != nil {
		return r, err
	}
	id, err := message(ctx, s, nothing(provider))
	if err != nil {
		return r, err
	}
	if r.seconds, err = completed(ctx, s, id, 20*time.Minute); err != nil {
		return r, err
	}
	after, err := s.CPU()
	r.cpu = after - before
	return r, err
}

// restart is the row `restart`: kill -9 while two messages are in the middle, one to 10,000,000 numbers through the null channel, one
// e-mail message to people. What leaves is seen by the mail server, by its clock; the null channel has no outside, so its
// message is seen by its own journaled progress.
func restart(ctx context.Context, b *bench) (_ Row, err error) {
	n, mails := b.n(10_000_000), b.n(100_000)
	data := filepath.Join(b.dir, "restart")
	if err := numbered(ctx, data, n); err != nil {
		return Row{}, err
	}
	k, err := spawn.StartSink(ctx, b.Exe, "--delay", "2ms")
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, k.Stop()) }()
	if err := b.midway(ctx, data, k, n, mails); err != nil {
		return Row{}, err
	}
	size := folderSize(data)
	began := time.Now()
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return Row{}, err
	}
	ready := time.Since(began)
	moved, err := b.moves(ctx, s, began)
	var first time.Time
	if err == nil {
		first, err = firstAfter(ctx, k, s, began)
	}
	if err == nil {
		err = cancelAll(ctx, s)
	}
	if err := errors.Join(err, s.Stop()); err != nil {
		return Row{}, err
	}
	if err := examine(ctx, data); err != nil {
		return Row{}, err
	}
	outside := first.Sub(began)
	return Row{What: fmt.Sprintf("kill -9 in the middle of a message to %d numbers and one of %d e-mails; from the start of the new process", n, mails),
		Budget:  "first send under 1 s",
		Figures: map[string]float64{"first_envelope_seconds": outside.Seconds(), "numbers_move_seconds": moved.Seconds(), "ready_seconds": ready.Seconds(), "files_mb": size / 1e6},
		text: fmt.Sprintf("ready %.0f ms, first envelope at the mail server %.0f ms, the message to %d seen moving at %.0f ms at the latest; %.0f MB of files; doctor passes",
			ms(ready), ms(outside), n, ms(moved), size/1e6)}, nil
}

// folderSize is the size of all files of a folder, in bytes.
func folderSize(dir string) (size float64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if info, err := e.Info(); err == nil {
				size += float64(info.Size())
			}
		}
		return nil
	})
	return size
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// lasts is about how many seconds the messages of restart take.
const lasts = 20

// midway starts both messages and kills the server when they are in their middle.
func (b *bench) midway(ctx context.Context, data string, k *spawn.Sink, n, mails int) error {
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return err
	}
	err = importInto(ctx, s, "people", people(mails))
	if err == nil {
		err = errors.Join(mailProvider(ctx, s, k, nil), nowhere(ctx, s, "eights", 8, connections))
	}
	// Rates that last: both have to be in their middle when the process dies, and still after.
	numbers, letters := nothing("eights"), mail(map[string]any{"audience": map[string]string{"list": "people"}, "rate": max(50, mails/lasts)})
	numbers["rate"] = max(50, n/lasts)
	var id string
	if err == nil {
		id, err = message(ctx, s, numbers)
	}
	if err == nil {
		err = s.Until(ctx, "a quarter of the numbers", 20*time.Millisecond, func() (bool, error) {
			var p client.Progress
			err := s.Do(ctx, http.MethodGet, "/v1/messages/"+id+"/progress", nil, &p)
			return p.Counts.Sent > n/4, err
		})
	}
	if err == nil {
		_, err = message(ctx, s, letters)
	}
	if err == nil {
		err = s.Until(ctx, "the first envelopes", 5*time.Millisecond, func() (bool, error) {
			c, err := k.Counts(ctx)
			return c.Begun > 20, err
		})
	}
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	return s.Kill()
}

// moves waits until the message to numbers has sent more than when it was first looked at.
func (b *bench) moves(ctx context.Context, s *spawn.Server, began time.Time) (time.Duration, error) {
	var found struct{ Items []client.Message }
	if err := s.Do(ctx, http.MethodGet, "/v1/messages?name=bench%20eights", nil, &found); err != nil || len(found.Items) != 1 {
		return 0, errors.Join(err, fmt.Errorf("%d messages to numbers", len(found.Items)))
	}
	was := -1
	err := s.Until(ctx, "the message to numbers", 2*time.Millisecond, func() (bool, error) {
		var p client.Progress
		if err := s.Do(ctx, http.MethodGet, "/v1/messages/"+found.Items[0].ID+"/progress", nil, &p); err != nil {
			return false, err
		}
		if was < 0 {
			was = p.Counts.Sent
		}
		return p.Counts.Sent > was, nil
	})
	return time.Since(began), err
}

// firstAfter waits for an envelope that was begun after a time, and gives the first.
func firstAfter(ctx context.Context, k *spawn.Sink, s *spawn.Server, after time.Time) (first time.Time, err error) {
	err = s.Until(ctx, "an envelope", 5*time.Millisecond, func() (bool, error) {
		c, err := k.Counts(ctx)
		return c.LastBegun != nil && c.LastBegun.After(after), err
	})
	if err != nil {
		return first, err
	}
	entries, err := k.Ledger(ctx)
	for _, e := range entries {
		for _, at := range []time.Time{e.First, e.Last} {
			if at.After(after) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	return first, err
}

func cancelAll(ctx context.Context, s *spawn.Server) error {
	var found struct{ Items []client.Message }
	if err := s.Do(ctx, http.MethodGet, "/v1/messages?status=1", nil, &found); err != nil {
		return err
	}
	for _, m := range found.Items {
		if err := s.Do(ctx, http.MethodPost, "/v1/messages/"+m.ID+"/cancel", nil, nil); err != nil {
			return err
		}
	}
	return nil
}
