package serve

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/api"
	"fanfare/channels/inbox"
	reading "fanfare/inbox"
	"fanfare/plan"
)

// mailbox is what the API knows of inboxes.
type mailbox struct{ *reading.Reader }

func itemOf(it *reading.Item) api.InboxItem {
	return api.InboxItem{Message: it.Message, SentAt: it.SentAt, SeenAt: it.SeenAt, ReadAt: it.ReadAt, ArchivedAt: it.ArchivedAt, Content: it.Content}
}

// feed is what the API knows of following inboxes.
type feed struct{ *reading.Hub }

// Following implements api.InboxFeed.
func (f feed) Following(who fanfare.Person) (its, all int) { return f.Of(who), f.Followers() }

// Follow implements api.InboxFeed.
func (f feed) Follow(who fanfare.Person, last string) api.InboxFollower {
	return follower{f.Hub.Follow(who, last)}
}

type follower struct{ *reading.Follower }

// Woken implements api.InboxFollower.
func (f follower) Woken() <-chan struct{} { return f.C }

// News implements api.InboxFollower.
func (f follower) News(ctx context.Context) (api.InboxNews, error) {
	n, err := f.Follower.News(ctx)
	out := api.InboxNews{IDs: n.Last, Counts: api.InboxCounts(n.Counts), Changed: n.Changed}
	for i := range n.Items {
		out.Items = append(out.Items, itemOf(&n.Items[i]))
	}
	return out, err
}

// Page implements api.Inbox.
func (m mailbox) Page(ctx context.Context, who fanfare.Person, q api.InboxQuery) (api.InboxPage, error) {
	p, err := m.Reader.Page(ctx, who, reading.Query{Filter: reading.Filter(q.Filter), Cursor: q.Cursor, Limit: q.Limit})
	if errors.Is(err, reading.ErrCursor) {
		return api.InboxPage{}, fmt.Errorf("%w: %w", fanfare.ErrUsage, err)
	}
	out := api.InboxPage{InboxCounts: api.InboxCounts(p.Counts), Next: p.Next, Items: make([]api.InboxItem, len(p.Items))}
	for i := range p.Items {
		out.Items[i] = itemOf(&p.Items[i])
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

// lacking tells whom an inbox message cannot be made for. Other channels find it out when they make what they send.
func lacking(m *fanfare.Message) (plan.Content, error) {
	if m.Channel != fanfare.ChannelInbox {
		return nil, nil
	}
	compiled, err := inbox.New().Compile(m)
	if err != nil {
		return nil, err
	}
	if l := compiled.(*inbox.Content).Lacking(m.StartedAt); l != nil { //nolint:forcetypeassert // what the channel makes
		return l, nil
	}
	return nil, nil
}
