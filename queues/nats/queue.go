// Package nats is a queue on NATS JetStream: one work-queue stream, a subject and a durable pull consumer for each provider and
// priority, publishes confirmed by the stream, explicit acknowledgements. The stream and its consumers are made when they are missing,
// also when the server lost them while everybody was connected. DESIGN.md says what was decided.
package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare"
	"fanfare/queues/lane"
)

const (
	connectTime = 2 * time.Second
	askTime     = 5 * time.Second  // a question to the server
	publishTime = 10 * time.Second // the confirmations of a portion
	portion     = 500              // tasks whose confirmations are waited for together
	keepTime    = time.Hour        // the planner published again long ago what waits longer
	pingEvery   = 2 * time.Second  // a connection that hears nothing for three of these is given up
)

// Queue is a fanfare.Queue on NATS JetStream.
type Queue struct {
	broker   *lane.Broker
	log      *slog.Logger
	conn     *nats.Conn
	js       jetstream.JetStream
	stream   string
	replicas int
	ackWait  time.Duration
	made     atomic.Bool   // the stream was seen; false again when somebody misses it
	ended    chan struct{} // the client has called back for the last time

	subs lane.Subscribers[*subscription]
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Open opens the queue of nats://user:password@host:port,host:port/STREAM?replicas=1&ack-wait=30s. It answers also while no server does.
func Open(raw string, log *slog.Logger) (*Queue, error) {
	b, err := lane.ParseBroker(raw, "4222")
	if err != nil {
		return nil, err
	}
	q := &Queue{broker: b, log: log.With("queue", b.String()), stream: b.Path, ended: make(chan struct{})}
	if q.stream == "" {
		q.stream = "fanfare"
	}
	if !streamName.MatchString(q.stream) {
		return nil, fmt.Errorf("%w: the queue's URL %s: the stream's name after the host is up to 64 of A-Z, a-z, 0-9, _ and -", fanfare.ErrUsage, b)
	}
	if q.replicas, err = b.Number("replicas", 1, 1, 5); err != nil {
		return nil, err
	}
	if q.ackWait, err = time.ParseDuration(b.Setting("ack-wait", "30s")); err != nil || q.ackWait < time.Second || q.ackWait > time.Hour {
		return nil, b.Wrong("ack-wait", "it is a time from 1s to 1h, longer than claiming a batch takes")
	}
	if err := b.Rest(); err != nil {
		return nil, err
	}
	return q, q.connect()
}

func (q *Queue) connect() (err error) {
	options := []nats.Option{
		nats.Name("fanfare"), nats.Timeout(connectTime), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent now is said at once, not kept in secret
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(askTime), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if q.subs.Open("") == nil {
				q.log.Warn("the queue's server is gone; connecting again", "error", err)
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(q.ended) }),
		nats.ReconnectHandler(func(*nats.Conn) { q.back() }), nats.ConnectHandler(func(*nats.Conn) { q.back() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { q.log.Debug("queue", "error", err) }),
	}
	if u := q.broker.User; u != nil {
		if password, ok := u.Password(); ok {
			options = append(options, nats.UserInfo(u.Username(), password))
		} else {
			options = append(options, nats.Token(u.Username()))
		}
	}
	urls := make([]string, 0, len(q.broker.Hosts))
	for _, h := range q.broker.Hosts {
		urls = append(urls, q.broker.Scheme+"://"+h)
	}
	if q.conn, err = nats.Connect(strings.Join(urls, ","), options...); err != nil {
		return q.failed("connect", err)
	}
	q.js, err = jetstream.New(q.conn, jetstream.WithPublishAsyncMaxPending(8*portion), jetstream.WithPublishAsyncTimeout(publishTime))
	return err
}

// back is called when a server answers again: it may be another one, or have lost everything.
func (q *Queue) back() {
	q.made.Store(false)
	q.subs.Each((*subscription).doubt)
}

// Features implements fanfare.Queue.
func (q *Queue) Features() fanfare.QueueFeatures {
	return fanfare.QueueFeatures{Name: "nats", Durable: true, Shared: true, Redelivers: true, Ordered: true, Delays: true, Priorities: true}
}

func (q *Queue) subject(name string) string { return q.stream + ".task." + name }

// ensure makes the stream if it is missing.
func (q *Queue) ensure(ctx context.Context) error {
	if q.made.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	s, err := q.js.Stream(ctx, q.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = q.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: q.stream, Subjects: []string{q.subject(">")}, Description: "Fanfare's tasks: hints, published again when lost",
			Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: q.replicas, MaxAge: keepTime,
		})
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was first
		s, err = q.js.Stream(ctx, q.stream)
	}
	if err != nil {
		return q.failed("make the stream "+q.stream, err)
	}
	if c := s.CachedInfo().Config; c.Retention != jetstream.WorkQueuePolicy || !slices.Contains(c.Subjects, q.subject(">")) {
		return fmt.Errorf("the stream %s on %s was not made by Fanfare (it is no work queue on %s): %w; name another one after the host in --queue",
			q.stream, q.broker, q.subject(">"), fanfare.ErrForeign)
	}
	q.made.Store(true)
	return nil
}

// Publish implements fanfare.Queue: it answers when the stream confirmed every task.
func (q *Queue) Publish(ctx context.Context, tasks []fanfare.Task) error {
	if err := q.subs.Open("publish"); err != nil {
		return err
	}
	for part := range slices.Chunk(tasks, portion) {
		// The second try is for a stream that was lost since it was seen.
		left, err := q.offer(ctx, part)
		if err != nil && ctx.Err() == nil && q.conn.IsConnected() {
			q.made.Store(false)
			_, err = q.offer(ctx, left)
		}
		if err != nil {
			if closed := q.subs.Open("publish"); closed != nil {
				return closed
			}
			return q.failed(fmt.Sprintf("publish %d tasks", len(tasks)), err)
		}
	}
	return nil
}

// offer publishes tasks and answers those that were not confirmed.
func (q *Queue) offer(ctx context.Context, tasks []fanfare.Task) (left []fanfare.Task, err error) {
	if err := q.ensure(ctx); err != nil {
		return tasks, err
	}
	wait := time.NewTimer(publishTime)
	defer wait.Stop()
	futures := make([]jetstream.PubAckFuture, len(tasks))
	for i, t := range tasks {
		futures[i], err = q.js.PublishAsync(q.subject(lane.Full(t.Provider, t.Priority.Level())), lane.Encode(t), jetstream.WithRetryAttempts(0))
		if err != nil {
			return tasks, err
		}
	}
	for i, f := range futures {
		select {
		case <-f.Ok():
			continue
		case err = <-f.Err():
		case <-ctx.Done():
			return tasks, ctx.Err()
		case <-wait.C:
			return tasks, fmt.Errorf("not confirmed within %v", publishTime)
		}
		left = append(left, tasks[i])
	}
	return left, err
}

// Depth implements fanfare.Queue. Tasks that somebody holds and has not acknowledged yet count.
func (q *Queue) Depth(ctx context.Context, provider string) (int, error) {
	if err := q.subs.Open("depth"); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	s, err := q.js.Stream(ctx, q.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, q.failed("depth", err)
	}
	n := uint64(0)
	for level := range fanfare.Levels {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(q.subject(lane.Full(provider, level))))
		if err != nil {
			return 0, q.failed("depth", err)
		}
		for waiting := range maps.Values(info.State.Subjects) {
			n += waiting
		}
	}
	return int(n), nil //nolint:gosec // far below
}

// Ping implements fanfare.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	if err := q.subs.Open("ping"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := q.js.AccountInfo(ctx)
	return q.failed("ping", err)
}

// Close implements fanfare.Queue.
func (q *Queue) Close() error {
	if !q.subs.Close() {
		return nil
	}
	_ = q.conn.FlushTimeout(time.Second) // what was given back; a server that is gone hands it out again by itself
	q.conn.Close()
	<-q.ended
	return nil
}

// failed says which broker it was and what to do.
func (q *Queue) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch last := q.conn.LastError(); {
	case !q.conn.IsConnected() && (errors.Is(last, nats.ErrAuthorization) || errors.Is(last, nats.ErrAuthExpired)):
		hint = "user, password or token in --queue are refused"
	case !q.conn.IsConnected() && last != nil:
		hint = fmt.Sprintf("not connected (%v): start the server, or correct --queue; trying again", last)
	case !q.conn.IsConnected():
		hint = "not connected: start the server, or correct --queue; trying again"
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		hint = "JetStream does not answer: start nats-server with -js, or allow it to this account"
	default:
		return fmt.Errorf("%s: %s: %w", q.broker, what, err)
	}
	return fmt.Errorf("%s: %s: %w; %s", q.broker, what, err, hint)
}
