package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsPage string

// docRoute is one operation on the page.
type docRoute struct {
	Method, Path, Summary, Doc, Scope, Body, Answer string
	Parameters                                      []docField
}

type docField struct{ Name, In, Kind, Doc string }

type docSchema struct {
	Name   string
	Fields []docField
}

// docs makes the page that shows the OpenAPI document to people: plain HTML, nothing from elsewhere.
func (s *Server) docs() ([]byte, error) {
	page, err := template.New("docs").Parse(docsPage)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	o := s.huma.OpenAPI()
	err = page.Execute(&b, struct {
		Tags    []*huma.Tag
		Routes  map[string][]docRoute
		Codes   []code
		Schemas []docSchema
	}{o.Tags, docRoutes(o), problemCodes(), docSchemas(o)})
	return b.Bytes(), err
}

func (s *Server) showDocs(w http.ResponseWriter, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = w.Write(page) // the client is gone
}

// Code, Status and Meaning are for the page.
func (c code) Code() string    { return c.code }
func (c code) Status() int     { return c.status }
func (c code) Meaning() string { return c.meaning }

func docRoutes(o *huma.OpenAPI) map[string][]docRoute {
	found := make(map[string][]docRoute)
	for path, item := range o.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			r := docRoute{Method: op.Method, Path: path, Summary: op.Summary, Doc: op.Description, Scope: "any key"}
			if scopes, keyed := op.Security[0]["key"]; !keyed {
				r.Scope = "no key"
			} else if len(scopes) > 0 {
				r.Scope = scopes[0]
			}
			for _, p := range op.Parameters {
				r.Parameters = append(r.Parameters, docField{p.Name, p.In, kind(p.Schema), p.Description})
			}
			if op.RequestBody != nil {
				r.Body = media(op.RequestBody.Content)
			}
			for status, answer := range op.Responses {
				if strings.HasPrefix(status, "2") && answer != nil {
					r.Answer = strings.TrimSpace(status + " " + media(answer.Content))
				}
			}
			found[op.Tags[0]] = append(found[op.Tags[0]], r)
		}
	}
	for _, routes := range found {
		slices.SortFunc(routes, func(a, b docRoute) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	}
	return found
}

func media(content map[string]*huma.MediaType) string {
	var parts []string
	for name, m := range content {
		text := name
		if m.Schema != nil && name == "application/json" {
			text = kind(m.Schema)
		}
		parts = append(parts, text)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// kind says in a word what a schema holds.
func kind(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray:
		return "list of " + kind(s.Items)
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		return strings.Join(words, " | ")
	case s.Format == "date-time":
		return "time"
	case s.Type == "":
		return "JSON"
	}
	return s.Type
}

func docSchemas(o *huma.OpenAPI) []docSchema {
	var all []docSchema
	for name, s := range o.Components.Schemas.Map() {
		d := docSchema{Name: name}
		for field, f := range s.Properties {
			d.Fields = append(d.Fields, docField{Name: field, Kind: kind(f), Doc: f.Description})
		}
		slices.SortFunc(d.Fields, func(a, b docField) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b docSchema) int { return strings.Compare(a.Name, b.Name) })
	return all
}
