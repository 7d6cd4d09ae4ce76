package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// ports is a block of ten: RabbitMQ with its tools takes as many.
type ports struct {
	first int
	hold  net.Listener
}

const inBlock = 10

// reserve finds ten free ports below those that the kernel hands out, so that they stay free while the server is down. An abstract socket
// holds them against other processes that do the same, and goes away with the process.
func reserve() (ports, error) {
	for range 1000 {
		p := ports{first: 20_000 + inBlock*rand.IntN(1200)} //nolint:gosec // any will do
		var err error
		if p.hold, err = net.Listen("unix", fmt.Sprintf("@fanfare-servers-%d", p.first)); err != nil {
			continue
		}
		if p.unused() {
			return p, nil
		}
		p.free()
	}
	return ports{}, errors.New("no ten free ports between 20000 and 32000")
}

func (p ports) unused() bool {
	for n := range inBlock {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.at(n))))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

func (p ports) at(n int) int { return p.first + n }

func (p ports) free() { _ = p.hold.Close() }
