package null

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/channels/channeltest"
)

// faults are those that a URL can ask for; they meet all items.
var urls = map[channeltest.Fault]string{channeltest.Healthy: "", channeltest.RefusedForGood: "?fail=100%", channeltest.RefusedForNow: "?temporary=100%",
	channeltest.Unsaid: "?unknown=100%"}

func features() channeltest.Features {
	return channeltest.Features{All: true, Faults: []channeltest.Fault{channeltest.RefusedForGood, channeltest.RefusedForNow, channeltest.Unsaid}}
}

func TestNull(t *testing.T) {
	channeltest.Run(t, features(), func(_ *testing.T, trouble channeltest.Trouble) channeltest.Backend {
		return channeltest.Backend{Channel: New(), Provider: fanfare.Provider{Name: "null", Channel: fanfare.ChannelNull, URL: "null:" + urls[trouble.Fault]}}
	})
}

// real is a channel that a sandbox stands in for: it must never be dialed.
type real struct{ fanfare.Channel }

func (real) Features() fanfare.ChannelFeatures {
	return fanfare.ChannelFeatures{NeedsProfile: true, Leaves: true, Chunk: 8, Connections: 32}
}

func TestSandbox(t *testing.T) {
	channeltest.Run(t, features(), func(_ *testing.T, trouble channeltest.Trouble) channeltest.Backend {
		return channeltest.Backend{Channel: Sandbox{real{New()}}, Provider: fanfare.Provider{Name: "s", Channel: fanfare.ChannelNull, URL: "sandbox:" + urls[trouble.Fault]}}
	})
	if f := (Sandbox{real{New()}}).Features(); f.Leaves || !f.NeedsProfile || f.Chunk != 8 {
		t.Errorf("%+v", f)
	}
}

// TestShares: as many are refused as were asked for, the same in every run; who is refused for now or not answered is taken next time.
func TestShares(t *testing.T) {
	c, err := New().Dial(t.Context(), fanfare.Provider{URL: "null:?fail=1%&temporary=0.02&unknown=5%25"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	items := make([]fanfare.Outgoing, n)
	for i := range items {
		items[i] = fanfare.Outgoing{Person: fanfare.Person{Slot: fanfare.Slot(i % 16), Seq: fanfare.Seq(i / 16)}, Attempt: 1}
	}
	send := func() (kinds [n]fanfare.SendKind) {
		err := c.Send(t.Context(), items, always, func(i int, a fanfare.SendAnswer) { kinds[i] = a.Kind })
		if err != nil {
			t.Fatal(err)
		}
		return kinds
	}
	first, again := send(), send()
	if first != again {
		t.Error("another run refuses others")
	}
	for i := range items {
		items[i].Attempt = 2
	}
	second := send()
	count := map[fanfare.SendKind]int{}
	for i, k := range first {
		count[k]++
		if want := fanfare.SendOK; k != fanfare.SendPermanent && second[i] != want {
			t.Fatalf("item %d: kind %d, then %d", i, k, second[i])
		}
	}
	for kind, share := range map[fanfare.SendKind]float64{fanfare.SendPermanent: 0.01, fanfare.SendTemporary: 0.02, fanfare.SendUnknown: 0.05} {
		if got := float64(count[kind]) / n; got < share*0.85 || got > share*1.15 {
			t.Errorf("kind %d: %.4f of all, want %.4f", kind, got, share)
		}
	}
}

func always(int) bool { return true }

// TestDelay: each item takes its time, and the end of the context ends the waiting.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New().Dial(t.Context(), fanfare.Provider{URL: "null:?delay=20ms"})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.Send(t.Context(), make([]fanfare.Outgoing, 5), always, func(int, fanfare.SendAnswer) {}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("five took %v", d)
		}
	})
}

// TestCheck: settings that cannot work are refused with what to do.
func TestCheck(t *testing.T) {
	for url, says := range map[string]string{
		"null:": "", "": "", "sandbox:?fail=1%": "", "null:?fail=0.5": "", "null:?delay=1s&unknown=100%": "",
		"null:?fail=101%": "share", "null:?fail=-1%": "share", "null:?fail=x": "share", "null:?speed=1": "there are fail", "null:?delay=soon": "delay", "smtp://x": "write null:",
	} {
		err := New().Check(fanfare.Provider{Name: "n", URL: url})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", url, err)
		}
	}
}
