package merge

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Part is where a template's output stands; it decides how values are escaped. Text between the tags is the author's and stays as
// it is, but for the control characters in a header.
type Part uint8

// The parts.
const (
	// Text is plain text: nothing is escaped.
	Text Part = iota
	// HTML is the content of elements and of quoted attributes: & < > " ' become entities. A value that is an address, or begins one, brings no
	// scheme but http, https, mailto or tel: another one makes it "#".
	HTML
	// Header is one line: each run of control characters (CR, LF, NUL and line separators included) becomes one space, bytes that are no UTF-8 U+FFFD.
	Header
	// URL is an address: a value becomes a component of it, percent-encoded but for letters, digits and -._~. Only a value at the very
	// start that begins with http:// or https:// keeps its structure.
	URL
	// JSON is the inside of a JSON string; a value whose last filter is json stands by itself.
	JSON
)

const upperHex = "0123456789ABCDEF"

func appendEscaped(dst []byte, s string, part Part, atStart bool) []byte {
	switch part {
	case HTML:
		return appendHTML(dst, s)
	case Header:
		return appendHeader(dst, s)
	case URL:
		if atStart && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")) {
			return appendURL(dst, s, true)
		}
		return appendURL(dst, s, false)
	case JSON:
		return appendJSON(dst, s)
	}
	return append(dst, s...)
}

func appendHTML(dst []byte, s string) []byte {
	last := 0
	for i := 0; i < len(s); i++ {
		var entity string
		switch s[i] {
		case '&':
			entity = "&amp;"
		case '<':
			entity = "&lt;"
		case '>':
			entity = "&gt;"
		case '"':
			entity = "&quot;"
		case '\'':
			entity = "&#39;"
		default:
			continue
		}
		dst = append(dst, s[last:i]...)
		dst = append(dst, entity...)
		last = i + 1
	}
	return append(dst, s[last:]...)
}

// appendHeader makes one line of any text.
func appendHeader(dst []byte, s string) []byte {
	plain := 0
	for plain < len(s) && s[plain] >= 0x20 && s[plain] < 0x7f {
		plain++
	}
	dst = append(dst, s[:plain]...)
	control := false
	for i := plain; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			if !control {
				dst = append(dst, ' ')
			}
			control = true
		} else {
			dst = utf8.AppendRune(dst, r) // U+FFFD for what is no UTF-8
			control = false
		}
		i += n
	}
	return dst
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// appendURL percent-encodes; whole keeps the characters that structure an address.
func appendURL(dst []byte, s string, whole bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isUnreserved(c) || whole && strings.IndexByte(":/?#[]@!$&'()*+,;=%", c) >= 0 {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

// appendJSON escapes for the inside of a JSON string; also < > & and the line separators, so that it may stand in a script.
func appendJSON(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20 || c == '<' || c == '>' || c == '&' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		case c < 0x80:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			switch r {
			case '\u2028':
				dst = append(dst, `\u2028`...)
			case '\u2029':
				dst = append(dst, `\u2029`...)
			default:
				dst = utf8.AppendRune(dst, r)
			}
			i += n
			continue
		}
		i++
	}
	return dst
}

func trimSpace(s string) string { return strings.TrimSpace(s) }

func runeCount(s string) int { return utf8.RuneCountInString(s) }
