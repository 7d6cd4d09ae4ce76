package fanfare

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Item is one message for one recipient.
type Item struct {
	Person
	Recipient string // external id; empty: erased
	Result    Result
	Reason    Reason
	Code      string
	Text      string
	Attempts  int
	Doubted   int // 0, 1, 2
	Revision  Revision
	SentAt    time.Time // of the last commit of its batch in its revision
	At        time.Time // of its exception, if it has one
	Receipts  Receipted // left to who asks for it
}

// Item gives the item of the member at rank; e is its exception or nil. end is the message's phase: who remained in a cancelled
// or expired message is skipped with that reason, though no row says so.
func (b *Batch) Item(rank int, e *Exception, end Phase) Item {
	it := Item{Person: Person{Slot: b.Slot}, Result: ResultSent, Attempts: 1}
	if b.Doubted.Has(rank) {
		it.Doubted, it.Attempts = 1, 2
	}
	if e != nil {
		it.Seq, it.Reason, it.Code, it.Text, it.At = e.Seq, e.Reason, e.Code, e.Text, e.At
		it.Result, it.Attempts, it.Doubted = e.Result, max(e.Attempts, 0), max(e.Doubts, it.Doubted)
	}
	switch {
	case e == nil && b.Pending.N() != b.N: // its row is damaged
		it.Result, it.Reason, it.Text, it.Attempts = ResultUncertain, ReasonTechnical, b.Held, 0
	case b.Pending.Has(rank):
		it.Result = ResultPending
		if e == nil && it.Doubted == 0 {
			it.Attempts = 0
		}
		switch end {
		case PhaseCancelled:
			it.Result, it.Reason = ResultSkipped, ReasonCancelled
		case PhaseExpired:
			it.Result, it.Reason = ResultSkipped, ReasonExpired
		}
	case b.InFlight.Has(rank):
		it.Result = ResultInFlight
	}
	if it.Result == ResultSent {
		it.Reason, it.Code, it.Text = "", "", ""
		it.Revision, it.SentAt = b.sentIn(rank)
	}
	return it
}

func (b *Batch) sentIn(rank int) (Revision, time.Time) {
	for _, run := range b.Runs {
		if run.Sent == nil || rank/8 < len(run.Sent) && run.Sent[rank/8]>>(rank%8)&1 == 1 {
			return run.Revision, run.At
		}
	}
	return 0, time.Time{}
}

// maxText is how many bytes of text from outside a record holds.
const maxText = 500

// CleanText makes text from outside fit for a record: at most 500 bytes of valid UTF-8, without NUL or other control characters
// (each becomes one space), cut at a character.
func CleanText(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
