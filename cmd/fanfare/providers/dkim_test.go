package providers

import (
	"strings"
	"testing"

	"fanfare"
	"fanfare/stores/memory"
)

// TestDKIMKeysAreSealed: what lies in the database is no key, and All gives it back.
func TestDKIMKeysAreSealed(t *testing.T) {
	store := memory.Open(memory.Config{Slots: 1})
	b, err := New(store, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	mail := fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: "smtp://h", DKIM: fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: "the private key"}}
	plain := fanfare.Provider{Name: "plain", Channel: fanfare.ChannelEmail, URL: "smtp://h"}
	if err := store.Update(t.Context(), func(tx fanfare.ControlTx) error {
		if err := b.Put(tx, plain); err != nil {
			return err
		}
		return b.Put(tx, mail)
	}); err != nil {
		t.Fatal(err)
	}
	if err := store.View(t.Context(), func(v fanfare.ControlView) error {
		kept, err := v.Provider("mail")
		if strings.Contains(kept.DKIM.Key, "private") || kept.DKIM.Selector != "s1" {
			t.Errorf("kept as %+v", kept.DKIM)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	all, err := b.All(t.Context())
	if err != nil || len(all) != 2 || all[0].DKIM != mail.DKIM || all[1].DKIM != (fanfare.DKIM{}) {
		t.Errorf("%+v, %v", all, err)
	}
}
