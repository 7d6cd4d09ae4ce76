package api_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// done waits until a message is completed, and gives its counts.
func (w *world) done(t *testing.T, at string) (counts map[string]int, outcome string) {
	t.Helper()
	for n := 0; text(w.must(t, "GET", at, ""), "phase") != "completed"; n++ {
		if n > 600 {
			t.Fatalf("it does not end: %v", w.must(t, "GET", at, ""))
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(time.Second) // counts are kept for a moment
	p := w.must(t, "GET", at+"/progress", "")
	if p["balanced"] != true {
		t.Errorf("no balance: %v", p)
	}
	counts = make(map[string]int)
	k, _ := p["counts"].(map[string]any)
	for name, n := range k {
		f, _ := n.(float64)
		counts[name] = int(f)
	}
	return counts, text(p, "outcome")
}

// TestResumeByScopeAndSettle sends by a sandbox that refuses and leaves without an answer, then settles some by name, sends again to the
// other uncertain, and to the failed, who are refused again.
func TestResumeByScopeAndSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sandbox = "sandbox:?fail=10%25&unknown=10%25"
		w := newWorld(t)
		w.people(t, 400)
		w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"sandbox:","from":"News <news@example.org>"}`)
		id := text(w.must(t, "POST", "/v1/messages", `{"channel":"email","audience":{"all":true},"uncertain":"hold","content":{"subject":"x","text":"y"},"start":true}`), "id")
		at := "/v1/messages/" + id
		stop := w.sends(t, sandbox)
		was, outcome := w.done(t, at)
		if was["failed"] < 5 || was["uncertain"] < 5 || outcome != "with_uncertain" {
			t.Fatalf("%v, %s", was, outcome)
		}
		failed := w.items(t, at+"/items?result=failed", 50)
		uncertain := slices.Sorted(maps.Keys(w.items(t, at+"/items?result=uncertain", 50)))
		known := slices.Sorted(maps.Keys(w.items(t, at+"/items?result=sent", 50)))[0]
		play(t, w, []step{
			{call: "POST " + at + "/settle", body: `{"as":"skipped"}`, status: 422, has: `#/as`},
			{call: "POST " + at + "/settle", body: `{}`, status: 422, has: `"pointer":"#/as","code":"required"`},
			{call: "POST " + at + "/settle", body: `{"as":"sent","recipients":["` + uncertain[0] + `","ghost","` + known + `","` + uncertain[1] + `"]}`, status: 200,
				has: `"settled":2,"busy":0,"left":["ghost","` + known + `"],"outcome":"with_uncertain"`},
			{call: "GET " + at + "/progress", status: 200, has: `"sent":` + strconv.Itoa(was["sent"]+2) + ` ~ "uncertain":` + strconv.Itoa(was["uncertain"]-2)}, // at once
			{call: "POST " + at + "/settle", body: `{"as":"failed","recipients":["` + uncertain[0] + `"]}`, status: 200, has: `"settled":0 ~ "left":["` + uncertain[0] + `"]`},
			{call: "POST " + at + "/settle", body: `{"as":"failed","recipients":["` + uncertain[2] + `"]}`, status: 200, has: `"settled":1 ~ "left":[]`},
			{call: "GET " + at + "/items/" + uncertain[0], status: 200, has: `"result":"sent" ~ "doubted":1`},
			{call: "GET " + at + "/items/" + uncertain[2], status: 200, has: `"result":"failed","reason":"settled"`},
			{call: "POST " + at + "/resume", body: `{"scope":"failed","reasons":["no_answer"]}`, status: 422, has: `"pointer":"#/reasons/0","code":"unknown_value"`},
			{call: "POST " + at + "/resume", body: `{"scope":"uncertain","reasons":["permanent"]}`, status: 422, has: `#/reasons`},
			{call: "POST " + at + "/resume", body: `{"scope":"failed","again":true}`, status: 422, has: `#/again`},
			{call: "POST " + at + "/resume", status: 409, has: "Resume the failed or the uncertain by scope"},
			{call: "POST " + at + "/resume", body: `{"scope":"uncertain","again":false}`, status: 200, has: `"phase":"sending","pause_reason":null,"outcome":null,"generation":2 ~ "finished_at":null`},
		})
		now, outcome := w.done(t, at)
		if now["uncertain"] != 0 || now["sent"] != was["sent"]+was["uncertain"]-1 || now["failed"] != was["failed"]+1 || now["doubted"] != was["doubted"] || outcome != "with_failures" {
			t.Errorf("%v after %v, %s", now, was, outcome)
		}
		play(t, w, []step{
			{call: "GET " + at + "/items/" + uncertain[3], status: 200, has: `"result":"sent" ~ "attempts":2,"doubted":1`},
			{call: "POST " + at + "/settle", body: `{"as":"failed"}`, status: 200, has: `"settled":0 ~ "outcome":"with_failures"`},
		})

		stop() // nobody plans: the scope stays to be added
		play(t, w, []step{
			{call: "POST " + at + "/resume", body: `{"scope":"failed","reasons":null}`, status: 200, has: `"generation":3`},
			{call: "POST " + at + "/resume", body: `{"scope":"failed"}`, status: 200, has: `"generation":3`}, // the call came twice
			{call: "POST " + at + "/resume", body: `{"scope":"uncertain"}`, status: 409, has: `"code":"state"`},
			{call: "POST " + at + "/pause", status: 202, has: `"generation":4`},
		})
		stop = w.sends(t, sandbox)
		time.Sleep(5 * time.Second)
		play(t, w, []step{
			{call: "GET " + at, status: 200, has: `"phase":"paused"`},
			{call: "POST " + at + "/resume", body: `{"scope":"uncertain","again":true}`, status: 200, has: `"generation":5`},
		})
		again, _ := w.done(t, at)
		if again["sent"] != now["sent"]+1 || again["failed"] != now["failed"]-1 { // who was settled as failed is taken now
			t.Errorf("%v after %v", again, now)
		}
		for who := range failed {
			play(t, w, []step{{call: "GET " + at + "/items/" + who, status: 200, has: `"result":"failed","reason":"permanent","code":"550 5.1.1" ~ "attempts":2`}})
			break
		}
		a := w.do(t, request{method: "GET", path: "/v1/audit?limit=50&object=" + id})
		if strings.Contains(a.body, "provider.put") {
			t.Errorf("of others: %s", a.body)
		}
		for _, want := range []string{`"actor":"key_all","action":"message.settle","object":"` + id + `","detail":"sent: 2"`, `"actor":"key_all","action":"message.resume_scope","object":"` + id + `","detail":"uncertain"`,
			`"action":"message.resume_scope","object":"` + id + `","detail":"uncertain again"`, `"actor":"planner","action":"message.reopened"`, `"actor":"planner","action":"message.drained"`,
			`"actor":"planner","action":"message.all_done","object":"` + id + `","detail":"sending → completed"`} {
			if !strings.Contains(a.body, want) {
				t.Errorf("the audit trail lacks %s: %s", want, a.body)
			}
		}
		stop()
	})
}

// TestSettleBeforeAnythingIsSent: there is nothing to settle, and no scope in a message that was never sent.
func TestSettleBeforeAnythingIsSent(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true}}`, status: 201},
		{call: "POST /v1/messages/{m}/settle", body: `{"as":"sent"}`, status: 409, has: `"code":"state"`},
		{call: "POST /v1/messages/{m}/resume", body: `{"scope":"failed"}`, status: 409, has: `"code":"state" ~ Start it first`},
		{call: "POST /v1/messages/{m}/start", status: 200},
		{call: "POST /v1/messages/{m}/settle", body: `{"as":"sent"}`, status: 409, has: `preparing`},
		{call: "POST /v1/messages/ghost/settle", body: `{"as":"sent"}`, status: 404},
	})
}
