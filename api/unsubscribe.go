package api

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
	"fanfare/set"
)

// The pages of an unsubscribe link are for people who know nothing of this server: no cookie, no redirect, no script.
const unsubscribePage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Title}}</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#222;background:#fff}
button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#1d4ed8;color:#fff;cursor:pointer}
form+form{margin-top:1rem}form+form button{background:#475569}@media(prefers-color-scheme:dark){body{color:#eee;background:#111}}</style>
<h1>{{.Title}}</h1><p>{{.Text}}</p>
{{if .Ask}}<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe 退订</button></form>
<form method="post" action="?all=1"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Unsubscribe from all such mail 全部退订</button></form>{{end}}
</html>
`

// maxForm bounds the body of a one-click call.
const maxForm = 8 << 10

func (s *Server) unsubscribeRoutes() {
	page := template.Must(template.New("unsubscribe").Parse(unsubscribePage))
	show := func(w http.ResponseWriter, title, text string, ask bool) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		_ = page.Execute(w, struct { // the client is gone
			Title, Text string
			Ask         bool
		}{title, text, ask})
	}
	ask := public("/u/{token}", "ask-unsubscribe", "A page with a button; changes nothing", "text/html")
	s.plain(ask, func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := s.linked(r.Context(), r.PathValue("token")); err != nil {
			callOf(r.Context()).refuse(w, unknownToken(err))
			return
		}
		show(w, "Unsubscribe 退订", "Nothing is changed yet. Press the button to get no more of these messages. 点击按钮即可退订。", true)
	})
	one := public("/u/{token}", "unsubscribe", "Unsubscribe with one click (RFC 8058)", "text/html")
	one.method, one.doc = http.MethodPost, "?all=1 unsubscribes from the whole channel instead of the topic. No redirect, no cookie."
	one.body = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: &huma.Schema{Type: huma.TypeObject,
		Required: []string{"List-Unsubscribe"}, Properties: map[string]*huma.Schema{"List-Unsubscribe": {Type: huma.TypeString, Enum: []any{"One-Click"}}}}}}}
	s.plain(one, func(w http.ResponseWriter, r *http.Request) {
		if err := s.unsubscribe(w, r); err != nil {
			callOf(r.Context()).refuse(w, err)
			return
		}
		show(w, "Unsubscribed 已退订", "You will get no more of these messages. 您将不再收到此类消息。", false)
	})
}

func unknownToken(err error) error {
	if errors.Is(err, fanfare.ErrNotFound) {
		return problem(http.StatusNotFound, "unknown_token", "This link is unknown here. Open it as it stands in the message.")
	}
	return err
}

// unsubscribe carries out one click (RFC 8058).
func (s *Server) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	t, m, err := s.linked(r.Context(), r.PathValue("token"))
	if err != nil {
		return unknownToken(err)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	_ = r.ParseMultipartForm(maxForm) // a form of another kind is read, too; what cannot be read lacks the word
	if r.PostForm.Get("List-Unsubscribe") != "One-Click" && (r.MultipartForm == nil || first(r.MultipartForm.Value["List-Unsubscribe"]) != "One-Click") {
		return invalid("#/List-Unsubscribe", "required", "The body has to be List-Unsubscribe=One-Click (RFC 8058), as a form.")
	}
	topic := m.Topic
	if r.URL.Query().Get("all") == "1" {
		topic = ""
	}
	name := fanfare.SuppressionSet(m.Channel, topic, fanfare.ReasonUnsubscribed)
	if err := s.suppress(r.Context(), t.person, name, true); err != nil {
		return err
	}
	s.Log.Info("unsubscribed", "message", m.ID, "channel", m.Channel, "topic", topic)
	return nil
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// linked finds what a token names, if the person is still who they were.
func (s *Server) linked(ctx context.Context, token string) (target, fanfare.Message, error) {
	var m fanfare.Message
	t, err := s.Links.read(token)
	if err != nil {
		return t, m, err
	}
	err = s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		m, err = v.MessageByNum(t.message)
		return err
	})
	if err != nil {
		return t, m, err
	}
	found, err := s.Store.Profiles(ctx, t.person.Slot, []fanfare.Seq{t.person.Seq})
	if err != nil {
		return t, m, err
	}
	if len(found) != 1 || found[0].ExternalID == "" || s.Links.tagOf(found[0].ExternalID) != t.tag {
		return t, m, fmt.Errorf("the recipient of this link: %w", fanfare.ErrNotFound)
	}
	return t, m, nil
}

// suppress puts a person into a suppression set, or takes them out.
func (s *Server) suppress(ctx context.Context, p fanfare.Person, name fanfare.SetName, in bool) error {
	one, none := set.Of(p.Seq), (*set.Set)(nil)
	if !in {
		one, none = none, one
	}
	_, _, err := s.Store.ChangeSet(ctx, p.Slot, name, one, none)
	return err
}
