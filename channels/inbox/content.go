package inbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"fanfare"
	"fanfare/merge"
	"fanfare/merge/mailbody"
)

// The largest sources of the fields, in bytes.
const (
	maxTitle = 1000
	maxBody  = 64 << 10
	maxURL   = 4000
)

// limits bound what one rendering makes: a page of a hundred items has to fit into memory.
func limits() merge.Limits { return merge.Limits{Steps: 20_000, Output: 128 << 10} }

// Content is a message's content, compiled.
type Content struct {
	plain   *variant
	locales []*variant
	id      string
	name    string
	data    merge.Value
	meta    merge.Value
	fields  sync.Pool // *merge.Fields
}

var _ fanfare.Compiled = (*Content)(nil)

// variant is the content for one locale.
type variant struct {
	locale string
	parts  [3]part
	fixed  []byte // the whole, if nothing of a recipient stands in it
}

// part is one field.
type part struct {
	name     string
	template *merge.Template
	literals [][]byte // encoded
	member   string   // what stands before its text
}

// Compile implements fanfare.Channel. It answers a *Content.
func (*Channel) Compile(m *fanfare.Message) (fanfare.Compiled, error) {
	c := &Content{id: string(m.ID), name: m.Name}
	var err error
	if c.data, err = mailbody.Value("data", m.Data); err != nil {
		return nil, err
	}
	if c.meta, err = mailbody.Value("metadata", m.Metadata); err != nil {
		return nil, err
	}
	if c.plain, err = c.variant("", m.Content); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(m.Content.Locales))
	for i, locale := range names {
		at, in := "content.locales."+locale, m.Content.Locales[locale]
		if err := mailbody.CheckLocale(at, locale, names[:i]); err != nil {
			return nil, err
		}
		switch {
		case in.Locales != nil:
			return nil, mailbody.Wrong(at+".locales", "a locale has no locales of its own; move them up")
		case !in.ExpiresAt.IsZero():
			return nil, mailbody.Wrong(at+".expires_at", "a message expires for everybody at once; move it up")
		case in.URL == "":
			in.URL = m.Content.URL
		}
		v, err := c.variant(locale, in)
		if err != nil {
			return nil, err
		}
		c.locales = append(c.locales, v)
	}
	return c, nil
}

func (c *Content) variant(locale string, from fanfare.Content) (*variant, error) {
	at := "content."
	if locale != "" {
		at = "content.locales." + locale + "."
	}
	if strings.TrimSpace(from.Title) == "" {
		return nil, mailbody.Wrong(at+"title", "it is empty; write one")
	}
	if err := leads(from.URL); err != nil {
		return nil, mailbody.Wrong(at+"url", err.Error())
	}
	v := &variant{locale: locale}
	fixed := true
	for i, f := range [3]struct {
		name, source string
		most         int
		kind         merge.Part
	}{{"title", from.Title, maxTitle, merge.Header}, {"body", from.Body, maxBody, merge.Text}, {"url", from.URL, maxURL, merge.URL}} {
		if len(f.source) > f.most {
			return nil, mailbody.Wrong(at+f.name, fmt.Sprintf("it has %d bytes, %d at most; shorten it", len(f.source), f.most))
		}
		t, err := merge.Compile(f.source, merge.Options{Part: f.kind})
		if err != nil {
			return nil, &mailbody.FieldError{Field: at + f.name, Err: err}
		}
		p := part{name: f.name, template: t, member: `"` + f.name + `":"`}
		if i > 0 {
			p.member = `","` + f.name + `":"`
		}
		for _, l := range t.Literals() {
			p.literals = append(p.literals, appendText(nil, l))
		}
		v.parts[i] = p
		fixed = fixed && !slices.ContainsFunc(t.Variables(), ofRecipient)
	}
	if fixed {
		var err error
		if v.fixed, err = v.render(nil, c.vars(&fanfare.Outgoing{}), false); err != nil {
			return nil, mailbody.Wrong(strings.TrimSuffix(at, "."), err.Error())
		}
	}
	return v, nil
}

// ofRecipient says whether a variable is another one for each recipient, or at each time.
func ofRecipient(path string) bool {
	name, _, _ := strings.Cut(path, ".")
	name, _, _ = strings.Cut(name, "[")
	return name != "message" && name != "data"
}

// leads says what is wrong with where a url leads: its beginning is the author's, whatever values come later.
func leads(url string) error {
	begin := url[:max(0, strings.IndexAny(url+"{", "{"))]
	scheme, _, known := strings.Cut(begin, "://")
	switch {
	case url == "", strings.HasPrefix(begin, "/") && !strings.HasPrefix(begin, "//"):
		return nil
	case !known || !isScheme(scheme):
		return errors.New("it must begin with https://, http://, / or the scheme of an app like myapp://; merge tags come behind that")
	}
	switch strings.ToLower(scheme) {
	case "javascript", "data", "vbscript", "file", "blob":
		return fmt.Errorf("%s: leads nowhere that is safe; use https://", scheme)
	}
	return nil
}

func isScheme(s string) bool {
	for i := range len(s) {
		letter := s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'
		if !letter && (i == 0 || (s[i] < '0' || s[i] > '9') && !strings.ContainsRune("+-.", rune(s[i]))) {
			return false
		}
	}
	return s != ""
}

// pick finds the variant for a locale.
func (c *Content) pick(locale string) *variant {
	if i := merge.PickLocale(locale, len(c.locales), func(i int) string { return c.locales[i].locale }); i >= 0 {
		return c.locales[i]
	}
	return c.plain
}

// Personal says whether the profile of whoever reads has to be known.
func (c *Content) Personal() bool { return len(c.locales) > 0 || c.plain.fixed == nil }

// Fixed gives what Render would for everybody who has a locale, if nothing of a recipient stands in it. It is not to be changed.
func (c *Content) Fixed(locale string) ([]byte, bool) {
	v := c.pick(locale)
	return v.fixed, v.fixed != nil
}

// Render implements fanfare.Compiled: the members "title", "body" and "url" of a JSON object. A value that is missing is left out.
func (c *Content) Render(dst []byte, it *fanfare.Outgoing) ([]byte, error) {
	f := c.vars(it)
	defer c.end(f)
	v := c.pick(f.Locale)
	if v.fixed != nil {
		return append(dst, v.fixed...), nil
	}
	out, err := v.render(dst, f, true)
	if err != nil {
		return dst, fmt.Errorf("message %s: %w", c.id, err)
	}
	return out, nil
}

// Preview implements fanfare.Compiled: title, body and url as far as they are not empty. A value that is missing is named.
func (c *Content) Preview(it *fanfare.Outgoing) (map[string]string, error) {
	f := c.vars(it)
	defer c.end(f)
	out := make(map[string]string, 3)
	for i := range c.pick(f.Locale).parts {
		p := &c.pick(f.Locale).parts[i]
		text, err := p.template.Render(nil, f, limits())
		if missing, ok := errors.AsType[*merge.MissingError](err); ok {
			return nil, &fanfare.SkipError{Reason: fanfare.ReasonMissingField, Detail: fanfare.CleanText(missing.Path)}
		}
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", c.id, err)
		}
		if len(text) > 0 {
			out[p.name] = string(text)
		}
	}
	return out, nil
}

// Required lists, sorted, the variables of the recipient without which something is left out for whoever has the locale.
func (c *Content) Required(locale string) (need []string) {
	for i := range c.pick(locale).parts {
		need = append(need, c.pick(locale).parts[i].template.Required()...)
	}
	slices.Sort(need)
	return slices.Compact(need)
}

func (c *Content) vars(it *fanfare.Outgoing) *merge.Fields {
	f, _ := c.fields.Get().(*merge.Fields)
	if f == nil {
		f = new(merge.Fields)
	}
	*f = merge.Fields{MessageID: c.id, MessageName: c.name, MessageMetadata: c.meta, Data: c.data, UnsubscribeURL: it.Unsubscribe, Now: it.Date}
	if r := it.Recipient; r != nil {
		f.Attributes, f.ExternalID, f.Email, f.Locale = r.Attributes, r.ExternalID, r.Email, r.Locale
	}
	return f
}

func (c *Content) end(f *merge.Fields) {
	*f = merge.Fields{}
	c.fields.Put(f)
}

func (v *variant) render(dst []byte, vars merge.Vars, lenient bool) ([]byte, error) {
	l := limits()
	l.Lenient = lenient
	sink := splice{out: dst}
	for i := range v.parts {
		p := &v.parts[i]
		sink.out, sink.literals = append(sink.out, p.member...), p.literals
		if err := p.template.RenderTo(&sink, vars, l); err != nil {
			return dst, err
		}
	}
	return append(sink.out, '"'), nil
}

// splice puts literals, which are encoded already, and values into a JSON string.
type splice struct {
	out      []byte
	literals [][]byte
}

// Literal implements merge.Sink.
func (s *splice) Literal(id int) { s.out = append(s.out, s.literals[id]...) }

// Value implements merge.Sink.
func (s *splice) Value(b []byte) { s.out = appendText(s.out, b) }

const hex = "0123456789abcdef"

// appendText appends text as the inside of a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendText[T string | []byte](dst []byte, text T) []byte {
	for _, r := range string(text) {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < 0x20 || r == '<' || r == '>' || r == '&' || r == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&0xf])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}
