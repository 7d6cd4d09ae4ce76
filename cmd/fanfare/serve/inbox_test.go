package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

type inboxPage struct {
	Items []struct {
		Message, Title, Body, URL string
		SentAt                    *time.Time `json:"sent_at"`
		SeenAt                    *time.Time `json:"seen_at"`
		ReadAt                    *time.Time `json:"read_at"`
		ArchivedAt                *time.Time `json:"archived_at"`
	}
	Unread, Unseen int
	Next           *string `json:"next_cursor"`
}

type inboxCount struct{ Unread, Unseen, Total int }

// token asks for a recipient's token.
func (r *running) token(who string) string {
	r.t.Helper()
	var t struct{ Token string }
	if status := r.do("POST", "/v1/recipients/"+who+"/token", "", `{"ttl_seconds":900}`, &t); status != http.StatusOK {
		r.t.Fatalf("token: %d", status)
	}
	return t.Token
}

func (r *running) want(status int, method, path, key, body string, out any) {
	r.t.Helper()
	if got := r.do(method, path, key, body, out); got != status {
		r.t.Fatalf("%s %s: %d, want %d", method, path, got, status)
	}
}

// importPeople imports u0 … with a name and waits.
func (r *running) importPeople(n int) {
	r.t.Helper()
	var b strings.Builder
	b.WriteString("external_id,first_name,locale\n")
	for i := range n {
		fmt.Fprintf(&b, "u%d,Name%d,%s\n", i, i, []string{"en", "zh-CN"}[i%2])
	}
	var state struct{ ID, State string }
	r.want(http.StatusAccepted, "POST", "/v1/imports?list=all", "", b.String(), &state)
	for state.State != "done" {
		r.want(http.StatusOK, "GET", "/v1/imports/"+state.ID, "", "", &state)
	}
}

// broadcast sends an inbox message and waits until it is completed.
func (r *running) broadcast(draft map[string]any) string {
	r.t.Helper()
	draft["channel"], draft["start"] = "inbox", true
	body, err := json.Marshal(draft)
	if err != nil {
		r.t.Fatal(err)
	}
	var m struct{ ID, Phase string }
	r.want(http.StatusCreated, "POST", "/v1/messages", "", string(body), &m)
	for m.Phase != "completed" {
		r.want(http.StatusOK, "GET", "/v1/messages/"+m.ID, "", "", &m)
	}
	return m.ID
}

func TestInbox(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, Config{})
	r.importPeople(4)
	one, two := r.token("u0"), r.token("u1")
	first := r.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Hello {{ first_name }}", "body": "<b>", "url": "https://x.example/",
		"locales": map[string]any{"zh-CN": map[string]any{"title": "你好 {{ first_name }}"}}}})
	second := r.broadcast(map[string]any{"audience": map[string]any{"recipients": []string{"u0", "u2"}}, "content": map[string]any{"title": "Second"}})
	var p inboxPage
	r.want(200, "GET", "/v1/inbox", one, "", &p)
	if len(p.Items) != 2 || p.Items[0].Message != second || p.Items[1].Title != "Hello Name0" || p.Items[1].Body != "<b>" || p.Unread != 2 || p.Unseen != 2 || p.Next != nil ||
		p.Items[0].SentAt == nil || p.Items[0].ReadAt != nil {
		t.Errorf("%+v", p)
	}
	r.want(200, "GET", "/v1/inbox", two, "", &p)
	if len(p.Items) != 1 || p.Items[0].Title != "你好 Name1" || p.Items[0].URL != "https://x.example/" {
		t.Errorf("%+v", p)
	}
	r.want(404, "POST", "/v1/inbox/"+second+"/read", two, "", nil)
	r.want(204, "POST", "/v1/inbox/"+second+"/read", one, "", nil)
	r.want(204, "POST", "/v1/inbox/seen", one, `{"messages":["`+first+`","nonsense"]}`, nil)
	var n inboxCount
	r.want(200, "GET", "/v1/inbox/count", one, "", &n)
	if n != (inboxCount{Unread: 1, Unseen: 0, Total: 2}) {
		t.Errorf("%+v", n)
	}
	for query, status := range map[string]int{"limit=1000": 200, "limit=1001": 422, "limit=0": 422, "filter=new": 422, "page=2": 422} {
		if got := r.do("GET", "/v1/inbox?"+query, one, "", nil); got != status {
			t.Errorf("%s is answered with %d", query, got)
		}
	}
	r.want(200, "GET", "/v1/inbox?limit=1", one, "", &p)
	if p.Next == nil || p.Items[0].ReadAt == nil || p.Items[0].SeenAt == nil {
		t.Fatalf("%+v", p)
	}
	r.want(200, "GET", "/v1/inbox?limit=1&filter=all&cursor="+*p.Next, one, "", &p)
	if len(p.Items) != 1 || p.Items[0].Message != first || p.Next != nil {
		t.Errorf("%+v", p)
	}
	// The message's report counts what they did.
	var progress struct{ Counts struct{ Seen, Read int } }
	r.want(200, "GET", "/v1/messages/"+second+"/progress", "", "", &progress)
	if progress.Counts.Read != 1 || progress.Counts.Seen != 1 {
		t.Errorf("%+v", progress)
	}
	// A correction is found by whoever reads from then on, a recall by all.
	r.want(200, "PATCH", "/v1/messages/"+second, "", `{"content":{"title":"Corrected"}}`, nil)
	r.want(409, "PATCH", "/v1/messages/"+second, "", `{"rate":5}`, nil)
	r.want(200, "GET", "/v1/inbox", one, "", &p)
	if p.Items[0].Title != "Corrected" {
		t.Errorf("%+v", p)
	}
	r.want(204, "POST", "/v1/inbox/"+second+"/archive", one, "{}", nil)
	r.want(200, "GET", "/v1/inbox?filter=archived", one, "", &p)
	if len(p.Items) != 1 || p.Items[0].ArchivedAt == nil {
		t.Errorf("%+v", p)
	}
	r.want(204, "POST", "/v1/inbox/"+second+"/unarchive", one, "", nil)
	r.want(200, "POST", "/v1/messages/"+second+"/recall", "", `{"scope":"unread"}`, nil)
	three := r.token("u2")
	r.want(200, "GET", "/v1/inbox", three, "", &p)
	if len(p.Items) != 1 || p.Items[0].Message != first {
		t.Errorf("after a recall from who has not read it: %+v", p)
	}
	r.want(200, "GET", "/v1/inbox/count", one, "", &n)
	if n.Total != 2 {
		t.Errorf("%+v", n)
	}
	r.want(204, "POST", "/v1/inbox/read_all", three, "", nil)
	// All of it is there after a restart.
	r.end()
	r = start(t, dir, Config{})
	r.want(200, "GET", "/v1/inbox/count", three, "", &n)
	if n != (inboxCount{Total: 1}) {
		t.Errorf("after a restart: %+v", n)
	}
	r.want(200, "POST", "/v1/messages/"+first+"/recall", "", "", nil)
	r.want(200, "GET", "/v1/inbox/count", three, "", &n)
	if n.Total != 0 {
		t.Errorf("after the recall: %+v", n)
	}
	r.want(409, "POST", "/v1/messages/"+r.draft()+"/recall", "", "", nil)
}

// TestInboxExpires: an expired message is in no inbox, its clone lives its own time, and what expires before it starts is refused.
func TestInboxExpires(t *testing.T) {
	r := start(t, t.TempDir(), Config{})
	r.importPeople(1)
	who := r.token("u0")
	soon := time.Now().Add(1500 * time.Millisecond).UTC().Format(time.RFC3339Nano)
	id := r.broadcast(map[string]any{"audience": map[string]any{"all": true}, "content": map[string]any{"title": "Short", "expires_at": soon}})
	n := inboxCount{Total: 1}
	for n.Total > 0 { // until its time has come
		r.want(200, "GET", "/v1/inbox/count", who, "", &n)
	}
	if early, err := time.Parse(time.RFC3339Nano, soon); err != nil || time.Now().Before(early) {
		t.Errorf("it is gone before %s (%v)", soon, err)
	}
	r.want(404, "POST", "/v1/inbox/"+id+"/read", who, "", nil)
	var m struct{ Content map[string]any }
	r.want(201, "POST", "/v1/messages/"+id+"/clone", "", "", &m)
	if _, there := m.Content["expires_at"]; there || m.Content["title"] != "Short" {
		t.Errorf("its clone has %v", m.Content)
	}
	r.want(422, "POST", "/v1/messages", "", `{"channel":"inbox","audience":{"all":true},"content":{"title":"x","expires_at":"2020-01-01T00:00:00Z"}}`, nil)
}

func (r *running) draft() string {
	r.t.Helper()
	var m struct{ ID string }
	r.want(http.StatusCreated, "POST", "/v1/messages", "", `{"channel":"inbox","audience":{"all":true},"content":{"title":"x"}}`, &m)
	return m.ID
}

// jwt signs as an integrator's server would.
func jwt(secret string, head, claims map[string]any) string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(head) + "." + part(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestInboxTokens: only a token that one of the keys has signed, for this audience and this moment, opens an inbox, and only its own.
func TestInboxTokens(t *testing.T) {
	r := start(t, t.TempDir(), Config{})
	r.importPeople(2)
	var key struct{ ID, Key string }
	r.want(201, "POST", "/v1/inbox_keys", "", "", &key)
	head := map[string]any{"alg": "HS256", "typ": "JWT"}
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"sub": "u1", "aud": "fanfare-inbox", "exp": time.Now().Add(time.Minute).Unix()}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	good := jwt(key.Key, head, claims(nil))
	for _, token := range []string{good, jwt(key.Key, map[string]any{"alg": "HS256", "kid": key.ID}, claims(map[string]any{"aud": []string{"x", "fanfare-inbox"}})), r.token("u0")} {
		r.want(200, "GET", "/v1/inbox/count", token, "", nil)
	}
	none := jwt(key.Key, map[string]any{"alg": "none"}, claims(nil))
	for what, token := range map[string]string{
		"an API key": r.key, "another secret": jwt("x", head, claims(nil)), "no algorithm": none, "an unsigned one": none[:strings.LastIndex(none, ".")+1],
		"another algorithm": jwt(key.Key, map[string]any{"alg": "HS512"}, claims(nil)), "another key's id": jwt(key.Key, map[string]any{"alg": "HS256", "kid": "ik_other"}, claims(nil)),
		"another audience": jwt(key.Key, head, claims(map[string]any{"aud": "x"})), "none": jwt(key.Key, head, claims(map[string]any{"aud": nil})),
		"expired": jwt(key.Key, head, claims(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})), "without end": jwt(key.Key, head, claims(map[string]any{"exp": nil})),
		"not yet": jwt(key.Key, head, claims(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})), "of nobody": jwt(key.Key, head, claims(map[string]any{"sub": "u9"})),
		"without a subject": jwt(key.Key, head, claims(map[string]any{"sub": ""})), "changed": good[:len(good)-2] + "xx", "nonsense": "a.b", "crit": jwt(key.Key, map[string]any{"alg": "HS256", "crit": []string{"x"}}, claims(nil)),
	} {
		if status := r.do("GET", "/v1/inbox", token, "", nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, status)
		}
	}
	var keys struct{ Items []struct{ ID, Key string } }
	r.want(200, "GET", "/v1/inbox_keys", "", "", &keys)
	if len(keys.Items) != 1 || keys.Items[0].ID != key.ID || keys.Items[0].Key != "" {
		t.Errorf("%+v", keys)
	}
	r.want(204, "DELETE", "/v1/inbox_keys/"+key.ID, "", "", nil)
	r.want(401, "GET", "/v1/inbox", good, "", nil)
	r.want(404, "POST", "/v1/recipients/u9/token", "", "", nil)
	r.want(422, "GET", "/v1/inbox?filter=x", r.token("u0"), "", nil)
	r.want(400, "GET", "/v1/inbox?cursor=x", r.token("u0"), "", nil)
	r.want(422, "POST", "/v1/inbox/seen", r.token("u0"), `{"message":1}`, nil)
}

// TestInboxSkipsWhoLacksAValue: they are no part of what was sent, the balance says why, and their inbox does not have it.
func TestInboxSkipsWhoLacksAValue(t *testing.T) {
	r := start(t, t.TempDir(), Config{})
	r.importPeople(4)
	r.want(http.StatusCreated, "PUT", "/v1/recipients/u8", "", `{"attributes":{"first_name":"  "}}`, nil)
	r.want(http.StatusCreated, "PUT", "/v1/recipients/u9", "", `{"locale":"zh-CN"}`, nil)
	id := r.broadcast(map[string]any{"audience": map[string]any{"all": true}, "content": map[string]any{"title": "Hello {{ first_name }}", "locales": map[string]any{"zh-CN": map[string]any{"title": "你好"}}}})
	var progress struct {
		Balanced bool
		Counts   struct{ Audience, Planned, Sent, Skipped int }
	}
	r.want(200, "GET", "/v1/messages/"+id+"/progress", "", "", &progress)
	if k := progress.Counts; !progress.Balanced || k.Audience != 6 || k.Planned != 5 || k.Sent != 5 || k.Skipped != 1 {
		t.Errorf("%+v", progress)
	}
	var item struct{ Result, Reason string }
	r.want(200, "GET", "/v1/messages/"+id+"/items/u8", "", "", &item)
	if item.Result != "skipped" || item.Reason != "missing_field" {
		t.Errorf("%+v", item)
	}
	for who, n := range map[string]int{"u0": 1, "u8": 0, "u9": 1} {
		var p inboxPage
		r.want(200, "GET", "/v1/inbox", r.token(who), "", &p)
		if len(p.Items) != n || p.Unread != n {
			t.Errorf("%s: %+v", who, p)
		}
	}
}

// TestInboxCountsWhoLacksAValue: the count with a content says what the start will say, and a start that expects another number sends nothing.
func TestInboxCountsWhoLacksAValue(t *testing.T) {
	r := start(t, t.TempDir(), Config{})
	r.importPeople(4)
	r.want(http.StatusCreated, "PUT", "/v1/recipients/u9", "", `{"locale":"zh-CN"}`, nil)
	var n struct {
		Planned int
		Skipped map[string]int
	}
	for content, want := range map[string]int{"": 5, `,"content":{"title":"Hello {{ first_name }}"}`: 4, `,"content":{"title":"Hello {{ first_name | default: \"you\" }}"}`: 5,
		`,"content":{"title":"{{ data.code }}"},"data":{"code":7}`: 5} {
		r.want(200, "POST", "/v1/audiences/count", "", `{"audience":{"all":true},"channel":"inbox"`+content+`}`, &n)
		if n.Planned != want || n.Skipped["missing_field"] != 5-want {
			t.Errorf("%s: %+v, want %d", content, n, want)
		}
		n.Skipped = nil
	}
	r.want(422, "POST", "/v1/audiences/count", "", `{"audience":{"all":true},"channel":"inbox","content":{"title":"{{"}}`, nil)
	var m struct{ ID, Phase string }
	r.want(http.StatusCreated, "POST", "/v1/messages", "", `{"channel":"inbox","audience":{"all":true},"content":{"title":"Hello {{ first_name }}"}}`, &m)
	var refused struct {
		Code    string
		Planned int
	}
	r.want(409, "POST", "/v1/messages/"+m.ID+"/start", "", `{"expect_recipients":5}`, &refused)
	if refused.Code != "audience_changed" || refused.Planned != 4 {
		t.Errorf("%+v", refused)
	}
	r.want(200, "GET", "/v1/messages/"+m.ID, "", "", &m)
	if m.Phase != "draft" {
		t.Errorf("it is %s", m.Phase)
	}
	r.want(200, "POST", "/v1/messages/"+m.ID+"/start", "", `{"expect_recipients":4}`, &m)
}

// TestInboxIsExact: after thousands of random marks over HTTP a thousand people have exactly what a naive picture says.
func TestInboxIsExact(t *testing.T) {
	const people, messages, marks = 1000, 25, 3000
	r := start(t, t.TempDir(), Config{CacheBytes: 4 << 20})
	r.importPeople(people)
	dice := rand.New(rand.NewPCG(7, 11)) //nolint:gosec // the same in every run
	type state struct{ got, read, seen, archived bool }
	var is [people][messages]state
	tokens := make([]string, people)
	for i := range tokens {
		tokens[i] = r.token(fmt.Sprint("u", i))
	}
	var ids []string
	for m := range messages {
		var to []string
		for i := range people {
			if is[i][m].got = dice.IntN(3) > 0; is[i][m].got {
				to = append(to, fmt.Sprint("u", i))
			}
		}
		ids = append(ids, r.broadcast(map[string]any{"audience": map[string]any{"recipients": to}, "content": map[string]any{"title": fmt.Sprint("message ", m)}}))
		for range marks / messages {
			i, k := dice.IntN(people), dice.IntN(m+1)
			s, status := &is[i][k], 204
			if !s.got {
				status = 404
			}
			what := []string{"read", "unread", "archive", "unarchive", "click"}[dice.IntN(5)]
			r.want(status, "POST", "/v1/inbox/"+ids[k]+"/"+what, tokens[i], "", nil)
			if !s.got {
				continue
			}
			switch what {
			case "read", "click":
				s.read, s.seen = true, true
			case "unread":
				s.read = false
			default:
				s.archived = what == "archive"
			}
		}
	}
	for i := range people {
		var want, got inboxCount
		var unread []string
		for m := range slices.Backward(ids) {
			if s := is[i][m]; s.got && !s.archived {
				want.Total++
				if !s.read {
					want.Unread++
					unread = append(unread, ids[m])
				}
				if !s.seen {
					want.Unseen++
				}
			}
		}
		r.want(200, "GET", "/v1/inbox/count", tokens[i], "", &got)
		var p inboxPage
		r.want(200, "GET", "/v1/inbox?filter=unread&limit=100", tokens[i], "", &p)
		if got != want || p.Unread != want.Unread || len(p.Items) != want.Unread {
			t.Fatalf("u%d has %+v, counted %+v, listed %d", i, want, got, len(p.Items))
		}
		for k := range p.Items {
			if p.Items[k].Message != unread[k] {
				t.Fatalf("u%d: item %d is %s, want %s", i, k, p.Items[k].Message, unread[k])
			}
		}
	}
}
