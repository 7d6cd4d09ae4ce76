package people

import (
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fanfare"
	"fanfare/esmtp"
)

// Limits of a profile.
const (
	maxExternalID = 255
	maxField      = 320
	maxAttributes = 200
	maxName       = 100
	maxValue      = 8 << 10
)

// FieldError says which field of a profile is wrong, and what to do.
type FieldError struct {
	Field  string // external_id, email, attributes.NAME, …
	Code   string // required, too_long, invalid, unknown
	Detail string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Detail }

// CheckExternalID refuses ids that cannot be one: 1 to 255 bytes of valid UTF-8 without control characters.
func CheckExternalID(id string) error {
	switch {
	case id == "":
		return &FieldError{"external_id", "required", "is missing; give your own id of this person"}
	case len(id) > maxExternalID:
		return &FieldError{"external_id", "too_long", fmt.Sprintf("has %d bytes; at most %d are kept", len(id), maxExternalID)}
	case !plain(id):
		return &FieldError{"external_id", "invalid", "holds control characters or is not valid UTF-8"}
	}
	return nil
}

func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == 0x7f {
			return false
		} else if c >= utf8.RuneSelf {
			return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
		}
	}
	return true
}

// Check completes a change: it refuses what cannot be kept and decides what the channels' grammars say of its addresses. An address is
// never repaired: one that the grammar refuses is kept and marked invalid, so that its owner is skipped by name.
func Check(c *fanfare.RecipientChange) error { return check(c, knownZone) }

func knownZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil && name != "Local"
}

// zones remembers which zones are known: to look one up reads a file.
type zones map[string]bool

func (z zones) known(name string) bool {
	known, ok := z[name]
	if !ok && len(z) < 2000 {
		known = knownZone(name)
		z[name] = known
	}
	return known
}

func check(c *fanfare.RecipientChange, zone func(string) bool) error {
	if err := CheckExternalID(c.ExternalID); err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		value *string
	}{{"email", c.Email}, {"phone", c.Phone}, {"locale", c.Locale}, {"time_zone", c.TimeZone}} {
		if f.value == nil {
			continue
		}
		if len(*f.value) > maxField {
			return &FieldError{f.name, "too_long", fmt.Sprintf("has %d bytes; at most %d are kept", len(*f.value), maxField)}
		}
		if !plain(*f.value) {
			return &FieldError{f.name, "invalid", "holds control characters or is not valid UTF-8"}
		}
	}
	if c.TimeZone != nil && *c.TimeZone != "" && !zone(*c.TimeZone) {
		return &FieldError{"time_zone", "unknown", "is no time zone of the IANA database; write it like Asia/Shanghai"}
	}
	if c.Email != nil {
		c.EmailState, c.Mailbox = EmailState(*c.Email)
	}
	return checkAttributes(c.Attributes)
}

// EmailState says whether e-mail can be sent to the address, and gives the key of its mailbox: a 64-bit FNV-1a hash of the
// normalised address.
func EmailState(email string) (fanfare.AddressState, uint64) {
	if email == "" {
		return fanfare.AddressNone, 0
	}
	a, err := esmtp.ParseAddress(email)
	if err != nil {
		return fanfare.AddressInvalid, 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.Key()))
	return fanfare.AddressUsable, h.Sum64()
}

func checkAttributes(attributes map[string]any) error {
	if len(attributes) > maxAttributes {
		return &FieldError{"attributes", "too_long", fmt.Sprintf("has %d attributes; at most %d are kept", len(attributes), maxAttributes)}
	}
	for name, v := range attributes {
		if err := CheckAttributeName(name); err != nil {
			return err
		}
		switch v := v.(type) {
		case nil, bool:
		case string:
			if len(v) > maxValue || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return &FieldError{"attributes." + name, "invalid", fmt.Sprintf("is not valid UTF-8, holds NUL, or has more than %d bytes", maxValue)}
			}
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return &FieldError{"attributes." + name, "invalid", "is no finite number"}
			}
		case []string:
			for _, s := range v {
				if len(s) > maxValue || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
					return &FieldError{"attributes." + name, "invalid", "holds a text that is not valid UTF-8, holds NUL, or is too long"}
				}
			}
		default:
			return &FieldError{"attributes." + name, "invalid", "is neither a string, a number, a boolean nor a list of strings"}
		}
	}
	return nil
}

// CheckAttributeName refuses names that merge tags could not speak of.
func CheckAttributeName(name string) error {
	switch {
	case name == "":
		return &FieldError{"attributes", "required", "an attribute has no name"}
	case len(name) > maxName || !plain(name):
		return &FieldError{"attributes." + name, "invalid", fmt.Sprintf("names have at most %d bytes of UTF-8 without control characters", maxName)}
	}
	return nil
}

// Value turns a JSON value into an attribute's value; ok is false if an attribute cannot hold it.
func Value(v any) (any, bool) {
	switch v := v.(type) {
	case nil, bool, string, float64:
		return v, true
	case []any:
		texts := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			texts = append(texts, s)
		}
		return texts, true
	}
	return nil, false
}

// Cell gives the value of a CSV cell: a canonical JSON number is a number (02134 and 1.50 are strings), true and false are booleans,
// all else is a string.
func Cell(s string) any {
	switch {
	case s == "true":
		return true
	case s == "false":
		return false
	case s == "" || len(s) > 24 || s[0] != '-' && (s[0] < '0' || s[0] > '9'):
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return s
	}
	var b [32]byte
	if text := AppendNumber(b[:0], f); string(text) != s {
		return s
	}
	return f
}

// AppendNumber writes a number in its canonical JSON form.
func AppendNumber(dst []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}
