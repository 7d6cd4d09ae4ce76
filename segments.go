package fanfare

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare/audience"
)

// Segment is an audience that was saved: whoever it yields at a freeze.
type Segment struct {
	ID        int64 // made by the store
	Name      string
	Audience  json.RawMessage
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Segments reads the segments.
type Segments interface {
	Segment(name string) (Segment, error)                                        // ErrNotFound
	Segments(cursor string, limit int) (items []Segment, next string, err error) // newest first
}

// MaxReach is how many expressions an audience may come to with all the segments that it names, each counted once.
const MaxReach = 10_000

// SegmentError says what is wrong with the segments that an audience reaches.
type SegmentError struct {
	Path []string // from the one that the audience names to the one that is wrong
	Kind error    // ErrNotFound; ErrConflict: the last of the path is in it before; ErrUsage: they are too many
}

func (e *SegmentError) Error() string {
	names := make([]string, len(e.Path))
	for i, name := range e.Path {
		names[i] = strconv.Quote(name)
	}
	path := strings.Join(names, " → ")
	switch {
	case e.Kind == ErrNotFound && len(names) == 1:
		return "there is no segment " + path
	case e.Kind == ErrNotFound:
		return fmt.Sprintf("there is no segment %s (%s)", names[len(names)-1], path)
	case e.Kind == ErrConflict:
		return "segments name each other in a circle: " + path
	}
	return fmt.Sprintf("with the segments that it names an audience has more than %d expressions", MaxReach)
}

func (e *SegmentError) Unwrap() error { return e.Kind }

// Reach gives every segment that an expression names, and that these name. of is the segment that the expression is saved as, if it is. A
// [SegmentError] says which is not there, or in a circle.
func Reach(v Segments, e audience.Expr, of ...string) (map[string]audience.Expr, error) {
	r := reach{v: v, all: make(map[string]audience.Expr)}
	return r.all, r.visit(e, of)
}

type reach struct {
	v     Segments
	all   map[string]audience.Expr
	nodes int
}

func (r *reach) visit(e audience.Expr, path []string) error {
	for leaf := range audience.Leaves(e) {
		if r.nodes++; r.nodes > MaxReach {
			return &SegmentError{path, ErrUsage}
		}
		s, ok := leaf.(audience.Segment)
		if !ok {
			continue
		}
		here := append(slices.Clip(path), s.Name)
		if slices.Contains(path, s.Name) {
			return &SegmentError{here, ErrConflict}
		}
		if _, known := r.all[s.Name]; known {
			continue
		}
		row, err := r.v.Segment(s.Name)
		if err != nil {
			if errors.Is(err, ErrNotFound) {
				err = &SegmentError{here, ErrNotFound}
			}
			return err
		}
		inner, err := audience.Parse(row.Audience)
		if err != nil {
			return fmt.Errorf("segment %q: %w: %w", s.Name, ErrDamaged, err)
		}
		if err := r.visit(inner, here); err != nil {
			return err
		}
		r.all[s.Name] = inner
	}
	return nil
}
