package lane_test

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fanfare"
	"fanfare/queues/lane"
)

func TestNamesAreSafeAndDiffer(t *testing.T) {
	safe := regexp.MustCompile(`^[a-z0-9-]{33,57}$`)
	seen := make(map[string]string)
	for _, p := range []string{"", "mail", "Mail", "MAIL", "a.b", "a b", "a*b", "a>b", "a/b", "a-b", "a\x00b", "邮件 主", "邮件", "é", "e\u0301", "#", "\xff", "\xfe",
		strings.Repeat("x", 200), strings.Repeat("x", 201), strings.Repeat("邮", 70), "$JS.API.>", "mail-high", "amq.topic", "__consumer_offsets"} {
		n := lane.Name(p)
		if !safe.MatchString(n) {
			t.Errorf("%q: lane %q", p, n)
		}
		if other, there := seen[n]; there {
			t.Errorf("%q and %q share a lane", p, other)
		}
		seen[n] = p
	}
	if n := lane.Name("Mail.eu 1"); !strings.HasPrefix(n, "mail-eu-1-") {
		t.Errorf("an operator does not find the provider in %q", n)
	}
}

func TestMixIsSixToThreeToOne(t *testing.T) {
	var m lane.Mix
	all := func(int) bool { return true }
	if got := m.Deal(100, all); got != [fanfare.Levels]int{60, 30, 10} {
		t.Errorf("of a hundred: %v", got)
	}
	if got := m.Deal(7, func(l int) bool { return l == 2 }); got != [fanfare.Levels]int{0, 0, 7} {
		t.Errorf("only low waits: %v", got)
	}
	if got := m.Deal(7, func(int) bool { return false }); got != [fanfare.Levels]int{} {
		t.Errorf("nothing waits: %v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(lane.Encode(fanfare.Task{BatchRef: fanfare.BatchRef{Message: math.MaxInt64, Slot: math.MaxUint16, Batch: math.MaxUint32}, Generation: math.MaxInt64, Provider: "mail", Priority: fanfare.PriorityLow}))
	for _, s := range []string{"", "1", "1 1 1 1 1 1 mail", "1 1 1 1 1 3 mail", "2 1 1 1 1 1 mail", "1 -1 1 1 1 1 mail", "1 1 70000 1 1 1 mail", "1 1 1 1 1 1 other", "1  1 1 1 1 mail"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		task, err := lane.Decode(b, "mail")
		if err != nil {
			return
		}
		again, err := lane.Decode(lane.Encode(task), "mail")
		if err != nil || again != task || task.Message < 0 || task.Generation < 0 {
			t.Errorf("%q: %v, again %v, %v", b, task, again, err)
		}
	})
}

func TestProvidersNameComesBackAsItIs(t *testing.T) {
	for _, p := range []string{"", "mail", "a b  c ", "邮件 主", "\x00\xff", "1 2 3"} {
		want := fanfare.Task{Provider: p, Priority: fanfare.PriorityHigh, Generation: 3}
		if got, err := lane.Decode(lane.Encode(want), p); err != nil || got != want {
			t.Errorf("%q: %v, %v", p, got, err)
		}
	}
}

func TestParseBroker(t *testing.T) {
	for raw, want := range map[string]struct {
		hosts      []string
		user, path string
	}{
		"kafka://a:9092,b:9093,c/prefix":   {[]string{"a:9092", "b:9093", "c:1"}, "", "prefix"},
		"amqp://u:p%40ss@[::1]:5672/%2F":   {[]string{"[::1]:5672"}, "u:p%40ss", "/"},
		"nats://token@h":                   {[]string{"h:1"}, "token", ""},
		"nats://u:p@ss@[::1],h?replicas=3": {[]string{"[::1]:1", "h:1"}, "u:p%40ss", ""},
	} {
		b, err := lane.ParseBroker(raw, "1")
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		user := ""
		if b.User != nil {
			user = b.User.String()
		}
		if d := cmp.Diff(want.hosts, b.Hosts); d != "" || user != want.user || b.Path != want.path {
			t.Errorf("%s: hosts %v, user %q, path %q", raw, b.Hosts, user, b.Path)
		}
	}
}

func TestBrokerSaysNoPassword(t *testing.T) {
	for _, raw := range []string{"nats:hunter2", "nats://u:hunter2@", "nats://u:hunter2@h:x", "nats://u:hunter2@h/%zz", "nats://u:%zhunter2@h", "nats://u:hunter2@h:0", "nats://u:hunter2@h,",
		"nats://u:hunter2@h:1:2", "nats://u:hunter2#x@h", "nats://u:hunter2@h?a=%zz", "nats://u:hunter2@h?replcas=1", "nats://u:hunter2@h?replicas=9"} {
		b, err := lane.ParseBroker(raw, "4222")
		if err == nil {
			if strings.Contains(b.String(), "hunter2") {
				t.Errorf("%s is printed as %s", raw, b)
			}
			if _, err = b.Number("replicas", 1, 1, 5); err == nil {
				err = b.Rest()
			}
		}
		if !errors.Is(err, fanfare.ErrUsage) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
