package fanfare

import (
	"context"
	"time"
)

// Task is the hint on a queue that a batch is ready. Nothing else travels on a queue.
type Task struct {
	BatchRef
	Generation Generation
	Provider   string
	Priority   Priority
}

// Queue carries tasks from planners to nodes. Tasks are hints: a queue may lose, double, delay and reorder them, and nothing but
// speed is lost: the planner publishes again what nobody claimed, and claims are guarded. Every method may be called by many
// goroutines at once.
type Queue interface {
	Features() QueueFeatures
	// Publish offers tasks; they go to the lanes of their provider and priority. An error means that some may not be there. It never
	// waits without end for a server that is away.
	Publish(ctx context.Context, tasks []Task) error
	// Subscribe opens a subscription for the provider's tasks of all priorities; where the driver can, higher ones come first, six
	// high to three normal to one low as long as all wait: none of them starves.
	Subscribe(ctx context.Context, provider string) (Subscription, error)
	// Depth tells how many tasks of the provider wait, roughly.
	Depth(ctx context.Context, provider string) (int, error)
	// Ping tells whether the queue answers.
	Ping(ctx context.Context) error
	Close() error
}

// Subscription receives a provider's tasks. It is used by one goroutine.
type Subscription interface {
	// Receive waits for at least one task and answers up to most of them. It answers ctx's error when ctx ends, ErrClosed after Close.
	// Any other error says why nothing can be received now, and comes no oftener than a few times a second: the same subscription is
	// asked again, and goes on as soon as the queue does, also when that has lost everything meanwhile.
	Receive(ctx context.Context, most int) ([]Delivery, error)
	Close() error
}

// Delivery is one task as received. Exactly one of Ack and Return is called; one that was neither when the subscription ends, or
// the process dies, is delivered again (to anybody) by a driver whose Features say Redelivers.
type Delivery interface {
	Task() Task
	// Ack says that the claim is durable, or that the task is stale: it never comes again from a well-behaved queue. Neither it nor
	// Return waits for a server to answer.
	Ack(ctx context.Context) error
	// Return gives the task back; it is delivered again, not before delay.
	Return(ctx context.Context, delay time.Duration) error
}

// QueueFeatures says what a driver cannot do, or does otherwise.
type QueueFeatures struct {
	Name       string
	Durable    bool // acknowledged publishes outlive the broker's restart
	Shared     bool // several processes
	Redelivers bool // what was received and not acknowledged comes again
	Ordered    bool // tasks of one lane come in the order of publishing, as long as nothing is returned
	Exact      bool // Depth is exact
	Delays     bool // Return's delay is kept
	Priorities bool // higher priorities come first
	Lossy      bool // tasks get lost while everything works: only publishing again brings them
	Doubles    bool // tasks come twice, acknowledged or not, while everything works
}
