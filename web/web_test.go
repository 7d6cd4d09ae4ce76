package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanfare"

	"github.com/google/go-cmp/cmp"
)

const hostile = `<script>alert(1)</script>"><img src=x onerror=alert(2)>`

// world is a fake API with a message in most states.
func world() *fakeAPI {
	f := newFake()
	f.put("m1", "Spring news", "sending", 1, 1_000_000, 600_000, 12_345, 1_000, 55, 256, 386_344, 12)
	f.progress["m1"]["rate_per_second"], f.progress["m1"]["eta_seconds"] = 4210.6, 92.2
	f.progress["m1"]["batches"] = map[string]any{"total": 2000, "done": 1201}
	f.failures = []map[string]any{{"reason": "permanent", "code": "5.1.1", "sample": "550 " + hostile, "count": 12_345}}
	f.items = []map[string]any{
		{"recipient": "u1" + hostile, "result": "sent", "reason": nil, "code": nil, "text": nil, "attempts": 2, "doubted": 1, "revision": 1, "sent_at": "2026-11-24T08:02:03Z", "read_at": "2026-11-24T08:05:00Z"},
		{"recipient": nil, "result": "failed", "reason": "permanent", "code": "5.1.1", "text": "550 " + hostile, "attempts": 1, "doubted": 0, "sent_at": nil},
	}
	f.put("bad", hostile, "paused", 2, 100, 40, 0, 0, 0, 0, 59)
	f.messages["bad"]["pause_reason"] = "restored"
	f.progress["bad"]["balanced"] = false
	f.put("lying", "Lying", "paused", 2, 100, 40, 0, 0, 0, 0, 59) // says balanced, does not add up
	f.put("draft", "A draft", "draft", 0)
	f.put("later", "Later", "scheduled", 0)
	f.messages["later"]["send_at"] = "2026-12-24T18:00:00Z"
	f.put("waits", "Waits", "scheduled", 0)
	f.progress["waits"]["waiting"] = map[string]any{"reason": "trigger", "provider": "", "detail": `for the event "launch"`, "since": "2026-11-24T08:00:00Z", "next_try_at": nil}
	f.put("prep", "Preparing", "preparing", 0)
	f.put("done", "Done", "completed", 3, 10, 7, 2, 0, 1, 0, 0)
	f.messages["done"]["outcome"], f.messages["done"]["finished_at"] = "with_uncertain", "2026-11-24T09:00:00Z"
	f.put("going", "Going", "cancelling", 2, 10, 5, 0, 0, 0, 5, 0)
	f.put("down", "Down", "sending", 1, 10, 0, 0, 0, 0, 0, 10)
	f.progress["down"]["waiting"] = map[string]any{"reason": "provider_down", "provider": "mail", "detail": "dial tcp: refused " + hostile, "since": "2026-11-24T08:00:00Z", "next_try_at": "2026-11-24T08:00:15Z"}
	f.put("app", "In the app", "completed", 3, 1000, 900, 0, 100)
	f.messages["app"]["channel"], f.messages["app"]["outcome"], f.messages["app"]["content"] = "inbox", "all_sent", map[string]any{"title": hostile, "body": "b"}
	f.count("app", map[string]int{"seen": 450, "read": 301, "clicked": 7})
	f.put("opened", "Opened mail", "completed", 3, 10, 10)
	f.count("opened", map[string]int{"seen": 2, "read": 2})
	now := 1300
	f.refuse["GET /v1/messages/busy"] = problem{Status: 503, Detail: "the journal cannot be written", RetryAfter: "7"}
	f.refuse["POST /v1/messages/going/pause"] = problem{Status: 409, Code: "state", Detail: "cancelling: cannot be paused " + hostile}
	f.refuse["POST /v1/messages/later/start"] = problem{Status: 409, Code: "audience_changed", Detail: "now 1300", Planned: &now}
	f.refuse["GET /v1/messages/secret"] = problem{Status: 403, Detail: "needs messages:read"}
	f.refuse["GET /v1/messages/broken"] = problem{Status: 500}
	return f
}

func visit(h http.Handler, r *http.Request) (int, http.Header, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Header(), w.Body.String()
}

// ask makes a request of a visitor who has signed in. Form values come as k=v after the path.
func ask(method, path string, form ...string) *http.Request {
	r := httptest.NewRequest(method, "http://fanfare.test"+path, strings.NewReader(strings.Join(form, "&")))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://fanfare.test")
	}
	r.AddCookie(&http.Cookie{Name: keyCookie, Value: goodKey})
	return r
}

func TestPages(t *testing.T) {
	for _, c := range []struct {
		name, method, path string
		form               []string
		status             int
		has, hasNot        []string
	}{
		{name: "list", method: "GET", path: "/", status: 200,
			has:    []string{`<a href="/messages/m1">Spring news</a>`, `data-phase="sending">Sending`, "600,000 / 999,000", "A draft", `datetime="2026-11-24T08:00:00Z"`, `href="/?cursor=c%2B2"`, "Sign out", "read 33.4 %", `data-every="5000"`, "with uncertain", "&lt;script&gt;"},
			hasNot: []string{"fanfare import"}},
		{name: "next page of a list", method: "GET", path: "/?cursor=c%2B2&status=2", status: 200, has: []string{`href="/?status=2">« First page`, `aria-current="page">Paused`}, hasNot: []string{"Older »", "Spring news"}},
		{name: "no such messages", method: "GET", path: "/?status=7", status: 200, has: []string{"There is no such message now."}},
		{name: "sending", method: "GET", path: "/messages/m1", status: 200,
			has: []string{"<b data-count=\"audience\">1,000,000</b>", ">=</span>", ">+</span>", ">600,000<", ">12,345<", ">386,344<", "✓ Balanced", `data-verdict="unbalanced" role="alert" hidden`,
				"4,211", "1 min 33 s", ">1,201<", "61.3", `action="/messages/m1/pause"`, `href="/messages/m1/cancel"`, `href="/messages/m1/items?doubted=true"`, "5.1.1", "refused for good", "&lt;script&gt;",
				`data-stream="/messages/m1/stream"`, `<noscript><meta http-equiv="refresh"`, `{&#34;list&#34;:&#34;customers&#34;}`, "Hello {{ first_name }}"},
			hasNot: []string{"/resume", "/start"}},
		{name: "paused, unbalanced and hostile", method: "GET", path: "/messages/bad", status: 200,
			has:    []string{"⚠ This does not balance", `data-verdict="balanced" hidden`, "/messages/bad/resume", "/messages/bad/cancel", "copied, restored or rolled back", "Nobody was ever in doubt"},
			hasNot: []string{"/messages/bad/pause", `role="alert" hidden>⚠`}},
		{name: "says balanced, does not add up", method: "GET", path: "/messages/lying", status: 200, has: []string{`data-verdict="balanced" hidden`}, hasNot: []string{`role="alert" hidden>⚠`}},
		{name: "draft", method: "GET", path: "/messages/draft", status: 200,
			has:    []string{"Start: send to 1,234", `name="expect" value="1234"`, "no address: 9", "unsubscribed: 7", "/messages/draft/cancel", "/messages/draft/stream"},
			hasNot: []string{"<noscript>", "/messages/draft/pause", "✓"}},
		{name: "scheduled", method: "GET", path: "/messages/later", status: 200, has: []string{"Start: send to 1,234", "/messages/later/pause", "2026-12-24 18:00:00 UTC"}, hasNot: []string{"/messages/later/resume"}},
		{name: "preparing", method: "GET", path: "/messages/prep", status: 200, has: []string{"not frozen yet", "/messages/prep/pause"}, hasNot: []string{"/messages/prep/start"}},
		{name: "completed", method: "GET", path: "/messages/done", status: 200,
			has: []string{"100.0", `data-stream=""`, "with uncertain", `href="/messages/done/resend"`}, hasNot: []string{"/messages/done/cancel", "/messages/done/resume", "<noscript>"}},
		{name: "inbox", method: "GET", path: "/messages/app", status: 200,
			has: []string{`<b data-live="read-share">33.4</b>`, `<b data-live="read">301</b> <span>read<`, `<b data-live="looked">149</b> <span>seen, not read<`, `<b data-live="not_seen">450</b> <span>not seen<`,
				`data-every="2000"`, `data-stream=""`, `<noscript><meta http-equiv="refresh" content="15">`, `href="/messages/app/items?read=false"`, `<dd data-count="clicked">7</dd>`, "&lt;script&gt;", "✓ Balanced"},
			hasNot: []string{"a guess", `<dd data-count="read">`}},
		{name: "inbox in Chinese", method: "GET", path: "/messages/app?lang=zh", status: 200, has: []string{"已读与未读", "已看到未读", "未看到", "站内信"}},
		{name: "opened mail", method: "GET", path: "/messages/opened", status: 200, has: []string{`<b data-live="read-share">20.0</b>`, "an open is a guess"}, hasNot: []string{"<noscript>"}},
		{name: "mail that nobody opened", method: "GET", path: "/messages/done", status: 200, hasNot: []string{"read-share"}},
		{name: "cancelling", method: "GET", path: "/messages/going", status: 200, hasNot: []string{"/messages/going/cancel", "/messages/going/pause", "/messages/going/resume"}},
		{name: "waiting", method: "GET", path: "/messages/down", status: 200, has: []string{"the provider does not answer", "dial tcp: refused &lt;script&gt;", "Next try:", "08:00:15"}, hasNot: []string{`data-live="waiting" hidden`}},
		{name: "not waiting", method: "GET", path: "/messages/m1", status: 200, has: []string{`data-live="waiting" hidden`}},
		{name: "cancel asks", method: "GET", path: "/messages/m1/cancel", status: 200, has: []string{"Cancel “Spring news”?", "386,344 who remain", `action="/messages/m1/cancel"`}},
		{name: "resend asks", method: "GET", path: "/messages/done/resend", status: 200, has: []string{"Send “Done” again to the failed?", "The 2 who failed", `action="/messages/done/resend"`}, hasNot: []string{"Cancel “"}},
		{name: "waits for a trigger", method: "GET", path: "/messages/waits", status: 200, has: []string{"for the event &#34;launch&#34;", "Start: send to"}},
		{name: "cancel asks of a draft", method: "GET", path: "/messages/draft/cancel", status: 200, has: []string{"Nobody has got it"}},
		{name: "items", method: "GET", path: "/messages/m1/items?doubted=true", status: 200,
			has: []string{"u1&lt;script&gt;", "<em>erased</em>", "550 &lt;script&gt;", `href="/messages/m1/items?cursor=c&#43;2%26x&amp;doubted=true"`, `aria-current="page">Doubted`}},
		{name: "items that are not read", method: "GET", path: "/messages/m1/items?read=false", status: 200, has: []string{`read=false" aria-current="page">Not read`, `data-to="minute">2026-11-24 08:05 UTC`}, hasNot: []string{`aria-current="page">All`}},
		{name: "next items", method: "GET", path: "/messages/m1/items?result=sent&cursor=c", status: 200, has: []string{`href="/messages/m1/items?result=sent">« First page`}, hasNot: []string{"Next page"}},
		{name: "no such message", method: "GET", path: "/messages/none", status: 404, has: []string{"Not found"}},
		{name: "no such page", method: "GET", path: "/nothing/here", status: 404, has: []string{"Not found"}},
		{name: "no such action", method: "GET", path: "/messages/m1/explode", status: 404, has: []string{"Not found"}},
		{name: "no such action posted", method: "POST", path: "/messages/m1/explode", status: 404},
		{name: "no such asset", method: "GET", path: "/assets/none.js", status: 404},
		{name: "busy", method: "GET", path: "/messages/busy", status: 503, has: []string{"Try again in 7 s", "the journal cannot be written"}},
		{name: "forbidden", method: "GET", path: "/messages/secret", status: 403, has: []string{"not allowed", "needs messages:read"}},
		{name: "broken", method: "GET", path: "/messages/broken", status: 500, has: []string{"The server made a mistake"}},
		{name: "refused action", method: "POST", path: "/messages/going/pause", status: 409, has: []string{"not possible in this state", "cannot be paused &lt;script&gt;", `data-phase="cancelling"`}, hasNot: []string{"<noscript>"}},
		{name: "audience changed", method: "POST", path: "/messages/later/start", form: []string{"expect=1234", "once=k1"}, status: 409, has: []string{"nothing was sent", "Start: send to 1,300", `name="expect" value="1300"`}, hasNot: []string{"1,234"}},
		{name: "start without a count", method: "POST", path: "/messages/draft/start", status: 400},
		{name: "start with a hostile count", method: "POST", path: "/messages/draft/start", form: []string{"expect=-1"}, status: 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := New(Config{API: world(), Logger: quiet(t)})
			status, header, body := visit(h, ask(c.method, c.path, c.form...))
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			for _, want := range c.has {
				if !strings.Contains(body, want) {
					t.Errorf("lacks %q", want)
				}
			}
			for _, no := range append(c.hasNot, "<script>alert", "<img", "onerror=alert(2)>", "style=", "ZgotmplZ", "<no value>") {
				if strings.Contains(body, no) {
					t.Errorf("has %q", no)
				}
			}
			if t.Failed() {
				t.Log(body)
			}
			safe(t, header, body)
		})
	}
}

// safe checks what every page must have and must not have.
func safe(t *testing.T, header http.Header, body string) {
	t.Helper()
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8", "X-Frame-Options": "DENY"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	csp := header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy lacks %s: %s", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("the policy is unsafe: %s", csp)
	}
	if scripts := regexp.MustCompile(`(?i)<script[^>]*>`).FindAllString(body, -1); len(scripts) != 1 || !strings.Contains(scripts[0], `src="/assets/app.js?`) {
		t.Errorf("scripts: %q", scripts)
	}
	if inline := regexp.MustCompile(`(?i)<[^>]*\s(on\w+|style)=`).FindString(body); inline != "" {
		t.Errorf("inline: %s", inline)
	}
}

func TestEmptyListTeaches(t *testing.T) {
	h := New(Config{API: newFake(), Logger: quiet(t)})
	for language, want := range map[string]string{"en": "No message yet", "zh-CN": "还没有消息"} {
		r := ask("GET", "/")
		r.Header.Set("Accept-Language", language)
		if _, _, body := visit(h, r); !strings.Contains(body, want) || !strings.Contains(body, "fanfare import people.csv --list customers") || !strings.Contains(body, "fanfare send ") {
			t.Errorf("%s: %s", language, body)
		}
	}
}

// TestTheAudienceIsCountedAsTheMessageHasIt: the number that a start expects is that of this channel, topic, essential and dedupe.
func TestTheAudienceIsCountedAsTheMessageHasIt(t *testing.T) {
	f := world()
	f.messages["draft"]["essential"], f.messages["draft"]["dedupe"] = true, "recipient"
	visit(New(Config{API: f, Logger: quiet(t)}), ask("GET", "/messages/draft"))
	want := `POST /v1/audiences/count {"audience":{"list":"customers"},"channel":"email","topic":"general","essential":true,"dedupe":"recipient"}`
	if told := f.told(); !slices.Contains(told, want) {
		t.Errorf("want %s in %q", want, told)
	}
}

func TestActionsCallTheAPI(t *testing.T) {
	for _, c := range []struct {
		path string
		form []string
		want string
		once []string
	}{
		{"/messages/m1/pause", nil, "POST /v1/messages/m1/pause", nil},
		{"/messages/m1/cancel", nil, "POST /v1/messages/m1/cancel", nil},
		{"/messages/bad/resume", nil, "POST /v1/messages/bad/resume", nil},
		{"/messages/done/resend", nil, `POST /v1/messages/done/resume {"scope":"failed"}`, nil},
		{"/messages/draft/start", []string{"expect=1234", "once=k1"}, `POST /v1/messages/draft/start {"expect_recipients":1234}`, []string{"k1"}},
	} {
		f := world()
		status, header, _ := visit(New(Config{API: f, Logger: quiet(t)}), ask("POST", c.path, c.form...))
		if to := header.Get("Location"); status != http.StatusSeeOther || to != c.path[:strings.LastIndex(c.path, "/")] {
			t.Errorf("%s: %d to %q", c.path, status, to)
		}
		if diff := cmp.Diff([]string{c.want}, f.told()); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", c.path, diff)
		}
		if diff := cmp.Diff(c.once, f.once); diff != "" {
			t.Errorf("%s: Idempotency-Key (-want +got):\n%s", c.path, diff)
		}
	}
}

// TestButtonsFollowTheStateMachine holds the table of DESIGN §2 against the buttons: each is shown where it moves the message, and nowhere else.
func TestButtonsFollowTheStateMachine(t *testing.T) {
	want := map[fanfare.Phase][]string{
		fanfare.PhaseDraft:     {"start", "cancel"},
		fanfare.PhaseScheduled: {"start", "pause", "cancel"},
		fanfare.PhasePreparing: {"pause", "cancel"},
		fanfare.PhaseSending:   {"pause", "cancel"},
		fanfare.PhasePausing:   {"resume", "cancel"},
		fanfare.PhasePaused:    {"resume", "cancel"},
		fanfare.PhaseCompleted: {"resend"}, fanfare.PhaseCancelling: nil, fanfare.PhaseCancelled: nil, fanfare.PhaseExpired: nil,
	}
	for _, phase := range fanfare.Phases() {
		var got []string
		for _, a := range possible(phase) {
			got = append(got, a.Name)
		}
		if diff := cmp.Diff(want[phase], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase, diff)
		}
	}
}

func TestAnotherOriginIsRefused(t *testing.T) {
	for name, set := range map[string]func(http.Header){
		"fetch metadata": func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") },
		"same site only": func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		"origin":         func(h http.Header) { h.Set("Origin", "https://evil.example") },
		"null origin":    func(h http.Header) { h.Set("Origin", "null") },
	} {
		for _, path := range []string{"/messages/m1/cancel", "/signin", "/signout"} {
			f := world()
			r := ask("POST", path, "key="+goodKey)
			set(r.Header)
			status, header, body := visit(New(Config{API: f, Logger: quiet(t)}), r)
			if status != http.StatusForbidden || !strings.Contains(body, "another site") || header.Get("Set-Cookie") != "" {
				t.Errorf("%s %s: %d %s", name, path, status, body)
			}
			if calls := f.told(); calls != nil {
				t.Errorf("%s %s: called %v", name, path, calls)
			}
		}
	}
}

func TestSignIn(t *testing.T) {
	for _, c := range []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		status int
		to     string
		secure bool
		says   string
	}{
		{name: "good", form: url.Values{"key": {" " + goodKey + "\n"}}, status: 303, to: "/"},
		{name: "back to where they were", form: url.Values{"key": {goodKey}, "next": {"/messages/m1"}}, status: 303, to: "/messages/m1"},
		{name: "never to another site", form: url.Values{"key": {goodKey}, "next": {"//evil.example/messages/"}}, status: 303, to: "/"},
		{name: "nor by a backslash", form: url.Values{"key": {goodKey}, "next": {`/\evil.example`}}, status: 303, to: "/"},
		{name: "tls", form: url.Values{"key": {goodKey}}, change: func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, status: 303, to: "/", secure: true},
		{name: "tls before a proxy", form: url.Values{"key": {goodKey}}, change: func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https, http") }, status: 303, to: "/", secure: true},
		{name: "wrong", form: url.Values{"key": {"fan_live_other"}}, status: 401, says: "not known"},
		{name: "wrong, in Chinese", form: url.Values{"key": {"fan_live_other"}}, change: func(r *http.Request) { r.Header.Set("Accept-Language", "zh") }, status: 401, says: "没有这个密钥"},
		{name: "none", form: url.Values{}, status: 401, says: "not known"},
		{name: "not even a key", form: url.Values{"key": {"a\r\nSet-Cookie: b=c; 密钥"}}, status: 401, says: "not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask("POST", "/signin", c.form.Encode())
			r.Header.Del("Cookie")
			if c.change != nil {
				c.change(r)
			}
			w := httptest.NewRecorder()
			New(Config{API: world(), Logger: quiet(t)}).ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("Location") != c.to || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d to %q: %s", w.Code, w.Header().Get("Location"), w.Body)
			}
			cookies := w.Result().Cookies()
			if c.status != 303 {
				if len(cookies) > 0 || strings.Contains(w.Body.String(), "fan_live_other") {
					t.Errorf("a refused key is kept or shown: %v", cookies)
				}
				return
			}
			if len(cookies) != 1 {
				t.Fatalf("cookies %v", cookies)
			}
			k := cookies[0]
			if k.Name != keyCookie || k.Value != goodKey || !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Secure != c.secure || k.MaxAge != 0 {
				t.Errorf("cookie %s", k)
			}
		})
	}
}

func TestSignedOut(t *testing.T) {
	for _, path := range []string{"/", "/messages/m1", "/messages/m1/items", "/messages/m1/cancel", "/messages/m1/stream"} {
		f := world()
		r := ask("GET", path)
		r.Header.Del("Cookie")
		status, header, body := visit(New(Config{API: f, Logger: quiet(t)}), r)
		if status != http.StatusUnauthorized || path != "/messages/m1/stream" && !strings.Contains(body, `<label for="key">API key</label>`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if len(f.told()) > 0 || header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: calls %v", path, f.told())
		}
	}
	r := ask("POST", "/messages/m1/pause")
	r.Header.Del("Cookie")
	f := world()
	if status, _, body := visit(New(Config{API: f, Logger: quiet(t)}), r); status != 401 || !strings.Contains(body, `name="next" value="/messages/m1"`) || len(f.told()) > 0 {
		t.Errorf("pause: %d %s", status, body)
	}
}

func TestSignOutAndRevokedKeyForgetTheCookie(t *testing.T) {
	h := New(Config{API: world(), Logger: quiet(t)})
	revoked := httptest.NewRequest("GET", "/messages/m1", nil)
	revoked.AddCookie(&http.Cookie{Name: keyCookie, Value: "fan_live_revoked"})
	for _, r := range []*http.Request{ask("POST", "/signout"), revoked} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if c := w.Result().Cookies(); len(c) != 1 || c[0].Name != keyCookie || c[0].MaxAge >= 0 || c[0].Value != "" {
			t.Errorf("%s: %d, cookies %v", r.URL, w.Code, c)
		}
	}
}

func TestLanguage(t *testing.T) {
	h := New(Config{API: world(), Logger: quiet(t)})
	for _, c := range []struct{ name, accept, cookie, query, want string }{
		{"nothing said", "", "", "", "en"}, {"English", "en-GB,en;q=0.9,zh;q=0.1", "", "", "en"}, {"Chinese", "zh-CN,zh;q=0.9,en;q=0.8", "", "", "zh-CN"},
		{"Taiwan", "zh-TW", "", "", "zh-CN"}, {"French first, Chinese next", "fr, zh;q=0.5", "", "", "zh-CN"}, {"neither", "fr", "", "", "en"}, {"nonsense", ";;q=x", "", "", "en"},
		{"chosen before", "en", "zh", "", "zh-CN"}, {"chosen now", "en", "zh", "?lang=en", "en"}, {"no such choice", "zh", "", "?lang=%3Cb%3E", "zh-CN"},
	} {
		r := ask("GET", "/messages/m1"+c.query)
		r.Header.Set("Accept-Language", c.accept)
		if c.cookie != "" {
			r.AddCookie(&http.Cookie{Name: languageCookie, Value: c.cookie})
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), `<html lang="`+c.want+`">`) {
			t.Errorf("%s: not in %s", c.name, c.want)
		}
		if kept := len(w.Result().Cookies()) == 1; kept != (c.query == "?lang=en") {
			t.Errorf("%s: cookies %v", c.name, w.Result().Cookies())
		}
	}
}

func TestChinesePage(t *testing.T) {
	h := New(Config{API: world(), Logger: quiet(t)})
	r := ask("GET", "/messages/m1")
	r.Header.Set("Accept-Language", "zh-CN")
	_, _, body := visit(h, r)
	for _, want := range []string{"受众", "已发送", "失败", "已跳过", "结果未知", "发送中", "剩余", "曾存疑", "✓ 已对平", "暂停", "1 分 33 秒", ">English</a>"} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if visible := regexp.MustCompile(`>[^<]*\b(sent|failed|remaining|Pause|Balance)\b[^<]*<`).FindString(body); visible != "" {
		t.Errorf("English words on the Chinese page: %s", visible)
	}
}

// TestWords: both languages have the same words, every word of the API that the root knows, and the glossary's Chinese.
func TestWords(t *testing.T) {
	words := readWords()
	for key, text := range words[english] {
		other, ok := words[chinese][key]
		if !ok || text == "" || other == "" {
			t.Errorf("%s: %q, %q", key, text, other)
		}
		holes := regexp.MustCompile(`\{\w+\}`)
		a, b := holes.FindAllString(text, -1), holes.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s: %q and %q have other holes", key, text, other)
		}
	}
	if len(words[english]) != len(words[chinese]) || len(words) != 2 {
		t.Errorf("%d English words, %d Chinese", len(words[english]), len(words[chinese]))
	}
	var keys []string
	for _, p := range fanfare.Phases() {
		keys = append(keys, "phase."+string(p))
	}
	for _, r := range fanfare.Results() {
		keys = append(keys, "result."+string(r))
	}
	for _, a := range actions() {
		keys = append(keys, "action."+a.Name)
		if a.Confirm {
			keys = append(keys, "confirm."+a.Name, "confirm."+a.Name+"_yes")
		}
	}
	used := regexp.MustCompile(`\{\{-?\s*t "([\w.]+)"|\(t "([\w.]+)"|say\(r, "([\w.]+)"|text\(\w[\w.]*, "([\w.]+)"|words\['([\w.]+)'\]|say\('([\w.]+)'|(?:else|if \S+)\}\}\{\{t "([\w.]+)"`)
	for _, name := range []string{"templates/layout.html", "templates/list.html", "templates/message.html", "templates/confirm.html", "templates/items.html", "templates/signin.html", "templates/problem.html", "assets/app.js"} {
		text, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(text), -1) {
			if key := strings.Join(m[1:], ""); !strings.HasSuffix(key, ".") {
				keys = append(keys, key)
			}
		}
	}
	for _, key := range keys {
		if words[english][key] == "" {
			t.Errorf("no word for %s", key)
		}
	}
	for key, want := range map[string]string{"list.title": "消息", "field.recipient": "接收人", "count.audience": "受众", "items.title": "投递项", "result.pending": "待发送", "result.in_flight": "发送中", "result.sent": "已发送",
		"result.failed": "失败", "result.skipped": "已跳过", "result.uncertain": "结果未知", "count.remaining": "剩余", "count.doubted": "曾存疑", "count.delivered": "已送达", "count.bounced": "退信", "count.complained": "投诉",
		"count.seen": "已看到", "count.read": "已读", "count.clicked": "已点击", "field.channel": "渠道", "field.provider": "服务商", "reason.suppressed": "免打扰", "field.revision": "修订", "channel.inbox": "站内信"} {
		if got := words[chinese][key]; got != want {
			t.Errorf("%s is %s, the glossary says %s", key, got, want)
		}
	}
}

func TestNumbersAndDurations(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "−1,234"} {
		if got := number(n); got != want {
			t.Errorf("number %d is %s, want %s", n, got, want)
		}
	}
	s := &site{words: readWords()}
	for seconds, want := range map[float64]string{0: "0 s", 0.2: "1 s", 59: "59 s", 60: "1 min", 92.2: "1 min 33 s", 3600: "1 h", 3605: "1 h", 7500: "2 h 5 min", 90000: "1 d 1 h", 1e9: "very long", -5: "0 s"} {
		if got := s.duration(english, seconds); got != want {
			t.Errorf("%v s are %q, want %q", seconds, got, want)
		}
	}
}

// TestBar: the parts fill the bar from end to end, in order, and one in a million can still be seen.
func TestBar(t *testing.T) {
	for _, c := range []counts{{}, {Audience: 1_000_000, Sent: 999_999, Failed: 1}, {Audience: 10, Remaining: 10}, {Audience: 7, Sent: 1, Failed: 1, Skipped: 1, Uncertain: 1, InFlight: 1, Remaining: 2}, {Audience: 5, Sent: 9}} {
		end := 0.0
		for _, p := range c.Parts() {
			if p.X != end || p.N > 0 && p.Width < 3.9 || p.N == 0 && p.Width != 0 {
				t.Errorf("%+v: %s at %v, %v wide", c, p.Name, p.X, p.Width)
			}
			end = p.X + p.Width
		}
		if c.Audience > 0 && (end < 999.9 || end > 1000.1) {
			t.Errorf("%+v: the bar ends at %v", c, end)
		}
	}
	if got := (counts{Audience: 1_000_000, Sent: 999_999, Remaining: 1}).Share(); got != 999 {
		t.Errorf("one remains, and the share is %d", got)
	}
}

func TestAssets(t *testing.T) {
	h := New(Config{API: newFake(), Logger: quiet(t)})
	_, _, body := visit(h, ask("GET", "/"))
	for name, kind := range map[string]string{"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		address := regexp.MustCompile(`/assets/` + name + `\?[0-9a-f]+`).FindString(body)
		status, header, content := visit(h, ask("GET", address))
		if status != 200 || header.Get("Content-Type") != kind || !strings.Contains(header.Get("Cache-Control"), "immutable") || content == "" {
			t.Errorf("%s: %d %v", address, status, header)
		}
		if _, header, _ = visit(h, ask("GET", "/assets/"+name)); header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s without its version: %v", name, header)
		}
	}
}

// TestManyKindsOfFailure: servers that repeat the address in their answer make a kind for each recipient; the page shows the greatest.
func TestManyKindsOfFailure(t *testing.T) {
	f := world()
	f.failures = nil
	for i := range 1600 {
		f.failures = append(f.failures, map[string]any{"reason": "permanent", "code": "5.1.1", "sample": fmt.Sprintf("no such user u%d", i), "count": 1})
	}
	_, _, body := visit(New(Config{API: f, Logger: quiet(t)}), ask("GET", "/messages/m1"))
	if n := strings.Count(body, "no such user"); n != groupsShown || !strings.Contains(body, "And 1,550 more kinds of answer.") {
		t.Errorf("%d kinds are shown", n)
	}
}

// TestIDsStayIDs: whatever stands for an id in an address is one segment of the API's path.
func TestIDsStayIDs(t *testing.T) {
	for path, want := range map[string]string{"/messages/a%2Fb%3Fc": "GET /v1/messages/a%2Fb%3Fc", "/messages/%3Cscript%3E/items": "GET /v1/messages/%3Cscript%3E", "/messages/m1%23x/stream": "GET /v1/messages/m1%23x/progress/stream"} {
		f := world()
		status, _, _ := visit(New(Config{API: f, Logger: quiet(t)}), ask("GET", path))
		if diff := cmp.Diff([]string{want}, f.told()); status != http.StatusNotFound || diff != "" {
			t.Errorf("%s: %d, calls (-want +got):\n%s", path, status, diff)
		}
	}
}

// TestTooLateToCancel: a message that is done has nothing to confirm.
func TestTooLateToCancel(t *testing.T) {
	status, header, _ := visit(New(Config{API: world(), Logger: quiet(t)}), ask("GET", "/messages/done/cancel"))
	if status != http.StatusSeeOther || header.Get("Location") != "/messages/done" {
		t.Errorf("%d to %q", status, header.Get("Location"))
	}
}

func TestStreamIsRelayedAndEndsWithTheVisitor(t *testing.T) {
	f := world()
	server := httptest.NewServer(New(Config{API: f, Logger: quiet(t)}))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL+"/messages/m1/stream", nil)
	r.AddCookie(&http.Cookie{Name: keyCookie, Value: goodKey})
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %v", answer.Status, answer.Header)
	}
	<-f.opened
	lines := bufio.NewScanner(answer.Body)
	for _, sent := range []int{700_000, 800_000} { // one after the other: each must come before the next is sent
		f.events <- f.count("m1", map[string]int{"sent": sent})
		var got progress
		for got.Counts.Audience == 0 && lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &got); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got.Counts.Sent != sent {
			t.Errorf("relayed %d sent, want %d", got.Counts.Sent, sent)
		}
	}
	leave()
	<-f.closed
}

// TestStreamRelaysOnlyEvents: what the API says instead of a stream, a problem or a page, does not reach the visitor.
func TestStreamRelaysOnlyEvents(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = w.Write([]byte(hostile))
	})
	for _, c := range []struct {
		api    http.Handler
		path   string
		status int
	}{{page, "/messages/m1/stream", 502}, {http.NotFoundHandler(), "/messages/m1/stream", 404}} {
		status, header, body := visit(New(Config{API: c.api, Logger: quiet(t)}), ask("GET", c.path))
		if status != c.status || body != "" || header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v %q", c.path, status, header, body)
		}
	}
}

// TestNonsenseFromTheAPIIsLogged: an answer that is no JSON is the server's mistake, told as such and logged.
func TestNonsenseFromTheAPIIsLogged(t *testing.T) {
	logged := &strings.Builder{}
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	status, _, body := visit(New(Config{API: api, Logger: textLogger(logged)}), ask("GET", "/messages/m1"))
	if status != http.StatusBadGateway || !strings.Contains(body, "The server made a mistake") || !strings.Contains(logged.String(), "cannot be read") {
		t.Errorf("%d %s\nlogged %s", status, body, logged)
	}
}
