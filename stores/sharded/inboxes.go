package sharded

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"fanfare"
	"fanfare/set"
)

// InboxChunk implements fanfare.Inboxes.
func (s *Store) InboxChunk(ctx context.Context, n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum) (parts []fanfare.InboxPart, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		parts, err = sh.InboxChunk(ctx, n, chunk, messages)
		return err
	})
	return parts, err
}

// InboxRows implements fanfare.Inboxes: rows and marks of one snapshot of the slot's shard, then what the first one says of their messages. Who is
// told of a message by both sees no more than there was when the call began: a message to few becomes one to many only when it is in no inbox.
func (s *Store) InboxRows(ctx context.Context, who fanfare.Person) (rows []fanfare.InboxRow, err error) {
	err = s.at(ctx, who.Slot, func(sh fanfare.Shard) (err error) {
		rows, err = sh.InboxItems(ctx, who)
		return err
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	nums := make([]fanfare.MessageNum, len(rows))
	for i := range rows {
		nums[i] = rows[i].Num
	}
	messages, err := s.first().FewMessages(ctx, nums)
	if err != nil {
		return nil, s.of(0, err)
	}
	of := make(map[fanfare.MessageNum]fanfare.InboxMessage, len(messages))
	for _, m := range messages {
		of[m.Num] = m
	}
	rows = slices.DeleteFunc(rows, func(r fanfare.InboxRow) bool { _, in := of[r.Num]; return !in })
	for i := range rows {
		rows[i].InboxMessage = of[rows[i].Num]
	}
	slices.SortFunc(rows, func(a, b fanfare.InboxRow) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.Num, a.Num))
	})
	return rows, nil
}

// InboxOwners implements fanfare.Inboxes.
func (s *Store) InboxOwners(ctx context.Context, n fanfare.Slot, chunk uint16) (owners *set.Set, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		owners, err = sh.InboxOwners(ctx, n, chunk)
		return err
	})
	return owners, err
}

// InboxIndex implements fanfare.Inboxes.
func (s *Store) InboxIndex(ctx context.Context, n fanfare.Slot, fn func(seq fanfare.Seq, m fanfare.MessageNum) error) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.InboxIndex(ctx, n, fn) })
}

// SweepInboxes implements fanfare.Inboxes. The first shard goes first: what it says no more is to few is found by its sets, so rows that a
// shard could not take out are shown to nobody. They are taken out later, unless the process ends before.
func (s *Store) SweepInboxes(ctx context.Context) (more bool, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	swept, more, err := s.first().SweepFew(ctx)
	if err != nil {
		return false, s.of(0, err)
	}
	for i := 1; i < len(s.shards); i++ {
		s.unswept[i] = append(s.unswept[i], swept...)
	}
	var errs []error
	for i, nums := range s.unswept {
		if len(nums) == 0 {
			continue
		}
		if err := s.shards[i].SweepRows(ctx, nums); err != nil {
			errs = append(errs, s.of(i, err))
			continue
		}
		s.unswept[i] = nil
	}
	return more, errors.Join(errs...)
}
