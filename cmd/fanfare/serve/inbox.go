package serve

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/api"
	"fanfare/channels/inbox"
	reading "fanfare/inbox"
)

// mailbox is what the API knows of inboxes.
type mailbox struct{ *reading.Reader }

// Page implements api.Inbox.
func (m mailbox) Page(ctx context.Context, who fanfare.Person, q api.InboxQuery) (api.InboxPage, error) {
	p, err := m.Reader.Page(ctx, who, reading.Query{Filter: reading.Filter(q.Filter), Cursor: q.Cursor, Limit: q.Limit})
	if errors.Is(err, reading.ErrCursor) {
		return api.InboxPage{}, fmt.Errorf("%w: %w", fanfare.ErrUsage, err)
	}
	out := api.InboxPage{InboxCounts: api.InboxCounts(p.Counts), Next: p.Next, Items: make([]api.InboxItem, len(p.Items))}
	for i := range p.Items {
		it := &p.Items[i]
		out.Items[i] = api.InboxItem{Message: it.Message, SentAt: it.SentAt, SeenAt: it.SeenAt, ReadAt: it.ReadAt, ArchivedAt: it.ArchivedAt, Content: it.Content}
	}
	return out, err
}

// Count implements api.Inbox.
func (m mailbox) Count(ctx context.Context, who fanfare.Person) (api.InboxCounts, error) {
	n, err := m.Reader.Count(ctx, who)
	return api.InboxCounts(n), err
}

// readable compiles a message's content for those who read it.
func readable(m *fanfare.Message) (reading.Content, error) {
	compiled, err := inbox.New().Compile(m)
	if err != nil {
		return nil, err
	}
	return compiled.(reading.Content), nil //nolint:forcetypeassert // what the channel makes
}
