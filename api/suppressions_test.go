package api_test

import (
	"testing"
)

// TestSuppressionsOfAddresses: an address that nobody has yet counts for whoever gets it later, one that somebody has at once.
func TestSuppressionsOfAddresses(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	const at = "/v1/suppressions"
	play(t, w, []step{
		{call: "POST " + at, body: `{"channel":"email"}`, status: 422, has: `"pointer":"#/recipient","code":"required"`},
		{call: "POST " + at, body: `{"recipient":"ada","address":"a@b.example","channel":"email"}`, status: 422, has: `"pointer":"#/address","code":"several"`},
		{call: "POST " + at, body: `{"address":"nonsense","channel":"email"}`, status: 422, has: `"pointer":"#/address"`},
		{call: "POST " + at, body: `{"address":"a@b.example","channel":"inbox"}`, status: 422, has: `"pointer":"#/channel"`},
		{call: "POST " + at, body: `{"address":"a@b.example","channel":"email","reason":"bounced","topic":"x"}`, status: 422, has: `"pointer":"#/topic"`},
		{call: "POST " + at, body: `{"recipient":"ada","channel":"email","topic":"a\nb"}`, status: 422, has: `"pointer":"#/topic"`},
		{call: "POST " + at, body: `{"recipient":"ada","channel":"inbox","topic":"offers","reason":"unsubscribed"}`, status: 201, has: `"channel":"inbox"`},
		{call: "POST " + at, body: `{"address":"Ada@EXAMPLE.com","channel":"email","reason":"unsubscribed"}`, status: 201, has: `"recipient":"" ~ "address":"Ada@EXAMPLE.com"`},
		{call: "GET " + at + "?recipient=ada&channel=email", status: 200, has: `"recipient":"ada","channel":"email","topic":"","reason":"unsubscribed"`},
		{call: "POST " + at, body: `{"address":"new@example.com","channel":"email","topic":"offers"}`, status: 201},
		{call: "GET " + at + "?address=new@example.com", status: 200, has: `"topic":"offers","reason":"suppressed","address":"new@example.com"`},
		{call: "GET " + at + "?address=new@example.com&reason=bounced", status: 200, has: `"items":[]`},
		{call: "GET " + at + "?address=nonsense", status: 422, has: `"parameter":"address"`},
		{call: "GET " + at + "?address=a@b.example&recipient=ada", status: 422, has: `"parameter":"address"`},
		{call: "GET " + at + "?reason=suppressed", status: 200, has: `"recipient":"","channel":"email","topic":"offers"`, not: "new@example.com"},
		{call: "PUT /v1/recipients/newcomer", body: `{"email":"new@example.com"}`, status: 201},
		{call: "GET " + at + "?recipient=newcomer", status: 200, has: `"topic":"offers","reason":"suppressed"`},
		{call: "POST /v1/audiences/count", body: `{"audience":{"recipients":["newcomer"]},"channel":"email","topic":"offers"}`, status: 200, has: `"planned":0,"skipped":{"suppressed":1}`},
		{call: "PATCH /v1/recipients/bob", body: `{"email":"new@example.com"}`, status: 200},
		{call: "GET " + at + "?recipient=bob", status: 200, has: `"topic":"offers","reason":"suppressed"`},
		{call: "PUT /v1/recipients/newcomer", body: `{"email":"new@example.com","resubscribe":true}`, status: 200},
		{call: "GET " + at + "?recipient=newcomer", status: 200, has: `"items":[]`},
		{call: "POST " + at, body: `{"address":"dead@example.com","channel":"email","reason":"bounced"}`, status: 201},
		{call: "PATCH /v1/recipients/newcomer", body: `{"email":"dead@example.com"}`, status: 200},
		{call: "GET " + at + "?recipient=newcomer", status: 200, has: `"reason":"bounced"`},
		{call: "PATCH /v1/recipients/newcomer", body: `{"email":"alive@example.com"}`, status: 200},
		{call: "GET " + at + "?recipient=newcomer", status: 200, has: `"items":[]`},
	})
	entry := text(w.must(t, "GET", at+"?address=new@example.com", "")["items"].([]any)[0].(map[string]any), "id")
	play(t, w, []step{
		{call: "DELETE " + at + "/" + entry, status: 204},
		{call: "DELETE " + at + "/" + entry, status: 404},
		{call: "GET " + at + "?address=new@example.com", status: 200, has: `"items":[]`},
		{call: "GET " + at + "?recipient=bob", status: 200, has: `"reason":"suppressed"`}, // theirs by now
		{call: "PUT /v1/recipients/later", body: `{"email":"new@example.com"}`, status: 201},
		{call: "GET " + at + "?recipient=later", status: 200, has: `"items":[]`},
	})
}

// TestAListingOfSuppressionsIsWhole: page by page each is there once, of recipients and of addresses.
func TestAListingOfSuppressionsIsWhole(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	for _, who := range []string{"ada", "bob"} {
		for _, topic := range []string{"", "offers", "news"} {
			w.must(t, "POST", "/v1/suppressions", `{"recipient":"`+who+`","channel":"email","topic":"`+topic+`"}`)
			w.must(t, "POST", "/v1/suppressions", `{"address":"`+who+`@nowhere.example","channel":"email","topic":"`+topic+`","reason":"unsubscribed"}`)
		}
	}
	seen := map[string]bool{}
	for path := "/v1/suppressions?limit=5"; ; {
		page := w.must(t, "GET", path, "")
		for _, item := range page["items"].([]any) {
			id := text(item.(map[string]any), "id")
			if seen[id] {
				t.Errorf("%s is there twice", id)
			}
			seen[id] = true
		}
		next, more := page["next_cursor"].(string)
		if !more {
			break
		}
		path = "/v1/suppressions?limit=5&cursor=" + next
	}
	if len(seen) != 12 {
		t.Errorf("%d of 12 are listed", len(seen))
	}
}

func TestSuppressionsAreImported(t *testing.T) {
	w := newWorld(t)
	csv := map[string]string{"Content-Type": "text/csv"}
	play(t, w, []step{
		{call: "POST /v1/suppressions/import", body: "address\na@b.example\n", header: csv, status: 202, has: `"id":"imp_1","state":"queued"`},
		{call: "POST /v1/suppressions/import", body: `{"address":"a@b.example"}`, header: map[string]string{"Content-Type": "application/x-ndjson"}, status: 415},
		{call: "POST /v1/suppressions/import?list=x", body: "address\n", header: csv, status: 422, has: `"parameter":"list"`},
		{call: "POST /v1/suppressions/import", body: "address\n", header: csv, key: w.makeKey(t, "reader", "recipients:read"), status: 403},
		{call: "GET /v1/imports/imp_1", status: 200, has: `"list":""`},
	})
}
