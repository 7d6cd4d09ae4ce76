package esmtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// ErrAddress is in every error of [ParseAddress].
var ErrAddress = errors.New("invalid e-mail address")

// Limits of RFC 5321, 4.5.3.1, and of RFC 3696 (erratum 1690) for the whole.
const (
	maxLocal   = 64
	maxAddress = 254
	maxDomain  = 253
	maxLabel   = 63
)

// Address is a mailbox that [ParseAddress] accepted.
type Address struct {
	Local  string // dot-atom; as given
	Domain string // as given; may have U-labels
	UTF8   bool   // the local part is not ASCII: only a server that offers SMTPUTF8 can take it

	wire string // the domain as it is sent: A-labels
}

// ParseAddress accepts local@domain and nothing else: no display name, no angle brackets, no comment, no space or control character.
//
// The local part is a dot-atom of ASCII atext, or of letters, marks, numbers and symbols beyond ASCII (RFC 6531), at most 64 bytes.
// A quoted local part is refused: hardly anybody has one, and it is where parsers disagree. The domain is one or more labels of
// letters, digits and inner hyphens (or of what IDNA can turn into such), the last one not all digits; an address literal is
// refused. The whole is at most 254 bytes, also with the domain as A-labels. Nothing is repaired.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxAddress {
		return Address{}, refused(s[:maxAddress], "longer than 254 bytes")
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, refused(s, "no @")
	}
	a := Address{Local: s[:at], Domain: s[at+1:]}
	utf8Local, why := checkLocal(a.Local)
	if why != "" {
		return Address{}, refused(s, why)
	}
	a.UTF8 = utf8Local
	a.wire = a.Domain
	if !ascii(a.Domain) {
		if a.wire, why = toWire(a.Domain); why != "" {
			return Address{}, refused(s, why)
		}
	}
	if why := checkDomain(a.wire); why != "" {
		return Address{}, refused(s, why)
	}
	if len(a.Local)+1+len(a.wire) > maxAddress {
		return Address{}, refused(s, "longer than 254 bytes with its domain in ASCII")
	}
	return a, nil
}

func refused(s, why string) error { return fmt.Errorf("%w: %q: %s", ErrAddress, s, why) }

// String gives the address as it was given.
func (a Address) String() string { return a.Local + "@" + a.Domain }

// Wire gives the address as it is sent: the domain as A-labels.
func (a Address) Wire() string { return a.Local + "@" + a.wire }

// Key gives what two spellings of one mailbox have in common, to send one mail to it: both parts in lower case, the domain as
// A-labels, a local part beyond ASCII in NFC. RFC 5321 lets a server tell Local from local; none that people use does.
func (a Address) Key() string {
	local := strings.ToLower(a.Local)
	if a.UTF8 {
		local = norm.NFC.String(local)
	}
	return local + "@" + strings.ToLower(a.wire)
}

// checkLocal checks a dot-atom.
func checkLocal(s string) (beyondASCII bool, why string) {
	if s == "" {
		return false, "nothing before the @"
	}
	if len(s) > maxLocal {
		return false, "the part before the @ is longer than 64 bytes"
	}
	dot := true // before the first character
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '.' && dot:
				return false, "a dot at the start or beside another before the @"
			case c != '.' && !atext(c):
				return false, fmt.Sprintf("%q is not allowed before the @", c)
			}
			dot = c == '.'
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError {
			return false, "not valid UTF-8"
		}
		// Marks, letters, numbers, punctuation, symbols; no control or format character, no space.
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || unicode.Is(unicode.Zs, r) {
			return false, fmt.Sprintf("%q is not allowed before the @", r)
		}
		beyondASCII, dot = true, false
		i += n
	}
	if dot {
		return false, "a dot just before the @"
	}
	return beyondASCII, ""
}

// atext of RFC 5322, 3.2.3.
func atext(c byte) bool {
	const low, high uint64 = 0xa3ffacfa_00000000, 0x7fffffff_c7fffffe // its first and second 64 characters, a bit each
	if c < 64 {
		return low>>c&1 != 0
	}
	return c < 128 && high>>(c-64)&1 != 0
}

func toWire(domain string) (wire, why string) {
	if !utf8.ValidString(domain) {
		return "", "not valid UTF-8"
	}
	for _, r := range domain {
		// The other full stops of IDNA, and look-alikes of ASCII that a mapping would turn into syntax.
		if r >= utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r) {
			return "", fmt.Sprintf("%q is not allowed in a domain", r)
		}
	}
	wire, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", "not a valid international domain name"
	}
	return wire, ""
}

// checkDomain checks labels of letters, digits and hyphens.
func checkDomain(s string) (why string) {
	switch {
	case s == "":
		return "nothing after the @"
	case s[0] == '[':
		return "an address literal is not accepted"
	case len(s) > maxDomain:
		return "the domain is longer than 253 bytes"
	}
	start, digits := 0, true
	for i := 0; ; i++ {
		if i == len(s) || s[i] == '.' {
			label := s[start:i]
			switch {
			case label == "":
				return "an empty label in the domain"
			case len(label) > maxLabel:
				return "a label of the domain is longer than 63 bytes"
			case label[0] == '-' || label[len(label)-1] == '-':
				return "a label of the domain begins or ends with a hyphen"
			}
			if i == len(s) {
				break
			}
			start, digits = i+1, true
			continue
		}
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-':
			digits = false
		default:
			return fmt.Sprintf("%q is not allowed in a domain", c)
		}
	}
	if digits {
		return "the domain is a number"
	}
	return ""
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
