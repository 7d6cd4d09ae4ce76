package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOnePerson: every message to somebody, newest first, page by page, with reason and receipts; the export holds all of it, and nobody else.
func TestOnePerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.sentMail(t, "sandbox:", "resend")
		w.must(t, "POST", "/v1/lists", `{"name":"vip"}`)
		w.must(t, "POST", "/v1/lists/vip/members", `{"add":["p0060","p0001"]}`)
		w.must(t, "POST", "/v1/lists", `{"name":"others"}`)
		w.must(t, "POST", "/v1/suppressions", `{"recipient":"p0060","channel":"inbox"}`)
		stop := w.sends(t, "sandbox:?fail=100%25")
		var later []string
		for i := range 3 {
			id := text(w.must(t, "POST", "/v1/messages", fmt.Sprintf(`{"name":"later %d","channel":"email","audience":{"list":"%s"},"content":{"subject":"x","text":"{{ unsubscribe_url }}"},"start":true}`,
				i, []string{"vip", "others", "vip"}[i])), "id")
			for range 600 {
				time.Sleep(100 * time.Millisecond) // of the synctest bubble
				if text(w.must(t, "GET", "/v1/messages/"+id, ""), "phase") == "completed" {
					break
				}
			}
			later = append(later, id)
		}
		stop()
		w.must(t, "POST", "/v1/messages", `{"name":"draft","channel":"email","audience":{"list":"vip"},"content":{"subject":"x","text":"{{ unsubscribe_url }}"}}`)
		w.must(t, "POST", "/v1/receipts", fmt.Sprintf(`{"receipts":[{"message":%q,"recipient":"p0060","kind":"read"}]}`, first))
		const at = "/v1/recipients/p0060/"
		play(t, w, []step{
			{call: "GET " + at + "messages", status: 200, not: "draft ~ " + later[1],
				has: `{"items":[{"message":"` + later[2] + `","name":"later 2","channel":"email","topic":"general","started_at":"20 ~ "recipient":"p0060","result":"failed","reason":"permanent" ~ "message":"` + first + `" ~ "read_source":"reported" ~ "next_cursor":null`},
			{call: "GET /v1/recipients/p0001/messages", status: 200, has: `"result":"skipped","reason":"no_address" ~ ` + later[0] + " ~ " + first},
			{call: "GET /v1/recipients/nobody/messages", status: 404, has: `"code":"not_found"`},
			{call: "GET " + at + "messages?cursor=none", status: 400, has: `"code":"bad_cursor"`},
			{call: "GET /v1/recipients/nobody/export", status: 404, has: `"code":"not_found"`},
			{call: "GET " + at + "export", status: 403, key: w.makeKey(t, "key_reads", "recipients:read"), has: `"code":"scope"`},
			{call: "GET /v1/audit", status: 200, not: "recipient.export ~ p0060"},
		})
		var pages []string
		for cursor := ""; ; {
			a := w.must(t, "GET", at+"messages?limit=1&cursor="+cursor, "")
			items, _ := a["items"].([]any)
			for _, it := range items {
				m, _ := it.(map[string]any)
				pages = append(pages, text(m, "message"))
			}
			if a["next_cursor"] == nil {
				break
			}
			cursor = text(a, "next_cursor")
		}
		if got, want := strings.Join(pages, " "), strings.Join([]string{later[2], later[0], first}, " "); got != want {
			t.Errorf("one a page: %s, want %s", got, want)
		}
		a := w.do(t, request{method: "GET", path: at + "export"})
		if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%d %s %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
		}
		var kinds []string
		for line := range strings.Lines(a.body) {
			var one map[string]any
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			kinds = append(kinds, text(one, "type"))
		}
		if got := strings.Join(kinds, " "); got != "recipient list suppression item item item" {
			t.Errorf("lines: %s", got)
		}
		for _, part := range []string{`"type":"recipient","external_id":"p0060","email":"p60@example.com"`, `{"type":"list","name":"vip"}`, `"channel":"inbox","topic":"","reason":"suppressed"`, `"type":"item","message":"` + first, `"read_at":"20`, `"text":"`} {
			if !strings.Contains(a.body, part) {
				t.Errorf("the export lacks %s:\n%s", part, a.body)
			}
		}
		play(t, w, []step{
			{call: "GET /v1/audit", status: 200, has: `"action":"recipient.export"`, not: "p0060"},
			{call: "DELETE " + strings.TrimSuffix(at, "/"), status: 202},
			{call: "GET " + at + "messages", status: 404},
			{call: "GET " + at + "export", status: 404},
			{call: "GET /v1/messages/" + later[0] + "/items", status: 200, has: `"recipient":null,"result":"failed","reason":"permanent" ~ "text":""`},
			{call: "GET /v1/messages/" + first + "/items?read=true", status: 200, has: `"recipient":null,"result":"sent" ~ "read_at":"20`},
		})
	})
}
