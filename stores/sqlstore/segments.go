package sqlstore

import (
	"database/sql/driver"
	"encoding/json"

	"fanfare"
)

func scanSegment(s *fanfare.Segment) func(r []driver.Value) error {
	return func(r []driver.Value) error {
		*s = fanfare.Segment{ID: integer(r[0]), Name: text(r[1]), Audience: json.RawMessage(text(r[2])), CreatedAt: moment(r[3]), UpdatedAt: moment(r[4])}
		return nil
	}
}

func (v *controlView) Segment(name string) (s fanfare.Segment, err error) {
	return s, v.get("segment", name, scanSegment(&s), "segments.get", name)
}

func (v *controlView) Segments(cursor string, limit int) (items []fanfare.Segment, next string, err error) {
	before, limit, err := page(cursor, limit)
	if err != nil {
		return nil, "", err
	}
	err = v.c.query(func(r []driver.Value) error {
		var s fanfare.Segment
		_ = scanSegment(&s)(r)
		items = append(items, s)
		return nil
	}, "segments.list", before, before, limit+1)
	items, next = cut(items, limit, func(s fanfare.Segment) int64 { return s.ID })
	return items, next, err
}

func (x *controlTx) PutSegment(s *fanfare.Segment) error {
	if _, err := x.t.exec("segments.put", s.Name, string(s.Audience), s.CreatedAt, s.UpdatedAt); err != nil {
		return err
	}
	var kept fanfare.Segment
	if err := x.get("segment", s.Name, scanSegment(&kept), "segments.get", s.Name); err != nil {
		return err
	}
	s.ID, s.CreatedAt = kept.ID, kept.CreatedAt
	return nil
}

func (x *controlTx) DeleteSegment(name string) error {
	return x.delete("segment", "segments.delete", name)
}
