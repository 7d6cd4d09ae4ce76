package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// maxBody bounds a JSON body.
const maxBody = 16 << 20

// readJSON takes the whole body in, so that what is no JSON is refused before anything looks at it, NUL in a text unless nul. An empty one stays empty.
func readJSON(c *call, r *http.Request, sum hash.Hash, nul bool) error {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var most *http.MaxBytesError
	switch {
	case errors.As(err, &most):
		return problem(http.StatusRequestEntityTooLarge, "too_large", "A JSON body may have 16 MB; send less at once. Recipients by the million go through POST /v1/imports.")
	case err != nil:
		p := problem(http.StatusBadRequest, "broken_body", "The body broke off; send it again.")
		p.cause = err
		return p
	}
	_, _ = sum.Write(b)
	if b = bytes.TrimSpace(b); len(b) > 0 {
		if err := checkJSON(r, b); err != nil {
			return err
		}
		if !nul && bytes.Contains(b, []byte(`\u0000`)) && holdsNUL(b) {
			return problem(http.StatusUnprocessableEntity, "nul", "A text holds the character NUL, which cannot be kept; remove it.")
		}
		r.Header.Set("Content-Type", "application/json")
	}
	c.raw = b
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return nil
}

func checkJSON(r *http.Request, b []byte) error {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		media, _, err := mime.ParseMediaType(kind)
		if err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
			return problem(http.StatusUnsupportedMediaType, "media_type", "The body has to be JSON, said by Content-Type: application/json.")
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return problem(http.StatusUnsupportedMediaType, "encoding", "A JSON body comes as it is, without Content-Encoding.")
	}
	var raw json.RawMessage
	switch err := json.Unmarshal(b, &raw); {
	case err != nil:
		return problem(http.StatusBadRequest, "not_json", "The body is no JSON: %v. Mend it there.", err)
	case !utf8.Valid(b):
		return problem(http.StatusBadRequest, "not_json", "The body is not valid UTF-8; encode it as UTF-8.")
	}
	return nil
}

func holdsNUL(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := t.(string); ok && strings.IndexByte(s, 0) >= 0 {
			return true
		}
	}
}

// noFields refuses what stands in a body where nothing is expected, as it is refused where something is.
func noFields(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(b, &given); err != nil {
		return invalid("#", "wrong_type", "this call takes no body, or an empty object")
	}
	var wrong []FieldDetail
	for _, name := range slices.Sorted(maps.Keys(given)) {
		wrong = append(wrong, FieldDetail{Pointer: pointer(name), Code: "unknown_field", Detail: "this call takes no fields; remove it"})
	}
	if len(wrong) > 0 {
		return refuse(wrong...)
	}
	return nil
}

// miscased refuses names that differ from a field's in case alone: huma and encoding/json would take them for the field.
func miscased(known huma.Registry, body *huma.RequestBody, b []byte) error {
	media := body.Content["application/json"]
	if media == nil || media.Schema == nil || len(b) == 0 {
		return nil
	}
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		return because(err, invalid("#", "out_of_range", "holds a number that is too large: at most 1.7e308 can be kept")) // it is JSON: that was looked at
	}
	if wrong := miscasedIn(known, media.Schema, doc, nil); len(wrong) > 0 {
		return refuse(wrong...)
	}
	return nil
}

func miscasedIn(known huma.Registry, s *huma.Schema, doc any, at []string) (wrong []FieldDetail) {
	for s != nil && s.Ref != "" {
		s = known.SchemaFromRef(s.Ref)
	}
	if s == nil {
		return nil
	}
	switch doc := doc.(type) {
	case []any:
		for i, v := range doc {
			wrong = append(wrong, miscasedIn(known, s.Items, v, append(at, itoa(i)))...)
		}
	case map[string]any:
		others, _ := s.AdditionalProperties.(*huma.Schema) // of an object whose names are the caller's
		for _, name := range slices.Sorted(maps.Keys(doc)) {
			if field, ok := s.Properties[name]; ok {
				wrong = append(wrong, miscasedIn(known, field, doc[name], append(at, name))...)
				continue
			}
			for right := range s.Properties {
				if strings.EqualFold(right, name) {
					wrong = append(wrong, FieldDetail{Pointer: pointer(append(at, name)...), Code: "unknown_field", Detail: "there is no such field here; it is written " + right})
				}
			}
			wrong = append(wrong, miscasedIn(known, others, doc[name], append(at, name))...)
		}
	}
	return wrong
}
