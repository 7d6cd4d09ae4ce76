package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/spawn"
)

// keepAlive is a connection that makes one call after the other. It reads answers by hand, for what clients cost the machine is not what is measured:
// with net/http on both sides, the clients took a third of the processors.
type keepAlive struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	body []byte
	head string
}

func dial(ctx context.Context, s *spawn.Server) (*keepAlive, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	return &keepAlive{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), head: " HTTP/1.1\r\nHost: " + s.Addr + "\r\nContent-Type: application/json\r\nAuthorization: Bearer "}, nil
}

// greet dials a server that may have no keys of its own.
func greet(ctx context.Context, s *spawn.Server) (*keepAlive, error) {
	if s.Client == nil {
		s.Client = &client.Client{}
	}
	return dial(ctx, s)
}

func (k *keepAlive) post(path, bearer string, body []byte) ([]byte, error) {
	k.out = append(k.out[:0], "POST "...)
	k.out = append(append(append(k.out, path...), k.head...), bearer...)
	k.out = append(strconv.AppendInt(append(k.out, "\r\nContent-Length: "...), int64(len(body)), 10), "\r\n\r\n"...)
	k.out = append(k.out, body...)
	if _, err := k.conn.Write(k.out); err != nil {
		return nil, err
	}
	return k.answer()
}

func (k *keepAlive) get(path, token string) ([]byte, error) {
	k.out = append(append(k.out[:0], "GET "...), path...)
	k.out = append(append(append(k.out, " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "...), token...), "\r\n\r\n"...)
	if _, err := k.conn.Write(k.out); err != nil {
		return nil, err
	}
	return k.answer()
}

var errAnswer = errors.New("this is no answer of HTTP/1.1")

// answer reads what a call is answered; it is good until the next call.
func (k *keepAlive) answer() ([]byte, error) {
	line, err := k.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	rest, is := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !is || len(rest) < 3 {
		return nil, fmt.Errorf("%w: %q", errAnswer, line)
	}
	status := string(bytes.TrimSpace(rest)) // it is short, and line does not outlive the next read
	length, chunked := 0, false
	for {
		if line, err = k.in.ReadSlice('\n'); err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
		if n, is := bytes.CutPrefix(line, []byte("Content-Length: ")); is {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(n))); err != nil || length < 0 || length > 64<<20 {
				return nil, fmt.Errorf("%w: %q", errAnswer, line)
			}
		}
		chunked = chunked || bytes.HasPrefix(line, []byte("Transfer-Encoding: chunked"))
	}
	if chunked {
		if k.body, err = io.ReadAll(httputil.NewChunkedReader(k.in)); err == nil {
			_, err = k.in.Discard(2)
		}
	} else {
		if cap(k.body) < length {
			k.body = make([]byte, length)
		}
		k.body = k.body[:length]
		_, err = io.ReadFull(k.in, k.body)
	}
	if err != nil {
		return nil, err
	}
	if status[0] != '2' {
		return nil, fmt.Errorf("%s: %s", status, k.body)
	}
	return k.body, nil
}
