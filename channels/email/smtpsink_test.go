package email

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/channels/channeltest"
)

// smtpSink finds Postfix's smtp-sink as the tests of package esmtp do: FANFARE_TEST_SMTP_SINK, PATH, /usr/sbin.
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
	const say = "SKIPPED: Postfix's smtp-sink is not here, so the e-mail channel was NOT tried against it; " +
		"apt-get download postfix && dpkg-deb -x postfix_*.deb DIR, then FANFARE_TEST_SMTP_SINK=DIR/usr/sbin/smtp-sink"
	if os.Getenv("CI") == "true" {
		t.Fatal(say)
	}
	fmt.Fprintln(os.Stderr, "!!!", say)
	t.Skip(say)
	return ""
}

// startSink runs smtp-sink until the test ends; it keeps each mail in a file of dir.
func startSink(t *testing.T, path, dir string, options ...string) (addr string) {
	t.Helper()
	addr = nowhere(t) // smtp-sink cannot choose a port itself
	args := append(options, "-d", "mail-%M.", addr, "100")
	if os.Geteuid() == 0 { // it wants no root
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.WaitDelay = &out, &out, dir, 10*time.Second
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(filepath.Dir(path), "..", "lib", "postfix"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(10 * time.Second); ; {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		select {
		case <-ended:
			t.Fatalf("smtp-sink ended: %s", out.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("smtp-sink does not answer: %s", out.String())
		}
	}
}

// sunk reads what smtp-sink kept, from the sender on: its own lines, then the mail.
func sunk(t *testing.T, dir string) (all []channeltest.Arrival) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "mail-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) { // broken off, and removed by now
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var sender, address string
		for line := range strings.Lines(string(raw)) {
			kind, rest, _ := strings.Cut(line, ": ")
			switch kind {
			case "X-Mail-Args":
				sender = path(rest)
			case "X-Rcpt-Args":
				address = path(rest)
			}
		}
		if a, err := channeltest.Mail(sender, address, raw); err == nil { // else it was broken off: its last boundary is missing
			all = append(all, a)
		}
	}
	return all
}

// TestPostfixSink holds the channel to its contract against Postfix's smtp-sink, which misbehaves at every envelope or at none.
func TestPostfixSink(t *testing.T) {
	sink := smtpSink(t)
	options := map[channeltest.Fault][]string{channeltest.RefusedForGood: {"-f", "DATA"}, channeltest.RefusedForNow: {"-r", "RCPT"}, channeltest.Busy: {"-Q", "DATA"},
		channeltest.ClosedBefore: {"-q", "RCPT"}, channeltest.ClosedAfter: {"-q", "."}}
	var faults []channeltest.Fault
	for fault := range options {
		faults = append(faults, fault)
	}
	for name, more := range map[string][]string{"pipelining": nil, "lock-step": {"-p"}} {
		t.Run(name, func(t *testing.T) {
			channeltest.Run(t, channeltest.Features{All: true, Ledger: true, Renders: true, Streams: true, Faults: faults},
				func(t *testing.T, trouble channeltest.Trouble) channeltest.Backend {
					dir := t.TempDir()
					if err := os.Chmod(dir, 0o777); err != nil { // for nobody
						t.Fatal(err)
					}
					addr := startSink(t, sink, dir, append(options[trouble.Fault], more...)...)
					return channeltest.Backend{Channel: testChannel(fanfare.Provider{}), Arrived: func() []channeltest.Arrival { return sunk(t, dir) },
						Provider: fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: "smtp://" + addr + "?starttls=off", From: news}}
				})
		})
	}
}
