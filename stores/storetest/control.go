package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fanfare"
)

func controlScenarios() []scenario {
	return []scenario{
		{"a failed update keeps nothing", failedUpdate},
		{"now is one value", oneNow},
		{"a message comes back as it was", messageRoundTrip},
		{"message numbers are never used again", messageNumbers},
		{"saving is guarded", saveGuards},
		{"messages are filtered", messageFilters},
		{"pages are stable", messagePages},
		{"look sees what is unfinished", look},
		{"leases", leases},
		{"permits", permits},
	}
}

var errBoom = errors.New("boom")

func failedUpdate(x *fixture) {
	err := x.Update(x.ctx, func(tx fanfare.ControlTx) error {
		x.ok(tx.InsertMessage(&fanfare.Message{ID: "m", State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}))
		x.ok(tx.InsertList(&fanfare.List{Name: "l"}))
		x.ok(tx.PutProvider(fanfare.Provider{Name: "p"}))
		x.ok(tx.PutSetting("s", []byte("v")))
		x.ok(tx.AddAudit(fanfare.AuditEntry{Actor: "a"}))
		if _, err := tx.Message("m"); err != nil {
			x.t.Errorf("a transaction does not see its own message: %v", err)
		}
		return errBoom
	})
	x.is(err, errBoom, "an update whose function failed")
	x.view(func(v fanfare.ControlView) error {
		_, err := v.Message("m")
		x.is(err, fanfare.ErrNotFound, "the message")
		_, err = v.List("l")
		x.is(err, fanfare.ErrNotFound, "the list")
		_, err = v.Provider("p")
		x.is(err, fanfare.ErrNotFound, "the provider")
		_, err = v.Setting("s")
		x.is(err, fanfare.ErrNotFound, "the setting")
		entries, _, err := v.Audit("", "", 10)
		x.same(entries, []fanfare.AuditEntry(nil), "the audit")
		return err
	})
	x.is(x.View(x.ctx, func(fanfare.ControlView) error { return errBoom }), errBoom, "a view whose function failed")
}

func oneNow(x *fixture) {
	want := x.now()
	x.update(func(tx fanfare.ControlTx) error {
		first := tx.Now()
		x.clock.Advance(time.Second)
		if second := tx.Now(); !first.Equal(second) || !first.Equal(want) {
			x.t.Errorf("now is %v, then %v; the clock showed %v", first, second, want)
		}
		return tx.AddAudit(fanfare.AuditEntry{Actor: "a"})
	})
	x.view(func(v fanfare.ControlView) error {
		entries, _, err := v.Audit("", "", 1)
		x.same(entries, []fanfare.AuditEntry{{At: want, Actor: "a"}}, "the audit")
		first := v.Now()
		x.clock.Advance(time.Second)
		if !v.Now().Equal(first) {
			x.t.Error("the now of a view moves")
		}
		return err
	})
}

func fullMessage(at time.Time) fanfare.Message {
	return fanfare.Message{
		ID: "full", Name: "春节 🎉 'quoted' \"name\"", Channel: fanfare.ChannelEmail, Audience: json.RawMessage(`{"list": "vip"}`),
		Content: fanfare.Content{Subject: "s", Text: "t", HTML: "<p>", From: "f", ReplyTo: "r", Headers: map[string]string{"X-A": "b"},
			Locales: map[string]fanfare.Content{"zh": {Subject: "你好", Headers: map[string]string{"X-C": "d"}}}},
		Revision: 3, Provider: "mail", Topic: "general",
		State:     fanfare.State{Phase: fanfare.PhasePausing, Generation: 7, PauseReason: fanfare.PauseRefused, PausedFrom: fanfare.PhaseSending, Ending: fanfare.PhaseExpired, Reopens: true},
		Scopes:    []fanfare.Scope{{Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonPermanent}}, {Result: fanfare.ResultUncertain, Again: true}},
		Essential: true, SendAt: at.Add(time.Hour), Trigger: &fanfare.Trigger{Event: "go", After: &fanfare.TriggerAfter{Message: "x", Phase: fanfare.PhaseCompleted, DelaySeconds: 5}},
		Rate: 0.5, Priority: fanfare.PriorityHigh, Uncertain: fanfare.PolicyHold, StartGrace: 90 * time.Minute, NotAfter: at.Add(48 * time.Hour),
		Dedupe: fanfare.DedupeAddress, Data: json.RawMessage(`{"a":  [1, 2]}`), Metadata: json.RawMessage(`{"b":null}`), Tags: []string{"one", "zwei"},
		CreatedAt: at, UpdatedAt: at.Add(time.Millisecond), StartedAt: at.Add(time.Minute), FinishedAt: at.Add(time.Hour), Outcome: fanfare.WithFailures,
		Waiting: &fanfare.WaitingFor{Reason: fanfare.WaitProviderDown, Provider: "mail", Detail: "connection refused", Since: at, NextTryAt: at.Add(time.Second)},
		Test:    true,
	}
}

func messageRoundTrip(x *fixture) {
	for _, m := range []fanfare.Message{fullMessage(x.now()), {ID: "bare", State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}, Revision: 1, CreatedAt: x.now(), UpdatedAt: x.now()}} {
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
		if m.Num <= 0 {
			x.t.Fatalf("message %s has number %d", m.ID, m.Num)
		}
		check := func(want fanfare.Message, what string) {
			x.view(func(v fanfare.ControlView) error {
				byID, err := v.Message(m.ID)
				x.ok(err)
				x.same(byID, want, what+" by id")
				byNum, err := v.MessageByNum(m.Num)
				x.same(byNum, want, what+" by number")
				return err
			})
		}
		check(m, "inserted")
		saved := fullMessage(x.now().Add(time.Hour))
		saved.ID = m.ID
		saved.Revision++
		saved.Num, saved.CreatedAt = 4711, x.now().Add(99*time.Hour)
		x.update(func(tx fanfare.ControlTx) error { return tx.SaveMessage(&saved, m.Phase, m.Generation) })
		saved.Num, saved.CreatedAt = m.Num, m.CreatedAt
		check(saved, "saved")
	}
	x.view(func(v fanfare.ControlView) error {
		_, err := v.Message("nobody")
		x.is(err, fanfare.ErrNotFound, "an unknown id")
		_, err = v.MessageByNum(4711)
		x.is(err, fanfare.ErrNotFound, "an unknown number")
		return nil
	})
}

func draft(id string, at time.Time) fanfare.Message {
	return fanfare.Message{ID: fanfare.MessageID(id), Revision: 1, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}, CreatedAt: at, UpdatedAt: at}
}

func messageNumbers(x *fixture) {
	last := fanfare.MessageNum(0)
	for i := range 5 {
		m := draft(fmt.Sprint("m", i), x.now())
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
		if m.Num <= last {
			x.t.Errorf("number %d after %d", m.Num, last)
		}
		last = m.Num
		again := draft(fmt.Sprint("m", i), x.now())
		x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&again) }), fanfare.ErrExists, "the same id")
		if i%2 == 0 {
			x.update(func(tx fanfare.ControlTx) error { return tx.DeleteMessage(m.ID) })
			x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.DeleteMessage(m.ID) }), fanfare.ErrNotFound, "deleting it again")
		}
	}
}

func saveGuards(x *fixture) {
	m := draft("m", x.now())
	x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
	m.State = fanfare.State{Phase: fanfare.PhaseSending, Generation: 2}
	save := func(from fanfare.Phase, was fanfare.Generation) error {
		return x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.SaveMessage(&m, from, was) })
	}
	x.is(save(fanfare.PhaseScheduled, 1), fanfare.ErrConflict, "another phase")
	x.is(save(fanfare.PhaseDraft, 2), fanfare.ErrConflict, "another generation")
	x.ok(save(fanfare.PhaseDraft, 1))
	x.is(save(fanfare.PhaseDraft, 1), fanfare.ErrConflict, "the same once more")
	x.ok(save(fanfare.PhaseSending, 2))
	x.update(func(tx fanfare.ControlTx) error { return tx.DeleteMessage("m") })
	x.is(save(fanfare.PhaseSending, 2), fanfare.ErrNotFound, "a message that is gone")
}

func messageFilters(x *fixture) {
	at := x.now()
	for i, p := range fanfare.Phases() {
		m := draft(fmt.Sprintf("m%d", i), at.Add(time.Duration(i)*time.Minute))
		m.Phase, m.Name = p, fmt.Sprintf("News %d%% of_%s", i, p)
		m.Tags = []string{"all", string(p)}
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
	}
	status := func(s fanfare.Status) *fanfare.Status { return &s }
	for _, c := range []struct {
		name string
		f    fanfare.MessageFilter
		want string
	}{
		{"all", fanfare.MessageFilter{}, "9 8 7 6 5 4 3 2 1 0"},
		{"not started", fanfare.MessageFilter{Status: status(fanfare.NotStarted)}, "2 1 0"},
		{"sending", fanfare.MessageFilter{Status: status(fanfare.Sending)}, "3"},
		{"paused", fanfare.MessageFilter{Status: status(fanfare.Paused)}, "6 5 4"},
		{"done", fanfare.MessageFilter{Status: status(fanfare.Done)}, "9 8 7"},
		{"phase", fanfare.MessageFilter{Phase: fanfare.PhasePausing}, "4"},
		{"tag", fanfare.MessageFilter{Tag: "sending"}, "3"},
		{"part of a tag", fanfare.MessageFilter{Tag: "send"}, ""},
		{"part of a name", fanfare.MessageFilter{Name: "f_pa"}, "6 4"},
		{"a wildcard is none", fanfare.MessageFilter{Name: "%"}, "9 8 7 6 5 4 3 2 1 0"},
		{"a wildcard matches itself only", fanfare.MessageFilter{Name: "1% "}, "1"},
		{"another case", fanfare.MessageFilter{Name: "news"}, ""},
		{"created after", fanfare.MessageFilter{CreatedAfter: at.Add(7 * time.Minute)}, "9 8"},
		{"unfinished", fanfare.MessageFilter{Unfinished: true}, "6 5 4 3 2 1"},
		{"two at once", fanfare.MessageFilter{Unfinished: true, Tag: "sending"}, "3"},
		{"limit", fanfare.MessageFilter{Limit: 2, Unfinished: true}, "6 5"},
	} {
		x.view(func(v fanfare.ControlView) error {
			items, next, err := v.Messages(c.f)
			var got []string
			for _, m := range items {
				got = append(got, strings.TrimPrefix(string(m.ID), "m"))
			}
			x.same(strings.Join(got, " "), c.want, c.name)
			if (next != "") != (c.f.Limit != 0) {
				x.t.Errorf("%s: next cursor %q", c.name, next)
			}
			return err
		})
	}
	x.view(func(v fanfare.ControlView) error {
		_, _, err := v.Messages(fanfare.MessageFilter{Cursor: "no cursor"})
		x.is(err, fanfare.ErrUsage, "a cursor that is none")
		return nil
	})
}

func messagePages(x *fixture) {
	insert := func(i int) {
		m := draft(fmt.Sprintf("m%03d", i), x.now())
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
	}
	for i := range 103 {
		insert(i)
	}
	want, cursor, pages := 102, "", 0
	for {
		var items []fanfare.Message
		var next string
		x.view(func(v fanfare.ControlView) (err error) {
			items, next, err = v.Messages(fanfare.MessageFilter{Cursor: cursor})
			return err
		})
		if len(items) > 50 {
			x.t.Fatalf("a page of %d", len(items))
		}
		for _, m := range items {
			if m.ID != fanfare.MessageID(fmt.Sprintf("m%03d", want)) {
				x.t.Fatalf("page %d: got %s, want number %d", pages, m.ID, want)
			}
			want--
		}
		pages++
		if next == "" {
			break
		}
		cursor = next
		insert(200 + pages) // what comes anew moves nothing
	}
	if want != -1 || pages != 3 {
		x.t.Errorf("%d pages, %d left", pages, want+1)
	}
}

func look(x *fixture) {
	var want []fanfare.Look
	for i, p := range fanfare.Phases() {
		m := fullMessage(x.now())
		m.ID, m.Phase, m.Generation = fanfare.MessageID(fmt.Sprint("m", i)), p, fanfare.Generation(i+1)
		if i%2 == 0 {
			m.Trigger = nil
		}
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
		if p == fanfare.PhaseDraft || p.Final() {
			continue
		}
		want = append(want, fanfare.Look{Num: m.Num, ID: m.ID, State: m.State, Revision: 3, Channel: fanfare.ChannelEmail, Provider: "mail", Rate: 0.5,
			Priority: fanfare.PriorityHigh, Uncertain: fanfare.PolicyHold, SendAt: m.SendAt, NotAfter: m.NotAfter, StartGrace: m.StartGrace, Waits: i%2 == 1, Topic: m.Topic, Essential: m.Essential})
	}
	got, err := x.Look(x.ctx)
	x.ok(err)
	x.same(got, want, "look, by number")
}

func leases(x *fixture) {
	take := func(name, holder string, ttl time.Duration) (has bool) {
		x.update(func(tx fanfare.ControlTx) (err error) {
			has, err = tx.TakeLease(name, holder, ttl)
			return err
		})
		return has
	}
	steps := []struct {
		name, holder string
		ttl, wait    time.Duration
		has          bool
	}{
		{"plan", "a", 10 * time.Second, 0, true},
		{"plan", "b", 10 * time.Second, 0, false},
		{"fold", "b", 10 * time.Second, 0, true},
		{"plan", "b", 10 * time.Second, 9999 * time.Millisecond, false},
		{"plan", "a", 10 * time.Second, 0, true}, // renewed
		{"plan", "b", 10 * time.Second, 9 * time.Second, false},
		{"plan", "b", 10 * time.Second, time.Second, true}, // it ended
		{"plan", "a", 10 * time.Second, 0, false},
		{"plan", "b", 0, 0, true}, // given up
		{"plan", "a", time.Second, 0, true},
	}
	for i, s := range steps {
		x.clock.Advance(s.wait)
		if has := take(s.name, s.holder, s.ttl); has != s.has {
			x.t.Errorf("step %d: %s has %s: %v, want %v", i, s.holder, s.name, has, s.has)
		}
	}
	_ = x.Update(x.ctx, func(tx fanfare.ControlTx) error {
		_, err := tx.TakeLease("other", "a", time.Hour)
		x.ok(err)
		return errBoom
	})
	if !take("other", "b", time.Second) {
		x.t.Error("a lease that was rolled back lives")
	}
}

func permits(x *fixture) {
	for _, rate := range []float64{0.5, 1, 4, 333, 1000} {
		name, got := fmt.Sprint("rate ", rate), 0
		const windows = 50 // ten seconds
		for range windows {
			left := fanfare.Permits(fanfare.Window(x.now()), rate)
			for _, want := range []int{1, left / 2, 0, left + 7, 3} {
				x.update(func(tx fanfare.ControlTx) error {
					window, granted, err := tx.ReservePermits(name, rate, want)
					if window != fanfare.Window(x.now()) || granted != min(want, left) {
						x.t.Errorf("rate %v, window %d of %d: %d of %d permits, %d were left", rate, window, fanfare.Window(x.now()), granted, want, left)
					}
					left -= granted
					got += granted
					return err
				})
			}
			x.clock.Advance(fanfare.RateWindow)
		}
		if want := rate * 10; float64(got) < want-1 || float64(got) > want+1 {
			x.t.Errorf("rate %v: %d permits in ten seconds", rate, got)
		}
	}
	x.update(func(tx fanfare.ControlTx) error { // the rate falls within a window
		_, first, err := tx.ReservePermits("falls", 1000, 150)
		x.ok(err)
		_, second, err := tx.ReservePermits("falls", 10, 5)
		x.same([]int{first, second}, []int{150, 0}, "permits of a falling rate")
		return err
	})
}
