package merge

import "time"

// Vars answers a template's variables. Path has at least one name. What is not there is the zero [Value]; [Value.At] follows the
// rest of a path into a value.
type Vars interface {
	Lookup(path []string) Value
}

// Map is the simplest Vars: a tree of maps.
type Map map[string]any

// Lookup follows the path.
func (m Map) Lookup(path []string) Value {
	v := Of(m[path[0]])
	if len(path) == 1 {
		return v
	}
	return v.At(path[1:])
}

// Fields are the variables of one item: what content may name. The names recipient, message, data, unsubscribe_url and now belong to
// Fanfare, every other one is an attribute.
type Fields struct {
	Attributes      map[string]any
	ExternalID      string // recipient.external_id
	Email           string // recipient.email
	Locale          string // recipient.locale
	MessageID       string // message.id
	MessageName     string // message.name
	MessageMetadata Value  // message.metadata
	Data            Value  // data
	UnsubscribeURL  string // unsubscribe_url
	Now             time.Time
	OpenURL         string                      // OpenVariable
	Track           func(address string) string // of links; nil: they stay as they are
}

// OpenVariable is the name of a picture's address by which an opened mail is noticed. Content does not speak of it.
const OpenVariable = "__open"

// Link implements Linker.
func (f *Fields) Link(address string) string {
	if f.Track == nil {
		return ""
	}
	return f.Track(address)
}

// Lookup answers as Vars does.
func (f *Fields) Lookup(path []string) Value {
	switch path[0] {
	case "recipient":
		return f.recipient(path[1:])
	case "message":
		return f.message(path[1:])
	case "data":
		return f.Data.At(path[1:])
	case "unsubscribe_url":
		return fieldText(f.UnsubscribeURL, path[1:])
	case OpenVariable:
		return fieldText(f.OpenURL, path[1:])
	case "now":
		if f.Now.IsZero() {
			return Value{}
		}
		return Of(f.Now).At(path[1:])
	}
	v := Of(f.Attributes[path[0]])
	if len(path) == 1 {
		return v
	}
	return v.At(path[1:])
}

func (f *Fields) recipient(path []string) Value {
	if len(path) == 0 {
		return Value{}
	}
	switch path[0] {
	case "external_id":
		return fieldText(f.ExternalID, path[1:])
	case "email":
		return fieldText(f.Email, path[1:])
	case "locale":
		return fieldText(f.Locale, path[1:])
	}
	return Value{}
}

func (f *Fields) message(path []string) Value {
	if len(path) == 0 {
		return Value{}
	}
	switch path[0] {
	case "id":
		return fieldText(f.MessageID, path[1:])
	case "name":
		return fieldText(f.MessageName, path[1:])
	case "metadata":
		return f.MessageMetadata.At(path[1:])
	}
	return Value{}
}

// fieldText is nil for an empty field: a recipient without an e-mail address has none.
func fieldText(s string, path []string) Value {
	if s == "" {
		return Value{}
	}
	return String(s).At(path)
}
