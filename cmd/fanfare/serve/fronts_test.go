package serve

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// TestTwoFronts: what is done through one node every other shows in its next answer, whatever it kept in memory: counts of a thousand people through any of
// two nodes equal a naive picture at every step.
func TestTwoFronts(t *testing.T) {
	t.Parallel()
	const people = 1000
	c := newCluster(t)
	a := c.node("a", "api", "planner", "worker")
	fronts := []*running{a, c.node("b", "api")}
	a.importPeople(people)
	type state struct{ read, archived map[string]bool }
	boxes, tokens := make([]state, people), make([]string, people)
	for i := range boxes {
		boxes[i] = state{map[string]bool{}, map[string]bool{}}
	}
	var messages []string
	r := rand.New(rand.NewPCG(1, 2))
	check := func(at *running, who int, step any) {
		t.Helper()
		want := inboxCount{}
		for _, m := range messages {
			if !boxes[who].archived[m] {
				want.Total++
				if !boxes[who].read[m] {
					want.Unread++
				}
			}
		}
		var got inboxCount
		var page inboxPage
		at.want(http.StatusOK, "GET", "/v1/inbox/count", tokens[who], "", &got)
		at.want(http.StatusOK, "GET", "/v1/inbox?limit=100", tokens[who], "", &page)
		if got.Unread != want.Unread || got.Total != want.Total || page.Unread != want.Unread || len(page.Items) != want.Total {
			t.Fatalf("step %v: u%d has %+v, counted %+v, a page of %d with %d unread", step, who, want, got, len(page.Items), page.Unread)
		}
		for _, it := range page.Items {
			if (it.ReadAt != nil) != boxes[who].read[it.Message] {
				t.Fatalf("step %v: u%d, %+v", step, who, it)
			}
		}
	}
	for step := range 400 {
		who := r.IntN(people)
		if r.IntN(3) > 0 {
			who = r.IntN(20) // some often
		}
		at, other := fronts[step%2], fronts[(step+1+r.IntN(2))%2]
		if tokens[who] == "" {
			tokens[who] = at.token(fmt.Sprint("u", who))
		}
		switch n := r.IntN(40); {
		case n == 0 || len(messages) == 0:
			messages = append(messages, at.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": fmt.Sprint("Step ", step)}}))
		case n == 1:
			at.want(http.StatusNoContent, "POST", "/v1/inbox/read_all", tokens[who], "", nil)
			for _, m := range messages {
				boxes[who].read[m] = boxes[who].read[m] || !boxes[who].archived[m]
			}
		case n < 30:
			m, kind := messages[r.IntN(len(messages))], []string{"read", "unread", "archive", "unarchive"}[r.IntN(4)]
			at.want(http.StatusNoContent, "POST", "/v1/inbox/"+m+"/"+kind, tokens[who], "", nil)
			switch kind {
			case "read", "unread":
				boxes[who].read[m] = kind == "read"
			default:
				boxes[who].archived[m] = kind == "archive"
			}
		}
		check(other, who, step)
	}
	id := messages[0]
	read := 0
	for i := range boxes {
		if boxes[i].read[id] {
			read++
		}
	}
	for _, at := range fronts {
		var p struct{ Counts map[string]int }
		for p.Counts["read"] != read { // progress adds up four times a second
			at.want(http.StatusOK, "GET", "/v1/messages/"+id+"/progress", "", "", &p)
		}
	}
}

// TestNewsCrossNodes: streams, corrections, recalls, profiles, keys and erasures.
func TestNewsCrossNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.node("a", "api", "planner", "worker")
	a.importPeople(3)
	b := c.node("b", "api")
	one := b.token("u0")
	s := b.open(one, "")
	if e, _ := s.next(); e.name != "count" || e.data != `{"unread":0,"unseen":0,"total":0}` {
		t.Errorf("%+v", e)
	}
	id := a.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Hello {{ first_name }}"}})
	s.want("message", id)
	a.want(http.StatusNoContent, "POST", "/v1/inbox/"+id+"/read", one, "", nil)
	s.want("count", `"unread":0`)

	title := func(at *running, want string) {
		t.Helper()
		var page inboxPage
		at.want(http.StatusOK, "GET", "/v1/inbox", one, "", &page)
		if got := fmt.Sprint(page.Items); len(page.Items) == 1 && page.Items[0].Title != want || len(page.Items) == 0 && want != "" {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, r := range []*running{a, b} {
		title(r, "Hello Name0")
	}
	a.must("PUT", "/v1/recipients/u0", "", `{"attributes":{"first_name":"Ada"}}`)
	title(b, "Hello Ada")
	a.must("POST", "/v1/messages/"+id+"/recall", "", `{"scope":"all"}`)
	title(b, "")
	s.want("count", `"total":0`)

	key := a.must("POST", "/v1/inbox_keys", "", `{"name":"app"}`)
	text, kid := key["key"].(string), key["id"].(string)
	signed := jwt(text, map[string]any{"alg": "HS256", "typ": "JWT", "kid": kid}, map[string]any{"sub": "u0", "aud": "fanfare-inbox", "exp": time.Now().Add(time.Hour).Unix()})
	b.want(http.StatusOK, "GET", "/v1/inbox/count", signed, "", nil)
	a.want(http.StatusNoContent, "DELETE", "/v1/inbox_keys/"+kid, "", "", nil)
	b.want(http.StatusUnauthorized, "GET", "/v1/inbox/count", signed, "", nil)

	second := a.must("POST", "/v1/keys", "", `{"name":"x","scopes":["messages:read"]}`)
	b.want(http.StatusOK, "GET", "/v1/messages", second["key"].(string), "", nil)
	a.want(http.StatusNoContent, "DELETE", "/v1/keys/"+second["id"].(string), "", "", nil)
	b.want(http.StatusUnauthorized, "GET", "/v1/messages", second["key"].(string), "", nil)

	a.want(http.StatusAccepted, "DELETE", "/v1/recipients/u0", "", "", nil)
	var problem map[string]any
	if status := b.do("GET", "/v1/inbox/count", one, "", &problem); status < 400 || status >= 500 {
		t.Errorf("whoever is erased is answered %d %v", status, problem)
	}
}
