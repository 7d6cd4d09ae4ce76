package web

import (
	"cmp"
	"net/http"
	"slices"
	"unicode/utf8"

	"fanfare"
)

// action is a button: what a person may do to a message.
type action struct {
	Name    string        // in the address, in the words and in the API
	event   fanfare.Event // what it is to the state machine, which alone says where the button is shown
	Confirm bool          // asks once more, on a page of its own
	call    string        // the API's action, if its name is another
	scope   fanfare.Result
	unread  bool // makes a draft to whoever was sent to and has not read, instead of moving this message
}

func actions() []action {
	return []action{
		{Name: "start", event: fanfare.EventStart},
		{Name: "pause", event: fanfare.EventPause},
		{Name: "resume", event: fanfare.EventResume},
		{Name: "resend", event: fanfare.EventResumeScope, Confirm: true, call: "resume", scope: fanfare.ResultFailed},
		{Name: "cancel", event: fanfare.EventCancel, Confirm: true},
		{Name: "remind", unread: true},
	}
}

// possible lists what moves a message of this phase.
func possible(p fanfare.Phase) []action {
	var out []action
	for _, a := range actions() {
		if a.unread {
			continue
		}
		if _, verdict := fanfare.Next(fanfare.State{Phase: p}, a.event); verdict == fanfare.Moved {
			out = append(out, a)
		}
	}
	return out
}

func actionNamed(name string) (action, bool) {
	for _, a := range actions() {
		if a.Name == name {
			return a, true
		}
	}
	return action{}, false
}

// act carries out a button. A refusal is shown on the message's page, beside what the message has become.
func (s *site) act(w http.ResponseWriter, r *http.Request) {
	a, ok := actionNamed(r.PathValue("action"))
	if !ok {
		s.notFound(w, r)
		return
	}
	id := r.PathValue("id")
	if key(r) == "" {
		s.askForKey(w, r, pagePath(id), "")
		return
	}
	if a.unread {
		s.remind(w, r, id)
		return
	}
	var in any
	if a.Name == "start" {
		expected, err := whole(r.PostFormValue("expect"))
		if err != nil { // the button always says how many; a start that does not is none of ours
			s.fail(w, r, &problem{Status: http.StatusBadRequest, Title: http.StatusText(http.StatusBadRequest)})
			return
		}
		in = map[string]any{"expect_recipients": expected}
	}
	if a.scope != "" {
		in = map[string]any{"scope": a.scope}
	}
	if err := s.call(r, http.MethodPost, messagePath(id, cmp.Or(a.call, a.Name)), r.PostFormValue("once"), in, nil); err != nil {
		s.refused(w, r, id, err)
		return
	}
	http.Redirect(w, r, pagePath(id), http.StatusSeeOther)
}

// confirm asks once more.
func (s *site) confirm(w http.ResponseWriter, r *http.Request) {
	a, ok := actionNamed(r.PathValue("action"))
	id := r.PathValue("id")
	switch {
	case !ok:
		s.notFound(w, r)
		return
	case !a.Confirm: // somebody reloads the address of a form
		http.Redirect(w, r, pagePath(id), http.StatusSeeOther)
		return
	case key(r) == "":
		s.askForKey(w, r, pagePath(id), "")
		return
	}
	v, err := s.read(r, id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !slices.Contains(v.Actions, a) { // too late
		http.Redirect(w, r, pagePath(id), http.StatusSeeOther)
		return
	}
	v.Asked = a.Name
	s.show(w, r, http.StatusOK, "confirm", &page{Title: v.Title(), Here: pagePath(id, a.Name), Body: v})
}

// remind makes a draft of the same content to whoever has not read, and shows it: a person looks at it and starts it.
func (s *site) remind(w http.ResponseWriter, r *http.Request, id string) {
	var of, draft message
	err := s.call(r, http.MethodGet, messagePath(id), "", nil, &of)
	if err == nil {
		in := map[string]any{"name": cut(s.say(r, "remind.name", "name", of.Title()), nameMost), "audience": map[string]any{"message": of.ID, "read": false}}
		err = s.call(r, http.MethodPost, messagePath(id, "clone"), r.PostFormValue("once"), in, &draft)
	}
	if err != nil {
		s.refused(w, r, id, err)
		return
	}
	http.Redirect(w, r, pagePath(draft.ID), http.StatusSeeOther)
}

// nameMost is how long the API takes a name.
const nameMost = 200

// cut cuts text to so many bytes, between characters.
func cut(text string, most int) string {
	for len(text) > most {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	return text
}
