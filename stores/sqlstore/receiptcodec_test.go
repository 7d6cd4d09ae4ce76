package sqlstore

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"fanfare"
)

// drawMarks makes what one transaction may have noted: who is noted to be read has been marked unread before, if at all.
func drawMarks(t *rapid.T) map[audienceKey]pending {
	marks, keys := make(map[audienceKey]pending), []audienceKey(nil)
	for range rapid.IntRange(1, 20).Draw(t, "notes") {
		k := audienceKey{fanfare.MessageNum(rapid.Int64Range(1, 1<<40).Draw(t, "message")), fanfare.Slot(rapid.Uint16Range(0, 4).Draw(t, "slot"))}
		if len(keys) > 0 && rapid.Bool().Draw(t, "same") {
			k = rapid.SampledFrom(keys).Draw(t, "one")
		}
		keys = append(keys, k)
		if marks[k] == nil {
			marks[k] = make(pending)
		}
		seq := rapid.SampledFrom([]fanfare.Seq{0, 1, 65_535, 65_536, math.MaxUint32 - 1}).Draw(t, "seq")
		r := fanfare.Receipt{Message: k.message, Kind: rapid.SampledFrom(fanfare.ReceiptKinds()).Draw(t, "kind"), Source: fanfare.ReadSource(rapid.IntRange(0, 2).Draw(t, "source"))} //nolint:gosec // small
		if rapid.Bool().Draw(t, "reported") {
			r.At = fanfare.Minute(rapid.Uint32Range(1, maxMinute).Draw(t, "at")).Time()
		}
		r.Decide(fanfare.Minute(rapid.SampledFrom([]uint32{1, 5, 29_000_000, maxMinute}).Draw(t, "now")),
			func(kind fanfare.ReceiptKind) fanfare.Stamp { return marks[k][pendingKey(kind, seq)].stamp() },
			func(kind fanfare.ReceiptKind, s fanfare.Stamp) {
				marks[k][pendingKey(kind, seq)] = stampOf(s)
				if ended := kind.Ends(); ended != 0 {
					marks[k][pendingKey(ended, seq)] = 0
				}
			})
	}
	maps.DeleteFunc(marks, func(_ audienceKey, p pending) bool { return len(p) == 0 })
	return marks
}

// TestTheLogSaysWhatWasNoted: applied in order, the decoded notes give what the transaction ended with, also where it went to and fro.
func TestTheLogSaysWhatWasNoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		marks := drawMarks(t)
		gone := []audienceKey{{7, 3}}
		delivered, people := fanfare.News{Kind: fanfare.NewsDelivered, Message: 7, Slot: 3}, fanfare.News{Kind: fanfare.NewsPeople, Slot: 2}
		packed := appendLog(nil, gone, []fanfare.News{people, delivered, people}, marks)
		got, forgotten, news := make(map[audienceKey]pending), []audienceKey{}, []fanfare.News{}
		if err := decodeLog(packed, func(k audienceKey) { forgotten = append(forgotten, k) }, func(n fanfare.News) { news = append(news, n) }, func(k audienceKey, kind fanfare.ReceiptKind, seq fanfare.Seq, s stamp) {
			if got[k] == nil {
				got[k] = make(pending)
			}
			got[k][pendingKey(kind, seq)] = s
			if ended := kind.Ends(); ended != 0 {
				got[k][pendingKey(ended, seq)] = 0
			}
		}); err != nil {
			t.Fatal(err)
		}
		if len(forgotten) != 1 || forgotten[0] != gone[0] {
			t.Errorf("forgotten %v", forgotten)
		}
		if !slices.Equal(news, []fanfare.News{delivered, people}) {
			t.Errorf("news %v", news)
		}
		for k, p := range marks {
			for key, want := range p {
				if got[k][key] != want {
					t.Errorf("%v, kind %d, seq %d: %v, want %v", k, key>>32, uint32(key), got[k][key], want) //nolint:gosec // the low half
				}
			}
		}
	})
}

func FuzzDecodeLog(f *testing.F) {
	f.Add(appendLog(nil, []audienceKey{{1, 2}}, []fanfare.News{{Kind: fanfare.NewsMessage, Message: 9}}, map[audienceKey]pending{{3, 4}: {pendingKey(fanfare.ReceiptRead, 70_000): 4<<2 | 1, pendingKey(fanfare.ReceiptSeen, 70_000): 4 << 2}}))
	f.Add([]byte{logVersion, 1, 0, 5, 4, 255, 255, 255, 255, 15, 1})
	f.Fuzz(func(t *testing.T, packed []byte) {
		notes := 0
		err := decodeLog(packed, func(audienceKey) {}, func(fanfare.News) {}, func(_ audienceKey, k fanfare.ReceiptKind, _ fanfare.Seq, s stamp) {
			if notes++; !k.Valid() || s.minute() == 0 {
				t.Errorf("%v at %d", k, s.minute())
			}
		})
		if err != nil && !errors.Is(err, fanfare.ErrDamaged) {
			t.Error(err)
		}
		if notes > 10*len(packed) {
			t.Errorf("%d notes of %d bytes", notes, len(packed))
		}
	})
}

// drawOver makes what the log may say over a row.
func drawOver(t *rapid.T, label string, none bool) map[uint16]stamp {
	over := make(map[uint16]stamp)
	spread := rapid.SampledFrom([]uint32{1, 60_000, 70_000, maxMinute - 1}).Draw(t, "spread")
	for range rapid.IntRange(0, 40).Draw(t, label) {
		low := rapid.Uint16Range(0, 30).Draw(t, "low") * rapid.SampledFrom([]uint16{1, 2000}).Draw(t, "step")
		if none && rapid.IntRange(0, 2).Draw(t, "gone") == 0 {
			over[low] = 0
			continue
		}
		over[low] = stamp(rapid.Uint32Range(1, 1+spread).Draw(t, "at"))<<2 | stamp(rapid.SampledFrom([]uint32{0, 0, 1, 2}).Draw(t, "source"))
	}
	return over
}

func rowValues(r *stamped, k receiptRow) []driver.Value {
	v := r.values(k)
	row := make([]driver.Value, 0, 8)
	for _, x := range v[3:] {
		if n, ok := x.(uint32); ok {
			x = int64(n)
		}
		row = append(row, x)
	}
	return row
}

// TestRowsOfReceipts: a row and what the log says over it give what a map gives, through the bytes and back; a row that is another one in any
// bit is refused.
func TestRowsOfReceipts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := receiptRow{audienceKey{1, 2}, fanfare.ReceiptRead, rapid.SampledFrom([]uint16{0, 5, math.MaxUint16 - 1}).Draw(t, "chunk")}
		want := make(map[uint16]stamp)
		var row *stamped
		for range 3 {
			over := drawOver(t, "over", row != nil)
			maps.Copy(want, over)
			maps.DeleteFunc(want, func(_ uint16, s stamp) bool { return s == 0 })
			if row = row.merged(k.chunk, over); row == nil {
				if len(want) != 0 {
					t.Fatalf("no row, but %v", want)
				}
				continue
			}
			values := rowValues(row, k)
			back, err := scanStamped(values)
			if err != nil {
				t.Fatal(err)
			}
			row = &back
			if row.n != len(want) || row.members.Len() != len(want) {
				t.Fatalf("%d members, want %d", row.n, len(want))
			}
			for low, s := range want {
				if got := row.of(uint32(k.chunk)<<16 | uint32(low)); got != s {
					t.Fatalf("%d: %v, want %v", low, got.stamp(), s.stamp())
				}
			}
			spoil(t, values)
		}
	})
}

// spoil flips a bit of a row; it must be noticed.
func spoil(t *rapid.T, values []driver.Value) {
	at := rapid.IntRange(1, len(values)-1).Draw(t, "column")
	was := values[at]
	switch x := was.(type) {
	case int64:
		values[at] = x ^ 1<<rapid.IntRange(0, 20).Draw(t, "bit")
	case []byte:
		b := bytes.Clone(x)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		values[at] = b
	case nil:
		values[at] = []byte{1}
	}
	if _, err := scanStamped(values); !errors.Is(err, fanfare.ErrDamaged) {
		t.Errorf("column %d was %v, is %v: %v", at, was, values[at], err)
	}
	values[at] = was
}
