package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
)

// A recipient's token is a JWT (RFC 7519) signed with HS256: {"sub": external id, "aud": "fanfare-inbox", "exp"}. Nothing else is taken, so there
// is nothing to negotiate: no other algorithm, no token without an end. Where somebody who had the external id was erased it has to say for whom
// it was made: by "iat", or by "of", a tag of the person, in those that we sign.
const (
	tokenAudience = "fanfare-inbox"
	ownKey        = "fanfare" // the kid of tokens that we sign
	mostToken     = 4096
	tokenLeeway   = time.Minute // of nbf and iat: clocks differ. An end is an end
)

// ringTime is how long a node takes the keys of others for granted.
const ringTime = time.Second

// Tokens makes and reads recipients' tokens.
type Tokens struct {
	own      []byte
	verified verified
	head     lastHead

	mu   sync.Mutex
	ring []signingKey // guarded by mu; of integrators
	read time.Time    // guarded by mu; when ring was
}

// signingKey is one key that tokens are signed with.
type signingKey struct {
	id     string
	secret []byte
}

// NewTokens makes the tokens of an installation.
func NewTokens(installation []byte) *Tokens {
	mac := hmac.New(sha256.New, installation)
	_, _ = mac.Write([]byte("fanfare inbox token 1"))
	return &Tokens{own: mac.Sum(nil)}
}

type tokenHeader struct {
	Alg  string          `json:"alg"`
	Typ  string          `json:"typ,omitempty"`
	Kid  string          `json:"kid,omitempty"`
	Crit json.RawMessage `json:"crit,omitempty"`
}

// meantFor is an aud: one or several.
type meantFor []string

// UnmarshalJSON reads a text or a list of texts.
func (a *meantFor) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = meantFor{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

type claims struct {
	Sub string   `json:"sub"`
	Aud meantFor `json:"aud"`
	Exp *float64 `json:"exp"`
	Nbf *float64 `json:"nbf,omitempty"`
	Iat any      `json:"iat,omitempty"` // a number, or it says nothing
	Of  any      `json:"of,omitempty"`  // ours alone
}

func sign(secret []byte, text string) []byte {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(text))
	return mac.Sum(nil)
}

// tag is a keyed one of a person, whose number is nobody else's ever: it tells a token's holder nothing.
func (t *Tokens) tag(who fanfare.Person) string {
	return base64.RawURLEncoding.EncodeToString(sign(t.own, fmt.Sprintf("\x00person %d/%d", who.Slot, who.Seq))[:8])
}

// since says whether a token was made for whoever has its external id now, somebody else having had it until erased: it has their tag, or was
// signed a leeway later, since the clocks of who signs and of the database differ.
func (t *Tokens) since(h *holding, who fanfare.Person, erased time.Time) bool {
	if h.of != "" {
		return hmac.Equal([]byte(h.of), []byte(t.tag(who)))
	}
	return h.issued.After(erased.Add(tokenLeeway))
}

// mint signs a token of our own.
func (t *Tokens) mint(sub string, who fanfare.Person, until time.Time) (string, error) {
	head, err := json.Marshal(tokenHeader{Alg: "HS256", Typ: "JWT", Kid: ownKey})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(struct {
		Sub string `json:"sub"`
		Aud string `json:"aud"`
		Exp int64  `json:"exp"`
		Of  string `json:"of"`
	}{sub, tokenAudience, until.Unix(), t.tag(who)})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(t.own, text)), nil
}

var (
	errToken   = errors.New("it is none of this inbox")
	errKey     = fmt.Errorf("%w: it is not signed by a key that is known here", errToken)
	errExpired = errors.New("its time is over")
)

// lastHead remembers the header of the last good token, and what it says: tokens of one signer begin alike.
type lastHead struct {
	atomic.Pointer[knownHead]
}

type knownHead struct{ text, kid string }

// verify tells whose a token is, until when, and which key signed it: one of those that may have. Lasting: its end alone ends it.
func (last *lastHead) verify(token string, now time.Time, keys func(kid string) ([]signingKey, error)) (h holding, lasting bool, err error) {
	if len(token) > mostToken {
		return holding{}, false, errToken
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return holding{}, false, fmt.Errorf("%w: it is no JWT", errToken)
	}
	var raw [3][]byte
	for i, part := range parts {
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return holding{}, false, fmt.Errorf("%w: it is no JWT", errToken)
		}
	}
	var head tokenHeader
	if good := last.Load(); good != nil && good.text == parts[0] {
		head.Kid = good.kid
	} else if json.Unmarshal(raw[0], &head) != nil || head.Alg != "HS256" || head.Crit != nil {
		return holding{}, false, fmt.Errorf("%w: it has to be signed with HS256, without crit", errToken)
	}
	known, err := keys(head.Kid)
	if err != nil {
		return holding{}, false, err
	}
	text := parts[0] + "." + parts[1]
	signer := slices.IndexFunc(known, func(k signingKey) bool { return hmac.Equal(sign(k.secret, text), raw[2]) })
	if signer < 0 {
		return holding{}, false, errKey
	}
	var c claims
	switch err := json.Unmarshal(raw[1], &c); {
	case err != nil:
		return holding{}, false, fmt.Errorf("%w: its claims have to be sub, a text, aud, texts, and exp, a number", errToken)
	case c.Sub == "":
		return holding{}, false, fmt.Errorf("%w: sub has to be an external id", errToken)
	case !slices.Contains(c.Aud, tokenAudience):
		return holding{}, false, fmt.Errorf("%w: aud has to be %s", errToken, tokenAudience)
	case c.Exp == nil || *c.Exp <= 0 || *c.Exp > 1<<40:
		return holding{}, false, fmt.Errorf("%w: exp has to be a time in seconds", errToken)
	case c.Nbf != nil && moment1(*c.Nbf).After(now.Add(tokenLeeway)):
		return holding{}, false, fmt.Errorf("%w: it is not to be used yet (nbf)", errToken)
	}
	until := moment1(*c.Exp)
	if !now.Before(until) {
		return holding{}, false, errExpired
	}
	if good := last.Load(); good == nil || good.text != parts[0] {
		last.Store(&knownHead{strings.Clone(parts[0]), head.Kid})
	}
	h = holding{sub: c.Sub, until: until, key: known[signer], kid: head.Kid}
	if at, says := c.Iat.(float64); says {
		h.issued = moment1(at)
	}
	if h.key.id == ownKey {
		h.of, _ = c.Of.(string)
	}
	return h, c.Nbf == nil, nil
}

func moment1(seconds float64) time.Time {
	whole, part := math.Modf(max(-1<<40, min(seconds, 1<<40)))
	return time.Unix(int64(whole), int64(part*1e9)).UTC()
}

// holder finds whose inbox a request is about: the recipient in its token, never one in a path or body.
func (s *Server) holder(r *http.Request) (h holding, err error) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return h, problem(http.StatusUnauthorized, "no_token", "Give the recipient's token: Authorization: Bearer TOKEN. POST /v1/recipients/{external_id}/token makes one.")
	}
	h, err = s.Tokens.check(strings.TrimSpace(token), time.Now(), func(kid string) ([]signingKey, error) { return s.signers(r.Context(), kid) })
	switch {
	case errors.Is(err, errExpired):
		err = problem(http.StatusUnauthorized, "token_expired", "The token's time is over; get another one.")
	case errors.Is(err, errToken):
		err = problem(http.StatusUnauthorized, "wrong_token", "The token is not taken: %v.", err)
	}
	return h, err
}

// signers lists who may have signed a token that says kid, empty: nothing.
func (s *Server) signers(ctx context.Context, kid string) (found []signingKey, err error) {
	if kid == ownKey {
		return []signingKey{{ownKey, s.Tokens.own}}, nil
	}
	t := s.Tokens
	t.mu.Lock()
	ring, fresh := t.ring, time.Since(t.read) < ringTime && s.Alone()
	t.mu.Unlock()
	if !fresh {
		began := time.Now()
		if ring, err = s.readRing(ctx); err != nil {
			return nil, err
		}
		t.mu.Lock()
		t.ring, t.read = ring, began
		t.mu.Unlock()
	}
	for _, k := range ring {
		if kid == "" || k.id == kid {
			found = append(found, k)
		}
	}
	return found, nil
}

// changed has the keys read again.
func (t *Tokens) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = time.Time{}
}

func (s *Server) readRing(ctx context.Context) (ring []signingKey, err error) {
	var kept []inboxKey
	if err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		kept, err = inboxKeys(v)
		return err
	}); err != nil {
		return nil, err
	}
	for _, k := range kept {
		secret, err := s.Open(k.sealedAs(), k.Secret)
		if err != nil {
			s.Log.Error("a key of inbox tokens cannot be opened; revoke it and make another one", "key", k.ID, "error", err)
			continue
		}
		ring = append(ring, signingKey{k.ID, []byte(secret)})
	}
	return ring, nil
}
