package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"fanfare/cmd/fanfare/client"
)

// TestTwentyKills: kill -9, twenty times in the middle of one message. Nobody is lost; at most connections × chunk are doubted a kill;
// whoever got two copies is doubted, never more than two, under one Message-ID.
func TestTwentyKills(t *testing.T) {
	t.Parallel()
	const kills, people, connections = 20, 50_000, 8
	p := settle(t, "--delay", "2ms")
	p.people(people)
	p.provider(connections, nil)
	id := p.send(nil)
	for k := range kills {
		p.begun(int64(k+1) * people / (kills + 1))
		if g := p.progress(id); g.Counts.Doubted > k*connections*chunk {
			t.Errorf("%d doubted after %d kills: more than %d × %d × %d", g.Counts.Doubted, k, k, connections, chunk)
		}
		p.must(p.Kill())
		p.serve()
	}
	g := p.until(id, "the end", phase("completed"))
	twice := p.delivered(id, people)
	k := p.balanced(id, people)
	if k.Sent+k.Uncertain != people || k.Doubted > kills*connections*chunk || k.Doubted == 0 {
		t.Errorf("%+v", g)
	}
	t.Logf("%d kills: %d doubted, %d of them got two copies, %d uncertain", kills, k.Doubted, twice, k.Uncertain)
}

// TestTerm: SIGTERM lets answers come in and be journaled: nobody lost, nobody twice, nobody doubted.
func TestTerm(t *testing.T) {
	t.Parallel()
	const stops, people = 5, 8_000
	p := settle(t, "--delay", "2ms")
	p.people(people)
	p.provider(8, nil)
	id := p.send(nil)
	for k := range stops {
		p.begun(int64(k+1) * people / (stops + 1))
		p.must(p.Stop())
		if code := p.ExitCode(); code != 0 {
			t.Errorf("exit code %d after SIGTERM: %s", code, p.Said())
		}
		p.serve()
	}
	p.until(id, "the end", phase("completed"))
	twice := p.delivered(id, people)
	if k := p.balanced(id, people); k.Sent != people || k.Doubted != 0 || twice != 0 {
		t.Errorf("%+v, %d got two copies", k, twice)
	}
}

// TestPause: no envelope is begun more than a second after the answer to pause, at any rate, also when the server is started again
// meanwhile. Resumed, the message goes to everybody once.
func TestPause(t *testing.T) {
	for _, rate := range []int{0, 2000, 50} {
		t.Run(name(rate), func(t *testing.T) {
			t.Parallel()
			people := 12_000
			if rate > 0 && rate < 100 {
				people = 300
			}
			p := settle(t, "--delay", "2ms")
			p.people(people)
			p.provider(8, nil)
			id := p.send(limit(rate))
			p.begun(int64(people) / 6)
			called := time.Now()
			p.do(http.MethodPost, "/v1/messages/"+id+"/pause", nil, nil)
			p.silent(called)
			if g := p.progress(id); g.Phase != "paused" || g.Counts.InFlight != 0 || g.Counts.Remaining == 0 {
				t.Errorf("%+v", g)
			}
			p.must(p.Stop())
			p.serve()
			p.silent(called)
			if rate > 0 && rate < 100 {
				p.do(http.MethodPost, "/v1/messages/"+id+"/rate", map[string]any{"per_second": nil}, nil) // or it takes its time
			}
			p.do(http.MethodPost, "/v1/messages/"+id+"/resume", nil, nil)
			p.until(id, "the end", phase("completed"))
			twice := p.delivered(id, people)
			if k := p.balanced(id, people); k.Sent != people || k.Doubted != 0 || twice != 0 {
				t.Errorf("%+v, %d got two copies", k, twice)
			}
		})
	}
}

func name(rate int) string {
	if rate == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%d a second", rate)
}

func limit(rate int) map[string]any {
	if rate == 0 {
		return nil
	}
	return map[string]any{"rate": rate}
}

// silent fails if an envelope is begun more than a second after a time, watching for two and a half.
func (p *place) silent(since time.Time) {
	p.t.Helper()
	quiet(2500 * time.Millisecond)
	if c := p.counts(); c.LastBegun == nil || c.LastBegun.Sub(since) > time.Second {
		p.t.Errorf("an envelope was begun %v after the call", c.LastBegun.Sub(since))
	}
}

// TestPauseOverKill: a pause that was answered holds, also when the process is killed right after.
func TestPauseOverKill(t *testing.T) {
	t.Parallel()
	const people = 6_000
	p := settle(t, "--delay", "2ms")
	p.people(people)
	p.provider(8, nil)
	id := p.send(nil)
	p.begun(people / 4)
	called := time.Now()
	p.do(http.MethodPost, "/v1/messages/"+id+"/pause", nil, nil)
	p.must(p.Kill())
	p.serve()
	p.silent(called)
	p.until(id, "paused", phase("paused"))
	p.do(http.MethodPost, "/v1/messages/"+id+"/resume", nil, nil)
	p.until(id, "the end", phase("completed"))
	p.delivered(id, people)
	if k := p.balanced(id, people); k.Sent != people || k.Doubted > 8*chunk {
		t.Errorf("%+v", k)
	}
}

// TestCancel: no envelope is begun more than a second later, also when the process is killed right after the answer; who remained is
// skipped, reason cancelled.
func TestCancel(t *testing.T) {
	for _, c := range []struct {
		rate   int
		killed bool
	}{{0, false}, {50, false}, {0, true}} {
		rate := c.rate
		t.Run(fmt.Sprintf("%s, killed %t", name(rate), c.killed), func(t *testing.T) {
			t.Parallel()
			const people = 8_000
			p := settle(t, "--delay", "2ms")
			p.people(people)
			p.provider(8, nil)
			id := p.send(limit(rate))
			p.begun(40)
			called := time.Now()
			p.do(http.MethodPost, "/v1/messages/"+id+"/cancel", nil, nil)
			if c.killed {
				p.must(p.Kill())
				p.serve()
			}
			p.silent(called)
			p.until(id, "cancelled", phase("cancelled"))
			p.delivered(id, people)
			k := p.balanced(id, people)
			var cancelled, sent, uncertain int
			for _, it := range p.items(id, nil) {
				switch {
				case it.Result == "skipped" && it.Reason == "cancelled":
					cancelled++
				case it.Result == "sent":
					sent++
				case it.Result == "uncertain" && it.Doubted > 0 && c.killed: // in flight at the kill, and never to be tried again
					uncertain++
				}
			}
			accepted := int(p.counts().Accepted)
			if k.Sent != sent || k.Uncertain != uncertain || cancelled+sent+uncertain != people || cancelled == 0 || uncertain > 8*chunk {
				t.Errorf("%d sent, %d cancelled, %d uncertain; %+v", sent, cancelled, uncertain, k)
			}
			if accepted < sent || accepted > sent+uncertain {
				t.Errorf("%d sent, %d uncertain, but the mail server has %d", sent, uncertain, accepted)
			}
		})
	}
}

// TestRate: a new rate takes effect within a second and is kept within 10 %, by the mail server's clock.
func TestRate(t *testing.T) {
	t.Parallel()
	const people = 20_000
	p := settle(t)
	p.people(people)
	p.provider(8, nil)
	id := p.send(limit(300))
	for _, rate := range []int{300, 1000, 100} {
		p.do(http.MethodPost, "/v1/messages/"+id+"/rate", map[string]any{"per_second": rate}, nil)
		from := time.Now().Add(time.Second)
		const span = 3 * time.Second
		quiet(time.Second + span + 200*time.Millisecond)
		n := 0
		for _, e := range p.ledger() {
			if !e.First.Before(from) && e.First.Before(from.Add(span)) {
				n++
			}
		}
		// A window is 200 ms: the edges may hold one more or one less.
		want, edge := float64(rate)*span.Seconds(), float64(rate)/5
		if float64(n) < 0.9*want-edge || float64(n) > 1.1*want+edge {
			t.Errorf("%d envelopes in %s at %d a second", n, span, rate)
		}
		t.Logf("at %d a second: %.1f a second", rate, float64(n)/span.Seconds())
	}
	p.do(http.MethodPost, "/v1/messages/"+id+"/rate", map[string]any{"per_second": nil}, nil)
	p.until(id, "the end", phase("completed"))
	if k := p.balanced(id, people); k.Sent != people || k.Doubted != 0 {
		t.Errorf("%+v", k)
	}
}

// TestDoctorAndBackupWhileSending: the doctor finds nothing to say beside a server that is sending, and a copy that is made meanwhile is whole.
func TestDoctorAndBackupWhileSending(t *testing.T) {
	t.Parallel()
	const people = 10_000
	p := settle(t, "--delay", "2ms", "--refuse", "2%", "--temporary", "2%")
	p.people(people)
	p.provider(8, map[string]any{"retry": map[string]any{"attempts": 4, "first": "200ms", "most": "1s"}})
	id := p.send(nil)
	p.begun(people / 10)
	for p.progress(id).Phase == "sending" {
		if code, out := p.run(nil, "doctor", "--data", p.data); code != 0 {
			t.Fatalf("exit %d: %s", code, out)
		}
		copied := t.TempDir()
		if code, out := p.run(nil, "backup", filepath.Join(copied, "fanfare.db"), "--data", p.data); code != 0 {
			t.Fatalf("exit %d: %s", code, out)
		}
		if code, out := p.run(nil, "doctor", "--data", copied); code != 0 {
			t.Fatalf("a copy: exit %d: %s", code, out)
		}
	}
	p.until(id, "the end", phase("completed"))
	p.balanced(id, people)
}

func waiting(reason string) func(client.Progress) bool {
	return func(g client.Progress) bool { return g.Waiting != nil && g.Waiting.Reason == reason }
}
