package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"fanfare"
)

const (
	pagesRead    = 4096 // of one snapshot
	pagesWritten = 512  // in one transaction
	mostPages    = 1 << 25
)

// Purge implements fanfare.Erasing. The database overwrites what it deletes, but not the copies that stay between the rows of a page when it
// moves some of them to another one. So all pages are looked at once more; then the log, which has pages as they were, is emptied.
func (s *Store) Purge(ctx context.Context) (more bool, err error) {
	s.purging.Lock()
	defer s.purging.Unlock()
	unpurged, head, err := s.unpurged(ctx)
	if err != nil || unpurged == 0 {
		return false, err
	}
	if s.dialect.Pages != "" && s.wiped < unpurged {
		if err := s.wipe(ctx); err != nil {
			return false, err
		}
		// Rows of a page that was still to come may have been moved to one that had been looked at.
		if _, now, err := s.unpurged(ctx); err != nil {
			return false, err
		} else if now != head {
			if err := s.wipe(ctx); err != nil {
				return false, err
			}
		}
		s.wiped = unpurged
	}
	if s.dialect.Truncate != "" {
		if done, err := s.truncate(ctx); err != nil || !done {
			return !done, err
		}
	}
	err = s.write(ctx, smallWrite, func(t *tx) error {
		_, err := t.exec("erased.purged", unpurged)
		return err
	})
	if err == nil {
		s.wiped = 0
	}
	return false, err
}

// unpurged tells how many erasures are not in all files yet, and the head.
func (s *Store) unpurged(ctx context.Context) (n, head int64, err error) {
	err = s.read(ctx, func(c *conn) error {
		_, err := c.one(func(r []driver.Value) error {
			n, head = integer(r[0]), integer(r[1])
			return nil
		}, "erased.unpurged")
		return err
	})
	return n, head, err
}

// wipe writes zeros where pages keep nothing: it looks for such pages in snapshots, then looks again and writes in the writer's turn.
func (s *Store) wipe(ctx context.Context) error {
	for from := int64(1); ; from += pagesRead {
		var found []int64
		last := false
		if err := s.read(ctx, func(c *conn) error {
			count, err := s.pages(c)
			if err != nil {
				return err
			}
			end := min(from+pagesRead, count+1)
			last = end == count+1
			for number := from; number < end; number++ {
				wiped, err := s.slack(c, number)
				if err != nil {
					return err
				}
				if wiped != nil {
					found = append(found, number)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for len(found) > 0 {
			n := min(len(found), pagesWritten)
			if err := s.wipePages(ctx, found[:n]); err != nil {
				return err
			}
			found = found[n:]
		}
		if last {
			return nil
		}
	}
}

// pages counts the pages. What a page is is told by its first byte; the number of a page begins those that hold no rows, and for files of
// 128 GB it could begin with such a byte.
func (s *Store) pages(c *conn) (count int64, err error) {
	q, err := c.statementOf(s.dialect.Pages)
	if err != nil {
		return 0, err
	}
	err = c.scan("pages", q, nil, func(r []driver.Value) error {
		count = integer(r[0])
		return nil
	})
	if err == nil && count >= mostPages {
		err = fmt.Errorf("%s: %w: what was erased cannot be taken out of a file of %d pages; copy it by fanfare backup and serve the copy", s.db.Name(), fanfare.ErrUsage, count)
	}
	return count, err
}

func (s *Store) slack(c *conn, number int64) (wiped []byte, err error) {
	q, err := c.statementOf(s.dialect.ReadPage)
	if err != nil {
		return nil, err
	}
	err = c.scan("page", q, []driver.Value{number}, func(r []driver.Value) error {
		wiped = s.db.Slack(number, blob(r[0]))
		return nil
	})
	return wiped, err
}

func (s *Store) wipePages(ctx context.Context, numbers []int64) error {
	return s.write(ctx, longWrite, func(t *tx) error {
		q, err := t.statementOf(s.dialect.WritePage)
		if err != nil {
			return err
		}
		for _, number := range numbers {
			wiped, err := s.slack(t.conn, number)
			if err != nil {
				return err
			}
			if wiped == nil {
				continue
			}
			if _, err := t.run("wipe page", q, []driver.Value{wiped, number}); err != nil {
				return err
			}
		}
		return nil
	})
}

// truncate empties the log; false: somebody reads what was before. It has a connection of its own, so that the writer waits for a moment only.
func (s *Store) truncate(ctx context.Context) (done bool, err error) {
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	c, err := connect(ctx, s.dialect, s.db, s.texts, false)
	if err != nil {
		return false, err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
	}()
	if err := c.plain(s.dialect.Hurry); err != nil {
		return false, err
	}
	q, err := c.statementOf(s.dialect.Truncate)
	if err != nil {
		return false, err
	}
	err = c.scan("truncate", q, nil, func(r []driver.Value) error {
		done = integer(r[0]) == 0
		return nil
	})
	return done, err
}
