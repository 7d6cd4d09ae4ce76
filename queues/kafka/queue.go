// Package kafka is a queue on Kafka: a topic for each provider and priority, one consumer group a provider, offsets committed behind what
// was acknowledged. Topics are made when they are missing, also when the brokers lost them while everybody was connected. DESIGN.md says what
// was decided.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"fanfare"
	"fanfare/queues/lane"
)

const (
	dialTime    = 3 * time.Second
	answerTime  = 4 * time.Second // how much longer than it asked for a request may take: a connection that is silent for longer is given up
	askTime     = 5 * time.Second
	publishTime = 5 * time.Second
	keepTime    = time.Hour // the planner published again long ago what waits longer
)

type dial func(ctx context.Context, network, host string) (net.Conn, error)

// Queue is a fanfare.Queue on Kafka.
type Queue struct {
	broker     *lane.Broker
	log        *slog.Logger
	prefix     string
	partitions int32
	replicas   int16
	session    time.Duration
	options    []kgo.Opt // of every client
	client     *kgo.Client

	subs lane.Subscribers[*subscription]

	mu   sync.Mutex // guards what follows
	made map[string]bool
}

var prefixName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Open opens the queue of kafka://user:password@host:port,host:port/PREFIX?partitions=12&replicas=1&session=10s&tls=true&sasl=plain. It
// answers also while no broker does.
func Open(raw string, log *slog.Logger) (*Queue, error) { return open(raw, log, nil) }

func open(raw string, log *slog.Logger, through dial) (*Queue, error) {
	b, err := lane.ParseBroker(raw, "9092")
	if err != nil {
		return nil, err
	}
	q := &Queue{broker: b, log: log.With("queue", b.String()), prefix: b.Path, made: make(map[string]bool)}
	if q.prefix == "" {
		q.prefix = "fanfare"
	}
	if !prefixName.MatchString(q.prefix) {
		return nil, fmt.Errorf("%w: the queue's URL %s: the topics' prefix after the hosts is up to 64 of A-Z, a-z, 0-9, '.', '_' and '-'", fanfare.ErrUsage, b)
	}
	n, err := b.Number("partitions", 12, 1, 1000)
	if err != nil {
		return nil, err
	}
	q.partitions = int32(n) //nolint:gosec // bounded
	if n, err = b.Number("replicas", -1, -1, 10); err != nil {
		return nil, err
	}
	q.replicas = int16(n) //nolint:gosec // bounded
	if q.session, err = time.ParseDuration(b.Setting("session", "10s")); err != nil || q.session < time.Second || q.session > 5*time.Minute {
		return nil, b.Wrong("session", "it is a time from 1s to 5m, within what the brokers allow")
	}
	if err := q.secure(through); err != nil {
		return nil, err
	}
	if err := b.Rest(); err != nil {
		return nil, err
	}
	q.client, err = kgo.NewClient(append(q.options, kgo.RequiredAcks(kgo.AllISRAcks()),
		// Two copies of a task do no harm; a record that cannot be given up would.
		kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1), kgo.RecordDeliveryTimeout(publishTime), kgo.ProduceRequestTimeout(publishTime),
		kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), // over all nodes, however few they are
		kgo.UnknownTopicRetries(2), kgo.MetadataMinAge(100*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("%w: the queue's URL %s: %w", fanfare.ErrUsage, b, err)
	}
	return q, nil
}

// secure collects what every client needs to connect.
func (q *Queue) secure(through dial) error {
	b := q.broker
	if through == nil {
		d := &net.Dialer{Timeout: dialTime}
		through = d.DialContext
	}
	switch b.Setting("tls", "false") {
	case "false":
	case "true":
		plain := through
		through = func(ctx context.Context, network, host string) (net.Conn, error) {
			c, err := plain(ctx, network, host)
			if err != nil {
				return nil, err
			}
			name, _, err := net.SplitHostPort(host)
			if err != nil {
				name = host
			}
			return tls.Client(c, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}), nil
		}
	default:
		return b.Wrong("tls", "it is true or false")
	}
	q.options = []kgo.Opt{kgo.SeedBrokers(b.Hosts...), kgo.ClientID("fanfare"), kgo.Dialer(through), kgo.RequestTimeoutOverhead(answerTime), kgo.DisableClientMetrics(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 200 * time.Millisecond })}
	kind := b.Setting("sasl", "plain")
	if b.User == nil {
		return nil
	}
	user := b.User.Username()
	password, _ := b.User.Password()
	switch kind {
	case "plain":
		q.options = append(q.options, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
	case "scram-sha-256":
		q.options = append(q.options, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
	case "scram-sha-512":
		q.options = append(q.options, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	default:
		return b.Wrong("sasl", "it is plain, scram-sha-256 or scram-sha-512")
	}
	return nil
}

// Features implements fanfare.Queue. A task that was taken comes again when its partition moves to another node before its offset was
// committed: so tasks come twice. A delay is kept by the process that was asked for it.
func (q *Queue) Features() fanfare.QueueFeatures {
	return fanfare.QueueFeatures{Name: "kafka", Durable: true, Shared: true, Redelivers: true, Priorities: true, Doubles: true}
}

func (q *Queue) topic(provider string, level int) string {
	return q.prefix + "." + lane.Full(provider, level)
}

func (q *Queue) topics(provider string) (names []string) {
	for level := range fanfare.Levels {
		names = append(names, q.topic(provider, level))
	}
	return names
}

func (q *Queue) group(provider string) string { return q.prefix + "." + lane.Name(provider) }

// ensure makes topics that are missing.
func (q *Queue) ensure(ctx context.Context, names ...string) error {
	q.mu.Lock()
	missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return q.made[n] })
	q.mu.Unlock()
	if len(missing) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r := kmsg.NewPtrCreateTopicsRequest()
	r.TimeoutMillis = int32(askTime.Milliseconds())
	keep, brokers := fmt.Sprint(keepTime.Milliseconds()), "LogAppendTime"
	for _, n := range missing {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = n, q.partitions, q.replicas
		t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: &keep}, {Name: "message.timestamp.type", Value: &brokers}}
		r.Topics = append(r.Topics, t)
	}
	answer, err := r.RequestWith(ctx, q.client)
	if err != nil {
		return err
	}
	for _, t := range answer.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("make the topic %s: %w", t.Topic, err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range missing {
		q.made[n] = true
	}
	return nil
}

// forget has topics made again before they are used: somebody missed one.
func (q *Queue) forget(names ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range names {
		delete(q.made, n)
	}
}

// Publish implements fanfare.Queue: it answers when all replicas in sync have every task.
func (q *Queue) Publish(ctx context.Context, tasks []fanfare.Task) error {
	if err := q.subs.Open("publish"); err != nil {
		return err
	}
	left, err := q.offer(ctx, tasks)
	if err != nil && ctx.Err() == nil { // brokers that lost the topic: the client has forgotten it now
		_, err = q.offer(ctx, left)
	}
	if closed := q.subs.Open("publish"); err != nil && closed != nil {
		return closed
	}
	return q.failed(fmt.Sprintf("publish %d tasks", len(tasks)), err)
}

// offer publishes tasks and answers those that were not confirmed. A client never takes over a topic that was made anew behind its
// back; so after any error it forgets the topics.
func (q *Queue) offer(ctx context.Context, tasks []fanfare.Task) (left []fanfare.Task, err error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	names := make(map[string]struct{})
	records := make([]*kgo.Record, len(tasks))
	for i, t := range tasks {
		records[i] = &kgo.Record{Topic: q.topic(t.Provider, t.Priority.Level()), Value: lane.Encode(t)}
		names[records[i].Topic] = struct{}{}
	}
	topics := slices.Collect(maps.Keys(names))
	ctx, cancel := context.WithTimeout(ctx, 2*publishTime)
	defer cancel()
	if err := q.ensure(ctx, topics...); err != nil {
		return tasks, err
	}
	at := make(map[*kgo.Record]int, len(tasks))
	for i, r := range records {
		at[r] = i
	}
	for _, r := range q.client.ProduceSync(ctx, records...) {
		if r.Err != nil {
			err = r.Err
			left = append(left, tasks[at[r.Record]])
		}
	}
	if err != nil {
		q.client.PurgeTopicsFromProducing(topics...)
		q.forget(topics...)
	}
	return left, err
}

// Depth implements fanfare.Queue: what is behind the last committed offsets.
func (q *Queue) Depth(ctx context.Context, provider string) (int, error) {
	if err := q.subs.Open("depth"); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	n, err := q.lag(ctx, provider)
	return n, q.failed("depth", err)
}

// Ping implements fanfare.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	if err := q.subs.Open("ping"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return q.failed("ping", q.client.Ping(ctx))
}

// Close implements fanfare.Queue.
func (q *Queue) Close() error {
	if !q.subs.Close() {
		return nil
	}
	q.client.Close()
	return nil
}

// failed says which broker it was and what to do.
func (q *Queue) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	hint := "start the brokers, or correct --queue; trying again"
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism):
		hint = "user, password or ?sasl= in --queue are refused"
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		hint = "the user in --queue may not do this: allow it topics and groups that begin with " + q.prefix
	case errors.Is(err, kerr.InvalidReplicationFactor):
		hint = "give ?replicas= in --queue, at most the number of brokers"
	}
	return fmt.Errorf("%s: %s: %w; %s", q.broker, what, err, hint)
}
