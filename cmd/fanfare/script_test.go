package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/spawn"
)

func TestMain(m *testing.M) { testscript.Main(program{m}, map[string]func(){served: main}) }

// served is the program as it is tested, with the race detector where that is on: what the scripts' servers run.
const served = "fanfare-served"

// program puts fanfare on PATH as a user builds it: what the scripts' commands run. A hundred starts of a program with the race detector,
// each of one goroutine, and the bench's load would take minutes.
type program struct{ m *testing.M }

func (p program) Run() int {
	dir, err := os.MkdirTemp("", "fanfare-script")
	if err == nil {
		build := exec.Command("go", "build", "-o", dir, "fanfare/cmd/fanfare") //nolint:gosec // a folder of our own
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		err = errors.Join(build.Run(), os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripts: build the program:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return p.m.Run()
}

// TestScripts runs testdata/script, a file for each feature of the command line, on the real program and real servers.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "FANFARE_DATA="+filepath.Join(e.WorkDir, "data"))
			e.Values["servers"] = &servers{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": serveScript, "sink": mailSink, "code": exitCode, "capture": captureText, "until": untilPhase, "expand": expandFiles, "put": sendJSON(http.MethodPut), "post": sendJSON(http.MethodPost), "await": awaitText, "shows": shows,
		},
	})
}

type servers struct{ now *spawn.Server }

func check(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

func scriptContext() context.Context { return context.Background() }

func scriptProgram(ts *testscript.TestScript) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(filepath.ListSeparator)) {
		if exe := filepath.Join(dir, served); dir != "" {
			if _, err := os.Stat(exe); err == nil {
				return exe
			}
		}
	}
	ts.Fatalf("no %s on PATH", served)
	return ""
}

// serveScript is server [ARGUMENT…] starts a server on $FANFARE_DATA and names it in $FANFARE_URL; server -stop and server -kill end it.
func serveScript(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value("servers").(*servers)
	if len(args) == 1 && (args[0] == "-stop" || args[0] == "-kill") {
		end := s.now.Stop
		if args[0] == "-kill" {
			end = s.now.Kill
		}
		check(ts, end())
		return
	}
	now, err := spawn.Serve(scriptContext(), scriptProgram(ts), ts.Getenv("FANFARE_DATA"), "127.0.0.1:0", nil, args...)
	check(ts, err)
	s.now = now
	ts.Setenv("FANFARE_URL", now.URL)
	ts.Defer(func() { check(ts, now.Stop()) })
}

// sink [ARGUMENT…] starts a mail server and names it in $SMTP.
func mailSink(ts *testscript.TestScript, _ bool, args []string) {
	k, err := spawn.StartSink(scriptContext(), scriptProgram(ts), args...)
	check(ts, err)
	ts.Setenv("SMTP", k.SMTP)
	ts.Setenv("SINK", k.URL)
	ts.Defer(func() { check(ts, k.Stop()) })
}

// code N ARGUMENT… runs fanfare, which must end with that exit code.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	check(ts, err)
	err = ts.Exec("fanfare", args[1:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		check(ts, err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// capture NAME REGEXP keeps what the expression's group matches in the last output.
func captureText(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("no %s in the output", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// await FILE REGEXP NAME waits until a file holds it, and keeps what the group matches.
func awaitText(ts *testscript.TestScript, _ bool, args []string) {
	patiently(ts, args[1]+" in "+args[0], func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return false
		}
		found := regexp.MustCompile(args[1]).FindSubmatch(b)
		if found != nil {
			ts.Setenv(args[2], string(found[1]))
		}
		return found != nil
	})
}

// shows REGEXP ARGUMENTS… asks fanfare again and again until what it prints matches; the output is that of the last time.
func shows(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	patiently(ts, args[0]+" in the output", func() bool {
		check(ts, ts.Exec("fanfare", args[1:]...))
		return want.MatchString(ts.ReadFile("stdout"))
	})
}

// patiently looks until it is there.
func patiently(ts *testscript.TestScript, what string, there func() bool) {
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-tick.C:
		case <-limit.C:
			ts.Fatalf("no %s", what)
		}
	}
}

func scriptClient(ts *testscript.TestScript) *client.Client {
	c, err := client.New(ts.Getenv("FANFARE_URL"), ts.Getenv("FANFARE_KEY"), ts.Getenv("FANFARE_DATA"))
	check(ts, err)
	return c
}

// until PHASE MESSAGE waits until the message is there.
func untilPhase(ts *testscript.TestScript, _ bool, args []string) {
	c := scriptClient(ts)
	limit, stop := context.WithTimeout(scriptContext(), 30*time.Second)
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var m client.Message
		check(ts, c.Do(limit, http.MethodGet, "/v1/messages/"+args[1], nil, &m))
		if m.Phase == args[0] {
			return
		}
		<-tick.C
	}
}

// expand FILE… puts the values of environment variables into files.
func expandFiles(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		check(ts, os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// sendJSON makes put PATH FILE and post PATH FILE, which send a JSON file to the API.
func sendJSON(method string) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		r, err := scriptClient(ts).Send(scriptContext(), method, args[0], "application/json", strings.NewReader(os.Expand(ts.ReadFile(args[1]), ts.Getenv)), nil)
		check(ts, err)
		check(ts, r.Body.Close())
	}
}
