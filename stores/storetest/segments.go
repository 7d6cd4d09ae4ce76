package storetest

import (
	"encoding/json"
	"fmt"
	"time"

	"fanfare"
)

func segments(x *fixture) {
	var want []fanfare.Segment
	for i := range 7 {
		s := fanfare.Segment{Name: fmt.Sprint("人群 ", i), Audience: json.RawMessage(`{"attribute":"ü\"","eq":5}`), CreatedAt: x.now(), UpdatedAt: x.now()}
		x.update(func(tx fanfare.ControlTx) error { return tx.PutSegment(&s) })
		if s.ID <= 0 {
			x.t.Fatalf("a segment with number %d", s.ID)
		}
		want = append([]fanfare.Segment{s}, want...)
	}
	x.clock.Advance(time.Hour)
	changed := fanfare.Segment{Name: want[2].Name, Audience: json.RawMessage(`{"all":true}`), CreatedAt: x.now(), UpdatedAt: x.now()}
	x.update(func(tx fanfare.ControlTx) error { return tx.PutSegment(&changed) })
	want[2].Audience, want[2].UpdatedAt = changed.Audience, x.now()
	x.same(changed, want[2], "what is told of a change")
	x.view(func(v fanfare.ControlView) error {
		one, err := v.Segment(want[2].Name)
		x.ok(err)
		x.same(one, want[2], "one segment")
		_, err = v.Segment("人群")
		x.is(err, fanfare.ErrNotFound, "an unknown segment")
		first, next, err := v.Segments("", 4)
		x.ok(err)
		x.same(first, want[:4], "the first page")
		second, end, err := v.Segments(next, 4)
		x.same(second, want[4:], "the second page")
		x.same(end, "", "the last cursor")
		return err
	})
	x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error {
		x.ok(tx.DeleteSegment(want[1].Name))
		return errBoom
	}), errBoom, "a transaction that fails")
	x.update(func(tx fanfare.ControlTx) error { return tx.DeleteSegment(want[0].Name) })
	x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.DeleteSegment(want[0].Name) }), fanfare.ErrNotFound, "deleting it again")
	x.view(func(v fanfare.ControlView) error {
		all, _, err := v.Segments("", 0)
		x.same(all, want[1:], "the others")
		return err
	})
}
