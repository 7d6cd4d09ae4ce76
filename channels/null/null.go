// Package null is the channel that sends nothing, and the sandbox that stands in for another channel's provider: the same path, rate,
// journal and recovery, and nothing leaves the process. Both are for rehearsals and benchmarks.
//
// A provider's URL may ask for refusals: "null:?fail=1%&temporary=2%&unknown=0.1%&delay=20ms". Who is refused is decided by a hash of
// message and person, so it is the same in every run; who is refused for now, or not answered, is taken at the next attempt.
package null

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fanfare"
)

// Channel is the null channel.
type Channel struct{}

// New gives the null channel.
func New() *Channel { return &Channel{} }

// Name implements fanfare.Channel.
func (*Channel) Name() fanfare.ChannelName { return fanfare.ChannelNull }

// Features implements fanfare.Channel.
func (*Channel) Features() fanfare.ChannelFeatures {
	return fanfare.ChannelFeatures{Chunk: 500, Connections: 8}
}

// Check implements fanfare.Channel.
func (*Channel) Check(p fanfare.Provider) error {
	_, err := parse(p)
	return err
}

// Compile implements fanfare.Channel: there is nothing to compile.
func (*Channel) Compile(*fanfare.Message) (fanfare.Compiled, error) { return nothing{}, nil }

// Address implements fanfare.Channel: everybody can be reached by nothing.
func (*Channel) Address(*fanfare.Recipient) (string, fanfare.Reason) { return "", "" }

// Dial implements fanfare.Channel.
func (*Channel) Dial(_ context.Context, p fanfare.Provider) (fanfare.Connection, error) {
	return dial(p)
}

type nothing struct{}

// Render implements fanfare.Compiled.
func (nothing) Render(dst []byte, _ *fanfare.Outgoing) ([]byte, error) { return dst, nil }

// Preview implements fanfare.Compiled.
func (nothing) Preview(*fanfare.Outgoing) (map[string]string, error) {
	return map[string]string{"note": "the null channel sends nothing"}, nil
}

// Sandbox is a channel whose content, addresses and rendering are those of the real one, and whose connections send nothing.
type Sandbox struct{ fanfare.Channel }

// Features implements fanfare.Channel.
func (s Sandbox) Features() fanfare.ChannelFeatures {
	f := s.Channel.Features()
	f.Leaves = false
	return f
}

// Check implements fanfare.Channel.
func (s Sandbox) Check(p fanfare.Provider) error {
	_, err := parse(p)
	return err
}

// Dial implements fanfare.Channel.
func (s Sandbox) Dial(_ context.Context, p fanfare.Provider) (fanfare.Connection, error) {
	return dial(p)
}

// settings of a sandbox, in parts of a million.
type settings struct {
	fail, temporary, unknown uint64
	delay                    time.Duration
}

func parse(p fanfare.Provider) (settings, error) {
	var s settings
	u, err := url.Parse(percent(p.URL))
	if err != nil || u.Scheme != "" && u.Scheme != "null" && u.Scheme != "sandbox" { // it may be another channel's, with a password
		return s, fmt.Errorf("provider %s: url: write null: or sandbox:, with ?fail=1%% if you want refusals", p.Name)
	}
	for name, values := range u.Query() {
		v := values[len(values)-1]
		switch name {
		case "fail":
			s.fail, err = share(v)
		case "temporary":
			s.temporary, err = share(v)
		case "unknown":
			s.unknown, err = share(v)
		case "delay":
			s.delay, err = time.ParseDuration(v)
		default:
			err = fmt.Errorf("unknown; there are fail, temporary, unknown and delay")
		}
		if err != nil {
			return s, fmt.Errorf("provider %s: url: %s: %w", p.Name, name, err)
		}
	}
	return s, nil
}

// percent lets people write fail=1% in a URL.
func percent(u string) string {
	var b strings.Builder
	for i := range len(u) {
		b.WriteByte(u[i])
		if u[i] == '%' && (i+2 >= len(u) || !hex(u[i+1]) || !hex(u[i+2])) {
			b.WriteString("25")
		}
	}
	return b.String()
}

func hex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

func share(v string) (uint64, error) {
	number, ok := strings.CutSuffix(v, "%")
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 || ok && f > 100 || !ok && f > 1 {
		return 0, fmt.Errorf("%q is no share; write 1%% or 0.01", v)
	}
	if ok {
		f /= 100
	}
	return uint64(f * 1e6), nil
}

type connection struct{ settings }

func dial(p fanfare.Provider) (*connection, error) {
	s, err := parse(p)
	if err != nil {
		return nil, &fanfare.SendError{Step: "connect", Err: err}
	}
	return &connection{s}, nil
}

// Send implements fanfare.Connection.
func (c *connection) Send(ctx context.Context, items []fanfare.Outgoing, may func(int) bool, answer func(int, fanfare.SendAnswer)) error {
	refuses := c.fail+c.temporary+c.unknown > 0
	for i := range items {
		if ctx.Err() != nil || !may(i) {
			for ; i < len(items); i++ {
				answer(i, fanfare.SendAnswer{Kind: fanfare.NotBegun})
			}
			return nil
		}
		if c.delay > 0 {
			t := time.NewTimer(c.delay)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
		}
		if refuses {
			answer(i, c.judge(&items[i]))
		} else {
			answer(i, fanfare.SendAnswer{Kind: fanfare.SendOK})
		}
	}
	return nil
}

func (c *connection) judge(it *fanfare.Outgoing) fanfare.SendAnswer {
	switch at := lot(it); {
	case at < c.fail:
		return fanfare.SendAnswer{Kind: fanfare.SendPermanent, Code: "550 5.1.1", Text: "refused by the sandbox"}
	case at < c.fail+c.temporary && it.Attempt <= 1:
		return fanfare.SendAnswer{Kind: fanfare.SendTemporary, Code: "450 4.2.0", Text: "refused for now by the sandbox"}
	case at >= c.fail+c.temporary && at < c.fail+c.temporary+c.unknown && it.Attempt <= 1:
		return fanfare.SendAnswer{Kind: fanfare.SendUnknown, Text: "no answer from the sandbox"}
	}
	return fanfare.SendAnswer{Kind: fanfare.SendOK}
}

// lot draws a number below a million by message and person.
func lot(it *fanfare.Outgoing) uint64 {
	var b [14]byte
	if it.Message != nil {
		binary.BigEndian.PutUint64(b[:], uint64(it.Message.Num)) //nolint:gosec // positive
	}
	binary.BigEndian.PutUint16(b[8:], uint16(it.Person.Slot))
	binary.BigEndian.PutUint32(b[10:], it.Person.Seq)
	h := fnv.New64a()
	_, _ = h.Write(b[:])
	return h.Sum64() % 1e6
}

// Close implements fanfare.Connection.
func (c *connection) Close() error { return nil }
