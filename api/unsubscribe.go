package api

import (
	"context"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/text/language"

	"fanfare"
	"fanfare/set"
)

// The pages of an unsubscribe link are for people who know nothing of this server: no cookie, no redirect, no script.
//
//go:embed unsubscribe.html
var unsubscribePage string

const unsubscribeStyle = `body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;color:#222;background:#fff}` +
	`button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#1d4ed8;color:#fff;cursor:pointer}` +
	`form+form{margin-top:1rem}form+form button{background:#475569}h1,p{overflow-wrap:anywhere}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#111}}`

// unsubscribeWords are the page's texts in one language. A %s stands for the topic.
type unsubscribeWords struct {
	Lang                      string
	ask, one, oneOf, all      string
	nothingYet, nothingYetOf  string
	done, gone, goneOf, every string
	unknown, where            string
}

func unsubscribeIn(accept string) unsubscribeWords {
	wanted, _, _ := language.ParseAcceptLanguage(accept) // unreadable: none
	if _, i, _ := language.NewMatcher([]language.Tag{language.English, language.Chinese}).Match(wanted...); i == 1 {
		return unsubscribeWords{Lang: "zh-CN", ask: "退订", one: "退订此类消息", oneOf: "退订“%s”", all: "退订全部", nothingYet: "尚未做任何更改。点击按钮后，您将不再收到此类消息。",
			nothingYetOf: "尚未做任何更改。点击按钮后，您将不再收到“%s”类消息。", done: "已退订", gone: "您将不再收到此类消息。", goneOf: "您将不再收到“%s”类消息。",
			every: "您将不再收到我们的此类邮件，无论什么主题。", unknown: "链接无效", where: "此链接在这里无效。请从邮件中完整打开它。"}
	}
	return unsubscribeWords{Lang: "en", ask: "Unsubscribe", one: "Unsubscribe", oneOf: "Unsubscribe from “%s”", all: "Unsubscribe from everything",
		nothingYet: "Nothing is changed yet. Press the button to get no more of these messages.", nothingYetOf: "Nothing is changed yet. Press the button to get no more messages about “%s”.",
		done: "Unsubscribed", gone: "You will get no more of these messages.", goneOf: "You will get no more messages about “%s”.", every: "You will get no more of our mail, whatever it is about.",
		unknown: "This link does not work", where: "It is unknown here. Open it as it stands in the message."}
}

// about fills in the topic; the one that all messages have, where nobody names one, says nothing to anybody.
func about(plain, of, topic string) string {
	if topic == "" || topic == generalTopic {
		return plain
	}
	return fmt.Sprintf(of, topic)
}

type unsubscribeView struct {
	Words       unsubscribeWords
	Style       template.CSS
	Title, Text string
	Ask         bool
	One, All    string // what the buttons say
}

// maxForm bounds the body of a one-click call.
const maxForm = 8 << 10

func (s *Server) unsubscribeRoutes() {
	page := template.Must(template.New("unsubscribe").Parse(unsubscribePage))
	style := sha256.Sum256([]byte(unsubscribeStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	show := func(w http.ResponseWriter, status int, v unsubscribeView) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", v.Words.Lang)
		h.Set("Vary", "Accept, Accept-Language")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		v.Style = unsubscribeStyle
		w.WriteHeader(status)
		_ = page.Execute(w, v) // the client is gone
	}
	refuse := func(w http.ResponseWriter, r *http.Request, err error) {
		if err = unknownToken(err); statusOf(err) != http.StatusNotFound || !wantsPage(r) {
			callOf(r.Context()).refuse(w, err)
			return
		}
		words := unsubscribeIn(r.Header.Get("Accept-Language"))
		show(w, http.StatusNotFound, unsubscribeView{Words: words, Title: words.unknown, Text: words.where})
	}
	ask := public("/u/{token}", "ask-unsubscribe", "A page with a button; changes nothing", "text/html")
	ask.doc = "In English or Chinese, by Accept-Language. An unknown token is a page for whoever accepts text/html, a problem for others."
	s.plain(ask, func(w http.ResponseWriter, r *http.Request) {
		_, m, err := s.linked(r.Context(), linkUnsubscribe, r.PathValue("token"))
		if err != nil {
			refuse(w, r, err)
			return
		}
		words := unsubscribeIn(r.Header.Get("Accept-Language"))
		v := unsubscribeView{Words: words, Title: words.ask, Text: about(words.nothingYet, words.nothingYetOf, m.Topic), Ask: true, One: about(words.one, words.oneOf, m.Topic), All: words.all}
		if r.URL.Query().Get("all") == "1" {
			v.Text, v.One, v.All = words.nothingYet, words.all, "" // the form goes to this very address
		}
		show(w, http.StatusOK, v)
	})
	one := public("/u/{token}", "unsubscribe", "Unsubscribe with one click (RFC 8058)", "text/html")
	one.method, one.doc = http.MethodPost, "?all=1 unsubscribes from the whole channel instead of the topic. No redirect, no cookie."
	one.body = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: &huma.Schema{Type: huma.TypeObject,
		Required: []string{"List-Unsubscribe"}, Properties: map[string]*huma.Schema{"List-Unsubscribe": {Type: huma.TypeString, Enum: []any{"One-Click"}}}}}}}
	s.plain(one, func(w http.ResponseWriter, r *http.Request) {
		topic, err := s.unsubscribe(w, r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		words := unsubscribeIn(r.Header.Get("Accept-Language"))
		text := about(words.gone, words.goneOf, topic)
		if topic == "" {
			text = words.every
		}
		show(w, http.StatusOK, unsubscribeView{Words: words, Title: words.done, Text: text})
	})
}

// wantsPage says whether a person asks, by a browser: programs take what comes, or JSON.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

func unknownToken(err error) error {
	if errors.Is(err, fanfare.ErrNotFound) {
		return problem(http.StatusNotFound, "unknown_token", "This link is unknown here. Open it as it stands in the message.")
	}
	return err
}

// unsubscribe carries out one click (RFC 8058); topic is of what, empty: of all.
func (s *Server) unsubscribe(w http.ResponseWriter, r *http.Request) (topic string, err error) {
	t, m, err := s.linked(r.Context(), linkUnsubscribe, r.PathValue("token"))
	if err != nil {
		return "", err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	_ = r.ParseMultipartForm(maxForm) // a form of another kind is read, too; what cannot be read lacks the word
	if r.PostForm.Get("List-Unsubscribe") != "One-Click" && (r.MultipartForm == nil || first(r.MultipartForm.Value["List-Unsubscribe"]) != "One-Click") {
		return "", invalid("#/List-Unsubscribe", "required", "The body has to be List-Unsubscribe=One-Click (RFC 8058), as a form.")
	}
	topic = m.Topic
	if r.URL.Query().Get("all") == "1" {
		topic = ""
	}
	name := fanfare.SuppressionSet(m.Channel, topic, fanfare.ReasonUnsubscribed)
	if err := s.suppress(r.Context(), t.person, name, true); err != nil {
		return "", err
	}
	if err := s.countUnsubscribed(r, m.ID, t.recipient); err != nil {
		return "", err
	}
	s.Log.Info("unsubscribed", "message", m.ID, "channel", m.Channel, "topic", topic)
	return topic, nil
}

// countUnsubscribed notes of the message whose link it was that the person, who is suppressed by now, unsubscribed. What fails may be pressed
// again; where damage will never let it be counted, the person has what they asked for all the same. Who only got a test is not counted.
func (s *Server) countUnsubscribed(r *http.Request, m fanfare.MessageID, recipient string) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), learnTime) // who does not wait for the answer is counted, too
	defer stop()
	done, err := s.Receive(ctx, []fanfare.ReceiptReport{{Message: m, Recipient: recipient, Kind: fanfare.ReceiptUnsubscribed}})
	if err != nil && !errors.Is(err, fanfare.ErrDamaged) {
		return err
	}
	if err != nil || len(done.Refused) > 0 && done.Refused[0].Code == "damaged" {
		s.Log.Warn("who unsubscribed is not counted", "request", callOf(r.Context()).request, "message", m, "error", err)
	}
	return nil
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// linked finds what a token of a kind names, if the person is still who they were.
func (s *Server) linked(ctx context.Context, kind byte, token string) (target, fanfare.Message, error) {
	t, err := s.Links.read(kind, token)
	if err != nil {
		return t, fanfare.Message{}, err
	}
	return s.linkedTo(ctx, t)
}

// linkedTo looks up what a token named.
func (s *Server) linkedTo(ctx context.Context, t target) (target, fanfare.Message, error) {
	var m fanfare.Message
	err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
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
	t.recipient = found[0].ExternalID
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
