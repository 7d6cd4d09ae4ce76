package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fanfare"
)

// CheckOrigin refuses what no browser sends as an Origin.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != origin || origin != strings.ToLower(origin) {
		return fmt.Errorf("%w: inbox origin %q: write it as browsers do, scheme and host in lower case, such as https://app.example.com", fanfare.ErrUsage, origin)
	}
	return nil
}

// ofInbox says whether a path is one of a recipient's own inbox, which pages of other origins may ask.
func ofInbox(path string) bool { return path == "/v1/inbox" || strings.HasPrefix(path, "/v1/inbox/") }

// share lets pages of the origins that are configured ask for the inbox (CORS); done: the browser only asked whether it may.
func (s *Server) share(c *call, w http.ResponseWriter, r *http.Request) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || !ofInbox(r.URL.Path) {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	known := slices.Contains(s.InboxOrigins, origin)
	if known {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	c.route, c.quiet = "OPTIONS /v1/inbox", true
	if known {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID, X-Request-Id")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
