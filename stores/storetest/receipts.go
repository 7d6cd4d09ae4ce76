package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"pgregory.net/rapid"

	"fanfare"
	"fanfare/set"
)

func receiptScenarios() []scenario {
	return []scenario{
		{"what is logged is true in the next answer", receiptsTrueAtOnce},
		{"what nobody logs", receiptsRefused},
		{"borders of containers", receiptBorders},
		{"times far apart", receiptsFarApart},
		{"any order of marks and folds equals the model", receiptsModel},
		{"two kinds race while somebody folds", receiptsRace},
		{"the head rises with what is new", receiptsHead},
		{"the tail", receiptsTail},
		{"the tail of a whole flood", receiptsFlood},
		{"news of what inboxes show", receiptsNews},
		{"a message that is forgotten", receiptsForgotten},
		{"after a kill, whatever was folded", receiptsCrash},
		{"two processes on one database", receiptsTwoProcesses},
		{"a damaged row", receiptsDamage},
		{"a backup", receiptsBackup},
	}
}

// picture is what the receipts of a store have to be.
type picture map[fanfare.MessageNum]map[fanfare.Person]*fanfare.Receipted

// log says what a store has to answer.
func (p picture) log(now time.Time, r fanfare.Receipt) fanfare.Logged {
	if p[r.Message] == nil {
		p[r.Message] = make(map[fanfare.Person]*fanfare.Receipted)
	}
	known := p[r.Message][r.Person]
	if known == nil {
		known = new(fanfare.Receipted)
		p[r.Message][r.Person] = known
	}
	if r.Decide(fanfare.MinuteOf(now), func(k fanfare.ReceiptKind) fanfare.Stamp { return known[k] }, known.Note) {
		return fanfare.LoggedNew
	}
	return fanfare.LoggedBefore
}

// same compares what a store tells of a message.
func (p picture) same(x *fixture, st fanfare.Store, m fanfare.MessageNum, when string) {
	x.t.Helper()
	for s := range fanfare.Slot(slots) {
		want, seqs := make(map[fanfare.ReceiptKind]*set.Set), set.New()
		for who, known := range p[m] {
			if who.Slot != s {
				continue
			}
			seqs.Add(who.Seq)
			for _, k := range fanfare.ReceiptKinds() {
				if known[k].At != 0 {
					if want[k] == nil {
						want[k] = set.New()
					}
					want[k].Add(who.Seq)
				}
			}
		}
		counts := make(map[fanfare.ReceiptKind]int)
		for _, k := range fanfare.ReceiptKinds() {
			got, err := st.ReceiptSet(x.ctx, m, s, k)
			x.ok(err)
			if want[k] == nil {
				want[k] = set.New()
			} else {
				counts[k] = want[k].Len()
			}
			if !got.Equal(want[k]) {
				x.t.Fatalf("%s: slot %d: %v of %v, want %v", when, s, k, got.ToArray(), want[k].ToArray())
			}
		}
		got, err := st.ReceiptCounts(x.ctx, m, s)
		x.ok(err)
		x.same(got, counts, when+": counts")
		asked := append(seqs.ToArray(), 77_777_777)
		times, err := st.ReceiptTimes(x.ctx, m, s, asked)
		x.ok(err)
		for i, seq := range asked {
			known := p[m][fanfare.Person{Slot: s, Seq: seq}]
			if known == nil {
				known = new(fanfare.Receipted)
			}
			x.same(times[i], *known, fmt.Sprintf("%s: slot %d, seq %d", when, s, seq))
		}
		p.sameChunks(x, st, m, s, when)
	}
}

// sameChunks compares what a store tells for inboxes: that needs no delivery.
func (p picture) sameChunks(x *fixture, st fanfare.Store, m fanfare.MessageNum, s fanfare.Slot, when string) {
	x.t.Helper()
	want := map[uint16]map[fanfare.ReceiptKind]fanfare.InboxMarks{0: nil, 3: nil} // asked of in any case
	people := make(map[uint16][]fanfare.Seq)
	for who := range p[m] {
		if who.Slot == s {
			chunk := uint16(who.Seq >> 16) //nolint:gosec // the high half
			people[chunk], want[chunk] = append(people[chunk], who.Seq), nil
		}
	}
	for chunk, seqs := range people {
		slices.Sort(seqs)
		marks := make(map[fanfare.ReceiptKind]fanfare.InboxMarks)
		for _, k := range fanfare.InboxKinds() {
			for _, seq := range seqs {
				if at := p[m][fanfare.Person{Slot: s, Seq: seq}][k].At; at != 0 {
					of := marks[k]
					marks[k] = fanfare.InboxMarks{Lows: append(of.Lows, uint16(seq)), At: append(of.At, at)} //nolint:gosec // the low half
				}
			}
		}
		if len(marks) > 0 {
			want[chunk] = marks
		}
	}
	for chunk, marks := range want {
		parts, err := st.InboxChunk(x.ctx, s, chunk, []fanfare.MessageNum{m + 1000, m, m})
		x.ok(err)
		for i, p := range parts {
			x.ok(p.MarksDamaged)
			if i == 0 {
				x.same(p.Marks, map[fanfare.ReceiptKind]fanfare.InboxMarks(nil), when+": marks of no message")
				continue
			}
			x.same(p.Marks, marks, fmt.Sprintf("%s: slot %d, chunk %d of inboxes", when, s, chunk))
		}
	}
}

// log logs receipts of one or more shards and compares the answers.
func (x *fixture) log(st fanfare.Store, p picture, receipts ...fanfare.Receipt) {
	x.t.Helper()
	shards := make(map[int][]fanfare.Receipt)
	for _, r := range receipts {
		shards[st.ShardOf(r.Slot)] = append(shards[st.ShardOf(r.Slot)], r)
	}
	for shard, these := range shards {
		want := make([]fanfare.Logged, len(these))
		for i, r := range these {
			want[i] = p.log(x.now(), r)
		}
		got, err := st.LogReceipts(x.ctx, shard, these)
		x.ok(err)
		x.same(got, want, "answers")
	}
}

func mark(m fanfare.MessageNum, s fanfare.Slot, seq fanfare.Seq, k fanfare.ReceiptKind) fanfare.Receipt {
	return fanfare.Receipt{Message: m, Person: fanfare.Person{Slot: s, Seq: seq}, Kind: k}
}

// folded folds all there is.
func (x *fixture) folded(st fanfare.Store) {
	x.t.Helper()
	for shard := range st.Shards() {
		for more := true; more; {
			var err error
			more, err = st.Fold(x.ctx, shard)
			x.ok(err)
		}
	}
}

func receiptsTrueAtOnce(x *fixture) {
	p, m := picture{}, x.message()
	for i, k := range fanfare.ReceiptKinds() {
		r := mark(m, 1, fanfare.Seq(i), k)
		r.Source = fanfare.SourceInferred
		x.log(x.Store, p, r)
		p.same(x, x.Store, m, "after "+k.String())
		x.log(x.Store, p, r, r)
	}
	x.clock.Advance(time.Hour)
	read := mark(m, 1, 0, fanfare.ReceiptRead)
	x.log(x.Store, p, read, mark(m, 1, 0, fanfare.ReceiptUnread), read, mark(m, 2, 0, fanfare.ReceiptClicked), mark(m, 1, 0, fanfare.ReceiptArchived))
	p.same(x, x.Store, m, "in one call")
	x.folded(x.Store)
	p.same(x, x.Store, m, "folded")
	x.log(x.Store, p, read, mark(m, 1, 0, fanfare.ReceiptUnread), mark(m, 1, 0, fanfare.ReceiptUnarchived))
	early := read
	early.At, early.Source = x.now().Add(-30*time.Minute), fanfare.SourceReported // before it was marked unread
	x.log(x.Store, p, early)
	early.Seq = 7
	x.log(x.Store, p, early)
	p.same(x, x.Store, m, "over what was folded")
	picture{}.same(x, x.Store, m+1, "another message")
	if got, err := x.ReceiptSet(x.ctx, m, 1, 0); err != nil || !got.Empty() {
		x.t.Errorf("a kind that is none: %v (%v)", got, err)
	}
	x.is(func() error { _, err := x.ReceiptSet(x.ctx, m, slots, fanfare.ReceiptRead); return err }(), fanfare.ErrUsage, "a slot that is none")
}

func receiptsRefused(x *fixture) {
	good := mark(1, 0, 0, fanfare.ReceiptRead)
	head := x.identity().Head
	for what, bad := range map[string]fanfare.Receipt{
		"no kind": mark(1, 0, 0, 0), "an unknown kind": mark(1, 0, 0, 11), "a slot that is none": mark(1, slots, 0, fanfare.ReceiptRead),
		"no message": mark(0, 0, 0, fanfare.ReceiptRead), "an unknown source": {Message: 1, Kind: fanfare.ReceiptRead, Source: 3},
	} {
		_, err := x.LogReceipts(x.ctx, x.ShardOf(0), []fanfare.Receipt{good, bad})
		x.is(err, fanfare.ErrUsage, what)
	}
	for _, shard := range []int{-1, x.Shards()} {
		_, err := x.LogReceipts(x.ctx, shard, []fanfare.Receipt{good})
		x.is(err, fanfare.ErrUsage, "a shard that is none")
		_, err = x.Tail(x.ctx, shard, 0)
		x.is(err, fanfare.ErrUsage, "its tail")
		_, err = x.Fold(x.ctx, shard)
		x.is(err, fanfare.ErrUsage, "folding it")
	}
	picture{}.same(x, x.Store, 1, "nothing was logged")
	if got, err := x.LogReceipts(x.ctx, 0, nil); err != nil || len(got) > 0 {
		x.t.Errorf("no receipts: %v (%v)", got, err)
	}
	if now := x.identity().Head; now != head {
		x.t.Errorf("the head was %d, is %d", head, now)
	}
}

func receiptBorders(x *fixture) {
	p, m := picture{}, x.message()
	seqs := []fanfare.Seq{0, 65_535, 65_536, 131_071, 131_072, 1 << 31, set.Universe - 2}
	for round := range 3 {
		for i, seq := range seqs {
			kind := []fanfare.ReceiptKind{fanfare.ReceiptRead, fanfare.ReceiptArchived, fanfare.ReceiptUnread}[(i+round)%3]
			x.log(x.Store, p, mark(m, 3, seq, kind), mark(m, 3, seq+1, fanfare.ReceiptSeen))
		}
		x.clock.Advance(time.Minute)
		p.same(x, x.Store, m, "logged")
		x.folded(x.Store)
		p.same(x, x.Store, m, "folded")
	}
	for _, seq := range seqs { // rows without anybody go
		x.log(x.Store, p, mark(m, 3, seq, fanfare.ReceiptUnread), mark(m, 3, seq, fanfare.ReceiptUnarchived))
	}
	x.folded(x.Store)
	p.same(x, x.Store, m, "nobody has read")
	if c, err := x.ReceiptCounts(x.ctx, m, 3); err != nil || c[fanfare.ReceiptRead] != 0 || c[fanfare.ReceiptArchived] != 0 {
		x.t.Errorf("still %v (%v)", c, err)
	}
}

func receiptsFarApart(x *fixture) {
	p, m := picture{}, x.message()
	for i, before := range []time.Duration{0, time.Hour, 65_535 * time.Minute, 65_536 * time.Minute, 400 * 24 * time.Hour, 1 << 62} {
		r := mark(m, 0, fanfare.Seq(7-i), fanfare.ReceiptRead)
		r.At, r.Source = x.now().Add(-before), fanfare.ReadSource(i%3) //nolint:gosec // small
		x.log(x.Store, p, r)
		p.same(x, x.Store, m, "logged")
		x.folded(x.Store)
		p.same(x, x.Store, m, fmt.Sprint("folded, back to ", before))
		x.log(x.Store, p, mark(m, 0, fanfare.Seq(7-i), fanfare.ReceiptRead))
	}
}

func receiptsModel(x *fixture) {
	st, p := x.Store, picture{}
	rapid.Check(x.t, func(t *rapid.T) {
		m := x.message()
		kinds := rapid.SampledFrom(fanfare.ReceiptKinds())
		receipt := rapid.Custom(func(t *rapid.T) fanfare.Receipt {
			r := mark(m, fanfare.Slot(rapid.IntRange(0, 1).Draw(t, "slot")), rapid.SampledFrom([]fanfare.Seq{1, 2, 3, 65_535, 65_536, 200_000}).Draw(t, "seq"), kinds.Draw(t, "kind")) //nolint:gosec // small
			r.Source = fanfare.ReadSource(rapid.IntRange(0, 2).Draw(t, "source"))                                                                                                      //nolint:gosec // small
			if ago := rapid.IntRange(-1, 5).Draw(t, "ago"); ago >= 0 {
				r.At = x.now().Add(-time.Duration(ago) * 40 * time.Second)
			}
			return r
		})
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				x.folded(st)
			case 1:
				_, err := st.Fold(x.ctx, st.ShardOf(0))
				x.ok(err)
			case 2:
				x.clock.Advance(time.Duration(rapid.IntRange(-2, 4).Draw(t, "minutes")) * time.Minute)
			case 3:
				if x.backend.Reopen != nil && rapid.IntRange(0, 3).Draw(t, "reopen") == 0 {
					st = x.backend.Reopen(x.t)
					x.Store = st
				}
			default:
				x.log(st, p, rapid.SliceOfN(receipt, 1, 6).Draw(t, "receipts")...)
			}
		}
		p.same(x, st, m, "after the steps")
		x.folded(st)
		p.same(x, st, m, "folded")
	})
}

// receiptsRace: each call that is told that read began, or ended, is right, so that they add up to who has read.
func receiptsRace(x *fixture) {
	const workers, people, rounds = 6, 40, 30
	m := x.message()
	var mu sync.Mutex
	balance, seen := make(map[fanfare.Seq]int), make(map[fanfare.Seq]int) // guarded by mu
	stop := make(chan struct{})
	var folder, markers sync.WaitGroup
	folder.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := x.Fold(x.ctx, x.ShardOf(2)); err != nil {
				x.t.Error(err)
			}
		}
	})
	for w := range workers {
		markers.Go(func() {
			for i := range rounds {
				var these []fanfare.Receipt
				for n := range 3 {
					seq := fanfare.Seq((w*7 + i*11 + n*13) % people * 3000) //nolint:gosec // small
					these = append(these, mark(m, 2, seq, []fanfare.ReceiptKind{fanfare.ReceiptRead, fanfare.ReceiptUnread, fanfare.ReceiptSeen}[(w+i+n)%3]))
				}
				got, err := x.LogReceipts(x.ctx, x.ShardOf(2), these)
				if err != nil {
					x.t.Error(err)
					return
				}
				mu.Lock()
				for n, r := range these {
					if got[n] != fanfare.LoggedNew {
						continue
					}
					switch r.Kind {
					case fanfare.ReceiptRead:
						balance[r.Seq]++
					case fanfare.ReceiptUnread:
						balance[r.Seq]--
					case fanfare.ReceiptSeen:
						seen[r.Seq]++
					}
				}
				mu.Unlock()
				if members, err := x.ReceiptSet(x.ctx, m, 2, fanfare.ReceiptSeen); err != nil || these[0].Kind != fanfare.ReceiptUnread && !members.Contains(these[0].Seq) {
					x.t.Errorf("%v was answered and is not there (%v)", these[0], err)
				}
			}
		})
	}
	markers.Wait()
	close(stop)
	folder.Wait()
	check := func(st fanfare.Store, when string) {
		read, err := st.ReceiptSet(x.ctx, m, 2, fanfare.ReceiptRead)
		x.ok(err)
		for seq, n := range balance {
			if want := n == 1; n < 0 || n > 1 || read.Contains(seq) != want {
				x.t.Errorf("%s: seq %d: read began %d times more than it ended, and is %v", when, seq, n, read.Contains(seq))
			}
		}
		for seq, n := range seen {
			if n > 1 {
				x.t.Errorf("%s: seq %d was seen for the first time %d times", when, seq, n)
			}
		}
		counts, err := st.ReceiptCounts(x.ctx, m, 2)
		x.ok(err)
		if counts[fanfare.ReceiptRead] != read.Len() {
			x.t.Errorf("%s: %d have read, the set has %d", when, counts[fanfare.ReceiptRead], read.Len())
		}
	}
	check(x.Store, "at once")
	x.folded(x.Store)
	check(x.Store, "folded")
	if x.backend.Reopen != nil {
		check(x.backend.Reopen(x.t), "opened again")
	}
}

func receiptsHead(x *fixture) {
	m := x.message()
	last := x.head()
	rises := func(want bool, what string) {
		x.t.Helper()
		if now := x.head(); now > last != want || now < last {
			x.t.Errorf("%s: the head was %d, is %d", what, last, now)
		}
		last = x.head()
	}
	p := picture{}
	x.folded(x.Store)
	rises(false, "folding nothing")
	x.log(x.Store, p, mark(m, 1, 5, fanfare.ReceiptRead))
	rises(true, "a receipt")
	x.log(x.Store, p, mark(m, 1, 5, fanfare.ReceiptRead))
	rises(false, "the same receipt")
	x.folded(x.Store)
	rises(true, "folding")
	x.folded(x.Store)
	rises(false, "folding again")
}

// follow reads the tail as a cache does, and keeps a picture of its own.
func (x *fixture) follow(st fanfare.Store, shard int, after int64, into picture) (next, folded int64) {
	x.t.Helper()
	for more := true; more; {
		page, err := st.Tail(x.ctx, shard, after)
		x.ok(err)
		last := after
		for _, e := range page.Entries {
			if e.ID <= last || len(e.Notes) == 0 {
				x.t.Errorf("entry %d with %d notes comes after %d", e.ID, len(e.Notes), last)
			}
			last = e.ID
			for _, n := range e.Notes {
				if into[n.Message] == nil {
					into[n.Message] = make(map[fanfare.Person]*fanfare.Receipted)
				}
				if into[n.Message][n.Person] == nil {
					into[n.Message][n.Person] = new(fanfare.Receipted)
				}
				into[n.Message][n.Person].Note(n.Kind, n.Stamp)
			}
		}
		if page.Next < last {
			x.t.Errorf("after entry %d comes %d", last, page.Next)
		}
		after, folded, more = page.Next, page.Folded, page.More
	}
	return after, folded
}

func receiptsTail(x *fixture) {
	const s = 1
	shard := x.ShardOf(s)
	p, followed, m := picture{}, picture{}, x.message()
	next, folded := x.follow(x.Store, shard, 0, followed)
	if len(followed) > 0 || folded != 0 {
		x.t.Errorf("a new log: %v, folded %d", followed, folded)
	}
	step := func(receipts ...fanfare.Receipt) {
		x.t.Helper()
		x.log(x.Store, p, receipts...)
		next, _ = x.follow(x.Store, shard, next, followed)
		x.same(followed[m], p[m], "the picture of a follower")
	}
	read, unread := mark(m, s, 3, fanfare.ReceiptRead), mark(m, s, 3, fanfare.ReceiptUnread)
	step(read)
	step(unread)
	step(read, unread, read, mark(m, s, 9, fanfare.ReceiptClicked))
	x.clock.Advance(time.Hour)
	step(unread, mark(m, s, 3, fanfare.ReceiptArchived))
	again := maps.Clone(followed)
	x.follow(x.Store, shard, 0, again) // harmless
	x.same(again[m], p[m], "the picture of somebody who came late")

	x.folded(x.Store)
	page, err := x.Tail(x.ctx, shard, 0)
	x.ok(err)
	if page.Folded == 0 || len(page.Entries) > 0 || page.More || page.Next < page.Folded {
		x.t.Errorf("the tail of what was folded is %+v", page)
	}
	next = page.Next
	step(read, mark(m, s, 11, fanfare.ReceiptSeen))
	late, err := x.Tail(x.ctx, shard, next+1000)
	x.ok(err)
	if len(late.Entries) > 0 || late.Next != next+1000 {
		x.t.Errorf("the tail after what is to come is %+v", late)
	}
}

// receiptsFlood: more than one page, and more than one step of a fold.
func receiptsFlood(x *fixture) {
	const s, calls, each = 2, 30, 5000
	m := x.message()
	for c := range calls {
		these := make([]fanfare.Receipt, each)
		for i := range these {
			these[i] = mark(m, s, fanfare.Seq(c*each+i)*7, fanfare.ReceiptDelivered) //nolint:gosec // small
		}
		got, err := x.LogReceipts(x.ctx, x.ShardOf(s), these)
		x.ok(err)
		if slices.Contains(got, fanfare.LoggedBefore) {
			x.t.Fatal("known before")
		}
	}
	check := func(when string) {
		counts, err := x.ReceiptCounts(x.ctx, m, s)
		x.ok(err)
		members, err := x.ReceiptSet(x.ctx, m, s, fanfare.ReceiptDelivered)
		x.ok(err)
		if counts[fanfare.ReceiptDelivered] != calls*each || !members.Equal(every(7, calls*each*7)) {
			x.t.Errorf("%s: %d counted, %d in the set", when, counts[fanfare.ReceiptDelivered], members.Len())
		}
	}
	followed := picture{}
	x.follow(x.Store, x.ShardOf(s), 0, followed)
	if n := len(followed[m]); n != calls*each {
		x.t.Errorf("the tail has %d", n)
	}
	check("logged")
	_, err := x.Fold(x.ctx, x.ShardOf(s))
	x.ok(err)
	check("folded in part")
	x.folded(x.Store)
	check("folded")
}

func receiptsForgotten(x *fixture) {
	m, other, p := x.message(), x.message(), picture{}
	for _, folded := range []bool{true, false} {
		x.log(x.Store, p, mark(m, 1, 1, fanfare.ReceiptRead), mark(m, 2, 1, fanfare.ReceiptRead), mark(other, 1, 1, fanfare.ReceiptRead))
		if folded {
			x.folded(x.Store)
		}
		x.log(x.Store, p, mark(m, 1, 2, fanfare.ReceiptSeen))
		x.ok(x.Forget(x.ctx, 1, m))
		for who := range p[m] {
			if who.Slot == 1 {
				delete(p[m], who)
			}
		}
		p.same(x, x.Store, m, "forgotten")
		p.same(x, x.Store, other, "another one")
		x.folded(x.Store)
		p.same(x, x.Store, m, "forgotten and folded")
	}
	x.log(x.Store, p, mark(m, 1, 3, fanfare.ReceiptSeen))
	x.ok(x.Forget(x.ctx, 1, m))
	if x.backend.Reopen != nil {
		delete(p[m], fanfare.Person{Slot: 1, Seq: 3})
		p.same(x, x.backend.Reopen(x.t), m, "opened again")
	}
}

func receiptsCrash(x *fixture) {
	if x.backend.Crash == nil {
		return // Features say that it is not durable
	}
	p, m := picture{}, x.message()
	st := x.Store
	for round := range 4 {
		var these []fanfare.Receipt
		for i := range 300 {
			r := mark(m, fanfare.Slot(i%slots), fanfare.Seq(i*1000+round), []fanfare.ReceiptKind{fanfare.ReceiptRead, fanfare.ReceiptUnread, fanfare.ReceiptArchived}[(i+round)%3]) //nolint:gosec // small
			these = append(these, r)
		}
		x.log(st, p, these...)
		switch round {
		case 1:
			_, err := st.Fold(x.ctx, 0)
			x.ok(err)
		case 2:
			x.folded(st)
		}
		x.log(st, p, these[:10]...)
		x.clock.Advance(time.Minute)
		st = x.backend.Crash(x.t)
		p.same(x, st, m, fmt.Sprint("killed in round ", round))
	}
	x.folded(st)
	p.same(x, st, m, "folded")
	found, err := st.Check(x.ctx)
	x.ok(err)
	x.same(found, []string(nil), "what is damaged")
}

func receiptsTwoProcesses(x *fixture) {
	if x.backend.Another == nil {
		return // Features say that it is not shared
	}
	stores := []fanfare.Store{x.Store, x.backend.Another(x.t)}
	p, m := picture{}, x.message()
	for i := range 60 {
		st, other := stores[i%2], stores[(i+1)%2]
		seq := fanfare.Seq(i % 7 * 20_000) //nolint:gosec // small
		x.log(st, p, mark(m, 1, seq, fanfare.ReceiptKinds()[i*7%10]), mark(m, 1, seq+1, fanfare.ReceiptRead))
		x.log(other, p, mark(m, 1, seq+1, fanfare.ReceiptUnread), mark(m, 2, seq, fanfare.ReceiptClicked))
		if i%3 == 0 {
			p.same(x, stores[i/3%2], m, fmt.Sprint("step ", i))
		}
		if i%5 == 0 {
			_, err := stores[i/5%2].Fold(x.ctx, 0)
			x.ok(err)
		}
		if i%11 == 0 {
			x.ok(stores[i/11%2].Forget(x.ctx, 2, m))
			maps.DeleteFunc(p[m], func(who fanfare.Person, _ *fanfare.Receipted) bool { return who.Slot == 2 })
		}
		p.same(x, other, m, fmt.Sprint("the other, step ", i))
	}
}

func receiptsDamage(x *fixture) {
	if x.backend.DamageReceipts == nil {
		return
	}
	p, m := picture{}, x.message()
	x.log(x.Store, p, mark(m, 1, 5, fanfare.ReceiptRead), mark(m, 1, 70_000, fanfare.ReceiptRead), mark(m, 2, 5, fanfare.ReceiptRead))
	x.folded(x.Store)
	if x.backend.Reopen != nil {
		x.Store = x.backend.Reopen(x.t) // nothing is in memory
	}
	x.backend.DamageReceipts(x.t, m, 1, fanfare.ReceiptRead, 0)
	_, err := x.ReceiptSet(x.ctx, m, 1, fanfare.ReceiptRead)
	x.is(err, fanfare.ErrDamaged, "the set")
	_, err = x.ReceiptTimes(x.ctx, m, 1, []fanfare.Seq{70_000, 5})
	x.is(err, fanfare.ErrDamaged, "its times")
	got, err := x.LogReceipts(x.ctx, x.ShardOf(1), []fanfare.Receipt{mark(m, 1, 6, fanfare.ReceiptRead), mark(m, 1, 70_001, fanfare.ReceiptRead), mark(m, 1, 7, fanfare.ReceiptArchived)})
	x.ok(err)
	x.same(got, []fanfare.Logged{fanfare.LoggedDamaged, fanfare.LoggedNew, fanfare.LoggedNew}, "answers")
	seen, err := x.ReceiptSet(x.ctx, m, 1, fanfare.ReceiptSeen)
	x.ok(err)
	x.same(seen.ToArray(), []uint32{5, 70_000, 70_001}, "who has seen")
	counts, err := x.ReceiptCounts(x.ctx, m, 1)
	x.ok(err)
	if counts[fanfare.ReceiptRead] != 3 {
		x.t.Errorf("counts are %v", counts)
	}
	found, err := x.Check(x.ctx)
	x.ok(err)
	if len(found) != 1 {
		x.t.Errorf("check finds %q", found)
	}
	x.folded(x.Store) // what is damaged takes no part
	for chunk, is := range []bool{true, false} {
		parts, err := x.InboxChunk(x.ctx, 1, uint16(chunk), []fanfare.MessageNum{m}) //nolint:gosec // small
		x.ok(err)
		if p := parts[0]; errors.Is(p.MarksDamaged, fanfare.ErrDamaged) != is || p.Damaged != nil || (len(p.Marks) == 0) != is {
			x.t.Errorf("chunk %d of inboxes: %+v", chunk, p)
		}
	}
	p.same(x, x.Store, m+1, "another message")
	read, err := x.ReceiptSet(x.ctx, m, 2, fanfare.ReceiptRead)
	x.ok(err)
	x.same(read.ToArray(), []uint32{5}, "another slot")
}

func receiptsBackup(x *fixture) {
	if !x.Features().CanBackup {
		return
	}
	p, m := picture{}, x.message()
	x.log(x.Store, p, mark(m, 1, 5, fanfare.ReceiptRead))
	x.folded(x.Store)
	x.log(x.Store, p, mark(m, 1, 5, fanfare.ReceiptUnread), mark(m, 1, 6, fanfare.ReceiptRead))
	file := x.t.TempDir() + "/copy.db"
	x.ok(x.Backup(x.ctx, file))
	p.same(x, x.backend.Restore(x.t, file), m, "the backup")
}

// receiptsNews: whatever inboxes show is told by the tail of its shard, in the transaction that changes it, and nothing else is.
func receiptsNews(x *fixture) {
	const s = 1
	after := make([]int64, x.Shards())
	var told []fanfare.News
	follow := func() {
		told = nil
		for shard := range after {
			for more := true; more; {
				page, err := x.Tail(x.ctx, shard, after[shard])
				x.ok(err)
				for _, e := range page.Entries {
					told = append(told, e.News...)
				}
				after[shard], more = page.Next, page.More
			}
		}
	}
	want := func(what string, news ...fanfare.News) {
		x.t.Helper()
		follow()
		x.same(told, news, what)
	}
	message := func(c fanfare.ChannelName) (m fanfare.Message) {
		m = draft(fmt.Sprint("news ", c), x.now())
		m.Channel = c
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
		return m
	}
	mail, box := message(fanfare.ChannelEmail), message(fanfare.ChannelInbox)
	want("made", fanfare.News{Kind: fanfare.NewsMessage, Message: box.Num})
	for _, m := range []fanfare.Message{mail, box} {
		x.update(func(tx fanfare.ControlTx) error { return tx.SaveMessage(&m, m.Phase, m.Generation) })
	}
	want("changed", fanfare.News{Kind: fanfare.NewsMessage, Message: box.Num})
	if err := x.Update(x.ctx, func(tx fanfare.ControlTx) error {
		return errors.Join(tx.SaveMessage(&box, box.Phase, box.Generation), fanfare.ErrState)
	}); err == nil {
		x.t.Error("kept")
	}
	want("rolled back")

	id := ids(s, 1)[0]
	put := func(email string) {
		_, err := x.Upsert(x.ctx, s, []fanfare.RecipientChange{{Kind: fanfare.ChangeReplace, ExternalID: id, Email: &email}}, fanfare.UpsertOptions{})
		x.ok(err)
	}
	people := fanfare.News{Kind: fanfare.NewsPeople, Slot: s}
	put("a@example.org")
	want("created: nobody knew them")
	put("b@example.org")
	want("a profile", people)
	put("b@example.org")
	want("the same profile")
	x.update(func(tx fanfare.ControlTx) error { return tx.PutNode(fanfare.Node{Name: "n"}) })
	want("a node")
	_, err := x.Erase(x.ctx, s, []string{id})
	x.ok(err)
	want("erased", people)

	m := x.inbox(s, every(2, 2*set.ChunkSize))
	follow()
	x.answers(x.claim(inline(ref(m, s, 1))), fanfare.Applied, "claim")
	want("delivered", fanfare.News{Kind: fanfare.NewsDelivered, Message: m, Slot: s})
	x.answers(x.claim(inline(ref(m, s, 1))), fanfare.Over, "once more")
	want("nothing more to deliver")

	shard := x.ShardOf(s)
	n, err := x.Unfolded(x.ctx, shard)
	x.ok(err)
	if n == 0 {
		x.t.Error("news alone are not cut")
	}
	x.folded(x.Store)
	page, err := x.Tail(x.ctx, shard, 0)
	x.ok(err)
	if n, err := x.Unfolded(x.ctx, shard); n != 0 || err != nil || page.Folded == 0 {
		x.t.Errorf("%d unfolded, %v; folded up to %d", n, err, page.Folded)
	}
}
