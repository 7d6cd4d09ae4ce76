// Command servers starts private servers, says where they are, and keeps them until it is told to end: for trying a cluster on one machine.
//
//	go run ./cmd/servers postgres postgres rabbitmq
//
// prints a line for each, its kind and its URL as --store and --queue take it, then "ready". It ends them on Ctrl-C or TERM, and when its own
// process ends in any other way they end too. Their data, below the folder of -data, stay for the next time; without it they are removed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"fanfare/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("servers", flag.ContinueOnError)
	data := flags.String("data", "", "folder that keeps what the servers store")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("name the servers to start, each of %v, as often as you want it", servers.Kinds())
	}
	folder := *data
	if folder == "" {
		if folder, err = os.MkdirTemp("", "servers-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
		if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // the servers' accounts pass through it
			return err
		}
	}
	for n, kind := range flags.Args() {
		s, err := servers.New(servers.Kind(kind), filepath.Join(folder, fmt.Sprintf("%d-%s", n+1, kind)))
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		if err := s.Start(); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, kind, s.URL()); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
