package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fanfare"
	"fanfare/audience"
)

type segmentView struct {
	Name      string    `json:"name"`
	Audience  anyJSON   `json:"audience"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// SegmentPath names a segment.
type SegmentPath struct {
	Name string `path:"name"`
}

type segmentIn struct {
	SegmentPath
	Body struct {
		Audience anyJSON `json:"audience" doc:"As in a message; it may name other segments, but not in a circle."`
	}
}

func (s *Server) segmentRoutes() {
	const at = "/v1/segments/{name}"
	route(s, operation{method: http.MethodGet, path: "/v1/segments", id: "list-segments", tag: "recipients", scope: scopeRecipientsRead, summary: "List the segments"}, s.listSegments)
	route(s, operation{method: http.MethodGet, path: at, id: "get-segment", tag: "recipients", scope: scopeRecipientsRead, summary: "Read a segment"},
		func(ctx context.Context, _ *call, in *SegmentPath) (*reply[segmentView], error) {
			var found fanfare.Segment
			err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
				found, err = v.Segment(in.Name)
				return err
			})
			return ok(viewSegment(found)), missing(err, "segment", in.Name)
		})
	route(s, operation{method: http.MethodPut, path: at, id: "put-segment", tag: "recipients", scope: scopeRecipientsWrite, summary: "Save an audience as a segment",
		doc: "Messages that name it take it as it is when their audience is frozen."}, s.putSegment)
	routeNone(s, operation{method: http.MethodDelete, path: at, id: "delete-segment", tag: "recipients", scope: scopeRecipientsWrite, summary: "Delete a segment",
		doc: "Refused while another segment, or a message that is not frozen yet, names it."}, s.deleteSegment)
}

func viewSegment(f fanfare.Segment) segmentView {
	return segmentView{Name: f.Name, Audience: anyJSON(f.Audience), CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt}
}

func (s *Server) listSegments(ctx context.Context, _ *call, in *Page) (*reply[list[segmentView]], error) {
	var rows []fanfare.Segment
	var next string
	err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		rows, next, err = v.Segments(in.Cursor, in.Limit)
		return err
	})
	if err != nil {
		return nil, badCursor(err)
	}
	views := make([]segmentView, len(rows))
	for i, f := range rows {
		views[i] = viewSegment(f)
	}
	return ok(listOf(views, next)), nil
}

func (s *Server) putSegment(ctx context.Context, c *call, in *segmentIn) (*reply[segmentView], error) {
	if err := checkName("#/name", in.Name); err != nil {
		return nil, err
	}
	expr, err := parseAudience(in.Body.Audience)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(expr)
	if err != nil {
		return nil, err
	}
	wrong, err := s.checkLeaves(ctx, expr)
	if err != nil {
		return nil, err
	}
	if len(wrong) > 0 {
		return nil, refuse(wrong...)
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[segmentView], error) {
		_, err := tx.Segment(in.Name)
		there := err == nil
		if err != nil && !errors.Is(err, fanfare.ErrNotFound) {
			return nil, err
		}
		wrong, err := reaches(tx, expr, in.Name)
		if err != nil {
			return nil, err
		}
		if len(wrong) > 0 {
			return nil, refuse(wrong...)
		}
		f := fanfare.Segment{Name: in.Name, Audience: doc, CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
		if err := tx.PutSegment(&f); err != nil {
			return nil, err
		}
		r := ok(viewSegment(f))
		if !there {
			r.Status, r.Location = http.StatusCreated, "/v1/segments/"+url.PathEscape(in.Name)
		}
		return r, c.audit(tx, "segment.put", in.Name, "")
	})
}

// reaches looks, leaf by leaf, at the segments that an audience comes to; of is the one it is saved as.
func reaches(v fanfare.Segments, expr audience.Expr, of ...string) (wrong []FieldDetail, err error) {
	for at, leaf := range audience.LeavesAt(expr) {
		if leaf.Kind() != audience.KindSegment {
			continue
		}
		_, err := fanfare.Reach(v, leaf, of...)
		more, err := unreached("#/audience"+strings.TrimPrefix(at, "#"), err)
		if err != nil {
			return nil, err
		}
		wrong = append(wrong, more...)
	}
	if len(wrong) == 0 { // each is small enough; all of them may not be
		_, err = fanfare.Reach(v, expr, of...)
		wrong, err = unreached("#/audience", err)
	}
	return wrong, err
}

func unreached(at string, err error) ([]FieldDetail, error) {
	var e *fanfare.SegmentError
	if !errors.As(err, &e) {
		return nil, err
	}
	d := FieldDetail{Pointer: at, Detail: e.Error()}
	switch e.Kind {
	case fanfare.ErrNotFound:
		d.Code, d.Detail = "unknown_segment", d.Detail+"; save it with PUT /v1/segments/{name}, or mend the name"
	case fanfare.ErrConflict:
		d.Code, d.Detail = "circle", d.Detail+"; take one of them out of another"
	default:
		d.Code, d.Detail = "too_many", d.Detail+"; keep people on a list instead"
	}
	return []FieldDetail{d}, nil
}

// checkSegment looks whether a segment and what it comes to are there.
func (s *Server) checkSegment(ctx context.Context, at string, leaf audience.Segment) (wrong []FieldDetail, err error) {
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		_, err := fanfare.Reach(v, leaf)
		wrong, err = unreached(at, err)
		return err
	})
	return wrong, err
}

// unnamed refuses while a segment, or an audience that is still to be frozen, names a list, a segment or a message.
func unnamed(tx fanfare.ControlView, what audience.Expr) error {
	for cursor := ""; ; {
		rows, next, err := tx.Segments(cursor, 1000)
		if err != nil {
			return err
		}
		for i := range rows {
			if names(rows[i].Audience, what) {
				return conflict("in_use", "Segment %q is made of this %s; change it first.", rows[i].Name, what.Kind())
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	return unfinished(tx, func(m *fanfare.Message) error {
		if past, ok := what.(audience.Message); m.Phase == fanfare.PhaseSending || ok && past.ID == string(m.ID) || !names(m.Audience, what) {
			return nil
		}
		return conflict("in_use", "Message %s (%s) is for this %s and not sent yet; cancel it first.", m.ID, m.Phase, what.Kind())
	})
}

func (s *Server) deleteSegment(ctx context.Context, c *call, in *SegmentPath) error {
	return s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		if err := unnamed(tx, audience.Segment{Name: in.Name}); err != nil {
			return err
		}
		if err := tx.DeleteSegment(in.Name); err != nil {
			return missing(err, "segment", in.Name)
		}
		return c.audit(tx, "segment.delete", in.Name, "")
	})
}
