package sharded_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"fanfare"
	"fanfare/servers"
	"fanfare/stores/postgres"
	"fanfare/stores/sharded"
	"fanfare/stores/sqlite"
	"fanfare/stores/storetest"
)

// schema makes an empty schema of a server; a database each would take longer.
func schema(t *testing.T, url string, n int64) string {
	t.Helper()
	name := fmt.Sprintf("sharded_%d", n)
	c, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // what it did is committed
	if _, err := c.Exec(t.Context(), "DROP SCHEMA IF EXISTS "+name+" CASCADE; CREATE SCHEMA "+name).ReadAll(); err != nil {
		t.Fatal(err)
	}
	mark := "?"
	if strings.Contains(url, "?") {
		mark = "&"
	}
	return url + mark + "search_path=" + name
}

// mixed opens a file and two databases of a server as shards.
func mixed(t *testing.T, url string) storetest.Open {
	var schemas atomic.Int64
	return func(t *testing.T, o storetest.Options) storetest.Backend {
		file, one, two := filepath.Join(t.TempDir(), "first.db"), schema(t, url, schemas.Add(1)), schema(t, url, schemas.Add(1))
		var now fanfare.Store
		open := func(t *testing.T) fanfare.Store {
			t.Helper()
			var all []fanfare.Shard
			s, err := sqlite.Open(t.Context(), file, sqlite.Options{Slots: o.Slots, Clock: o.Clock})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
			for _, dsn := range []string{one, two} {
				s, err := postgres.Open(t.Context(), dsn, postgres.Options{Slots: o.Slots, Clock: o.Clock})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
			st, err := sharded.Open(t.Context(), all, sharded.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = st.Close() }) // a test may have closed it
			return st
		}
		now = open(t)
		return storetest.Backend{Store: now, Another: open, Crash: open, Reopen: func(t *testing.T) fanfare.Store {
			t.Helper()
			if err := now.Close(); err != nil {
				t.Fatal(err)
			}
			now = open(t)
			return now
		}}
	}
}

// TestMoveMixed moves a slot between a file and two PostgreSQL databases.
func TestMoveMixed(t *testing.T) {
	url := servers.Open(t, servers.PostgreSQL).URL()
	moves(t, mixed(t, url)(t, storetest.Options{Slots: 4}).Store)
}
