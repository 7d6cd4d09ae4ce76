package kafka

import (
	"context"
	"log/slog"
	"net"
)

// OpenThrough is Open by a wire of the test's: brokers tell clients where they are, whatever the URL says.
func OpenThrough(raw string, log *slog.Logger, through func(ctx context.Context, network, host string) (net.Conn, error)) (*Queue, error) {
	return open(raw, log, through)
}
