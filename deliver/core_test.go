package deliver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fanfare"
)

func TestBreakerOpensAfterTenFailuresInARow(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	down := true
	var tries []time.Duration
	h.dial = func(Dial) error {
		tries = append(tries, h.now)
		if down {
			return &fanfare.SendError{Step: "connect", Err: errNo}
		}
		return nil
	}
	h.provide = func(s Send) []Said { return all(s, fanfare.SendOK) }
	m := h.message("m", "a", 8, nil)
	began := h.now
	h.task("a", m, 0, 1)
	h.advance(40 * time.Second)
	for i := range tries {
		tries[i] -= began
	}
	want := make([]time.Duration, breakerRow, breakerRow+5)
	for _, s := range []time.Duration{1, 3, 7, 15, 30} { // 1 s, doubling to 15 s
		want = append(want, s*time.Second)
	}
	if !slices.Equal(tries, want) {
		t.Fatalf("tried at %v, want %v", tries, want)
	}
	w := h.core.Report().Waiting[m]
	if w.Reason != fanfare.WaitProviderDown || w.Provider != "a" || w.Detail == "" || w.Next != Instant(began+45*time.Second) {
		t.Fatalf("waits for %+v", w)
	}
	if n := h.core.Report().Free["a"]; n != 0 {
		t.Fatalf("%d claims are free with a provider that is down", n)
	}
	down = false
	h.advance(10 * time.Second)
	if row := h.row(m, 0); row.State != fanfare.BatchDone || row.Sent != 8 || len(h.exceptions(m)) != 0 {
		t.Fatalf("%s, %v: somebody was used up by a provider that was down", told(row), h.exceptions(m))
	}
	if len(h.core.Report().Waiting) != 0 || h.core.Report().Free["a"] == 0 {
		t.Fatalf("still waits: %+v", h.core.Report())
	}
}

// TestBreakerCountsAFailureOfManyPlacesOnce: a provider that was dialled five times in vain for two places each was given up.
func TestBreakerCountsAFailureOfManyPlacesOnce(t *testing.T) {
	var c Core
	l := &lane{}
	for row := 1; row <= breakerRow; row++ {
		for _, again := range []bool{false, true} {
			if l.breaker.open {
				t.Fatalf("open after %d failures", row-1)
			}
			c.conns = map[ConnID]*conn{1: {lane: l}}
			l.dialing++
			c.dialed(Dialed{Conn: 1, Err: errNo, Again: again})
			if row == breakerRow {
				break
			}
		}
	}
	if !l.breaker.open || l.breaker.row != breakerRow {
		t.Fatalf("%+v", l.breaker)
	}
	probe := &conn{lane: l}
	l.breaker.probe, c.conns[2] = probe, probe
	l.dialing++
	c.dialed(Dialed{Conn: 2, Err: errNo, Again: true})
	if l.breaker.probe != nil || l.breaker.wait != 2*breakerFirst {
		t.Fatalf("the one that tries is not heard: %+v", l.breaker)
	}
}

func TestBusyProviderOpensTheBreakerAtOnce(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	busy := true
	h.dial = func(Dial) error {
		if busy {
			return &fanfare.SendError{Step: "greeting", Busy: true, Code: "421"}
		}
		return nil
	}
	h.provide = func(s Send) []Said { return all(s, fanfare.SendOK) }
	m := h.message("m", "a", 8, nil)
	h.task("a", m, 0, 1)
	if n := len(h.dials); n > 2 { // both connections were dialled together
		t.Fatalf("%d tries", n)
	}
	if w := h.core.Report().Waiting[m]; w.Reason != fanfare.WaitProviderDown {
		t.Fatalf("waits for %+v", w)
	}
	before := len(h.dials)
	h.advance(900 * time.Millisecond)
	if len(h.dials) != before {
		t.Fatal("tried within a second")
	}
	busy = false
	h.advance(200 * time.Millisecond)
	if h.row(m, 0).State != fanfare.BatchDone {
		t.Fatalf("%s", told(h.row(m, 0)))
	}
}

func TestHalfOpenBreakerLetsOneConnectionTryAndUsesNobodyUp(t *testing.T) {
	h := newHand(t, 40, smtp("a"))
	m := h.message("m", "a", 40, nil)
	h.task("a", m, 0, 1)
	first := h.take()
	if len(first) != 2 {
		t.Fatalf("%d chunks for two connections", len(first))
	}
	h.step(Sent{Conn: first[0].Conn, Answers: make([]Said, 4), Err: &fanfare.SendError{Step: "mail", Busy: true, Code: "421"}})
	h.step(Sent{Conn: first[1].Conn, Answers: all(first[1], fanfare.SendTemporary)})
	h.advance(900 * time.Millisecond)
	if len(h.sends) != 0 {
		t.Fatal("sends while the breaker is open")
	}
	h.advance(200 * time.Millisecond)
	if len(h.sends) != 1 {
		t.Fatalf("%d connections try", len(h.sends))
	}
	try := h.take()[0]
	h.step(Sent{Conn: try.Conn, Answers: all(try, fanfare.SendTemporary)})
	h.advance(1900 * time.Millisecond)
	if len(h.sends) != 0 {
		t.Fatal("a refusal closes the breaker, or the wait does not double")
	}
	if x := h.exceptions(m); len(x) != 0 {
		t.Fatalf("refusals while the breaker is open count: %+v", x)
	}
	h.advance(200 * time.Millisecond)
	try = h.take()[0]
	h.step(Sent{Conn: try.Conn, Answers: all(try, fanfare.SendOK)})
	if len(h.sends) != 2 {
		t.Fatalf("an accepted envelope does not close it: %d connections send", len(h.sends))
	}
}

// TestRateIsKept: over any ten seconds what was begun is the rate's, one window more or less.
func TestRateIsKept(t *testing.T) {
	for _, rate := range []float64{0.7, 3, 33.3, 250} {
		for _, of := range []string{"message", "provider"} {
			t.Run(fmt.Sprintf("%s, %g a second", of, rate), func(t *testing.T) {
				p := smtp("a")
				if of == "provider" {
					p.Rate = rate
				}
				people := int(rate*60) + 100
				h := newHand(t, people, p)
				var begun []time.Duration
				h.provide = func(s Send) []Said {
					if !s.Chunk.Pass.May(Instant(h.now)) {
						t.Fatal("may not send")
					}
					for range s.Chunk.Items {
						begun = append(begun, h.now)
					}
					return all(s, fanfare.SendOK)
				}
				m := h.message("m", "a", 500, func(m *fanfare.Message) {
					if of == "message" {
						m.Rate = rate
					}
				})
				tasks := make([]*paper, (people+499)/500)
				from := h.now
				for h.now < from+40*time.Second {
					for batch := range tasks {
						if p := tasks[batch]; p == nil || p.returned {
							tasks[batch] = h.task("a", m, fanfare.BatchNo(batch), 1)
						}
					}
					h.advance(time.Second)
				}
				const span = 10 * time.Second
				window := max(1, rate/5)
				for at := from; at < from+30*time.Second; at += 37 * time.Millisecond {
					n := 0
					for _, b := range begun {
						if b >= at && b < at+span {
							n++
						}
					}
					if d := float64(n) - 10*rate; d > window+1 || d < -window-1 {
						t.Fatalf("%d within ten seconds from %v on", n, at-from)
					}
				}
			})
		}
	}
}

func TestRetryWaitsAcrossClaims(t *testing.T) {
	h := newHand(t, 4, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	s := h.take()[0]
	refused := h.now
	h.step(Sent{Conn: s.Conn, Answers: []Said{{SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendTemporary, Code: "451"}}, {SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendOK}},
		{SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendOK}}, {SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendOK}}}})
	row := h.row(m, 0)
	wait := row.NotBefore.Sub(h.clock())
	if row.Owner != (fanfare.Owner{}) || wait < 3200*time.Millisecond || wait > 4800*time.Millisecond {
		t.Fatalf("given up until %v from now: %s", wait, told(row))
	}
	if w := h.core.Report().Waiting[m]; w.Reason != fanfare.WaitBackoff || w.Next != Instant(refused+wait) {
		t.Fatalf("waits for %+v", w)
	}
	if p := h.task("a", m, 0, 1); !p.acked || len(h.sends) != 0 {
		t.Fatal("claimed before its time")
	}
	// Somebody else claims it a moment after it was due: the second refusal waits four times as long.
	h.advance(wait)
	h.core = NewCore(CoreConfig{Owner: fanfare.Owner{Node: "other", Incarnation: 1}})
	h.step(configured(smtp("a")))
	h.advance(time.Second)
	h.task("a", m, 0, 1)
	s = h.take()[0]
	if len(s.Chunk.Items) != 1 || s.Chunk.Items[0].Attempt != 2 {
		t.Fatalf("%+v", s.Chunk.Items)
	}
	h.step(Sent{Conn: s.Conn, Answers: all(s, fanfare.SendTemporary)})
	if wait := h.row(m, 0).NotBefore.Sub(h.clock()); wait < 12800*time.Millisecond || wait > 19200*time.Millisecond {
		t.Fatalf("the second wait is %v", wait)
	}
	h.advance(20 * time.Second)
	h.task("a", m, 0, 1)
	s = h.take()[0]
	h.step(Sent{Conn: s.Conn, Answers: all(s, fanfare.SendTemporary)})
	x := h.exceptions(m)
	if row := h.row(m, 0); row.State != fanfare.BatchDone || row.Failed != 1 || x[0].Reason != fanfare.ReasonTemporaryExhausted || x[0].Attempts != 3 {
		t.Fatalf("%s, %+v", told(row), x)
	}
}

// TestRetryThatComesDueWhileItsBatchIsGivenUpTakesNoConnection: it did, for good, until no connection was left.
func TestRetryThatComesDueWhileItsBatchIsGivenUpTakesNoConnection(t *testing.T) {
	h := newHand(t, 4, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	s := h.take()[0]
	h.broken = func(fanfare.Entry) error { return errNo } // the last record hangs in the air until the retries are due
	h.step(Sent{Conn: s.Conn, Answers: all(s, fanfare.SendTemporary)})
	h.advance(6 * time.Second)
	h.broken = nil
	h.advance(time.Second)
	if row := h.row(m, 0); row.Owner != (fanfare.Owner{}) || row.Pending.Len() != 4 {
		t.Fatalf("%s", told(row))
	}
	h.provide = func(s Send) []Said { return all(s, fanfare.SendOK) }
	h.advance(5 * time.Second) // the wait counts from when the refusals were journaled
	h.task("a", m, 0, 1)
	if row := h.row(m, 0); row.State != fanfare.BatchDone || row.Sent != 4 {
		t.Fatalf("%s", told(row))
	}
}

func TestNewRevisionWithinABatchIsNotedForWhoeverGetsIt(t *testing.T) {
	h := newHand(t, 12, smtp("a"))
	m := h.message("m", "a", 12, nil)
	h.task("a", m, 0, 1)
	old := h.take()
	h.edit("m", func(m *fanfare.Message) { m.Revision = 2 })
	h.advance(300 * time.Millisecond)
	h.step(Sent{Conn: old[0].Conn}) // four with the first, and one more chunk is made
	fresh := h.take()[0]
	if fresh.Chunk.Revision != 2 {
		t.Fatalf("revision %d is sent after the second was seen", fresh.Chunk.Revision)
	}
	h.step(Sent{Conn: fresh.Conn})
	h.step(Sent{Conn: old[1].Conn}) // an answer with the first comes after one with the second
	row := h.row(m, 0)
	if row.State != fanfare.BatchDone || len(row.Runs) != 2 {
		t.Fatalf("%s", told(row))
	}
	for rank := range 12 {
		want := fanfare.Revision(1)
		if rank >= 8 {
			want = 2
		}
		if it := row.Item(rank, nil, ""); it.Revision != want {
			t.Errorf("rank %d had revision %d, want %d", rank, it.Revision, want)
		}
	}
}

func TestStopEndsWhatIsUnderWayAndBeginsNothing(t *testing.T) {
	h := newHand(t, 40, smtp("a"))
	m := h.message("m", "a", 20, nil)
	h.task("a", m, 0, 1)
	under := h.take()
	h.step(Stopping{})
	if under[0].Chunk.Pass.May(Instant(h.now)) {
		t.Fatal("an item may leave while the node stops")
	}
	if h.core.Done() {
		t.Fatal("done with chunks under way")
	}
	late := h.task("a", m, 1, 1)
	if !late.returned || late.acked {
		t.Fatal("a task that comes while the node stops is not given back")
	}
	h.step(Sent{Conn: under[0].Conn, Answers: append(all(under[0], fanfare.SendOK)[:1], make([]Said, 3)...)})
	h.step(Sent{Conn: under[1].Conn})
	row := h.row(m, 0)
	if !h.core.Done() || len(h.sends) != 0 {
		t.Fatal("not done, or something was begun")
	}
	if row.Sent != 5 || row.Pending.Len() != 15 || !row.InFlight.Empty() || !row.Doubted.Empty() || row.Owner != (fanfare.Owner{}) {
		t.Fatalf("%s", told(row))
	}
	if h.closed != 2 {
		t.Fatalf("%d connections closed", h.closed)
	}
}

func TestMessageWithARateHoldsFewClaims(t *testing.T) {
	h := newHand(t, 40, smtp("a"))
	m := h.message("m", "a", 4, func(m *fanfare.Message) { m.Rate = 1 })
	held := 0
	for batch := range fanfare.BatchNo(5) {
		switch p := h.task("a", m, batch, 1); {
		case p.acked:
			held++
		case !p.returned || p.delay != capWait:
			t.Fatalf("task %d is neither claimed nor given back for a second: %+v", batch, p)
		}
	}
	if held != 2 {
		t.Fatalf("%d claims for a person a second", held)
	}
}

// TestLaneWithARateLeavesClaimsForOthers: a giant held all claims of a slow provider, and who was urgent waited until one of them was sent.
func TestLaneWithARateLeavesClaimsForOthers(t *testing.T) {
	slow := smtp("a")
	slow.Rate = 20
	h := newHand(t, 40, slow)
	giant := h.message("giant", "a", 4, func(m *fanfare.Message) { m.Priority = fanfare.PriorityLow })
	held := 0
	for batch := range fanfare.BatchNo(5) {
		if h.task("a", giant, batch, 1).acked {
			held++
		}
	}
	if free := h.core.Report().Free["a"]; held != 2 || free < 2 {
		t.Fatalf("%d claims for twenty people a second, %d free", held, free)
	}
	urgent := h.message("urgent", "a", 4, func(m *fanfare.Message) { m.Priority = fanfare.PriorityHigh })
	if !h.task("a", urgent, 0, 1).acked {
		t.Fatal("the urgent one is not claimed")
	}
}

// TestChunksAreSharedByPriority: with enough waiting for each, six to three to one.
func TestChunksAreSharedByPriority(t *testing.T) {
	p := smtp("a")
	p.Connections = 1
	h := newHand(t, 400, p)
	priorities := []fanfare.Priority{fanfare.PriorityLow, fanfare.PriorityHigh, fanfare.PriorityNormal}
	var nums []fanfare.MessageNum
	for _, priority := range priorities {
		nums = append(nums, h.message(fanfare.MessageID(priority), "a", 400, func(m *fanfare.Message) { m.Priority = priority }))
	}
	h.broken = func(e fanfare.Entry) error { return nil }
	for _, m := range nums {
		h.task("a", m, 0, 1)
	}
	counts := make(map[fanfare.MessageNum]int)
	for range 60 {
		s := h.take()[0]
		counts[s.Chunk.Ref.Message]++
		h.step(Sent{Conn: s.Conn})
	}
	for i, want := range []int{6, 36, 18} {
		if got := counts[nums[i]]; got < want-2 || got > want+2 {
			t.Errorf("%s: %d of 60 chunks, want about %d", priorities[i], got, want)
		}
	}
}

func TestThousandAnswersWithMoreThanHalfRefusedPauseOnce(t *testing.T) {
	p := smtp("a")
	p.Chunk = 10
	h := newHand(t, 3000, p)
	refused := 0
	h.provide = func(s Send) []Said {
		said := all(s, fanfare.SendOK)
		for i := range said {
			if (refused+i)%2 == 0 || i == 1 { // six of ten
				said[i].Kind = fanfare.SendPermanent
			}
		}
		return said
	}
	m := h.message("m", "a", 100, nil)
	for batch := range fanfare.BatchNo(9) {
		h.task("a", m, batch, 1)
	}
	if len(h.refusals) != 0 {
		t.Fatal("refused before there were a thousand answers")
	}
	h.task("a", m, 9, 1)
	if len(h.refusals) != 1 || h.refusals[0] != (Refuse{ID: "m", Generation: 1}) {
		t.Fatalf("%+v", h.refusals)
	}
	h.task("a", m, 10, 1)
	if len(h.refusals) != 1 {
		t.Fatal("refused twice in one generation")
	}
	h.event("m", fanfare.EventRefused)
	h.advance(time.Second)
	h.event("m", fanfare.EventResume)
	h.advance(time.Second)
	for batch := range fanfare.BatchNo(9) {
		h.task("a", m, 11+batch, 3)
	}
	if len(h.refusals) != 1 {
		t.Fatal("not counted anew after a resume")
	}
	h.task("a", m, 20, 3)
	if len(h.refusals) != 2 || h.refusals[1].Generation != 3 {
		t.Fatalf("%+v", h.refusals)
	}
}

func TestAsManyRefusedAsSentPauseNothing(t *testing.T) {
	h := newHand(t, 2000, smtp("a"))
	h.provide = func(s Send) []Said {
		said := all(s, fanfare.SendOK)
		said[0].Kind, said[1].Kind = fanfare.SendPermanent, fanfare.SendPermanent
		return said
	}
	m := h.message("m", "a", 500, nil)
	for batch := range fanfare.BatchNo(4) {
		h.task("a", m, batch, 1)
	}
	if len(h.refusals) != 0 || h.row(m, 3).Failed != 250 {
		t.Fatalf("%+v after half were refused", h.refusals)
	}
}

func TestMembersThatCannotBeReadAreReadAgainWhileTheClaimIsKept(t *testing.T) {
	h := newHand(t, 4, smtp("a"))
	h.provide = func(s Send) []Said { return all(s, fanfare.SendOK) }
	m := h.message("m", "a", 4, nil)
	h.unread = errNo
	h.task("a", m, 0, 1)
	h.advance(41 * time.Second)
	if row := h.row(m, 0); !row.Claimed(h.clock()) || h.loads < 100 || h.loads > 200 {
		t.Fatalf("%d tries, %s", h.loads, told(row))
	}
	if w := h.core.Report().Waiting[m]; w.Reason != fanfare.WaitJournal {
		t.Fatalf("waits for %+v", w)
	}
	h.unread = nil
	h.advance(time.Second)
	if row := h.row(m, 0); row.State != fanfare.BatchDone {
		t.Fatalf("%s", told(row))
	}
}

// TestFullDiskIsTriedAFewTimesASecond: commits failed and readings did not, so the core looked and wrote again without a rest.
func TestFullDiskIsTriedAFewTimesASecond(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	s := h.take()[0]
	tries := 0
	h.full, h.broken = true, func(fanfare.Entry) error {
		tries++
		return errNo
	}
	h.step(Sent{Conn: s.Conn})
	if h.peeks != 1 || tries != 2 {
		t.Fatalf("%d looks and %d tries in the first moment", h.peeks, tries)
	}
	h.advance(10 * time.Second)
	if h.peeks < 35 || h.peeks > 42 || tries > 43 {
		t.Fatalf("%d looks and %d tries in ten seconds", h.peeks, tries)
	}
	before := h.peeks
	for range 20 { // a claim is given back, and comes again from the queue
		if p := h.task("a", m, 1, 1); p.returned {
			t.Fatal("a claim comes again at once")
		}
	}
	if h.peeks != before {
		t.Fatalf("%d looks", h.peeks-before)
	}
	h.advance(time.Second)
	h.broken = nil
	h.advance(time.Second)
	if row := h.row(m, 0); row.State != fanfare.BatchDone || row.Sent != 4 {
		t.Fatalf("%s", told(row))
	}
}

// TestProfilesThatComeAfterTheirClaimIsOverAreForgotten: they were kept for as long as the node ran.
func TestProfilesThatComeAfterTheirClaimIsOverAreForgotten(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.slow = 5 * time.Second
	h.task("a", m, 0, 1)
	h.advance(time.Second)
	h.event("m", fanfare.EventPause)
	h.advance(time.Second)
	if h.row(m, 0).Owner != (fanfare.Owner{}) || len(h.loaded) > 0 {
		t.Fatal("the claim is kept")
	}
	h.advance(10 * time.Second)
	if h.loads != 1 || len(h.loaded) > 0 {
		t.Fatalf("%d loads; kept are %v", h.loads, h.loaded)
	}
}

// TestContentThatCannotBeReadIsTheStoresFault: it ended the connection, and opened the breaker.
func TestContentThatCannotBeReadIsTheStoresFault(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	m := h.message("m", "a", 8, nil)
	tries := 0
	h.task("a", m, 0, 1)
	for range 40 {
		for _, s := range h.take() {
			tries++
			h.step(Sent{Conn: s.Conn, Answers: all(s, fanfare.NotBegun), Unread: errNo})
		}
		h.advance(125 * time.Millisecond)
	}
	if w := h.core.Report().Waiting[m]; w.Reason != fanfare.WaitShard || w.Detail == "" {
		t.Fatalf("waits for %+v", w)
	}
	if tries < 30 || tries > 42 || h.closed != 0 || len(h.dials) != 2 {
		t.Fatalf("%d tries in five seconds, %d connections dialled, %d closed", tries, len(h.dials), h.closed)
	}
	if row := h.row(m, 0); !row.Claimed(h.clock()) || len(h.exceptions(m)) != 0 {
		t.Fatalf("%s", told(row))
	}
	for range 2 {
		for _, s := range h.take() {
			h.step(Sent{Conn: s.Conn})
		}
		h.advance(time.Second)
	}
	if row := h.row(m, 0); row.State != fanfare.BatchDone || row.Sent != 8 || len(h.core.Report().Waiting) != 0 {
		t.Fatalf("%s, %+v", told(row), h.core.Report())
	}
}

func TestDamagedAudienceHoldsItsBatches(t *testing.T) {
	h := newHand(t, 4, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.store.Damage(m, 0, fanfare.PartSend)
	h.task("a", m, 0, 1)
	row := h.row(m, 0)
	if row.State != fanfare.BatchHeld || row.Held == "" || row.Pending.Len() != 4 || row.Owner != (fanfare.Owner{}) || len(h.sends) != 0 {
		t.Fatalf("%s", told(row))
	}
	if h.core.Report().Claims["a"] != 0 {
		t.Fatal("the claim is kept")
	}
}

func TestReportSaysWhyAMessageWaits(t *testing.T) {
	h := newHand(t, 400, smtp("a"))
	h.provide = func(s Send) []Said { return all(s, fanfare.SendOK) }
	m := h.message("m", "a", 4, func(m *fanfare.Message) { m.Rate = 0.1 })
	h.task("a", m, 0, 1)
	waits := func(want fanfare.Waiting) {
		t.Helper()
		if w := h.core.Report().Waiting[m]; w.Reason != want {
			t.Fatalf("waits for %+v, want %q", w, want)
		}
	}
	h.advance(time.Second)
	waits("")
	h.advance(4 * time.Second)
	waits(fanfare.WaitRate)
	h.deaf = errNo
	h.advance(time.Second)
	waits(fanfare.WaitShard)
	h.deaf = nil
	h.broken = func(fanfare.Entry) error { return errNo }
	h.advance(30 * time.Second)
	waits(fanfare.WaitJournal)
	h.broken = nil
	h.advance(30 * time.Second)
	if w := h.core.Report().Waiting[m]; w.Reason == fanfare.WaitJournal || w.Reason == fanfare.WaitShard {
		t.Fatalf("still waits for %+v", w)
	}
}

// TestChangedProviderReachesConnectionsThatAreBusyOrBeingDialled: only those that were idle were closed, and only if the URL was another.
func TestChangedProviderReachesConnectionsThatAreBusyOrBeingDialled(t *testing.T) {
	for name, change := range map[string]func(*fanfare.Provider){
		"url":     func(p *fanfare.Provider) { p.URL = "smtp://elsewhere" },
		"only_to": func(p *fanfare.Provider) { p.OnlyTo = []string{"*@example.com"} },
		"timeout": func(p *fanfare.Provider) { p.Timeout = time.Second },
		"rate":    func(p *fanfare.Provider) { p.Rate, p.Retry.Attempts, p.Default = 1000, 2, true },
	} {
		t.Run(name, func(t *testing.T) {
			for _, dialling := range []bool{false, true} {
				p := smtp("a")
				h := newHand(t, 40, p)
				m := h.message("m", "a", 40, nil)
				h.dial = func(Dial) error {
					if dialling && len(h.dials) == 1 { // the answers come after it
						change(&p)
						h.post(configured(p))
					}
					return nil
				}
				h.task("a", m, 0, 1)
				if !dialling {
					change(&p)
					h.step(configured(p))
					for _, s := range h.take() {
						h.step(Sent{Conn: s.Conn})
					}
				}
				former, sends := h.dials[:2], h.take()
				kept := slices.ContainsFunc(sends, func(s Send) bool { return s.Conn == former[0].Conn || s.Conn == former[1].Conn })
				if len(sends) != 2 || kept != (name == "rate") || !kept && h.closed != 2 {
					t.Errorf("dialling %v: %d are closed; of %v, sends are on %v and %v", dialling, h.closed, h.dials, sends[0].Conn, sends[1].Conn)
				}
			}
		})
	}
}

func TestClaimOfAWholeBatchTakesNoConnectionOfAChangedProvider(t *testing.T) {
	p := smtp("a")
	p.Chunk = 500
	h := newHand(t, 8, p)
	bare := Configured{Lanes: []Setting{{Name: "a", Provider: p, Bare: true}}}
	h.step(bare)
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	h.step(Sent{Conn: h.take()[0].Conn})
	bare.Lanes[0].Provider.URL = "smtp://elsewhere"
	h.step(bare, Received{Lane: "a", Deliveries: []fanfare.Delivery{&paper{task: fanfare.Task{BatchRef: fanfare.BatchRef{Message: m, Batch: 1}, Generation: 1}}}})
	if s := h.take(); len(s) != 1 || len(h.dials) != 2 || s[0].Conn != h.dials[1].Conn {
		t.Fatalf("%d sends, of %v", len(s), h.dials)
	}
}

// TestBatchesTakenWholeAreClaimedOneAConnection: and the items of a chunk are used again only when its results are durable.
func TestBatchesTakenWholeAreClaimedOneAConnection(t *testing.T) {
	p := smtp("a")
	p.Chunk = 500
	h := newHand(t, 12, p)
	h.step(Configured{Lanes: []Setting{{Name: "a", Provider: p, Bare: true}}})
	m := h.message("m", "a", 4, nil)
	free := func(want int) {
		t.Helper()
		if n := h.core.Report().Free["a"]; n != want {
			t.Fatalf("%d claims are free, want %d", n, want)
		}
	}
	free(2)
	h.task("a", m, 0, 1)
	h.task("a", m, 1, 1)
	free(0)
	under := h.take()
	h.step(Sent{Conn: under[0].Conn})
	free(1)
	h.task("a", m, 2, 1)
	for i, s := range append(under[1:], h.take()...) {
		for rank, it := range s.Chunk.Items {
			if want := (fanfare.Member{Rank: rank, Seq: fanfare.Seq(4 + 4*i + rank)}); it.Member != want || len(s.Chunk.Items) != 4 { //nolint:gosec // small
				t.Fatalf("batch %v: %+v of %d, want %+v", s.Chunk.Ref, it, len(s.Chunk.Items), want)
			}
		}
	}
	free(0)
}

func TestFewerConnectionsTakeEffectWhileThereIsWork(t *testing.T) {
	p := smtp("a")
	p.Connections = 3
	h := newHand(t, 400, p)
	m := h.message("m", "a", 400, nil)
	h.task("a", m, 0, 1)
	under := h.take()
	if len(under) != 3 {
		t.Fatalf("%d chunks", len(under))
	}
	p.Connections = 1
	h.step(configured(p))
	for _, s := range under {
		h.step(Sent{Conn: s.Conn})
	}
	if len(h.sends) != 1 || h.closed != 2 {
		t.Fatalf("%d chunks under way, %d connections closed", len(h.sends), h.closed)
	}
}

// TestConnectionWaitsForItsAnswersToBeJournaledBeforeItServesAnotherBatch: a crash in between would have put more in doubt than the
// connections hold.
func TestConnectionWaitsForItsAnswersToBeJournaledBeforeItServesAnotherBatch(t *testing.T) {
	p := smtp("a")
	p.Connections = 1
	h := newHand(t, 8, p)
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	h.task("a", m, 1, 1)
	s := h.take()[0]
	h.advance(11 * time.Second) // a renewal is due
	h.broken = func(e fanfare.Entry) error {
		if e.Ref().Batch == 0 {
			return errNo
		}
		return nil
	}
	h.advance(10 * time.Second) // and hangs in the air
	h.step(Sent{Conn: s.Conn})  // so the answers have to wait
	if row := h.row(m, 1); len(h.sends) != 0 || !row.InFlight.Empty() {
		t.Fatalf("the next batch has %d in flight, the first one still has %d", row.InFlight.Len(), h.row(m, 0).InFlight.Len())
	}
	h.broken = nil
	h.advance(time.Second)
	if row := h.row(m, 1); len(h.sends) != 1 || row.InFlight.Len() != 4 || h.row(m, 0).State != fanfare.BatchDone {
		t.Fatalf("%s", told(row))
	}
}

// TestTaskOfTheNextGenerationComesAgain: it was dropped while the former claim was being given up, and ten seconds were lost.
func TestTaskOfTheNextGenerationComesAgain(t *testing.T) {
	h := newHand(t, 4, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	h.event("m", fanfare.EventPause)
	h.event("m", fanfare.EventResume)
	if p := h.task("a", m, 0, 3); p.acked || !p.returned {
		t.Fatalf("%+v", p)
	}
}

func TestTaskOfABatchThatIsHeldHereIsDropped(t *testing.T) {
	h := newHand(t, 4, smtp("a"))
	m := h.message("m", "a", 4, nil)
	h.task("a", m, 0, 1)
	if p := h.task("a", m, 0, 1); !p.acked || p.returned {
		t.Fatalf("%+v", p)
	}
}

func TestUnknownAnswersWhileCancellingAreNotTriedAgain(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	m := h.message("m", "a", 8, nil)
	h.task("a", m, 0, 1)
	under := h.take()
	h.step(Sent{Conn: under[0].Conn, Answers: all(under[0], fanfare.SendUnknown)})
	if row := h.row(m, 0); row.Uncertain != 0 || row.Doubted.Len() != 4 {
		t.Fatalf("a first doubt is tried again: %s", told(row))
	}
	h.event("m", fanfare.EventCancel)
	h.advance(time.Second)
	h.step(Sent{Conn: under[1].Conn, Answers: all(under[1], fanfare.SendUnknown)})
	for _, s := range h.take() { // of the first four, granted before the cancel
		h.step(Sent{Conn: s.Conn, Answers: make([]Said, len(s.Chunk.Items))})
	}
	if row := h.row(m, 0); row.Uncertain != 4 || row.Doubted.Len() != 8 || row.Pending.Len() != 4 || row.Owner != (fanfare.Owner{}) {
		t.Fatal(told(row))
	}
}

// TestClaimThatWasNotDoneLeavesWhoIsInFlightOfAFormerOneInDoubt: a claim whose answer was lost is looked up; a row that is ours from a
// former claim, which this node believes lost, shows people in flight who were sent to.
func TestClaimThatWasNotDoneLeavesWhoIsInFlightOfAFormerOneInDoubt(t *testing.T) {
	h := newHand(t, 8, smtp("a"))
	m := h.message("m", "a", 8, nil)
	h.task("a", m, 0, 1)
	under := h.take()
	h.broken = func(e fanfare.Entry) error { // an earlier copy of the record lands first: what comes now is stale
		h.store.Append(h.Context(), 0, []fanfare.Entry{e})
		return nil
	}
	h.step(Sent{Conn: under[0].Conn})
	h.broken = func(fanfare.Entry) error { return errNo }
	h.step(Sent{Conn: under[1].Conn})
	h.task("a", m, 0, 1)
	h.broken = nil
	h.advance(time.Second)
	if row := h.row(m, 0); row.Owner != (fanfare.Owner{}) || row.InFlight.Len() != 4 {
		t.Fatalf("it is not given up, or who was sent to counts as pending: %s", told(row))
	}
	h.task("a", m, 0, 1)
	if row := h.row(m, 0); row.Doubted.Len() != 4 {
		t.Fatal(told(row))
	}
}
