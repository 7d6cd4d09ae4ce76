package esmtp

import (
	"bytes"
	"encoding/binary"
)

// appendStuffed appends a body as DATA wants it: every line ended by CRLF, a dot doubled at the start of a line. The final dot is
// not in it. A bare CR or LF becomes a line end: between servers that disagree about those, a body could smuggle a second mail.
func appendStuffed(dst, body []byte) []byte {
	whole := len(dst)
	start, lines := 0, 0 // body[:start] is done
	if len(body) > 0 && body[0] == '.' {
		dst = append(dst, '.')
	}
	for i := 0; ; {
		n := bytes.IndexByte(body[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
		if i < 2 || body[i-2] != '\r' {
			return appendMended(dst[:whole], body)
		}
		lines++
		if i < len(body) && body[i] == '.' {
			dst = append(dst, body[start:i]...)
			dst = append(dst, '.')
			start = i
		}
	}
	if bytes.Count(body, []byte{'\r'}) != lines {
		return appendMended(dst[:whole], body)
	}
	dst = append(dst, body[start:]...)
	if len(body) > 0 && body[len(body)-1] != '\n' {
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// appendMended is appendStuffed for a body with bare CR or LF, byte by byte.
func appendMended(dst, body []byte) []byte {
	atStart := true
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch {
		case c == '\r':
			if i+1 < len(body) && body[i+1] == '\n' {
				i++
			}
			fallthrough
		case c == '\n':
			dst = append(dst, '\r', '\n')
			atStart = true
			continue
		case c == '.' && atStart:
			dst = append(dst, '.')
		}
		dst = append(dst, c)
		atStart = false
	}
	if !atStart {
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// IsCanonical says whether a body is as DATA wants it and asks nothing of the server: ASCII, every line ended by CRLF, the last one too,
// none of them begun by a dot.
func IsCanonical(body []byte) bool {
	atStart := true
	for i, c := range body {
		switch {
		case c >= 0x80, atStart && c == '.', c == '\r' && (i+1 == len(body) || body[i+1] != '\n'), c == '\n' && (i == 0 || body[i-1] != '\r'):
			return false
		}
		atStart = c == '\n'
	}
	return atStart
}

// eightBit says whether a body has a byte beyond ASCII.
func eightBit(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		v := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if v&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
