package api_test

import (
	"strings"
	"testing"

	"fanfare"
)

// TestKeysOfInboxTokens: made, listed without their secrets, revoked; a token is made for somebody who is there.
func TestKeysOfInboxTokens(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	one := w.must(t, "POST", "/v1/inbox_keys", `{"name":"app"}`)
	secret := text(one, "key")
	if len(secret) != 43 {
		t.Errorf("a key of %d signs: %s", len(secret), secret)
	}
	play(t, w, []step{
		{call: "POST /v1/inbox_keys", status: 201, has: `"name":"" ~ "key":"`},
		{call: "POST /v1/inbox_keys", body: `{"name":"a\nb"}`, status: 422, has: `"pointer":"#/name"`},
		{call: "GET /v1/inbox_keys", status: 200, has: `"name":"app"`, not: secret + ` ~ "key"`},
		{call: "GET /v1/inbox_keys?limit=1", status: 200, has: `"next_cursor":"ikey_`},
		{call: "GET /v1/inbox_keys", key: w.makeKey(t, "writer", "messages:write"), status: 403},
		{call: "DELETE /v1/inbox_keys/" + text(one, "id"), status: 204},
		{call: "DELETE /v1/inbox_keys/" + text(one, "id"), status: 404},
		{call: "GET /v1/inbox_keys", status: 200, not: `"app"`},
		{call: "POST /v1/recipients/ada/token", status: 200, has: `"token":"ey ~ "expires_at":"20`},
		{call: "POST /v1/recipients/ada/token", body: `{"ttl_seconds":60}`, status: 200},
		{call: "POST /v1/recipients/ada/token", body: `{"ttl_seconds":0}`, status: 422, has: `#/ttl_seconds`},
		{call: "POST /v1/recipients/ada/token", body: `{"ttl_seconds":86401}`, status: 422, has: `#/ttl_seconds`},
		{call: "POST /v1/recipients/ghost/token", status: 404},
		{call: "POST /v1/recipients/ada/token", key: "fan_writer", status: 403, has: "inbox:token"},
	})
	for range 19 {
		w.must(t, "POST", "/v1/inbox_keys", "")
	}
	play(t, w, []step{{call: "POST /v1/inbox_keys", status: 409, has: `"code":"too_many"`}})
	kept, err := w.setting(t, "inbox_keys")
	if err != nil || strings.Contains(kept, secret) || !strings.Contains(kept, "sealed") {
		t.Errorf("kept: %s %v", kept, err)
	}
}

func (w *world) setting(t *testing.T, name string) (value string, err error) {
	t.Helper()
	err = w.store.View(t.Context(), func(v fanfare.ControlView) error {
		raw, err := v.Setting(name)
		value = string(raw)
		return err
	})
	return value, err
}
