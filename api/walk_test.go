package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fanfare/api"
)

// operation is one documented route.
type operation struct {
	method, path string
	scope        string
	public       bool // takes no key
	json         bool // takes a JSON body
}

func documented(t *testing.T) (all []operation, codes map[string]bool) {
	t.Helper()
	made, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Security    []map[string][]string
			RequestBody struct{ Content map[string]any }
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Examples []string }
			}
		}
	}
	if err := json.Unmarshal(made, &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			o := operation{method: strings.ToUpper(method), path: path, json: op.RequestBody.Content["application/json"] != nil}
			scopes, keyed := op.Security[0]["key"]
			if o.public = !keyed; len(scopes) > 0 {
				o.scope = scopes[0]
			}
			all = append(all, o)
		}
	}
	codes = make(map[string]bool)
	for _, code := range doc.Components.Schemas["Problem"].Properties["code"].Examples {
		codes[code] = true
	}
	return all, codes
}

// checkProblem looks at the form of a refusal.
func checkProblem(t *testing.T, what string, a answer, codes map[string]bool) {
	t.Helper()
	var p struct {
		Type, Title, Detail, Instance, Code string
		Status                              int
		Errors                              []struct{ Pointer, Parameter, Code, Detail string }
	}
	if kind := a.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("%s: %d of type %q: %s", what, a.StatusCode, kind, a.body)
		return
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Errorf("%s: %v: %s", what, err, a.body)
		return
	}
	if p.Status != a.StatusCode || p.Title == "" || len(p.Detail) < 20 || !codes[p.Code] || p.Type != "/docs#"+p.Code || p.Instance != "urn:fanfare:request:"+a.Header.Get("X-Request-Id") {
		t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
	}
	for _, e := range p.Errors {
		if e.Code == "" || e.Detail == "" || (e.Pointer == "") == (e.Parameter == "") || e.Pointer != "" && !strings.HasPrefix(e.Pointer, "#") && !strings.HasPrefix(e.Pointer, "?") {
			t.Errorf("%s: an error of the form %+v", what, e)
		}
	}
	if p.Status >= 500 && p.Status != 503 {
		t.Errorf("%s: %s", what, a.body)
	}
}

// TestHostileBodies calls every documented route with what should never come.
func TestHostileBodies(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	operations, codes := documented(t)
	m := w.must(t, "POST", "/v1/messages", `{"channel":"null","audience":{"all":true}}`)
	bodies := []string{"", "{", "[]", "null", `"x"`, "1e999", "{}", `{"\u0000":1}`, `{"name":"\ud800"}`, `{"name":` + strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000) + `}`,
		`{"add":"x","remove":7,"scopes":{},"audience":[],"content":[],"channel":null,"recipient":[],"to":{},"per_second":"fast","expect_recipients":1.5,"scope":0,"attributes":[]}`,
		`{"__proto__":{"a":1},"constructor":{}}`, "\xff\xfe", `{"rate":1e400}`, `{"audience":{"not":` + strings.Repeat(`{"not":`, 40) + `{"all":true}` + strings.Repeat("}", 41) + `}`}
	names := []string{"x", text(m, "id"), "%00", "%2e%2e", "a%2Fb", strings.Repeat("y", 300), "%F0%9F%8E%BA", "'%3B--"}
	for _, o := range operations {
		for _, name := range names {
			path := o.path
			for _, part := range []string{"{id}", "{name}", "{external_id}", "{token}", "{message}"} {
				path = strings.ReplaceAll(path, part, name)
			}
			for i, body := range bodies {
				if i > 0 && !o.json || strings.HasSuffix(path, "/stream") && name == text(m, "id") {
					continue // a stream of a draft does not end
				}
				a := w.do(t, request{method: o.method, path: path, body: body})
				if a.StatusCode >= 400 {
					checkProblem(t, fmt.Sprintf("%s %s %.40q", o.method, path, body), a, codes)
				}
			}
		}
	}
}

// TestEveryRouteIsGuarded: no route answers without a key, or with one that lacks the scope that the document names.
func TestEveryRouteIsGuarded(t *testing.T) {
	w := newWorld(t)
	operations, codes := documented(t)
	poor := w.makeKey(t, "poor")
	for _, o := range operations {
		if o.public {
			continue
		}
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{external_id}", "x").Replace(o.path)
		a := w.do(t, request{method: o.method, path: path, header: map[string]string{"Authorization": ""}})
		if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s %s without a key: %d", o.method, o.path, a.StatusCode)
		}
		checkProblem(t, o.method+" "+o.path, a, codes)
		if a = w.do(t, request{method: o.method, path: path, key: poor}); o.scope != "" && (a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, o.scope)) {
			t.Errorf("%s %s with a key of no scope: %d %s", o.method, o.path, a.StatusCode, a.body)
		}
		rich := w.makeKey(t, "rich "+o.method+o.path, o.scope)
		if a = w.do(t, request{method: o.method, path: path, key: rich}); a.StatusCode == http.StatusForbidden || a.StatusCode == http.StatusUnauthorized {
			t.Errorf("%s %s with %s: %d %s", o.method, o.path, o.scope, a.StatusCode, a.body)
		}
	}
}

func TestTheBodyIsBounded(t *testing.T) {
	w := newWorld(t)
	_, codes := documented(t)
	a := w.do(t, request{method: "POST", path: "/v1/lists", body: `{"name":"` + strings.Repeat("x", 16<<20) + `"}`})
	if a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d", a.StatusCode)
	}
	checkProblem(t, "17 MB", a, codes)
	big := `{"add":["` + strings.Repeat("y", 200) + `"` + strings.Repeat(`,"`+strings.Repeat("y", 200)+`"`, 20_000) + `]}`
	w.must(t, "POST", "/v1/lists", `{"name":"l"}`)
	if a := w.do(t, request{method: "POST", path: "/v1/lists/l/members", body: big}); a.StatusCode != http.StatusOK {
		t.Errorf("%d for 4 MB", a.StatusCode)
	}
}

func TestRequestIDIsEchoed(t *testing.T) {
	w := newWorld(t)
	for given, echoed := range map[string]bool{"abc-1.2": true, "": false, "a b\"": false, strings.Repeat("x", 200): false} {
		a := w.do(t, request{method: "GET", path: "/v1/me", header: map[string]string{"X-Request-Id": given}})
		if got := a.Header.Get("X-Request-Id"); (got == given) != echoed || got == "" {
			t.Errorf("%q came back as %q", given, got)
		}
	}
}
