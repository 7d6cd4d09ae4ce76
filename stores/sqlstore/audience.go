package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sort"

	"fanfare"
	"fanfare/set"
)

func rowOfAudience(k audienceKey, part fanfare.Part, chunk int64) string {
	return fmt.Sprintf("audiences row (message %d, slot %d, part %s, chunk %d)", k.message, k.slot, part, chunk)
}

// Members implements fanfare.Journal. What is in the cache asks no database: a frozen audience never changes.
func (s *Store) Members(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, first uint32, count int) (members []fanfare.Seq, err error) {
	k := audienceKey{m, n}
	if err := s.has(n); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	rows, _ := s.frozen.rows(k)
	members, all := s.frozenMembers(k, rows, first, count, func(audienceRow) (*set.Set, error) { return nil, nil })
	s.leave()
	if all == nil && members != nil {
		return members, nil
	}
	err = s.readSlot(ctx, n, func(c *conn) (err error) {
		members, err = s.members(c, k, first, count)
		return err
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// members gives the planned of rank first to first+count, as far as there are any.
func (s *Store) members(c *conn, k audienceKey, first uint32, count int) ([]fanfare.Seq, error) {
	rows, epoch, err := s.frozenRows(c, k)
	if err != nil {
		return nil, err
	}
	return s.frozenMembers(k, rows, first, count, func(row audienceRow) (*set.Set, error) { return s.loadChunk(c, k, row, epoch) })
}

// frozenRows tells where the planned of one slot lie.
func (s *Store) frozenRows(c *conn, k audienceKey) (rows []audienceRow, epoch int64, err error) {
	rows, epoch = s.frozen.rows(k)
	if rows != nil {
		return rows, epoch, nil
	}
	if err := c.query(func(r []driver.Value) error {
		rows = append(rows, audienceRow{chunk: uint16(integer(r[0])), n: uint32(integer(r[1])), first: uint32(integer(r[2]))}) //nolint:gosec // as written
		return nil
	}, "audiences.index", int64(k.message), int64(k.slot)); err != nil {
		return nil, 0, err
	}
	s.frozen.putRows(k, rows, epoch)
	return rows, epoch, nil
}

// loadChunk reads one row of the planned.
func (s *Store) loadChunk(c *conn, k audienceKey, row audienceRow, epoch int64) (members *set.Set, err error) {
	found, err := c.one(func(r []driver.Value) (err error) {
		members, err = set.DecodeChunk(chunkOf(r[0], r[1], r[3], r[4]))
		return err
	}, "audiences.chunk", int64(k.message), int64(k.slot), int64(row.chunk))
	if err == nil && !found {
		err = fanfare.ErrDamaged
	}
	if err != nil {
		return nil, c.damagedRow(rowOfAudience(k, fanfare.PartSend, int64(row.chunk)), err)
	}
	s.frozen.putChunk(k, row.chunk, members, epoch)
	return members, nil
}

// frozenMembers gathers ranks from the cached chunks and, where load gives them, from others; without it and a chunk it gives nil.
func (s *Store) frozenMembers(k audienceKey, rows []audienceRow, first uint32, count int, load func(audienceRow) (*set.Set, error)) ([]fanfare.Seq, error) {
	if count <= 0 || len(rows) == 0 {
		return nil, nil
	}
	from, end := int64(first), int64(first)+int64(count)
	at := sort.Search(len(rows), func(i int) bool { return int64(rows[i].first)+int64(rows[i].n) > from })
	members := make([]fanfare.Seq, 0, min(count, set.ChunkSize))
	for ; at < len(rows) && int64(rows[at].first) < end; at++ {
		row := rows[at]
		chunk := s.frozen.chunk(k, row.chunk)
		if chunk == nil {
			var err error
			if chunk, err = load(row); err != nil || chunk == nil {
				return nil, err
			}
		}
		members = chunk.SelectRange(members, int(max(from-int64(row.first), 0)), int(end-int64(row.first)))
	}
	return members, nil
}

// PartSet implements fanfare.Reports.
func (s *Store) PartSet(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, p fanfare.Part) (members *set.Set, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		members = set.New()
		return c.query(func(r []driver.Value) error {
			if err := members.AddChunk(chunkOf(r[0], r[1], r[3], r[4])); err != nil {
				return c.damagedRow(rowOfAudience(audienceKey{m, n}, p, integer(r[0])), err)
			}
			return nil
		}, "audiences.part", int64(m), int64(n), string(p))
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// PartOf implements fanfare.Reports.
func (s *Store) PartOf(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seq fanfare.Seq) (p fanfare.Part, rank int, in bool, err error) {
	index := int64(seq >> 16)
	err = s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			members, err := set.DecodeChunk(chunkOf(index, r[1], r[3], r[4]))
			if err != nil {
				return c.damagedRow(rowOfAudience(audienceKey{m, n}, fanfare.Part(text(r[0])), index), err)
			}
			if members.Contains(seq) { // the parts of an audience share nobody
				p, rank, in = fanfare.Part(text(r[0])), int(integer(r[2]))+members.Rank(seq), true
			}
			return nil
		}, "audiences.of", int64(m), int64(n), index)
	})
	return p, rank, in, err
}

// Parts implements fanfare.Reports.
func (s *Store) Parts(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (map[fanfare.Part]int, error) {
	sizes := make(map[fanfare.Part]int)
	err := s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			sizes[fanfare.Part(text(r[0]))] = int(integer(r[1]))
			return nil
		}, "audiences.sizes", int64(m), int64(n))
	})
	if err != nil {
		return nil, err
	}
	return sizes, nil
}
