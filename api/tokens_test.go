package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare"
)

// jwt signs as any library would.
func jwt(secret, head, body string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestTokensAreVerified(t *testing.T) {
	const hs256 = `{"alg":"HS256","typ":"JWT"}`
	now := time.Unix(1_800_000_000, 0)
	const good = `{"sub":"u1","aud":"fanfare-inbox","exp":1800000060}`
	signed := jwt("k1", hs256, good)
	parts := strings.Split(signed, ".")
	var heads lastHead // one for all, in any order: what is remembered of one token is no good for another
	for name, c := range map[string]struct {
		token string
		sub   string // empty: it is refused
		err   error
	}{
		"good":                    {signed, "u1", nil},
		"of the second key":       {jwt("k2", hs256, good), "u1", nil},
		"naming the second key":   {jwt("k2", `{"alg":"HS256","kid":"2"}`, good), "u1", nil},
		"naming the wrong key":    {jwt("k2", `{"alg":"HS256","kid":"1"}`, good), "", errToken},
		"naming no key":           {jwt("k2", `{"alg":"HS256","kid":"3"}`, good), "", errToken},
		"several audiences":       {jwt("k1", hs256, `{"sub":"u1","aud":["x","fanfare-inbox"],"exp":1800000060.5,"iat":1,"more":{}}`), "u1", nil},
		"any name":                {jwt("k1", hs256, `{"sub":"用户 1","aud":"fanfare-inbox","exp":1800000060}`), "用户 1", nil},
		"ended":                   {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare-inbox","exp":1800000000}`), "", errExpired},
		"without an end":          {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare-inbox"}`), "", errToken},
		"an end that is a text":   {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare-inbox","exp":"1800000060"}`), "", errToken},
		"an end beyond all":       {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare-inbox","exp":1e300}`), "", errToken},
		"not yet":                 {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare-inbox","exp":1800000900,"nbf":1800000300}`), "", errToken},
		"nearly":                  {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare-inbox","exp":1800000900,"nbf":1800000030}`), "u1", nil},
		"of another audience":     {jwt("k1", hs256, `{"sub":"u1","aud":"fanfare","exp":1800000060}`), "", errToken},
		"without an audience":     {jwt("k1", hs256, `{"sub":"u1","exp":1800000060}`), "", errToken},
		"of nobody":               {jwt("k1", hs256, `{"aud":"fanfare-inbox","exp":1800000060}`), "", errToken},
		"alg none":                {jwt("k1", `{"alg":"none"}`, good), "", errToken},
		"alg none, unsigned":      {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", "", errToken},
		"another alg":             {jwt("k1", `{"alg":"HS512"}`, good), "", errToken},
		"alg in another case":     {jwt("k1", `{"alg":"hs256"}`, good), "", errToken},
		"crit":                    {jwt("k1", `{"alg":"HS256","crit":["exp"]}`, good), "", errToken},
		"an unknown key":          {jwt("k3", hs256, good), "", errToken},
		"no key":                  {jwt("", hs256, good), "", errToken},
		"unsigned":                {parts[0] + "." + parts[1] + ".", "", errToken},
		"two parts":               {parts[0] + "." + parts[1], "", errToken},
		"four parts":              {signed + ".", "", errToken},
		"padded":                  {signed + "=", "", errToken},
		"another body":            {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"u2","aud":"fanfare-inbox","exp":1800000060}`)) + "." + parts[2], "", errToken},
		"no JSON":                 {jwt("k1", hs256, `sub`), "", errToken},
		"endless":                 {jwt("k1", hs256, `{"sub":"`+strings.Repeat("u", mostToken)+`","aud":"fanfare-inbox","exp":1800000060}`), "", errToken},
		"nothing":                 {"", "", errToken},
		"a signature cut shorter": {signed[:len(signed)-4], "", errToken},
	} {
		h, _, err := heads.verify(c.token, now, func(kid string) (ring []signingKey, _ error) {
			for _, k := range []signingKey{{"1", []byte("k1")}, {"2", []byte("k2")}} {
				if kid == "" || kid == k.id {
					ring = append(ring, k)
				}
			}
			return ring, nil
		})
		if h.sub != c.sub || !errors.Is(err, c.err) || err == nil && !h.until.After(now) {
			t.Errorf("%s: %q until %v, %v", name, h.sub, h.until, err)
		}
	}
}

// TestRFC7515: the example of the standard (A.1) has our way to sign.
func TestRFC7515(t *testing.T) {
	key, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	const text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	if got := base64.RawURLEncoding.EncodeToString(sign(key, text)); got != "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" {
		t.Error(got)
	}
}

func TestCheckOrigin(t *testing.T) {
	for origin, good := range map[string]bool{"https://app.example.com": true, "http://localhost:3000": true, "https://app.example.com/": false, "app.example.com": false, "*": false,
		"https://App.example.com": false, "https://a@b.example": false, "null": false, "": false, "https://a.example?x": false} {
		if err := CheckOrigin(origin); (err == nil) != good || err != nil && !errors.Is(err, fanfare.ErrUsage) {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// TestOnlyKnownOriginsMayAsk: and only for the inbox.
func TestOnlyKnownOriginsMayAsk(t *testing.T) {
	s, err := New(Config{InboxOrigins: []string{"https://app.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, origin string
		status               int
		allowed              bool
	}{
		{"OPTIONS", "/v1/inbox", "https://app.example.com", 204, true}, {"OPTIONS", "/v1/inbox/m1/read", "https://app.example.com", 204, true},
		{"OPTIONS", "/v1/inbox", "https://evil.example", 204, false}, {"OPTIONS", "/v1/inbox_keys", "https://app.example.com", 405, false},
		{"OPTIONS", "/v1/messages", "https://app.example.com", 405, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, "http://localhost"+c.path, nil)
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Access-Control-Request-Method", "GET")
		r.Header.Set("Access-Control-Request-Headers", "authorization")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		h := w.Header()
		if w.Code != c.status || (h.Get("Access-Control-Allow-Origin") == c.origin) != c.allowed || (h.Get("Access-Control-Allow-Headers") != "") != c.allowed || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%+v: %d %v", c, w.Code, h)
		}
	}
}

// TestAHolderIsWhoTheTokenNames: keys come and go, and each call knows at once.
func TestAHolderIsWhoTheTokenNames(t *testing.T) {
	s := &Server{Config: Config{Tokens: NewTokens([]byte("installation"))}}
	ask := func(authorization string) (string, error) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/v1/inbox?recipient=u2", nil)
		r.Header.Set("Authorization", authorization)
		h, err := s.holder(r)
		return h.sub, err
	}
	token, err := s.Tokens.mint("u1", fanfare.Person{}, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if sub, err := ask("bearer " + token); sub != "u1" || err != nil {
		t.Errorf("%s, %v", sub, err)
	}
	for authorization, code := range map[string]string{"": "no_token", "Basic " + token: "no_token", "Bearer ": "no_token"} {
		if _, err := ask(authorization); asProblem(err).Code != code || asProblem(err).Status != 401 {
			t.Errorf("%q: %v", authorization, err)
		}
	}
	other, err := NewTokens([]byte("another installation")).mint("u1", fanfare.Person{}, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ended, err := s.Tokens.mint("u1", fanfare.Person{}, time.Now().Add(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for token, code := range map[string]string{other: "wrong_token", ended: "token_expired"} {
		if _, err := ask("Bearer " + token); asProblem(err).Code != code {
			t.Errorf("%v", err)
		}
	}
}

// TestATokensFaultIsNamed: whoever signs well but writes a wrong claim is not sent to look at their key.
func TestATokensFaultIsNamed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for body, want := range map[string]string{
		`{"sub":"u1","aud":"fanfare","exp":1800000060}`:         "aud has to be",
		`{"sub":"u1","aud":"fanfare-inbox","exp":"1800000060"}`: "exp, a number",
		`{"sub":"","aud":"fanfare-inbox","exp":1800000060}`:     "sub has to be",
	} {
		for _, key := range []string{"k1", "k2"} {
			token := jwt(key, `{"alg":"HS256"}`, body)
			_, _, err := new(lastHead).verify(token, now, func(string) ([]signingKey, error) { return []signingKey{{"1", []byte("k1")}}, nil })
			if !errors.Is(err, errToken) || strings.Contains(err.Error(), want) != (key == "k1") || strings.Contains(err.Error(), "not signed") != (key != "k1") {
				t.Errorf("%s signed with %s: %v", body, key, err)
			}
		}
	}
}

// TestAKnownTokenIsLookedAtAgain: what is remembered of a token never outlives its end or its key, and one that may not be used yet is not remembered.
func TestAKnownTokenIsLookedAtAgain(t *testing.T) {
	tokens, now := NewTokens([]byte("installation")), time.Unix(1_800_000_000, 0)
	ring := []signingKey{{"1", []byte("k1")}, {"2", []byte("k2")}}
	check := func(token string, at time.Time) (string, error) {
		h, err := tokens.check(token, at, func(kid string) (found []signingKey, _ error) {
			for _, k := range ring {
				if kid == "" || k.id == kid {
					found = append(found, k)
				}
			}
			return found, nil
		})
		if (err == nil) != h.until.After(at) {
			t.Errorf("until %v, %v", h.until, err)
		}
		return h.sub, err
	}
	const hs256, named = `{"alg":"HS256"}`, `{"alg":"HS256","kid":"2"}`
	of := func(key, head, sub string) string {
		return jwt(key, head, `{"sub":"`+sub+`","aud":"fanfare-inbox","exp":1800000060}`)
	}
	one, two := of("k1", hs256, "u1"), of("k2", named, "u2")
	for range 3 {
		for token, want := range map[string]string{one: "u1", two: "u2"} {
			if sub, err := check(token, now); sub != want || err != nil {
				t.Errorf("%q, %v; want %s", sub, err, want)
			}
		}
	}
	if n := len(tokens.verified.now); n != 2 {
		t.Errorf("%d are remembered", n)
	}
	if _, err := check(one, now.Add(time.Minute)); !errors.Is(err, errExpired) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := check(one[:len(one)-1]+"A", now); !errors.Is(err, errToken) {
		t.Errorf("another signature: %v", err)
	}
	ring = []signingKey{{"1", []byte("another")}, {"2", []byte("k2")}}
	if _, err := check(one, now); !errors.Is(err, errKey) {
		t.Errorf("another secret: %v", err)
	}
	ring = ring[:1]
	if _, err := check(two, now); !errors.Is(err, errKey) {
		t.Errorf("a key that was revoked: %v", err)
	}
	ring = []signingKey{{"1", []byte("k1")}}
	early := jwt("k1", hs256, `{"sub":"u3","aud":"fanfare-inbox","exp":1800000900,"nbf":1800000300}`)
	for at, good := range map[time.Duration]bool{0: false, 5 * time.Minute: true} {
		if _, err := check(early, now.Add(at)); (err == nil) != good {
			t.Errorf("nbf, after %v: %v", at, err)
		}
	}
	for i := range 3 * verifiedBytes / 200 {
		if i%50 == 0 { // one that is asked with stays
			if _, found := tokens.verified.find(sha256.Sum256([]byte(one))); !found {
				t.Fatalf("%d others, and it is forgotten", i)
			}
		}
		tokens.verified.add(sha256.Sum256(strconv.AppendInt(nil, int64(i), 10)), holding{})
	}
	if n := len(tokens.verified.now) + len(tokens.verified.old); n > 2*verifiedBytes/200 {
		t.Errorf("%d are remembered", n)
	}
}
