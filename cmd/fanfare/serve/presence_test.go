package serve

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/home"
	"fanfare/deliver"
	"fanfare/stores/memory"
)

// neighbours makes presences on one store, on the bubble's clock.
func neighbours(t *testing.T) func(name, folder string) (*presence, bool, error) {
	store := memory.Open(memory.Config{Slots: 1})
	began := time.Now()
	return func(name, folder string) (*presence, bool, error) {
		h, err := home.Open(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		h.ID = folder
		c := &Config{Roles: []string{roleAPI}}
		p := newPresence(store, h, c)
		p.now = func() deliver.Instant { return deliver.Instant(time.Since(began) + time.Hour) }
		others, err := p.join(t.Context(), h, c, false)
		return p, others, err
	}
}

// TestAlone: a node reckons that it is alone until another can have written, and no longer.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enter := neighbours(t)
		touched := 0
		a, others, err := enter("a", "1")
		if err != nil || others || !a.Alone() {
			t.Fatalf("the first: others %v, %v", others, err)
		}
		a.touch = func() { touched++ }
		a.belong(a.now())
		tell := func(p *presence) {
			t.Helper()
			if err := p.tell(t.Context(), fanfare.Node{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(aloneTime - time.Millisecond) // in the bubble of synctest, as below
		if !a.Alone() {
			t.Error("it is not alone")
		}
		b, others, err := enter("b", "2")
		if err != nil || !others {
			t.Fatalf("the second: others %v, %v", others, err)
		}
		if b.Alone() {
			t.Error("the second is alone")
		}
		time.Sleep(joinTime) // b begins; a has said nothing meanwhile: it hangs
		if a.Alone() {
			t.Error("alone though another has begun")
		}
		b.belong(b.now())
		tell(a)
		if a.Alone() || touched == 0 {
			t.Errorf("alone %v, touched %d", a.Alone(), touched)
		}
		if !a.heard("b") || a.heard("c") {
			t.Error("who is heard")
		}

		// b is stopped for so long that a takes it for gone: what b writes then is answered only when a knows of it again.
		time.Sleep(silentTime)
		tell(a)
		if !a.Alone() {
			t.Error("with a silent one")
		}
		before := touched
		wrote := make(chan error, 1)
		go func() { wrote <- b.Known(t.Context()) }()
		for range 30 {
			synctest.Wait()
			select {
			case err := <-wrote:
				if err != nil || a.Alone() {
					t.Errorf("answered while another is alone: %v", err)
				}
				wrote = nil
			default:
			}
			if wrote == nil {
				break
			}
			tell(b)
			tell(a)
			time.Sleep(tellEvery / 2)
		}
		if wrote != nil || touched == before {
			t.Error("never answered, or nothing was touched")
		}
		if err := b.leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		tell(a)
		if !a.Alone() {
			t.Error("who has left is reckoned with")
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		time.Sleep(time.Hour)
		if err := b.Known(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("whoever does not wait is answered %v", err)
		}
	})
}

// TestOneNameOneFolder: a name is one data folder's while that node lives; a copy of the folder ends the former process.
func TestOneNameOneFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enter := neighbours(t)
		a, _, err := enter("a", "1")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := enter("a", "2"); err == nil || !strings.Contains(err.Error(), "--node") {
			t.Errorf("a second of the name: %v", err)
		}
		again, others, err := enter("a", "1")
		if err != nil || others || again.self.Incarnation <= a.self.Incarnation {
			t.Errorf("another process on a copy: incarnation %d after %d, %v", again.self.Incarnation, a.self.Incarnation, err)
		}
		if err := a.tell(t.Context(), fanfare.Node{}); !errors.Is(err, errSuperseded) {
			t.Errorf("the former one goes on: %v", err)
		}
		if err := a.superseded(t.Context()); !errors.Is(err, errSuperseded) {
			t.Errorf("its process goes on: %v", err)
		}
		if _, others, err := enter("renamed", "1"); err != nil || others {
			t.Errorf("the folder under another name: others %v, %v", others, err)
		}
		time.Sleep(fanfare.NodeTime) // in the bubble of synctest
		other, _, err := enter("a", "2")
		if err != nil || other.self.Incarnation <= again.self.Incarnation {
			t.Errorf("the name of one that is gone: incarnation %d, %v", other.self.Incarnation, err)
		}
	})
}
