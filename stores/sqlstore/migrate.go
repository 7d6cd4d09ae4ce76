package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare"
)

// migrations reads the files NNNN_name.sql of a dialect: by number, those before the first are empty. A number means the same tables in all
// dialects; the first of one that came later makes all that others had by then.
func migrations(d Dialect) ([]string, error) {
	names, err := fs.Glob(migrationFiles, "migrations/"+d.Name+"/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var texts []string
	for i, name := range names {
		number, _, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], "_")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || i > 0 && n != len(texts)+1 {
			return nil, fmt.Errorf("migration %s is not number %d", name, len(texts)+1)
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(append(texts, make([]string, n-1-len(texts))...), string(text))
	}
	return texts, nil
}

// migrate brings the tables to this version, in one transaction, and makes slots rows of slots in a new database.
func migrate(ctx context.Context, d Dialect, c *conn, slots int) error {
	steps, err := migrations(d)
	if err != nil {
		return err
	}
	version, err := schemaVersion(d, c)
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("%s: %w: its tables are of version %d, this program knows %d; use the newer fanfare that made it, or restore a backup from before",
			c.db.Name(), fanfare.ErrForeign, version, len(steps))
	}
	if err := c.setUp(ctx, d); err != nil {
		return err
	}
	if version == len(steps) {
		return nil
	}
	if err := c.plain(d.BeginWrite); err != nil {
		return err
	}
	if d.Migrate != "" {
		if err := c.script(d.Migrate); err != nil {
			return errors.Join(err, c.plain("ROLLBACK"))
		}
	}
	if version, err = schemaVersion(d, c); err != nil || version >= len(steps) { // another process was faster
		return errors.Join(err, c.plain("ROLLBACK"))
	}
	if err := migrateFrom(ctx, c, steps, version, slots); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", c.db.Name(), err), c.plain("ROLLBACK"))
	}
	return c.plain("COMMIT")
}

// setUp says what is said before anything is written. SQLite does not wait for another process that opens the file for the first time, so
// it is said again for as long as a writer would wait.
func (c *conn) setUp(ctx context.Context, d Dialect) error {
	if d.Setup == "" {
		return nil
	}
	end := time.NewTimer(setUpWait)
	defer end.Stop()
	again := time.NewTicker(setUpAgain)
	defer again.Stop()
	for {
		err := c.script(d.Setup)
		if !errors.Is(err, fanfare.ErrLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-end.C:
			return err
		case <-again.C:
		}
	}
}

const (
	setUpWait  = 10 * time.Second
	setUpAgain = 10 * time.Millisecond
)

func migrateFrom(ctx context.Context, c *conn, steps []string, version, slots int) (err error) {
	// Where CREATE commits by itself a first migration may have ended anywhere: what is new shows by the slots, which come last.
	made := 0
	if version > 0 {
		made, err = c.slots()
	} else {
		err = c.script("CREATE TABLE IF NOT EXISTS fanfare_schema (version INTEGER PRIMARY KEY, at BIGINT NOT NULL)")
	}
	switch {
	case err != nil:
		return err
	case made > 0:
		slots = made
	case slots == 0:
		slots = defaultSlots
	}
	for i := version; i < len(steps); i++ {
		if steps[i] == "" {
			continue
		}
		if err := c.script(eachSlot(steps[i], slots)); err != nil {
			return fmt.Errorf("migration %d: %w", i+1, err)
		}
		if err := c.script(fmt.Sprintf("INSERT INTO fanfare_schema (version, at) VALUES (%d, %d)", i+1, time.Now().UnixMicro())); err != nil {
			return err
		}
	}
	if made > 0 {
		return nil
	}
	identity, err := c.db.Identity(ctx)
	if err != nil {
		return err
	}
	if _, err := c.exec("shard.insert", identity); err != nil {
		return err
	}
	for n := range slots {
		if _, err := c.exec("slots.insert", n); err != nil {
			return err
		}
	}
	return nil
}

// eachSlot repeats what stands between /*each*/ and /*end*/ for each slot.
func eachSlot(text string, slots int) string {
	var b strings.Builder
	for rest, more := text, true; more; {
		text, rest, more = strings.Cut(rest, "/*each*/")
		b.WriteString(text)
		if more {
			text, rest, _ = strings.Cut(rest, "/*end*/")
			for n := range slots {
				b.WriteString(strings.ReplaceAll(text, slotMark, strconv.Itoa(n)))
			}
		}
	}
	return b.String()
}

// slots reads how many slots there are.
func (c *conn) slots() (n int, err error) {
	_, err = c.one(func(row []driver.Value) error {
		n = int(integer(row[0]))
		return nil
	}, "slots.count")
	return n, err
}

// schemaVersion is 0 for an empty database; one with tables that are not ours is foreign.
func schemaVersion(d Dialect, c *conn) (version int, err error) {
	var tables, ours int64
	s, err := c.raw.Prepare(d.Tables)
	if err != nil {
		return 0, c.fail("open", err)
	}
	err = c.scan("open", s, nil, func(row []driver.Value) error {
		tables, ours = integer(row[0]), integer(row[1])
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil || tables == 0 {
		return 0, err
	}
	if ours == 0 {
		return 0, fmt.Errorf("%s: %w: it holds %d tables of something else; name another file", c.db.Name(), fanfare.ErrForeign, tables)
	}
	if s, err = c.raw.Prepare("SELECT MAX(version) FROM fanfare_schema"); err != nil {
		return 0, c.fail("open", err)
	}
	err = c.scan("open", s, nil, func(row []driver.Value) error {
		version = int(integer(row[0]))
		return nil
	})
	return version, errors.Join(err, s.Close())
}
