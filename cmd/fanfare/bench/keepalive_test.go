package bench

import (
	"bufio"
	"strings"
	"testing"
)

// TestAnswers: bodies of a known length and in chunks, none, refusals, and what is no answer; one after the other on a connection.
func TestAnswers(t *testing.T) {
	k := &keepAlive{in: bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc" +
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" +
		"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n" +
		"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno" +
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"))}
	for _, want := range []struct{ body, err string }{{"abc", ""}, {"abcde", ""}, {"", ""}, {"", "401 Unauthorized: no"}, {"", "no answer"}, {"", "no answer"}, {"", "EOF"}} {
		body, err := k.answer()
		if string(body) != want.body || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%q, %v; want %+v", body, err, want)
		}
	}
}
