package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"fanfare"
	"fanfare/queues/lane"
)

const (
	errorWait  = 200 * time.Millisecond
	commitTime = 300 * time.Millisecond
	missTime   = 5 * time.Second      // topics may be missed for so long, while they are made again, before anybody is told
	idleTime   = 2 * time.Second      // nobody has received for so long: others may have the partitions
	linger     = 2 * time.Millisecond // what else comes just now is awaited, so that priorities can be told apart
	enough     = 256                  // of a level that wait here: no more is fetched, so that one level never stands in the others' way
)

// subscription is a member of the provider's consumer group while somebody receives: whoever owns partitions and takes nothing from them
// would keep their tasks from everybody. A pump fetches; Receive takes from what was fetched, by the shares.
type subscription struct {
	q        *Queue
	provider string
	topics   []string
	mix      lane.Mix // Receive's
	done     chan struct{}
	ctx      context.Context //nolint:containedctx // of the pump
	cancel   context.CancelFunc
	pump     sync.WaitGroup
	asked    chan struct{} // Receive began
	bell     chan struct{} // something came, or went wrong

	mu     sync.Mutex // guards what follows
	closed bool
	client *kgo.Client // of the present session
	active int         // Receives under way
	held   int         // handed over and not settled
	err    error
	failed int // counts errors
	ready  [fanfare.Levels][]*delivery
	paused [fanfare.Levels]bool
	tracks map[place]*track
	later  map[*delivery]*time.Timer
}

// track is what was fetched of one partition and not acknowledged up to the first, in order: the offset is committed behind what is
// acknowledged without a gap.
type track struct {
	open []*delivery
	gone bool // the partition was taken away: what is still held of it comes again, to somebody
	from *kgo.Client
}

// Subscribe implements fanfare.Queue.
func (q *Queue) Subscribe(ctx context.Context, provider string) (fanfare.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{q: q, provider: provider, topics: q.topics(provider), done: make(chan struct{}), asked: make(chan struct{}, 1), bell: make(chan struct{}, 1),
		tracks: make(map[place]*track), later: make(map[*delivery]*time.Timer)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := q.subs.Join(s, provider, func() { s.pump.Go(s.run) }); err != nil {
		s.cancel()
		return nil, err
	}
	return s, nil
}

// join makes a member of the group that consumes nothing yet. Partitions are dealt out topic by topic, so that each member has some of every level.
func (s *subscription) join() (*kgo.Client, error) {
	q := s.q
	return kgo.NewClient(append(q.options[:len(q.options):len(q.options)], kgo.ConsumerGroup(q.group(s.provider)),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepRetryableFetchErrors(), kgo.FetchMaxWait(time.Second), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.SessionTimeout(q.session), kgo.HeartbeatInterval(q.session/5), kgo.RebalanceTimeout(q.session), kgo.Balancers(kgo.RangeBalancer()),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(commitTime), kgo.MetadataMaxAge(10*time.Second),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, which map[string][]int32) {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			_ = c.CommitMarkedOffsets(ctx) // what is not committed comes twice
			s.lose(which)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, which map[string][]int32) { s.lose(which) }))...)
}

// Receive implements fanfare.Subscription.
func (s *subscription) Receive(ctx context.Context, most int) ([]fanfare.Delivery, error) {
	most = max(most, 1)
	s.mu.Lock()
	failed := s.failed
	s.active++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.active--
		s.mu.Unlock()
	}()
	select {
	case s.asked <- struct{}{}:
	default:
	}
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
		case s.closed:
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
			s.wait(ctx, linger)
			lingered = true
			continue
		}
		select {
		case <-s.bell:
		case <-ctx.Done():
		case <-s.done:
		}
	}
}

func (s *subscription) takeLocked(most int) (got []fanfare.Delivery) {
	for len(got) < most {
		level, ok := s.mix.Next(func(l int) bool { return len(s.ready[l]) > 0 })
		if !ok {
			break
		}
		s.ready[level][0].taken = true
		s.held++
		got = append(got, s.ready[level][0])
		s.ready[level] = s.ready[level][1:]
		if s.paused[level] && len(s.ready[level]) < enough/2 {
			s.paused[level] = false
			if s.client != nil {
				s.client.ResumeFetchTopics(s.topics[level])
			}
		}
	}
	return got
}

// wait lets some time pass.
func (s *subscription) wait(ctx context.Context, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.done:
	}
}

func (s *subscription) ring() {
	select {
	case s.bell <- struct{}{}:
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
		client, err := s.join()
		if err != nil {
			s.fail(err)
			continue
		}
		s.mu.Lock()
		s.client = client
		s.mu.Unlock()
		s.fetch(client)
		s.leave(client)
	}
}

// fetch goes on until nobody has received for a while and nothing is held.
func (s *subscription) fetch(client *kgo.Client) {
	var missed, last time.Time // since when topics are missed, and when they were last
	used := time.Now()
	for first := true; s.ctx.Err() == nil; {
		s.mu.Lock()
		if s.active > 0 || s.held > 0 {
			used = time.Now()
		}
		s.mu.Unlock()
		if time.Since(used) > idleTime {
			return
		}
		if first {
			if err := s.q.ensure(s.ctx, s.topics...); err != nil {
				s.fail(err)
				continue
			}
			first = false
			client.AddConsumeTopics(s.topics...) // that are there: a client that missed one first takes seconds to ask again
		}
		ctx, cancel := context.WithTimeout(s.ctx, idleTime/2)
		fetches := client.PollRecords(ctx, enough)
		cancel()
		bad, gone := judge(fetches)
		fetches.EachRecord(func(r *kgo.Record) { s.take(client, r) })
		s.ring()
		switch now := time.Now(); {
		case gone:
			if now.Sub(last) > missTime {
				missed = now
			}
			last = now
			s.again(client)
			if now.Sub(missed) > missTime {
				s.fail(bad)
			} else {
				s.wait(s.ctx, errorWait) // brokers need a moment to know a new topic
			}
		case bad != nil:
			s.fail(bad)
		}
	}
}

// judge looks for what a client does not get over by itself. gone: topics are missing, or were made anew.
func judge(fetches kgo.Fetches) (bad error, gone bool) { //nolint:revive // the error says why
	for _, e := range fetches.Errors() {
		var lost *kgo.ErrDataLoss
		switch {
		case errors.As(e.Err, &lost), errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, context.Canceled):
		case errors.Is(e.Err, kerr.UnknownTopicID), errors.Is(e.Err, kerr.UnknownTopicOrPartition):
			bad, gone = e.Err, true
		case !kerr.IsRetriable(e.Err):
			bad = e.Err
		}
	}
	return bad, gone
}

// again has the client forget the topics and take them up anew, from the start: it never takes over one that was made behind its back.
func (s *subscription) again(client *kgo.Client) {
	s.q.forget(s.topics...)
	client.PurgeTopicsFromConsuming(s.topics...)
	s.mu.Lock()
	s.dropLocked()
	s.mu.Unlock()
	for s.ctx.Err() == nil {
		err := s.q.ensure(s.ctx, s.topics...)
		if err == nil {
			break
		}
		s.fail(err)
	}
	client.ResumeFetchTopics(s.topics...)
	client.AddConsumeTopics(s.topics...)
}

// dropLocked forgets what was fetched: it comes again, to somebody.
func (s *subscription) dropLocked() {
	for _, t := range s.tracks {
		t.gone = true
	}
	clear(s.tracks)
	s.ready, s.paused = [fanfare.Levels][]*delivery{}, [fanfare.Levels]bool{}
}

// leave ends a session. When the subscription ends, what is held is published again, so that all before it can be committed; brokers that
// do not answer hand it out again by themselves.
func (s *subscription) leave(client *kgo.Client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
	defer cancel()
	s.mu.Lock()
	var held []*delivery
	for _, t := range s.tracks {
		for _, d := range t.open {
			if s.closed && d.taken && !d.done {
				held = append(held, d)
			}
		}
	}
	s.mu.Unlock()
	if len(held) > 0 {
		tasks := make([]fanfare.Task, len(held))
		for i, d := range held {
			tasks[i] = d.task
		}
		if _, err := s.q.offer(ctx, tasks); err == nil {
			s.mu.Lock()
			for _, d := range held {
				s.doneLocked(d)
			}
			s.mu.Unlock()
		}
	}
	_ = client.CommitMarkedOffsets(ctx)
	s.mu.Lock()
	s.dropLocked()
	s.client = nil
	s.mu.Unlock()
	_ = client.LeaveGroupContext(ctx)
	client.Close()
}

// fail tells Receive why nothing comes, and keeps the pump from trying again at once.
func (s *subscription) fail(err error) {
	s.wait(s.ctx, errorWait)
	s.mu.Lock()
	s.err = err
	s.failed++
	s.mu.Unlock()
	s.ring()
}

// take keeps what was fetched for the next Receive; what is no task counts as acknowledged.
func (s *subscription) take(client *kgo.Client, r *kgo.Record) {
	level := 0
	for l, t := range s.topics {
		if t == r.Topic {
			level = l
		}
	}
	t, err := lane.Decode(r.Value, s.provider)
	if err != nil {
		s.q.log.Warn("something on the queue is no task; it is thrown away", "topic", r.Topic, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{r.Topic, r.Partition}
	of := s.tracks[at]
	if of == nil {
		of = &track{from: client}
		s.tracks[at] = of
	}
	d := &delivery{s: s, task: t, record: r, track: of}
	of.open = append(of.open, d)
	if err != nil {
		s.doneLocked(d)
		return
	}
	s.err = nil
	s.ready[level] = append(s.ready[level], d)
	if len(s.ready[level]) >= enough && !s.paused[level] {
		s.paused[level] = true
		client.PauseFetchTopics(s.topics[level])
	}
}

// lose forgets partitions that were taken away: others get what of them was not committed.
func (s *subscription) lose(which map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range which {
		for _, p := range partitions {
			if t := s.tracks[place{topic, p}]; t != nil {
				t.gone = true
				delete(s.tracks, place{topic, p})
			}
		}
	}
	for level, ready := range s.ready {
		var kept []*delivery
		for _, d := range ready {
			if !d.track.gone {
				kept = append(kept, d)
			}
		}
		s.ready[level] = kept
		if s.paused[level] && len(kept) < enough/2 && s.client != nil {
			s.paused[level] = false
			s.client.ResumeFetchTopics(s.topics[level])
		}
	}
}

// doneLocked notes that a task is settled and has the offset behind all that are committed soon.
func (s *subscription) doneLocked(d *delivery) {
	if d.taken && !d.done {
		s.held--
	}
	d.done = true
	t := d.track
	var last *kgo.Record
	for len(t.open) > 0 && t.open[0].done {
		last = t.open[0].record
		t.open[0] = nil
		t.open = t.open[1:]
	}
	if last != nil && !t.gone {
		t.from.MarkCommitRecords(last)
	}
}

// Close implements fanfare.Subscription.
func (s *subscription) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, timer := range s.later {
		timer.Stop()
	}
	close(s.done)
	s.mu.Unlock()
	s.cancel()
	s.pump.Wait()
	s.q.subs.Leave(s)
	return nil
}

type delivery struct {
	s      *subscription
	task   fanfare.Task
	record *kgo.Record
	track  *track
	taken  bool // handed over
	given  bool // acknowledged or returned
	done   bool // its offset may be committed
}

func (d *delivery) Task() fanfare.Task { return d.task }

// Ack implements fanfare.Delivery. Its offset is committed a moment later, once all before it are settled.
func (d *delivery) Ack(context.Context) error {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if err := d.giveLocked("acknowledge"); err != nil {
		return err
	}
	d.s.doneLocked(d)
	return nil
}

// Return implements fanfare.Delivery: the task is published again, after the delay, which is kept here.
func (d *delivery) Return(_ context.Context, delay time.Duration) error {
	s := d.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := d.giveLocked("return"); err != nil {
		return err
	}
	s.later[d] = time.AfterFunc(max(delay, 0), func() { s.publishAgain(d) })
	return nil
}

func (s *subscription) publishAgain(d *delivery) {
	s.mu.Lock()
	if s.closed { // Close has it
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	_, err := s.q.offer(s.ctx, []fanfare.Task{d.task})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case err != nil:
		s.later[d] = time.AfterFunc(errorWait, func() { s.publishAgain(d) })
	default:
		delete(s.later, d)
		s.doneLocked(d)
	}
}

func (d *delivery) giveLocked(what string) error {
	if d.s.closed {
		return fmt.Errorf("%s the task of %v: %w", what, d.task.BatchRef, fanfare.ErrClosed)
	}
	if d.given {
		return fmt.Errorf("%s the task of %v: given away already: %w", what, d.task.BatchRef, fanfare.ErrUsage)
	}
	d.given = true
	return nil
}
