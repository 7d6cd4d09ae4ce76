package channeltest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"fanfare"
)

func testMessage() *fanfare.Message {
	return &fanfare.Message{ID: "m-1", Num: 1, Name: "Spring", Revision: 1, Content: fanfare.Content{
		Subject: "Hello {{ name }}", Text: "Dear {{ name }},\n.\nyours\n", HTML: "<p>Dear {{ name }}</p>",
		Headers: map[string]string{"X-Name": "{{ name }}"}, ReplyTo: "\"{{ name }}\" <help@example.org>"}}
}

func person(i int) *fanfare.Recipient {
	return &fanfare.Recipient{Person: fanfare.Person{Slot: 3, Seq: fanfare.Seq(i)}, ExternalID: fmt.Sprintf("u%d", i), Email: fmt.Sprintf("r%d@x.example", i),
		Attributes: map[string]any{"name": fmt.Sprintf("Name %d", i)}}
}

// mailing is a message about to be sent by a backend.
type mailing struct {
	Backend
	message  *fanfare.Message
	compiled fanfare.Compiled
	heard    func(i int) // is told of each answer, if set
	piece    int         // as of the suite
}

func newMailing(t *testing.T, b Backend) *mailing {
	t.Helper()
	m := &mailing{Backend: b, message: testMessage()}
	m.message.Channel, m.message.Provider = b.Channel.Name(), b.Provider.Name
	if err := b.Channel.Check(b.Provider); err != nil {
		t.Fatalf("the provider is refused: %v", err)
	}
	var err error
	if m.compiled, err = b.Channel.Compile(m.message); err != nil {
		t.Fatal(err)
	}
	return m
}

// item prepares what a caller of Send prepares.
func (m *mailing) item(r *fanfare.Recipient, attempt int) (fanfare.Outgoing, error) {
	it := fanfare.Outgoing{Recipient: r, Person: r.Person, Key: fanfare.ItemKey([]byte("installation"), m.message.Num, r.Person),
		Unsubscribe: "https://example.org/u/token", Message: m.message, Attempt: attempt, Date: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
	var why fanfare.Reason
	if it.Address, why = m.Channel.Address(r); why != "" {
		return it, &fanfare.SkipError{Reason: why}
	}
	var err error
	it.Rendered, err = m.compiled.Render(nil, &it)
	return it, err
}

// items prepares people from to to.
func (m *mailing) items(t *testing.T, from, to int) []fanfare.Outgoing {
	t.Helper()
	var list []fanfare.Outgoing
	for i := from; i < to; i++ {
		it, err := m.item(person(i), 1)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, it)
	}
	return list
}

func (m *mailing) dial(t *testing.T) fanfare.Connection {
	t.Helper()
	c, err := m.Channel.Dial(t.Context(), m.Provider)
	if err != nil {
		t.Fatal(err)
	}
	if m.piece == 0 {
		return c
	}
	stream, ok := c.(fanfare.Streamer)
	if !ok {
		t.Fatal("the channel streams, its connections do not")
	}
	return pieces{stream, m.piece}
}

// pieces is a connection that gets its items piece by piece.
type pieces struct {
	fanfare.Streamer
	size int
}

// Send implements fanfare.Connection by a stream; what the stream did not take is not begun.
func (p pieces) Send(ctx context.Context, items []fanfare.Outgoing, may func(int) bool, answer func(int, fanfare.SendAnswer)) error {
	taken := 0
	err := p.Stream(ctx, func() []fanfare.Outgoing {
		from := taken
		taken = min(from+p.size, len(items))
		return items[from:taken:taken]
	}, may, answer)
	for ; taken < len(items); taken++ {
		answer(taken, fanfare.SendAnswer{})
	}
	return err
}

// answers collects what a Send says of each item, and when: late answers and second ones are errors.
type answers struct {
	mu    sync.Mutex // guards all below: a channel may answer from another goroutine
	t     *testing.T
	got   []fanfare.SendAnswer
	times []int
	done  bool
}

func newAnswers(t *testing.T, n int) *answers {
	return &answers{t: t, got: make([]fanfare.SendAnswer, n), times: make([]int, n)}
}

func (a *answers) take(i int, said fanfare.SendAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		a.t.Errorf("item %d: answered after Send returned", i)
	}
	if i < 0 || i >= len(a.got) {
		a.t.Errorf("item %d is answered: there are %d", i, len(a.got))
		return
	}
	a.got[i] = said
	a.times[i]++
}

// settle is called when Send has returned: each item has one answer.
func (a *answers) settle() []fanfare.SendAnswer {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	for i, n := range a.times {
		if n != 1 {
			a.t.Errorf("item %d: answered %d times", i, n)
		}
	}
	return a.got
}

// truthful holds the answers against what arrived.
func (m *mailing) truthful(t *testing.T, items []fanfare.Outgoing, got []fanfare.SendAnswer) {
	t.Helper()
	if m.Arrived == nil {
		return
	}
	count := map[string]int{}
	for _, a := range m.Arrived() {
		count[a.Address+" "+a.Key]++
	}
	total := 0
	for i := range items {
		n := count[items[i].Address+" "+items[i].Key]
		total += n
		low, high := 0, 0
		switch got[i].Kind {
		case fanfare.SendOK:
			low, high = 1, 1
		case fanfare.SendUnknown:
			high = 1
		}
		if n < low || n > high {
			t.Errorf("item %d (%s): answered %+v, arrived %d times", i, items[i].Address, got[i], n)
		}
	}
	all := 0
	for _, n := range count {
		all += n
	}
	if all != total {
		t.Errorf("%d arrived, of them %d that were sent: %v", all, total, count)
	}
}
