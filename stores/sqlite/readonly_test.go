//go:build unix

package sqlite_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanfare"
	"fanfare/stores/sqlite"
)

// TestReadOnly asks an ordinary user, since root may write anywhere: the test runs itself again as one.
func TestReadOnly(t *testing.T) {
	if os.Getenv("FANFARE_TEST_READ_ONLY") != "" {
		for _, name := range strings.Split(os.Getenv("FANFARE_TEST_READ_ONLY"), ":") {
			_, err := sqlite.Open(t.Context(), name, sqlite.Options{})
			clear(t, err, fanfare.ErrReadOnly, name, "let the user that runs fanfare write")
		}
		return
	}
	made := filled(t)
	folder := filepath.Dir(made)
	locked := filled(t)
	modes := map[string]os.FileMode{folder: 0o555, made: 0o666, filepath.Dir(filepath.Dir(made)): 0o755, locked: 0o444, filepath.Dir(locked): 0o777, filepath.Dir(filepath.Dir(locked)): 0o755}
	self := filepath.Join(t.TempDir(), "self")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	duplicate(t, executable, self)
	modes[self], modes[filepath.Dir(self)], modes[filepath.Dir(filepath.Dir(self))] = 0o755, 0o755, 0o755
	for file, mode := range modes {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(folder, 0o700) }) // or it could not be removed
	again := exec.CommandContext(t.Context(), self, "-test.run=^TestReadOnly$", "-test.v")
	again.Env = append(os.Environ(), "FANFARE_TEST_READ_ONLY="+strings.Join([]string{made, filepath.Join(folder, "new.db"), locked}, ":"))
	again.Dir = "/"
	if os.Geteuid() == 0 {
		const nobody = 65534
		again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}}
	}
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
