package web

import (
	"net/http"

	"fanfare"
)

// action is a button: what a person may do to a message.
type action struct {
	Name    string        // in the address and in the words
	event   fanfare.Event // what it is to the state machine, which alone says where the button is shown
	route   string        // below the message in the API
	body    map[string]any
	Confirm bool // asks once more, on a page of its own
	needs   func(counts) bool
}

func actions() []action {
	some := func(of func(counts) int) func(counts) bool { return func(c counts) bool { return of(c) > 0 } }
	return []action{
		{Name: "start", event: fanfare.EventStart, route: "start"},
		{Name: "pause", event: fanfare.EventPause, route: "pause"},
		{Name: "resume", event: fanfare.EventResume, route: "resume"},
		{Name: "resume_failed", event: fanfare.EventResumeScope, route: "resume", body: map[string]any{"scope": "failed"}, Confirm: true,
			needs: some(func(c counts) int { return c.Failed })},
		{Name: "resume_uncertain", event: fanfare.EventResumeScope, route: "resume", body: map[string]any{"scope": "uncertain"}, Confirm: true,
			needs: some(func(c counts) int { return c.Uncertain })},
		{Name: "cancel", event: fanfare.EventCancel, route: "cancel", Confirm: true},
	}
}

// possible lists what moves a message of this phase and these counts. A pause that has not drained can be resumed, so only Moved counts;
// where a paused message came from is not known here, so a scope is offered when it is completed.
func possible(p fanfare.Phase, c counts) []action {
	var out []action
	for _, a := range actions() {
		_, verdict := fanfare.Next(fanfare.State{Phase: p}, a.event)
		if verdict == fanfare.Moved && (a.needs == nil || a.needs(c)) {
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
	var in any
	if a.body != nil {
		in = a.body
	}
	if a.Name == "start" {
		expected, err := whole(r.PostFormValue("expect"))
		if err != nil { // the button always says how many; a start that does not is none of ours
			s.fail(w, r, &problem{Status: http.StatusBadRequest, Title: http.StatusText(http.StatusBadRequest)})
			return
		}
		in = map[string]any{"expect_recipients": expected}
	}
	if err := s.call(r, http.MethodPost, messagePath(id, a.route), r.PostFormValue("once"), in, nil); err != nil {
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
	v.Action = a
	s.show(w, r, http.StatusOK, "confirm", &page{Title: v.Title(), Here: pagePath(id, a.Name), Body: v})
}
