package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"time"
)

// component serves /inbox.js, the inbox that other sites show on their own pages. It is no page of this site: every origin may load it, as
// it holds nothing of anybody; what may ask for an inbox is a matter of the API (inbox_origins).
type component struct {
	plain, packed []byte
	version       string
}

func newComponent(a asset) *component {
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // a level that is known
	_, _ = z.Write(a.body)                                     // into memory
	_ = z.Close()
	return &component{plain: a.body, packed: packed.Bytes(), version: a.version}
}

// ServeHTTP implements http.Handler.
func (c *component) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*") // for integrity="…", which needs it
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=300, stale-while-revalidate=86400") // its address stays when it changes
	h.Set("Vary", "Accept-Encoding")
	body, tag := c.plain, `"`+c.version+`"`
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = c.packed, `"`+c.version+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// takesGzip reads Accept-Encoding as far as browsers and proxies write it.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			return weight != "q=0" && !strings.HasPrefix(weight, "q=0.0")
		}
	}
	return false
}
