package mailbody

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"fanfare/merge"
)

// ErrInvalid says that a message cannot be made for this recipient: an address that is none, a link that cannot stand in a header.
var ErrInvalid = errors.New("invalid")

// ErrContent says that content cannot be compiled for another reason than a template's syntax (*merge.SyntaxError).
var ErrContent = errors.New("wrong content")

// FieldError names the field of the content, or of the envelope, that an error is about.
type FieldError struct {
	Field string // subject, text, html, from, reply_to, headers.NAME, to, key, date, unsubscribe_url
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// Content is what a message says. Every value, not the names of headers, is a template. Text or HTML may be empty, not both.
type Content struct {
	Subject string
	Text    string
	HTML    string
	From    string // "Name <address>" or an address
	ReplyTo string // the same, or empty
	Headers map[string]string
}

// Options are the choices of a compilation.
type Options struct {
	Message       string         // value of X-Fanfare-Message; empty: without
	Domain        string         // of the Message-ID; empty: the domain of From
	UTF8Addresses bool           // addresses beyond ASCII stand raw in the header: only for servers that offer SMTPUTF8
	Zone          *time.Location // of the date filter where it names none
	Limits        merge.Limits   // of each body
	Opens         bool           // HTML ends with a picture at the address merge.OpenVariable, where there is one
	Clicks        bool           // links of the bodies are as the variables want them (merge.Linker)
}

// Skeleton is compiled content.
type Skeleton struct {
	opts    Options
	fields  []field
	text    *body
	html    *body
	opening string // after the per-recipient headers, up to the first body
	between string // of two bodies
	closing string // after the last body
	sources []source
	pool    sync.Pool
}

// field is a header, or several static ones in a row.
type field struct {
	key     string // as FieldError names it
	name    string
	static  []byte // with its line end; then nothing below matters
	value   *merge.Template
	mailbox bool   // From, Reply-To
	address string // of a mailbox whose name is the template; empty: the template gives all of it
}

type body struct {
	key      string
	template *merge.Template
	literals []encoded
}

// source is a template for a person's eyes.
type source struct {
	key      string
	template *merge.Template
}

// headerLimits bound one header.
func headerLimits() merge.Limits { return merge.Limits{Steps: 10_000, Output: 16 << 10} }

// maxHeaderName keeps room for a value on the first line.
const maxHeaderName = 60

// Compile compiles content. An error is a *FieldError around a *merge.SyntaxError or ErrContent.
func Compile(c Content, o Options) (*Skeleton, error) {
	s := &Skeleton{opts: o}
	domain, err := s.mailbox("from", "From", c.From)
	if err != nil {
		return nil, err
	}
	if s.opts.Domain == "" {
		s.opts.Domain = domain
	}
	if !validDomain(s.opts.Domain, false) {
		return nil, wrong("from", "the domain %q cannot stand in a Message-ID; give one that can, in ASCII", s.opts.Domain)
	}
	if c.ReplyTo != "" {
		if _, err := s.mailbox("reply_to", "Reply-To", c.ReplyTo); err != nil {
			return nil, err
		}
	}
	if err := s.header("subject", "Subject", c.Subject); err != nil {
		return nil, err
	}
	if err := s.headers(c.Headers); err != nil {
		return nil, err
	}
	if s.text, err = s.body("text", merge.Text, c.Text); err != nil {
		return nil, err
	}
	html := c.HTML
	if s.opts.Opens && html != "" {
		html = withPicture(html)
	}
	if s.html, err = s.body("html", merge.HTML, html); err != nil {
		return nil, err
	}
	if s.text == nil && s.html == nil {
		return nil, wrong("text", "there is neither text nor html; write one of them")
	}
	return s, s.structure(c)
}

func wrong(key, format string, args ...any) error {
	return &FieldError{Field: key, Err: fmt.Errorf("%w: %s", ErrContent, fmt.Sprintf(format, args...))}
}

func (s *Skeleton) compile(key string, part merge.Part, src string) (*merge.Template, error) {
	t, err := merge.Compile(src, merge.Options{Part: part, Zone: s.opts.Zone, Links: s.opts.Clicks})
	if err != nil {
		return nil, &FieldError{Field: key, Err: err}
	}
	s.sources = append(s.sources, source{key, t})
	return t, nil
}

// mailbox compiles From or Reply-To; domain is that of its address, if that is known.
func (s *Skeleton) mailbox(key, name, src string) (domain string, err error) {
	t, err := s.compile(key, merge.Header, src)
	if err != nil {
		return "", err
	}
	if text, ok := t.Static(); ok {
		display, address, err := parseMailbox(text, s.opts.UTF8Addresses)
		if err != nil {
			return "", wrong(key, "%v; write Name <name@example.org>, quotes around a name with commas or other signs", err)
		}
		s.static(appendMailbox([]byte(name+": "), display, address))
		return address[strings.LastIndexByte(address, '@')+1:], nil
	}
	f := field{key: key, name: name, value: t, mailbox: true}
	if open := strings.LastIndexByte(src, '<'); open > 0 && strings.HasSuffix(strings.TrimSpace(src), ">") {
		address := strings.TrimSuffix(strings.TrimSpace(src[open+1:]), ">")
		if strings.IndexByte(address, '{') < 0 && validAddress(address, s.opts.UTF8Addresses) {
			if f.value, err = merge.Compile(unquote(strings.TrimSpace(src[:open])), merge.Options{Part: merge.Header, Zone: s.opts.Zone}); err != nil {
				return "", &FieldError{Field: key, Err: err}
			}
			f.address = address
			domain = address[strings.LastIndexByte(address, '@')+1:]
		}
	}
	s.fields = append(s.fields, f)
	return domain, nil
}

// static adds a finished header, joined to the one before if that is finished too.
func (s *Skeleton) static(line []byte) {
	line = append(line, "\r\n"...)
	if n := len(s.fields); n > 0 && s.fields[n-1].value == nil {
		s.fields[n-1].static = append(s.fields[n-1].static, line...)
		return
	}
	s.fields = append(s.fields, field{static: line})
}

func (s *Skeleton) header(key, name, src string) error {
	t, err := s.compile(key, merge.Header, src)
	if err != nil {
		return err
	}
	text, ok := t.Static()
	if !ok {
		s.fields = append(s.fields, field{key: key, name: name, value: t})
		return nil
	}
	if text = strings.TrimSpace(text); text != "" {
		s.static(appendUnstructured(append([]byte(name), ": "...), []byte(text)))
	}
	return nil
}

func (s *Skeleton) headers(list map[string]string) error {
	seen := make(map[string]string, len(list))
	for _, name := range slices.Sorted(maps.Keys(list)) {
		key := "headers." + name
		if !validToken(name) || len(name) > maxHeaderName {
			return wrong(key, "%q is no header name; use at most %d letters, digits and hyphens", name, maxHeaderName)
		}
		lower := strings.ToLower(name)
		if isReserved(lower) {
			return wrong(key, "%s is set by Fanfare; remove it (subject, from and reply_to have fields of their own)", name)
		}
		if other, ok := seen[lower]; ok {
			return wrong(key, "%s and %s are the same header; remove one", other, name)
		}
		seen[lower] = name
		if err := s.header(key, name, list[name]); err != nil {
			return err
		}
	}
	return nil
}

// isReserved tells which headers content may not set: those that Fanfare, the relay or the transport is responsible for.
func isReserved(lower string) bool {
	switch lower {
	case "from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "mime-version", "list-unsubscribe", "list-unsubscribe-post",
		"return-path", "received", "received-spf", "delivered-to", "envelope-to", "apparently-to", "errors-to", "dkim-signature", "domainkey-signature", "authentication-results":
		return true
	}
	for _, prefix := range [...]string{"content-", "resent-", "arc-", "x-fanfare-"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	return false
}

func (s *Skeleton) body(key string, part merge.Part, src string) (*body, error) {
	if src == "" {
		return nil, nil
	}
	t, err := s.compile(key, part, strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n"))
	if err != nil {
		return nil, err
	}
	b := &body{key: key, template: t}
	for _, text := range t.Literals() {
		b.literals = append(b.literals, encodeLiteral(text))
	}
	return b, nil
}

// structure makes what stands around the bodies.
func (s *Skeleton) structure(c Content) error {
	var head []byte
	if s.opts.Message != "" {
		if !printable(s.opts.Message, 200) {
			return wrong("message", "the id %q cannot stand in a header", s.opts.Message)
		}
		head = append(head, "X-Fanfare-Message: "+s.opts.Message+"\r\n"...)
	}
	const encoding = "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
	const plain, html = "Content-Type: text/plain; charset=utf-8" + encoding, "Content-Type: text/html; charset=utf-8" + encoding
	head = append(head, "MIME-Version: 1.0\r\n"...)
	switch {
	case s.html == nil:
		s.opening = string(head) + plain
	case s.text == nil:
		s.opening = string(head) + html
	default:
		// In quoted-printable an equals sign is followed by two hex digits or by a line end, so "=_" is in no body.
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", c.Subject, c.Text, c.HTML, c.From, s.opts.Message))
		boundary := "=_" + hex.EncodeToString(sum[:12])
		s.opening = string(head) + "Content-Type: multipart/alternative;\r\n boundary=\"" + boundary + "\"\r\n\r\n--" + boundary + "\r\n" + plain
		s.between = "\r\n--" + boundary + "\r\n" + html
		s.closing = "\r\n--" + boundary + "--\r\n"
	}
	return nil
}

// Variables lists the paths that the content reads, sorted, each once.
func (s *Skeleton) Variables() []string { return s.paths((*merge.Template).Variables) }

// Required lists the paths without which no message can be made.
func (s *Skeleton) Required() []string { return s.paths((*merge.Template).Required) }

func (s *Skeleton) paths(of func(*merge.Template) []string) []string {
	var list []string
	for i := range s.sources {
		list = append(list, of(s.sources[i].template)...)
	}
	slices.Sort(list)
	list = slices.DeleteFunc(list, func(path string) bool { return path == merge.OpenVariable })
	return slices.Compact(list)
}
