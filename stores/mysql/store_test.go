package mysql_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"fanfare"
	"fanfare/servers"
	"fanfare/stores/memory"
	"fanfare/stores/mysql"
	"fanfare/stores/storetest"
)

// database is one database under test and the stores that were opened on it.
type database struct {
	url  string
	back *sql.DB
	o    mysql.Options
	now  fanfare.Store
}

func (d *database) open(t *testing.T) fanfare.Store {
	t.Helper()
	s, err := mysql.Open(t.Context(), d.url, d.o)
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

// behind runs a statement behind the store's back that must change a row.
func (d *database) behind(t *testing.T, text string, args ...any) {
	t.Helper()
	r, err := d.back.ExecContext(t.Context(), text, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("there is nothing to damage: %v", err)
	}
}

// behindAll opens the server for the tests' own statements.
func behindAll(t *testing.T, s *servers.Server, name string) *sql.DB {
	t.Helper()
	config := driver.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = "root", "tcp", s.Address(), name
	connector, err := driver.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// backends makes a database for each backend; it is dropped with its test, once all stores on it are closed.
func backends(server *servers.Server, all *sql.DB) storetest.Open {
	number := make(chan int, 1)
	number <- 0
	return func(t *testing.T, o storetest.Options) storetest.Backend {
		n := <-number + 1
		number <- n
		name := fmt.Sprintf("store%d", n)
		if _, err := all.ExecContext(t.Context(), "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := all.ExecContext(context.WithoutCancel(t.Context()), "DROP DATABASE "+name); err != nil {
				t.Error(err)
			}
		})
		d := &database{url: "mysql://root@" + server.Address() + "/" + name, back: behindAll(t, server, name), o: mysql.Options{Slots: o.Slots, Clock: o.Clock}}
		return storetest.Backend{
			Store:   d.open(t),
			Reopen:  d.reopen,
			Crash:   d.open, // the one before is left as it is: what was not committed is nowhere
			Another: func(t *testing.T) fanfare.Store { return (&database{url: d.url, o: d.o}).open(t) },
			Damage: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, p fanfare.Part) {
				d.behind(t, "UPDATE audiences SET members = INSERT(members, LENGTH(members), 1, X'4D'), crc = crc + 1 WHERE message = ? AND slot = ? AND part = ?", int64(m), int64(s), string(p))
			},
			DamageReceipts: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, k fanfare.ReceiptKind, chunk uint16) {
				d.behind(t, "UPDATE receipt_sets SET crc = crc + 1 WHERE message = ? AND slot = ? AND kind = ? AND chunk = ?", int64(m), int64(s), int64(k), int64(chunk))
			},
			DamageBatch: func(t *testing.T, r fanfare.BatchRef) {
				d.behind(t, "UPDATE batches SET pending = X'FFFFFFFFFF' WHERE message = ? AND slot = ? AND batch = ?", int64(r.Message), int64(r.Slot), int64(r.Batch))
			},
		}
	}
}

func openMemory(_ *testing.T, o storetest.Options) storetest.Backend {
	return storetest.Backend{Store: memory.Open(memory.Config{Slots: o.Slots, Now: o.Clock})}
}

func TestMariaDB(t *testing.T) {
	server := servers.Open(t, servers.MariaDB)
	all := behindAll(t, server, "mysql")
	open := backends(server, all)
	t.Run("Store", func(t *testing.T) { storetest.Run(t, open) })
	t.Run("Compare", func(t *testing.T) {
		// Each makes a database, which takes longer here than all that is done in it; SQLite has gone the same ways a hundred times.
		checks := flag.Lookup("rapid.checks")
		if was := checks.Value.String(); was == checks.DefValue {
			defer checks.Value.Set(was) //nolint:errcheck // as it was
			if err := checks.Value.Set("30"); err != nil {
				t.Fatal(err)
			}
		}
		storetest.Compare(t, openMemory, open)
	})
}
