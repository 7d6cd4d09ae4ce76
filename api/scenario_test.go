package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/api"
)

// step is one line of a scenario: what is asked, what comes back. {m} in a path or body is the id of the message made last.
type step struct {
	call   string // METHOD PATH
	body   string
	status int
	has    string // parts that must be in the answer, split at " ~ "
	not    string // likewise, that must not
	header map[string]string
	key    string
	before func() // nil: nothing
}

func play(t *testing.T, w *world, steps []step) {
	t.Helper()
	id := ""
	for _, s := range steps {
		if s.before != nil {
			s.before()
		}
		method, path, _ := strings.Cut(strings.ReplaceAll(s.call, "{m}", id), " ")
		a := w.do(t, request{method: method, path: path, body: strings.ReplaceAll(s.body, "{m}", id), header: s.header, key: s.key})
		if a.StatusCode != s.status {
			t.Errorf("%s %s: %d, want %d: %s", s.call, s.body, a.StatusCode, s.status, a.body)
			continue
		}
		if a.StatusCode >= 400 && !strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: a %d of type %q", s.call, a.StatusCode, a.Header.Get("Content-Type"))
		}
		for part := range strings.SplitSeq(s.has, " ~ ") {
			if !strings.Contains(a.body, part) {
				t.Errorf("%s %s: lacks %q: %s", s.call, s.body, part, a.body)
			}
		}
		for part := range strings.SplitSeq(s.not, " ~ ") {
			if part != "" && strings.Contains(a.body, part) {
				t.Errorf("%s %s: holds %q: %s", s.call, s.body, part, a.body)
			}
		}
		if at := a.Header.Get("Location"); strings.HasPrefix(at, "/v1/messages/") {
			id = strings.TrimPrefix(at, "/v1/messages/")
		}
	}
}

func TestRecipients(t *testing.T) {
	play(t, newWorld(t), []step{
		{call: "PUT /v1/recipients/u1", body: `{"email":"a@example.com","attributes":{"city":"上海","n":1.5,"ok":true,"tags":["a","b"]}}`, status: 201, has: `"city":"上海" ~ "tags":["a","b"]`},
		{call: "PUT /v1/recipients/u1", body: `{"email":"a@example.com","phone":"1"}`, status: 200, has: `"attributes":{} ~ "phone":"1"`},
		{call: "PATCH /v1/recipients/u1", body: `{"attributes":{"a":1,"b":2},"locale":"de"}`, status: 200, has: `"a":1 ~ "locale":"de" ~ "phone":"1"`},
		{call: "PATCH /v1/recipients/u1", body: `{"attributes":{"a":null},"phone":null}`, status: 200, has: `"b":2 ~ "phone":""`, not: `"a":1`},
		{call: "PATCH /v1/recipients/u1", body: `{"attributes":null}`, status: 200, has: `"attributes":{} ~ "locale":"de"`},
		{call: "PATCH /v1/recipients/nobody", body: `{"phone":"1"}`, status: 404, has: `"code":"not_found"`},
		{call: "GET /v1/recipients/u1", status: 200, has: `"external_id":"u1"`},
		{call: "GET /v1/recipients/nobody", status: 404, has: `"code":"not_found"`},
		{call: "PUT /v1/recipients/a%2Fb%20%E4%BC%9F", body: `{}`, status: 201, has: `"external_id":"a/b 伟"`},
		{call: "GET /v1/recipients/a%2Fb%20%E4%BC%9F", status: 200, has: `"a/b 伟"`},
		{call: "PUT /v1/recipients/u2", body: `{"email":"no address"}`, status: 201, has: `"email":"no address"`},
		{call: "PUT /v1/recipients/u3", body: `{"time_zone":"Mars/Olympus"}`, status: 422, has: `"pointer":"#/time_zone" ~ Asia/Shanghai`},
		{call: "PUT /v1/recipients/u3", body: `{"attributes":{"x.y":{"a":1}}}`, status: 422, has: `"pointer":"#/attributes/x.y"`},
		{call: "PUT /v1/recipients/u3", body: `{"attributes":{"x":[1,2]}}`, status: 422, has: `"pointer":"#/attributes/x"`},
		{call: "PUT /v1/recipients/u3", body: `{"mail":"a@b.c"}`, status: 422, has: `"pointer":"#/mail","code":"unknown_field"`},
		{call: "PUT /v1/recipients/u3", body: `{"email":7}`, status: 422, has: `"pointer":"#/email","code":"wrong_type"`},
		{call: "PUT /v1/recipients/" + strings.Repeat("x", 256), body: `{}`, status: 422, has: `"pointer":"#/external_id","code":"too_long"`},
		{call: "PUT /v1/recipients/u3", body: `{"locale":"a\u0000b"}`, status: 422, has: `"code":"nul"`},
		{call: "GET /v1/recipients?query=u", status: 200, has: `"u1" ~ "u2" ~ "next_cursor":null`, not: `a/b`},
		{call: "GET /v1/recipients?limit=0", status: 422, has: `"parameter":"limit"`},
		{call: "GET /v1/recipients?limit=1001", status: 422, has: `"parameter":"limit"`},
		{call: "GET /v1/recipients?cursor=wrong", status: 400, has: `"code":"bad_cursor"`},
		{call: "GET /v1/recipients?list=none", status: 404, has: `"code":"not_found"`},
		{call: "GET /v1/recipients?colour=red", status: 422, has: `"parameter":"colour","code":"unknown_parameter"`},
		{call: "POST /v1/recipients/u1", status: 405, has: `"code":"method" ~ PATCH`},
	})
}

func TestLists(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/lists", body: `{"name":"客户"}`, status: 201, has: `"recipients":0`},
		{call: "POST /v1/lists", body: `{"name":"客户"}`, status: 409, has: `"code":"exists"`},
		{call: "POST /v1/lists", body: `{"name":""}`, status: 422, has: `"pointer":"#/name"`},
		{call: "POST /v1/lists", body: `{}`, status: 422, has: `"pointer":"#/name","code":"required"`},
		{call: "POST /v1/lists", status: 400, has: `"code":"no_body"`},
		{call: "GET /v1/lists/vip", status: 200, has: `"recipients":5`},
		{call: "GET /v1/lists/nope", status: 404},
		{call: "POST /v1/lists/vip/members", body: `{"add":["ada","ghost"],"remove":["bob"]}`, status: 200, has: `"added":0,"removed":1,"unknown":["ghost"]`},
		{call: "GET /v1/lists/vip/members", status: 200, has: `"ada" ~ "eve" ~ "next_cursor":null`, not: `"bob"`},
		{call: "GET /v1/lists/vip/members?limit=2", status: 200, has: `"next_cursor":"`},
		{call: "GET /v1/recipients?list=vip&query=ada", status: 200, has: `"ada"`, not: `"eve"`},
		{call: "GET /v1/lists", status: 200, has: `"客户" ~ "vip"`},
		{call: "GET /v1/lists?cursor=x", status: 400, has: `"code":"bad_cursor"`},
		{call: "POST /v1/messages", body: `{"channel":"null","audience":{"list":"vip"},"send_at":"2999-01-01T00:00:00Z"}`, status: 201},
		{call: "DELETE /v1/lists/vip", status: 409, has: `"code":"in_use"`},
		{call: "POST /v1/messages/{m}/cancel", status: 200, has: `"phase":"cancelled"`},
		{call: "DELETE /v1/lists/vip", status: 204},
		{call: "GET /v1/lists/vip", status: 404},
	})
}

func TestImports(t *testing.T) {
	csv := map[string]string{"Content-Type": "text/csv; charset=utf-8"}
	play(t, newWorld(t), []step{
		{call: "POST /v1/imports?list=vip", body: "external_id\nu1\n", header: csv, status: 202, has: `"state":"queued" ~ "list":"vip" ~ "id":"imp_1"`},
		{call: "POST /v1/imports", body: "{}", status: 415, has: `"code":"media_type" ~ text/csv`},
		{call: "POST /v1/imports", body: "x", header: map[string]string{"Content-Type": "text/csv", "Content-Encoding": "br"}, status: 415, has: `"code":"encoding"`},
		{call: "POST /v1/imports", header: csv, status: 422, has: `the file is empty`},
		{call: "POST /v1/imports?mode=both", body: "x", header: csv, status: 422, has: `"parameter":"mode"`},
		{call: "POST /v1/imports?members=replace", body: "x", header: csv, status: 422, has: `"parameter":"members" ~ list=NAME`},
		{call: "POST /v1/imports?map=a", body: "x", header: csv, status: 422, has: `"parameter":"map"`},
		{call: "POST /v1/imports?map=%E7%94%A8%E6%88%B7:external_id", body: "用户\nu1\n", header: csv, status: 202, has: `"imp_2"`},
		{call: "GET /v1/imports", status: 200, has: `"imp_1" ~ "imp_2"`},
		{call: "GET /v1/imports?cursor=imp_9", status: 400},
		{call: "GET /v1/imports/imp_1", status: 200, has: `"rows":2 ~ "waiting":"there is no space left"`},
		{call: "GET /v1/imports/imp_2", status: 200, has: `"waiting":null`},
		{call: "GET /v1/imports/imp_9", status: 404},
		{call: "GET /v1/imports/imp_1/errors", status: 200, has: "line,reason"},
		{call: "GET /v1/imports/imp_2/errors", status: 200, has: "7,wrong"},
		{call: "GET /v1/imports/imp_9/errors", status: 404},
		{call: "POST /v1/imports", body: "id\nu1\n", header: csv, status: 202, has: `"imp_3"`},
		{call: "GET /v1/imports/imp_3/errors", status: 409, has: `"code":"elsewhere" ~ node b`},
		{call: "POST /v1/imports/imp_1/confirm", status: 409, has: `"code":"state" ~ only a held one`},
		{call: "POST /v1/imports/imp_1/cancel", status: 200, has: `"state":"cancelled" ~ "waiting":null`},
		{call: "POST /v1/imports/imp_9/cancel", status: 404},
	})
}

func TestMessagesAreChecked(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	mail := func(more string) string {
		return `{"channel":"email","audience":{"list":"vip"},"content":{"subject":"Hello","text":"Hi {{ city }}"}` + more + `}`
	}
	play(t, w, []step{
		{call: "POST /v1/messages", body: mail(`,"name":"n","tags":["a"],"data":{"x":9007199254740993},"rate":5`), status: 201,
			has: `"phase":"draft" ~ "status":0 ~ "topic":"general" ~ "dedupe":"address" ~ "start_grace":3600 ~ "uncertain":"resend" ~ 9007199254740993 ~ "rate":5 ~ "audience":{"list":"vip"}`},
		{call: "POST /v1/messages", body: mail(`,"topic":null,"provider":null,"trigger":null,"rate":null,"send_at":null,"not_after":null,"metadata":null,"tags":null,"dedupe":null,"start_grace":null`), status: 201, has: `"draft"`},
		{call: "POST /v1/messages", body: `{"channel":"fax","audience":{"all":true}}`, status: 422, has: `"pointer":"#/channel","code":"unknown_value" ~ email`},
		{call: "POST /v1/messages", body: `{}`, status: 422, has: `#/channel ~ #/audience ~ required`},
		{call: "POST /v1/messages", body: `[]`, status: 422, has: `"code":"wrong_type"`},
		{call: "POST /v1/messages", body: `{"channel":`, status: 400, has: `"code":"not_json"`},
		{call: "POST /v1/messages", body: "{\"channel\":\"\xff\"}", status: 400, has: `"code":"not_json" ~ UTF-8`},
		{call: "POST /v1/messages", body: mail(``), header: map[string]string{"Content-Type": "text/plain"}, status: 415, has: `"code":"media_type"`},
		{call: "POST /v1/messages", body: mail(`,"colour":"red"`), status: 422, has: `"pointer":"#/colour","code":"unknown_field"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"every":[{"list":"nope"},{"not":{"recipients":["ghost","ada"]}}]},"content":{"subject":"x","text":"y"}}`, status: 422,
			has: `"pointer":"#/audience/every/0/list","code":"unknown_list" ~ "pointer":"#/audience/every/1/not/recipients/0","code":"unknown_recipient"`, not: "recipients/1"},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"recipients":["ghost"],"unknown":"skip"},"content":{"subject":"x","text":"y"}}`, status: 201},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"every":[]},"content":{"subject":"x","text":"y"}}`, status: 422, has: `"pointer":"#/audience/every"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"segment":"s"},"content":{"subject":"x","text":"y"}}`, status: 422, has: `"pointer":"#/audience/segment","code":"unknown_segment"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"{{ x","text":"y"}}`, status: 422, has: `"pointer":"#/content/subject"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y","locales":{"de":{"subject":"x","html":"{% if %}"}}}}`, status: 422, has: `"pointer":"#/content/locales/de/html"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y","headers":{"X-A.b":"{{"}}}`, status: 422, has: `"pointer":"#/content/headers/X-A.b"`},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"text":"y"}}`, status: 422, has: `"pointer":"#/content/subject"`},
		{call: "POST /v1/messages", body: mail(`,"data":[1]`), status: 422, has: `"pointer":"#/data"`},
		{call: "POST /v1/messages", body: mail(`,"rate":0`), status: 422, has: `"pointer":"#/rate"`},
		{call: "POST /v1/messages", body: mail(`,"priority":"urgent"`), status: 422, has: `"pointer":"#/priority"`},
		{call: "POST /v1/messages", body: mail(`,"provider":"nope"`), status: 422, has: `"pointer":"#/provider" ~ mail`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{}`), status: 422, has: `"pointer":"#/trigger","code":"several"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"event":"x","after":{"message":"m"}}`), status: 422, has: `"pointer":"#/trigger","code":"several"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"event":"x","at":1}`), status: 422, has: `"pointer":"#/trigger/at","code":"unknown_field"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"event":"x\ny"}`), status: 422, has: `"pointer":"#/trigger/event"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"after":{"message":"ghost"}}`), status: 422, has: `"pointer":"#/trigger/after/message","code":"unknown_message"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"after":{"message":"ghost","phase":"sending"}}`), status: 422, has: `"pointer":"#/trigger/after/phase"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"after":{"message":"ghost","delay_seconds":-1}}`), status: 422, has: `"pointer":"#/trigger/after/delay_seconds"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"event":"x"},"start":true`), status: 422, has: `"pointer":"#/trigger","code":"several"`},
		{call: "POST /v1/messages", body: mail(`,"trigger":{"event":"x"},"send_at":"2999-01-01T00:00:00Z"`), status: 422, has: `"pointer":"#/send_at","code":"several"`},
		{call: "POST /v1/messages", body: mail(`,"start":true,"send_at":"2999-01-01T00:00:00Z"`), status: 422, has: `"code":"several"`},
		{call: "POST /v1/messages", body: mail(`,"send_at":"2001-01-01T00:00:00Z"`), status: 422, has: `"pointer":"#/send_at","code":"past"`},
		{call: "POST /v1/messages", body: mail(`,"send_at":"0001-01-01T00:00:00Z"`), status: 422, has: `"pointer":"#/send_at","code":"past"`}, // no time in Go: it would wait for ever
		{call: "POST /v1/messages", body: mail(`,"not_after":"0001-01-01T00:00:00Z"`), status: 422, has: `"pointer":"#/not_after","code":"past"`},
		{call: "POST /v1/messages", body: `{"channel":"inbox","audience":{"all":true},"content":{"title":"x","expires_at":"0001-01-01T00:00:00Z"}}`, status: 422, has: `"pointer":"#/content/expires_at","code":"past"`},
		{call: "POST /v1/messages", body: mail(`,"send_at":"tomorrow"`), status: 422, has: `"pointer":"#/send_at" ~ RFC 3339`},
		{call: "POST /v1/messages", body: mail(`,"not_after":"2001-01-01T00:00:00Z"`), status: 422, has: `"pointer":"#/not_after"`},
		{call: "POST /v1/messages", body: mail(`,"name":"a\nb"`), status: 422, has: `"pointer":"#/name"`},
		{call: "POST /v1/messages", body: mail(`,"essential":true`), key: w.makeKey(t, "plain", "messages:write"), status: 403, has: `"code":"scope" ~ messages:essential`},
		{call: "POST /v1/messages", body: mail(`,"start":true`), key: "fan_plain", status: 403, has: `messages:start`},
		{call: "POST /v1/messages", body: mail(`,"send_at":"2999-01-01T00:00:00Z"`), status: 201, has: `"phase":"scheduled" ~ "provider":"mail"`},
		{call: "POST /v1/messages", body: mail(`,"start":true`), status: 201, has: `"phase":"preparing"`},
		{call: "GET /v1/messages/nope", status: 404, has: `"code":"not_found"`},
		{call: "GET /v1/messages?status=7", status: 422, has: `"parameter":"status"`},
		{call: "GET /v1/messages?cursor=x", status: 400},
		{call: "GET /v1/messages?tag=a&status=0", status: 200, has: `"name":"n" ~ "next_cursor":null`, not: "preparing"},
		{call: "GET /v1/messages?created_after=never", status: 422, has: `"parameter":"created_after"`},
	})
}

// TestAFieldInAnotherCaseIsUnknown: "Start" beside "start":false once sent a message, and a change by "Rate" was answered and not made.
func TestAFieldInAnotherCaseIsUnknown(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	unknown := func(at string) string { return `"pointer":"#/` + at + `","code":"unknown_field"` }
	const at = "POST /v1/messages"
	play(t, w, []step{
		{call: at, body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"},"start":false,"Start":true}`, status: 422, has: unknown("Start") + " ~ it is written start"},
		{call: at, body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"},"\u017ftart":true}`, status: 422, has: unknown("%C5%BFtart")},
		{call: at, body: `{"channel":"null","audience":{"all":true},"Name":"n","TAGS":[]}`, status: 422, has: unknown("Name") + " ~ " + unknown("TAGS")},
		{call: at, body: `{"channel":"null","audience":{"ALL":true}}`, status: 422, has: `"pointer":"#/audience"`},
		{call: at, body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","Subject":"y","text":"y"}}`, status: 422, has: unknown("content/Subject")},
		{call: at, body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y","locales":{"de":{"Text":"z"}}}}`, status: 422, has: unknown("content/locales/de/Text")},
		{call: "GET /v1/messages", status: 200, has: `"items":[]`},
		{call: at, body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y","headers":{"X-A":"1"},"locales":{"DE":{"subject":"z","text":"y"}}},"data":{"Start":1,"Name":{"Data":2}},"metadata":{"Name":3},"start":true}`, status: 201},
		{call: "POST /v1/messages/{m}/pause", status: 200},
		{call: "PATCH /v1/messages/{m}", body: `{"Audience":{"list":"vip"}}`, status: 422, has: unknown("Audience")},
		{call: "PATCH /v1/messages/{m}", body: `{"Rate":77}`, status: 422, has: unknown("Rate")},
		{call: "PATCH /v1/messages/{m}", body: `{"RATE":null}`, status: 422, has: unknown("RATE")},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"HTML":"<p>"}}`, status: 422, has: unknown("content/HTML")},
		{call: "PATCH /v1/messages/{m}", body: `{"rate":77}`, status: 200, has: `"rate":77`},
		{call: "PUT /v1/recipients/u1", body: `{"Email":"a@example.com"}`, status: 422, has: unknown("Email")},
		{call: "PUT /v1/recipients/u1", body: `{"email":"a@example.com","attributes":{"Email":"b","Locale":"c"}}`, status: 201, has: `"Email":"b"`},
		{call: "PUT /v1/providers/other", body: `{"channel":"email","url":"sandbox:","retry":{"First":"5s"}}`, status: 422, has: unknown("retry/First")},
	})
}

func TestAMessageIsChanged(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"list":"vip"},"content":{"subject":"Hello","text":"Hi"},"data":{"a":{"b":1,"c":2}}}`, status: 201},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"subject":"Good day"},"data":{"a":{"b":null}},"audience":{"all":true},"tags":["x"]}`, status: 200,
			has: `"subject":"Good day" ~ "text":"Hi" ~ "revision":2 ~ "data":{"a":{"c":2}} ~ "audience":{"all":true} ~ "tags":["x"]`},
		{call: "PATCH /v1/messages/{m}", body: `{"name":"n"}`, status: 200, has: `"revision":2 ~ "name":"n"`},
		{call: "PATCH /v1/messages/{m}", body: `{"name":"n"}`, header: map[string]string{"If-Match": `"old"`}, status: 412, has: `"code":"revision"`},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"subject":"{{"}}`, status: 422, has: `#/content/subject`},
		{call: "PATCH /v1/messages/{m}", body: `{"start":true}`, status: 422, has: `#/start`},
		{call: "PATCH /v1/messages/{m}", body: `{"send_at":"2999-01-01T00:00:00Z"}`, status: 200, has: `"phase":"scheduled"`},
		{call: "PATCH /v1/messages/{m}", body: `{"send_at":null}`, status: 409, has: `"code":"state"`},
		{call: "POST /v1/messages/{m}/start", body: `{"expect_recipients":7}`, status: 409, has: `"code":"audience_changed" ~ "planned":5`},
		{call: "POST /v1/messages/{m}/start", body: `{"expect_recipients":5}`, status: 200, has: `"phase":"preparing"`},
		{call: "POST /v1/messages/{m}/start", status: 200, has: `"phase":"preparing"`},
		{call: "PATCH /v1/messages/{m}", body: `{"name":"x"}`, status: 409, has: `"code":"state" ~ pause it first`},
		{call: "DELETE /v1/messages/{m}", status: 409, has: `"code":"state"`},
		{call: "POST /v1/messages/{m}/pause", status: 200, has: `"phase":"paused" ~ "pause_reason":"operator" ~ "generation":2`},
		{call: "POST /v1/messages/{m}/pause", body: `{}`, status: 200, has: `"generation":2`},
		{call: "POST /v1/messages/{m}/pause", body: `{"now":true}`, status: 422, has: `"pointer":"#/now","code":"unknown_field"`},
		{call: "POST /v1/messages/{m}/pause", body: `[1]`, status: 422, has: `"code":"wrong_type"`},
		{call: "PATCH /v1/messages/{m}", body: `{"content":{"subject":"Later"},"rate":9,"uncertain":"hold"}`, status: 200, has: `"revision":3 ~ "rate":9 ~ "hold"`},
		{call: "PATCH /v1/messages/{m}", body: `{"audience":{"list":"vip"}}`, status: 409, has: `"pointer":"#/audience"`},
		{call: "POST /v1/messages/{m}/resume", body: `{"scope":"failed"}`, status: 409, has: `"code":"state"`},
		{call: "POST /v1/messages/{m}/resume", body: `{"again":true}`, status: 422, has: `#/again`},
		{call: "POST /v1/messages/{m}/resume", status: 200, has: `"phase":"preparing"`},
		{call: "POST /v1/messages/{m}/rate", body: `{"per_second":800}`, status: 200, has: `"rate":800`},
		{call: "POST /v1/messages/{m}/rate", body: `{"per_second":null}`, status: 200, has: `"rate":null`},
		{call: "POST /v1/messages/{m}/rate", body: `{}`, status: 422, has: `#/per_second`},
		{call: "POST /v1/messages/{m}/rate", body: `{"per_second":-1}`, status: 422, has: `#/per_second`},
		{call: "POST /v1/messages/{m}/cancel", status: 200, has: `"phase":"cancelled" ~ "status":3`},
		{call: "POST /v1/messages/{m}/resume", status: 409, has: `"code":"state"`},
		{call: "POST /v1/messages/{m}/rate", body: `{"per_second":1}`, status: 409},
		{call: "POST /v1/messages/{m}/clone", status: 201, has: `"phase":"draft" ~ "subject":"Later" ~ "revision":1`},
		{call: "POST /v1/messages/{m}/clone", body: `{"name":"Reminder","audience":{"recipients":["ada"]}}`, status: 201, has: `"name":"Reminder" ~ "audience":{"recipients":["ada"]} ~ "subject":"Later"`},
		{call: "POST /v1/messages/{m}/clone", body: `{"audience":{"list":"none"}}`, status: 422, has: `"pointer":"#/audience/list`},
		{call: "POST /v1/messages/{m}/clone", body: `{"content":{}}`, status: 422, has: `"pointer":"#/content","code":"unknown_field"`},
		{call: "DELETE /v1/messages/{m}", status: 204},
		{call: "GET /v1/messages/{m}", status: 404},
		{call: "POST /v1/messages/{m}/clone", status: 404},
	})
	if w.woken == 0 {
		t.Error("nobody was woken")
	}
}

// TestTheDomainOfMessageIDsStaysFromTheFirstStart: until then it is that of the sender; no request tells it, no answer shows it.
func TestTheDomainOfMessageIDsStaysFromTheFirstStart(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	id := ""
	domain := func(want string) {
		t.Helper()
		err := w.store.View(t.Context(), func(v fanfare.ControlView) error {
			m, err := v.Message(fanfare.MessageID(id))
			if m.Content.MessageIDDomain != want {
				t.Errorf("%s: the domain is %q, want %q", m.Phase, m.Content.MessageIDDomain, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	do := func(method, path, body string) map[string]any {
		t.Helper()
		a := w.do(t, request{method: method, path: path, body: body})
		if a.StatusCode >= 300 || strings.Contains(a.body, "domain") {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		var out map[string]any
		if err := json.Unmarshal([]byte(a.body), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	const from, mail = `{"content":{"from":"News <n@%s.example>"}}`, `{"channel":"email","audience":{"list":"vip"},"content":{"subject":"x","text":"y"%s}%s}`
	for _, begin := range []string{"start", "send_at"} {
		id = text(do("POST", "/v1/messages", fmt.Sprintf(mail, "", "")), "id")
		at := "/v1/messages/" + id
		domain("example.org") // the provider's
		do("PATCH", at, fmt.Sprintf(from, "eins"))
		domain("eins.example")
		if begin == "send_at" {
			do("PATCH", at, `{"send_at":"2999-01-01T00:00:00Z"}`)
			do("PATCH", at, fmt.Sprintf(from, "zwei"))
			domain("zwei.example")
			do("POST", at+"/pause", "")
			do("PATCH", at, fmt.Sprintf(from, "eins")) // it never began
			domain("eins.example")
			do("POST", at+"/resume", "")
		}
		do("POST", at+"/start", "")
		domain("eins.example")
		do("POST", at+"/pause", "")
		do("PATCH", at, fmt.Sprintf(from, "drei"))
		domain("eins.example")
		do("PATCH", at, `{"content":{"from":null},"rate":7}`)
		domain("eins.example")
		do("PATCH", at, fmt.Sprintf(from, "drei"))
		id = text(do("POST", at+"/clone", ""), "id")
		domain("drei.example")
	}
	id = text(do("POST", "/v1/messages", fmt.Sprintf(mail, `,"from":"n@vier.example"`, `,"start":true`)), "id")
	domain("vier.example")
	play(t, w, []step{{call: "POST /v1/messages", body: fmt.Sprintf(mail, `,"message_id_domain":"evil.example"`, ""), status: 422, has: `"pointer":"#/content/message_id_domain","code":"unknown_field"`},
		{call: "PATCH /v1/messages/" + id, body: `{"content":{"message_id_domain":"evil.example"}}`, status: 422, has: "unknown_field"}})
}

// TestOnlyWhoMaySendToTheUnsubscribedChangesTheMessage: whatever its phase, and though a time of it has passed; the answer names the scope.
func TestOnlyWhoMaySendToTheUnsubscribedChangesTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(t)
		plain := w.makeKey(t, "plain", "messages:write", "messages:start")
		essential := `{"channel":"email","audience":{"list":"vip"},"essential":true,"content":{"subject":"x","text":"y"}`
		soon := `,"not_after":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"`
		for _, more := range []string{`}`, `,"send_at":"2999-01-01T00:00:00Z"}`, soon + `,"start":true}`} {
			steps := []step{{call: "POST /v1/messages", body: essential + more, status: 201}}
			if strings.HasSuffix(more, `"start":true}`) {
				steps = append(steps, step{call: "POST /v1/messages/{m}/pause", status: 200})
			}
			play(t, w, append(steps, step{call: "PATCH /v1/messages/{m}", body: `{"content":{"subject":"z"}}`, key: plain, status: 403, has: `"code":"scope" ~ messages:essential`},
				step{call: "PATCH /v1/messages/{m}", body: `{"content":{"subject":"z"}}`, status: 200}))
		}
		paused := text(w.must(t, "GET", "/v1/messages?phase=paused", "")["items"].([]any)[0].(map[string]any), "id")
		time.Sleep(2 * time.Hour)
		play(t, w, []step{{call: "PATCH /v1/messages/" + paused, body: `{"content":{"subject":"w"}}`, key: plain, status: 403, has: `"code":"scope" ~ messages:essential`},
			{call: "PATCH /v1/messages/" + paused, body: `{"content":{"subject":"w"}}`, status: 200}})
	})
}

func TestPreviewTestAndCount(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"{{ city }}","text":"{{ unsubscribe_url }} {{ name | default: 'friend' }}","html":"<b>{{ city }}</b>"}}`, status: 201},
		{call: "POST /v1/messages/{m}/preview", body: `{"recipient":"ada"}`, status: 200, has: `"subject":"Oslo" ~ ` + publicURL + `/u/ ~ friend ~ "skipped":null`},
		{call: "POST /v1/messages/{m}/preview", body: `{"recipient":"noaddress"}`, status: 200, has: `"skipped":{"reason":"no_address"`},
		{call: "POST /v1/messages/{m}/preview", body: `{"recipient":"ghost"}`, status: 422, has: `"pointer":"#/recipient","code":"unknown_recipient"`},
		{call: "POST /v1/messages/{m}/preview", body: `{}`, status: 422, has: `#/recipient`},
		{call: "POST /v1/messages/{m}/test", body: `{"recipients":["ada"]}`, status: 200, has: `"to":"ada@example.com","result":"sent"`},
		{call: "POST /v1/messages/{m}/test", body: `{"to":["me@example.com"],"as":"bob"}`, status: 200, has: `"to":"me@example.com"`},
		{call: "POST /v1/messages/{m}/test", body: `{}`, status: 422, has: `#/to`},
		{call: "POST /v1/messages/{m}/test", body: `{"recipients":["ghost"]}`, status: 422, has: `#/recipients/0`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"all":true},"channel":"email"}`, status: 200, has: `"recipients":6,"planned":5 ~ "no_address":1 ~ "scanned":[]`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"all":true}}`, status: 200, has: `"planned":6`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"not":{"list":"vip"}},"channel":null,"topic":null}`, status: 200, has: `"planned":1`},
		{call: "PUT /v1/recipients/bob", body: `{"email":"bob@example.com","attributes":{"city":"Bergen","level":5,"tags":["a"],"born":"2001-02-03T04:05:06Z"}}`, status: 200},
		{call: "POST /v1/audiences/count", body: `{"audience":{"attribute":"city","eq":"Oslo"},"channel":"email"}`, status: 200, has: `"recipients":4,"planned":4 ~ "scanned":[]`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"every":[{"attribute":"level","gt":3},{"attribute":"born","lt":"2002-01-01T00:00:00Z"},{"attribute":"tags","contains":"a"}]}}`, status: 200, has: `"planned":1`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"attribute":"city","exists":false}}`, status: 200, has: `"planned":1`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"attribute":"city","like":"O"}}`, status: 422, has: `"pointer":"#/audience"`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"list":"nope"}}`, status: 422, has: `"pointer":"#/audience/list"`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"list":7}}`, status: 422, has: `"pointer":"#/audience/list","code":"wrong_type"`},
	})
	if len(w.sent) != 2 || w.sent[1].ExternalID != "bob" {
		t.Errorf("tests went to %+v", w.sent)
	}
}

func TestMailNeedsAWayOut(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true},"start":true}`, status: 201, has: `"provider":null`},
		{call: "PUT /v1/providers/second", body: `{"channel":"email","url":"smtps://u:p@mail.example.org","from":"a@b.example"}`, status: 201},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"}}`, status: 201},
		{call: "POST /v1/messages/{m}/start", status: 409, has: `"code":"provider_ambiguous" ~ mail, second`},
		{call: "PATCH /v1/messages/{m}", body: `{"provider":"second"}`, status: 200},
		{call: "POST /v1/messages/{m}/start", status: 200, has: `"provider":"second"`},
		{call: "DELETE /v1/providers/second", status: 409, has: `"code":"in_use"`},
		{call: "POST /v1/messages/{m}/cancel", status: 200},
		{call: "DELETE /v1/providers/second", status: 204},
		{call: "DELETE /v1/providers/mail", status: 204},
		{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"},"start":true}`, status: 409, has: `"code":"provider_missing"`},
	})
}

func TestProviders(t *testing.T) {
	w := newWorld(t)
	play(t, w, []step{
		{call: "PUT /v1/providers/mail", body: `{"channel":"email","url":"smtp://user:s3cret@mail.example.org:587","from":"a@b.example","rate_per_second":5,"timeout":"60s","retry":{"attempts":3,"first":"1s"}}`, status: 201,
			has: `"url":"smtp://user@mail.example.org:587","has_password":true ~ "rate_per_second":5 ~ "attempts":3,"first":"1s","most":"1h0m0s" ~ "timeout":"1m0s"`, not: "s3cret"},
		{call: "PUT /v1/providers/mail", body: `{"channel":"email","url":"smtp://user@mail.example.org:587","from":"a@b.example"}`, status: 200, has: `"has_password":true`},
		{call: "GET /v1/providers/mail", status: 200, not: "s3cret"},
		{call: "GET /v1/providers", status: 200, has: `"name":"mail"`, not: "s3cret"},
		{call: "POST /v1/providers/mail/rate", body: `{"per_second":100}`, status: 200, has: `"rate_per_second":100`},
		{call: "POST /v1/providers/mail/test", status: 200, has: `"ok":true`},
		{call: "PUT /v1/providers/down", body: `{"channel":"email","url":"smtp://down.example.org","from":"a@b.example"}`, status: 201},
		{call: "POST /v1/providers/down/test", status: 200, has: `"ok":false,"step":"connect"`},
		{call: "PUT /v1/providers/bad", body: `{"channel":"email","url":"http://u:hidden@x","from":"a@b.example"}`, status: 422, has: `"pointer":"#/url"`, not: "hidden"},
		{call: "PUT /v1/providers/bad", body: `{"channel":"email","url":"smtp://x"}`, status: 422, has: `"pointer":"#/from"`},
		{call: "PUT /v1/providers/bad", body: `{"channel":"email","url":"smtp://x","from":"a@b.example","timeout":"long"}`, status: 422, has: `"pointer":"#/timeout"`},
		{call: "PUT /v1/providers/bad", body: `{"channel":"email","url":"smtp://x","from":"a@b.example","password":"p"}`, status: 422, has: `"pointer":"#/password"`},
		{call: "PUT /v1/providers/bad", body: `{"channel":"email","url":"smtp://x","from":"a@b.example","retries":{}}`, status: 422, has: `"pointer":"#/retries"`},
		{call: "PUT /v1/providers/fixed", body: `{"channel":"null","url":"null:"}`, status: 409, has: `"code":"provider_fixed"`},
		{call: "PUT /v1/providers/test-email", body: `{"channel":"null","url":"null:"}`, status: 422},
		{call: "DELETE /v1/providers/fixed", status: 409},
		{call: "DELETE /v1/providers/none", status: 404},
		{call: "POST /v1/providers/none/test", status: 404},
	})
	all, err := (*book)(w).All(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatal(err)
	}
	if got := all[len(all)-1].URL; got != "smtp://user:s3cret@mail.example.org:587" {
		t.Errorf("the password is gone: %s", got)
	}
}

func TestKeysAndScopes(t *testing.T) {
	w := newWorld(t)
	reader := w.makeKey(t, "reader", "messages:read")
	minter := w.makeKey(t, "minter", "keys:write", "messages:read")
	play(t, w, []step{
		{call: "GET /v1/me", status: 200, has: `"id":"key_all" ~ "version":"test"`},
		{call: "GET /v1/messages", status: 200, key: reader},
		{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true}}`, status: 403, key: reader, has: `"code":"scope" ~ messages:write`},
		{call: "GET /v1/messages", status: 401, key: "fan_wrong", has: `"code":"wrong_key"`},
		{call: "GET /v1/messages", status: 401, header: map[string]string{"Authorization": ""}, has: `"code":"no_key"`},
		{call: "GET /v1/messages", status: 401, header: map[string]string{"Authorization": "Basic eDp5"}},
		{call: "POST /v1/keys", body: `{"name":"x","scopes":["messages:read"]}`, status: 201, key: minter, has: `"key":"fan_`},
		{call: "POST /v1/keys", body: `{"name":"x","scopes":["messages:write"]}`, status: 403, key: minter},
		{call: "POST /v1/keys", body: `{"name":"x","scopes":["everything"]}`, status: 422, has: `#/scopes/0`},
		{call: "POST /v1/keys", body: `{"name":"x","scopes":[]}`, status: 422, has: `#/scopes`},
		{call: "POST /v1/keys", body: `{"name":"t","scopes":["messages:read"],"test":true}`, status: 201, has: `"key":"fan_test_ ~ "test":true`},
		{call: "GET /v1/keys", status: 200, has: `"name":"x" ~ "name":"t"`, not: `"key":`},
		{call: "DELETE /v1/keys/minter", status: 204},
		{call: "GET /v1/messages", status: 401, key: minter},
		{call: "DELETE /v1/keys/key_all", status: 409, has: `"code":"last_key"`},
		{call: "DELETE /v1/keys/none", status: 404},
		{call: "GET /v1/audit", status: 200, has: `"action":"key.delete","object":"minter" ~ "actor":"key_all"`},
		{call: "GET /v1/audit?limit=1", status: 200, has: `"next_cursor":"`},
		{call: "GET /v1/nodes", status: 200, has: `"items":[]`},
		{call: "GET /v1/queues", status: 200, has: `"items":[]`},
	})
}

// A key is remembered, but never longer than a second after another process revoked it, and not at all while others may write.
func TestAKeyThatAnotherRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone := true
		w := newWorld(t, func(c *api.Config) { c.Alone = func() bool { return alone } })
		revoked := func(id string) string {
			key := w.makeKey(t, id, "messages:read")
			play(t, w, []step{{call: "GET /v1/messages", status: 200, key: key}})
			if err := w.store.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.DeleteKey(id) }); err != nil {
				t.Fatal(err)
			}
			return key
		}
		key := revoked("one")
		play(t, w, []step{{call: "GET /v1/messages", status: 200, key: key}})
		time.Sleep(time.Second) // of the synctest bubble
		play(t, w, []step{{call: "GET /v1/messages", status: 401, key: key}})
		alone = false
		play(t, w, []step{{call: "GET /v1/messages", status: 401, key: revoked("two")}})
	})
}

func TestSuppressions(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/suppressions", body: `{"recipient":"ada","channel":"email","topic":"offers","reason":"unsubscribed"}`, status: 201, has: `"topic":"offers"`},
		{call: "POST /v1/suppressions", body: `{"recipient":"bob","channel":"email"}`, status: 201, has: `"reason":"suppressed"`},
		{call: "POST /v1/suppressions", body: `{"recipient":"ghost","channel":"email"}`, status: 422, has: `#/recipient`},
		{call: "POST /v1/suppressions", body: `{"recipient":"bob","channel":"email","reason":"erased"}`, status: 422, has: `#/reason`},
		{call: "GET /v1/suppressions", status: 200, has: `"recipient":"ada" ~ "recipient":"bob"`},
		{call: "GET /v1/suppressions?recipient=ada", status: 200, has: `"ada"`, not: `"bob"`},
		{call: "GET /v1/suppressions?reason=suppressed", status: 200, has: `"bob"`, not: `"ada"`},
		{call: "GET /v1/suppressions?limit=1", status: 200, has: `"next_cursor":"`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"list":"vip"},"channel":"email","topic":"offers"}`, status: 200, has: `"planned":3 ~ "unsubscribed":1 ~ "suppressed":1`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"list":"vip"},"channel":"email"}`, status: 200, has: `"planned":4`},
		{call: "DELETE /v1/suppressions/nonsense", status: 404},
	})
	found := w.must(t, "GET", "/v1/suppressions?recipient=bob", "")
	items, _ := found["items"].([]any)
	one, _ := items[0].(map[string]any)
	play(t, w, []step{
		{call: "DELETE /v1/suppressions/" + text(one, "id"), status: 204},
		{call: "DELETE /v1/suppressions/" + text(one, "id"), status: 404},
		{call: "GET /v1/suppressions?recipient=bob", status: 200, has: `"items":[]`},
	})
}

func TestATestKeySendsNothingThatLeaves(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	key := text(w.must(t, "POST", "/v1/keys", `{"name":"t","test":true,"scopes":["messages:read","messages:write","messages:start","recipients:read"]}`), "key")
	mail := `{"channel":"email","audience":{"list":"vip"},"content":{"subject":"x","text":"y"}}`
	play(t, w, []step{
		{call: "POST /v1/messages", body: mail, status: 201, has: `"test":false`},
		{call: "POST /v1/messages/{m}/start", key: key, status: 403, has: `"code":"test_key"`},
		{call: "PATCH /v1/messages/{m}", body: `{"send_at":"2999-01-01T00:00:00Z"}`, key: key, status: 403, has: `"code":"test_key"`},
		{call: "POST /v1/messages/{m}/clone", key: key, status: 201, has: `"test":true`},
		{call: "POST /v1/messages/{m}/start", key: key, status: 200, has: `"provider":"test-email"`},
		{call: "POST /v1/messages", body: mail, status: 201},
		{call: "POST /v1/messages/{m}/start", status: 200, has: `"provider":"mail"`},
		{call: "POST /v1/pause_all", key: key, status: 200},
		{call: "POST /v1/messages/{m}/resume", key: key, status: 403},
		{call: "POST /v1/messages/{m}/resume", status: 200, has: `"provider":"mail"`},
	})
}

func TestTheKillSwitch(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	create := step{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true},"send_at":"2999-01-01T00:00:00Z"}`, status: 201}
	play(t, w, []step{create, {call: "POST /v1/messages/{m}/pause", status: 200}})
	play(t, w, []step{
		create, {call: "POST /v1/pause_all", status: 200, has: `"messages":["msg_`},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"paused"`},
		{call: "POST /v1/pause_all", status: 200, has: `"messages":[]`},
		{call: "POST /v1/resume_all", status: 200, has: `msg_`},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"scheduled"`},
		{call: "POST /v1/resume_all", status: 200, has: `"messages":[]`},
		{call: "GET /v1/messages?phase=paused", status: 200, has: `"operator"`}, // a person paused it before: it stays
		create, {call: "POST /v1/pause_all", status: 200, has: `"messages":["msg_`},
		{call: "POST /v1/messages/{m}/resume", status: 200}, {call: "POST /v1/messages/{m}/pause", status: 200}, // a person paused it since
		{call: "POST /v1/resume_all", status: 200, has: `"messages":["msg_`},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"paused"`},
		{call: "POST /v1/messages/{m}/resume", status: 200}, {call: "POST /v1/pause_all", status: 200},
		{call: "POST /v1/messages/{m}/resume", status: 200}, {call: "POST /v1/pause_all", status: 200}, // off twice: the later one counts
		{call: "POST /v1/resume_all", status: 200, has: `"messages":["msg_`},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"scheduled"`},
	})
}

// TestResumeAllForgetsNothing: what one caller may not resume, or what is not ready, is told and waits for the next call.
func TestResumeAllForgetsNothing(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	key := text(w.must(t, "POST", "/v1/keys", `{"name":"t","test":true,"scopes":["messages:write","messages:start"]}`), "key")
	provider := func(host string) step {
		return step{call: "PUT /v1/providers/mail", body: `{"channel":"email","url":"smtp://` + host + `?starttls=off","from":"News <news@example.org>"}`, status: 200}
	}
	create := step{call: "POST /v1/messages", body: `{"channel":"email","audience":{"list":"vip"},"content":{"subject":"x","text":"y"},"start":true}`, status: 201}
	tested := create
	tested.key = key
	play(t, w, []step{
		create, tested, create, {call: "POST /v1/pause_all", status: 200},
		{call: "POST /v1/resume_all", key: key, status: 200, has: `"messages":["msg_ ~ "kept":[{"message":"msg_ ~ "code":"test_key" ~ },{"message":"msg_`},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"paused"`},
		provider("mail.example.com:25"),
		{before: func() { w.PublicURL = "" }, call: "POST /v1/messages/{m}/resume", status: 409, has: `"code":"public_url_missing"`},
		{call: "POST /v1/resume_all", status: 200, has: `"messages":[] ~ "code":"public_url_missing" ~ --public-url`, not: "test_key"},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"paused"`},
		provider("127.0.0.1:2525"),
		{call: "POST /v1/resume_all", status: 200, has: `"messages":["msg_ ~ ","msg_ ~ "kept":[]`},
		{call: "GET /v1/messages/{m}", status: 200, has: `"phase":"preparing"`},
		{call: "POST /v1/resume_all", status: 200, has: `"messages":[],"kept":[]`},
	})
}

// TestTheCountIsTheOneOfTheStart: with essential and dedupe as the message has them, or with their defaults.
func TestTheCountIsTheOneOfTheStart(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	w.must(t, "PUT", "/v1/recipients/again", `{"email":"ada@example.com"}`)
	w.must(t, "POST", "/v1/suppressions", `{"recipient":"bob","channel":"email","topic":"general","reason":"unsubscribed"}`)
	for more, planned := range map[string]string{``: "4", `,"dedupe":null,"essential":false`: "4", `,"dedupe":"address"`: "4", `,"dedupe":"recipient"`: "5", `,"essential":true`: "5",
		`,"essential":true,"dedupe":"recipient"`: "6"} {
		play(t, w, []step{
			{call: "POST /v1/audiences/count", body: `{"audience":{"all":true},"channel":"email"` + more + `}`, status: 200, has: `"recipients":7,"planned":` + planned},
			{call: "POST /v1/messages", body: `{"channel":"email","audience":{"all":true},"content":{"subject":"x","text":"y"}` + more + `}`, status: 201},
			{call: "POST /v1/messages/{m}/start", body: `{"expect_recipients":` + planned + `}`, status: 200, has: `"phase":"preparing"`},
		})
	}
	play(t, w, []step{{call: "POST /v1/audiences/count", body: `{"audience":{"all":true},"channel":"email","dedupe":"both"}`, status: 422, has: `"pointer":"#/dedupe"`}})
}

func TestUnsubscribe(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	m := w.must(t, "POST", "/v1/messages", `{"channel":"email","audience":{"all":true},"topic":"offers","content":{"subject":"x","text":"{{ unsubscribe_url }}"}}`)
	p := w.must(t, "POST", "/v1/messages/"+text(m, "id")+"/preview", `{"recipient":"ada"}`)
	content, _ := p["content"].(map[string]any)
	link := strings.TrimSpace(strings.TrimPrefix(text(content, "text"), publicURL))
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""}
	nobody := map[string]string{"Authorization": ""}
	parts := map[string]string{"Content-Type": "multipart/form-data; boundary=b", "Authorization": ""}
	play(t, w, []step{
		{call: "GET " + link, status: 200, has: `<html lang="en"> ~ <form method="post"> ~ “offers”`, not: "<script", header: nobody},
		{call: "GET " + link, status: 200, has: `<html lang="zh-CN"> ~ 退订 ~ “offers”`, header: map[string]string{"Authorization": "", "Accept-Language": "fr, zh;q=0.5"}},
		{call: "GET " + link + "?all=1", status: 200, has: `Unsubscribe from everything`, not: "offers", header: nobody},
		{call: "GET /v1/suppressions", status: 200, has: `"items":[]`},
		{call: "POST " + link, status: 422, header: form, body: "x=y"},
		{call: "POST " + link, status: 422, header: nobody},
		{call: "GET /v1/suppressions", status: 200, has: `"items":[]`},
		{call: "POST " + link, status: 200, header: form, body: "List-Unsubscribe=One-Click", has: "Unsubscribed"},
		{call: "POST " + link, status: 200, header: form, body: "List-Unsubscribe=One-Click"},
		{call: "GET /v1/suppressions", status: 200, has: `"recipient":"ada","channel":"email","topic":"offers","reason":"unsubscribed"`},
		{call: "POST " + link + "?all=1", status: 200, has: "whatever it is about", header: parts, body: "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n"},
		{call: "GET /v1/suppressions", status: 200, has: `"topic":"","reason":"unsubscribed"`},
		{call: "GET /u/nonsense", status: 404, has: `"code":"unknown_token"`, header: nobody},
		{call: "POST " + link[:len(link)-2] + "AA", status: 404, header: form, body: "List-Unsubscribe=One-Click"},
		{call: "PUT " + link, status: 405, header: nobody},
	})
	a := w.do(t, request{method: "POST", path: link, body: "List-Unsubscribe=One-Click", header: form})
	if len(a.Cookies()) > 0 || a.Header.Get("Location") != "" {
		t.Errorf("a one-click answer with %v", a.Header)
	}
	for _, method := range []string{"GET", "POST"} {
		a := w.do(t, request{method: method, path: "/u/nonsense", header: map[string]string{"Authorization": "", "Accept": "text/html,*/*;q=0.8", "Accept-Language": "zh"}})
		if a.StatusCode != 404 || !strings.Contains(a.body, "链接无效") || strings.Contains(a.body, "unknown_token") || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s by a browser: %d %s", method, a.StatusCode, a.body)
		}
	}
	page := w.do(t, request{method: "GET", path: link, header: nobody})
	_, style, _ := strings.Cut(page.body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the page's policy does not let its own style: %s", policy)
	}
}

// TestAStoreThatDoesNotAnswer: alive, not ready, and every call says when to come again.
func TestAStoreThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	play(t, w, []step{
		{call: "GET /healthz", status: 200},
		{call: "GET /readyz", status: 503, has: `"code":"not_ready"`},
		{call: "GET /v1/messages", status: 503, has: `"code":"stopping"`},
	})
	if a := w.do(t, request{method: "GET", path: "/v1/me"}); a.Header.Get("Retry-After") == "" {
		t.Error("a 503 without Retry-After")
	}
}

func TestPlainRoutes(t *testing.T) {
	play(t, newWorld(t), []step{
		{call: "GET /healthz", status: 200, header: map[string]string{"Authorization": ""}, has: `"ok"`},
		{call: "GET /readyz", status: 200, header: map[string]string{"Authorization": ""}},
		{call: "GET /metrics", status: 200, has: "fanfare_http_request_seconds ~ fanfare_go_goroutines", not: "\ngo_"},
		{call: "GET /metrics", status: 401, header: map[string]string{"Authorization": ""}},
		{call: "GET /openapi.json", status: 200, has: `"openapi": "3.1.0"`},
		{call: "GET /docs", status: 200, has: "/v1/messages ~ audience_changed", not: "<script ~ https://"},
		{call: "GET /v1/nothing", status: 404, has: `"code":"no_route"`},
		{call: "GET /v1//messages", status: 404, has: `"code":"no_route"`},
		{call: "POST /healthz", status: 405, has: `"code":"method" ~ GET`},
	})
}

// TestAProviderInUseIsNotTurnedOutward: the start looked at a provider on this machine; to put another host into it later once took the
// mail out with links that lead nowhere.
func TestAProviderInUseIsNotTurnedOutward(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.PublicURL = "http://localhost:8025" })
	w.fill(t)
	put := func(name, url string, status int, has string) step {
		return step{call: "PUT /v1/providers/" + name, body: `{"channel":"email","url":"` + url + `","from":"News <news@example.org>"}`, status: status, has: has}
	}
	const outward, refused = "smtp://mail.example.com:25?starttls=off", `"code":"public_url_missing" ~ --public-url`
	message := func(more string) step {
		return step{call: "POST /v1/messages", body: `{"channel":"email","provider":"mail","audience":{"list":"vip"},"content":{"subject":"x","text":"y"}` + more + `}`, status: 201}
	}
	cancel := step{call: "POST /v1/messages/{m}/cancel", status: 200, has: `"phase":"cancelled"`}
	play(t, w, []step{
		message(``), put("mail", outward, 200, ""), {call: "POST /v1/messages/{m}/start", status: 409, has: refused}, // a draft is looked at when it starts
		put("mail", "smtp://127.0.0.1:2525?starttls=off", 200, ""), message(`,"start":true`),
		put("mail", outward, 409, refused+" ~ preparing ~ msg_"), put("mail", "smtps://mail.example.com", 409, refused), put("mail", "smtp://localhost:2526?starttls=off", 200, ""), put("other", outward, 201, ""),
		{call: "POST /v1/messages/{m}/pause", status: 200, has: `"phase":"paused"`}, put("mail", outward, 409, refused+" ~ paused"),
		{call: "GET /v1/providers/mail", status: 200, has: "localhost:2526"}, cancel,
		message(`,"send_at":"2999-01-01T00:00:00Z"`), put("mail", outward, 409, refused+" ~ scheduled"),
		{before: func() { w.PublicURL = publicURL }, call: "GET /v1/me", status: 200}, put("mail", outward, 200, ""), cancel,
	})
}

// TestNoAnswerSpeaksGo: what is wrong with a body's types was once told in the decoder's words ("cannot unmarshal array into Go value").
func TestNoAnswerSpeaksGo(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	at := "/v1/messages/" + text(w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"all":true}}`), "id")
	calls := []string{"POST /v1/messages", "PATCH " + at, "POST " + at + "/start", "POST " + at + "/pause", "POST " + at + "/rate", "PUT /v1/recipients/u1", "PATCH /v1/recipients/ada",
		"POST /v1/lists", "POST /v1/lists/vip/members", "PUT /v1/providers/mail", "POST /v1/providers/mail/rate", "POST /v1/keys", "POST /v1/suppressions"}
	bodies := []string{`[]`, `7`, `"x"`, `{"content":[]}`, `{"content":{"headers":["a"]}}`, `{"content":{"locales":{"de":7}}}`, `{"tags":{"a":1}}`, `{"tags":[1]}`, `{"attributes":[1]}`,
		`{"rate":1e999}`, `{"start_grace":1.5}`, `{"start_grace":1e300}`, `{"expect_recipients":1e300}`, `{"expect_recipients":1.5}`, `{"send_at":7}`, `{"send_at":"2999-13-01T00:00:00Z"}`, `{"add":{"a":1}}`, `{"connections":1.5}`,
		`{"retry":[]}`, `{"scopes":{}}`, `{"per_second":"x"}`, `{"per_second":1e999}`, `{"channel":7}`, `{"data":[1]}`, `{"trigger":7}`, `{"audience":[]}`}
	for _, call := range calls {
		method, path, _ := strings.Cut(call, " ")
		for _, body := range bodies {
			a := w.do(t, request{method: method, path: path, body: body})
			if a.StatusCode >= 500 || strings.Contains(a.body, " Go ") || strings.Contains(a.body, "unmarshal") {
				t.Errorf("%s %s: %d %s", call, body, a.StatusCode, a.body)
			}
		}
	}
}

func TestAudiencesOfThePast(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	play(t, w, []step{
		{call: "POST /v1/audiences/count", body: `{"audience":{"any":[{"message":"nope","read":false},{"all":true}]}}`, status: 422, has: `"pointer":"#/audience/any/0/message","code":"unknown_message"`},
		{call: "POST /v1/messages", body: `{"channel":"null","audience":{"all":true}}`, status: 201},
		{call: "POST /v1/audiences/count", body: `{"audience":{"message":"{m}","result":"pending"}}`, status: 200, has: `"recipients":0`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"not":{"message":"{m}","doubted":true}}}`, status: 200, has: `"recipients":6`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"message":"{m}"}}`, status: 422, has: `"pointer":"#/audience"`},
		{call: "PUT /v1/segments/unread", body: `{"audience":{"message":"{m}","read":false}}`, status: 201},
		{call: "DELETE /v1/messages/{m}", status: 409, has: `"code":"in_use" ~ Segment`},
		{call: "DELETE /v1/segments/unread", status: 204},
		{call: "DELETE /v1/messages/{m}", status: 204},
	})
}

func TestSegments(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	many := strings.TrimSuffix(strings.Repeat(`{"list":"vip"},`, 900), ",")
	steps := []step{
		{call: "GET /v1/segments/oslo", status: 404, has: `"code":"not_found"`},
		{call: "PUT /v1/segments/oslo", body: `{"audience":{"attribute":"city", "eq":"Oslo"}}`, status: 201, has: `"name":"oslo","audience":{"attribute":"city","eq":"Oslo"}`},
		{call: "PUT /v1/segments/both%20%2F%20%E4%B8%A4", body: `{"audience":{"every":[{"segment":"oslo"},{"list":"vip"},{"segment":"oslo"}]}}`, status: 201, has: `"name":"both / 两"`},
		{call: "GET /v1/segments/oslo", status: 200, has: `"audience":{"attribute":"city","eq":"Oslo"}`},
		{call: "GET /v1/segments?limit=1", status: 200, has: `"name":"both / 两" ~ "next_cursor":"`, not: `"name":"oslo"`},
		{call: "GET /v1/segments?cursor=x", status: 400},
		{call: "POST /v1/audiences/count", body: `{"audience":{"segment":"both / 两"},"channel":"email"}`, status: 200, has: `"recipients":5,"planned":5`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"not":{"segment":"both / 两"}}}`, status: 200, has: `"planned":1`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"any":[{"segment":"nope"},{"all":true}]}}`, status: 422, has: `"pointer":"#/audience/any/0/segment","code":"unknown_segment"`},
		{call: "PUT /v1/segments/x", body: `{"audience":{"any":[{"segment":"nope"},{"list":"no"}]}}`, status: 422, has: `#/audience/any/0/segment ~ #/audience/any/1/list`},
		{call: "PUT /v1/segments/x", body: `{"audience":{"segment":7}}`, status: 422, has: `"pointer":"#/audience/segment","code":"wrong_type"`},
		{call: "PUT /v1/segments/x", body: `{}`, status: 422, has: `#/audience`},
		{call: "PUT /v1/segments/x%0A", body: `{"audience":{"all":true}}`, status: 422, has: `control characters`},
		{call: "PUT /v1/segments/oslo", body: `{"audience":{"not":{"segment":"both / 两"}}}`, status: 422, has: `"pointer":"#/audience/not/segment","code":"circle","detail":"segments name each other in a circle: \"oslo\" → \"both / 两\" → \"oslo\";`},
		{call: "PUT /v1/segments/self", body: `{"audience":{"all":true}}`, status: 201},
		{call: "PUT /v1/segments/self", body: `{"audience":{"any":[{"segment":"self"},{"all":true}]}}`, status: 422, has: `"pointer":"#/audience/any/0/segment","code":"circle"`},
		{call: "DELETE /v1/segments/oslo", status: 409, has: `"code":"in_use" ~ both / 两`},
		{call: "DELETE /v1/lists/vip", status: 409, has: `"code":"in_use" ~ Segment`},
		{call: "POST /v1/messages", body: `{"channel":"null","audience":{"segment":"self"},"send_at":"2027-01-01T00:00:00Z"}`, status: 201},
		{call: "DELETE /v1/segments/self", status: 409, has: `"code":"in_use" ~ (scheduled)`},
		{call: "PUT /v1/segments/self", body: `{"audience":{"list":"vip"}}`, status: 200}, // it is taken as it is when it is sent
		{call: "POST /v1/messages/{m}/cancel", status: 200},
		{call: "DELETE /v1/segments/self", status: 204},
		{call: "DELETE /v1/segments/self", status: 404},
		{call: "GET /v1/audit", status: 200, has: `segment.put ~ segment.delete`},
	}
	for i := range 13 { // each is allowed; together with all that they name they are not
		part := many
		if i > 0 {
			part = fmt.Sprintf(`{"segment":"big%d"},`, i-1) + many
		}
		want := step{call: fmt.Sprintf("PUT /v1/segments/big%d", i), body: `{"audience":{"any":[` + part + `]}}`, status: 201}
		if i >= 11 {
			want.status, want.has = 422, `"code":"too_many"`
			if i > 11 {
				want.has = `"code":"unknown_segment"`
			}
		}
		steps = append(steps, want)
	}
	play(t, w, steps)
}
