// Package home is a node's data folder: its lock, its keys, its name and incarnation. A folder belongs to one node; a second process on
// it is refused with the name of the one that has it.
package home

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fanfare"
)

// Folder is a data folder that this process has locked.
type Folder struct {
	Dir         string
	ID          string // of the folder itself, for good: two that share a name are told apart by it
	Node        string
	Incarnation int64
	lock        *os.File
}

// Open makes the folder if it is missing, locks it and raises its incarnation. node renames the node; empty keeps its name. Errors:
// ErrLocked with who has it, ErrReadOnly.
func Open(dir, node string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unwritable(dir, err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, unwritable(dir, err)
	}
	f := &Folder{Dir: dir, lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		who, _ := os.ReadFile(filepath.Join(dir, "lock"))
		return nil, errors.Join(fmt.Errorf("data folder %s: %w: %s; stop it first, or give this one another --data",
			dir, fanfare.ErrLocked, strings.TrimSpace(string(who))), lock.Close())
	}
	if err := f.prepare(node); err != nil {
		return nil, errors.Join(unwritable(dir, err), lock.Close())
	}
	return f, nil
}

func unwritable(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("data folder %s: %w: give this account the right to write there, or another folder with --data (%w)", dir, fanfare.ErrReadOnly, err)
	}
	return fmt.Errorf("data folder %s: %w", dir, err)
}

func (f *Folder) prepare(node string) error {
	old, err := f.Read("node")
	if err != nil {
		return err
	}
	at := max(0, strings.LastIndexByte(old, ' ')) // a name may have spaces
	name, inc := old[:at], strings.TrimSpace(old[at:])
	if _, err := os.Stat(f.Path("node")); err == nil {
		// A number that was there before would not void the claims of the process that had it.
		if f.Incarnation, err = strconv.ParseInt(inc, 10, 64); err != nil || name == "" || f.Incarnation < 1 || f.Incarnation == math.MaxInt64 {
			return fmt.Errorf("%s: %q is not a node's name and the number of its last start; write them as: %s %d (the second may be any number above that of each start before, as this one, "+
				"which is the time)", f.Path("node"), old, cmp.Or(name, "NAME"), time.Now().Unix())
		}
	}
	f.Incarnation++
	switch {
	case node != "":
		f.Node = node
	case name != "":
		f.Node = name
	default:
		f.Node = "node-" + strings.ToLower(rand.Text()[:8])
	}
	if err := f.Raise(f.Incarnation); err != nil {
		return err
	}
	if f.ID, err = f.Read("folder"); err == nil && f.ID == "" {
		f.ID = strings.ToLower(rand.Text()[:16])
		err = WriteFile(f.Path("folder"), []byte(f.ID+"\n"))
	}
	if err != nil {
		return err
	}
	if err := f.lock.Truncate(0); err != nil {
		return err
	}
	_, err = f.lock.WriteAt(fmt.Appendf(nil, "process %d, node %s\n", os.Getpid(), f.Node), 0)
	return err
}

// Raise makes this start a higher incarnation: the database knows a former one of this name that was not this folder's.
func (f *Folder) Raise(incarnation int64) error {
	f.Incarnation = incarnation
	return WriteFile(f.Path("node"), []byte(f.Node+" "+strconv.FormatInt(f.Incarnation, 10)+"\n"))
}

// Read gives a file of the folder without the space around it; empty if it is missing.
func (f *Folder) Read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(f.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// WriteFile replaces a file whole or not at all, on disk when it returns, mode 0600.
func WriteFile(file string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only synced
	return d.Sync()
}

// Path names a file of the folder.
func (f *Folder) Path(name string) string { return filepath.Join(f.Dir, name) }

// MasterKey is the 32-byte key that seals secrets at rest: from text (base64) if it is given, else from master.key, which is made if
// it is missing.
func (f *Folder) MasterKey(text string) ([]byte, error) {
	from := "FANFARE_MASTER_KEY"
	if text == "" {
		var err error
		if text, err = f.Read("master.key"); err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		from = f.Path("master.key")
	}
	if text == "" {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		if err := WriteFile(f.Path("master.key"), []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
			return nil, unwritable(f.Dir, err)
		}
		return key, nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("master key in %s is not 32 bytes of base64; make one with: openssl rand -base64 32", from)
	}
	return key, nil
}

// Close gives the folder up.
func (f *Folder) Close() error { return f.lock.Close() }
