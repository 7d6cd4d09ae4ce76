// Package demo shows the main job on one machine: made-up recipients, a real mail server of its own, an e-mail message that is paused,
// resumed, killed with SIGKILL in mid-batch, goes on in a new process, and balances to the last person; then a message to their inboxes, and
// thousands who read it over HTTP. The sending server is a process of its own; what it says is compared with what the mail server got and
// with what the readers did.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fanfare/cmd/fanfare/sink"
	"fanfare/cmd/fanfare/spawn"
)

// Config says how to show it.
type Config struct {
	Exe        string // this program
	Recipients int
	Exit       bool // end when it is shown, instead of serving on
	Columns    int  // of the terminal that out is; 0: it is none
	Out        io.Writer
	Listen     string // of the server
}

// chunk is what one connection journals as in flight together.
const chunk = 8

// connections to the mail server: few for few people, so that there is something to pause and to kill.
func (c *Config) connections() int { return max(1, min(16, c.Recipients/500)) }

// delay is how long the mail server takes for each message: the sending lasts about twelve seconds, and at any moment each connection
// has somebody in flight. So many people need no delay to last.
func (c *Config) delay() time.Duration {
	d := 12 * time.Second * time.Duration(c.connections()) / time.Duration(c.Recipients)
	if d < 500*time.Microsecond {
		return 0
	}
	return min(d, 100*time.Millisecond)
}

// show is one demo under way.
type show struct {
	Config
	dir     string
	sink    *sink.Server
	server  *spawn.Server
	message string // by e-mail
	inbox   string // the message in the inboxes
}

// Run shows it and answers an error if anything does not balance.
func Run(ctx context.Context, c Config) (err error) {
	s := &show{Config: c}
	if s.dir, err = os.MkdirTemp("", "fanfare-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if s.sink, err = sink.New(sink.Config{Keep: 3, Delay: s.delay()}); err != nil {
		return err
	}
	sinkCtx, stopSink := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.sink.Run(sinkCtx) }()
	defer func() {
		stopSink()
		err = errors.Join(err, <-ended)
	}()
	defer func() {
		if s.server != nil {
			err = errors.Join(err, s.server.Stop())
		}
	}()
	return s.run(ctx)
}

func (s *show) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.start, s.people, s.send, s.pause, s.kill, s.finish, s.proof, s.sendInbox, s.read, s.readProof} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if s.Exit {
		return nil
	}
	key, err := os.ReadFile(filepath.Join(s.dir, "admin.key"))
	if err != nil {
		return err
	}
	s.say("Look at it: %[1]s/  (key: %[2]s)\nAn inbox on your own page: <script src=\"%[1]s/inbox.js\" defer></script> <fanfare-inbox token-url=\"/my/token\"></fanfare-inbox>\nStop with Ctrl-C; everything of this demo is removed then.", s.server.URL, key[:max(0, len(key)-1)])
	<-ctx.Done()
	return nil
}

func (s *show) say(format string, args ...any) { fmt.Fprintf(s.Out, "\n"+format+"\n", args...) }

func (s *show) start(ctx context.Context) error {
	s.say("1. A server (embedded database, in-process queue) and a mail server that takes %s a message.",
		s.delay().Round(10*time.Microsecond))
	if err := s.serve(ctx); err != nil {
		return err
	}
	provider := map[string]any{"channel": "email", "url": "smtp://" + s.sink.Addr() + "?starttls=off", "from": "Fanfare demo <news@fanfare.example>",
		"connections": s.connections(), "chunk": chunk}
	if err := s.server.Do(ctx, http.MethodPut, "/v1/providers/mail", provider, nil); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "   process %d at %s, mail server at %s\n", s.server.PID(), s.server.URL, s.sink.Addr())
	return nil
}

// serve starts the sending process and waits until it is ready.
func (s *show) serve(ctx context.Context) (err error) {
	if s.server, err = spawn.Serve(ctx, s.Exe, s.dir, s.Listen, nil); err != nil {
		return err
	}
	s.Listen = s.server.Addr // the same port after the kill
	return nil
}
