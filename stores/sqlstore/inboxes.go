package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// InboxMessages implements fanfare.Inboxes.
func (s *Store) InboxMessages(ctx context.Context) (all []fanfare.InboxMessage, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			all = append(all, fanfare.InboxMessage{Num: fanfare.MessageNum(integer(r[0])), ID: fanfare.MessageID(text(r[1])), Revision: fanfare.Revision(integer(r[2])),
				Phase: fanfare.Phase(text(r[3])), Recall: fanfare.Recall(text(r[4])), StartedAt: moment(r[5]), ExpiresAt: moment(r[6])})
			return nil
		}, "messages.inbox", micros(s.now()))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// InboxChunk implements fanfare.Inboxes. A batch of the inbox is a row of the audience, so its number is how many rows lie before.
func (s *Store) InboxChunk(ctx context.Context, n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum) ([]fanfare.InboxPart, error) {
	parts := make([]fanfare.InboxPart, len(messages))
	values := make([]driver.Value, 0, 2*len(messages))
	for i, m := range messages {
		values = append(values, int64(i), int64(m))
	}
	err := s.readSlot(ctx, n, func(c *conn) error {
		var excepted []int
		if err := c.queryRows(func(r []driver.Value) error {
			i := int(integer(r[0]))
			some, err := c.inboxPart(r, &parts[i])
			if some {
				excepted = append(excepted, i)
			}
			if errors.Is(err, fanfare.ErrDamaged) {
				parts[i] = fanfare.InboxPart{Damaged: c.damagedRow(rowOfAudience(audienceKey{messages[i], n}, fanfare.PartSend, int64(chunk)), err)}
				return nil
			}
			return err
		}, "audiences.inbox", 2, values, int64(n), int64(chunk)); err != nil {
			return err
		}
		for _, i := range excepted {
			first := int64(chunk) << 16
			if err := c.query(func(r []driver.Value) error {
				if e := scanException(r); e.Result != fanfare.ResultSent {
					parts[i].Members.Remove(e.Seq)
				}
				return nil
			}, "exceptions.range", int64(messages[i]), int64(n), first, first+set.ChunkSize-1, int64(set.ChunkSize)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// inboxPart reads a row of audiences.inbox. some: who has an exception is still to be taken out.
func (c *conn) inboxPart(r []driver.Value, p *fanfare.InboxPart) (some bool, err error) {
	switch {
	case r[6] == nil || integer(r[7]) != integer(r[2]):
		return false, fmt.Errorf("%w: its batch is not there", fanfare.ErrDamaged)
	case fanfare.BatchState(integer(r[6])) != fanfare.BatchDone:
		p.Open = true
		return false, nil
	}
	if p.Members, err = set.DecodeChunk(chunkOf(r[1], r[2], r[4], r[5])); err != nil {
		return false, err
	}
	if r[9] != nil {
		runs, err := runsOf(blob(r[9]))
		if err != nil {
			return false, fmt.Errorf("%w: %w", fanfare.ErrDamaged, err)
		}
		for _, run := range runs {
			if run.At.After(p.At) {
				p.At = run.At
			}
		}
	}
	return integer(r[8]) > 0, nil
}
