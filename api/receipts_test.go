package api_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/api"
)

// sentMail sends a message by a sandbox to people p0000 to p0119 (those with an address) and waits for its end.
func (w *world) sentMail(t *testing.T, url, uncertain string) (id string) {
	t.Helper()
	w.people(t, 120)
	w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"sandbox:","from":"News <news@example.org>"}`)
	id = text(w.must(t, "POST", "/v1/messages", fmt.Sprintf(`{"channel":"email","audience":{"all":true},"uncertain":%q,"content":{"subject":"x","text":"{{ unsubscribe_url }}"},"start":true}`, uncertain)), "id")
	stop := w.sends(t, url)
	defer stop()
	for range 600 {
		time.Sleep(100 * time.Millisecond) // of the synctest bubble
		if text(w.must(t, "GET", "/v1/messages/"+id, ""), "phase") == "completed" {
			return id
		}
	}
	t.Fatal("it does not end")
	return id
}

func TestReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		tell := func(receipts ...string) string { return `{"receipts":[` + strings.Join(receipts, ",") + `]}` }
		one := func(who, kind, more string) string {
			return fmt.Sprintf(`{"message":%q,"recipient":%q,"kind":%q%s}`, id, who, kind, more)
		}
		at := "/v1/messages/" + id
		play(t, w, []step{
			{call: "POST /v1/receipts", body: tell(one("p0060", "read", "")), status: 200, has: `"accepted":1,"known":0,"refused":[]`},
			{call: "GET " + at + "/progress", status: 200, has: `"seen":1,"read":1,"clicked":0`},
			{call: "POST /v1/receipts", body: tell(one("p0060", "read", ""), one("p0061", "read", ""), one("p0061", "read", "")), status: 200, has: `"accepted":1,"known":2,"refused":[]`},
			{call: "GET " + at + "/progress", status: 200, has: `"seen":2,"read":2`},
			{call: "POST /v1/receipts", body: tell(one("p0062", "clicked", ""), one("p0001", "read", ""), one("ghost", "read", ""), one("p0063", "opened", ""), `{"message":"none","recipient":"p0063","kind":"read"}`,
				one("p0063", "read", `,"at":"yesterday"`), one("p0063", "delivered", `,"at":"1999-01-01T00:00:00Z"`)), status: 200,
				has: `"accepted":2 ~ {"index":1,"code":"not_sent" ~ {"index":2,"code":"unknown_recipient" ~ {"index":3,"code":"unknown_kind" ~ {"index":4,"code":"unknown_message" ~ {"index":5,"code":"invalid_time"`, not: `"index":0 ~ "index":6`},
			{call: "GET " + at + "/progress", status: 200, has: `"delivered":1,"bounced":0,"complained":0,"unsubscribed":0,"seen":3,"read":3,"clicked":1`},
			{call: "GET " + at + "/items/p0062", status: 200, has: `"read_source":"reported" ~ "clicked_at":"20 ~ "seen_at":"20 ~ "archived_at":null`},
			{call: "GET " + at + "/items/p0063", status: 200, has: `"delivered_at":"20 ~ "read_at":null,"read_source":null`, not: `1999`},
			{call: "GET " + at + "/items?read=true", status: 200, has: `"p0060" ~ "p0061" ~ "p0062" ~ "read_at":"20`, not: `"p0063" ~ "p0001"`},
			{call: "GET " + at + "/items?read=false&limit=1000", status: 200, has: `"p0063" ~ "p0064"`, not: `"p0060" ~ "p0062" ~ "p0001"`},
			{call: "GET " + at + "/items?read=maybe", status: 422, has: `"parameter":"read"`},
			{call: "POST /v1/receipts", body: tell(one("p0060", "unread", "")), status: 200, has: `"accepted":1`},
			{call: "GET " + at + "/items/p0060", status: 200, has: `"seen_at":"20 ~ "read_at":null`},
			{call: "GET " + at + "/items?read=true", status: 200, not: `"p0060"`, has: `"p0061"`},
			{call: "GET " + at + "/progress", status: 200, has: `"seen":3,"read":2`},
			{call: "POST /v1/receipts", body: strings.NewReplacer("nul", `\u0000`).Replace(tell(one("p0064nul", "read", ""), `{"message":"nul","recipient":"p0064","kind":"read"}`, one("p0064", "renulad", ""), one("p0064", "seen", ""))), status: 200,
				has: `"accepted":1 ~ {"index":0,"code":"nul" ~ {"index":1,"code":"nul" ~ {"index":2,"code":"unknown_kind"`},
			{call: "POST /v1/receipts", body: tell(), status: 200, has: `"accepted":0`},
			{call: "POST /v1/receipts", body: `{}`, status: 422, has: `"pointer":"#/receipts","code":"required"`},
			{call: "POST /v1/receipts", body: `{"receipts":[{"message":7}]}`, status: 422, has: `"pointer":"#/receipts/0/message"`},
			{call: "POST /v1/receipts", body: tell(strings.Split(strings.Repeat("{} ", 10_001), " ")[:10_001]...), status: 422, has: `"pointer":"#/receipts`},
			{call: "POST /v1/receipts", body: tell(), key: w.makeKey(t, "key_read", "messages:read"), status: 403, has: `"code":"scope"`},
		})
		a := w.do(t, request{method: "GET", path: at + "/items/export?format=csv&read=true"})
		if !strings.Contains(a.body, "read_source,clicked_at") || strings.Count(a.body, ",reported,") != 2 {
			t.Errorf("%s", a.body)
		}
	})
}

// TestADamagedRowRefusesItsOwnReceiptsOnly: those of the same call that another row tells of are taken.
func TestADamagedRowRefusesItsOwnReceiptsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		var num fanfare.MessageNum
		if err := w.store.View(t.Context(), func(v fanfare.ControlView) error {
			m, err := v.Message(fanfare.MessageID(id))
			num = m.Num
			return err
		}); err != nil {
			t.Fatal(err)
		}
		slot := func(who string) fanfare.Slot { return fanfare.SlotOf(who, w.store.Slots()) }
		var told []string
		by := make(map[fanfare.Slot]int)
		for i := 51; i < 100; i++ {
			who := fmt.Sprintf("p%04d", i)
			told = append(told, fmt.Sprintf(`{"message":%q,"recipient":%q,"kind":"bounced"}`, id, who))
			by[slot(who)]++
		}
		if len(by) != 4 {
			t.Fatalf("people in %d slots", len(by))
		}
		w.store.Damage(num, 0, fanfare.PartSend)
		w.store.DamageBatch(fanfare.BatchRef{Message: num, Slot: 1})
		w.store.DamageReceipts(num, 2, fanfare.ReceiptBounced, 0)
		a := w.do(t, request{method: "POST", path: "/v1/receipts", body: `{"receipts":[` + strings.Join(told, ",") + `]}`})
		if a.StatusCode != 200 || !strings.Contains(a.body, fmt.Sprintf(`"accepted":%d,"known":0`, by[3])) || strings.Count(a.body, `"code":"damaged"`) != len(told)-by[3] {
			t.Errorf("%d in slots %v: %d %s", len(told), by, a.StatusCode, a.body)
		}
	})
}

// TestAnExportThatIsCutOffIsLogged: its reader sees that it is not whole, and the log why.
func TestAnExportThatIsCutOffIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := newWorld(t, func(c *api.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		id := w.sentMail(t, "sandbox:", "resend")
		w.must(t, "POST", "/v1/receipts", fmt.Sprintf(`{"receipts":[{"message":%q,"recipient":"p0060","kind":"read"}]}`, id))
		for slot := range w.store.Slots() {
			w.store.DamageReceipts(1, fanfare.Slot(slot), fanfare.ReceiptRead, 0) //nolint:gosec // four
		}
		defer func() {
			if e := recover(); e != http.ErrAbortHandler { //nolint:errorlint // a panic's value, never wrapped
				t.Errorf("it ended with %v", e)
			}
			if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "an answer was cut off") || !strings.Contains(got, "damaged") {
				t.Errorf("logged: %s", got)
			}
		}()
		a := w.do(t, request{method: "GET", path: "/v1/messages/" + id + "/items/export"})
		t.Errorf("%d %s", a.StatusCode, a.body)
	})
}

func TestBouncesSuppressUntilTheAddressChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		tell := func(who, kind string) string {
			return fmt.Sprintf(`{"receipts":[{"message":%q,"recipient":%q,"kind":%q}]}`, id, who, kind)
		}
		count := func() string { return `{"audience":{"recipients":["p0060","p0061","p0062"]},"channel":"email"}` }
		play(t, w, []step{
			{call: "POST /v1/receipts", body: tell("p0060", "bounced"), status: 200, has: `"accepted":1`},
			{call: "POST /v1/receipts", body: tell("p0061", "complained"), status: 200, has: `"accepted":1`},
			{call: "POST /v1/audiences/count", body: count(), status: 200, has: `"planned":1 ~ "bounced":1 ~ "complained":1`},
			{call: "GET /v1/messages/" + id + "/items/p0060", status: 200, has: `"result":"sent" ~ "bounced_at":"20`},
			{call: "GET /v1/messages/" + id + "/progress", status: 200, has: `"bounced":1,"complained":1`},
			{call: "GET /v1/suppressions?recipient=p0060", status: 200, has: `"reason":"bounced"`},
			{call: "PATCH /v1/recipients/p0060", body: `{"attributes":{"city":"Lhasa"}}`, status: 200},
			{call: "POST /v1/audiences/count", body: count(), status: 200, has: `"planned":1`},
			{call: "PATCH /v1/recipients/p0060", body: `{"email":"new@example.com"}`, status: 200},
			{call: "PATCH /v1/recipients/p0061", body: `{"email":"other@example.com"}`, status: 200},
			{call: "POST /v1/audiences/count", body: count(), status: 200, has: `"planned":3`},
			{call: "POST /v1/receipts", body: tell("p0060", "bounced"), status: 200, has: `"accepted":0,"known":1`}, // told again: it was the former address
			{call: "POST /v1/audiences/count", body: count(), status: 200, has: `"planned":3`},
		})
	})
}

func TestAReceiptSettlesWhoWasUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:?unknown=100%25", "hold")
		at := "/v1/messages/" + id
		tell := func(who, kind string) string {
			return fmt.Sprintf(`{"receipts":[{"message":%q,"recipient":%q,"kind":%q}]}`, id, who, kind)
		}
		play(t, w, []step{
			{call: "GET " + at + "/progress", status: 200, has: `"sent":0 ~ "uncertain":78`},
			{call: "POST /v1/receipts", body: tell("p0060", "bounced"), status: 200, has: `"accepted":1`}, // that it came to the mailbox it does not say
			{call: "POST /v1/receipts", body: tell("p0061", "delivered"), status: 200, has: `"accepted":1`},
			{call: "POST /v1/receipts", body: tell("p0062", "read"), status: 200, has: `"accepted":1`},
			{call: "POST /v1/receipts", body: tell("p0063", "clicked"), status: 200, has: `"accepted":1`},
			{call: "POST /v1/receipts", body: tell("p0061", "delivered"), status: 200, has: `"known":1`},
			{call: "GET " + at + "/progress", status: 200, has: `"sent":3 ~ "uncertain":75 ~ "balanced":true`, before: func() { time.Sleep(time.Second) }},
			{call: "GET " + at + "/items?result=sent", status: 200, has: `"p0061" ~ "p0062" ~ "p0063"`, not: `"p0060"`},
			{call: "GET " + at + "/items/p0060", status: 200, has: `"result":"uncertain" ~ "bounced_at":"20`},
			{call: "GET " + at, status: 200, has: `"outcome":"with_uncertain"`},
		})
		var rest []string
		for i := 40; i < 120; i++ {
			if i%50 == 0 { // without an address
				continue
			}
			rest = append(rest, fmt.Sprintf(`{"message":%q,"recipient":"p%04d","kind":"read"}`, id, i))
		}
		play(t, w, []step{
			{call: "POST /v1/receipts", body: `{"receipts":[` + strings.Join(rest, ",") + `]}`, status: 200, has: `"accepted":76,"known":2,"refused":[]`},
			{call: "GET " + at + "/progress", status: 200, has: `"sent":78 ~ "uncertain":0 ~ "balanced":true ~ "read":78`, before: func() { time.Sleep(time.Second) }},
			{call: "GET " + at, status: 200, has: `"outcome":"all_sent"`},
		})
	})
}

func TestNobodyWhoWasNotSentToHasReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:?fail=50%25", "resend")
		failed := w.items(t, "/v1/messages/"+id+"/items?result=failed", 100)
		sent := w.items(t, "/v1/messages/"+id+"/items?result=sent", 100)
		if len(failed) == 0 || len(sent) == 0 {
			t.Fatalf("%d failed, %d sent", len(failed), len(sent))
		}
		for _, these := range []map[string]string{failed, sent} {
			for who, result := range these {
				want := map[string]string{"sent": `"accepted":1`, "failed": `"code":"not_sent"`}[result]
				play(t, w, []step{{call: "POST /v1/receipts", body: fmt.Sprintf(`{"receipts":[{"message":%q,"recipient":%q,"kind":"read"}]}`, id, who), status: 200, has: want}})
			}
		}
		play(t, w, []step{
			{call: "GET /v1/messages/" + id + "/progress", status: 200, has: fmt.Sprintf(`"read":%d`, len(sent))},
			{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true},"content":{}}`, status: 201},
			{call: "POST /v1/receipts", body: `{"receipts":[{"message":"{m}","recipient":"p0060","kind":"read"}]}`, status: 200, has: `"code":"not_sent"`},
		})
	})
}
