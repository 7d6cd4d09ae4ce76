// Package rabbitmq is a queue on RabbitMQ 3.10 and later: a quorum queue for each provider and priority, publishes confirmed and
// mandatory, consumers whose prefetch follows the free claims. Connections are made again when they are lost, queues declared again when
// they are gone. DESIGN.md says what was decided.
package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"fanfare"
	"fanfare/queues/lane"
)

const (
	connectTime = 3 * time.Second
	writeTime   = 10 * time.Second
	askTime     = 5 * time.Second
	publishTime = 10 * time.Second // the confirmations of a portion
	lookEvery   = 100 * time.Millisecond
	portion     = 500       // tasks whose confirmations are waited for together
	keepTime    = time.Hour // the planner published again long ago what waits longer
	// deliveryLimit is never reached: a quorum queue drops what was delivered more often, without a word where nothing takes its dead letters.
	deliveryLimit = 1_000_000_000
)

// Queue is a fanfare.Queue on RabbitMQ.
type Queue struct {
	broker    *lane.Broker
	log       *slog.Logger
	vhost     string
	prefix    string
	heartbeat time.Duration
	out, in   *link // publishing; declaring, consuming and everything else

	publishing chan *publisher // holds the one publisher; whoever took it publishes

	subs lane.Subscribers[*subscription]

	mu       sync.Mutex // guards what follows
	declared map[string]bool
}

var prefixName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Open opens the queue of amqp://user:password@host:port,host:port/VHOST?prefix=fanfare&heartbeat=5s. It answers also while no server does.
func Open(raw string, log *slog.Logger) (*Queue, error) {
	b, err := lane.ParseBroker(raw, "5672")
	if err != nil {
		return nil, err
	}
	q := &Queue{broker: b, log: log.With("queue", b.String()), vhost: b.Path, prefix: b.Setting("prefix", "fanfare"),
		publishing: make(chan *publisher, 1), declared: make(map[string]bool)}
	if q.vhost == "" {
		q.vhost = "/"
	}
	if !prefixName.MatchString(q.prefix) {
		return nil, b.Wrong("prefix", "it is up to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
	}
	if q.heartbeat, err = time.ParseDuration(b.Setting("heartbeat", "5s")); err != nil || q.heartbeat < time.Second || q.heartbeat > time.Minute {
		return nil, b.Wrong("heartbeat", "it is a time from 1s to 1m")
	}
	if err := b.Rest(); err != nil {
		return nil, err
	}
	q.out, q.in = &link{q: q, name: "publish"}, &link{q: q, name: "consume"}
	q.publishing <- &publisher{}
	return q, nil
}

// Features implements fanfare.Queue. A delay is kept by the process that was asked for it, so it ends early with that process.
func (q *Queue) Features() fanfare.QueueFeatures {
	return fanfare.QueueFeatures{Name: "rabbitmq", Durable: true, Shared: true, Redelivers: true, Ordered: true, Priorities: true}
}

func (q *Queue) name(provider string, level int) string {
	return q.prefix + "." + lane.Full(provider, level)
}

// declare makes queues that are missing.
func (q *Queue) declare(ctx context.Context, names ...string) error {
	q.mu.Lock()
	missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return q.declared[n] })
	q.mu.Unlock()
	if len(missing) == 0 {
		return nil
	}
	err := q.ask(ctx, func(ch *amqp.Channel) error {
		for _, n := range missing {
			if _, err := ch.QueueDeclare(n, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum,
				"x-delivery-limit": deliveryLimit, amqp.QueueMessageTTLArg: keepTime.Milliseconds()}); err != nil {
				return fmt.Errorf("queue %s: %w", n, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range missing {
		q.declared[n] = true
	}
	return nil
}

// forget has the queues declared again before they are used: somebody missed one.
func (q *Queue) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.declared)
}

// ask asks the server on a channel of its own: an error ends the channel, and nobody else's with it.
func (q *Queue) ask(ctx context.Context, what func(*amqp.Channel) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := q.in.get(ctx)
	if err != nil {
		return err
	}
	return within(ctx, func() error {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if err := what(ch); err != nil {
			_ = ch.Close()
			return err
		}
		return ch.Close()
	})
}

// publisher is the channel that publishes.
type publisher struct {
	conn    *amqp.Connection
	ch      *amqp.Channel
	returns chan amqp.Return
	stale   bool // what it still says would be taken for an answer to what is published next
}

// Publish implements fanfare.Queue: it answers when a quorum of servers has every task.
func (q *Queue) Publish(ctx context.Context, tasks []fanfare.Task) error {
	if err := q.subs.Open("publish"); err != nil {
		return err
	}
	if len(tasks) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	var p *publisher
	select {
	case p = <-q.publishing:
	case <-limited.Done():
		return q.failed("publish", limited.Err())
	}
	defer func() { q.publishing <- p }()
	for part := range slices.Chunk(tasks, portion) {
		left, err := q.offer(ctx, p, part)
		if err == nil && len(left) > 0 { // to queues that are gone
			q.forget()
			if left, err = q.offer(ctx, p, left); err == nil && len(left) > 0 {
				err = errors.New("their queues vanish as they are declared")
			}
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

// offer publishes tasks and answers those that had nowhere to go.
func (q *Queue) offer(ctx context.Context, p *publisher, tasks []fanfare.Task) (left []fanfare.Task, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	if err := q.out.why(); err != nil {
		return nil, err
	}
	names := make([]string, len(tasks))
	for i, t := range tasks {
		names[i] = q.name(t.Provider, t.Priority.Level())
	}
	if err := q.declare(ctx, slices.Compact(slices.Sorted(slices.Values(names)))...); err != nil {
		return nil, err
	}
	if err := q.ready(ctx, p); err != nil {
		return nil, err
	}
	defer func() { p.stale = err != nil }()
	confirms := make([]*amqp.DeferredConfirmation, len(tasks))
	for i, t := range tasks {
		confirms[i], err = p.ch.PublishWithDeferredConfirmWithContext(ctx, "", names[i], true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: strconv.Itoa(i), Body: lane.Encode(t)})
		if err != nil {
			return nil, err
		}
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for _, c := range confirms {
		for done := false; !done; {
			select {
			case <-c.Done():
				if done = true; !c.Acked() {
					return nil, errors.Join(q.out.why(), errors.New("the server did not take them"))
				}
			case <-look.C:
				if err := q.out.why(); err != nil {
					return nil, err
				}
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	for { // a return comes before its confirmation
		select {
		case r := <-p.returns:
			if i, err := strconv.Atoi(r.MessageId); err == nil && i >= 0 && i < len(tasks) {
				left = append(left, tasks[i])
			}
		default:
			return left, nil
		}
	}
}

// ready opens the publisher's channel if it is not open.
func (q *Queue) ready(ctx context.Context, p *publisher) error {
	if p.stale {
		q.out.drop(p.conn) // not before: a server that is short of memory tells by this connection when it is not any more
		p.stale = false
	}
	conn, err := q.out.get(ctx)
	if err != nil || p.ch != nil && p.conn == conn && !p.ch.IsClosed() {
		return err
	}
	var ch *amqp.Channel
	err = within(ctx, func() (err error) {
		if ch, err = conn.Channel(); err != nil {
			return err
		}
		return ch.Confirm(false)
	})
	if err != nil {
		q.out.drop(conn)
		return err
	}
	*p = publisher{conn: conn, ch: ch, returns: ch.NotifyReturn(make(chan amqp.Return, 2*portion))}
	return nil
}

// Depth implements fanfare.Queue. RabbitMQ counts quorum queues every few seconds only.
func (q *Queue) Depth(ctx context.Context, provider string) (n int, err error) {
	if err := q.subs.Open("depth"); err != nil {
		return 0, err
	}
	for level := range fanfare.Levels {
		err := q.ask(ctx, func(ch *amqp.Channel) error {
			state, err := ch.QueueDeclarePassive(q.name(provider, level), true, false, false, false, nil)
			n += state.Messages
			return err
		})
		if missing, ok := errors.AsType[*amqp.Error](err); ok && missing.Code == amqp.NotFound {
			continue
		}
		if err != nil {
			return 0, q.failed("depth", err)
		}
	}
	return n, nil
}

// Ping implements fanfare.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	if err := q.subs.Open("ping"); err != nil {
		return err
	}
	if err := q.out.why(); err != nil {
		return q.failed("ping", err)
	}
	return q.failed("ping", q.ask(ctx, func(*amqp.Channel) error { return nil }))
}

// Close implements fanfare.Queue.
func (q *Queue) Close() error {
	if !q.subs.Close() {
		return nil
	}
	q.out.close()
	q.in.close()
	return nil
}

// failed says which broker it was and what to do.
func (q *Queue) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	hint := "; start the server, or correct --queue; trying again"
	if _, blocked := errors.AsType[blockedError](err); blocked {
		hint = ""
	}
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		switch e.Code {
		case amqp.AccessRefused, 530: // NOT_ALLOWED
			hint = "; user, password or virtual host in --queue are refused"
		case amqp.PreconditionFailed:
			hint = "; a queue of this name has other settings: delete it, or give another ?prefix= in --queue"
		case amqp.NotFound:
			hint = "; it is made again"
		}
	}
	return fmt.Errorf("%s: %s: %w%s", q.broker, what, err, hint)
}
