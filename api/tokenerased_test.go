package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/api"
)

// TestNobodyIsReachedByATokenOfTheErased: whoever has the external id of somebody who was erased is opened by what was made for them alone, whoever
// signed it and whether it was asked with before or not; others notice nothing.
func TestNobodyIsReachedByATokenOfTheErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *api.Config) { c.Inbox, c.Feed = doors{store: c.Store}, quiet{} })
		key := text(w.must(t, "POST", "/v1/inbox_keys", ""), "key")
		own := func(id string) string {
			return text(w.must(t, "POST", "/v1/recipients/"+id+"/token", `{"ttl_seconds":86400}`), "token")
		}
		claims := func(id, more string) string {
			return signedText(key, fmt.Sprintf(`{"sub":%q,"aud":"fanfare-inbox","exp":%d%s}`, id, time.Now().Add(24*time.Hour).Unix(), more))
		}
		at := func(after time.Duration) string { return fmt.Sprintf(`,"iat":%d`, time.Now().Add(after).Unix()) }
		opens := func(what, token string, status int, code string) {
			t.Helper()
			for _, path := range []string{"/v1/inbox/count", "/v1/inbox/stream"} {
				if status == http.StatusOK && path == "/v1/inbox/stream" {
					continue // it has no end
				}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
				r.Header.Set("Authorization", "Bearer "+token)
				a := httptest.NewRecorder()
				w.ServeHTTP(a, r)
				if a.Code != status || !strings.Contains(a.Body.String(), code) {
					t.Errorf("%s, %s: %d %s", what, path, a.Code, a.Body)
				}
			}
		}
		w.must(t, "PUT", "/v1/recipients/ada", "{}")
		w.must(t, "PUT", "/v1/recipients/bob", "{}")
		old := map[string]string{"ours": own("ada"), "signed": claims("ada", ""), "signed with iat": claims("ada", at(0)), "signed by a clock that is ahead": claims("ada", at(50*time.Second)),
			"with a tag that is not ours": claims("ada", `,"of":"x"`), "with an iat that is a text": claims("ada", `,"iat":"2040-01-01"`), "ours, never asked with": own("ada")}
		bob := map[string]string{"ours": own("bob"), "signed": claims("bob", "")}
		for name, token := range old {
			if name != "ours, never asked with" {
				opens(name, token, 200, "")
			}
		}
		time.Sleep(time.Second) // of the synctest bubble
		w.must(t, "DELETE", "/v1/recipients/ada", "")
		for name, token := range old {
			opens(name+", while nobody has it", token, 401, "wrong_token")
		}
		w.must(t, "PUT", "/v1/recipients/ada", "{}")
		for range 2 { // also by what is remembered
			for name, token := range old {
				opens(name, token, 401, "token_of_erased")
			}
		}
		ours := own("ada")
		opens("ours, made anew at once", ours, 200, "")
		opens("signed within the minute that clocks may differ", claims("ada", at(0)), 401, "token_of_erased")
		time.Sleep(61 * time.Second) // of the synctest bubble
		signed := claims("ada", at(0))
		opens("signed anew", signed, 200, "")
		opens("signed anew without iat", claims("ada", ""), 401, "token_of_erased")
		opens("with another one's tag", claims("ada", `,"of":"`+"AAAAAAAAAAA"+`"`), 401, "token_of_erased")

		w.must(t, "DELETE", "/v1/recipients/ada", "")
		w.must(t, "PUT", "/v1/recipients/ada", "{}")
		for name, token := range map[string]string{"ours": ours, "signed": signed} {
			opens(name+", erased once more", token, 401, "token_of_erased")
		}
		opens("ours, made after that", own("ada"), 200, "")
		for name, token := range bob {
			opens("another's, "+name, token, 200, "")
		}
	})
}
