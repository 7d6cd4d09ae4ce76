package inbox

import (
	"errors"
	"slices"
	"time"

	"fanfare"
	"fanfare/merge"
)

// Lacking says for whom a content cannot be made; nobody is asked about whoever has all Attributes.
type Lacking struct {
	content *Content
	at      time.Time
	// Attributes are what a recipient must have, as texts that are not blank or as numbers, to lack nothing for sure.
	Attributes []string
	// Everybody has to be asked about: something else of a recipient is written out, or a part of a value.
	Everybody bool
}

// Lacking tells who lacks something at a time; nil: nobody can.
func (c *Content) Lacking(at time.Time) *Lacking {
	l := &Lacking{content: c, at: at}
	if at.IsZero() {
		l.at = time.Unix(0, 0)
	}
	f := c.vars(&fanfare.Outgoing{Unsubscribe: "-", Date: l.at})
	defer c.end(f)
	for _, v := range append([]*variant{c.plain}, c.locales...) {
		for i := range v.parts {
			for _, path := range v.parts[i].template.Written() {
				switch path[0] {
				case "recipient":
					l.Everybody = l.Everybody || len(path) != 2 || path[1] != "external_id"
				case "message", "data", "now", "unsubscribe_url":
					l.Everybody = l.Everybody || f.Lookup(path).IsMissing()
				default:
					l.Everybody = l.Everybody || len(path) > 1
					l.Attributes = append(l.Attributes, path[0])
				}
			}
		}
	}
	slices.Sort(l.Attributes)
	l.Attributes = slices.Compact(l.Attributes)
	if len(l.Attributes) == 0 && !l.Everybody {
		return nil
	}
	return l
}

// Needs gives Attributes and Everybody.
func (l *Lacking) Needs() (attributes []string, everybody bool) { return l.Attributes, l.Everybody }

// Lacks says whether a value is missing that has no default. An unsubscribe link, which inboxes do not have, is left out of it.
func (l *Lacking) Lacks(r *fanfare.Recipient) bool {
	f := l.content.vars(&fanfare.Outgoing{Recipient: r, Unsubscribe: "-", Date: l.at})
	defer l.content.end(f)
	_, err := l.content.pick(f.Locale).render(nil, f, false)
	_, missing := errors.AsType[*merge.MissingError](err)
	return missing
}
