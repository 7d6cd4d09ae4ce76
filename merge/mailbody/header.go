package mailbody

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	foldAt  = 76  // columns of a header line that can be folded
	maxWord = 900 // of a line that cannot; RFC 5322 allows 998
)

// column is how far the last line of dst is.
func column(dst []byte) int {
	return len(dst) - 1 - bytes.LastIndexByte(dst, '\n')
}

// appendUnstructured appends a header's value behind its name: as it is and folded at single spaces if it is ASCII, as encoded words
// otherwise. The value has no control characters.
func appendUnstructured(dst []byte, s []byte) []byte {
	if !isPlain(s) {
		return appendWords(dst, s)
	}
	col := column(dst)
	for from := 0; from < len(s); {
		to := wordEnd(s, from)
		if from > 0 {
			if col+1+to-from > foldAt {
				dst = append(dst, "\r\n"...)
				col = 0
			}
			dst = append(dst, ' ')
			col++
		}
		dst = append(dst, s[from:to]...)
		col += to - from
		from = to + 1
	}
	return dst
}

// wordEnd is the next single space after from, or the end: only there a line is folded, so that unfolding restores the value.
func wordEnd(s []byte, from int) int {
	for i := from; i < len(s); i++ {
		if s[i] == ' ' && (i == 0 || s[i-1] != ' ') && (i+1 == len(s) || s[i+1] != ' ') {
			return i
		}
	}
	return len(s)
}

// isPlain tells whether a value can stand unencoded: printable ASCII, nothing that reads as an encoded word, no endless word.
func isPlain(s []byte) bool {
	word := 0
	for i, c := range s {
		if c < ' ' || c > '~' || c == '=' && i+1 < len(s) && s[i+1] == '?' {
			return false
		}
		word++
		if c == ' ' && (i == 0 || s[i-1] != ' ') && (i+1 == len(s) || s[i+1] != ' ') {
			word = 0
		}
		if word > maxWord {
			return false
		}
	}
	return true
}

const (
	wordOverhead = len("=?UTF-8?Q??=")
	maxEncoded   = 75 // RFC 2047, 2
)

// appendWords appends s as encoded words (RFC 2047), each on a line of at most 76 columns, no character broken. Q where it is shorter,
// with only the signs that are allowed in a display name too.
func appendWords(dst []byte, s []byte) []byte {
	special := 0
	for _, c := range s {
		if !isWordSafe(c) && c != ' ' {
			special++
		}
	}
	q := len(s)+2*special <= (len(s)+2)/3*4
	col := column(dst)
	for first := true; len(s) > 0; first = false {
		if !first || col+wordOverhead+16 > foldAt {
			dst = append(dst, "\r\n "...)
			col = 1
		}
		n := wordLength(s, min(maxEncoded, foldAt-col)-wordOverhead, q)
		if q {
			dst = append(dst, "=?UTF-8?Q?"...)
			dst = appendQ(dst, s[:n])
		} else {
			dst = append(dst, "=?UTF-8?B?"...)
			dst = base64.StdEncoding.AppendEncode(dst, s[:n])
		}
		dst = append(dst, "?="...)
		s = s[n:]
	}
	return dst
}

// wordLength is how many bytes of s, in whole characters, fit into room.
func wordLength(s []byte, room int, q bool) int {
	cost, n := 0, 0
	for n < len(s) {
		_, size := utf8.DecodeRune(s[n:])
		if q {
			for _, c := range s[n : n+size] {
				if isWordSafe(c) || c == ' ' {
					cost++
				} else {
					cost += 3
				}
			}
		} else {
			cost = (n + size + 2) / 3 * 4
		}
		if cost > room {
			break
		}
		n += size
	}
	return n
}

func appendQ(dst []byte, s []byte) []byte {
	for _, c := range s {
		switch {
		case isWordSafe(c):
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '_')
		default:
			dst = append(dst, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// isWordSafe is RFC 2047, 5 (3): what may stand in an encoded word of a phrase.
func isWordSafe(c byte) bool {
	return isAlnum(c) || c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// appendMailbox appends Name <address> behind the header's name.
func appendMailbox(dst []byte, name, address string) []byte {
	name = strings.TrimSpace(name)
	if name == "" {
		return append(dst, address...)
	}
	switch {
	case len(name) > 60 || !isPlain([]byte(name)):
		dst = appendWords(dst, []byte(name))
	case isPhrase(name):
		dst = append(dst, name...)
	default:
		dst = append(dst, '"')
		for i := range len(name) {
			if name[i] == '"' || name[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, name[i])
		}
		dst = append(dst, '"')
	}
	if column(dst)+3+len(address) > foldAt {
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, " <"...)
	dst = append(dst, address...)
	return append(dst, '>')
}

// isPhrase tells whether a name needs no quotes: words of letters and digits with one space between them.
func isPhrase(name string) bool {
	for i := range len(name) {
		if !isWordSafe(name[i]) && (name[i] != ' ' || name[i-1] == ' ') {
			return false
		}
	}
	return true
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// parseMailbox reads Name <address> or an address.
func parseMailbox(s string, utf8Allowed bool) (name, address string, err error) {
	m, err := mail.ParseAddress(s)
	if err != nil {
		return "", "", errors.New("this is no address")
	}
	if !validAddress(m.Address, utf8Allowed) || strings.ContainsFunc(m.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", errors.New("this is no address that can be sent from")
	}
	return strings.ToValidUTF8(m.Name, "\uFFFD"), m.Address, nil
}

// validAddress is a last look before an address goes into a header: a dot-atom, an at sign, labels of letters, digits and hyphens. The
// SMTP client has the full grammar.
func validAddress(s string, utf8Allowed bool) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 || s[0] == '.' || s[at-1] == '.' {
		return false
	}
	for i := range at {
		c := s[i]
		if c == '.' && s[i-1] == '.' || c >= utf8.RuneSelf && !utf8Allowed {
			return false
		}
		if c < utf8.RuneSelf && !isAlnum(c) && strings.IndexByte(".!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return validBeyondASCII(s[:at]) && validDomain(s[at+1:], utf8Allowed)
}

func validDomain(s string, utf8Allowed bool) bool {
	if s == "" || len(s) > 253 || s[0] == '.' || s[len(s)-1] == '.' || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf && utf8Allowed {
			continue
		}
		if !isAlnum(c) && c != '-' && c != '.' || c == '.' && (s[i-1] == '.' || s[i-1] == '-' || s[i+1] == '-') {
			return false
		}
	}
	return validBeyondASCII(s)
}

// validBeyondASCII refuses bytes that are no UTF-8, control and format characters and white space of any script.
func validBeyondASCII(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || r >= utf8.RuneSelf && (!unicode.IsGraphic(r) || unicode.IsSpace(r)) {
			return false
		}
	}
	return true
}

// validToken is a header's name.
func validToken(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && s[0] != '-'
}

// printable tells whether s can stand in a header between other things: ASCII without spaces and angle brackets.
func printable(s string, longest int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '<' || s[i] == '>' {
			return false
		}
	}
	return s != "" && len(s) <= longest
}
