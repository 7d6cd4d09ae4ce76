// Package doctor recomputes every counter of an installation from the sets and rows that say who, and names each place where they
// differ. It reads only. On a database that is being served it judges what held still while it was read, and counts what did not.
package doctor

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// Store is what the doctor reads.
type Store interface {
	View(ctx context.Context, fn func(fanfare.ControlView) error) error
	Slots() int
	LoadSet(ctx context.Context, s fanfare.Slot, name fanfare.SetName) (*set.Set, error)
	Mailboxes(ctx context.Context, s fanfare.Slot, c fanfare.ChannelName, members *set.Set, fn func(seq fanfare.Seq, key uint64)) error
	ReadSlot(ctx context.Context, s fanfare.Slot, fn func(fanfare.SlotView) error) error
	Latches(ctx context.Context, m fanfare.MessageNum) ([]fanfare.Latch, error)
	fanfare.Reports
	fanfare.Receipts
	InboxIndex(ctx context.Context, s fanfare.Slot, fn func(seq fanfare.Seq, m fanfare.MessageNum) error) error
	Check(ctx context.Context) ([]string, error)
}

// Report says what was looked at and what was found.
type Report struct {
	OK         bool     `json:"ok"`
	Slots      int      `json:"slots"`
	Recipients int      `json:"recipients"` // alive
	Messages   int      `json:"messages"`
	Batches    int      `json:"batches"`
	Planned    int      `json:"planned"`    // members of all batches
	Exceptions int      `json:"exceptions"` // their rows
	Receipts   int      `json:"receipts"`   // facts about their members
	Moving     int      `json:"moving"`     // batches that were written while they were read: not judged
	Found      []Found  `json:"differences"`
	More       int      `json:"more"`   // differences beyond those listed
	Damage     []string `json:"damage"` // what cannot be read: not what was written
	few        map[fanfare.Slot]rows
}

// Found is one difference: where it is, and what is told against what is counted.
type Found struct {
	Message fanfare.MessageID `json:"message,omitempty"`
	Slot    *fanfare.Slot     `json:"slot,omitempty"`
	Batch   *fanfare.BatchNo  `json:"batch,omitempty"`
	What    string            `json:"what"`
}

func (f Found) String() string {
	s := ""
	if f.Message != "" {
		s = fmt.Sprintf("message %s, ", f.Message)
	}
	if f.Slot != nil {
		s += fmt.Sprintf("slot %d, ", *f.Slot)
	}
	if f.Batch != nil {
		s += fmt.Sprintf("batch %d, ", *f.Batch)
	}
	if s == "" {
		return f.What
	}
	return s[:len(s)-2] + ": " + f.What
}

// most is how many differences are listed: a broken row can bring one for each of its members.
const most = 1000

func (r *Report) add(found ...Found) {
	room := min(len(found), most-len(r.Found))
	r.Found = append(r.Found, found[:room]...)
	r.More += len(found) - room
}

// damaged notes damage and swallows the error; any other error stays.
func (r *Report) damaged(err error) error {
	if !errors.Is(err, fanfare.ErrDamaged) {
		return err
	}
	r.Damage = append(r.Damage, err.Error())
	return nil
}

// Run looks at everything there is. An error means that it could not look; what is wrong with the data is in the report.
func Run(ctx context.Context, store Store) (Report, error) {
	r := Report{Slots: store.Slots(), Found: []Found{}, Damage: []string{}, few: make(map[fanfare.Slot]rows)}
	damage, err := store.Check(ctx)
	if err != nil {
		return r, fmt.Errorf("doctor: read what has a checksum: %w", err)
	}
	r.Damage = append(r.Damage, damage...)
	if err := r.people(ctx, store); err != nil {
		return r, fmt.Errorf("doctor: %w", err)
	}
	messages, imports, err := list(ctx, store)
	if err != nil {
		return r, fmt.Errorf("doctor: %w", err)
	}
	for i := range imports {
		r.imported(&imports[i])
	}
	for i := range messages {
		if err := r.message(ctx, store, messages[i]); err != nil {
			return r, fmt.Errorf("doctor: message %s: %w", messages[i], err)
		}
	}
	if err := r.inboxes(ctx, store); err != nil {
		return r, fmt.Errorf("doctor: %w", err)
	}
	r.Damage = unique(r.Damage)
	r.OK = len(r.Found) == 0 && len(r.Damage) == 0
	return r, nil
}

func unique(lines []string) []string {
	seen := make(map[string]bool, len(lines))
	kept := lines[:0]
	for _, l := range lines {
		if !seen[l] {
			seen[l] = true
			kept = append(kept, l)
		}
	}
	return kept
}

// list reads all messages, page by page, and all imports.
func list(ctx context.Context, store Store) (messages []fanfare.MessageID, imports []fanfare.Import, err error) {
	err = store.View(ctx, func(v fanfare.ControlView) (err error) {
		if imports, err = v.Imports(); err != nil {
			return err
		}
		for filter := (fanfare.MessageFilter{Limit: 200}); ; {
			page, next, err := v.Messages(filter)
			if err != nil {
				return err
			}
			for i := range page {
				messages = append(messages, page[i].ID)
			}
			if next == "" {
				return nil
			}
			filter.Cursor = next
		}
	})
	return messages, imports, err
}

// imported adds up the rows of an import that is over. A duplicate is counted as updated or unchanged as well.
func (r *Report) imported(i *fanfare.Import) {
	sum := i.Created + i.Updated + i.Unchanged + i.Failed
	if i.State == fanfare.ImportDone && sum != i.Rows {
		r.add(Found{What: fmt.Sprintf("import %s: %d rows, but created %d + updated %d + unchanged %d + refused %d = %d",
			i.ID, i.Rows, i.Created, i.Updated, i.Unchanged, i.Failed, sum)})
	}
}
