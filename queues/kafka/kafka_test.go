package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"fanfare"
	"fanfare/queues/kafka"
	"fanfare/queues/queuetest"
	"fanfare/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must stops a test whose server does not do as it is told.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// url: a fake broker takes no session under 6 s.
func url(addr, prefix string) string {
	session := "2s"
	if strings.HasPrefix(prefix, "fake") {
		session = "6s"
	}
	return "kafka://" + addr + "/" + prefix + "?partitions=3&replicas=1&session=" + session
}

func open(t *testing.T, addr, prefix string) *kafka.Queue {
	t.Helper()
	q, err := kafka.Open(url(addr, prefix), slog.New(slog.DiscardHandler))
	must(t, err)
	return q
}

// through opens a queue whose every connection goes over a wire.
func through(t *testing.T, link *queuetest.Link, addr, prefix string) *kafka.Queue {
	t.Helper()
	q, err := kafka.OpenThrough(url(addr, prefix), slog.New(slog.DiscardHandler), func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, link.Addr)
	})
	must(t, err)
	return q
}

// backend is a queue on a running broker.
func backend(t *testing.T, addr, prefix string) queuetest.Backend {
	link := queuetest.NewLink(t, addr)
	return queuetest.Backend{
		Queue: through(t, link, addr, prefix), Host: addr, Mute: link.Mute,
		Another: func() fanfare.Queue { return open(t, addr, prefix) },
		Doomed: func() (fanfare.Queue, func()) {
			wire := queuetest.NewLink(t, addr)
			return through(t, wire, addr, prefix), wire.Cut
		},
	}
}

// deleteTopics deletes what begins with a prefix.
func deleteTopics(t *testing.T, addr, prefix string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	must(t, err)
	defer c.Close()
	all := kmsg.NewPtrMetadataRequest()
	all.Topics = nil
	known, err := all.RequestWith(t.Context(), c)
	must(t, err)
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TimeoutMillis = 5000
	for _, topic := range known.Topics {
		if strings.HasPrefix(*topic.Topic, prefix+".") {
			del.TopicNames = append(del.TopicNames, *topic.Topic)
			one := kmsg.NewDeleteTopicsRequestTopic()
			one.Topic = topic.Topic
			del.Topics = append(del.Topics, one)
		}
	}
	_, err = del.RequestWith(t.Context(), c)
	must(t, err)
}

func TestQueue(t *testing.T) {
	s := servers.Open(t, servers.Kafka)
	var number atomic.Int64
	queuetest.Run(t, func(t *testing.T) queuetest.Backend {
		prefix := fmt.Sprintf("test-%d", number.Add(1))
		b := backend(t, s.Address(), prefix)
		b.Down = func() func() {
			must(t, s.Stop())
			return func() { must(t, s.Start()) }
		}
		b.Wipes = map[string]func(){
			"disk lost":      func() { must(t, s.Wipe()) },
			"topics deleted": func() { deleteTopics(t, s.Address(), prefix) },
		}
		return b
	})
}

// TestFake runs the suite on a second Kafka, in this process: it needs no server.
func TestFake(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	must(t, err)
	defer c.Close()
	var number atomic.Int64
	queuetest.Run(t, func(t *testing.T) queuetest.Backend {
		return backend(t, c.ListenAddrs()[0], fmt.Sprintf("fake-%d", number.Add(1)))
	})
}

func TestWhatIsNoTaskIsThrownAway(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	must(t, err)
	defer fake.Close()
	addr := fake.ListenAddrs()[0]
	q := open(t, addr, "fake-junk")
	defer q.Close() //nolint:errcheck // a test
	want := fanfare.Task{Provider: "mail", Priority: fanfare.PriorityHigh, Generation: 1}
	must(t, q.Publish(t.Context(), []fanfare.Task{want}))
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	must(t, err)
	defer c.Close()
	all := kmsg.NewPtrMetadataRequest()
	all.Topics = nil
	known, err := all.RequestWith(t.Context(), c)
	must(t, err)
	for _, topic := range known.Topics {
		for _, text := range []string{"", "hello", strings.Repeat("x", 10_000)} {
			must(t, c.ProduceSync(t.Context(), &kgo.Record{Topic: *topic.Topic, Value: []byte(text)}).FirstErr())
		}
	}
	sub, err := q.Subscribe(t.Context(), "mail")
	must(t, err)
	for range 2 {
		got, err := sub.Receive(t.Context(), 10)
		must(t, err)
		if len(got) != 1 || got[0].Task() != want {
			t.Fatalf("came %v", got)
		}
		must(t, got[0].Ack(t.Context()))
		must(t, q.Publish(t.Context(), []fanfare.Task{want}))
	}
}
