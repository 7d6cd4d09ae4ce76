package api_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// waiter makes a message of the null channel that waits for something.
func (w *world) waiter(t *testing.T, trigger string) string {
	t.Helper()
	return text(w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"list":"vip"},"trigger":`+trigger+`}`), "id")
}

// TestEvents: an event starts every message that waits for it, once for each dedupe key within 48 hours, and is not remembered.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		a, b, other := w.waiter(t, `{"event":"launch"}`), w.waiter(t, `{"event":"launch"}`), w.waiter(t, `{"event":"landing"}`)
		paused, cancelled := w.waiter(t, `{"event":"launch"}`), w.waiter(t, `{"event":"launch"}`)
		play(t, w, []step{
			{call: "GET /v1/messages/" + a, status: 200, has: `"phase":"scheduled" ~ "send_at":null,"trigger":{"event":"launch"} ~ "waiting":{"reason":"trigger","provider":"","detail":"for the event \"launch\""`},
			{call: "GET /v1/messages", status: 200, has: `"reason":"trigger"`},
			{call: "GET /v1/messages/" + a + "/progress", status: 200, has: `"reason":"trigger"`},
			{call: "POST /v1/messages/" + paused + "/pause", status: 200, has: `"phase":"paused" ~ "waiting":null`},
			{call: "POST /v1/messages/" + cancelled + "/cancel", status: 200},
			{call: "POST /v1/events", body: `{}`, status: 422, has: `"pointer":"#/name","code":"required"`},
			{call: "POST /v1/events", body: `{"name":""}`, status: 422, has: `#/name`},
			{call: "POST /v1/events", body: `{"name":"launch","dedupe_key":""}`, status: 422, has: `#/dedupe_key`},
			{call: "POST /v1/events", body: `{"name":"nobody waits for it"}`, status: 200, has: `"messages":[],"duplicate":false`},
			{call: "POST /v1/events", key: w.makeKey(t, "reader", "messages:read", "messages:write"), body: `{"name":"launch"}`, status: 403, has: `"code":"scope"`},
		})
		first := w.must(t, "POST", "/v1/events", `{"name":"launch","dedupe_key":"k1"}`)
		if got := fmt.Sprint(first["messages"]); !strings.Contains(got, a) || !strings.Contains(got, b) || len(strings.Fields(got)) != 2 || first["duplicate"] != false {
			t.Errorf("started %v", first)
		}
		late := w.waiter(t, `{"event":"launch"}`)
		play(t, w, []step{
			{call: "GET /v1/messages/" + a, status: 200, has: `"phase":"preparing" ~ "waiting":null`},
			{call: "GET /v1/messages/" + other, status: 200, has: `"phase":"scheduled"`},
			{call: "GET /v1/messages/" + paused, status: 200, has: `"phase":"paused"`, not: `"send_at":null`},
			{call: "POST /v1/messages/" + paused + "/resume", status: 200, has: `"phase":"preparing"`}, // its event came meanwhile
			{call: "POST /v1/events", body: `{"name":"launch","dedupe_key":"k1"}`, status: 200, has: a + ` ~ "duplicate":true`},
			{call: "GET /v1/messages/" + late, status: 200, has: `"phase":"scheduled"`},
		})
		time.Sleep(47 * time.Hour)
		play(t, w, []step{
			{call: "POST /v1/events", body: `{"name":"launch","dedupe_key":"k1"}`, status: 200, has: `"duplicate":true`},
			{call: "POST /v1/events", body: `{"name":"landing","dedupe_key":"k1"}`, status: 200, has: other + ` ~ "duplicate":false`}, // another event
		})
		time.Sleep(2 * time.Hour)
		play(t, w, []step{
			{call: "POST /v1/events", body: `{"name":"launch","dedupe_key":"k1"}`, status: 200, has: late + ` ~ "duplicate":false`},
			{call: "GET /v1/audit?limit=4", status: 200, has: `"actor":"key_all","action":"message.due","object":"` + late + `","detail":"event launch" ~ "action":"event","object":"launch","detail":"1"`},
		})
	})
}

// TestEventsOfTestKeys: a test key's event starts what test keys made, and uses up nobody's dedupe key.
func TestEventsOfTestKeys(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	test := text(w.must(t, "POST", "/v1/keys", `{"name":"t","scopes":["messages:write","messages:start"],"test":true}`), "key")
	real := w.waiter(t, `{"event":"launch"}`)
	play(t, w, []step{
		{call: "POST /v1/messages", key: test, body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"},"trigger":{"event":"launch"}}`, status: 201, has: `"test":true ~ "trigger"`},
		{call: "POST /v1/events", key: test, body: `{"name":"launch","dedupe_key":"k"}`, status: 200, has: `"messages":["msg_`, not: real},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"preparing"`},
		{call: "GET /v1/messages/" + real, status: 200, has: `"phase":"scheduled"`},
		{call: "POST /v1/events", body: `{"name":"launch","dedupe_key":"k"}`, status: 200, has: real},
	})
}

// TestAfter: a message follows another one when that is completed and the delay is over; its audience is that of then.
func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"sandbox:","from":"News <news@example.org>"}`)
		stop := w.sends(t, "sandbox:")
		defer stop()
		const mail = `{"channel":"email","audience":{"list":"vip"},"content":{"subject":"x","text":"y"}`
		first := text(w.must(t, "POST", "/v1/messages", mail+`}`), "id")
		second := text(w.must(t, "POST", "/v1/messages", mail+`,"trigger":{"after":{"message":"`+first+`","delay_seconds":600}}}`), "id")
		third := text(w.must(t, "POST", "/v1/messages", mail+`,"trigger":{"after":{"message":"`+second+`","phase":"completed"}}}`), "id")
		play(t, w, []step{
			{call: "GET /v1/messages/" + second, status: 200, has: `"phase":"scheduled" ~ "trigger":{"after":{"message":"` + first + `","phase":"completed","delay_seconds":600}} ~ "detail":"until message ` + first + `, which is draft, is completed"`},
			{call: "PATCH /v1/messages/" + first, body: `{"trigger":{"after":{"message":"` + third + `"}}}`, status: 422, has: `"pointer":"#/trigger/after/message","code":"circle"`},
			{call: "PATCH /v1/messages/" + second, body: `{"trigger":{"after":{"message":"` + second + `"}}}`, status: 422, has: `"code":"circle"`},
			{call: "POST /v1/messages/" + first + "/start", status: 200},
		})
		w.done(t, "/v1/messages/"+first)
		w.must(t, "POST", "/v1/lists/vip/members", `{"remove":["bob","cyd"]}`) // before it is frozen
		play(t, w, []step{
			{call: "GET /v1/messages/" + second, status: 200, has: `"phase":"scheduled" ~ "waiting":null`, not: `"send_at":null`},
			{call: "PATCH /v1/messages/" + second, body: `{"name":"reminder"}`, status: 200, has: `"name":"reminder"`, not: `"send_at":null`},
		})
		time.Sleep(590 * time.Second)
		play(t, w, []step{{call: "GET /v1/messages/" + second, status: 200, has: `"phase":"scheduled"`}})
		counts, _ := w.done(t, "/v1/messages/"+second) // waits a minute at most
		if counts["sent"] != 3 {
			t.Errorf("counts %v", counts)
		}
		w.done(t, "/v1/messages/"+third)
		now := text(w.must(t, "POST", "/v1/messages", mail+`,"trigger":{"after":{"message":"`+first+`"}}}`), "id") // completed long ago: at once, and not late
		w.done(t, "/v1/messages/"+now)
		play(t, w, []step{{call: "GET /v1/audit?limit=30", status: 200, has: `"actor":"planner","action":"message.trigger","object":"` + second + `","detail":"message ` + first + ` is completed; due ~ "actor":"planner","action":"message.due","object":"` + third + `"`}})
	})
}

// TestAfterWhatNeverComes: whoever waits for a message that was cancelled or is gone says so, and can be given something else.
func TestAfterWhatNeverComes(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	first := text(w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"list":"vip"}}`), "id")
	second := w.waiter(t, `{"after":{"message":"`+first+`"}}`)
	at := "/v1/messages/" + second
	play(t, w, []step{
		{call: "POST /v1/messages/" + first + "/cancel", status: 200},
		{call: "GET " + at, status: 200, has: `which is cancelled and will not be completed: start it, change its trigger, or cancel it`},
		{call: "PATCH " + at, body: `{"trigger":null}`, status: 409, has: `"code":"state"`},
		{call: "PATCH " + at, body: `{"trigger":{"event":"e"}}`, status: 200, has: `"trigger":{"event":"e"} ~ for the event`},
		{call: "PATCH " + at, body: `{"trigger":null,"send_at":"2999-01-01T00:00:00Z"}`, status: 200, has: `"trigger":null ~ "waiting":null`},
		{call: "PATCH " + at, body: `{"trigger":{"event":"e"}}`, status: 422, has: `"code":"several"`},
		{call: "PATCH " + at, body: `{"trigger":{"event":"e"},"send_at":null}`, status: 200, has: `"send_at":null,"trigger":{"event":"e"}`},
		{call: "POST " + at + "/clone", status: 201, has: `"phase":"draft" ~ "trigger":null`},
		{call: "PATCH /v1/messages/{m}", body: `{"trigger":{"event":"e"}}`, status: 200, has: `"phase":"scheduled"`},
		{call: "PATCH /v1/messages/{m}", body: `{"trigger":{"after":{"message":"` + second + `"}}}`, status: 200},
		{call: "DELETE " + at, status: 409, has: `"code":"in_use" ~ waits until this one is completed`},
		{call: "GET " + at, status: 200, has: `"phase":"scheduled"`},
		{call: "POST /v1/messages/{m}/start", status: 200, has: `"phase":"preparing"`},
		{call: "DELETE " + at, status: 204},
	})
}
