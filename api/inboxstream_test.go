package api_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/api"
)

// doors finds recipients as the store has them; nothing else of an inbox.
type doors struct {
	api.Inbox
	store api.Store
}

func (d doors) Who(ctx context.Context, id string) (fanfare.Person, time.Time, error) {
	return d.store.Known(ctx, id)
}

func (doors) Count(context.Context, fanfare.Person) (n api.InboxCounts, err error) { return n, nil }

// quiet is a feed and a follower that have no news.
type quiet struct{}

func (quiet) Follow(fanfare.Person, string) api.InboxFollower   { return quiet{} }
func (quiet) Following(fanfare.Person) (its, all int)           { return 0, 0 }
func (quiet) Woken() <-chan struct{}                            { return nil }
func (quiet) News(context.Context) (n api.InboxNews, err error) { return n, nil }
func (quiet) Close()                                            {}

// signed is a token as an integrator's server signs it.
func signed(key, sub string) string {
	return signedText(key, fmt.Sprintf(`{"sub":%q,"aud":"fanfare-inbox","exp":%d}`, sub, time.Now().Add(time.Hour).Unix()))
}

// signedText signs claims.
func signedText(key, claims string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	t := b64([]byte(`{"alg":"HS256"}`)) + "." + b64([]byte(claims))
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(t))
	return t + "." + b64(mac.Sum(nil))
}

// TestAStreamEndsWithItsRight: an open stream ends soon after its key is revoked or its recipient erased, also if somebody new has the external id; another goes on.
func TestAStreamEndsWithItsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *api.Config) { c.Inbox, c.Feed = doors{store: c.Store}, quiet{} })
		for _, id := range []string{"ada", "bob", "eve"} {
			w.must(t, "PUT", "/v1/recipients/"+id, "{}")
		}
		own := func(id string) string { return text(w.must(t, "POST", "/v1/recipients/"+id+"/token", ""), "token") }
		key := w.must(t, "POST", "/v1/inbox_keys", "")
		ends := map[string]chan struct{}{}
		ctx, stop := context.WithCancel(t.Context())
		for name, token := range map[string]string{"stays": own("bob"), "erased": own("ada"), "put anew": own("eve"), "revoked": signed(text(key, "key"), "bob")} {
			end := make(chan struct{})
			ends[name] = end
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/inbox/stream", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			go func() {
				defer close(end)
				w.ServeHTTP(httptest.NewRecorder(), r)
			}()
		}
		over := func(name string) bool {
			select {
			case <-ends[name]:
				return true
			default:
				return false
			}
		}
		time.Sleep(16 * time.Second) // of the synctest bubble
		for name := range ends {
			if over(name) {
				t.Errorf("%s: it ended by itself", name)
			}
		}
		w.must(t, "DELETE", "/v1/recipients/ada", "")
		w.must(t, "DELETE", "/v1/recipients/eve", "")
		w.must(t, "PUT", "/v1/recipients/eve", "{}")
		w.must(t, "DELETE", "/v1/inbox_keys/"+text(key, "id"), "")
		time.Sleep(16 * time.Second) // of the synctest bubble
		for name := range ends {
			if over(name) != (name != "stays") {
				t.Errorf("%s: ended %v", name, over(name))
			}
		}
		stop()
		<-ends["stays"]
	})
}
