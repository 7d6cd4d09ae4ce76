// Package web is the page at /: the messages, one message live with its balance as a sum, and the buttons its state allows.
//
// It is server-rendered and uses the public HTTP API only, called in this process with the visitor's own key, so every check is
// the API's and the page can do nothing that a script could not. It promises that text from outside never becomes HTML (html/template
// escapes it, the script sets text only, and the policy forbids inline script and style), that a form works from this origin only,
// and that all of it works without JavaScript, which only makes the numbers move.
//
// /inbox.js is not of that page: a web component that shows recipients their own inbox on the pages of other origins.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
)

//go:embed assets templates words.json
var files embed.FS

// Config is what the page needs.
type Config struct {
	API    http.Handler // serves /v1, see the API's documentation
	Logger *slog.Logger
}

// site is the handler's parts; it never changes after New.
type site struct {
	api    http.Handler
	log    *slog.Logger
	words  map[string]map[string]string             // language → key → text
	pages  map[string]map[string]*template.Template // language → page
	assets map[string]asset                         // by file name
}

type asset struct {
	body    []byte
	kind    string
	version string // of its content: an address never shows another content
}

// policy lets the page load its own files and post to itself, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// New makes the handler for / and everything below it that nothing else serves.
func New(c Config) http.Handler {
	s := &site{api: c.API, log: c.Logger, words: readWords(), assets: readAssets()}
	s.pages = s.parse()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.list)
	mux.HandleFunc("GET /messages/{id}", s.message)
	mux.HandleFunc("GET /messages/{id}/items", s.items)
	mux.HandleFunc("GET /messages/{id}/stream", s.stream)
	mux.HandleFunc("GET /messages/{id}/{action}", s.confirm)
	mux.HandleFunc("POST /messages/{id}/{action}", s.act)
	mux.HandleFunc("POST /signin", s.signIn)
	mux.HandleFunc("POST /signout", s.signOut)
	mux.HandleFunc("GET /assets/{file}", s.asset)
	mux.HandleFunc("/", s.notFound)

	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, http.StatusForbidden, "problem", &page{Notice: &notice{Bad: true, Text: s.say(r, "problem.cross_origin")}})
	}))
	protected := protection.Handler(mux)
	component := newComponent(s.assets["inbox.js"])
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/inbox.js" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			component.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// Not no-referrer: with it a browser posts "Origin: null", and over plain HTTP there is no Sec-Fetch-Site to go by instead.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		protected.ServeHTTP(w, r)
	})
}

func readAssets() map[string]asset {
	out := map[string]asset{}
	entries, _ := fs.ReadDir(files, "assets") // embedded: it is there
	for _, e := range entries {
		body, _ := files.ReadFile("assets/" + e.Name())
		sum := sha256.Sum256(body)
		out[e.Name()] = asset{body: body, kind: mime.TypeByExtension(path.Ext(e.Name())), version: hex.EncodeToString(sum[:6])}
	}
	return out
}

func (s *site) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("file")]
	if !ok {
		s.notFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	if r.URL.RawQuery == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(a.body)
}
