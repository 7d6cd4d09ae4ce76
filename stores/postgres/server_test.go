package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"fanfare"
	"fanfare/servers"
	"fanfare/set"
	"fanfare/stores/postgres"
)

// start starts a server that crashed: what its processes shared may be in use for a moment still.
func start(s *servers.Server) (err error) {
	for range 200 {
		if err = s.Start(); err == nil {
			break
		}
	}
	return err
}

// TestServer is about the server itself, so it has one of its own.
func TestServer(t *testing.T) {
	t.Parallel()
	server := servers.Open(t, servers.PostgreSQL)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sql := func(text string) {
		t.Helper()
		for _, statement := range strings.Split(text, ";") { // some may not share a transaction
			_, err := server.SQL(statement)
			must(err)
		}
	}
	refused := func(t *testing.T, dsn string, kind error, words ...string) {
		t.Helper()
		s, err := postgres.Open(t.Context(), dsn, postgres.Options{})
		if err == nil {
			t.Fatal("it was opened", s.Close())
		}
		if !errors.Is(err, kind) {
			t.Errorf("%v, want %v", err, kind)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in: %v", w, err)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in: %v", err)
		}
	}

	t.Run("refused", func(t *testing.T) {
		dsn := server.Database(t)
		refused(t, dsn+"&options=-c%20synchronous_commit%3Doff", fanfare.ErrUsage, "synchronous_commit = off", "set synchronous_commit = on")
		for _, setting := range []string{"fsync", "full_page_writes"} {
			sql("ALTER SYSTEM SET " + setting + " = off; SELECT pg_reload_conf()")
			refused(t, dsn, fanfare.ErrUsage, setting+" = off")
			sql("ALTER SYSTEM RESET " + setting + "; SELECT pg_reload_conf()")
		}
		sql("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
		refused(t, strings.Replace(server.URL(), "/postgres?", "/latin?", 1), fanfare.ErrUsage, "server_encoding = LATIN1", "UTF8")
		refused(t, strings.Replace(server.URL(), "/postgres?", "/nowhere?", 1), fanfare.ErrNotFound, "CREATE DATABASE")
		refused(t, dsn+"&search_path=nowhere", fanfare.ErrUsage, "search_path")
		refused(t, "postgres://me:secret@127.0.0.1:port/x", fanfare.ErrUsage, "postgres://user:password@host")
		exec(t, dsn, "CREATE TABLE something (else_ int)")
		refused(t, dsn, fanfare.ErrForeign, "something else")
	})

	t.Run("two open an empty database at once", func(t *testing.T) {
		dsn := server.Database(t)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				s, err := postgres.Open(t.Context(), dsn, postgres.Options{Slots: 3})
				if err != nil {
					t.Error(err)
					return
				}
				if s.Slots() != 3 {
					t.Errorf("%d slots", s.Slots())
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		refusedSlots, err := postgres.Open(t.Context(), dsn, postgres.Options{Slots: 4})
		if !errors.Is(err, fanfare.ErrUsage) {
			t.Errorf("%v, %v", refusedSlots, err)
		}
	})

	t.Run("what is no text is refused, and takes nothing with it", func(t *testing.T) {
		s, err := postgres.Open(t.Context(), server.Database(t), postgres.Options{Slots: 1})
		must(err)
		defer s.Close() //nolint:errcheck // it ends with its database
		for _, bad := range []string{"a\x00b", "\xff"} {
			_, err := s.Upsert(t.Context(), 0, []fanfare.RecipientChange{{ExternalID: bad}}, fanfare.UpsertOptions{})
			if err == nil {
				t.Errorf("%q is somebody", bad)
			}
			if err := s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.PutProvider(fanfare.Provider{Name: bad}) }); err == nil {
				t.Errorf("%q is a provider", bad)
			}
		}
		done, err := s.Upsert(t.Context(), 0, []fanfare.RecipientChange{{ExternalID: "a", Attributes: map[string]any{"x": "\x00"}}}, fanfare.UpsertOptions{})
		must(err)
		r, err := s.Recipient(t.Context(), "a")
		must(err)
		if r.Seq != done[0].Seq || r.Attributes["x"] != "\x00" {
			t.Errorf("%+v", r)
		}
	})

	// What was answered is there whenever the server crashes, and the store goes on by itself.
	t.Run("crash", func(t *testing.T) {
		s, err := postgres.Open(t.Context(), server.Database(t), postgres.Options{Slots: 1})
		must(err)
		const workers, each = 4, 2000
		var group sync.WaitGroup
		var mu sync.Mutex
		said, unknown := set.New(), 0
		begun := make(chan struct{}, workers*each)
		for w := range workers {
			group.Go(func() {
				for k := range each {
					n := uint32(w*each + k) //nolint:gosec // small
					added, _, err := s.ChangeSet(t.Context(), 0, fanfare.ListSet(int64(w)), set.Of(n), nil)
					mu.Lock()
					if err != nil {
						unknown++
					} else if said.Add(n); added != 1 {
						t.Errorf("%d added", added)
					}
					mu.Unlock()
					begun <- struct{}{}
				}
			})
		}
		for range 3 {
			for range 300 {
				<-begun
			}
			server.Crash()
			must(start(server))
		}
		group.Wait()
		if _, _, err := s.ChangeSet(t.Context(), 0, fanfare.ListSet(1), set.Of(1<<20), nil); err != nil {
			t.Errorf("it does not go on: %v", err)
		}
		found := set.New()
		for w := range workers {
			members, err := s.LoadSet(t.Context(), 0, fanfare.ListSet(int64(w)))
			must(err)
			found.Union(members)
		}
		if lost := set.AndNotLen(said, found); lost > 0 || unknown == 0 {
			t.Errorf("%d of %d that were answered are lost; %d were not answered", lost, said.Len(), unknown)
		}
		must(s.Close())
	})
}
