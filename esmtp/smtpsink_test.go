package esmtp

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smtpSink finds Postfix's smtp-sink: FANFARE_TEST_SMTP_SINK, PATH, /usr/sbin. It need not be installed:
//
//	apt-get download postfix && dpkg-deb -x postfix_*.deb postfix
//	FANFARE_TEST_SMTP_SINK=postfix/usr/sbin/smtp-sink go test ./esmtp
func smtpSink(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("FANFARE_TEST_SMTP_SINK"); path != "" {
		return path
	}
	if path, err := exec.LookPath("smtp-sink"); err == nil {
		return path
	}
	if _, err := os.Stat("/usr/sbin/smtp-sink"); err == nil {
		return "/usr/sbin/smtp-sink"
	}
	const say = "SKIPPED: Postfix's smtp-sink is not here, so the client was NOT tried against it; " +
		"apt-get download postfix && dpkg-deb -x postfix_*.deb DIR, then FANFARE_TEST_SMTP_SINK=DIR/usr/sbin/smtp-sink"
	if os.Getenv("CI") == "true" {
		t.Fatal(say)
	}
	fmt.Fprintln(os.Stderr, "!!!", say)
	t.Skip(say)
	return ""
}

// startSink runs smtp-sink with options until the test ends, and gives its address.
func startSink(t *testing.T, dir string, options ...string) string {
	t.Helper()
	path := smtpSink(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // smtp-sink cannot choose a port itself
	cmd := exec.CommandContext(t.Context(), path, append(options, addr, "100")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, dir
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(filepath.Dir(path), "..", "lib", "postfix"))
	if os.Geteuid() == 0 {
		cmd.Args = append([]string{cmd.Args[0], "-u", "nobody"}, cmd.Args[1:]...) // it wants no root
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return addr
		}
		select {
		case <-ended:
			t.Fatalf("smtp-sink ended: %s", out.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("smtp-sink does not answer: %s", out.String())
		}
	}
}

// TestPostfixSink sends to smtp-sink, sound and with each of its faults, pipelined and in lock-step.
func TestPostfixSink(t *testing.T) {
	for _, c := range []struct {
		options     string
		first, next Kind
		step        Step
		code        int
	}{
		{"", Sent, Sent, StepBody, 250},
		{"-p", Sent, Sent, StepBody, 250}, // no PIPELINING
		{"-e", Sent, Sent, StepBody, 250}, // no ESMTP
		{"-r MAIL", Failed, Failed, StepMail, 450},
		{"-f MAIL", Failed, Failed, StepMail, 500},
		{"-r RCPT", Failed, Failed, StepRcpt, 450},
		{"-f RCPT", Failed, Failed, StepRcpt, 500},
		{"-p -f RCPT", Failed, Failed, StepRcpt, 500},
		{"-r DATA", Failed, Failed, StepData, 450},
		{"-f DATA", Failed, Failed, StepData, 500},
		{"-r .", Failed, Failed, StepBody, 450},
		{"-f .", Failed, Failed, StepBody, 500},
		{"-q MAIL", NotAccepted, NotBegun, StepMail, 0},
		{"-q RCPT", NotAccepted, NotBegun, StepRcpt, 0},
		{"-q DATA", NotAccepted, NotBegun, StepData, 0},
		{"-q .", Unknown, NotAccepted, StepBody, 0},
		{"-Q MAIL", NotAccepted, NotBegun, StepMail, 421},
		{"-Q RCPT", NotAccepted, NotBegun, StepRcpt, 421},
		{"-Q DATA", NotAccepted, NotBegun, StepData, 421},
		{"-Q .", NotAccepted, NotAccepted, StepBody, 421},
	} {
		t.Run("options "+c.options, func(t *testing.T) {
			conn, err := Dial(t.Context(), Config{Addr: startSink(t, t.TempDir(), strings.Fields(c.options)...), StartTLS: Off})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			// smtp-sink takes PIPELINING back by itself when it is to refuse something.
			if conn.Caps().Pipelining != (c.options == "" || strings.HasPrefix(strings.ToLower(c.options), "-q")) {
				t.Errorf("%+v", conn.Caps())
			}
			got, err := sendAll(t.Context(), conn, chunk(3), nil)
			if len(got) != 3 {
				t.Fatal(err)
			}
			a := got[0]
			if a.Kind != c.first || a.Step != c.step || a.Code != c.code || got[1].Kind != c.next {
				t.Errorf("%+v, %v", got, err)
			}
			if (err != nil) != (c.first == NotAccepted || c.first == Unknown) {
				t.Error(err)
			}
		})
	}
}

// TestPostfixSinkMany sends many and looks at what smtp-sink wrote down.
func TestPostfixSinkMany(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // for nobody
		t.Fatal(err)
	}
	addr := startSink(t, dir, "-d", "mail-%M.")
	conn, err := Dial(t.Context(), Config{Addr: addr, StartTLS: Off})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		got, err := sendAll(t.Context(), conn, chunk(50), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range got {
			if a.Kind != Sent {
				t.Fatalf("message %d: %+v", i, a)
			}
		}
	}
	if err := conn.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "mail-*"))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if to, ok := strings.CutPrefix(line, "X-Rcpt-Args: "); ok {
				count[strings.TrimSpace(to)]++
			}
		}
	}
	for i := range 50 {
		if to := fmt.Sprintf("<r%d@x.example>", i); count[to] != 20 {
			t.Errorf("%s got %d", to, count[to])
		}
	}
}
