package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"fanfare/servers"
)

// TestServersAreStartedAndEnded: a line each with the URL, then ready; told to end, all of them are gone.
func TestServersAreStartedAndEnded(t *testing.T) {
	servers.Open(t, servers.NATS) // skips where it is missing
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"nats", "nats"}, write); _ = write.Close() }()
	var lines []string
	for said := bufio.NewScanner(read); said.Scan(); {
		if lines = append(lines, said.Text()); said.Text() == "ready" {
			stop()
		}
	}
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "nats nats://127.0.0.1:") || lines[0] == lines[1] {
		t.Errorf("it said %q", lines)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestUnknownServer: who names none, or one that there is not, is told which there are.
func TestUnknownServer(t *testing.T) {
	for _, args := range [][]string{nil, {"oracle"}} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), "postgres mariadb rabbitmq nats kafka") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
