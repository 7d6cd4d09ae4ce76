//go:build unix

package sqlite_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"fanfare/stores/sqlite"
)

// TestPrivate: the database, what SQLite keeps beside it and a backup are their owner's alone, whatever the umask leaves to others.
func TestPrivate(t *testing.T) {
	was := syscall.Umask(0o022)
	defer syscall.Umask(was)
	name := filepath.Join(t.TempDir(), "fanfare.db")
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // at the end
	fill(t, s)
	if err := s.Backup(t.Context(), name+"-copy"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"", "-wal", "-shm", "-copy"} {
		info, err := os.Stat(name + part)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s is %o", filepath.Base(name+part), mode)
		}
	}
}
