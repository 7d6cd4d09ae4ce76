package esmtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds of a reply. RFC 5321 asks for 512 bytes a line; servers send more.
const (
	maxReplyLine  = 2048
	maxReplyBytes = 16 << 10
)

// reply is one reply of the server. text holds its lines, joined by line feeds, until the next one is read.
type reply struct {
	code int
	text []byte
}

func (r reply) positive() bool { return r.code/100 == 2 }
func (r reply) refusal() bool  { return r.code/100 == 4 || r.code/100 == 5 }

// replies reads replies, strictly: three digits from 200 to 599, one code in all lines of a reply, CRLF, bounded length.
type replies struct {
	in   *bufio.Reader
	text []byte
}

func newReplies(r io.Reader) replies { return replies{in: bufio.NewReaderSize(r, maxReplyLine)} }

// lineBuffered says whether a whole line is here already.
func (r *replies) lineBuffered() bool {
	n := r.in.Buffered()
	if n == 0 {
		return false
	}
	b, _ := r.in.Peek(n)
	return bytes.IndexByte(b, '\n') >= 0
}

// read gives the next reply. An error that is not one of the connection's is ErrProtocol.
func (r *replies) read() (reply, error) {
	r.text = r.text[:0]
	code, total := 0, 0
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				return reply{}, fmt.Errorf("%w: a reply line of more than %d bytes", ErrProtocol, maxReplyLine)
			}
			if err == io.EOF && (len(line) > 0 || total > 0) {
				err = io.ErrUnexpectedEOF
			}
			return reply{}, err
		}
		if total += len(line); total > maxReplyBytes {
			return reply{}, fmt.Errorf("%w: a reply of more than %d bytes", ErrProtocol, maxReplyBytes)
		}
		c, more, text, ok := splitLine(line)
		if !ok {
			return reply{}, fmt.Errorf("%w: %q", ErrProtocol, cleanText(line[:min(len(line), 80)]))
		}
		if code != 0 {
			if c != code {
				return reply{}, fmt.Errorf("%w: a reply with the codes %d and %d", ErrProtocol, code, c)
			}
			r.text = append(r.text, '\n')
		}
		code = c
		r.text = append(r.text, text...)
		if !more {
			return reply{code: code, text: r.text}, nil
		}
	}
}

// splitLine takes one line with its CRLF apart.
func splitLine(line []byte) (code int, more bool, text []byte, ok bool) {
	n := len(line) - 2
	if n < 3 || line[n] != '\r' {
		return 0, false, nil, false
	}
	line = line[:n]
	if line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if n == 3 {
		return code, false, nil, true
	}
	if line[3] != ' ' && line[3] != '-' || bytes.IndexByte(line, '\r') >= 0 {
		return 0, false, nil, false
	}
	return code, line[3] == '-', line[4:], true
}

// words splits a reply's text into enhanced code and words. The enhanced code, repeated in each line, must be of the code's class.
func (r reply) words() (enhanced, text string) {
	raw := r.text
	n := enhancedCode(r.code, raw)
	if n == 0 {
		return "", cleanText(bytes.TrimSpace(raw)) // line feeds become spaces
	}
	enhanced = string(raw[:n])
	if bytes.IndexByte(raw, '\n') < 0 {
		return enhanced, cleanText(bytes.TrimSpace(raw[n:]))
	}
	var out []byte
	for line := range bytes.SplitSeq(raw, []byte{'\n'}) {
		if m := enhancedCode(r.code, line); m > 0 {
			line = line[m:]
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if len(out) > 0 {
				out = append(out, ' ')
			}
			out = append(out, line...)
		}
	}
	return enhanced, cleanText(out)
}

// enhancedCode gives the length of the enhanced status code (RFC 3463) that text begins with, 0 without.
func enhancedCode(code int, text []byte) int {
	if len(text) < 5 || text[0] != byte('0'+code/100) || text[1] != '.' {
		return 0
	}
	i := 2
	for part := range 2 {
		start := i
		for i < len(text) && '0' <= text[i] && text[i] <= '9' {
			i++
		}
		if i == start || i-start > 3 {
			return 0
		}
		if part == 0 {
			if i == len(text) || text[i] != '.' {
				return 0
			}
			i++
		}
	}
	if i < len(text) && text[i] != ' ' && text[i] != '\n' {
		return 0
	}
	return i
}
