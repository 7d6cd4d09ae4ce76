package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fanfare"
	"fanfare/set"
)

// Features implements fanfare.Upkeep.
func (s *Store) Features() fanfare.StoreFeatures {
	return fanfare.StoreFeatures{Name: s.dialect.Name, Durable: true, Shared: true, CanBackup: s.dialect.Backup != "", Files: s.dialect.Files}
}

// Identity implements fanfare.Upkeep.
func (s *Store) Identity(ctx context.Context) (id fanfare.Identity, err error) {
	err = s.read(ctx, func(c *conn) error {
		found, err := c.one(func(r []driver.Value) error {
			id = fanfare.Identity{Head: integer(r[0]), AliveAt: moment(r[1]), Stored: text(r[2])}
			return nil
		}, "shard.get")
		if err == nil && !found {
			err = c.damagedRow("shard row 1 is missing", fanfare.ErrDamaged)
		}
		if err == nil {
			id.Found, err = s.db.Identity(ctx)
		}
		return err
	})
	if err != nil {
		return fanfare.Identity{}, err
	}
	return id, nil
}

// Adopt implements fanfare.Upkeep.
func (s *Store) Adopt(ctx context.Context) error {
	found, err := s.db.Identity(ctx)
	if err != nil {
		return err
	}
	return s.write(ctx, smallWrite, func(t *tx) error {
		_, err := t.exec("shard.adopt", found)
		return err
	})
}

// Alive implements fanfare.Upkeep.
func (s *Store) Alive(ctx context.Context) error {
	return s.write(ctx, smallWrite, func(t *tx) error {
		_, err := t.exec("shard.alive", t.now)
		return err
	})
}

// Backup implements fanfare.Upkeep. The file has its name only once it is complete and synced.
func (s *Store) Backup(ctx context.Context, file string) (err error) {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.dialect.Backup == "" {
		return fmt.Errorf("%s: %w: back it up with the database's own means", s.db.Name(), fanfare.ErrUsage)
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("backup to %s: %w; name a new file", file, fanfare.ErrExists)
	}
	partial := file + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("backup to %s: %w", file, err)
	}
	c, err := connect(ctx, s.dialect, s.db, s.texts, false)
	if err != nil {
		return err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
		if err != nil {
			_ = os.Remove(partial) // it may not be there
		}
	}()
	// It holds what the database holds, so it is its owner's alone; the database fills a file that is empty.
	if err := os.WriteFile(partial, nil, 0o600); err != nil {
		return fmt.Errorf("backup to %s: %w", file, err)
	}
	b, err := c.prepare("backup", s.dialect.Backup)
	if err != nil {
		return err
	}
	if _, err := c.run("backup to "+file, b, []driver.Value{partial}); err != nil {
		return err
	}
	if err := syncFile(partial); err != nil {
		return fmt.Errorf("backup to %s: %w", file, err)
	}
	switch err = os.Link(partial, file); { // unlike a rename, it replaces nothing
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("backup to %s: %w; name a new file", file, fanfare.ErrExists)
	case err != nil: // a file system without links
		err = os.Rename(partial, file)
	default:
		err = os.Remove(partial)
	}
	if err != nil {
		return fmt.Errorf("backup to %s: %w", file, err)
	}
	return syncFile(filepath.Dir(file))
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Check implements fanfare.Upkeep.
func (s *Store) Check(ctx context.Context) (found []string, err error) {
	say := func(err error) { found = append(found, err.Error()) }
	err = s.read(ctx, func(c *conn) error {
		for _, check := range [...]func(*conn, func(error)) error{s.checkDatabase, s.checkSets, s.checkAudiences, s.checkBatches, s.checkPeople, s.checkReceipts} {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := check(c, say); err != nil {
				if !errors.Is(err, fanfare.ErrDamaged) {
					return err
				}
				say(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (s *Store) checkDatabase(c *conn, say func(error)) error {
	if s.dialect.Integrity == "" {
		return nil
	}
	q, err := c.prepare("integrity", s.dialect.Integrity)
	if err != nil {
		return err
	}
	return c.scan("integrity", q, nil, func(r []driver.Value) error {
		if line := text(r[0]); line != "ok" {
			say(fmt.Errorf("%s: %w: %s", c.db.Name(), fanfare.ErrDamaged, line))
		}
		return nil
	})
}

func (s *Store) checkSets(c *conn, say func(error)) error {
	return c.query(func(r []driver.Value) error {
		if _, err := set.DecodeChunk(chunkOf(r[2], r[3], r[4], r[5])); err != nil {
			say(c.damagedRow(rowOfSet(integer(r[0]), text(r[1]), integer(r[2])), err))
		}
		return nil
	}, "sets.all")
}

func (s *Store) checkAudiences(c *conn, say func(error)) error {
	var last audienceKey
	var part fanfare.Part
	var first int64
	return c.query(func(r []driver.Value) error {
		k, p := audienceKey{fanfare.MessageNum(integer(r[0])), fanfare.Slot(integer(r[1]))}, fanfare.Part(text(r[2])) //nolint:gosec // as written
		if k != last || p != part {
			last, part, first = k, p, 0
		}
		_, err := set.DecodeChunk(chunkOf(r[3], r[4], r[6], r[7]))
		if err == nil && integer(r[5]) != first {
			err = fmt.Errorf("%w: its first member is said to have rank %d, not %d", fanfare.ErrDamaged, integer(r[5]), first)
		}
		if err != nil {
			say(c.damagedRow(rowOfAudience(k, p, integer(r[3])), err))
		}
		first = integer(r[5]) + integer(r[4])
		return nil
	}, "audiences.all")
}

func (s *Store) checkBatches(c *conn, say func(error)) error {
	return c.query(func(r []driver.Value) error {
		if _, err := c.scanBatch(r); err != nil {
			say(err)
		}
		return nil
	}, "batches.all")
}

func (s *Store) checkPeople(c *conn, say func(error)) error {
	for i := range s.slots {
		n := fanfare.Slot(i) //nolint:gosec // has them
		if err := c.query(func(r []driver.Value) error {
			if _, err := c.scanProfile(n, r); err != nil {
				say(err)
			}
			return nil
		}, inSlot(n, "recipients.range"), 0, set.Universe-1); err != nil {
			if !errors.Is(err, fanfare.ErrDamaged) {
				return err
			}
			say(err)
		}
	}
	return nil
}
