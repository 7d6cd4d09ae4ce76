package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/sink"
	"fanfare/cmd/fanfare/spawn"
)

const connections = 32

// mailServer is a server with n imported people and a provider that is the sink.
func (b *bench) mailServer(ctx context.Context, name string, n int, k *spawn.Sink) (*spawn.Server, error) {
	data := filepath.Join(b.dir, name)
	s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
	if err != nil {
		return nil, err
	}
	err = importInto(ctx, s, everyone, people(n))
	if err == nil {
		err = mailProvider(ctx, s, k, nil)
	}
	// A new process: the memory that the import took is not the sending's.
	if err := errors.Join(err, s.Stop()); err != nil {
		return nil, err
	}
	return spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
}

func mailProvider(ctx context.Context, s *spawn.Server, k *spawn.Sink, more map[string]any) error {
	p := map[string]any{"channel": "email", "url": "smtp://" + k.SMTP + "?starttls=off", "from": "News <news@fanfare.example>", "connections": connections, "chunk": 8}
	maps.Copy(p, more)
	return s.Do(ctx, http.MethodPut, "/v1/providers/mail", p, nil)
}

func mail(more map[string]any) map[string]any {
	m := map[string]any{"name": "bench", "channel": "email", "audience": map[string]string{"list": everyone},
		"content": map[string]string{"subject": "Hello {{ first_name }}", "html": html()}}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// email is the row `email`.
func email(ctx context.Context, b *bench) (_ Row, err error) {
	n := b.n(300_000)
	k, err := spawn.StartSink(ctx, b.Exe)
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, k.Stop()) }()
	s, err := b.mailServer(ctx, "email", n, k)
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	prepared, err := prepare(ctx, s, k)
	if err != nil {
		return Row{}, err
	}
	bare, err := b.bareMail(ctx, k, n, prepared)
	if err != nil {
		return Row{}, err
	}
	used, err := cpu(s.Process, k.Process)
	if err != nil {
		return Row{}, err
	}
	id, err := message(ctx, s, mail(nil))
	if err != nil {
		return Row{}, err
	}
	took, err := completed(ctx, s, id, 10*time.Minute)
	if err != nil {
		return Row{}, err
	}
	now, err := cpu(s.Process, k.Process)
	if err != nil {
		return Row{}, err
	}
	rss, err := s.PeakRSS()
	if err != nil {
		return Row{}, err
	}
	after, err := b.bareMail(ctx, k, n, prepared)
	if err != nil {
		return Row{}, err
	}
	signed, signing, signingCPU, err := b.signedMail(ctx, s, k, n)
	if err != nil {
		return Row{}, err
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
	bareSeconds, cpuMail, cpuBare := (bare.seconds+after.seconds)/2, each(now-used), each(bare.cpu+after.cpu)/2
	return Row{What: fmt.Sprintf("%d e-mails of 5 kB HTML, personalised, journaled, %d connections, SMTP on loopback, no DKIM", n, connections),
		Budget: "at least 0.7 of the bare loop, under 150 MB",
		Figures: map[string]float64{"seconds": took, "per_second": float64(n) / took, "bare_per_second": float64(n) / bareSeconds, "peak_rss_mb": float64(rss) / 1e6,
			"cpu_microseconds_each": cpuMail, "bare_cpu_microseconds_each": cpuBare, "dkim_per_second": float64(signed) / signing,
			"dkim_cpu_microseconds_each": float64(signingCPU.Microseconds()) / float64(signed)},
		Bare: fmt.Sprintf("pipelined SMTP of one of these mails, prepared, to the same sink: %.0f/s (%.0f before, %.0f after), %.1f µs of processor each", float64(n)/bareSeconds,
			float64(n)/bare.seconds, float64(n)/after.seconds, cpuBare),
		Ratio: bareSeconds / took,
		text: fmt.Sprintf("%.2f s, %.0f/s, peak %.0f MB; %.1f µs of processor each, mail server included (by processor time the ratio is %.2f); %d signed with RSA-2048 DKIM: %.0f/s, %.0f µs of processor each", took,
			float64(n)/took, float64(rss)/1e6, cpuMail, cpuBare/cpuMail, signed, float64(signed)/signing, float64(signingCPU.Microseconds())/float64(signed))}, nil
}

type bareRun struct {
	seconds float64
	cpu     time.Duration // ours and the mail server's
}

// bareMail runs the bare loop in this process.
func (b *bench) bareMail(ctx context.Context, k *spawn.Sink, n int, prepared []byte) (r bareRun, err error) {
	before, err := cpu(k.Process)
	if err != nil {
		return r, err
	}
	own := ownCPU()
	took, err := sink.BareLoop(ctx, k.SMTP, connections, n, prepared)
	if err != nil {
		return r, err
	}
	own = ownCPU() - own
	after, err := cpu(k.Process)
	return bareRun{seconds: took.Seconds(), cpu: after - before + own}, err
}

// prepare gives the bytes of one of the very mails that the row sends, for the bare loop: a draft of the message is sent as a test.
func prepare(ctx context.Context, s *spawn.Server, k *spawn.Sink) ([]byte, error) {
	var draft client.Message
	if err := s.Do(ctx, http.MethodPost, "/v1/messages", mail(map[string]any{"name": "prepared"}), &draft); err != nil {
		return nil, err
	}
	path := "/v1/messages/" + draft.ID
	if err := s.Do(ctx, http.MethodPost, path+"/test", map[string]any{"recipients": []string{person(1)[0]}}, nil); err != nil {
		return nil, err
	}
	kept, err := k.Messages(ctx, 1)
	if err != nil {
		return nil, err
	}
	if len(kept) != 1 || strings.Contains(kept[0].Raw, "\r\n.") {
		return nil, fmt.Errorf("%d mails of the test arrived, or one with dots to stuff", len(kept))
	}
	return []byte(kept[0].Raw), s.Do(ctx, http.MethodDelete, path, nil, nil)
}

// pauseRow is the row `pause`: from the call to the last envelope that the mail server saw begin, at several rates.
func pauseRow(ctx context.Context, b *bench) (_ Row, err error) {
	n := max(b.n(300_000), 30_000) // it has to last until it is paused
	k, err := spawn.StartSink(ctx, b.Exe)
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, k.Stop()) }()
	s, err := b.mailServer(ctx, "pause", n, k)
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	row := Row{What: "from the call of pause to silence at the mail server", Budget: "under 1 s at any rate limit", Figures: map[string]float64{}}
	for _, rate := range []int{0, 2000, 50} {
		more := map[string]any{}
		if rate > 0 {
			more["rate"] = rate
		}
		silence, err := b.silence(ctx, s, k, mail(more))
		if err != nil {
			return Row{}, err
		}
		name := "no limit"
		if rate > 0 {
			name = fmt.Sprintf("%d/s", rate)
		}
		row.Figures[name] = silence.Seconds()
		row.text += fmt.Sprintf("%s: %.0f ms  ", name, float64(silence.Microseconds())/1000)
	}
	return row, nil
}

func (b *bench) silence(ctx context.Context, s *spawn.Server, k *spawn.Sink, draft map[string]any) (time.Duration, error) {
	was, err := k.Counts(ctx)
	if err != nil {
		return 0, err
	}
	id, err := message(ctx, s, draft)
	if err != nil {
		return 0, err
	}
	if err := s.Until(ctx, "sending", 5*time.Millisecond, func() (bool, error) {
		c, err := k.Counts(ctx)
		return c.Begun > was.Begun+20, err
	}); err != nil {
		return 0, err
	}
	called := time.Now()
	if err := s.Do(ctx, http.MethodPost, "/v1/messages/"+id+"/pause", nil, nil); err != nil {
		return 0, err
	}
	if err := wait(ctx, 3*time.Second); err != nil {
		return 0, err
	}
	c, err := k.Counts(ctx)
	if err != nil || c.LastBegun == nil {
		return 0, err
	}
	if err := s.Do(ctx, http.MethodPost, "/v1/messages/"+id+"/cancel", nil, nil); err != nil {
		return 0, err
	}
	return max(0, c.LastBegun.Sub(called)), nil
}
