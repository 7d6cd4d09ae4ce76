package web

import (
	"errors"
	"net/http"
	"strings"
)

// The cookies: the visitor's API key, and the language they chose.
const (
	keyCookie      = "fanfare_key"
	languageCookie = "fanfare_language"
)

// key is the API key of the visitor, empty when they have not signed in.
func key(r *http.Request) string {
	c, err := r.Cookie(keyCookie)
	if err != nil || !plausible(c.Value) {
		return ""
	}
	return c.Value
}

// plausible says whether k can be a key at all: what fits in a cookie and a header as it is.
func plausible(k string) bool {
	return len(k) > 0 && len(k) <= 512 && !strings.ContainsFunc(k, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`",;\`, c)
	})
}

func keep(w http.ResponseWriter, r *http.Request, name, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure(r)})
}

// secure says whether the visitor's browser came by TLS, to this process or to the proxy before it.
func secure(r *http.Request) bool {
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(proto), "https")
}

// signIn tries the key with the API before it is kept: for the browser's session, out of reach of scripts.
func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	given, next := strings.TrimSpace(r.PostFormValue("key")), r.PostFormValue("next")
	if !strings.HasPrefix(next, "/messages/") { // anything else might lead to another site
		next = "/"
	}
	var err error = &problem{Status: http.StatusUnauthorized}
	if plausible(given) {
		trial := r.Clone(r.Context())
		trial.Header.Del("Cookie")
		trial.AddCookie(&http.Cookie{Name: keyCookie, Value: given})
		err = s.call(trial, http.MethodGet, "/v1/messages?limit=1", "", nil, nil)
	}
	if err == nil {
		keep(w, r, keyCookie, given, 0)
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	var p *problem
	if errors.As(err, &p) && p.Status == http.StatusUnauthorized {
		s.askForKey(w, r, next, s.say(r, "signin.wrong"))
		return
	}
	s.fail(w, r, err)
}

func (s *site) signOut(w http.ResponseWriter, r *http.Request) {
	keep(w, r, keyCookie, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// askForKey shows the form, at whatever address the visitor wanted.
func (s *site) askForKey(w http.ResponseWriter, r *http.Request, next, complaint string) {
	p := &page{Title: s.say(r, "signin.title"), SignedOut: true, Body: next, Here: next}
	if complaint != "" {
		p.Notice = &notice{Bad: true, Text: complaint}
	}
	s.show(w, r, http.StatusUnauthorized, "signin", p)
}
