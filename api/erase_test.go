package api_test

import (
	"strings"
	"testing"

	"fanfare"
)

func TestErase(t *testing.T) {
	w := newWorld(t)
	play(t, w, []step{
		{call: "PUT /v1/recipients/ada", body: `{"email":"ada@example.com","phone":"+49 1","attributes":{"city":"Bonn"}}`, status: 201},
		{call: "PUT /v1/recipients/bob", body: `{"email":"bob@example.com"}`, status: 201},
		{call: "POST /v1/lists", body: `{"name":"vip"}`, status: 201},
		{call: "POST /v1/lists/vip/members", body: `{"add":["ada","bob"]}`, status: 200, has: `"added":2`},
		{call: "POST /v1/suppressions", body: `{"recipient":"ada","channel":"inbox"}`, status: 201, header: map[string]string{"Idempotency-Key": "s"}},
		{call: "POST /v1/messages", body: `{"name":"n","channel":"null","audience":{"recipients":["ada","bob"]},"content":{}}`, status: 201, header: map[string]string{"Idempotency-Key": "m"}},
		{call: "DELETE /v1/recipients/nobody", status: 404, has: `"code":"not_found"`},
		{call: "DELETE /v1/recipients/ada", status: 202, has: `"erased":1,"unknown":[]`},
		{call: "DELETE /v1/recipients/ada", status: 202, has: `"erased":1`},
		{call: "GET /v1/recipients/ada", status: 404},
		{call: "GET /v1/recipients?query=ada", status: 200, has: `"items":[]`},
		{call: "GET /v1/lists/vip", status: 200, has: `"recipients":1`},
		{call: "GET /v1/lists/vip/members", status: 200, has: `"bob"`, not: "ada"},
		{call: "GET /v1/suppressions", status: 200, has: `"items":[]`},
		{call: "GET /v1/messages/{m}", status: 200, has: `{"recipients":["bob"]}`, not: `"ada"`},
		{call: "POST /v1/messages", body: `{"name":"n","channel":"null","audience":{"recipients":["ada","bob"]},"content":{}}`, status: 201, header: map[string]string{"Idempotency-Key": "m"}, not: `"ada"`},
		{call: "POST /v1/suppressions", body: `{"recipient":"ada","channel":"inbox"}`, status: 201, header: map[string]string{"Idempotency-Key": "s"}, has: `"recipient":null`},
		{call: "GET /v1/audit", status: 200, has: `"action":"recipient.erase","object":"","detail":"1"`, not: "ada"},
		{call: "PUT /v1/recipients/ada", body: `{"email":"new@example.com"}`, status: 201},
		{call: "GET /v1/suppressions?recipient=ada", status: 200, has: `"channel":"","topic":"","reason":"erased"`},
		{call: "GET /v1/suppressions?reason=erased", status: 200, has: `"recipient":"ada"`, not: "bob"},
		{call: "POST /v1/audiences/count", body: `{"audience":{"all":true},"channel":"email"}`, status: 200, has: `"planned":1,"skipped":{"erased":1}`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"all":true},"channel":"inbox"}`, status: 200, has: `"planned":1,"skipped":{"erased":1}`},
		{call: "PUT /v1/recipients/carl", body: `{"email":"Ada@EXAMPLE.com"}`, status: 201},
		{call: "GET /v1/suppressions?reason=erased", status: 200, has: `"recipient":"carl" ~ "recipient":"ada"`},
		{call: "PATCH /v1/recipients/carl", body: `{"resubscribe":true}`, status: 200},
		{call: "PUT /v1/recipients/ada", body: `{"email":"new@example.com","resubscribe":true}`, status: 200},
		{call: "GET /v1/suppressions?reason=erased", status: 200, has: `"items":[]`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"all":true},"channel":"email"}`, status: 200, has: `"planned":3,"skipped":{}`},
		{call: "POST /v1/recipients/erase", body: `{"external_ids":[]}`, status: 422, has: `#/external_ids`},
		{call: "POST /v1/recipients/erase", body: `{"external_ids":["bob","nobody","ada","ada","none"]}`, status: 202, has: `"erased":2,"unknown":["nobody","none"]`, header: map[string]string{"Idempotency-Key": "e"}},
		{call: "POST /v1/recipients/erase", body: `{"external_ids":["bob","nobody","ada","ada","none"]}`, status: 202, has: `"erased":2,"unknown":["nobody","none"]`, header: map[string]string{"Idempotency-Key": "e"}},
		{call: "GET /v1/recipients", status: 200, has: `"carl"`, not: `"bob"`},
	})
	found, err := w.store.Resolve(t.Context(), fanfare.SlotOf("bob", w.store.Slots()), []string{"bob"})
	if err != nil || found[0] != -1 {
		t.Errorf("bob is %v, %v", found, err)
	}
}

// TestEraseAddressAsItWasWritten: an answer that is kept has the address in the caller's spelling, which may be another than the profile's.
func TestEraseAddressAsItWasWritten(t *testing.T) {
	w := newWorld(t)
	play(t, w, []step{
		{call: "PUT /v1/recipients/ada", body: `{"email":"ada@example.com"}`, status: 201},
		{call: "POST /v1/suppressions", body: `{"address":"ADA@Example.com","channel":"email","reason":"bounced"}`, status: 201, header: map[string]string{"Idempotency-Key": "a"}, has: `"address":"ADA@Example.com"`},
		{call: "DELETE /v1/recipients/ada", status: 202},
		{call: "POST /v1/suppressions", body: `{"address":"ADA@Example.com","channel":"email","reason":"bounced"}`, status: 201, header: map[string]string{"Idempotency-Key": "a"}, has: `"address":null`},
	})
}

// TestEraseSuppression: what an erasure left is lifted by consent alone.
func TestEraseSuppression(t *testing.T) {
	w := newWorld(t)
	play(t, w, []step{
		{call: "PUT /v1/recipients/ada", body: `{}`, status: 201},
		{call: "DELETE /v1/recipients/ada", status: 202},
		{call: "PUT /v1/recipients/ada", body: `{}`, status: 201},
	})
	a := w.do(t, request{method: "GET", path: "/v1/suppressions?recipient=ada"})
	_, rest, _ := strings.Cut(a.body, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	play(t, w, []step{
		{call: "DELETE /v1/suppressions/" + id, status: 409, has: `"code":"erased" ~ resubscribe`},
		{call: "GET /v1/suppressions?recipient=ada", status: 200, has: `"reason":"erased"`},
	})
}
