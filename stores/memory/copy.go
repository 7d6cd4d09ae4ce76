package memory

import (
	"maps"
	"slices"

	"fanfare"
)

// What goes in and what comes out is copied, so that nobody changes what is kept.

func cloneContent(c fanfare.Content) fanfare.Content {
	c.Headers = maps.Clone(c.Headers)
	if c.Locales != nil {
		locales := make(map[string]fanfare.Content, len(c.Locales))
		for name, in := range c.Locales {
			locales[name] = cloneContent(in)
		}
		c.Locales = locales
	}
	return c
}

func cloneMessage(m *fanfare.Message) fanfare.Message {
	c := *m
	c.Audience, c.Data, c.Metadata = slices.Clone(m.Audience), slices.Clone(m.Data), slices.Clone(m.Metadata)
	c.Tags = slices.Clone(m.Tags)
	c.Scopes = slices.Clone(m.Scopes)
	for i := range c.Scopes {
		c.Scopes[i].Reasons = slices.Clone(c.Scopes[i].Reasons)
	}
	if !m.Reopens {
		c.Scopes = nil
	}
	c.Content = cloneContent(m.Content)
	if m.Trigger != nil {
		t := *m.Trigger
		if t.After != nil {
			after := *t.After
			t.After = &after
		}
		c.Trigger = &t
	}
	if m.Waiting != nil {
		w := *m.Waiting
		c.Waiting = &w
	}
	return c
}

func cloneProvider(p fanfare.Provider) fanfare.Provider {
	p.OnlyTo = slices.Clone(p.OnlyTo)
	return p
}

func cloneKey(k fanfare.Key) fanfare.Key {
	k.Scopes = slices.Clone(k.Scopes)
	return k
}

func cloneAnswer(a fanfare.StoredAnswer) fanfare.StoredAnswer {
	a.Header, a.Body = slices.Clone(a.Header), slices.Clone(a.Body)
	return a
}

func cloneImport(i fanfare.Import) fanfare.Import {
	i.Options = slices.Clone(i.Options)
	return i
}

func cloneNode(n fanfare.Node) fanfare.Node {
	n.Roles = slices.Clone(n.Roles)
	n.Free, n.Claims, n.Waiting = maps.Clone(n.Free), maps.Clone(n.Claims), maps.Clone(n.Waiting)
	return n
}

func cloneAttributes(attributes map[string]any) map[string]any {
	c := maps.Clone(attributes)
	for name, value := range c {
		if list, ok := value.([]string); ok {
			c[name] = slices.Clone(list)
		}
	}
	return c
}

func cloneRecipient(r fanfare.Recipient) fanfare.Recipient {
	r.Attributes = cloneAttributes(r.Attributes)
	return r
}
