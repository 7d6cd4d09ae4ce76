package inbox

import (
	"context"
	"fmt"

	"fanfare"
)

// Mark notes a fact of one message in somebody's own inbox. ErrNotFound: it is not there.
func (r *Reader) Mark(ctx context.Context, who fanfare.Person, m fanfare.MessageID, kind fanfare.ReceiptKind) error {
	found, err := r.pick(ctx, who, func(low uint16, c *cell) bool { return c.entry.ID == m && c.visible(low) })
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("message %s in this inbox: %w", m, fanfare.ErrNotFound)
	}
	return r.log1(ctx, who, found, kind)
}

// Seen notes which messages somebody has seen; what is not in their inbox is passed over.
func (r *Reader) Seen(ctx context.Context, who fanfare.Person, messages []fanfare.MessageID) error {
	asked := make(map[fanfare.MessageID]bool, len(messages))
	for _, m := range messages {
		asked[m] = true
	}
	found, err := r.pick(ctx, who, func(low uint16, c *cell) bool { return asked[c.entry.ID] && c.visible(low) && !c.seen.has(low) })
	if err != nil {
		return err
	}
	return r.log1(ctx, who, found, fanfare.ReceiptSeen)
}

// ReadAll notes that somebody has read everything that is not archived, up to a message (the newest; empty: all). ErrNotFound: it is not there.
func (r *Reader) ReadAll(ctx context.Context, who fanfare.Person, upTo fanfare.MessageID) error {
	begun := upTo == ""
	found, err := r.pick(ctx, who, func(low uint16, c *cell) bool {
		begun = begun || c.entry.ID == upTo && c.visible(low)
		return begun && c.picks(low, Unread)
	})
	if err != nil {
		return err
	}
	if !begun {
		return fmt.Errorf("message %s in this inbox: %w", upTo, fanfare.ErrNotFound)
	}
	return r.log1(ctx, who, found, fanfare.ReceiptRead)
}

// pick lists messages of somebody's inbox, newest first.
func (r *Reader) pick(ctx context.Context, who fanfare.Person, want func(low uint16, c *cell) bool) (found []fanfare.MessageNum, err error) {
	err = r.with(ctx, who, func(v view) {
		for cell := range v.all() {
			if want(v.low, cell) {
				found = append(found, cell.entry.Num)
			}
		}
	})
	return found, err
}

func (r *Reader) log1(ctx context.Context, who fanfare.Person, messages []fanfare.MessageNum, kind fanfare.ReceiptKind) error {
	if len(messages) == 0 {
		return nil
	}
	receipts := make([]fanfare.Receipt, len(messages))
	for i, m := range messages {
		receipts[i] = fanfare.Receipt{Message: m, Person: who, Kind: kind, Source: fanfare.SourceInbox}
	}
	answers, err := r.Store.LogReceipts(ctx, r.Store.ShardOf(who.Slot), receipts)
	for i, a := range answers {
		if a == fanfare.LoggedDamaged && err == nil {
			err = fmt.Errorf("message %d: its marks: %w", messages[i], fanfare.ErrDamaged)
		}
	}
	return err
}
