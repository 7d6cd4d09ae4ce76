package fanfare_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanfare"
)

// item is what is known of one item, as a store keeps it.
type item struct{ fanfare.Receipted }

func (i *item) log(now fanfare.Minute, r fanfare.Receipt) (began bool, notes int) {
	began = r.Decide(now, func(k fanfare.ReceiptKind) fanfare.Stamp { return i.Receipted[k] }, func(k fanfare.ReceiptKind, at fanfare.Stamp) {
		notes++
		i.Note(k, at)
	})
	return began, notes
}

func (i *item) is(k fanfare.ReceiptKind) bool { return i.Receipted[k].At != 0 }

const later = fanfare.Minute(10_000)

func at(m fanfare.Minute) time.Time { return m.Time().Add(17 * time.Second) }

func TestReceiptKindsAreNamed(t *testing.T) {
	for _, k := range fanfare.ReceiptKinds() {
		if back, ok := fanfare.ParseReceiptKind(k.String()); !ok || back != k || !k.Valid() {
			t.Errorf("%v reads as %v (%v)", k, back, ok)
		}
		if k.Reportable() != (k != fanfare.ReceiptUnsubscribed) {
			t.Errorf("%v may be told: %v", k, k.Reportable())
		}
		if e := k.Ends(); e != 0 && e.EndedBy() != k {
			t.Errorf("%v ends %v, which %v ends", k, e, e.EndedBy())
		}
	}
	if k, ok := fanfare.ParseReceiptKind("sent"); ok || fanfare.ReceiptKind(0).Valid() || fanfare.ReceiptKind(11).Valid() {
		t.Errorf("sent is no receipt, but %v", k)
	}
}

func TestWhatReceiptsImply(t *testing.T) {
	for _, c := range []struct {
		kind fanfare.ReceiptKind
		want []fanfare.ReceiptKind
	}{
		{fanfare.ReceiptClicked, []fanfare.ReceiptKind{fanfare.ReceiptSeen, fanfare.ReceiptRead, fanfare.ReceiptClicked}},
		{fanfare.ReceiptRead, []fanfare.ReceiptKind{fanfare.ReceiptSeen, fanfare.ReceiptRead}},
		{fanfare.ReceiptSeen, []fanfare.ReceiptKind{fanfare.ReceiptSeen}},
		{fanfare.ReceiptDelivered, []fanfare.ReceiptKind{fanfare.ReceiptDelivered}},
		{fanfare.ReceiptUnread, nil}, // of nobody who had read
		{fanfare.ReceiptUnsubscribed, []fanfare.ReceiptKind{fanfare.ReceiptUnsubscribed}},
		{fanfare.ReceiptArchived, []fanfare.ReceiptKind{fanfare.ReceiptArchived}},
	} {
		var i item
		i.log(later, fanfare.Receipt{Kind: c.kind})
		var got []fanfare.ReceiptKind
		for _, k := range fanfare.ReceiptKinds() {
			if i.is(k) {
				got = append(got, k)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%v leads to %v, want %v", c.kind, got, c.want)
		}
		for n := range min(len(got), len(c.want)) {
			if got[n] != c.want[n] {
				t.Errorf("%v leads to %v, want %v", c.kind, got, c.want)
			}
		}
	}
}

func TestAReaderSeesTheirOwnMarkWhateverTheClockSays(t *testing.T) {
	var i item
	step := func(now fanfare.Minute, k fanfare.ReceiptKind, read bool) {
		t.Helper()
		if began, _ := i.log(now, fanfare.Receipt{Kind: k}); !began || i.is(fanfare.ReceiptRead) != read {
			t.Errorf("%v at %d: began %v, read %v", k, now, began, i.is(fanfare.ReceiptRead))
		}
	}
	step(100, fanfare.ReceiptRead, true)
	step(100, fanfare.ReceiptUnread, false) // within the same minute
	step(100, fanfare.ReceiptRead, true)
	step(90, fanfare.ReceiptUnread, false) // the clock went back
	step(80, fanfare.ReceiptRead, true)
	if got := i.Receipted[fanfare.ReceiptRead].At; got != 100 {
		t.Errorf("read at %d", got)
	}
	if !i.is(fanfare.ReceiptSeen) {
		t.Error("unread took seen away")
	}
}

func TestTheEarliestTimeStays(t *testing.T) {
	var i item
	for _, c := range []struct {
		at, want fanfare.Minute
		source   fanfare.ReadSource
		began    bool
		says     fanfare.ReadSource
	}{
		{50, 50, fanfare.SourceReported, true, fanfare.SourceReported},
		{60, 50, fanfare.SourceInbox, false, fanfare.SourceReported},
		{50, 50, fanfare.SourceInferred, false, fanfare.SourceReported},
		{40, 40, fanfare.SourceInferred, false, fanfare.SourceInferred},
		{later + 5, 40, fanfare.SourceReported, false, fanfare.SourceInferred},
	} {
		began, _ := i.log(later, fanfare.Receipt{Kind: fanfare.ReceiptRead, At: at(c.at), Source: c.source})
		if got := i.Receipted[fanfare.ReceiptRead]; began != c.began || got.At != c.want || got.Source != c.says {
			t.Errorf("at %d: %+v, began %v", c.at, got, began)
		}
		if got := i.Receipted[fanfare.ReceiptSeen]; got.At != c.want || got.Source != 0 {
			t.Errorf("at %d: seen %+v", c.at, got)
		}
	}
	var j item
	j.log(later, fanfare.Receipt{Kind: fanfare.ReceiptDelivered, At: at(later + 100)})
	if got := j.Receipted[fanfare.ReceiptDelivered].At; got != later {
		t.Errorf("what is to come was at %d", got)
	}
}

// TestReportsMayComeTwice: whatever was told in the order of its times may be told again at any later moment, and changes nothing.
func TestReportsMayComeTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 50), 1, 8, rapid.ID[uint32]).Draw(t, "minutes")
		slices.Sort(minutes)
		var once, twice item
		var told []fanfare.Receipt
		for _, m := range minutes {
			r := fanfare.Receipt{Kind: rapid.SampledFrom(fanfare.ReceiptKinds()).Draw(t, "kind"), At: at(fanfare.Minute(m)), Source: fanfare.SourceReported}
			told = append(told, r)
			once.log(later, r)
			twice.log(later, r)
			again := told[rapid.IntRange(0, len(told)-1).Draw(t, "again")]
			if began, _ := twice.log(later, again); began {
				t.Errorf("%v at %v began twice", again.Kind, again.At)
			}
			if once != twice {
				t.Fatalf("%v at %v once more: %v, was %v", again.Kind, again.At, twice, once)
			}
			if want := r.Kind == fanfare.ReceiptRead; (want || r.Kind == fanfare.ReceiptUnread) && once.is(fanfare.ReceiptRead) != want {
				t.Errorf("after %v at %v read is %v", r.Kind, r.At, !want)
			}
		}
	})
}

func TestMinutes(t *testing.T) {
	for _, c := range []struct {
		in   time.Time
		want fanfare.Minute
	}{
		{time.Time{}, 0}, {time.Unix(-5, 0), 1}, {time.Unix(0, 0), 1}, {time.Unix(119, 0), 1}, {time.Unix(120, 0), 2},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 1<<26 - 1},
	} {
		if got := fanfare.MinuteOf(c.in); got != c.want {
			t.Errorf("%v is minute %d, want %d", c.in, got, c.want)
		}
	}
	if m := fanfare.Minute(29_000_000); fanfare.MinuteOf(m.Time().Add(59*time.Second)) != m || !fanfare.Minute(0).Time().IsZero() {
		t.Error("a minute is another one")
	}
}
