package api_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"fanfare"
)

// TestOpensAndClicksAreLearned: as guesses, once each, of people only, and the link leads where its mail said and nowhere else.
func TestOpensAndClicksAreLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		var m fanfare.Message
		if err := w.store.View(t.Context(), func(v fanfare.ControlView) (err error) { m, err = v.Message(fanfare.MessageID(id)); return err }); err != nil {
			t.Fatal(err)
		}
		path := func(link string) string { return strings.TrimPrefix(link, publicURL) }
		person := func(who string) *fanfare.Recipient {
			r, err := w.store.Recipient(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			return &r
		}
		const shop = "https://shop.example/p?id=1&b=北京#x"
		open, click := path(w.links.Open(&m, person("p0060"))), path(w.links.Click(&m, person("p0061"), shop))
		nobody := map[string]string{"Authorization": ""}
		with := func(name, value string) map[string]string { return map[string]string{"Authorization": "", name: value} }
		at := "/v1/messages/" + id
		play(t, w, []step{
			{call: "HEAD " + open, status: 200, header: nobody},
			{call: "GET " + open, status: 200, header: with("Sec-Purpose", "prefetch;prerender")},
			{call: "HEAD " + click, status: 302, header: nobody},
			{call: "GET " + at + "/progress", status: 200, has: `"seen":0,"read":0,"clicked":0`},
			{call: "GET " + open, status: 200, has: "GIF89a", header: nobody},
			{call: "GET " + open, status: 200, has: "GIF89a", header: nobody},
			{call: "GET " + at + "/progress", status: 200, has: `"seen":1,"read":1,"clicked":0`},
			{call: "GET " + at + "/items/p0060", status: 200, has: `"read_source":"inferred","clicked_at":null`},
			{call: "GET " + click, status: 302, header: nobody},
			{call: "GET " + at + "/items/p0061", status: 200, has: `"read_source":"inferred","clicked_at":"20`},
			{call: "GET " + at + "/progress", status: 200, has: `"seen":2,"read":2,"clicked":1`},
			{call: "GET " + path(w.links.Open(&m, person("p0001"))), status: 200, header: nobody}, // who was not sent to
			{call: "GET " + at + "/progress", status: 200, has: `"seen":2,"read":2,"clicked":1`},
			{call: "GET /t/o/" + click[len("/t/c/"):], status: 404, has: `"code":"unknown_token"`, header: nobody}, // of another kind
			{call: "GET /t/c/" + open[len("/t/o/"):], status: 404, header: nobody},
			{call: "GET /u/" + open[len("/t/o/"):], status: 404, header: nobody},
			{call: "GET " + click[:len(click)-9] + "AAAAAAAAA", status: 404, header: nobody},
			{call: "GET /t/c/nonsense", status: 404, header: nobody},
			{call: "POST " + click, status: 405, header: nobody},
			{call: "GET " + path(w.links.Click(&m, person("p0061"), "javascript:alert(1)")), status: 404, header: nobody},
		})
		a := w.do(t, request{method: "GET", path: click, header: nobody})
		if got := a.Header.Get("Location"); got != "https://shop.example/p?id=1&b=%e5%8c%97%e4%ba%ac#x" || a.Header.Get("Referrer-Policy") != "no-referrer" || len(a.Cookies()) > 0 {
			t.Errorf("%v", a.Header)
		}
		if w.links.Click(&m, person("p0061"), "https://x.example/"+strings.Repeat("x", 2000)) != "" {
			t.Error("a link that no browser takes")
		}
		if err := w.store.Close(); err != nil { // what is ours to know is nothing to them
			t.Fatal(err)
		}
		play(t, w, []step{{call: "GET " + open, status: 200, has: "GIF89a", header: nobody}, {call: "GET " + click, status: 302, header: nobody}})
	})
}

// TestWhoUnsubscribesByALinkIsCounted: for the message whose link it was, once, whatever it was of and whatever is said of them since.
func TestWhoUnsubscribesByALinkIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.sentMail(t, "sandbox:", "resend")
		var m fanfare.Message
		if err := w.store.View(t.Context(), func(v fanfare.ControlView) (err error) { m, err = v.Message(fanfare.MessageID(id)); return err }); err != nil {
			t.Fatal(err)
		}
		link := func(who string) string {
			r, err := w.store.Recipient(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimPrefix(w.links.Unsubscribe(&m, &r), publicURL)
		}
		form := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""}
		press := func(at string) step {
			return step{call: "POST " + at, status: 200, header: form, body: "List-Unsubscribe=One-Click", has: "Unsubscribed"}
		}
		counted := func(n string) step {
			return step{call: "GET /v1/messages/" + id + "/progress", status: 200, has: `"unsubscribed":` + n + `,"seen":0,"read":0`}
		}
		play(t, w, []step{
			{call: "GET " + link("p0060"), status: 200, header: form}, counted("0"), // a look changes nothing
			{call: "POST /v1/suppressions", body: `{"recipient":"p0060","channel":"email","reason":"unsubscribed"}`, status: 201}, counted("0"),
			press(link("p0060")), counted("1"), press(link("p0060")), press(link("p0060") + "?all=1"), counted("1"),
			press(link("p0061") + "?all=1"), counted("2"),
			press(link("p0001")), counted("2"), // who was not sent to, as by a test
			{call: "POST /v1/receipts", body: `{"receipts":[{"message":"` + id + `","recipient":"p0062","kind":"unsubscribed"}]}`, status: 200,
				has: `"accepted":0,"known":0,"refused":[{"index":0,"code":"unknown_kind"`}, counted("2"),
			{call: "PUT /v1/recipients/p0060", body: `{"email":"p60@example.com","resubscribe":true}`, status: 200}, counted("2"),
			{call: "POST /v1/receipts", body: `{"receipts":[{"message":"` + id + `","recipient":"p0060","kind":"seen"}]}`, status: 200, has: `"accepted":1`},
			{call: "GET /v1/messages/" + id + "/progress", status: 200, has: `"unsubscribed":2,"seen":1`},
		})
	})
}

// TestTrackingIsAskedFor: of the content, shown and changed with it; each change is another revision.
func TestTrackingIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"}}`, status: 201, not: `"track"`},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"track":{"clicks":true}}}`, status: 200, has: `"track":{"clicks":true} ~ "revision":2`},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"track":{"opens":true}}}`, status: 200, has: `"track":{"opens":true,"clicks":true} ~ "revision":3`},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"track":null}}`, status: 200, has: `"revision":4`, not: `"track"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y","track":{"reads":true}}}`, status: 422, has: `"pointer":"#/content/track/reads"`},
		{call: "PUT /v1/providers/mail", body: `{"channel":"email","url":"smtp://127.0.0.1:2525?starttls=off","from":"a@b.example","track":{"clicks":true}}`, status: 200, has: `"track":{"clicks":true}`},
	})
}

// TestAnInboxMessagesContentIsChanged: its fields were not compared, and a change of the title alone was no other revision.
func TestAnInboxMessagesContentIsChanged(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	for _, field := range []string{`"title":"z"`, `"body":"z"`, `"url":"https://z.example"`, `"expires_at":"2999-01-01T00:00:00Z"`} {
		play(t, w, []step{
			{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true},"content":{"title":"x","body":"y"}}`, status: 201},
			{call: "PATCH /v1/messages/{m}", body: `{"content":{` + field + `}}`, status: 200, has: `"revision":2 ~ ` + field},
		})
	}
}
