package api_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"fanfare"
)

// TestAnItemTellsOfItsUnsubscribe: when somebody unsubscribed by a message's link stands in its item and its export.
func TestAnItemTellsOfItsUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		var m fanfare.Message
		if err := w.store.View(t.Context(), func(v fanfare.ControlView) (err error) { m, err = v.Message(fanfare.MessageID(id)); return err }); err != nil {
			t.Fatal(err)
		}
		r, err := w.store.Recipient(t.Context(), "p0060")
		if err != nil {
			t.Fatal(err)
		}
		_, token, _ := strings.Cut(w.links.Unsubscribe(&m, &r), "/u/")
		play(t, w, []step{
			{call: "POST /u/" + token, body: "List-Unsubscribe=One-Click", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, status: 200},
			{call: "GET /v1/messages/" + id + "/items/p0060", status: 200, has: `"unsubscribed_at":"20`},
			{call: "GET /v1/messages/" + id + "/items/p0061", status: 200, has: `"unsubscribed_at":null`},
			{call: "GET /v1/messages/" + id + "/items/export", status: 200, has: `"unsubscribed_at":"20`},
			{call: "GET /v1/messages/" + id + "/items/export?format=csv", status: 200, has: `archived_at,unsubscribed_at`},
		})
	})
}
