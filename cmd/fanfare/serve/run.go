package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"syscall"
	"time"

	"fanfare"
	"fanfare/api"
	"fanfare/cmd/fanfare/config"
	"fanfare/cmd/fanfare/home"
)

// Config is what serve's flags say.
type Config struct {
	Data         string
	Listen       string
	AdminListen  string
	PublicURL    string
	Stores       []string
	Untested     bool // a store that its suite never ran on will do
	Queue        string
	Roles        []string
	Slots        int
	Node         string
	MasterKey    string
	InboxOrigins []string
	CacheBytes   int // of inboxes; 0: 256 MB
	File         *config.File
	Log          *slog.Logger
	Version      string

	links string             // where the links in mail lead
	fixed []fanfare.Provider // of the configuration file
	tasks fanfare.Queue      // of several nodes in one process, for tests; nil: the one that Queue names
	alone bool               // tasks do not reach other processes
}

// linkBase is where the links in mail lead: to the public URL. Without one mail goes to mail servers of this machine only (the API sees to
// that), for trying things out: then they lead to this very server, if it listens for this machine. Empty: there are none.
func linkBase(c *Config, at net.Addr) string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		c.Log.Info("no --public-url: links in mail work on this machine only")
		return "http://" + at.String()
	}
	c.Log.Warn("no --public-url: there are no links in mail; who gets a message that needs one is skipped (missing_field)")
	return ""
}

// DatabaseFile is the embedded database's place in a data folder.
const DatabaseFile = "fanfare.db"

func redacted(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

func (c *Config) check() error {
	c.alone = c.tasks == nil && c.Queue == "memory:"
	if err := c.checkRoles(c.alone); err != nil {
		return err
	}
	for _, origin := range c.InboxOrigins {
		if err := api.CheckOrigin(origin); err != nil {
			return err
		}
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%w: --public-url %q; write it like https://news.example.org", fanfare.ErrUsage, c.PublicURL)
	}
	var err error
	c.fixed, err = fileProviders(c.File)
	return err
}

// listen opens a port and says what to do when it is taken.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port in use: another program listens on %s; stop it or choose another --listen", addr)
	case err != nil:
		return nil, fmt.Errorf("%w: --listen %s: %w", fanfare.ErrUsage, addr, err)
	}
	return l, nil
}

// Run serves until ctx ends, then stops in order: no new requests, what is under way ends and is recorded, the store closes.
func Run(ctx context.Context, c Config) (err error) {
	if os.Getenv("GOGC") == "" {
		defer boundGarbage()()
	}
	if os.Getenv("GOMAXPROCS") == "" { // one more than there are: the committer holds one while the disk syncs, and the connections go on
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.tasks == nil {
		if c.tasks, err = openQueue(c.Queue, c.Log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.tasks.Close()) }()
	}
	folder, err := home.Open(c.Data, c.Node)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	l, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // closed by the server before, or nothing was served
	if err := lost(folder, c.Stores); err != nil {
		return err
	}
	store, err := OpenStore(ctx, c.Data, c.Stores, c.Slots, c.Untested)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	c.links = linkBase(&c, l.Addr())
	n, err := wire(ctx, c, folder, store)
	if err != nil {
		return err
	}
	return n.run(ctx, l)
}

// lost refuses a folder that has served a database of its own which is gone or empty now: a new one in its place would look like a fresh
// installation that has sent nothing.
func lost(folder *home.Folder, stores []string) error {
	if len(stores) > 0 {
		return nil
	}
	noted, err := position{folder}.Noted()
	if err != nil || noted == 0 {
		return err
	}
	file := folder.Path(DatabaseFile)
	if info, err := os.Stat(file); err == nil && info.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // opening it says what is wrong, if anything is
	}
	return fmt.Errorf("%s: %w: it is empty or gone, though this folder has served one; put a backup there, or remove %s to begin anew", file, fanfare.ErrDamaged, position{folder}.file())
}

// answer serves a handler on a listener until ctx ends, then lets requests end for a while.
func answer(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return base }, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("web server: %w", err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(base, 3*time.Second)
	defer stop()
	cutStreams := time.AfterFunc(500*time.Millisecond, cut) // streams would wait for ever
	defer cutStreams.Stop()
	if err := s.Shutdown(grace); err != nil {
		_ = s.Close()
	}
	<-ended
	return nil
}
