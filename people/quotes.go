package people

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// mostLines is how many lines a row may have: a cell may hold line ends, a letter's worth of them.
const mostLines = 50

// brokenRow is a line that no CSV reader takes, and after which each goes on with the next.
const brokenRow = "\"a\"a\n"

// quoteGuard hands CSV on so that a stray quote costs its own row only. A CSV reader that meets a quote which is never closed takes
// all that follows into one cell; here a line whose quotes do not pair, nor with those of the lines behind it, is handed on as a row that is
// refused, and the lines behind it as rows of their own.
type quoteGuard struct {
	in   *bufio.Reader
	out  []byte   // to be read
	held [][]byte // lines that were looked at and are to be handed on, before in
	err  error    // after out and held
}

func newQuoteGuard(text io.Reader) *quoteGuard {
	return &quoteGuard{in: bufio.NewReaderSize(text, 64<<10)}
}

// Read implements io.Reader.
func (g *quoteGuard) Read(p []byte) (int, error) {
	for len(g.out) == 0 {
		line, err := g.line()
		if len(line) == 0 {
			return 0, err
		}
		g.out = g.row(line)
	}
	n := copy(p, g.out)
	g.out = g.out[n:]
	return n, nil
}

// line gives the next line with its end; it is the reader's until the next call. The last one may lack an end. No bytes: the error.
func (g *quoteGuard) line() ([]byte, error) {
	if len(g.held) > 0 {
		line := g.held[0]
		g.held = g.held[1:]
		return line, nil
	}
	if g.err != nil {
		return nil, g.err
	}
	line, err := g.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(line) <= maxLine {
			var more []byte
			more, err = g.in.ReadSlice('\n')
			line = append(line, more...)
		}
		if len(line) > maxLine {
			line, err = nil, errTooLong
		}
	}
	g.err = err
	return line, err
}

// row gives the lines that belong together from one on, if their quotes pair.
func (g *quoteGuard) row(first []byte) []byte {
	if bytes.Count(first, []byte{'"'})%2 == 0 {
		return first
	}
	row := bytes.Clone(first)
	var lines [][]byte
	for len(lines) < mostLines-1 && len(row) <= maxLine {
		line, _ := g.line()
		if len(line) == 0 {
			break
		}
		line = bytes.Clone(line)
		lines, row = append(lines, line), append(row, line...)
		if bytes.Count(line, []byte{'"'})%2 == 1 {
			return row
		}
	}
	g.held = append(lines, g.held...)
	return []byte(brokenRow)
}
