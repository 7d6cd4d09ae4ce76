package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"fanfare"
)

type keyView struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Scopes    []string  `json:"scopes" nullable:"false"`
	Test      bool      `json:"test"`
	CreatedAt time.Time `json:"created_at"`
	Key       *string   `json:"key,omitempty" doc:"Shown once, by the call that makes it."`
}

type keyIn struct {
	Body struct {
		Name   string   `json:"name" maxLength:"200"`
		Scopes []string `json:"scopes" minItems:"1" nullable:"false" enum:"messages:read,messages:write,messages:start,messages:essential,recipients:read,recipients:write,recipients:export,receipts:write,inbox:token,providers:write,keys:write,metrics:read"`
		Test   bool     `json:"test,omitempty" doc:"Nothing that is sent with it leaves: every channel is the sandbox."`
	}
}

type keyPath struct {
	ID string `path:"id"`
}

type nodeView struct {
	Name        string         `json:"name"`
	Incarnation int64          `json:"incarnation"`
	Version     string         `json:"version"`
	Roles       []string       `json:"roles" nullable:"false"`
	SeenAt      time.Time      `json:"seen_at"`
	Alive       bool           `json:"alive" doc:"It was heard within the last five seconds, and was not stopped since."`
	Free        map[string]int `json:"free" doc:"Free claims by provider."`
	Claims      map[string]int `json:"claims" doc:"Held claims by provider."`
}

type queueView struct {
	Provider string `json:"provider"`
	Waiting  int    `json:"waiting" doc:"Tasks, roughly."`
}

type auditView struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	Object string    `json:"object"`
	Detail string    `json:"detail"`
}

type meView struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Scopes  []string `json:"scopes" nullable:"false"`
	Test    bool     `json:"test"`
	Version string   `json:"version" doc:"The server's."`
}

func (s *Server) adminRoutes() {
	op := func(method, path, id, scope, summary string) operation {
		return operation{method: method, path: path, id: id, tag: "administration", scope: scope, summary: summary}
	}
	mint := op(http.MethodPost, "/v1/keys", "create-key", scopeKeysWrite, "Make a key")
	mint.status, mint.keyed, mint.secret, mint.doc = http.StatusCreated, true, true, "Of the scopes that the calling key has. The key itself is shown once; only its SHA-256 is kept."
	route(s, mint, s.createKey)
	route(s, op(http.MethodGet, "/v1/keys", "list-keys", scopeKeysWrite, "List keys"), s.listKeys)
	routeNone(s, op(http.MethodDelete, "/v1/keys/{id}", "delete-key", scopeKeysWrite, "Revoke a key"), s.deleteKey)
	route(s, op(http.MethodGet, "/v1/me", "get-me", "", "The calling key"), func(_ context.Context, c *call, _ *struct{}) (*reply[meView], error) {
		return ok(meView{ID: c.key.ID, Name: c.key.Name, Scopes: append([]string{}, c.key.Scopes...), Test: c.key.Test, Version: s.Version}), nil
	})
	route(s, op(http.MethodGet, "/v1/nodes", "list-nodes", scopeMetricsRead, "List nodes"), s.listNodes)
	route(s, op(http.MethodGet, "/v1/queues", "list-queues", scopeMetricsRead, "How many tasks wait for each provider"), s.listQueues)
	route(s, op(http.MethodGet, "/v1/audit", "list-audit", scopeKeysWrite, "Who did what, planner and nodes included; newest first"), s.listAudit)
}

func viewKey(k fanfare.Key) keyView {
	return keyView{ID: k.ID, Name: k.Name, Scopes: append([]string{}, k.Scopes...), Test: k.Test, CreatedAt: k.CreatedAt}
}

func (s *Server) createKey(ctx context.Context, c *call, in *keyIn) (*reply[keyView], error) {
	if err := checkName("#/name", in.Body.Name); err != nil {
		return nil, err
	}
	for _, scope := range in.Body.Scopes {
		if !c.may(scope) {
			return nil, problem(http.StatusForbidden, "scope", "This key lacks the scope %s, so it cannot hand it on; leave it out.", scope)
		}
	}
	prefix := "fan_"
	if in.Body.Test || c.key.Test {
		prefix = "fan_test_"
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	text := prefix + base64.RawURLEncoding.EncodeToString(secret)
	scopes := slices.Compact(slices.Sorted(slices.Values(in.Body.Scopes)))
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[keyView], error) {
		k := fanfare.Key{ID: "key_" + rand.Text()[:16], Name: in.Body.Name, Hash: sha256.Sum256([]byte(text)), Scopes: scopes, Test: prefix != "fan_", CreatedAt: tx.Now()}
		if err := tx.InsertKey(k); err != nil {
			return nil, err
		}
		v := viewKey(k)
		v.Key = &text
		return created("/v1/keys/"+k.ID, v), c.audit(tx, "key.create", k.ID, k.Name+": "+strings.Join(scopes, " "))
	})
}

func (s *Server) listKeys(ctx context.Context, _ *call, in *Page) (*reply[list[keyView]], error) {
	var all []fanfare.Key
	err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		all, err = v.Keys()
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b fanfare.Key) int {
		if n := b.CreatedAt.Compare(a.CreatedAt); n != 0 {
			return n
		}
		return strings.Compare(b.ID, a.ID)
	})
	all, next, err := pageOf(all, in, func(k fanfare.Key) string { return k.ID })
	if err != nil {
		return nil, err
	}
	views := make([]keyView, len(all))
	for i, k := range all {
		views[i] = viewKey(k)
	}
	return ok(listOf(views, next)), nil
}

// deleteKey revokes at once. One key that can make keys stays, or nobody could get in any more.
func (s *Server) deleteKey(ctx context.Context, c *call, in *keyPath) error {
	defer s.keys.changed()
	return s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		all, err := tx.Keys()
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(k fanfare.Key) bool { return k.ID == in.ID })
		if at < 0 {
			return notFound("key", in.ID)
		}
		others := slices.ContainsFunc(all, func(k fanfare.Key) bool { return k.ID != in.ID && slices.Contains(k.Scopes, scopeKeysWrite) })
		if slices.Contains(all[at].Scopes, scopeKeysWrite) && !others {
			return conflict("last_key", "This is the last key that can make keys; make another one with keys:write first.")
		}
		if err := tx.DeleteKey(in.ID); err != nil {
			return err
		}
		return c.audit(tx, "key.delete", in.ID, all[at].Name)
	})
}

func (s *Server) nodes(ctx context.Context) (all []nodeView, err error) {
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		rows, err := v.Nodes()
		for _, n := range rows {
			all = append(all, nodeView{Name: n.Name, Incarnation: n.Incarnation, Version: n.Version, Roles: append([]string{}, n.Roles...), SeenAt: n.SeenAt,
				Alive: n.Alive(v.Now()), Free: counts(n.Free), Claims: counts(n.Claims)})
		}
		return err
	})
	return all, err
}

func counts(m map[string]int) map[string]int {
	if m == nil {
		return map[string]int{}
	}
	return m
}

func (s *Server) listNodes(ctx context.Context, _ *call, _ *struct{}) (*reply[list[nodeView]], error) {
	all, err := s.nodes(ctx)
	return ok(listOf(all, "")), err
}

// queues tells how many tasks wait in each lane that a node serves.
func (s *Server) queues(ctx context.Context) (all []queueView, err error) {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, n := range nodes {
		for lane := range n.Free {
			seen[lane] = true
		}
	}
	for lane := range seen {
		n, err := s.Queue.Depth(ctx, lane)
		if err != nil {
			return nil, err
		}
		all = append(all, queueView{lane, n})
	}
	slices.SortFunc(all, func(a, b queueView) int { return strings.Compare(a.Provider, b.Provider) })
	return all, nil
}

func (s *Server) listQueues(ctx context.Context, _ *call, _ *struct{}) (*reply[list[queueView]], error) {
	all, err := s.queues(ctx)
	return ok(listOf(all, "")), err
}

type auditIn struct {
	Page
	Object string `query:"object" doc:"Only of this message, key, list, …"`
}

func (s *Server) listAudit(ctx context.Context, _ *call, in *auditIn) (*reply[list[auditView]], error) {
	var rows []fanfare.AuditEntry
	var next string
	err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		rows, next, err = v.Audit(in.Object, in.Cursor, in.Limit)
		return err
	})
	if err != nil {
		return nil, badCursor(err)
	}
	views := make([]auditView, len(rows))
	for i, e := range rows {
		views[i] = auditView{At: e.At, Actor: e.Actor, Action: e.Action, Object: e.Object, Detail: e.Detail}
	}
	return ok(listOf(views, next)), nil
}
