package mailbody

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"fanfare/merge"
)

// Envelope is what differs from recipient to recipient.
type Envelope struct {
	To          string // the address as it is sent
	Key         string // the item's key: Message-ID is <Key@Domain>
	Date        time.Time
	Unsubscribe string // the one-click link; empty: without List-Unsubscribe
	Vars        merge.Vars
}

// writing is one message on its way: the sink of its bodies.
type writing struct {
	quoted
	literals []encoded
	scratch  []byte
	second   time.Time // that date is of
	date     []byte    // as a header has it
}

// dated appends a date: mostly that of the message before.
func (w *writing) dated(dst []byte, at time.Time) []byte {
	if at = at.Truncate(time.Second); at != w.second {
		w.second, w.date = at, at.AppendFormat(w.date[:0], "Mon, 02 Jan 2006 15:04:05 -0700")
	}
	return append(dst, w.date...)
}

// Literal splices an encoded literal in.
func (w *writing) Literal(id int) { w.literal(&w.literals[id]) }

// Value encodes a value.
func (w *writing) Value(b []byte) { w.write(b) }

// Append appends the message. After an error dst is answered as it was. An error about this recipient alone holds merge.ErrMissing or
// ErrInvalid; merge.ErrTooManySteps and merge.ErrOutputTooLarge are the template's.
func (s *Skeleton) Append(dst []byte, env Envelope) ([]byte, error) {
	w, _ := s.pool.Get().(*writing)
	if w == nil {
		w = new(writing)
	}
	w.dst = dst
	err := s.write(w, &env)
	out := w.dst
	w.dst, w.literals = nil, nil
	s.pool.Put(w)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (s *Skeleton) write(w *writing, env *Envelope) error {
	for i := range s.fields {
		f := &s.fields[i]
		if f.value == nil {
			w.dst = append(w.dst, f.static...)
		} else if err := s.field(w, f, env.Vars); err != nil {
			return &FieldError{Field: f.key, Err: err}
		}
	}
	if err := s.addressing(w, env); err != nil {
		return err
	}
	w.dst = append(w.dst, s.opening...)
	if s.text != nil {
		if err := s.text.write(w, env.Vars, s.opts.Limits, s.html == nil); err != nil {
			return err
		}
		w.dst = append(w.dst, s.between...)
	}
	if s.html != nil {
		if err := s.html.write(w, env.Vars, s.opts.Limits, s.text == nil); err != nil {
			return err
		}
	}
	w.dst = append(w.dst, s.closing...)
	return nil
}

// field writes one header with values.
func (s *Skeleton) field(w *writing, f *field, vars merge.Vars) error {
	text, err := f.value.Render(w.scratch[:0], vars, headerLimits())
	if err != nil {
		return err
	}
	w.scratch = text
	text = bytes.TrimSpace(text)
	if f.mailbox {
		name, address := string(text), f.address
		if address == "" {
			if name, address, err = parseMailbox(name, s.opts.UTF8Addresses); err != nil {
				return fmt.Errorf("%w: %q: %w", ErrInvalid, text, err)
			}
		}
		w.dst = append(append(w.dst, f.name...), ": "...)
		w.dst = append(appendMailbox(w.dst, name, address), "\r\n"...)
		return nil
	}
	if len(text) == 0 {
		return nil
	}
	w.dst = append(append(w.dst, f.name...), ": "...)
	w.dst = append(appendUnstructured(w.dst, text), "\r\n"...)
	return nil
}

// addressing writes the headers that are this recipient's.
func (s *Skeleton) addressing(w *writing, env *Envelope) error {
	invalid := func(field, value string) error {
		return &FieldError{Field: field, Err: fmt.Errorf("%w: %q cannot stand in a header", ErrInvalid, value)}
	}
	if !validAddress(env.To, s.opts.UTF8Addresses) {
		return invalid("to", env.To)
	}
	if !printable(env.Key, 200) {
		return invalid("key", env.Key)
	}
	if env.Date.IsZero() {
		return &FieldError{Field: "date", Err: errors.New("there is none")}
	}
	dst := append(append(w.dst, "To: "...), env.To...)
	dst = append(dst, "\r\nDate: "...)
	dst = w.dated(dst, env.Date)
	dst = append(append(dst, "\r\nMessage-ID: <"...), env.Key...)
	dst = append(append(dst, '@'), s.opts.Domain...)
	dst = append(dst, ">\r\n"...)
	if env.Unsubscribe != "" {
		if !printable(env.Unsubscribe, maxWord) {
			return invalid("unsubscribe_url", env.Unsubscribe)
		}
		dst = append(append(dst, "List-Unsubscribe: <"...), env.Unsubscribe...)
		dst = append(dst, ">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"...)
	}
	w.dst = dst
	return nil
}

func (b *body) write(w *writing, vars merge.Vars, limits merge.Limits, alone bool) error {
	w.col, w.literals = 0, b.literals
	from := len(w.dst)
	if err := b.template.RenderTo(w, vars, limits); err != nil {
		return &FieldError{Field: b.key, Err: err}
	}
	w.trailing()
	if alone && (w.col > 0 || len(w.dst) == from) {
		w.dst = append(w.dst, "\r\n"...)
	}
	return nil
}

// Preview renders for a person's eyes: fields by their names in the content.
func (s *Skeleton) Preview(vars merge.Vars) (map[string]string, error) {
	fields := make(map[string]string, len(s.sources))
	for i := range s.sources {
		limits := headerLimits()
		if key := s.sources[i].key; key == "text" || key == "html" {
			limits = s.opts.Limits
		}
		out, err := s.sources[i].template.Render(nil, vars, limits)
		if err != nil {
			return nil, &FieldError{Field: s.sources[i].key, Err: err}
		}
		if len(out) > 0 {
			fields[s.sources[i].key] = string(out)
		}
	}
	return fields, nil
}
