package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"fanfare"
)

// A picture of one clear dot.
const dot = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;"

// learnTime is how long somebody waits at most for a picture or a page because we want to know of it.
const learnTime = 2 * time.Second

func (s *Server) trackRoutes() {
	open := public("/t/o/{token}", "open", "The picture by which an opened mail is noticed", "image/gif")
	open.doc = "Noted as read, source inferred: mail servers fetch pictures too, and people may have them blocked. Only of mail with track.opens."
	s.plain(open, func(w http.ResponseWriter, r *http.Request) {
		token := r.PathValue("token")
		if _, err := s.Links.read(linkOpen, token); err != nil {
			callOf(r.Context()).refuse(w, unknownToken(err))
			return
		}
		s.learn(r, linkOpen, token, fanfare.ReceiptRead)
		h := w.Header()
		h.Set("Content-Type", "image/gif")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte(dot)) // the client is gone
	})
	click := public("/t/c/{token}", "click", "A link of a mail: notes the click and leads on", "")
	click.doc = "To the address that the token was signed with, and to no other. Only of mail with track.clicks."
	click.status, click.produces = http.StatusFound, nil
	s.plain(click, func(w http.ResponseWriter, r *http.Request) {
		token := r.PathValue("token")
		t, err := s.Links.read(linkClick, token)
		if err != nil || !strings.HasPrefix(strings.ToLower(t.address), "http") {
			callOf(r.Context()).refuse(w, unknownToken(fanfare.ErrNotFound))
			return
		}
		s.learn(r, linkClick, token, fanfare.ReceiptClicked)
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer") // the token is nobody else's
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		http.Redirect(w, r, t.address, http.StatusFound)
	})
}

// learn notes what a person did with their mail, as far as that can be guessed. Whether it could be noted is nothing to them.
func (s *Server) learn(r *http.Request, kind byte, token string, what fanfare.ReceiptKind) {
	if r.Method != http.MethodGet || ahead(r.Header) {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), learnTime) // who looks away has opened it all the same
	defer stop()
	t, m, err := s.linked(ctx, kind, token)
	if err == nil {
		_, err = s.Receive(ctx, []fanfare.ReceiptReport{{Message: m.ID, Recipient: t.recipient, Kind: what, Guess: true}})
	}
	if err != nil && statusOf(err) != http.StatusNotFound { // not: of somebody who was erased
		s.Log.Warn("a receipt is lost", "request", callOf(r.Context()).request, "kind", what, "error", err)
	}
}

// ahead says whether a browser asks before anybody does.
func ahead(h http.Header) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(h.Get(name)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") {
			return true
		}
	}
	return false
}
