package email

import (
	"fanfare"
	"fanfare/merge"
)

// Links makes what tells of an item: links of its opens and clicks, empty where there is none, and the token in the address that its mail comes back to.
type Links interface {
	Return(m *fanfare.Message, r *fanfare.Recipient) string
	Open(m *fanfare.Message, r *fanfare.Recipient) string
	Click(m *fanfare.Message, r *fanfare.Recipient, address string) string
}

// trackOf is what a message says of tracking, or its provider.
func trackOf(m *fanfare.Message, p fanfare.Provider) fanfare.Track {
	if m.Content.Track != nil {
		return *m.Content.Track
	}
	return p.Track
}

// follow lets an item tell of its opens and clicks. A preview and a test do not.
func (c *Content) follow(vars *merge.Fields, it *fanfare.Outgoing) {
	if c.links == nil || it.Test || it.Recipient == nil {
		return
	}
	if c.track.Opens {
		vars.OpenURL = c.links.Open(it.Message, it.Recipient)
	}
	if c.track.Clicks {
		vars.Track = func(address string) string { return c.links.Click(it.Message, it.Recipient, address) }
	}
}
