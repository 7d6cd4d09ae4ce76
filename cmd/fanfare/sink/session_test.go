package sink

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDelay: the answer to a message waits, and the next envelope counts as begun when it arrived, not when the sink got to it.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{cfg: Config{Delay: time.Minute, MaxSize: defaultMaxSize, Times: 1}}
		s.ledger.init()
		ours, theirs := net.Pipe()
		go func() { newSession(s, theirs).run(t.Context()); _ = theirs.Close() }()
		in := bufio.NewReader(ours)
		expect := func(code string) {
			t.Helper()
			if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, code) {
				t.Fatalf("%q, %v; want %s", line, err, code)
			}
		}
		say := func(s string) {
			if _, err := io.WriteString(ours, s); err != nil {
				t.Fatal(err)
			}
		}
		expect("220 ")
		say("HELO x\r\n")
		expect("250 ")
		say("MAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nDATA\r\n")
		for _, code := range []string{"250", "250", "354"} {
			expect(code)
		}
		start := time.Now()
		say("x\r\n.\r\nMAIL FROM:<>\r\nQUIT\r\n")
		expect("250")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("answered after %v", took)
		}
		if n, last := s.Begun(); n != 2 || !last.Equal(start) {
			t.Errorf("begun %d, the last at %v, sent at %v", n, last, start)
		}
		expect("250")
		expect("221")
		if _, err := in.ReadByte(); err != io.EOF {
			t.Error(err)
		}
	})
}

// TestManyAddresses: entries stay what they are while the tables grow.
func TestManyAddresses(t *testing.T) {
	var s Server
	s.ledger.init()
	name := func(i int) []byte {
		b := []byte("u000000@example.com")
		for j := 6; i > 0; j-- {
			b[j] = byte('0' + i%10)
			i /= 10
		}
		return b
	}
	const n = 50_000
	for i := range n {
		a := name(i)
		s.ledger.begin(hash(a), a, int64(i+1), 0)
		s.ledger.take(hash(a), a, a)
		if i%10 == 0 {
			s.ledger.take(hash(a), a, []byte("again"))
		}
	}
	seen := 0
	for e := range s.Entries() {
		seen++
		if e.MessageIDs[0] != e.Address || e.Copies != len(e.MessageIDs) {
			t.Fatalf("%+v", e)
		}
	}
	if seen != n || len(s.Duplicates()) != n/10 {
		t.Errorf("%d addresses, %d duplicates", seen, len(s.Duplicates()))
	}
	for i := range n {
		if e, ok := s.Lookup(string(name(i))); !ok || e.First.UnixNano() != int64(i+1) {
			t.Fatalf("%s: %+v", name(i), e)
		}
	}
}
