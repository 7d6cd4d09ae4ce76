package web

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fanfare"
)

// page is what the layout shows around a body.
type page struct {
	Title     string
	Lang      string
	SignedOut bool
	Notice    *notice
	Here      string // the address to come back to: a page may be the answer to a form
	Refresh   int    // seconds, for whoever has no JavaScript; 0: never
	Every     int    // milliseconds after which the script asks again; 0: never
	Stream    string // where the script listens; empty: nowhere
	Words     string // the script's, as JSON
	Body      any
}

// notice is something to tell above the page.
type notice struct {
	Bad    bool
	Text   string
	Detail string // the API's own words
}

// pagePath is the address of a message's page, and of what is below it.
func pagePath(id string, below ...string) string {
	return strings.Join(append([]string{"/messages/" + url.PathEscape(id)}, below...), "/")
}

// show writes a page whole or not at all.
func (s *site) show(w http.ResponseWriter, r *http.Request, status int, name string, p *page) {
	p.Lang = tongue(r)
	if l := chosen(r); l != "" {
		keep(w, r, languageCookie, l, 365*24*3600)
	}
	p.SignedOut = p.SignedOut || key(r) == ""
	if p.Here == "" {
		p.Here = "/"
	}
	if p.Title == "" {
		p.Title = s.text(p.Lang, "problem.title")
	}
	p.Words = s.live(p.Lang)
	var b bytes.Buffer
	if err := s.pages[p.Lang][name].ExecuteTemplate(&b, "layout", p); err != nil {
		s.log.Error("a page cannot be made", "page", name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func (s *site) notFound(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusNotFound, "problem", &page{Title: s.say(r, "missing.title"), Body: s.say(r, "missing.text")})
}

// explain makes a problem readable: what it means in the visitor's language, and what the API says of it.
func (s *site) explain(r *http.Request, p *problem) *notice {
	n := &notice{Bad: true, Detail: p.Detail}
	switch {
	case p.Code == "audience_changed":
		n.Text = s.say(r, "problem.audience_changed")
	case p.Status == http.StatusForbidden:
		n.Text = s.say(r, "problem.forbidden")
	case p.Status == http.StatusConflict:
		n.Text = s.say(r, "problem.conflict")
	case p.Status == http.StatusServiceUnavailable && p.RetryAfter != "", p.Status == http.StatusTooManyRequests && p.RetryAfter != "":
		n.Text = s.say(r, "problem.busy_until", "seconds", p.RetryAfter)
	case p.Status == http.StatusServiceUnavailable, p.Status == http.StatusTooManyRequests:
		n.Text = s.say(r, "problem.busy")
	case p.Status >= 500:
		n.Text = s.say(r, "problem.server")
	default:
		n.Text = s.say(r, "problem.refused")
		if n.Detail == "" {
			n.Detail = p.Title
		}
	}
	return n
}

// fail shows what went wrong instead of a page.
func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		s.log.Error("the API's answer makes no sense", "path", r.URL.Path, "error", err)
		p = &problem{Status: http.StatusBadGateway}
	}
	switch p.Status {
	case http.StatusUnauthorized: // the key was revoked
		keep(w, r, keyCookie, "", -1)
		next := "/"
		if r.Method == http.MethodGet {
			next = r.URL.RequestURI()
		}
		s.askForKey(w, r, next, s.say(r, "signin.ended"))
	case http.StatusNotFound:
		s.notFound(w, r)
	default:
		if p.RetryAfter != "" {
			w.Header().Set("Retry-After", p.RetryAfter)
		}
		status := p.Status
		if status < 400 {
			status = http.StatusBadGateway // a redirect of the API's leads nowhere here
		}
		s.show(w, r, status, "problem", &page{Notice: s.explain(r, p), Here: r.URL.EscapedPath()})
	}
}

// refused shows the message's page with what the API said against an action.
func (s *site) refused(w http.ResponseWriter, r *http.Request, id string, err error) {
	var p *problem
	v, readErr := s.read(r, id)
	if !errors.As(err, &p) || p.Status == http.StatusUnauthorized || p.Status == http.StatusNotFound || p.Status < 400 || readErr != nil {
		s.fail(w, r, err)
		return
	}
	if p.Planned != nil && v.Count != nil { // the API counted with all that it knows of the message: this number will do
		v.Count = &count{Planned: *p.Planned}
	}
	shown := s.messagePage(v)
	shown.Notice, shown.Refresh = s.explain(r, p), 0 // a refresh would ask for the form's address
	s.show(w, r, p.Status, "message", shown)
}

type row struct {
	message
	Counts *counts // nil: not known, or nothing yet
}

type listView struct {
	Rows   []row
	Filter string // the status shown, empty for all
	Older  string // address of the next page
	First  string // address of the first page, if this is another
}

func (s *site) list(w http.ResponseWriter, r *http.Request) {
	if key(r) == "" {
		s.askForKey(w, r, "/", "")
		return
	}
	query, cursor := url.Values{}, r.URL.Query().Get("cursor")
	v := &listView{Filter: r.URL.Query().Get("status")}
	if v.Filter != "" {
		query.Set("status", v.Filter)
	}
	here := address("/", query)
	if cursor != "" {
		v.First = here
		query.Set("cursor", cursor)
		here = address("/", query)
	}
	query.Set("limit", "20")
	var messages listed[message]
	if err := s.call(r, http.MethodGet, "/v1/messages?"+query.Encode(), "", nil, &messages); err != nil {
		s.fail(w, r, err)
		return
	}
	p := &page{Title: s.say(r, "list.title"), Here: here, Body: v}
	for _, m := range messages.Items {
		line := row{message: m}
		if m.StartedAt != nil || m.Status == fanfare.Sending {
			var got progress
			if err := s.call(r, http.MethodGet, messagePath(m.ID, "progress"), "", nil, &got); err == nil {
				line.Counts = &got.Counts // otherwise a dash: one message's trouble is told on its own page
			}
		}
		if !m.Phase.Final() && m.Phase != fanfare.PhaseDraft {
			p.Every, p.Refresh = 5000, 15
		}
		v.Rows = append(v.Rows, line)
	}
	if messages.Next != nil {
		query.Del("limit")
		query.Set("cursor", *messages.Next)
		v.Older = address("/", query)
	}
	s.show(w, r, http.StatusOK, "list", p)
}

func address(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// messageView is one message and all that is known of it.
type messageView struct {
	message
	progress
	Frozen   bool      // there is an audience to speak of
	Failures []failure // the greatest groups
	More     int       // groups that are not shown
	Count    *count    // who would get it, before the start
	Uncount  *notice   // why that is not known
	Actions  []action
	Asked    string // the action that is asked about once more
	Once     string // an Idempotency-Key for the start: clicking twice starts once
}

// Receipts lists what came back beside reads, if anything did.
func (v *messageView) Receipts() []part {
	var out []part
	c := v.Counts
	for _, p := range []part{{Name: "delivered", N: c.Delivered}, {Name: "bounced", N: c.Bounced}, {Name: "complained", N: c.Complained},
		{Name: "unsubscribed", N: c.Unsubscribed}, {Name: "clicked", N: c.Clicked}} {
		if p.N > 0 {
			out = append(out, p)
		}
	}
	return out
}

// Unread is how many were sent to and have not read.
func (v *messageView) Unread() int { return v.Counts.Sent - v.Counts.Read }

// ShowsReads says whether there is anything to read, or somebody who has.
func (v *messageView) ShowsReads() bool {
	return v.Frozen && (v.Channel == string(fanfare.ChannelInbox) || v.Counts.Read > 0 || v.Counts.Seen > 0)
}

// Sum says whether nobody is lost, by the API's evidence and by the page's own sum.
func (v *messageView) Sum() bool { return v.Balanced && v.Counts.AddsUp() }

// Starts says whether the message can be started, so that its audience is worth counting.
func (v *messageView) Starts() bool {
	return v.Phase == fanfare.PhaseDraft || v.Phase == fanfare.PhaseScheduled
}

const groupsShown = 50

// read asks the API for all that a message's page shows.
func (s *site) read(r *http.Request, id string) (*messageView, error) {
	v := &messageView{Once: rand.Text()}
	if err := s.call(r, http.MethodGet, messagePath(id), "", nil, &v.message); err != nil {
		return nil, err
	}
	if err := s.call(r, http.MethodGet, messagePath(id, "progress"), "", nil, &v.progress); err != nil {
		return nil, err
	}
	if v.Counts.Failed > 0 {
		if err := s.call(r, http.MethodGet, messagePath(id, "failures"), "", nil, &v.Failures); err != nil {
			return nil, err
		}
		if n := len(v.Failures); n > groupsShown { // servers that repeat the address in their answer make a group for each
			v.Failures, v.More = v.Failures[:groupsShown], n-groupsShown
		}
	}
	v.Frozen = v.StartedAt != nil && v.Phase != fanfare.PhasePreparing || v.Counts.Audience > 0
	v.Actions = slices.DeleteFunc(possible(v.Phase), func(a action) bool { return a.scope == fanfare.ResultFailed && v.Counts.Failed == 0 })
	if v.Unread() > 0 && v.Phase == fanfare.PhaseCompleted && (v.Channel == string(fanfare.ChannelInbox) || v.Channel == string(fanfare.ChannelEmail)) {
		if a, ok := actionNamed("remind"); ok {
			v.Actions = append(v.Actions, a)
		}
	}
	if v.Starts() {
		v.Count, v.Uncount = s.count(r, &v.message)
	}
	return v, nil
}

// count asks who the message would go to. That it cannot be counted is no reason to show nothing else.
func (s *site) count(r *http.Request, m *message) (*count, *notice) {
	in := struct {
		Audience  json.RawMessage `json:"audience"`
		Channel   string          `json:"channel"`
		Topic     *string         `json:"topic"`
		Essential bool            `json:"essential"`
		Dedupe    *string         `json:"dedupe"`
	}{m.Audience, m.Channel, m.Topic, m.Essential, m.Dedupe}
	var out count
	err := s.call(r, http.MethodPost, "/v1/audiences/count", "", in, &out)
	var p *problem
	switch {
	case err == nil:
		return &out, nil
	case errors.As(err, &p):
		return nil, s.explain(r, p)
	default:
		s.log.Error("an audience cannot be counted", "message", m.ID, "error", err)
		return nil, s.explain(r, &problem{Status: http.StatusBadGateway})
	}
}

func (s *site) messagePage(v *messageView) *page {
	p := &page{Title: v.Title(), Here: pagePath(v.ID), Body: v}
	if !v.Phase.Final() {
		p.Stream = pagePath(v.ID, "stream")
		if v.Phase != fanfare.PhaseDraft {
			p.Refresh = 3
		}
	}
	if v.Channel == string(fanfare.ChannelInbox) { // it is sent in a moment, and read for days
		p.Every = 2000
		if p.Stream == "" {
			p.Refresh = 15
		}
	}
	return p
}

func (s *site) message(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if key(r) == "" {
		s.askForKey(w, r, pagePath(id), "")
		return
	}
	v, err := s.read(r, id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "message", s.messagePage(v))
}

type itemsView struct {
	message
	Items   []item
	Filters []filter
	Older   string
	First   string
}

// filter is a link to a part of the items.
type filter struct {
	Name    string // a result, doubted, read, unread, or all
	Address string
	Here    bool
}

func (s *site) items(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	path := pagePath(id, "items")
	asked := url.Values{}
	for _, name := range []string{"result", "doubted", "read", "reason", "cursor"} {
		if value := r.URL.Query().Get(name); value != "" {
			asked.Set(name, value)
		}
	}
	here := address(path, asked)
	if key(r) == "" {
		s.askForKey(w, r, here, "")
		return
	}
	v := &itemsView{}
	if err := s.call(r, http.MethodGet, messagePath(id), "", nil, &v.message); err != nil {
		s.fail(w, r, err)
		return
	}
	var found listed[item]
	if err := s.call(r, http.MethodGet, address(messagePath(id, "items"), asked), "", nil, &found); err != nil {
		s.fail(w, r, err)
		return
	}
	v.Items = found.Items
	if asked.Has("cursor") {
		asked.Del("cursor")
		v.First = address(path, asked)
	}
	result, doubted, read := asked.Get("result"), asked.Get("doubted") != "", asked.Get("read")
	v.Filters = append(v.Filters, filter{"all", path, result == "" && !doubted && read == ""})
	for _, one := range fanfare.Results() {
		v.Filters = append(v.Filters, filter{string(one), address(path, url.Values{"result": {string(one)}}), result == string(one)})
	}
	v.Filters = append(v.Filters, filter{"doubted", address(path, url.Values{"doubted": {"true"}}), doubted})
	v.Filters = append(v.Filters, filter{"read", address(path, url.Values{"read": {"true"}}), read == "true"}, filter{"unread", address(path, url.Values{"read": {"false"}}), read == "false"})
	if found.Next != nil {
		asked.Set("cursor", *found.Next)
		v.Older = address(path, asked)
	}
	s.show(w, r, http.StatusOK, "items", &page{Title: s.say(r, "items.title") + " · " + v.Title(), Here: here, Body: v})
}
