package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"fanfare"
	"fanfare/servers"
	"fanfare/stores/mysql"
)

// refused opens what must not be opened.
func refused(t *testing.T, url string, kind error, words ...string) {
	t.Helper()
	s, err := mysql.Open(t.Context(), url, mysql.Options{})
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

// TestServer is about the server itself, so it has one of its own.
func TestServer(t *testing.T) {
	t.Parallel()
	server := servers.Open(t, servers.MariaDB, "log-bin=bin", "server-id=7", "sync-binlog=1")
	sql := func(statement string, args ...any) string {
		t.Helper()
		out, err := server.SQL(fmt.Sprintf(statement, args...))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	at := func(name string) string { return strings.Replace(server.URL(), "/mysql", "/"+name, 1) }

	t.Run("refused", func(t *testing.T) {
		url := server.Database(t)
		for name, c := range map[string]struct{ bad, good, words string }{
			"innodb_flush_log_at_trx_commit": {"2", "1", "innodb_flush_log_at_trx_commit = 2; set innodb_flush_log_at_trx_commit = 1"},
			"sync_binlog":                    {"0", "1", "sync_binlog = 0; set sync_binlog = 1"},
			"binlog_format":                  {"STATEMENT", "MIXED", "binlog_format = STATEMENT; set binlog_format = ROW"},
			"sql_mode":                       {"''", "STRICT_TRANS_TABLES", "sql_mode = ; set sql_mode with STRICT_TRANS_TABLES"},
			"default_storage_engine":         {"MyISAM", "InnoDB", "default_storage_engine = MyISAM; set default_storage_engine = InnoDB"},
		} {
			sql("SET GLOBAL %s = %s", name, c.bad)
			refused(t, url, fanfare.ErrUsage, c.words)
			sql("SET GLOBAL %s = %s", name, c.good)
		}
		sql("SET GLOBAL read_only = 1")
		refused(t, url, fanfare.ErrReadOnly, "read_only", "primary")
		sql("SET GLOBAL read_only = 0")
		sql("CREATE DATABASE latin CHARACTER SET latin1")
		refused(t, at("latin"), fanfare.ErrUsage, "character_set_database = latin1", "utf8mb4")
		refused(t, at("nowhere"), fanfare.ErrNotFound, "CREATE DATABASE")
		sql("CREATE DATABASE taken CHARACTER SET utf8mb4; CREATE TABLE taken.something (n int)")
		refused(t, at("taken"), fanfare.ErrForeign, "something else")
		for _, bad := range []string{"mysql://me:secret@127.0.0.1:port/x", "mysql://me:secret@127.0.0.1", "mysql://me:secret@127.0.0.1/a/b", "mysql://me:secret@h/x?charset=latin1"} {
			refused(t, bad, fanfare.ErrUsage)
		}
	})

	t.Run("four open an empty database at once", func(t *testing.T) {
		url := server.Database(t)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				s, err := mysql.Open(t.Context(), url, mysql.Options{Slots: 3})
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
	})

	// CREATE commits by itself: whoever makes the tables may be killed behind each of them, and the next one goes on.
	t.Run("tables half made", func(t *testing.T) {
		url := server.Database(t)
		name := url[strings.LastIndexByte(url, '/')+1:]
		fresh := func() {
			t.Helper()
			s, err := mysql.Open(t.Context(), url, mysql.Options{Slots: 2})
			if err != nil {
				t.Fatal(err)
			}
			if s.Slots() != 2 {
				t.Errorf("%d slots", s.Slots())
			}
			if err := s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.PutProvider(fanfare.Provider{Name: "mail"}) }); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		fresh()
		for _, gone := range []string{"slots", "receipt_sets, erased", "recipients_1, batches, log, address_key, locks", "locks, settings, message_rows"} {
			sql("USE %[1]s; DELETE FROM fanfare_schema; DELETE FROM shard; DELETE FROM slots; DROP TABLE %[2]s", name, gone)
			fresh()
		}
	})

	t.Run("text is compared byte by byte", func(t *testing.T) {
		url := server.Database(t)
		s, err := mysql.Open(t.Context(), url, mysql.Options{Slots: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // it ends with its database
		ids := []string{"a", "A", "a ", "á", "a\u0301", "ａ"}
		for _, id := range ids {
			if _, err := s.Upsert(t.Context(), 0, []fanfare.RecipientChange{{ExternalID: id}}, fanfare.UpsertOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		seen := make(map[fanfare.Seq]string)
		for _, id := range ids {
			r, err := s.Recipient(t.Context(), id)
			if err != nil || r.ExternalID != id || seen[r.Seq] != "" {
				t.Errorf("%q is %q, as %q is: %v", id, r.ExternalID, seen[r.Seq], err)
			}
			seen[r.Seq] = id
		}
		if other := sql("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = '%s' AND collation_name <> 'utf8mb4_nopad_bin'",
			url[strings.LastIndexByte(url, '/')+1:]); other != "" {
			t.Errorf("compared in another way: %s", other)
		}
		if _, err := s.Upsert(t.Context(), 0, []fanfare.RecipientChange{{ExternalID: "\xff"}}, fanfare.UpsertOptions{}); err == nil {
			t.Error("what is no text is somebody")
		}
	})

	t.Run("crashed, restarted and lost", func(t *testing.T) {
		url := server.Database(t)
		s, err := mysql.Open(t.Context(), url, mysql.Options{Slots: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // its server is gone
		put := func(name string) error {
			return s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.PutProvider(fanfare.Provider{Name: name}) })
		}
		if err := put("first"); err != nil {
			t.Fatal(err)
		}
		server.Crash()
		if err := put("lost"); err == nil {
			t.Error("it was written without a server")
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		for range 3 { // each connection that was lost is noticed once
			if err = put("second"); err == nil {
				break
			}
		}
		if err != nil {
			t.Error(err)
		}
		var found []fanfare.Provider
		for range 3 {
			if err = s.View(t.Context(), func(v fanfare.ControlView) (err error) { found, err = v.Providers(); return err }); err == nil {
				break
			}
		}
		if err != nil || len(found) != 2 || found[0].Name != "first" || found[1].Name != "second" {
			t.Errorf("%v, %v", found, err)
		}
		before, err := s.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Wipe(); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if err = put("third"); errors.Is(err, fanfare.ErrNotFound) {
				break
			}
		}
		if !errors.Is(err, fanfare.ErrNotFound) {
			t.Errorf("all is gone: %v", err)
		}
		if !strings.HasPrefix(before.Found, "mysql ") {
			t.Errorf("it is %q", before.Found)
		}
	})
}

// TestUntestedServer: MySQL is refused unless asked for. There is none to test with, so this is a MariaDB that says it is one.
func TestUntestedServer(t *testing.T) {
	t.Parallel()
	server := servers.Open(t, servers.MariaDB, "version=8.0.40")
	refused(t, server.Database(t), fanfare.ErrUsage, "it is MySQL 8.0.40", "not tested", "--allow-untested-store")
	if _, err := mysql.Open(t.Context(), server.Database(t), mysql.Options{Untested: true}); err == nil || !strings.Contains(err.Error(), "utf8mb4_0900_bin") {
		t.Errorf("it is not spoken to as MySQL: %v", err)
	}
}
