package email

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"fanfare"
	"fanfare/esmtp"
	"fanfare/merge"
	"fanfare/merge/mailbody"
)

// Content is a message's content, compiled: a fanfare.Compiled that also tells which variables it needs.
type Content struct {
	plain   *variant
	locales []*variant
	id      string
	name    string
	domain  string
	data    merge.Value
	meta    merge.Value
	onlyTo  patterns
	track   fanfare.Track
	links   Links     // nil: nothing is tracked
	fields  sync.Pool // *merge.Fields
}

// variant is the content for one locale.
type variant struct {
	locale string
	ascii  *mailbody.Skeleton
	// wide has addresses beyond ASCII raw in its header: for recipients whose address needs SMTPUTF8 anyway.
	wide func() (*mailbody.Skeleton, error)
}

// Compile implements fanfare.Channel. It answers a *Content.
func (c *Channel) Compile(m *fanfare.Message) (fanfare.Compiled, error) {
	var p fanfare.Provider
	if c.cfg.Provider != nil {
		p = c.cfg.Provider(m)
	}
	onlyTo, err := newPatterns(p.OnlyTo)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	out := &Content{id: string(m.ID), name: m.Name, onlyTo: onlyTo, links: c.cfg.Links, track: trackOf(m, p)}
	if out.data, err = mailbody.Value("data", m.Data); err != nil {
		return nil, err
	}
	if out.meta, err = mailbody.Value("metadata", m.Metadata); err != nil {
		return nil, err
	}
	b := building{essential: m.Essential, options: mailbody.Options{Message: string(m.ID), Domain: m.Content.MessageIDDomain, Opens: out.track.Opens, Clicks: out.track.Clicks}, plain: m.Content, sender: wire(p.From)}
	if out.plain, err = b.variant("", m.Content); err != nil {
		return nil, err
	}
	out.domain = b.options.Domain
	names := slices.Sorted(maps.Keys(m.Content.Locales))
	for i, locale := range names {
		if err := mailbody.CheckLocale("content.locales."+locale, locale, names[:i]); err != nil {
			return nil, err
		}
		v, err := b.variant(locale, m.Content.Locales[locale])
		if err != nil {
			return nil, err
		}
		out.locales = append(out.locales, v)
	}
	return out, nil
}

// building is one compilation.
type building struct {
	plain     fanfare.Content
	sender    string // of content that names none
	essential bool
	options   mailbody.Options
}

func (b *building) variant(locale string, c fanfare.Content) (*variant, error) {
	at := "content."
	if locale != "" {
		at = "content.locales." + locale + "."
		if c.Locales != nil {
			return nil, mailbody.Wrong(at+"locales", "a locale has no locales of its own; move them up")
		}
		if c.From == "" {
			c.From = b.plain.From
		}
		if c.ReplyTo == "" {
			c.ReplyTo = b.plain.ReplyTo
		}
		if c.Headers == nil {
			c.Headers = b.plain.Headers
		}
	}
	if c.From == "" {
		c.From = b.sender
	}
	content := mailbody.Content{Subject: c.Subject, Text: c.Text, HTML: c.HTML, From: wire(c.From), ReplyTo: wire(c.ReplyTo), Headers: c.Headers}
	if err := b.check(at, content); err != nil {
		return nil, err
	}
	if b.options.Domain == "" { // one domain for all locales: a person who changes theirs keeps the Message-ID
		b.options.Domain = domain(content.From)
		if b.options.Domain == "" {
			b.options.Domain = domain(b.sender)
		}
		if b.options.Domain == "" {
			return nil, mailbody.Wrong(at+"from", "its domain must be known for the Message-ID; write it out, only the name may have tags, or give the provider a from")
		}
	}
	v := &variant{locale: locale}
	var err error
	if v.ascii, err = mailbody.Compile(content, b.options); err != nil {
		return nil, within(at, err)
	}
	if !strings.Contains(content.From[strings.LastIndexByte(content.From, '<')+1:], "{") && domain(content.From) == "" {
		return nil, mailbody.Wrong(at+"from", "its domain is none that mail can be sent from")
	}
	if b.essential && slices.Contains(v.ascii.Required(), unsubscribeURL) {
		return nil, mailbody.Wrong(at+b.whoNeeds(content, unsubscribeURL),
			"an essential message has no unsubscribe link; remove {{ unsubscribe_url }}, or put it into {% if unsubscribe_url %} … {% endif %}")
	}
	wide := b.options
	wide.UTF8Addresses = true
	v.wide = sync.OnceValues(func() (*mailbody.Skeleton, error) { return mailbody.Compile(content, wide) })
	return v, nil
}

const unsubscribeURL = "unsubscribe_url"

func (b *building) check(at string, c mailbody.Content) error {
	switch {
	case strings.TrimSpace(c.Subject) == "":
		return mailbody.Wrong(at+"subject", "it is empty; write one")
	case strings.TrimSpace(c.Text) == "" && strings.TrimSpace(c.HTML) == "":
		return mailbody.Wrong(at+"text", "there is neither text nor html; write one of them, or both")
	case strings.TrimSpace(c.From) == "":
		return mailbody.Wrong(at+"from", `there is no sender; write from: "News <news@example.org>", or set from of the e-mail provider`)
	}
	return nil
}

// whoNeeds names the field that writes a variable.
func (b *building) whoNeeds(c mailbody.Content, path string) string {
	fields := []struct{ name, src string }{{"subject", c.Subject}, {"text", c.Text}, {"html", c.HTML}, {"from", c.From}, {"reply_to", c.ReplyTo}}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		fields = append(fields, struct{ name, src string }{"headers." + name, c.Headers[name]})
	}
	for _, f := range fields {
		if t, err := merge.Compile(f.src, merge.Options{}); err == nil && slices.Contains(t.Required(), path) {
			return f.name
		}
	}
	return "text"
}

// within puts the place before the field that an error names.
func within(at string, err error) error {
	if e, ok := errors.AsType[*mailbody.FieldError](err); ok {
		return &mailbody.FieldError{Field: at + e.Field, Err: e.Err}
	}
	return err
}

// domain is that of a mailbox which has no tags in it; empty otherwise.
func domain(mailbox string) string {
	s := strings.TrimSuffix(strings.TrimSpace(mailbox), ">")
	d := s[strings.LastIndexByte(s, '@')+1:]
	if a, err := esmtp.ParseAddress("x@" + d); err == nil && len(d) < len(s) {
		return a.Wire()[len("x@"):]
	}
	return ""
}

// Domain is what stands in every Message-ID: the one that the message had already, or that of its sender.
func (c *Content) Domain() string { return c.domain }

// pick finds the variant for a locale: the locale, what is left without its last subtags, the plain one.
func (c *Content) pick(locale string) *variant {
	if i := merge.PickLocale(locale, len(c.locales), func(i int) string { return c.locales[i].locale }); i >= 0 {
		return c.locales[i]
	}
	return c.plain
}

// Required lists, sorted, the variables without which no item can be made, whatever the recipient's locale.
func (c *Content) Required() []string {
	need := c.plain.ascii.Required()
	for _, v := range c.locales {
		other := v.ascii.Required()
		need = slices.DeleteFunc(need, func(path string) bool { return !slices.Contains(other, path) })
	}
	return need
}

// RequiredFor lists, sorted, the variables without which no item can be made for a recipient of this locale.
func (c *Content) RequiredFor(locale string) []string { return c.pick(locale).ascii.Required() }
