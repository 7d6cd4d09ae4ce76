package people_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"fanfare"
	"fanfare/people"
	"fanfare/stores/memory"
)

// TestImportRefusesTheErased: whoever was erased comes back by no file, whatever its kind; and is told of by line, not by name.
func TestImportRefusesTheErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.Open(memory.Config{Slots: 4})
		im, err := people.NewImporter(store, t.TempDir(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		take := func(text string, o people.Options) fanfare.Import {
			imp, err := im.Accept(t.Context(), strings.NewReader(text), "vip", o)
			if err != nil {
				t.Fatal(err)
			}
			run(t, im)
			return state(t, store, imp.ID)
		}
		take("id,email\nada,ada@example.com\nbob,bob@example.com\n", people.Options{Format: people.CSV})
		if _, err := store.Erase(t.Context(), fanfare.SlotOf("ada", 4), []string{"ada"}); err != nil {
			t.Fatal(err)
		}
		for i, done := range []fanfare.Import{
			take("id,email\nbob,bob@example.com\nada,ada@example.com\neve,ada@example.com\n", people.Options{Format: people.CSV}),
			take("{\"id\":\"bob\"}\n{\"id\":\"ada\"}\n{\"id\":\"eve\"}\n", people.Options{Format: people.NDJSON, Insert: true}),
		} {
			if done.State != fanfare.ImportDone || done.Rows != 3 || done.Failed != int64(1+2*i) || done.Created != int64(1-i) {
				t.Errorf("import %d: %+v", i, done)
			}
			refused, err := os.ReadFile(im.ErrorsFile(done.ID))
			if err != nil || !strings.Contains(string(refused), "was erased") || strings.Contains(string(refused), "ada") {
				t.Errorf("import %d: %v\n%s", i, err, refused)
			}
		}
		if n := members(t, store, "vip"); n != 2 {
			t.Errorf("%d members", n)
		}
	})
}

// TestAHeldImportKeepsNobody: while it waits for a person its file is gone, and it can be confirmed after a restart all the same.
func TestAHeldImportKeepsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, dir := memory.Open(memory.Config{Slots: 4}), t.TempDir()
		open := func() *people.Importer {
			im, err := people.NewImporter(store, dir, quiet())
			if err != nil {
				t.Fatal(err)
			}
			return im
		}
		im := open()
		accept := func(text string, replace bool) string {
			imp, err := im.Accept(t.Context(), strings.NewReader(text), "vip", people.Options{Format: people.CSV, Replace: replace})
			if err != nil {
				t.Fatal(err)
			}
			run(t, im)
			return imp.ID
		}
		accept("id\na\nb\nc\n", false)
		id := accept("id\nb\nd\ne\n\x01\n", true)
		if got := state(t, store, id); got.State != fanfare.ImportHeld {
			t.Fatalf("%+v", got)
		}
		if data := dataFiles(t, dir); len(data) > 0 {
			t.Errorf("files: %v", data)
		}
		if _, err := store.Erase(t.Context(), fanfare.SlotOf("d", 4), []string{"d"}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id+".data"), []byte("left by a kill"), 0o600); err != nil {
			t.Fatal(err)
		}
		im = open()
		run(t, im)
		if _, err := im.Confirm(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		run(t, im)
		if got := state(t, store, id); got.State != fanfare.ImportDone || got.Detail != "" || members(t, store, "vip") != 2 {
			t.Errorf("%+v, %d members", got, members(t, store, "vip"))
		}
		left, err := filepath.Glob(filepath.Join(dir, id+".*"))
		if err != nil || len(left) != 1 || left[0] != im.ErrorsFile(id) {
			t.Errorf("left: %v, %v", left, err)
		}
		other := accept("id\nb\n\x01\n", true)
		if _, err := im.Cancel(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, other+".*")); len(left) != 1 {
			t.Errorf("left of a cancelled one: %v", left)
		}
	})
}
