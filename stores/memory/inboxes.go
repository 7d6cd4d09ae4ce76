package memory

import (
	"cmp"
	"context"
	"slices"

	"fanfare"
	"fanfare/set"
)

// InboxMessages implements fanfare.Inboxes.
func (s *Store) InboxMessages(ctx context.Context) ([]fanfare.InboxMessage, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	now := s.clock()
	var all []fanfare.InboxMessage
	for _, m := range s.control.messages {
		if m.Channel != fanfare.ChannelInbox || m.StartedAt.IsZero() || m.Recall == fanfare.RecallAll || m.Test || !m.ExpiresAt().After(now) {
			continue
		}
		all = append(all, fanfare.InboxMessage{Num: m.Num, ID: m.ID, Revision: m.Revision, Phase: m.Phase, Recall: m.Recall, StartedAt: m.StartedAt, ExpiresAt: m.ExpiresAt()})
	}
	slices.SortFunc(all, func(a, b fanfare.InboxMessage) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.Num, a.Num))
	})
	return all, nil
}

// InboxChunk implements fanfare.Inboxes.
func (s *Store) InboxChunk(ctx context.Context, n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum) ([]fanfare.InboxPart, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	parts := make([]fanfare.InboxPart, len(messages))
	first := uint64(chunk) << 16
	for i, m := range messages {
		w := sl.messages[m]
		if w == nil || w.parts[fanfare.PartSend] == nil {
			continue
		}
		planned := w.parts[fanfare.PartSend]
		lo, hi := planned.LenRange(0, first), planned.LenRange(0, first+set.ChunkSize)
		if lo == hi {
			continue
		}
		if w.damaged[fanfare.PartSend] {
			parts[i].Damaged = damaged(m, n, fanfare.PartSend)
			continue
		}
		at := slices.IndexFunc(w.batches, func(b fanfare.Batch) bool { return int(b.First) == lo && b.N == hi-lo })
		switch {
		case at < 0 || w.unreadable[fanfare.BatchNo(at)]: //nolint:gosec // small
			parts[i].Damaged = damaged(m, n, fanfare.PartSend)
		case w.batches[at].State != fanfare.BatchDone:
			parts[i].Open = true
		default:
			parts[i].Members = set.Of(w.members(w.batches[at].First, w.batches[at].N)...)
			for seq := range parts[i].Members.Clone().All() {
				if e, there := w.exceptions[seq]; there && e.Result != fanfare.ResultSent {
					parts[i].Members.Remove(seq)
				}
			}
			for _, run := range w.batches[at].Runs {
				if run.At.After(parts[i].At) {
					parts[i].At = run.At
				}
			}
		}
	}
	return parts, nil
}
