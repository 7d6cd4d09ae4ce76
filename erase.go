package fanfare

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// SetErased holds whoever was created with the external id or an address of somebody who was erased, and has not consented anew. It
// suppresses on every channel, essential messages too.
const SetErased SetName = "suppressed::erased:"

// Erasing forgets people.
type Erasing interface {
	// Erase erases recipients of one slot in one transaction under the latch, and tells of each id, in order, what became of it. The
	// profile goes; so does the seq out of alive, lists, suppressions, attribute sets, and all other sets that a slot keeps by name. It is
	// never given to anybody else. Texts and codes of the person's exceptions are blanked, those that a sender who has them in hand writes
	// later too. Audiences of messages and segments, and stored answers, name the person no more. What stays is keyed hashes of id and
	// addresses, by which SetErased and UpsertOptions.RefuseErased work, and items, receipts and frozen audiences, by number.
	//
	// Hashes of addresses lie on every shard, the hash of an id on the shard of its slot. A store of several shards writes the addresses
	// to all others first, then erases in the slot's, last it clears the control tables: stopped between them an address is suppressed
	// though its owner is there, or an answer still names somebody who is not; to erase once more completes it.
	Erase(ctx context.Context, s Slot, ids []string) ([]Erased, error)
	// Known finds a recipient by external id, and when somebody who had the id before was erased last, by the database's clock; zero: nobody
	// was. ErrNotFound: nobody has it now.
	Known(ctx context.Context, externalID string) (who Person, erased time.Time, err error)
	// Purge takes what was erased, or overwritten before, out of the store's files: where a row was its bytes stay until then. more says
	// that it is to be called again in a moment, since somebody reads what was before. Close does the same.
	Purge(ctx context.Context) (more bool, err error)
}

// Erased says what became of one external id.
type Erased uint8

// The answers.
const (
	ErasedNobody Erased = iota // nobody has or had it
	ErasedNow
	ErasedBefore // somebody had it who was erased; nobody has it now
)

// Erase takes out of the row what a provider may have said of the person.
func (e *Exception) Erase() {
	e.Text = ""
	if !plainCode(e.Code) {
		e.Code = ""
	}
}

// plainCode says whether a code is a number as SMTP and HTTP give it, perhaps with an enhanced one behind it: "550 5.1.1".
func plainCode(code string) bool {
	first, more, two := strings.Cut(code, " ")
	digits := func(s string, most int) bool {
		return s != "" && len(s) <= most && strings.Trim(s, "0123456789") == ""
	}
	if !digits(first, 3) || two != (more != "") {
		return code == ""
	}
	parts := strings.Split(more, ".")
	return !two || len(parts) == 3 && !slices.ContainsFunc(parts, func(p string) bool { return !digits(p, 3) })
}

// Redact takes names out of what an answer of the API says of people: a string becomes null, an element of a list goes. false: none is there.
// An answer has an address as the caller wrote it, so one of other case, or with blanks around it, is the same.
func Redact(doc []byte, names []string) ([]byte, bool) {
	return without(doc, names, func(key string) bool {
		return slices.Contains([]string{"recipient", "recipients", "external_id", "address", "email", "phone", "unknown", "left", "to"}, key)
	})
}

// WithoutRecipients takes external ids out of the lists of recipients of an audience; false: it names none of them.
func WithoutRecipients(audience []byte, ids []string) ([]byte, bool) {
	return without(audience, ids, func(key string) bool { return key == "recipients" })
}

// without looks at the values of some keys of a JSON document.
func without(doc []byte, names []string, looks func(key string) bool) ([]byte, bool) {
	if bytes.IndexByte(doc, '\\') < 0 {
		folded := bytes.ToLower(doc)
		if !slices.ContainsFunc(names, func(n string) bool { return bytes.Contains(folded, bytes.ToLower([]byte(n))) }) {
			return doc, false
		}
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return doc, false
	}
	r := redaction{names: names, looks: looks}
	v = r.value(v, false)
	if !r.hit {
		return doc, false
	}
	out, err := json.Marshal(v)
	return out, err == nil
}

type redaction struct {
	names []string
	looks func(key string) bool
	hit   bool
}

func (r *redaction) is(v any) bool {
	s, ok := v.(string)
	hit := ok && slices.ContainsFunc(r.names, func(n string) bool {
		return n == s || strings.Contains(n, "@") && strings.EqualFold(n, strings.TrimSpace(s))
	})
	r.hit = r.hit || hit
	return hit
}

// value gives what is left of a value; named says that its key is one that is looked at.
func (r *redaction) value(v any, named bool) any {
	switch v := v.(type) {
	case string:
		if named && r.is(v) {
			return nil
		}
	case []any:
		if named {
			v = slices.DeleteFunc(v, r.is)
		}
		for i := range v {
			v[i] = r.value(v[i], false)
		}
		return v
	case map[string]any:
		for k := range v {
			v[k] = r.value(v[k], r.looks(k))
		}
	}
	return v
}
