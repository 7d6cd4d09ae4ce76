package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	engine "modernc.org/sqlite"

	"fanfare"
	"fanfare/stores/sqlstore"
)

// Options says how a file is opened; the zero value will do.
type Options struct {
	Slots    int              // of a new file, 0: 16; of an existing one what it must have, 0: whatever it has
	Clock    func() time.Time // nil: time.Now
	Cache    int              // bytes of sets kept in memory, 0: 128 MB; the same again of frozen audiences
	MaxPages int64            // how many pages of 4,096 bytes the file may have, 0: as many as the disk holds
}

// Open opens a file, or makes it in an existing folder. Parameters may follow its name: FILE?max_pages=N is Options.MaxPages.
// Errors: fanfare.ErrNotFound (the folder), ErrReadOnly, ErrDamaged, ErrForeign, ErrFull, ErrLocked, ErrUsage.
func Open(ctx context.Context, file string, o Options) (fanfare.Shard, error) {
	file, err := parameters(file, &o)
	if err != nil {
		return nil, err
	}
	db := database{file: file, maxPages: o.MaxPages}
	if err := db.usable(); err != nil {
		return nil, err
	}
	s, err := sqlstore.Open(ctx, sqlstore.SQLite(), db, sqlstore.Options{Slots: o.Slots, Clock: o.Clock, Cache: o.Cache})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parameters takes what follows the last '?' off the file's name; behind a '/' it is part of the name.
func parameters(file string, o *Options) (string, error) {
	at := strings.LastIndexByte(file, '?')
	if at < 0 || strings.ContainsAny(file[at:], `/\`) {
		return file, nil
	}
	values, err := url.ParseQuery(file[at+1:])
	for name, v := range values {
		switch name {
		case "max_pages":
			if o.MaxPages, err = strconv.ParseInt(v[len(v)-1], 10, 64); err != nil || o.MaxPages <= 0 {
				return "", fmt.Errorf("%w: sqlite:%s: max_pages=%s is no number of pages; write max_pages=100000", fanfare.ErrUsage, file, v[len(v)-1])
			}
		default:
			return "", fmt.Errorf("%w: sqlite:%s: there is no parameter %s; there is max_pages", fanfare.ErrUsage, file, name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: sqlite:%s: %w", fanfare.ErrUsage, file, err)
	}
	return file[:at], nil
}

// database is what sqlstore asks of a driver.
type database struct {
	file     string
	maxPages int64
}

func (d database) Name() string { return d.file }

// usable tells early and clearly what SQLite calls "unable to open database file".
func (d database) usable() error {
	folder := filepath.Dir(d.file)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: there is no folder %s; make it first", d.file, fanfare.ErrNotFound, folder)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: %w; %s", d.file, fanfare.ErrReadOnly, err, writableHint)
	case err != nil:
		return fmt.Errorf("%s: %w", d.file, err)
	case !info.IsDir():
		return fmt.Errorf("%s: %w: %s is no folder; name another file", d.file, fanfare.ErrUsage, folder)
	}
	if info, err := os.Stat(d.file); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: %w: it is no regular file; name another one", d.file, fanfare.ErrUsage)
		}
		if err := d.looksRight(); err != nil {
			return err
		}
	}
	// SQLite keeps its log beside the file, so the folder has to be writable too.
	probe, err := os.CreateTemp(folder, ".fanfare-probe-*")
	if err != nil {
		return d.unwritable(err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return err
	}
	return d.private()
}

// private makes the file if there is none: it holds addresses, so it is its owner's alone. SQLite gives its log the same mode.
func (d database) private() error {
	f, err := os.OpenFile(d.file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return d.unwritable(err)
	}
	return f.Close()
}

// looksRight refuses a file that SQLite would take for an empty one, though it is short and of something else.
func (d database) looksRight() error {
	f, err := os.OpenFile(d.file, os.O_RDWR, 0)
	if err != nil {
		return d.unwritable(err)
	}
	const header = "SQLite format 3\x00"
	first, err := io.ReadAll(io.LimitReader(f, int64(len(header))))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", d.file, err)
	}
	if len(first) > 0 && string(first) != header {
		return fmt.Errorf("%s: %w", d.file, &sqlstore.Failure{Kind: fanfare.ErrDamaged, Err: errors.New("it does not begin as a database does"), Hint: damagedHint})
	}
	return nil
}

func (d database) unwritable(err error) error {
	f := &sqlstore.Failure{Err: err}
	switch {
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		f.Kind, f.Hint = fanfare.ErrReadOnly, writableHint
	case isFull(err):
		f.Kind, f.Hint = fanfare.ErrFull, fullHint
	}
	return fmt.Errorf("%s: %w", d.file, f)
}

// Connect implements sqlstore.Database.
func (d database) Connect(ctx context.Context, read bool) (driver.Conn, error) {
	pragmas := []string{"busy_timeout(10000)"} // first: the others may have to wait for another process
	if read {
		pragmas = append(pragmas, "query_only(1)", "cache_size(-2000)")
	} else {
		pragmas = append(pragmas, "synchronous(FULL)", "cache_size(-32000)", "wal_autocheckpoint(4000)", "secure_delete(1)",
			"journal_size_limit(67108864)")
		if d.maxPages > 0 {
			pragmas = append(pragmas, fmt.Sprintf("max_page_count(%d)", d.maxPages))
		}
	}
	pragmas = append(pragmas, "temp_store(MEMORY)", "cell_size_check(1)")
	path, err := filepath.Abs(d.file)
	if err != nil {
		return nil, err
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	c, err := engine.NewConnector(name.String())
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx)
}

// Identity implements sqlstore.Database: device, inode and machine.
func (d database) Identity(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	place, err := placeOf(d.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", d.file, err)
	}
	return place + " machine " + machine(), nil
}

// machine is empty where the system keeps no id; then device and inode have to do.
func machine() string {
	for _, file := range [...]string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if id, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(id))
		}
	}
	return ""
}
