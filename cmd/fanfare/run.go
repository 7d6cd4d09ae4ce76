package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"fanfare"
	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/config"
)

// Exit codes (API.md).
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitEnded  = 3 // --wait ended paused, cancelled or expired
)

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// terminal says whether w is a terminal that a line can be redrawn on.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is how wide the terminal w is, so that a redrawn line never wraps; 0 if it is none.
func columns(w any) int {
	if !terminal(w) {
		return 0
	}
	n, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil || n <= 0 {
		return 80
	}
	return n
}

// errEnded says that what was waited for ended in another way than completed.
var errEnded = errors.New("the message did not complete")

// commands is the one source of all flags, their environment variables and, for serve, the keys of the configuration file.
type commands struct {
	Serve    serveCommand    `cmd:"" help:"Run the server." group:"server"`
	Demo     demoCommand     `cmd:"" help:"See it work: a server with made-up recipients and a local mail sink; sends, pauses, resumes, is killed, goes on, is read, and balances." group:"server"`
	Import   importCommand   `cmd:"" help:"Import recipients from CSV or NDJSON (may be gzip)." group:"client"`
	Send     sendCommand     `cmd:"" help:"Create and start a message." group:"client"`
	Messages messagesCommand `cmd:"" help:"List messages." group:"client"`
	Status   statusCommand   `cmd:"" help:"Show how far a message has come." group:"client"`
	Start    startCommand    `cmd:"" help:"Start a draft, or a scheduled message now." group:"client"`
	Pause    pauseCommand    `cmd:"" help:"Pause a message: nothing is sent a second later." group:"client"`
	Resume   resumeCommand   `cmd:"" help:"Resume what remains of a message, or send again to the failed or the uncertain." group:"client"`
	Settle   settleCommand   `cmd:"" help:"Say what became of those whose answer never came." group:"client"`
	Remind   remindCommand   `cmd:"" help:"Make a draft of a message to whoever has not read it." group:"client"`
	Cancel   cancelCommand   `cmd:"" help:"Cancel a message for good." group:"client"`
	Preview  previewCommand  `cmd:"" help:"Show a message as one recipient would get it." group:"client"`
	Test     testCommand     `cmd:"" help:"Send one message to an address of yours; never counted." group:"client"`
	Items    itemsCommand    `cmd:"" help:"List what became of each recipient." group:"client"`
	Shards   shardsCommand   `cmd:"" help:"List the databases of a cluster, and move slots between them." group:"client"`
	Nodes    nodesCommand    `cmd:"" help:"List the nodes that serve the database, what each holds, and how deep the queues are." group:"client"`
	Doctor   doctorCommand   `cmd:"" help:"Recompute every counter from the sets and list where they differ." group:"tools"`
	Backup   backupCommand   `cmd:"" help:"Write a consistent copy of the database to a new file, also while serving." group:"tools"`
	Migrate  migrateCommand  `cmd:"" help:"Make the tables of a database, or bring them to this version, without serving." group:"tools"`
	Adopt    adoptCommand    `cmd:"" help:"Make a copied or restored database this folder's own, so that its messages can be resumed." group:"tools"`
	Sink     sinkCommand     `cmd:"" help:"Run a mail server that accepts, counts and shows what it got." group:"tools"`
	Bench    benchCommand    `cmd:"" help:"Measure the budgets of the design, each beside its bare loop." group:"tools"`
	Constant constantCommand `cmd:"" hidden:"" name:"bench-constant"`
	OpenAPI  openapiCommand  `cmd:"" name:"openapi" help:"Print the OpenAPI 3.1 document." group:"tools"`
	Version  versionCommand  `cmd:"" help:"Print the version." group:"tools"`
}

// server says where the server is; every command that talks to one has it.
type server struct {
	address
	Data string `help:"The server's data folder, for its admin.key." default:"fanfare-data" env:"FANFARE_DATA" type:"path"`
}

func (s *server) client() (*client.Client, error) { return client.New(s.URL, s.Key, s.Data) }

// address is a server's, and the key for it.
type address struct {
	URL string `name:"url" help:"The server's address." default:"http://127.0.0.1:8080" env:"FANFARE_URL"`
	Key string `help:"An API key; without it the admin key of the data folder is used." env:"FANFARE_KEY"`
}

// exited is kong's way out of help and wrong usage.
type exited struct{ code int }

// run carries out one command line and gives its exit code.
func run(ctx context.Context, args []string, io streams) (code int) {
	asked := true // for the help, if that is what is shown
	defer func() {
		switch e := recover().(type) {
		case nil:
		case exited:
			if code = e.code; !asked {
				code = exitUsage
			}
		default:
			panic(e)
		}
	}()
	var c commands
	options := []kong.Option{
		kong.Name("fanfare"), kong.Writers(io.out, io.err), kong.Exit(func(code int) { panic(exited{code}) }),
		kong.Description(description), kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{{Key: "server", Title: "Server:"}, {Key: "client", Title: "Messages (talk to a server):"}, {Key: "tools", Title: "Tools:"}}),
		kong.DefaultEnvars("FANFARE"),
	}
	file, err := configFile(args)
	if err != nil {
		fmt.Fprintln(io.err, "fanfare:", err)
		return exitUsage
	}
	if file != nil {
		options = append(options, kong.Resolvers(file.Resolver()))
	}
	parser, err := kong.New(&c, options...)
	if err != nil {
		fmt.Fprintln(io.err, "fanfare:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args, asked = []string{"--help"}, false
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(io.err, "fanfare: %v\nsee: fanfare %s--help\n", err, commandOf(args, parser.Model.Children))
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(io, file)
	return report(io.err, parsed.Run())
}

func report(to io.Writer, err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errEnded):
		fmt.Fprintln(to, "fanfare:", err)
		return exitEnded
	case errors.Is(err, context.Canceled):
		return exitFailed
	case errors.Is(err, fanfare.ErrUsage): // the exit code says it, people need not read it twice
		usage := ": " + fanfare.ErrUsage.Error()
		fmt.Fprintln(to, "fanfare"+strings.TrimSuffix(strings.ReplaceAll(": "+err.Error(), usage+": ", ": "), usage))
		return exitUsage
	}
	fmt.Fprintln(to, "fanfare:", err)
	return exitFailed
}

// commandOf names the command of a line that cannot be read, if there is one of that name.
func commandOf(args []string, known []*kong.Node) string {
	for _, a := range args {
		if slices.ContainsFunc(known, func(n *kong.Node) bool { return n.Name == a }) {
			return a + " "
		}
	}
	return ""
}

// configFile reads the file that --config or FANFARE_CONFIG names, before the flags are parsed: it gives their defaults.
func configFile(args []string) (*config.File, error) {
	if len(args) == 0 || args[0] != "serve" {
		return nil, nil
	}
	path := os.Getenv("FANFARE_CONFIG")
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			path = v
		} else if a == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	if path == "" {
		return nil, nil
	}
	var s struct {
		Serve serveCommand `cmd:""`
	}
	parser, err := kong.New(&s)
	if err != nil {
		return nil, err
	}
	var flags []string
	for _, f := range parser.Model.Children[0].Flags {
		if f.Name != "config" {
			flags = append(flags, f.Name)
		}
	}
	return config.Read(path, flags)
}

const description = `Fanfare sends one message to millions of people and knows, for each of them, what became of it.

First steps:

  fanfare demo                                    see it work
  fanfare serve                                   run a server (its admin key is made in fanfare-data/admin.key)
  fanfare import people.csv --list customers      take recipients in
  fanfare send --channel email --list customers --subject "Hello {{ first_name | default: 'friend' }}" --html hello.html --wait
  fanfare status MESSAGE --watch                  follow it;  fanfare pause|resume|cancel MESSAGE
  fanfare items MESSAGE --result failed           who did not get it, and why
  fanfare send --channel inbox --list customers --title "Hello" --body hello.txt          to the in-app inbox of your product
  fanfare items MESSAGE --read false              who has not read it;  fanfare remind MESSAGE makes a draft to these

Every flag has an environment variable (FANFARE_LISTEN for --listen) and, for serve, a key in the configuration file.`
