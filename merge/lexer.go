package merge

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenString
	tokenSign // | : , . [ ] == != <> < <= > >=
)

type token struct {
	kind tokenKind
	text string // of a string: without its quotes
	pos  int    // offset in the source
}

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the tag"
	case tokenString:
		return fmt.Sprintf("the text %q", t.text)
	}
	return fmt.Sprintf("%q", t.text)
}

// syntax makes a SyntaxError for an offset in a source.
func syntax(src string, pos int, format string, args ...any) error {
	before := src[:min(pos, len(src))]
	line := strings.Count(before, "\n") + 1
	column := runeCount(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return &SyntaxError{Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
}

func isNameStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func isNamePart(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

func isDigit(s string, i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }

// tokens reads src[from:to], the inside of a tag.
func tokens(src string, from, to int) ([]token, error) {
	var list []token
	s := src[:to]
	for i := from; i < to; {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case unicode.IsSpace(r):
			i += n
		case isNameStart(r):
			j := i
			for j < to {
				r, n := utf8.DecodeRuneInString(s[j:])
				if !isNamePart(r) {
					break
				}
				j += n
			}
			list = append(list, token{tokenName, s[i:j], i})
			i = j
		case isDigit(s, i) || r == '-' && isDigit(s, i+1):
			j := numberEnd(s, i)
			list = append(list, token{tokenNumber, s[i:j], i})
			i = j
		case r == '"' || r == '\'':
			j := strings.IndexByte(s[i+1:], s[i])
			if j < 0 {
				return nil, syntax(src, i, "the quote %c is never closed; close it before the end of the tag", r)
			}
			list = append(list, token{tokenString, s[i+1 : i+1+j], i})
			i += j + 2
		default:
			sign := signAt(s[i:])
			if sign == "" {
				return nil, syntax(src, i, "unexpected %q; a tag holds names, numbers, quoted texts and the signs | : , . [ ] == != < <= > >=", r)
			}
			list = append(list, token{tokenSign, sign, i})
			i += len(sign)
		}
	}
	return append(list, token{tokenEnd, "", to}), nil
}

func numberEnd(s string, i int) int {
	if s[i] == '-' {
		i++
	}
	for isDigit(s, i) {
		i++
	}
	if i < len(s) && s[i] == '.' && isDigit(s, i+1) {
		for i++; isDigit(s, i); {
			i++
		}
	}
	return i
}

func signAt(s string) string {
	for _, sign := range [...]string{"==", "!=", "<>", "<=", ">=", "<", ">", "|", ":", ",", ".", "[", "]"} {
		if strings.HasPrefix(s, sign) {
			return sign
		}
	}
	return ""
}
