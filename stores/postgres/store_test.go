package postgres_test

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"fanfare"
	"fanfare/servers"
	"fanfare/stores/memory"
	"fanfare/stores/postgres"
	"fanfare/stores/storetest"
)

// database is one schema under test and the stores that were opened on it.
type database struct {
	dsn string
	o   postgres.Options
	now fanfare.Store
}

func (d *database) open(t *testing.T) fanfare.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), d.dsn, d.o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	d.now = s
	return s
}

func (d *database) reopen(t *testing.T) fanfare.Store {
	t.Helper()
	if err := d.now.Close(); err != nil {
		t.Fatal(err)
	}
	return d.open(t)
}

// exec runs a statement behind the store's back.
func exec(t *testing.T, dsn, text string) int64 {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // what it did is committed
	results, err := c.Exec(t.Context(), text).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return results[len(results)-1].CommandTag.RowsAffected()
}

// behind is exec of something that must change a row.
func (d *database) behind(t *testing.T, text string, args ...any) {
	t.Helper()
	if exec(t, d.dsn, fmt.Sprintf(text, args...)) == 0 {
		t.Fatal("there is nothing to damage")
	}
}

var schemas atomic.Int64

// schema makes an empty schema of a server; a database each would take longer.
func schema(t *testing.T, url string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", schemas.Add(1))
	exec(t, url, "DROP SCHEMA IF EXISTS "+name+" CASCADE; CREATE SCHEMA "+name)
	mark := "?"
	if strings.Contains(url, "?") {
		mark = "&"
	}
	return url + mark + "search_path=" + name
}

func backends(url string) storetest.Open {
	return func(t *testing.T, o storetest.Options) storetest.Backend {
		d := &database{dsn: schema(t, url), o: postgres.Options{Slots: o.Slots, Clock: o.Clock}}
		return storetest.Backend{
			Store:   d.open(t),
			Reopen:  d.reopen,
			Crash:   d.open, // the one before is left as it is: what was not committed is nowhere
			Another: func(t *testing.T) fanfare.Store { return (&database{dsn: d.dsn, o: d.o}).open(t) },
			Damage: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, p fanfare.Part) {
				d.behind(t, "UPDATE audiences SET members = set_byte(members, length(members) - 1, 77), crc = crc + 1 WHERE message = %d AND slot = %d AND part = '%s'", m, s, p)
			},
			DamageReceipts: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, k fanfare.ReceiptKind, chunk uint16) {
				d.behind(t, "UPDATE receipt_sets SET crc = crc + 1 WHERE message = %d AND slot = %d AND kind = %d AND chunk = %d", m, s, k, chunk)
			},
			DamageBatch: func(t *testing.T, r fanfare.BatchRef) {
				d.behind(t, "UPDATE batches SET pending = '\\xffffffffff' WHERE message = %d AND slot = %d AND batch = %d", r.Message, r.Slot, r.Batch)
			},
		}
	}
}

func openMemory(_ *testing.T, o storetest.Options) storetest.Backend {
	return storetest.Backend{Store: memory.Open(memory.Config{Slots: o.Slots, Now: o.Clock})}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	url := servers.Open(t, servers.PostgreSQL).URL()
	t.Run("Store", func(t *testing.T) { storetest.Run(t, backends(url)) })
	t.Run("Compare", func(t *testing.T) {
		// Each makes a schema, which takes longer here than all that is done in it; SQLite has gone the same ways a hundred times.
		checks := flag.Lookup("rapid.checks")
		if was := checks.Value.String(); was == checks.DefValue {
			defer checks.Value.Set(was) //nolint:errcheck // as it was
			if err := checks.Value.Set("25"); err != nil {
				t.Fatal(err)
			}
		}
		storetest.Compare(t, openMemory, backends(url))
	})
}
