package rabbitmq_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"fanfare"
	"fanfare/queues/queuetest"
	"fanfare/queues/rabbitmq"
	"fanfare/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const user, secret = "fanfare", "hunter2"

// must stops a test whose server does not do as it is told.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addUser(t *testing.T, s *servers.Server) {
	t.Helper()
	_, err := s.Control("add_user", user, secret)
	must(t, err)
	_, err = s.Control("set_permissions", user, ".*", ".*", ".*")
	must(t, err)
}

func open(t *testing.T, url string) *rabbitmq.Queue {
	t.Helper()
	q, err := rabbitmq.Open(url, slog.New(slog.DiscardHandler))
	must(t, err)
	return q
}

func TestRabbitMQ(t *testing.T) {
	s := servers.Open(t, servers.RabbitMQ)
	t.Run("Queue", func(t *testing.T) { queue(t, s) })
	t.Run("Return", func(t *testing.T) { returnedOften(t, s) })
	t.Run("Junk", func(t *testing.T) { junk(t, s) })
	t.Run("Settings", func(t *testing.T) { otherSettings(t, s) })
	t.Run("Password", func(t *testing.T) { wrongPassword(t, s) })
	t.Run("Full", func(t *testing.T) { memoryAlarm(t, s) })
	t.Run("DiskLost", func(t *testing.T) { diskLost(t, s) })
}

func queue(t *testing.T, s *servers.Server) {
	addUser(t, s)
	var number atomic.Int64
	queuetest.Run(t, func(t *testing.T) queuetest.Backend {
		prefix := fmt.Sprintf("test-%d", number.Add(1))
		link := queuetest.NewLink(t, s.Address())
		at := func(addr string) *rabbitmq.Queue {
			return open(t, "amqp://"+user+":"+secret+"@"+addr+"/?heartbeat=2s&prefix="+prefix)
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
				"queues deleted": func() { must(t, s.DropQueues()) },
				"virtual host deleted": func() {
					for _, words := range [][]string{{"delete_vhost", "/"}, {"add_vhost", "/"}, {"set_permissions", user, ".*", ".*", ".*"}, {"set_permissions", "guest", ".*", ".*", ".*"}} {
						_, err := s.Control(words...)
						must(t, err)
					}
				},
			},
		}
	})
}

// subscribed publishes one task and subscribes to it.
func subscribed(t *testing.T, q *rabbitmq.Queue) (fanfare.Task, fanfare.Subscription) {
	t.Helper()
	task := fanfare.Task{Provider: "mail", Priority: fanfare.PriorityHigh, Generation: 1}
	must(t, q.Publish(t.Context(), []fanfare.Task{task}))
	sub, err := q.Subscribe(t.Context(), "mail")
	must(t, err)
	return task, sub
}

// returnedOften: a quorum queue drops what came back oftener than its limit; ours has none that matters.
func returnedOften(t *testing.T, s *servers.Server) {
	q := open(t, "amqp://guest:guest@"+s.Address()+"/?prefix=often")
	defer q.Close() //nolint:errcheck // a test
	task, sub := subscribed(t, q)
	for range 60 {
		got, err := sub.Receive(t.Context(), 1)
		must(t, err)
		if len(got) != 1 || got[0].Task() != task {
			t.Fatalf("came %v", got)
		}
		must(t, got[0].Return(t.Context(), 0))
	}
}

func junk(t *testing.T, s *servers.Server) {
	q := open(t, "amqp://guest:guest@"+s.Address()+"/?prefix=junk")
	defer q.Close() //nolint:errcheck // a test
	task, sub := subscribed(t, q)
	conn, err := amqp.Dial("amqp://guest:guest@" + s.Address() + "/")
	must(t, err)
	defer conn.Close() //nolint:errcheck // a test
	ch, err := conn.Channel()
	must(t, err)
	names, err := s.Control("list_queues", "name", "--no-table-headers")
	must(t, err)
	for name := range strings.FieldsSeq(names) {
		if strings.HasPrefix(name, "junk.") {
			for _, text := range []string{"", "hello", strings.Repeat("x", 10_000)} {
				must(t, ch.PublishWithContext(t.Context(), "", name, false, false, amqp.Publishing{Body: []byte(text)}))
			}
		}
	}
	for range 2 {
		got, err := sub.Receive(t.Context(), 10)
		must(t, err)
		if len(got) != 1 || got[0].Task() != task {
			t.Fatalf("came %v", got)
		}
		must(t, got[0].Ack(t.Context()))
		must(t, q.Publish(t.Context(), []fanfare.Task{task}))
	}
}

func otherSettings(t *testing.T, s *servers.Server) {
	q := open(t, "amqp://guest:guest@"+s.Address()+"/?prefix=other")
	defer q.Close() //nolint:errcheck // a test
	task, _ := subscribed(t, q)
	names, err := s.Control("list_queues", "name", "--no-table-headers")
	must(t, err)
	conn, err := amqp.Dial("amqp://guest:guest@" + s.Address() + "/")
	must(t, err)
	defer conn.Close() //nolint:errcheck // a test
	ch, err := conn.Channel()
	must(t, err)
	for name := range strings.FieldsSeq(names) {
		if strings.HasPrefix(name, "other.") {
			_, err := ch.QueueDelete(name, false, false, false)
			must(t, err)
			_, err = ch.QueueDeclare(name, true, false, false, false, nil)
			must(t, err)
		}
	}
	fresh := open(t, "amqp://guest:guest@"+s.Address()+"/?prefix=other")
	defer fresh.Close() //nolint:errcheck // a test
	if err := fresh.Publish(t.Context(), []fanfare.Task{task}); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("%v", err)
	}
}

func wrongPassword(t *testing.T, s *servers.Server) {
	q := open(t, "amqp://guest:wrong-password@"+s.Address())
	defer q.Close() //nolint:errcheck // a test
	err := q.Ping(t.Context())
	if err == nil || strings.Contains(err.Error(), "wrong-password") || !strings.Contains(err.Error(), s.Address()) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("ping: %v", err)
	}
}

// memoryAlarm: a server that takes nothing does not hold the planner, says why, and lets others acknowledge.
func memoryAlarm(t *testing.T, s *servers.Server) {
	q := open(t, "amqp://guest:guest@"+s.Address()+"/?prefix=full")
	defer q.Close() //nolint:errcheck // a test
	task, sub := subscribed(t, q)
	got, err := sub.Receive(t.Context(), 1)
	must(t, err)
	_, err = s.Control("set_vm_memory_high_watermark", "absolute", "1MB")
	must(t, err)
	began := time.Now()
	err = q.Publish(t.Context(), []fanfare.Task{task})
	if err == nil || time.Since(began) > time.Minute || !strings.Contains(err.Error(), "takes nothing now") {
		t.Errorf("publish answered %v after %v", err, time.Since(began))
	}
	if err := q.Ping(t.Context()); err == nil {
		t.Error("ping says that all is well")
	}
	must(t, got[0].Ack(t.Context()))
	_, err = s.Control("set_vm_memory_high_watermark", "0.4")
	must(t, err)
	for err := q.Publish(t.Context(), []fanfare.Task{task}); err != nil; err = q.Publish(t.Context(), []fanfare.Task{task}) {
		if t.Context().Err() != nil || time.Since(began) > time.Minute {
			t.Fatal(err)
		}
	}
	_, err = sub.Receive(t.Context(), 1)
	must(t, err)
}

// diskLost: a server killed and started with nothing on its disk, under a subscription that waits.
func diskLost(t *testing.T, s *servers.Server) {
	q := open(t, "amqp://guest:guest@"+s.Address()+"/?prefix=disk")
	defer q.Close() //nolint:errcheck // a test
	task, sub := subscribed(t, q)
	_, err := sub.Receive(t.Context(), 1)
	must(t, err)
	came := make(chan struct{})
	go func() {
		defer close(came)
		for t.Context().Err() == nil {
			if _, err := sub.Receive(t.Context(), 1); err == nil {
				return
			}
		}
	}()
	must(t, s.Wipe())
	for began := time.Now(); ; {
		_ = q.Publish(t.Context(), []fanfare.Task{task})
		select {
		case <-came:
			return
		case <-time.After(300 * time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			t.Fatal("nothing comes any more")
		}
	}
}
