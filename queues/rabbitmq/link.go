package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"fanfare"
)

// link is a connection that is made when it is needed and made anew when it is lost. There are two: RabbitMQ stops reading from a
// connection that publishes while it is short of memory or disk, and acknowledgements must not wait behind that.
type link struct {
	q    *Queue
	name string

	mu      sync.Mutex // guards what follows
	conn    *amqp.Connection
	raw     net.Conn
	dialing chan struct{} // closed when the try that is under way ends; nil: none is
	err     error         // of the last try
	blocked string        // why the server does not read from this connection
	closed  bool
	dials   sync.WaitGroup
}

// get gives the connection, as soon as there is one.
func (l *link) get(ctx context.Context) (*amqp.Connection, error) {
	l.mu.Lock()
	if !l.closed && l.conn != nil && !l.conn.IsClosed() {
		defer l.mu.Unlock()
		return l.conn, nil
	}
	if l.closed {
		defer l.mu.Unlock()
		return nil, fanfare.ErrClosed
	}
	if l.dialing == nil {
		l.dialing = make(chan struct{})
		l.dials.Go(l.dial)
	}
	tried := l.dialing
	l.mu.Unlock()
	select {
	case <-tried:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, fanfare.ErrClosed
	case l.conn != nil && !l.conn.IsClosed():
		return l.conn, nil
	case l.err != nil:
		return nil, l.err
	}
	return nil, errors.New("the connection was lost at once")
}

// dial tries each host once.
func (l *link) dial() {
	var conn *amqp.Connection
	var raw net.Conn
	var failed error
	hosts := l.q.broker.Hosts
	for _, i := range rand.Perm(len(hosts)) { //nolint:gosec // spreads clients over servers
		var err error
		if conn, raw, err = l.q.connect(hosts[i], l.name); err == nil {
			break
		}
		failed = errors.Join(failed, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(l.dialing)
	l.dialing = nil
	if conn == nil {
		l.err = failed
		return
	}
	if l.closed {
		_ = raw.Close()
		return
	}
	l.conn, l.raw, l.err, l.blocked = conn, raw, nil, ""
	said := conn.NotifyBlocked(make(chan amqp.Blocking, 8)) // closed with the connection
	l.dials.Go(func() {
		for b := range said {
			l.mu.Lock()
			if l.conn == conn {
				l.blocked = ""
				if b.Active {
					l.blocked = "the server takes nothing now: " + b.Reason + " alarm; give it more, or raise its watermark"
				}
			}
			l.mu.Unlock()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conn == conn {
			l.blocked = ""
		}
	})
}

// connect opens one connection to one server. Whatever it waits for has an end.
func (q *Queue) connect(host, name string) (conn *amqp.Connection, raw net.Conn, err error) {
	fail := func(err error) (*amqp.Connection, net.Conn, error) { return nil, nil, fmt.Errorf("%s: %w", host, err) }
	raw, err = net.DialTimeout("tcp", host, connectTime) //nolint:noctx // bounded
	if err != nil {
		return fail(err)
	}
	wire := net.Conn(&bounded{Conn: raw})
	if err := raw.SetDeadline(time.Now().Add(2 * connectTime)); err != nil { // the handshake's; Open takes it away
		return fail(err)
	}
	if q.broker.Scheme == "amqps" {
		server, _, _ := net.SplitHostPort(host)
		wire = tls.Client(wire, &tls.Config{ServerName: server, MinVersion: tls.VersionTLS12})
	}
	user, password := "guest", "guest"
	if u := q.broker.User; u != nil {
		user = u.Username()
		password, _ = u.Password()
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("fanfare " + name)
	conn, err = amqp.Open(wire, amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}}, Vhost: q.vhost,
		Heartbeat: q.heartbeat, Properties: properties, Locale: "en_US"})
	if err != nil {
		_ = raw.Close()
		return fail(err)
	}
	return conn, raw, nil
}

// bounded is a connection whose writes do not wait without end for a server that reads no more.
type bounded struct{ net.Conn }

func (b *bounded) Write(p []byte) (int, error) {
	if err := b.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return b.Conn.Write(p)
}

// blockedError says why the server does not read from a connection.
type blockedError string

func (e blockedError) Error() string { return string(e) }

// why tells why the server does not read from this connection; nil: it does.
func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocked == "" {
		return nil
	}
	return blockedError(l.blocked)
}

// drop gives a connection up that does not answer: the next one who needs it makes a new one.
func (l *link) drop(conn *amqp.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn != nil && l.conn == conn {
		_ = l.raw.Close()
		l.conn = nil
	}
}

// close ends the connection, in an orderly way if the server answers within a second.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	conn, raw := l.conn, l.raw
	l.mu.Unlock()
	if conn != nil {
		_ = conn.CloseDeadline(time.Now().Add(time.Second))
		_ = raw.Close()
	}
	l.dials.Wait()
}

// within runs what knows no context; what goes on after ctx ended ends with its connection, which does not live long without a heartbeat.
func within(ctx context.Context, what func() error) error {
	done := make(chan error, 1)
	go func() { done <- what() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
