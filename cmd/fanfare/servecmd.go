package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"fanfare"
	"fanfare/cmd/fanfare/bench"
	"fanfare/cmd/fanfare/config"
	"fanfare/cmd/fanfare/demo"
	"fanfare/cmd/fanfare/home"
	"fanfare/cmd/fanfare/serve"
)

// serveCommand's flags are also the keys of the configuration file.
type serveCommand struct {
	Data         string      `help:"Folder of the database, the keys and accepted imports. It belongs to one node." default:"fanfare-data" type:"path"`
	Listen       string      `help:"Where to answer HTTP; port 0 picks a free one." default:"127.0.0.1:8080"`
	Config       string      `help:"Configuration file (TOML)." type:"path"`
	PublicURL    string      `name:"public-url" help:"Where recipients reach this server, for links in mail: https://news.example.org."`
	Store        []string    `help:"Where to keep everything: sqlite:FILE (default: fanfare.db in the data folder), postgres://user@host:port/database, mysql://user@host:port/database (MariaDB)."`
	Untested     bool        `name:"allow-untested-store" help:"Serve a store that its tests never ran on, as MySQL, or what only speaks PostgreSQL's protocol."`
	Queue        string      `help:"What carries tasks: memory:, nats://host:port, amqp://host:port, kafka://host:port." default:"memory:"`
	Roles        []string    `help:"What this node does: api, planner, worker." default:"api,planner,worker"`
	Slots        int         `help:"Number of slots of a new installation (default 16); never changes."`
	Node         string      `help:"Name this node for good (default: kept in the data folder)."`
	AdminListen  string      `help:"Serve /metrics there without a key."`
	InboxOrigins []string    `help:"Origins of the pages that show people their inbox: https://app.example.com."`
	CacheBytes   config.Size `help:"How much memory inboxes that are read may take: 256MB, 1GB." default:"256MB"`
	LogFormat    string      `help:"text or json." default:"text" enum:"text,json"`
	LogLevel     string      `help:"debug, info, warn or error." default:"info" enum:"debug,info,warn,error"`
	MasterKey    string      `help:"32 bytes of base64 that seal secrets at rest (default: master.key in the data folder)."`
}

// Help teaches by example.
func (*serveCommand) Help() string {
	return `Examples:

  fanfare serve
  fanfare serve --data /var/lib/fanfare --config /etc/fanfare.toml --public-url https://news.example.org

A configuration file:

  listen = "127.0.0.1:8080"

  [providers.mail]
  channel = "email"
  url = "smtp://user@mail.example.org:587"
  password = "env:SMTP_PASSWORD"
  from = "News <news@example.org>"`
}

// Run serves.
func (s *serveCommand) Run(ctx context.Context, io streams, file *config.File) error {
	log, err := serve.NewLog(io.err, s.LogFormat, s.LogLevel)
	if err != nil {
		return err
	}
	return serve.Run(ctx, serve.Config{Data: s.Data, Listen: s.Listen, AdminListen: s.AdminListen, PublicURL: s.PublicURL, Stores: s.Store, Untested: s.Untested, Queue: s.Queue,
		Roles: s.Roles, Slots: s.Slots, Node: s.Node, MasterKey: s.MasterKey, InboxOrigins: s.InboxOrigins, CacheBytes: int(s.CacheBytes), File: file, Log: log, Version: version()})
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

type demoCommand struct {
	Recipients int    `help:"How many made-up people." default:"100000"`
	Exit       bool   `help:"End when it is shown, instead of serving on."`
	Listen     string `help:"Where the server answers." default:"127.0.0.1:0" env:"FANFARE_DEMO_LISTEN"`
}

// Help teaches by example.
func (*demoCommand) Help() string {
	return `It needs nothing else, touches nothing of yours, and takes about half a minute: an e-mail message that is paused, resumed, killed and
balanced, then one in the in-app inbox that thousands read.

  fanfare demo                         then look at the page it names
  fanfare demo --recipients 1000000
  fanfare demo --exit                  ends by itself: 0 if everything balances`
}

// Run shows it.
func (d *demoCommand) Run(ctx context.Context, io streams) error {
	if d.Recipients < 100 {
		return fmt.Errorf("%w: --recipients %d is too few to pause and kill anything; take 100 at least", fanfare.ErrUsage, d.Recipients)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Config{Exe: exe, Recipients: d.Recipients, Exit: d.Exit || !terminal(io.in) || !terminal(io.out), Columns: columns(io.out), Out: io.out, Listen: d.Listen})
}

type benchCommand struct {
	Rows    []string `arg:"" optional:"" help:"Rows to measure: import, email, pause, delivery, inbox, audience, marks, page, restart (default: all)."`
	JSON    bool     `name:"json" help:"One JSON object a row."`
	Scale   int      `help:"Divide the numbers of people by this, to try it quickly." default:"1"`
	Verbose bool     `help:"Show what the servers log."`

	Postgres string `placeholder:"DSN" help:"A PostgreSQL database to measure the row postgres on, in a schema that is dropped afterwards."`
}

// Help teaches by example.
func (*benchCommand) Help() string {
	return `Each row is measured on servers of its own and beside a bare loop in the same run: compare the ratios, not the seconds.

  fanfare bench
  fanfare bench email pause
  fanfare bench delivery --scale 10 --json`
}

// Run measures.
func (b *benchCommand) Run(ctx context.Context, io streams) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := bench.Config{Exe: exe, Rows: b.Rows, JSON: b.JSON, Scale: b.Scale, Postgres: b.Postgres, Out: io.out}
	if b.Verbose {
		c.Errors = io.err
	}
	return bench.Run(ctx, c)
}

// folder is a data folder that a tool works on.
type folder struct {
	Data  string   `help:"The data folder." default:"fanfare-data" env:"FANFARE_DATA" type:"path"`
	Store []string `help:"Where everything is kept (default: fanfare.db in the data folder)."`

	Untested bool `name:"allow-untested-store" help:"A store that its tests never ran on will do."`
}

// open opens the store of a folder that must be there. Unless shared, the folder is locked: no server may run on it.
func (f *folder) open(ctx context.Context, shared bool) (fanfare.Store, func() error, error) {
	if len(f.Store) == 0 {
		if _, err := os.Stat(filepath.Join(f.Data, serve.DatabaseFile)); err != nil {
			return nil, nil, fmt.Errorf("no database in %s; name the data folder with --data (%w)", f.Data, err)
		}
	}
	unlock := func() error { return nil }
	if !shared {
		h, err := home.Open(f.Data, "")
		if err != nil {
			return nil, nil, err
		}
		unlock = h.Close
	}
	store, err := serve.OpenStore(ctx, f.Data, f.Store, 0, f.Untested)
	if err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	return store, func() error { return errors.Join(store.Close(), unlock()) }, nil
}

type migrateCommand struct {
	folder
	Slots int `help:"Number of slots of a new installation (default 16); never changes."`
}

// Help teaches by example.
func (*migrateCommand) Help() string {
	return `A server does this itself when it starts, so this is for whoever does not let it: make or change tables as somebody who may, then serve as
somebody who may only use them. Several at once are harmless.

  fanfare migrate --store postgres://owner@db.example.org/fanfare`
}

// Run brings the tables to this version.
func (m *migrateCommand) Run(ctx context.Context, io streams) error {
	store, err := serve.OpenStore(ctx, m.Data, m.Store, m.Slots, m.Untested)
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "the tables are those of this version")
	return err
}

type adoptCommand struct{ folder }

// Run adopts.
func (a *adoptCommand) Run(ctx context.Context, io streams) (err error) {
	store, done, err := a.open(ctx, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := store.Adopt(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "this database is this folder's own now; its paused messages can be resumed")
	return err
}

type backupCommand struct {
	folder
	File string `arg:"" help:"The new file." type:"path"`
}

// Help teaches by example.
func (*backupCommand) Help() string {
	return `  fanfare backup /backups/monday.db --data /var/lib/fanfare

To restore, put the file into a data folder as fanfare.db (with the folder's master.key) and serve it: messages that were unfinished
wait for "fanfare resume", so nothing is sent twice by itself.`
}

// Run backs up.
func (b *backupCommand) Run(ctx context.Context, io streams) (err error) {
	store, done, err := b.open(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	syscall.Umask(0o077) // it holds everybody's addresses, like the data folder
	if err := store.Backup(ctx, b.File); err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.out, "written: %s. Put it in a data folder as %s to restore; what was being sent then waits for a person's word (fanfare resume).\n", b.File, serve.DatabaseFile)
	return err
}

type openapiCommand struct{}

// Run prints the document.
func (openapiCommand) Run(io streams) error {
	b, err := serve.OpenAPI()
	if err != nil {
		return err
	}
	_, err = io.out.Write(b)
	return err
}
