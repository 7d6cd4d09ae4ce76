package servers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServers: each kind starts, forgets nothing in a crash or a stop, forgets all in a wipe, and leaves no process behind.
func TestServers(t *testing.T) {
	sql := func(create, ask, is string) func(t *testing.T, s *Server) (put func(), has func() bool) {
		return func(t *testing.T, s *Server) (func(), func() bool) {
			do := func(statement string) string {
				out, err := s.SQL(statement)
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(out)
			}
			return func() { do(create) }, func() bool { return do(ask) == is }
		}
	}
	for kind, open := range map[Kind]func(t *testing.T, s *Server) (put func(), has func() bool){
		PostgreSQL: sql("CREATE DATABASE kept", "SELECT COUNT(*) FROM pg_database WHERE datname = 'kept'", "1"),
		MariaDB:    sql("CREATE DATABASE kept", "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'kept'", "1"),
		RabbitMQ: func(t *testing.T, s *Server) (func(), func() bool) {
			do := func(words ...string) string {
				out, err := s.Control(words...)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			return func() { do("add_vhost", "kept") }, func() bool { return strings.Contains(do("list_vhosts", "--no-table-headers"), "kept") }
		},
		NATS: func(t *testing.T, s *Server) (func(), func() bool) {
			return func() { speak(t, s, "$JS.API.STREAM.CREATE.kept", `{"name":"kept","subjects":["kept"]}`) },
				func() bool { return strings.Contains(speak(t, s, "$JS.API.STREAM.NAMES", ""), `"kept"`) }
		},
		Kafka: func(t *testing.T, s *Server) (func(), func() bool) { // its own identity: the rest needs a client
			var id string
			read := func() string {
				text, err := os.ReadFile(filepath.Join(s.folder, "data", "meta.properties"))
				if err != nil {
					t.Fatal(err)
				}
				_, id, _ := strings.Cut(string(text), "cluster.id=")
				return strings.Fields(id)[0]
			}
			return func() { id = read() }, func() bool { return read() == id }
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			s := Open(t, kind)
			put, has := open(t, s)
			put()
			was := s.URL()
			steps := map[string]func() error{"crash": func() error { s.Crash(); return s.Start() }}
			if kind != RabbitMQ && kind != Kafka { // seconds a start
				steps["restart"] = s.Restart
			}
			for what, step := range steps {
				before := tree(s.Pid())
				if err := step(); err != nil {
					t.Fatal(what, err)
				}
				for _, pid := range before {
					if alive(pid) {
						t.Errorf("after a %s process %d of %v still runs", what, pid, before)
					}
				}
				if !has() {
					t.Errorf("a %s lost data", what)
				}
			}
			if err := s.Wipe(); err != nil {
				t.Fatal(err)
			}
			if has() {
				t.Error("a wipe kept data")
			}
			if s.URL() != was {
				t.Errorf("it was %s and is %s", was, s.URL())
			}
		})
	}
}

// speak asks a NATS server and gives the first answer.
func speak(t *testing.T, s *Server, subject, body string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB %s answer %d\r\n%s\r\n", subject, len(body), body); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "MSG ") {
			answer, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
	}
}

// TestFrozenServer: a frozen one holds its connections and says nothing; thawed it goes on.
func TestFrozenServer(t *testing.T) {
	s := Open(t, NATS)
	s.Freeze()
	c, err := net.Dial("tcp", s.Address()) // the kernel accepts for it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
	if err != nil || !bytes.Contains(state, []byte(") T ")) {
		t.Errorf("frozen it is %s, %v", state, err)
	}
	s.Thaw()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if greeting, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(greeting, "INFO ") {
		t.Errorf("thawed it greets with %q, %v", greeting, err)
	}
}

// TestServersEndWithTheirProcess: the test's process is killed, and its servers are gone; the next process removes what it left.
func TestServersEndWithTheirProcess(t *testing.T) {
	if os.Getenv("FANFARE_SERVERS_CHILD") != "" {
		for _, kind := range []Kind{PostgreSQL, MariaDB, NATS} {
			s := Open(t, kind)
			fmt.Println("started", s.Pid(), filepath.Dir(s.folder))
		}
		fmt.Println("all")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	Open(t, PostgreSQL)                                                                                            // skips where they are missing
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServersEndWithTheirProcess$", "-test.v") //nolint:gosec // itself
	child.Env = append(os.Environ(), "FANFARE_SERVERS_CHILD=1")
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	var folders []string
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "all"; {
		if words := strings.Fields(lines.Text()); len(words) == 3 && words[0] == "started" {
			pid, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(err)
			}
			pids, folders = append(pids, pid), append(folders, words[2])
		}
	}
	if len(pids) == 0 {
		t.Fatal("the child started nothing")
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	for deadline := time.After(20 * time.Second); len(pids) > 0; {
		if !alive(pids[0]) {
			pids = pids[1:]
			continue
		}
		select {
		case <-deadline:
			t.Fatalf("%v still run", pids)
		case <-time.After(5 * time.Millisecond):
		}
	}
	next, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer next.remove()
	for _, folder := range folders {
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%s is still there", folder)
		}
	}
}

// TestDatabases: each is empty and apart from the others, and gone with its test.
func TestDatabases(t *testing.T) {
	for _, kind := range []Kind{PostgreSQL, MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			s := Open(t, kind)
			count := func() string {
				out, err := s.SQL(map[Kind]string{PostgreSQL: "SELECT COUNT(*) FROM pg_database WHERE datname LIKE 'test%'",
					MariaDB: "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'test%'"}[kind])
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(out)
			}
			t.Run("made", func(t *testing.T) {
				first, second := s.Database(t), s.Database(t)
				if want := strings.NewReplacer("/postgres?", "/test1?", "/mysql", "/test1").Replace(s.URL()); first != want || second == first || count() != "2" {
					t.Errorf("%s and %s of %s, want %s first; there are %s", first, second, s.URL(), want, count())
				}
			})
			if count() != "0" {
				t.Errorf("%s are left", count())
			}
		})
	}
}

// TestMissingServer: a program that is not there is told by its name and by what to do.
func TestMissingServer(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv("SCRATCH", t.TempDir())
	_, err := New(NATS, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "nats: nats-server is not on this machine: make servers") {
		t.Errorf("%v", err)
	}
}
