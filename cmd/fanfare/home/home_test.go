package home

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare"
)

func open(t *testing.T, dir, node string) *Folder {
	t.Helper()
	f, err := Open(dir, node)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func shut(t *testing.T, f *Folder) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAFolderBelongsToOneProcess: the second is told who has it, and the first goes on; each start is an incarnation of the same node.
func TestAFolderBelongsToOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first := open(t, dir, "")
	if _, err := Open(dir, ""); !errors.Is(err, fanfare.ErrLocked) || !strings.Contains(err.Error(), "process ") || !strings.Contains(err.Error(), first.Node) {
		t.Errorf("the second: %v", err)
	}
	if first.Incarnation != 1 || !strings.HasPrefix(first.Node, "node-") {
		t.Errorf("%+v", first)
	}
	shut(t, first)
	second := open(t, dir, "")
	if second.Node != first.Node || second.Incarnation != 2 {
		t.Errorf("%+v after %+v", second, first)
	}
	shut(t, second)
	third := open(t, dir, "eins")
	shut(t, third)
	fourth := open(t, dir, "")
	if fourth.Node != "eins" || fourth.Incarnation != 4 {
		t.Errorf("%+v", fourth)
	}
	shut(t, fourth)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// TestABrokenIncarnationDoesNotBeginAgain: it is refused with what to write, and what is to be written is taken.
func TestABrokenIncarnationDoesNotBeginAgain(t *testing.T) {
	for _, broken := range []string{"", "eins", "eins x7", "eins 0", "eins -3", "eins 9223372036854775807", "7"} {
		dir := t.TempDir()
		file := filepath.Join(dir, "node")
		if err := os.WriteFile(file, []byte(broken+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"", "zwei"} {
			f, err := Open(dir, node)
			if err == nil {
				t.Errorf("%q: incarnation %d", broken, f.Incarnation)
				shut(t, f)
				continue
			}
			if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "write them as: ") {
				t.Errorf("%q: %v", broken, err)
			}
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != broken+"\n" {
			t.Errorf("%q became %q, %v", broken, b, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node"), []byte("node one 1700000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir, "")
	defer shut(t, f)
	if f.Node != "node one" || f.Incarnation != 1700000001 {
		t.Errorf("%+v", f)
	}
}

func TestTheMasterKeyIsMadeOnce(t *testing.T) {
	f := open(t, t.TempDir(), "")
	defer shut(t, f)
	first, err := f.MasterKey("")
	if err != nil || len(first) != 32 {
		t.Fatal(err)
	}
	if again, err := f.MasterKey(""); err != nil || !bytes.Equal(again, first) {
		t.Errorf("another one: %v", err)
	}
	if info, err := os.Stat(f.Path("master.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	given := bytes.Repeat([]byte{7}, 32)
	if key, err := f.MasterKey(base64.StdEncoding.EncodeToString(given)); err != nil || !bytes.Equal(key, given) {
		t.Errorf("the one that is given: %v", err)
	}
	for _, bad := range []string{"short", base64.StdEncoding.EncodeToString(given[:31])} {
		if _, err := f.MasterKey(bad); err == nil || !strings.Contains(err.Error(), "openssl rand -base64 32") || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWriteFileReplacesWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "two, longer", "3"} {
		if err := WriteFile(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != text {
			t.Errorf("%q %v", b, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("%v %v", left, err)
	}
	if err := WriteFile(filepath.Join(file, "below a file"), nil); err == nil {
		t.Error("written below a file")
	}
}

func TestAFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, ""); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	f := open(t, t.TempDir(), "")
	defer shut(t, f)
	if text, err := f.Read("nothing"); err != nil || text != "" {
		t.Errorf("%q %v", text, err)
	}
}
