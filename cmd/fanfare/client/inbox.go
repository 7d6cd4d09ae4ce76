package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// InboxKey is a key as POST /v1/inbox_keys answers it.
type InboxKey struct {
	ID  string
	Key string
}

// Token signs a recipient's token that ends at until, as an integrator's server does: a JWT by HS256.
func (k InboxKey) Token(recipient string, until time.Time) string {
	part := func(v any) string {
		b, _ := json.Marshal(v) // texts and numbers only
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(map[string]string{"alg": "HS256", "typ": "JWT", "kid": k.ID}) + "." +
		part(map[string]any{"sub": recipient, "aud": "fanfare-inbox", "exp": until.Unix()})
	mac := hmac.New(sha256.New, []byte(k.Key))
	_, _ = mac.Write([]byte(signed)) // never fails
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
