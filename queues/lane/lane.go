// Package lane is what the brokers' drivers share: the name of a provider's lane that every broker takes, the bytes of a task, the
// shares of the priorities, and the URL that names a broker. A lane is a provider's tasks of one priority.
package lane

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fanfare"
)

// Priority gives the priority at a level.
func Priority(level int) fanfare.Priority {
	return [fanfare.Levels]fanfare.Priority{fanfare.PriorityHigh, fanfare.PriorityNormal, fanfare.PriorityLow}[level]
}

// readable is how much of a provider's name stays in the name of its lane, for whoever looks at the broker.
const readable = 24

// Name gives the name of a provider's lane on a broker: a-z, 0-9 and '-', 57 bytes at most, different for different providers. What
// makes it so is a hash: a name may hold any Unicode, and what separates things on a broker.
func Name(provider string) string {
	sum := sha256.Sum256([]byte(provider))
	hash := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
	var b strings.Builder
	for _, r := range provider {
		if b.Len() == readable {
			break
		}
		switch {
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		case r < 'a' || r > 'z':
			if r < '0' || r > '9' {
				r = '-'
			}
		}
		b.WriteRune(r)
	}
	return b.String() + "-" + hash
}

// Full gives the name of the lane of a provider and a level.
func Full(provider string, level int) string { return Name(provider) + "-" + string(Priority(level)) }

// Encode gives a task's bytes: a version, its numbers in decimal, and the provider's name as it is.
func Encode(t fanfare.Task) []byte {
	b := make([]byte, 0, 48+len(t.Provider))
	b = append(b, "1 "...)
	for _, n := range [...]int64{int64(t.Message), int64(t.Slot), int64(t.Batch), int64(t.Generation), int64(t.Priority.Level())} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	return append(b, t.Provider...)
}

// longest bounds what is taken for a task: numbers, and the longest name of a provider with room to spare.
const longest = 4 << 10

// errTask says that this is no task: whoever may write to the broker may have written anything.
var errTask = errors.New("no task")

// Decode reads a provider's task.
func Decode(b []byte, provider string) (t fanfare.Task, err error) {
	if len(b) > longest {
		return t, fmt.Errorf("%w: %d bytes", errTask, len(b))
	}
	parts := strings.SplitN(string(b), " ", 7)
	if len(parts) != 7 || parts[0] != "1" {
		return t, fmt.Errorf("%w: %.60q", errTask, b)
	}
	var n [5]uint64
	for i, bits := range [...]int{63, 16, 32, 63, 2} {
		if n[i], err = strconv.ParseUint(parts[i+1], 10, bits); err != nil {
			return t, fmt.Errorf("%w: %.60q", errTask, b)
		}
	}
	if n[4] >= fanfare.Levels || parts[6] != provider {
		return t, fmt.Errorf("%w of %.40q: %.60q", errTask, provider, b)
	}
	return fanfare.Task{BatchRef: fanfare.BatchRef{Message: fanfare.MessageNum(n[0]), Slot: fanfare.Slot(n[1]), Batch: fanfare.BatchNo(n[2])}, //nolint:gosec // bounded above
		Generation: fanfare.Generation(n[3]), Provider: provider, Priority: Priority(int(n[4]))}, nil //nolint:gosec // bounded above
}

// Mix deals out the priorities' shares, 6 : 3 : 1 as long as all wait. The zero value is ready; one goroutine uses it.
type Mix struct{ credit [fanfare.Levels]int }

// Next gives the level whose turn it is among those that wait: the highest that has credit left; when none has, all get theirs anew.
func (m *Mix) Next(waits func(level int) bool) (level int, ok bool) {
	for range 2 {
		for i := range m.credit {
			if m.credit[i] > 0 && waits(i) {
				m.credit[i]--
				return i, true
			}
		}
		for i := range m.credit {
			m.credit[i] = Priority(i).Share()
		}
	}
	return 0, false
}

// Deal tells how many of each level make up n, when only those that wait count.
func (m *Mix) Deal(n int, waits func(level int) bool) (share [fanfare.Levels]int) {
	for range n {
		level, ok := m.Next(waits)
		if !ok {
			break
		}
		share[level]++
	}
	return share
}

// Interleave puts what came of each level into the order in which they are to be worked on.
func Interleave[T any](levels [fanfare.Levels][]T) (all []T) {
	var m Mix
	for {
		level, ok := m.Next(func(l int) bool { return len(levels[l]) > 0 })
		if !ok {
			return all
		}
		all = append(all, levels[level][0])
		levels[level] = levels[level][1:]
	}
}
