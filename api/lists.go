package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

type listView struct {
	Name       string    `json:"name"`
	Recipients int       `json:"recipients"`
	CreatedAt  time.Time `json:"created_at"`
}

// ListPath names a list.
type ListPath struct {
	Name string `path:"name"`
}

type newListIn struct {
	Body struct {
		Name string `json:"name" doc:"Any Unicode, at most 200 bytes, without control characters."`
	}
}

type membersIn struct {
	ListPath
	Body struct {
		Add    []string `json:"add,omitempty" doc:"External ids."`
		Remove []string `json:"remove,omitempty" doc:"External ids."`
	}
}

type membersView struct {
	Added   int      `json:"added"`
	Removed int      `json:"removed"`
	Unknown []string `json:"unknown" nullable:"false" doc:"External ids that nobody has."`
}

func (s *Server) listRoutes() {
	const at = "/v1/lists/{name}"
	route(s, operation{method: http.MethodPost, path: "/v1/lists", id: "create-list", tag: "recipients", scope: scopeRecipientsWrite, status: http.StatusCreated, keyed: true, summary: "Make a list"}, s.createList)
	route(s, operation{method: http.MethodGet, path: "/v1/lists", id: "list-lists", tag: "recipients", scope: scopeRecipientsRead, summary: "List the lists"}, s.listLists)
	route(s, operation{method: http.MethodGet, path: at, id: "get-list", tag: "recipients", scope: scopeRecipientsRead, summary: "Read a list"},
		func(ctx context.Context, _ *call, in *ListPath) (*reply[listView], error) {
			l, err := s.list(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			v, err := s.viewList(ctx, l)
			return ok(v), err
		})
	routeNone(s, operation{method: http.MethodDelete, path: at, id: "delete-list", tag: "recipients", scope: scopeRecipientsWrite, summary: "Delete a list",
		doc: "Its members stay recipients. Refused while a message that is not frozen yet, or a segment, is for it."}, s.deleteList)
	route(s, operation{method: http.MethodGet, path: at + "/members", id: "list-members", tag: "recipients", scope: scopeRecipientsRead, summary: "List the members of a list"},
		func(ctx context.Context, _ *call, in *struct {
			ListPath
			Page
		}) (*reply[list[recipientView]], error) {
			l, err := s.list(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			at, err := placeOf(in.Cursor, s.Store.Slots(), 0)
			if err != nil {
				return nil, err
			}
			found, next, err := s.people(ctx, at, in.Limit, "", fanfare.ListSet(l.ID))
			return ok(listOf(found, next)), err
		})
	route(s, operation{method: http.MethodPost, path: at + "/members", id: "change-members", tag: "recipients", scope: scopeRecipientsWrite, keyed: true, summary: "Add and remove members"}, s.changeMembers)
}

// checkName refuses names that people could not tell apart or read.
func checkName(at, name string) error {
	switch {
	case name == "":
		return invalid(at, "required", "is empty; give a name")
	case len(name) > 200:
		return invalid(at, "length", "has %d bytes; a name has at most 200", len(name))
	case !utf8.ValidString(name) || slices.ContainsFunc([]rune(name), unicode.IsControl):
		return invalid(at, "invalid", "holds control characters; remove them")
	}
	return nil
}

func (s *Server) list(ctx context.Context, name string) (l fanfare.List, err error) {
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		l, err = v.List(name)
		return err
	})
	return l, missing(err, "list", name)
}

func (s *Server) viewList(ctx context.Context, l fanfare.List) (listView, error) {
	v := listView{Name: l.Name, CreatedAt: l.CreatedAt}
	for slot := range s.Store.Slots() {
		members, err := s.Store.LoadSet(ctx, fanfare.Slot(slot), fanfare.ListSet(l.ID)) //nolint:gosec // slots fit
		if err != nil {
			return v, err
		}
		alive, err := s.Store.LoadSet(ctx, fanfare.Slot(slot), fanfare.SetAlive) //nolint:gosec // slots fit
		if err != nil {
			return v, err
		}
		v.Recipients += set.AndLen(members, alive)
	}
	return v, nil
}

func (s *Server) createList(ctx context.Context, c *call, in *newListIn) (*reply[listView], error) {
	name := in.Body.Name
	if err := checkName("#/name", name); err != nil {
		return nil, err
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[listView], error) {
		l := fanfare.List{Name: name, CreatedAt: tx.Now()}
		if err := tx.InsertList(&l); err != nil {
			if ofKind(err).Code == "exists" {
				return nil, conflict("exists", "There is a list %q already; use it, or choose another name.", name)
			}
			return nil, err
		}
		return created("/v1/lists/"+url.PathEscape(name), listView{Name: name, CreatedAt: l.CreatedAt}), c.audit(tx, "list.create", name, "")
	})
}

func (s *Server) listLists(ctx context.Context, _ *call, in *Page) (*reply[list[listView]], error) {
	var rows []fanfare.List
	var next string
	err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		rows, next, err = v.Lists(in.Cursor, in.Limit)
		return err
	})
	if err != nil {
		return nil, badCursor(err)
	}
	views := make([]listView, len(rows))
	for i, l := range rows {
		if views[i], err = s.viewList(ctx, l); err != nil {
			return nil, err
		}
	}
	return ok(listOf(views, next)), nil
}

// deleteList refuses while an audience that is still to be frozen names the list.
func (s *Server) deleteList(ctx context.Context, c *call, in *ListPath) error {
	var l fanfare.List
	err := s.Store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
		if l, err = tx.List(in.Name); err != nil {
			return missing(err, "list", in.Name)
		}
		if err := unnamed(tx, audience.List{Name: in.Name}); err != nil {
			return err
		}
		if err := tx.DeleteList(in.Name); err != nil {
			return err
		}
		return c.audit(tx, "list.delete", in.Name, "")
	})
	if err != nil {
		return err
	}
	return s.Store.DropSet(ctx, fanfare.ListSet(l.ID))
}

// unfinished calls fn for every message that is scheduled or under way.
func unfinished(v fanfare.ControlView, fn func(*fanfare.Message) error) error {
	f := fanfare.MessageFilter{Unfinished: true, Limit: 1000}
	for {
		rows, next, err := v.Messages(f)
		if err != nil {
			return err
		}
		for i := range rows {
			if err := fn(&rows[i]); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		f.Cursor = next
	}
}

// names says whether an audience names a list, a segment or a message, whatever it asks about that.
func names(doc []byte, what audience.Expr) bool {
	e, err := audience.Parse(doc)
	if err != nil {
		return false
	}
	for leaf := range audience.Leaves(e) {
		switch leaf := leaf.(type) {
		case audience.List, audience.Segment:
			if leaf == what {
				return true
			}
		case audience.Message:
			if m, ok := what.(audience.Message); ok && m.ID == leaf.ID {
				return true
			}
		}
	}
	return false
}

func (s *Server) changeMembers(ctx context.Context, c *call, in *membersIn) (*reply[membersView], error) {
	l, err := s.list(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	add, unknown, err := s.resolve(ctx, in.Body.Add)
	if err != nil {
		return nil, err
	}
	remove, more, err := s.resolve(ctx, in.Body.Remove)
	if err != nil {
		return nil, err
	}
	out := membersView{Unknown: append([]string{}, append(unknown, more...)...)}
	for slot := range s.Store.Slots() {
		n := fanfare.Slot(slot) //nolint:gosec // slots fit
		if add[n] == nil && remove[n] == nil {
			continue
		}
		added, removed, err := s.Store.ChangeSet(ctx, n, fanfare.ListSet(l.ID), add[n], remove[n])
		if err != nil {
			return nil, err
		}
		out.Added += added
		out.Removed += removed
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[membersView], error) {
		return ok(out), c.audit(tx, "list.members", in.Name, "added "+strconv.Itoa(out.Added)+", removed "+strconv.Itoa(out.Removed))
	})
}

// resolve finds recipients by external id, slot by slot, and names the ids that nobody has.
func (s *Server) resolve(ctx context.Context, ids []string) (found map[fanfare.Slot]*set.Set, unknown []string, err error) {
	found = make(map[fanfare.Slot]*set.Set)
	err = s.eachResolved(ctx, ids, func(slot fanfare.Slot, id string, seq int64) {
		members := found[slot]
		if members == nil {
			members = set.New()
			found[slot] = members
		}
		if seq < 0 {
			unknown = append(unknown, id)
			return
		}
		members.Add(fanfare.Seq(seq)) //nolint:gosec // a store's seq
	})
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(unknown)
	return found, unknown, nil
}

// eachResolved calls fn with the slot and the seq of each of ids, slot by slot; −1: nobody has it.
func (s *Server) eachResolved(ctx context.Context, ids []string, fn func(slot fanfare.Slot, id string, seq int64)) error {
	by := make(map[fanfare.Slot][]string)
	for _, id := range ids {
		slot := fanfare.SlotOf(id, s.Store.Slots())
		by[slot] = append(by[slot], id)
	}
	for slot, mine := range by {
		seqs, err := s.Store.Resolve(ctx, slot, mine)
		if err != nil {
			return err
		}
		for i, seq := range seqs {
			fn(slot, mine[i], seq)
		}
	}
	return nil
}
