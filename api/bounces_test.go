package api_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"fanfare"
)

// returned is a report of delivery about an item; headers are of the mail that it returns.
func returned(action, status, to, headers string) string {
	return "To: " + to + "\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n" +
		"Final-Recipient: rfc822; ada@example.com\r\nAction: " + action + "\r\nStatus: " + status + "\r\nDiagnostic-Code: smtp; 550 no \x00such user\r\n\r\n--x\r\nContent-Type: text/rfc822-headers\r\n\r\n" + headers + "\r\n--x--\r\n"
}

// TestBounces: what a mail server sends back becomes a receipt of the item whose token it names, and nothing else does.
func TestBounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		var m fanfare.Message
		if err := w.store.View(t.Context(), func(v fanfare.ControlView) (err error) { m, err = v.Message(fanfare.MessageID(id)); return err }); err != nil {
			t.Fatal(err)
		}
		who := func(name string) *fanfare.Recipient {
			r, err := w.store.Recipient(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			return &r
		}
		back := func(name string) string { return "b+" + w.links.Return(&m, who(name)) + "@bounce.example.org" }
		forged := []byte(back("p0066"))
		forged[10] ^= 1
		const mail = "message/rfc822"
		at := "/v1/messages/" + id
		post := func(body string, status int, has string) step {
			return step{call: "POST /v1/bounces", body: body, header: map[string]string{"Content-Type": mail}, status: status, has: has}
		}
		play(t, w, []step{
			post(returned("failed", "5.1.1", back("p0060"), ""), 200, `"accepted":true,"kind":"bounced","new":true,"message":"`+id+`","recipient":"p0060","status":"5.1.1","text":"smtp; 550 no `),
			post(returned("failed", "5.1.1", strings.ToUpper(back("p0060")), ""), 200, `"kind":"bounced","new":false`),
			post(returned("delayed", "4.4.1", back("p0061"), ""), 200, `"accepted":true,"kind":null,"new":false ~ "recipient":"p0061"`),
			post(returned("delivered", "2.0.0", back("p0062"), ""), 200, `"kind":"delivered","new":true`),
			post(returned("failed", "5.0.0", "x@example.org", "Return-Path: <"+back("p0063")+">\r\n"), 200, `"kind":"bounced" ~ "recipient":"p0063"`),
			{call: "POST /v1/bounces?to=" + back("p0064"), body: returned("failed", "5.0.0", "", ""), header: map[string]string{"Content-Type": mail}, status: 200, has: `"recipient":"p0064"`},
			post(returned("failed", "5.0.0", "", "List-Unsubscribe: <mailto:a@b>,\r\n <"+w.links.Unsubscribe(&m, who("p0065"))+">\r\n"), 200, `"recipient":"p0065"`),
			post("To: "+back("p0067")+"\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n--x--", 200, `"kind":"complained","new":true`),
			post(returned("failed", "5.0.0", string(forged), "Message-ID: <KEY@example.org>\r\nX-Fanfare-Message: "+id+"\r\n"), 404, `"code":"unknown_item"`),
			post(returned("failed", "5.0.0", back("p0001"), ""), 422, `"code":"not_sent"`),
			post("Subject: away\r\n\r\nBack on Monday.", 422, `"code":"not_a_report" ~ multipart/report`),
			post(strings.Repeat("x", 8<<20+1), 413, `"code":"too_large"`),
			{call: "POST /v1/bounces", body: `{}`, status: 415, has: `message/rfc822`},
			{call: "POST /v1/bounces", body: "x", header: map[string]string{"Content-Type": mail}, key: w.makeKey(t, "reader", "messages:read"), status: 403, has: "receipts:write"},
			{call: "GET " + at + "/progress", status: 200, has: `"delivered":1,"bounced":4,"complained":1`},
			{call: "GET " + at + "/items/p0060", status: 200, has: `"bounced_at":"20`},
			{call: "GET /v1/suppressions?limit=100", status: 200, has: fmt.Sprintf(`%q ~ %q`, "p0060", "p0067"), not: `"p0061" ~ "p0062"`},
		})
	})
}
