package people

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Encoding is how a file's text is encoded.
type Encoding string

// The encodings that are recognised.
const (
	UTF8    Encoding = "UTF-8"
	UTF16LE Encoding = "UTF-16LE"
	UTF16BE Encoding = "UTF-16BE"
	GB18030 Encoding = "GB18030"
)

// Detect reads the whole text (unpacked if it is gzip) and tells its encoding: a byte order mark, else NUL bytes in every other place,
// else valid UTF-8, else what decodes as GB18030 to its end. Text that fits none is UTF-8 with bad rows.
func Detect(r io.Reader) (Encoding, error) {
	text, err := unpack(r)
	if err != nil {
		return "", err
	}
	br := bufio.NewReaderSize(text, 1<<16)
	head, err := br.Peek(4096)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the file: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xEF, 0xBB, 0xBF}):
		return UTF8, nil
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}):
		return UTF16LE, nil
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}):
		return UTF16BE, nil
	}
	if e, ok := byNULs(head); ok {
		return e, nil
	}
	return byContent(br)
}

func byNULs(head []byte) (Encoding, bool) {
	even, odd := 0, 0
	for i, c := range head {
		if c == 0 {
			if i%2 == 0 {
				even++
			} else {
				odd++
			}
		}
	}
	switch {
	case odd > 0 && even == 0 && odd*8 >= len(head):
		return UTF16LE, true
	case even > 0 && odd == 0 && even*8 >= len(head):
		return UTF16BE, true
	}
	return "", false
}

func byContent(r io.Reader) (Encoding, error) {
	utf := utf8Checker{ok: true}
	gb := simplifiedchinese.GB18030.NewDecoder().Transformer
	gbOK := true
	buf := make([]byte, 1<<16)
	var out [1 << 17]byte
	var rest []byte
	for {
		n, err := io.ReadFull(r, buf)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return "", fmt.Errorf("read the file: %w", err)
		}
		utf.write(buf[:n], end)
		if gbOK && (!utf.ok || !utf.ascii) {
			gbOK, rest = decodes(gb, out[:], append(rest, buf[:n]...), end)
		}
		if end {
			break
		}
		if !utf.ok && !gbOK {
			break
		}
	}
	if !utf.ok && gbOK {
		return GB18030, nil
	}
	return UTF8, nil
}

// decodes says whether src decodes without a replacement character, and gives what is left over for the next piece.
func decodes(t transform.Transformer, out, src []byte, end bool) (bool, []byte) {
	for {
		nd, ns, err := t.Transform(out, src, end)
		if bytes.ContainsRune(out[:nd], utf8.RuneError) {
			return false, nil
		}
		src = src[ns:]
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, transform.ErrShortDst):
		case errors.Is(err, transform.ErrShortSrc) && !end:
			return true, append([]byte(nil), src...)
		default:
			return false, nil
		}
	}
}

// utf8Checker checks UTF-8 that comes in pieces.
type utf8Checker struct {
	ok, ascii bool
	rest      []byte
	began     bool
}

func (u *utf8Checker) write(p []byte, end bool) {
	if !u.began {
		u.began, u.ascii = true, true
	}
	if !u.ok {
		return
	}
	if len(u.rest) == 0 && isASCII(p) {
		return
	}
	u.ascii = false
	p = append(u.rest, p...)
	cut := len(p)
	for back := 1; !end && back < utf8.UTFMax && back <= len(p); back++ {
		if c := p[len(p)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-back:]) {
				cut = len(p) - back
			}
			break
		}
	}
	u.ok = utf8.Valid(p[:cut])
	u.rest = append([]byte(nil), p[cut:]...)
}

func isASCII(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range p {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// maxUnpacked bounds what one gzip body may unpack to, as a factor of what was read from it, beyond a first 64 MB.
const (
	freeUnpacked = 64 << 20
	maxRatio     = 200
)

// unpack reads gzip if the first bytes say so.
func unpack(r io.Reader) (io.Reader, error) {
	counted := &counter{r: r}
	br := bufio.NewReaderSize(counted, 1<<16)
	head, err := br.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	if len(head) < 2 || head[0] != 0x1f || head[1] != 0x8b {
		return br, nil
	}
	z, err := gzip.NewReader(br)
	if err != nil {
		return nil, fmt.Errorf("the file begins like gzip but is not: %w; send it again", err)
	}
	return &bounded{r: z, in: counted, free: freeUnpacked}, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded stops a gzip bomb.
type bounded struct {
	r    io.Reader
	in   *counter
	n    int64
	free int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.n > b.free && b.n > maxRatio*b.in.n {
		return n, fmt.Errorf("the gzip file unpacks to more than %d times its size; unpack it and send it plain", maxRatio)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("the gzip file is damaged or cut short: %w; send it again", err)
	}
	return n, err
}

// decode gives the text as UTF-8 without a byte order mark.
func decode(r io.Reader, e Encoding) (io.Reader, error) {
	text, err := unpack(r)
	if err != nil {
		return nil, err
	}
	switch e {
	case UTF16LE:
		return transform.NewReader(text, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder()), nil
	case UTF16BE:
		return transform.NewReader(text, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder()), nil
	case GB18030:
		return transform.NewReader(text, simplifiedchinese.GB18030.NewDecoder()), nil
	}
	br := bufio.NewReaderSize(text, 1<<16)
	if head, _ := br.Peek(3); bytes.Equal(head, []byte{0xEF, 0xBB, 0xBF}) {
		_, _ = br.Discard(3)
	}
	return br, nil
}
