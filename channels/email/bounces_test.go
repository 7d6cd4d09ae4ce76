package email

import (
	"testing"

	"fanfare"
	"fanfare/channels/channeltest"
)

// TestTheSenderNamesTheItem: over SMTP each mail has an envelope sender of its own where the provider asks for it; a test, which is no item, has not.
func TestTheSenderNamesTheItem(t *testing.T) {
	g := newGoSMTP(t, channeltest.Trouble{At: -1})
	url := "smtp://user:pass%2Fw%C3%B6rd@" + g.serve(nil, false, false) + "?starttls=off"
	ch := New(Config{Links: marked{}})
	m := testMessage(fanfare.Content{Subject: "s", Text: "t", From: news})
	compiled, err := ch.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	var items []fanfare.Outgoing
	for _, id := range []string{"u1", "u2", "test"} {
		it := outgoing(m, &fanfare.Recipient{ExternalID: id, Email: id + "@example.com"})
		it.Test = id == "test"
		if it.Rendered, err = compiled.Render(nil, it); err != nil {
			t.Fatal(err)
		}
		items = append(items, *it)
	}
	conn, err := ch.Dial(t.Context(), fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: url, From: news, Bounces: "b+KEY@bounce.bücher.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(t.Context(), items, func(int) bool { return true }, func(i int, a fanfare.SendAnswer) {
		if a.Kind != fanfare.SendOK {
			t.Errorf("%d: %+v", i, a)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	got := map[string]string{}
	for _, a := range g.all() {
		got[a.Address] = a.Sender
	}
	for who, want := range map[string]string{"u1@example.com": "b+of-m1-u1@bounce.xn--bcher-kva.example", "u2@example.com": "b+of-m1-u2@bounce.xn--bcher-kva.example", "test@example.com": "news@example.org"} {
		if got[who] != want {
			t.Errorf("mail to %s comes from %q, not %q", who, got[who], want)
		}
	}
}
