package mailbody

import (
	"strings"
	"unicode/utf8"
)

// A quoted-printable line has at most 76 characters; text stops at 75, so that the equals sign of a soft break always fits. That is the
// one invariant between the pieces: col ≤ lastColumn, whoever wrote last.
const (
	lineLength = 76
	lastColumn = lineLength - 1
)

// quoted writes quoted-printable text and knows its column. Line ends of any kind become CRLF, bytes that are no UTF-8 U+FFFD. A dot
// at the begin of a line is encoded, so that there is nothing to stuff. A character is never broken.
type quoted struct {
	dst []byte
	col int
}

// encoded is a literal, encoded as from the begin of a line.
type encoded struct {
	bytes  []byte
	first  int  // length of its first line, without the line end
	tail   int  // length of its last line
	lines  bool // has a line end
	breaks bool // begins with one
}

func encodeLiteral(text string) encoded {
	var q quoted
	q.write([]byte(text))
	s := string(q.dst)
	e := encoded{bytes: q.dst, first: len(s), tail: q.col}
	if i := strings.Index(s, "\r\n"); i >= 0 {
		e.first, e.lines, e.breaks = i, true, i == 0
	}
	return e
}

// literal writes an encoded literal wherever the line stands: its first line goes on in this one if it fits, else after a soft break.
func (q *quoted) literal(e *encoded) {
	room := lastColumn
	if e.lines {
		room = lineLength // what ends a line needs no place behind it
	}
	if e.breaks {
		q.trailing()
	} else if q.col > 0 && q.col+e.first > room {
		q.soft()
	}
	q.dst = append(q.dst, e.bytes...)
	if e.lines {
		q.col = e.tail
	} else {
		q.col += e.tail
	}
}

// write encodes text.
func (q *quoted) write(b []byte) {
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c > ' ' && c <= '~' && c != '=' || c == ' ' || c == '\t':
			if q.col >= lastColumn {
				q.soft()
			}
			if c == '.' && q.col == 0 {
				q.hex(c)
			} else {
				q.dst = append(q.dst, c)
				q.col++
			}
			i++
		case c == '\n' || c == '\r':
			q.hard()
			i++
			if c == '\r' && i < len(b) && b[i] == '\n' {
				i++
			}
		case c < utf8.RuneSelf:
			q.room(3)
			q.hex(c)
			i++
		default:
			i += q.character(b[i:])
		}
	}
}

// character encodes one character beyond ASCII and answers its size.
func (q *quoted) character(b []byte) int {
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		b = []byte("\uFFFD")
		q.room(9)
		for _, c := range b {
			q.hex(c)
		}
		return 1
	}
	q.room(3 * n)
	for _, c := range b[:n] {
		q.hex(c)
	}
	return n
}

const upperHex = "0123456789ABCDEF"

func (q *quoted) hex(c byte) {
	q.dst = append(q.dst, '=', upperHex[c>>4], upperHex[c&15])
	q.col += 3
}

func (q *quoted) room(n int) {
	if q.col+n > lastColumn {
		q.soft()
	}
}

func (q *quoted) soft() {
	q.dst = append(q.dst, "=\r\n"...)
	q.col = 0
}

func (q *quoted) hard() {
	q.trailing()
	q.dst = append(q.dst, "\r\n"...)
	q.col = 0
}

// trailing encodes a space or tab that is the last of its line, which relays may strip.
func (q *quoted) trailing() {
	if q.col == 0 {
		return
	}
	c := q.dst[len(q.dst)-1]
	if c != ' ' && c != '\t' {
		return
	}
	q.dst = q.dst[:len(q.dst)-1]
	q.col--
	if q.col+3 > lineLength {
		q.soft()
	}
	q.hex(c)
}
