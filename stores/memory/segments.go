package memory

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"fanfare"
)

func cloneSegment(s fanfare.Segment) fanfare.Segment {
	s.Audience = slices.Clone(s.Audience)
	return s
}

func (v *view) Segment(name string) (fanfare.Segment, error) {
	s, ok := v.c.segments[name]
	if !ok {
		return s, missing("segment", name)
	}
	return cloneSegment(s), nil
}

func (v *view) Segments(cursor string, limit int) (items []fanfare.Segment, next string, err error) {
	before, limit, err := page(cursor, limit)
	if err != nil {
		return nil, "", err
	}
	for _, s := range slices.SortedFunc(maps.Values(v.c.segments), func(a, b fanfare.Segment) int { return cmp.Compare(b.ID, a.ID) }) {
		if before != 0 && s.ID >= before {
			continue
		}
		if len(items) == limit {
			return items, strconv.FormatInt(items[limit-1].ID, 10), nil
		}
		items = append(items, cloneSegment(s))
	}
	return items, "", nil
}

func (t *tx) PutSegment(s *fanfare.Segment) error {
	if was, there := t.c.segments[s.Name]; there {
		s.ID, s.CreatedAt = was.ID, was.CreatedAt
	} else {
		assign(t, &t.c.lastSegment, t.c.lastSegment+1)
		s.ID = t.c.lastSegment
	}
	put(t, t.c.segments, s.Name, cloneSegment(*s))
	return nil
}

func (t *tx) DeleteSegment(name string) error { return remove(t, t.c.segments, name, "segment") }
