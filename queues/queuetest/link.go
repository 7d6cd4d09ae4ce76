package queuetest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Link is a wire between a client and its server that a test can break: the client connects to Addr.
type Link struct {
	Addr   string
	target string

	mu    sync.Mutex // guards what follows
	gone  bool
	conns map[net.Conn]*wire
}

// wire is one connection's two ends.
type wire struct {
	near, far net.Conn
	muted     bool
}

// NewLink listens on a port of its own and carries everything to the target until the test ends.
func NewLink(t *testing.T, target string) *Link {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	link := &Link{Addr: l.Addr().String(), target: target, conns: make(map[net.Conn]*wire)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { link.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		link.Cut()
		running.Wait()
	})
	return link
}

func (l *Link) carry(near net.Conn) {
	far, err := net.Dial("tcp", l.target) //nolint:noctx // 127.0.0.1 answers at once
	if err != nil {
		_ = near.Close()
		return
	}
	w := &wire{near: near, far: far}
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		_, _ = near.Close(), far.Close()
		return
	}
	l.conns[near] = w
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.copy(w, far, near) })
	both.Go(func() { l.copy(w, near, far) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, near)
	l.mu.Unlock()
}

// copy carries one direction. On a muted wire bytes are read and dropped, and an end is not passed on.
func (l *Link) copy(w *wire, to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		muted := w.muted
		l.mu.Unlock()
		if !muted && n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if !muted || from == w.near { // the client gave up: so does the wire
				_, _ = to.Close(), from.Close()
			} else {
				_, _ = io.Copy(io.Discard, to) // until the client gives up
			}
			return
		}
	}
}

// Mute has the connections of this moment carry nothing any more, without closing them; new ones work.
func (l *Link) Mute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.conns {
		w.muted = true
	}
}

// Cut closes every connection, and lets no new one through.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, w := range l.conns {
		_, _ = w.near.Close(), w.far.Close()
	}
}
