package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare"
	"fanfare/queues/lane"
)

const (
	pollTime  = 20 * time.Second // how long the server keeps a question for the next task
	beatTime  = 2 * time.Second  // it says within that the question is still there
	errorWait = 200 * time.Millisecond
)

// subscription takes from three consumers. What waits is asked for at once, by the priorities' shares; when nothing does, each lane
// has a question for one task outstanding at the server, which outlives Receive: whatever comes while nobody receives goes back.
type subscription struct {
	q        *Queue
	provider string
	mix      lane.Mix // Receive's
	done     chan struct{}
	ctx      context.Context //nolint:containedctx // of the pollers
	cancel   context.CancelFunc
	pollers  sync.WaitGroup
	bell     chan struct{} // something came, or is doubtful
	ask      [fanfare.Levels]chan jetstream.Consumer

	mu        sync.Mutex // guards what follows
	consumers [fanfare.Levels]jetstream.Consumer
	known     bool // the consumers were seen since the last doubt
	receiving bool
	arrived   []*delivery
	held      map[*delivery]struct{} // nil after Close
}

// Subscribe implements fanfare.Queue. It asks nothing of the server: that is Receive's.
func (q *Queue) Subscribe(ctx context.Context, provider string) (fanfare.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{q: q, provider: provider, done: make(chan struct{}), bell: make(chan struct{}, 1), held: make(map[*delivery]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := q.subs.Join(s, provider, func() {
		for level := range fanfare.Levels {
			s.ask[level] = make(chan jetstream.Consumer, 1)
			s.pollers.Go(func() { s.poll(level) })
		}
	}); err != nil {
		s.cancel()
		return nil, err
	}
	return s, nil
}

// Receive implements fanfare.Subscription.
func (s *subscription) Receive(ctx context.Context, most int) ([]fanfare.Delivery, error) {
	most = max(most, 1)
	if err := s.begin(); err != nil {
		return nil, err
	}
	for again := false; ; {
		if err := ctx.Err(); err != nil {
			return s.end(err)
		}
		consumers, err := s.ensure(ctx)
		if err == nil {
			var got []fanfare.Delivery
			if got, err = s.take(ctx, consumers, most); len(got) > 0 {
				return got, nil
			}
		}
		if errors.Is(err, fanfare.ErrClosed) {
			return s.end(err)
		}
		if err != nil {
			s.doubt()
			if again && ctx.Err() == nil { // the first time what is missing is made
				s.wait(ctx)
				return s.end(s.q.failed("receive", err))
			}
			again = true
			continue
		}
		for level := range s.ask {
			select {
			case s.ask[level] <- consumers[level]: // its poller asks, if it does not already
			default:
			}
		}
		select {
		case <-s.bell:
		case <-ctx.Done():
		case <-s.done:
		}
	}
}

// wait keeps whoever tries again at once from doing so all the time.
func (s *subscription) wait(ctx context.Context) {
	timer := time.NewTimer(errorWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.done:
	}
}

func (s *subscription) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		return fmt.Errorf("receive: %w", fanfare.ErrClosed)
	}
	s.receiving = true
	return nil
}

// end is Receive's way out with an error: what came at that very moment is handed over instead.
func (s *subscription) end(err error) ([]fanfare.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiving = false
	if s.held == nil {
		return nil, fmt.Errorf("receive: %w", fanfare.ErrClosed)
	}
	if len(s.arrived) == 0 {
		return nil, err
	}
	d := s.arrived[0]
	s.arrived = s.arrived[1:]
	s.held[d] = struct{}{}
	s.giveBackLocked()
	return []fanfare.Delivery{d}, nil
}

// giveBackLocked gives back what arrived and is not handed over.
func (s *subscription) giveBackLocked() {
	for _, d := range s.arrived {
		_ = d.msg.Nak() // lost with the connection, if at all: the server hands it out again
	}
	s.arrived = nil
}

// take gives up to most of what arrived or waits.
func (s *subscription) take(ctx context.Context, consumers [fanfare.Levels]jetstream.Consumer, most int) (got []fanfare.Delivery, err error) {
	s.mu.Lock()
	for _, d := range s.arrived {
		if len(got) < most {
			s.held[d] = struct{}{}
			got = append(got, d)
		} else {
			_ = d.msg.Nak()
		}
	}
	s.arrived = nil
	s.mu.Unlock()
	var some [fanfare.Levels][]fanfare.Delivery
	var empty [fanfare.Levels]bool
	n := len(got)
	for n < most && err == nil && ctx.Err() == nil {
		share := s.mix.Deal(most-n, func(level int) bool { return !empty[level] })
		if share == [fanfare.Levels]int{} {
			break
		}
		for level, want := range share {
			if want == 0 || err != nil {
				continue
			}
			var more []fanfare.Delivery
			more, err = s.fetch(consumers[level], want)
			some[level] = append(some[level], more...)
			n += len(more)
			empty[level] = len(more) < want
		}
	}
	got = append(got, lane.Interleave(some)...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		for _, d := range got {
			if d, ok := d.(*delivery); ok {
				_ = d.msg.Nak()
			}
		}
		return nil, fmt.Errorf("receive: %w", fanfare.ErrClosed)
	}
	if len(got) > 0 {
		s.receiving = false
		s.giveBackLocked()
	}
	return got, err
}

// fetch takes what waits now.
func (s *subscription) fetch(c jetstream.Consumer, want int) (got []fanfare.Delivery, err error) {
	batch, err := c.FetchNoWait(want)
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		d := s.open(m)
		if d == nil {
			continue
		}
		s.mu.Lock()
		if s.held != nil {
			s.held[d] = struct{}{}
		}
		s.mu.Unlock()
		got = append(got, d)
	}
	return got, batch.Error()
}

// open reads a message; one that is no task is thrown away for good.
func (s *subscription) open(m jetstream.Msg) *delivery {
	t, err := lane.Decode(m.Data(), s.provider)
	if err != nil {
		s.q.log.Warn("something on the queue is no task; it is thrown away", "subject", m.Subject(), "error", err)
		_ = m.Term()
		return nil
	}
	return &delivery{s: s, task: t, msg: m}
}

// poll asks the server for the next task of a level whenever Receive wants it to.
func (s *subscription) poll(level int) {
	for {
		var c jetstream.Consumer
		select {
		case c = <-s.ask[level]:
		case <-s.done:
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, pollTime)
		batch, err := c.Fetch(1, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(beatTime))
		if err == nil {
			for m := range batch.Messages() {
				if d := s.open(m); d != nil {
					s.arrive(d)
				}
			}
			err = batch.Error()
		}
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) && s.ctx.Err() == nil {
			s.doubt()
		}
		s.ring()
	}
}

func (s *subscription) arrive(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.receiving || s.held == nil {
		_ = d.msg.Nak()
		return
	}
	s.arrived = append(s.arrived, d)
}

func (s *subscription) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// doubt has the consumers looked for anew before the next question.
func (s *subscription) doubt() {
	s.q.made.Store(false)
	s.mu.Lock()
	s.known = false
	s.mu.Unlock()
	s.ring()
}

// ensure makes the stream and the consumers if they are missing.
func (s *subscription) ensure(ctx context.Context) (all [fanfare.Levels]jetstream.Consumer, err error) {
	s.mu.Lock()
	if s.held == nil {
		s.mu.Unlock()
		return all, fmt.Errorf("receive: %w", fanfare.ErrClosed)
	}
	all, known := s.consumers, s.known
	s.known = true // a doubt that comes from now on is a new one
	s.mu.Unlock()
	if known {
		return all, nil
	}
	if err := s.q.ensure(ctx); err != nil {
		return all, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for level := range all {
		name := lane.Full(s.provider, level)
		all[level], err = s.q.js.CreateOrUpdateConsumer(ctx, s.q.stream, jetstream.ConsumerConfig{
			Durable: name, FilterSubject: s.q.subject(name), AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.q.ackWait,
			MaxDeliver:    -1, // a task is never given up
			MaxAckPending: -1, MaxWaiting: 4096,
		})
		if err != nil {
			// Made anew at the moment somebody deletes it, a consumer may be left without its files: nats-server 2.15 then refuses it for good.
			// Without it, what was held comes again.
			if broken, ok := errors.AsType[*jetstream.APIError](err); ok && broken.Code >= 500 {
				_ = s.q.js.DeleteConsumer(ctx, s.q.stream, name)
			}
			return all, fmt.Errorf("consumer %s: %w", name, err)
		}
	}
	s.mu.Lock()
	s.consumers = all
	s.mu.Unlock()
	return all, nil
}

// Close implements fanfare.Subscription: what is held goes back.
func (s *subscription) Close() error {
	s.mu.Lock()
	if s.held == nil {
		s.mu.Unlock()
		return nil
	}
	for d := range s.held {
		_ = d.msg.Nak()
	}
	s.held = nil
	s.giveBackLocked()
	close(s.done)
	s.mu.Unlock()
	s.cancel()
	s.pollers.Wait()
	s.q.subs.Leave(s)
	return nil
}

type delivery struct {
	s    *subscription
	task fanfare.Task
	msg  jetstream.Msg
}

func (d *delivery) Task() fanfare.Task { return d.task }

// Ack implements fanfare.Delivery. It does not wait for the server: should it never hear of it, the task comes once more.
func (d *delivery) Ack(context.Context) error { return d.letGo("acknowledge", d.msg.Ack) }

// Return implements fanfare.Delivery; the server keeps the delay.
func (d *delivery) Return(_ context.Context, delay time.Duration) error {
	return d.letGo("return", func() error { return d.msg.NakWithDelay(max(delay, 0)) })
}

func (d *delivery) letGo(what string, tell func() error) error {
	d.s.mu.Lock()
	if d.s.held == nil {
		d.s.mu.Unlock()
		return fmt.Errorf("%s the task of %v: %w", what, d.task.BatchRef, fanfare.ErrClosed)
	}
	_, held := d.s.held[d]
	delete(d.s.held, d)
	d.s.mu.Unlock()
	if !held {
		return fmt.Errorf("%s the task of %v: given away already: %w", what, d.task.BatchRef, fanfare.ErrUsage)
	}
	return d.s.q.failed(what+" the task of "+d.task.BatchRef.String(), tell())
}
