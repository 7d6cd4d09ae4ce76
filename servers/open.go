package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Open starts a server for a test, in a folder of its own, and ends it with the test. Where its program is missing the test skips and says
// so, or fails with CI=true.
func Open(t testing.TB, kind Kind, settings ...string) *Server {
	t.Helper()
	folder, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(folder.remove)
	s, err := New(kind, filepath.Join(folder.name, string(kind)), settings...)
	switch {
	case !supported, errors.Is(err, ErrMissing):
		say := fmt.Sprintf("SKIPPED: %v: NOT tested against it", err)
		if !supported {
			say = fmt.Sprintf("SKIPPED: %s is started on Linux only: NOT tested against it", kind)
		}
		if os.Getenv("CI") == "true" {
			t.Fatal(say)
		}
		fmt.Fprintln(os.Stderr, "!!!", say)
		t.Skip(say)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// place is a scratch folder that is locked while its process lives.
type place struct {
	name string
	lock *os.File
}

const pattern = "fanfare-servers-"

// memory is a file system in memory: what a server syncs there costs nothing, and a crash of the server loses nothing either.
const memory = "/dev/shm"

// roomy is where a test's servers keep what they store: in memory where there is room, else where temporary files lie.
func roomy() string {
	const enough = 4 << 30
	if room(memory) >= enough {
		return memory
	}
	return ""
}

// open makes one, and removes those whose process was killed. The servers' accounts have to pass through it.
func open() (place, error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), pattern+"*", "lock"))
	inMemory, _ := filepath.Glob(filepath.Join(memory, pattern+"*", "lock"))
	for _, name := range append(left, inMemory...) {
		if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
			if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				_ = os.RemoveAll(filepath.Dir(name))
			}
			_ = f.Close()
		}
	}
	made, err := os.MkdirTemp(roomy(), pattern)
	if err != nil {
		return place{}, err
	}
	// Locked before it has the name that others look for.
	lock, err := os.OpenFile(filepath.Join(made, "opening"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(os.Chmod(made, 0o755), syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), //nolint:gosec // others' programs run in it
			os.Rename(lock.Name(), filepath.Join(made, "lock")))
	}
	if err != nil {
		_ = os.RemoveAll(made)
	}
	return place{made, lock}, err
}

func (p place) remove() {
	_ = os.RemoveAll(p.name)
	_ = p.lock.Close()
}
