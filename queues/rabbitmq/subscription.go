package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"fanfare"
	"fanfare/queues/lane"
)

const (
	errorWait = 200 * time.Millisecond
	idleTime  = time.Second          // for so long what the server pushed may wait for the next Receive; then it goes back
	linger    = 2 * time.Millisecond // what else comes just now is awaited, so that priorities can be told apart
)

// subscription has a channel of its own with a consumer for each lane. RabbitMQ pushes: what it may push is bounded by what was last
// asked for, and what nobody asks for any more goes back to the others.
type subscription struct {
	q        *Queue
	provider string
	mix      lane.Mix // Receive's
	done     chan struct{}
	ctx      context.Context //nolint:containedctx // of the pump
	cancel   context.CancelFunc
	pump     sync.WaitGroup
	asked    chan struct{} // Receive began
	bell     chan struct{} // something came, or went wrong

	mu     sync.Mutex // guards what follows
	want   int        // most of the last Receive
	active int        // Receives under way
	err    error      // why nothing comes; nil: it does, or nobody knows yet
	failed int        // counts errors
	ready  [fanfare.Levels][]*delivery
	held   map[*delivery]*time.Timer // with the time a task goes back, if it was returned for later; nil after Close
}

// Subscribe implements fanfare.Queue. It asks nothing of the server: the pump does, once somebody receives.
func (q *Queue) Subscribe(ctx context.Context, provider string) (fanfare.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{q: q, provider: provider, done: make(chan struct{}), asked: make(chan struct{}, 1), bell: make(chan struct{}, 1),
		held: make(map[*delivery]*time.Timer)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := q.subs.Join(s, provider, func() { s.pump.Go(s.run) }); err != nil {
		s.cancel()
		return nil, err
	}
	return s, nil
}

// Receive implements fanfare.Subscription.
func (s *subscription) Receive(ctx context.Context, most int) ([]fanfare.Delivery, error) {
	most = max(most, 1)
	s.mu.Lock()
	s.want, s.active = most, s.active+1
	failed := s.failed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
	}()
	signal(s.asked)
	lingered := false
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		n := 0
		for _, r := range s.ready {
			n += len(r)
		}
		switch {
		case s.held == nil:
			s.mu.Unlock()
			return nil, fmt.Errorf("receive: %w", fanfare.ErrClosed)
		case n >= most || n > 0 && (lingered || most == 1):
			got := s.takeLocked(most)
			s.mu.Unlock()
			return got, nil
		case n == 0 && s.err != nil && s.failed != failed:
			defer s.mu.Unlock()
			return nil, s.q.failed("receive", s.err)
		}
		s.mu.Unlock()
		if n > 0 {
			lingered = s.wait(ctx, linger)
			continue
		}
		select {
		case <-s.bell:
		case <-ctx.Done():
		case <-s.done:
		}
	}
}

// wait lets some time pass.
func (s *subscription) wait(ctx context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.done:
	}
	return true
}

func (s *subscription) takeLocked(most int) (got []fanfare.Delivery) {
	for len(got) < most {
		level, ok := s.mix.Next(func(l int) bool { return len(s.ready[l]) > 0 })
		if !ok {
			break
		}
		d := s.ready[level][0]
		s.ready[level] = s.ready[level][1:]
		s.held[d] = nil
		got = append(got, d)
	}
	return got
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps a session going while somebody receives.
func (s *subscription) run() {
	for {
		select {
		case <-s.asked:
		case <-s.done:
			return
		}
		for s.ctx.Err() == nil {
			again, err := s.session()
			if err != nil && s.ctx.Err() == nil {
				s.q.forget()
				s.wait(s.ctx, errorWait)
				s.mu.Lock()
				s.err = err
				s.failed++
				again = s.active > 0
				s.mu.Unlock()
				signal(s.bell)
			}
			if !again {
				break
			}
		}
	}
}

// line is a session's channel.
type line struct {
	ch    *amqp.Channel
	ended chan *amqp.Error // the channel or its connection is gone
	gone  chan string      // a consumer whose queue was deleted
	tags  []string
	push  [fanfare.Levels]<-chan amqp.Delivery
	uses  int // how often consumers were started: RabbitMQ 3.10 fails (541) when a name comes again while messages of its first bearer are held
	room  int // how many of each lane may be here, held and waiting
}

// session is one channel's life: it ends with the subscription or with an error. Closing a channel gives back what was taken on it, so the
// same one consumes more, less, or nothing for a while. again: at once once more.
func (s *subscription) session() (again bool, err error) {
	names := make([]string, fanfare.Levels)
	for level := range names {
		names[level] = s.q.name(s.provider, level)
	}
	if err := s.q.declare(s.ctx, names...); err != nil {
		return true, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, askTime)
	defer cancel()
	conn, err := s.q.in.get(ctx)
	if err != nil {
		return true, err
	}
	var l *line
	if err := within(ctx, func() error {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		l = &line{ch: ch, ended: ch.NotifyClose(make(chan *amqp.Error, 1)), gone: ch.NotifyCancel(make(chan string, 2*fanfare.Levels))}
		return nil
	}); err != nil {
		if ctx.Err() != nil {
			s.q.in.drop(conn)
		}
		return true, err
	}
	defer s.end(l)
	for {
		if err := s.consume(l, names); err != nil {
			return true, err
		}
		idle, err := s.listen(l)
		if err != nil || s.ctx.Err() != nil {
			return true, err
		}
		if err := s.halt(l, idle); err != nil {
			return true, err
		}
		if !idle {
			continue
		}
		select { // until somebody receives again
		case <-s.asked:
		case e := <-l.ended:
			return false, broken(e)
		case <-s.done:
			return false, nil
		}
	}
}

func broken(e *amqp.Error) error {
	if e == nil {
		return amqp.ErrClosed
	}
	return e
}

func deleted() error { return &amqp.Error{Code: amqp.NotFound, Reason: "the queue was deleted"} }

// consume starts a consumer for each lane, the highest first: what waits there is pushed before the others'.
func (s *subscription) consume(l *line, names []string) error {
	s.mu.Lock()
	l.room = s.want + len(s.held)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, askTime)
	defer cancel()
	l.uses++
	made := *l
	made.tags = nil
	err := within(ctx, func() error {
		for level, name := range names {
			if err := made.ch.Qos(max(1, made.room), 0, false); err != nil {
				return err
			}
			tag := fmt.Sprint(lane.Priority(level), " ", made.uses)
			push, err := made.ch.Consume(name, tag, false, false, false, false, nil)
			if err != nil {
				return err
			}
			made.tags = append(made.tags, tag)
			made.push[level] = push
		}
		return nil
	})
	if err != nil {
		return err
	}
	*l = made
	s.mu.Lock()
	s.err = nil
	s.mu.Unlock()
	return nil
}

// halt stops the consumers. What was pushed goes back when nobody receives.
func (s *subscription) halt(l *line, back bool) error {
	ctx, cancel := context.WithTimeout(s.ctx, askTime)
	defer cancel()
	ch, tags := l.ch, l.tags
	if err := within(ctx, func() error {
		for _, tag := range tags {
			if err := ch.Cancel(tag, false); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for level := range l.push {
		for m := range l.push[level] { // closed by Cancel, or with the channel
			s.take(level, m)
		}
	}
	if !back {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active > 0 { // somebody came meanwhile
		signal(s.asked)
		return nil
	}
	for level, ready := range s.ready {
		for _, d := range ready {
			_ = d.msg.Nack(false, true) // a channel that is gone gave it back
		}
		s.ready[level] = nil
	}
	return nil
}

// listen takes what is pushed until the consumers have to be started anew, or stopped because nobody receives (idle).
func (s *subscription) listen(l *line) (idle bool, err error) {
	tick := time.NewTicker(idleTime)
	defer tick.Stop()
	quiet := 0
	for {
		var m amqp.Delivery
		var ok bool
		level := 0
		select {
		case m, ok = <-l.push[0]:
		case m, ok = <-l.push[1]:
			level = 1
		case m, ok = <-l.push[2]:
			level = 2
		case e := <-l.ended:
			return false, broken(e)
		case <-l.gone:
			return false, deleted()
		case <-s.done:
			return false, nil
		case <-s.asked:
			quiet = 0
			s.mu.Lock()
			more := s.want+len(s.held) > l.room
			s.mu.Unlock()
			if more {
				return false, nil
			}
			continue
		case <-tick.C:
			s.mu.Lock()
			quiet++
			if s.active > 0 {
				quiet = 0
			}
			less := s.want+len(s.held) < l.room/4
			s.mu.Unlock()
			if quiet > 1 || less {
				return quiet > 1, nil
			}
			continue
		}
		if !ok {
			select {
			case e := <-l.ended:
				return false, broken(e)
			case <-l.gone:
				return false, deleted()
			case <-s.done:
				return false, nil
			}
		}
		s.take(level, m)
	}
}

// take keeps what was pushed for the next Receive; what is no task is thrown away for good.
func (s *subscription) take(level int, m amqp.Delivery) {
	t, err := lane.Decode(m.Body, s.provider)
	if err != nil {
		s.q.log.Warn("something on the queue is no task; it is thrown away", "name", m.RoutingKey, "error", err)
		_ = m.Reject(false)
		return
	}
	s.mu.Lock()
	s.ready[level] = append(s.ready[level], &delivery{s: s, task: t, msg: m})
	s.mu.Unlock()
	signal(s.bell)
}

// end closes a channel, which gives back all that was taken on it and not acknowledged.
func (s *subscription) end(l *line) {
	s.mu.Lock()
	s.ready = [fanfare.Levels][]*delivery{}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
	defer cancel()
	_ = within(ctx, l.ch.Close)
}

// Close implements fanfare.Subscription: what is held goes back.
func (s *subscription) Close() error {
	s.mu.Lock()
	if s.held == nil {
		s.mu.Unlock()
		return nil
	}
	for _, later := range s.held {
		if later != nil {
			later.Stop()
		}
	}
	s.held = nil
	close(s.done)
	s.mu.Unlock()
	s.cancel()
	s.pump.Wait()
	s.q.subs.Leave(s)
	return nil
}

type delivery struct {
	s    *subscription
	task fanfare.Task
	msg  amqp.Delivery
}

func (d *delivery) Task() fanfare.Task { return d.task }

// Ack implements fanfare.Delivery.
func (d *delivery) Ack(context.Context) error {
	return d.letGo("acknowledge", 0, func() error { return d.msg.Ack(false) })
}

// Return implements fanfare.Delivery. A delay is kept here: RabbitMQ knows none that do not block each other. Should this process
// die, the task comes before its time.
func (d *delivery) Return(_ context.Context, delay time.Duration) error {
	return d.letGo("return", delay, func() error { return d.msg.Nack(false, true) })
}

func (d *delivery) letGo(what string, delay time.Duration, tell func() error) error {
	s := d.s
	s.mu.Lock()
	if s.held == nil {
		s.mu.Unlock()
		return fmt.Errorf("%s the task of %v: %w", what, d.task.BatchRef, fanfare.ErrClosed)
	}
	later, held := s.held[d]
	if !held || later != nil {
		s.mu.Unlock()
		return fmt.Errorf("%s the task of %v: given away already: %w", what, d.task.BatchRef, fanfare.ErrUsage)
	}
	if delay > 0 {
		s.held[d] = time.AfterFunc(delay, func() {
			s.mu.Lock()
			open := s.held != nil
			delete(s.held, d)
			s.mu.Unlock()
			if open {
				_ = tell() // the channel is gone: so it went back already
			}
		})
		s.mu.Unlock()
		return nil
	}
	delete(s.held, d)
	s.mu.Unlock()
	return s.q.failed(what+" the task of "+d.task.BatchRef.String(), tell())
}
