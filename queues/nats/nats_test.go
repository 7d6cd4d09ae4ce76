package nats_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"fanfare"
	"fanfare/queues/nats"
	"fanfare/queues/queuetest"
	"fanfare/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "hunter2"

func start(t *testing.T) *servers.Server {
	t.Helper()
	return servers.Open(t, servers.NATS, "--user", "fanfare", "--pass", secret)
}

func url(s *servers.Server, user, stream string) string {
	return "nats://" + user + "@" + s.Address() + "/" + stream
}

// must stops a test whose server does not do as it is told.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, url string) *nats.Queue {
	t.Helper()
	q, err := nats.Open(url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func js(t *testing.T, s *servers.Server) jetstream.JetStream {
	t.Helper()
	c, err := client.Connect(s.URL(), client.UserInfo("fanfare", secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	j, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestQueue(t *testing.T) {
	s := start(t)
	var number atomic.Int64
	queuetest.Run(t, func(t *testing.T) queuetest.Backend {
		stream := fmt.Sprintf("test-%d", number.Add(1))
		link := queuetest.NewLink(t, s.Address())
		at := func(addr string) *nats.Queue {
			return open(t, "nats://fanfare:"+secret+"@"+addr+"/"+stream+"?ack-wait=2s")
		}
		return queuetest.Backend{
			Queue: at(link.Addr), Host: link.Addr, Secret: secret, Mute: link.Mute,
			Another: func() fanfare.Queue { return at(s.Address()) },
			Doomed: func() (fanfare.Queue, func()) {
				wire := queuetest.NewLink(t, s.Address())
				return at(wire.Addr), wire.Cut
			},
			Down: func() func() {
				must(t, s.Stop())
				return func() { must(t, s.Start()) }
			},
			Wipes: map[string]func(){
				"disk lost": func() { must(t, s.Wipe()) },
				"stream deleted": func() {
					must(t, js(t, s).DeleteStream(t.Context(), stream))
				},
				"consumers deleted, stream purged": func() {
					made, err := js(t, s).Stream(t.Context(), stream)
					must(t, err)
					for name := range made.ConsumerNames(t.Context()).Name() {
						must(t, made.DeleteConsumer(t.Context(), name))
					}
					must(t, made.Purge(t.Context()))
				},
			},
		}
	})
}

func TestStreamOfSomebodyElseIsLeftAlone(t *testing.T) {
	s := start(t)
	if _, err := js(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	q := open(t, url(s, "fanfare:"+secret, "orders"))
	defer q.Close() //nolint:errcheck // a test
	err := q.Publish(t.Context(), []fanfare.Task{{Provider: "mail"}})
	if err == nil || !strings.Contains(err.Error(), "not made by Fanfare") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoTaskIsThrownAway(t *testing.T) {
	s := start(t)
	q := open(t, url(s, "fanfare:"+secret, "s"))
	defer q.Close() //nolint:errcheck // a test
	want := fanfare.Task{Provider: "mail", Priority: fanfare.PriorityHigh, Generation: 1}
	if err := q.Publish(t.Context(), []fanfare.Task{want}); err != nil {
		t.Fatal(err)
	}
	j := js(t, s)
	made, err := j.Stream(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	first, err := made.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, junk := range []string{"", "hello", strings.Repeat("x", 10_000)} {
		if _, err := j.Publish(t.Context(), first.Subject, []byte(junk)); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := q.Subscribe(t.Context(), "mail")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := sub.Receive(t.Context(), 10)
		if err != nil || len(got) != 1 || got[0].Task() != want {
			t.Fatalf("came %v, %v", got, err)
		}
		if err := got[0].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := q.Publish(t.Context(), []fanfare.Task{want}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedPasswordIsSaidWithoutIt(t *testing.T) {
	s := start(t)
	var said bytes.Buffer
	q, err := nats.Open(url(s, "fanfare:wrong-password", "s"), slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	err = q.Ping(t.Context())
	if err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("ping: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if text := said.String() + fmt.Sprint(err); strings.Contains(text, "wrong-password") {
		t.Errorf("tells the password: %s", text)
	}
}
