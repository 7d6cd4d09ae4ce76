package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func postgres() recipe {
	return recipe{account: "postgres", url: "postgres://postgres@%s/postgres?sslmode=disable", data: "data",
		stop: syscall.SIGINT, dies: syscall.SIGINT, // INT: ends its clients and stops; TERM would wait for them
		soon: "still in use", // of its memory, by a child of the killed one that has not quite ended
		find: func(s *Server) error {
			debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
			newest, version := []string(nil), 14
			for _, folder := range debian {
				if v, err := strconv.Atoi(filepath.Base(filepath.Dir(folder))); err == nil && v > version {
					newest, version = []string{folder}, v
				}
			}
			for _, name := range []string{"postgres", "initdb", "psql"} {
				if err := s.program(name, newest...); err != nil {
					return err
				}
			}
			return nil
		},
		prepare: func(s *Server) error {
			data := filepath.Join(s.folder, "data")
			if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
				return nil
			}
			_, err := s.run(nil, s.programs["initdb"], "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")
			return err
		},
		command: func(s *Server) (line, env []string) {
			// No Unix socket: its path may have 107 bytes only. Shared memory lies with the data: a crashed server leaves it, and it goes with the folder.
			line = []string{s.programs["postgres"], "-D", filepath.Join(s.folder, "data"), "-p", strconv.Itoa(s.ports.at(0)),
				"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap", "-c", "max_connections=200"}
			for _, setting := range s.settings {
				line = append(line, "-c", setting)
			}
			return line, nil
		},
		ready: func(s *Server, _ string, pid int) bool { // a killed one leaves the file behind, so the pid must be ours
			text, _ := os.ReadFile(filepath.Join(s.folder, "data", "postmaster.pid"))
			lines := strings.Split(string(text), "\n")
			return len(lines) > 7 && lines[0] == strconv.Itoa(pid) && strings.HasPrefix(lines[7], "ready")
		}}
}

func mariadb() recipe {
	return recipe{account: "mysql", url: "mysql://root@%s/mysql", data: "data", stop: syscall.SIGTERM, dies: syscall.SIGKILL,
		find: func(s *Server) error {
			for _, name := range []string{"mariadbd", "mariadb-install-db", "mariadb"} {
				if err := s.program(name, "/usr/sbin"); err != nil {
					return err
				}
			}
			return nil
		},
		prepare: func(s *Server) error {
			data := filepath.Join(s.folder, "data")
			if _, err := os.Stat(filepath.Join(data, "mysql")); err == nil {
				return nil
			}
			if err := s.own(data); err != nil {
				return err
			}
			// --no-defaults comes first everywhere, or the machine's /etc/mysql is read.
			_, err := s.run(nil, s.programs["mariadb-install-db"], "--no-defaults", "--datadir="+data, "--tmpdir="+s.folder,
				"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=16M")
			return err
		},
		command: func(s *Server) (line, env []string) {
			line = []string{s.programs["mariadbd"], "--no-defaults", "--datadir=" + filepath.Join(s.folder, "data"), "--tmpdir=" + s.folder,
				"--socket=" + filepath.Join(s.folder, "sock"), "--pid-file=" + filepath.Join(s.folder, "server.pid"), "--bind-address=127.0.0.1",
				"--port=" + strconv.Itoa(s.ports.at(0)), "--skip-name-resolve",
				"--character-set-server=utf8mb4", "--max-allowed-packet=64M", "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=128M", "--max-connections=200"}
			for _, setting := range s.settings {
				line = append(line, "--"+setting)
			}
			return line, nil
		},
		ready: func(s *Server, _ string, _ int) bool { return s.dial("", "") }} // it greets first
}

// Database makes an empty database on a PostgreSQL or MariaDB and gives its URL. It is dropped with the test, whoever still uses it.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.database.Add(1))
	create, drop := "CREATE DATABASE "+name, "DROP DATABASE IF EXISTS "+name
	switch s.kind {
	case PostgreSQL:
		drop += " WITH (FORCE)"
	case MariaDB:
		create += " CHARACTER SET utf8mb4"
	default:
		t.Fatalf("%s has no databases", s.kind)
	}
	if _, err := s.SQL(create); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Pid() == 0 {
			return // the test left it stopped; its folder goes anyway
		}
		if _, err := s.SQL(drop); err != nil {
			t.Error(err)
		}
	})
	return strings.NewReplacer("/postgres?", "/"+name+"?", "/mysql", "/"+name).Replace(s.URL())
}

// SQL runs statements as the server's administrator by its own client, outside of any database of a test, and gives what it printed:
// a line a row, columns separated by tabs.
func (s *Server) SQL(statements string) (string, error) {
	if s.kind == PostgreSQL {
		return s.run(nil, s.programs["psql"], "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", s.URL(), "-c", statements)
	}
	return s.run(nil, s.programs["mariadb"], "--no-defaults", "-h", "127.0.0.1", "-P", strconv.Itoa(s.ports.at(0)), "-u", "root", "-N", "-B", "-e", statements)
}
