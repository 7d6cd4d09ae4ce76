package serve

import (
	"fmt"
	"log/slog"
	"strings"

	"fanfare"
	"fanfare/queues/kafka"
	"fanfare/queues/memory"
	"fanfare/queues/nats"
	"fanfare/queues/rabbitmq"
)

// openQueue opens the queue that a URL names. A broker that is away is no error: it is waited for.
func openQueue(raw string, log *slog.Logger) (q fanfare.Queue, err error) {
	scheme, _, _ := strings.Cut(raw, ":")
	switch {
	case raw == "memory:":
		return memory.New(), nil
	case scheme == "nats":
		q, err = nats.Open(raw, log)
	case scheme == "amqp", scheme == "amqps":
		q, err = rabbitmq.Open(raw, log)
	case scheme == "kafka":
		q, err = kafka.Open(raw, log)
	default:
		return nil, fmt.Errorf("%w: --queue %s: there are memory:, nats://host:port, amqp://host:port and kafka://host:port", fanfare.ErrUsage, redacted(raw))
	}
	if err != nil {
		return nil, fmt.Errorf("--queue: %w", err)
	}
	return q, nil
}
