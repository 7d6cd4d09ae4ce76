package servers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Kind names a program, as `make servers` and cmd/servers do.
type Kind string

// The kinds there are.
const (
	PostgreSQL Kind = "postgres"
	MariaDB    Kind = "mariadb"
	RabbitMQ   Kind = "rabbitmq"
	NATS       Kind = "nats"
	Kafka      Kind = "kafka"
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{PostgreSQL, MariaDB, RabbitMQ, NATS, Kafka} }

// ErrMissing: the server's program is not on this machine.
var ErrMissing = errors.New("is not on this machine: make servers")

// recipe is what a kind of server does in its own way.
type recipe struct {
	account string // who runs it when root starts it: the account that its package made, or one that may do nothing
	url     string // with %s for host:port
	data    string // the folder within the server's that holds all it knows
	stop    syscall.Signal
	dies    syscall.Signal // when the process that started it dies

	soon string // what its log says when it could not start, but will if it is tried again

	find    func(s *Server) error                   // sets s.programs, or says what is missing
	prepare func(s *Server) error                   // before each start; makes the data folder when there is none
	command func(s *Server) (line, env []string)    // what to start; env is added to the process's own
	ready   func(s *Server, log string, p int) bool // whether the process p, which writes to log, takes work
}

func recipes() map[Kind]recipe {
	return map[Kind]recipe{PostgreSQL: postgres(), MariaDB: mariadb(), RabbitMQ: rabbitmq(), NATS: nats(), Kafka: kafka()}
}

// Server is one server. Its methods may be called from any goroutine, one after the other.
type Server struct {
	kind     Kind
	recipe   recipe
	folder   string
	settings []string
	programs map[string]string
	ports    ports
	keeper   *keeper

	mu       sync.Mutex
	starts   int
	main     *process
	beside   *process     // RabbitMQ's epmd; it outlives the node's crashes
	database atomic.Int64 // the last number given to a database
}

// New prepares a server in the folder, which it makes; all folders above must be open to the account that runs it. Start starts it.
func New(kind Kind, folder string, settings ...string) (*Server, error) {
	recipe, ok := recipes()[kind]
	if !ok {
		return nil, fmt.Errorf("server %q: there are %v", kind, Kinds())
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	s := &Server{kind: kind, recipe: recipe, folder: folder, settings: settings, programs: map[string]string{}}
	if err := recipe.find(s); err != nil {
		return nil, err
	}
	if err := s.own(folder); err != nil {
		return nil, err
	}
	if s.ports, err = reserve(); err != nil {
		return nil, err
	}
	s.keeper = newKeeper()
	return s, nil
}

// URL is where the server is, in the form that --store and --queue take; of PostgreSQL and MariaDB it names a database that is always there.
func (s *Server) URL() string { return fmt.Sprintf(s.recipe.url, s.Address()) }

// Address is its host and port.
func (s *Server) Address() string { return s.address(0) }

func (s *Server) address(n int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.ports.at(n)))
}

// Pid is the process of the server, 0 while none runs.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main == nil || s.main.gone() {
		return 0
	}
	return s.main.pid()
}

// Start starts it, with the data that are there, and returns when it takes work.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start()
}

func (s *Server) start() error {
	if s.main != nil && !s.main.gone() {
		return nil
	}
	if err := s.recipe.prepare(s); err != nil {
		return fmt.Errorf("%s: %w", s.kind, err)
	}
	for late := time.Now().Add(10 * time.Second); ; {
		s.starts++
		log := filepath.Join(s.folder, fmt.Sprintf("log.%d", s.starts))
		line, env := s.recipe.command(s)
		p, err := s.launch(log, env, line...)
		if err != nil {
			return fmt.Errorf("%s: %w", s.kind, err)
		}
		s.main = p
		if err = s.await(p, log, func() bool { return s.recipe.ready(s, log, p.pid()) }); err == nil {
			return nil
		}
		s.main.kill()
		if s.recipe.soon == "" || !says(log, s.recipe.soon) || time.Now().After(late) {
			return fmt.Errorf("%s: %w", s.kind, err)
		}
	}
}

// Stop ends it cleanly; one that does not end within 30 s is killed. What does not run is stopped already.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop()
}

func (s *Server) stop() error {
	p := s.main
	if s.main = nil; p == nil || p.gone() {
		return nil
	}
	_ = p.signal(syscall.SIGCONT) // a frozen one would not hear it
	if err := p.signal(s.recipe.stop); err != nil && !p.gone() {
		return fmt.Errorf("%s: %w", s.kind, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(30 * time.Second):
		p.kill()
		return fmt.Errorf("%s did not end within 30 s and was killed:\n%s", s.kind, tail(p.log))
	}
}

// Crash kills it with all its children, as a loss of power would but for the disk, and returns when they are gone. Its data stay.
func (s *Server) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil {
		s.main.kill()
		s.main = nil
	}
}

// Restart stops it cleanly and starts it again.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.stop(), s.start())
}

// Wipe kills it, removes all its data, and starts it anew on the same ports: databases, queues and topics are gone, and so is its identity.
func (s *Server) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil {
		s.main.kill()
		s.main = nil
	}
	if err := os.RemoveAll(filepath.Join(s.folder, s.recipe.data)); err != nil {
		return err
	}
	return s.start()
}

// Freeze stops all its processes where they are; the connections stay open and nobody answers. Thaw lets them go on.
func (s *Server) Freeze() { s.all(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.all(syscall.SIGCONT) }

func (s *Server) all(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main != nil {
		for _, pid := range tree(s.main.pid()) {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// Log is the end of what it wrote since its last start.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tail(filepath.Join(s.folder, fmt.Sprintf("log.%d", s.starts)))
}

// Close stops it and gives its ports back. Its folder stays.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.stop()
	if s.beside != nil {
		s.beside.kill()
		s.beside = nil
	}
	s.keeper.end()
	s.ports.free()
	return err
}

// own makes a folder for the account that runs the server.
func (s *Server) own(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return s.give(folder)
}

// give hands a file to the account that runs the server.
func (s *Server) give(name string) error {
	uid, gid, err := s.runs()
	if err != nil || uid < 0 {
		return err
	}
	return os.Chown(name, uid, gid)
}

// write makes a file that the server reads.
func (s *Server) write(name string, mode os.FileMode, lines ...string) error {
	name = filepath.Join(s.folder, name)
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), mode); err != nil {
		return err
	}
	return s.give(name)
}

// runs is the account that root steps down to: most servers refuse to run as root. Anybody else runs them as himself: -1. So does root what
// `make servers` built in a folder that is open to root only.
func (s *Server) runs() (uid, gid int, err error) {
	if os.Geteuid() != 0 || !s.passable() {
		return -1, -1, nil
	}
	account, err := user.Lookup(s.recipe.account)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", s.kind, err)
	}
	uid, err = strconv.Atoi(account.Uid)
	if err == nil {
		gid, err = strconv.Atoi(account.Gid)
	}
	return uid, gid, err
}

// passable says whether every account may run the server's programs.
func (s *Server) passable() bool {
	for _, path := range s.programs {
		for ; path != filepath.Dir(path); path = filepath.Dir(path) {
			if info, err := os.Stat(path); err != nil || info.Mode()&0o001 == 0 {
				return false
			}
		}
	}
	return true
}

// program finds a program and notes its path, or says that it is missing.
func (s *Server) program(name string, folders ...string) error {
	folders = append([]string{filepath.Join(scratch(), "servers", "bin")}, folders...)
	for _, folder := range append(folders, filepath.SplitList(os.Getenv("PATH"))...) {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil && filepath.IsAbs(path) {
			s.programs[name] = path
			return nil
		}
	}
	return fmt.Errorf("%s: %s %w", s.kind, name, ErrMissing)
}

// scratch is where `make servers` puts what it builds: $SCRATCH, else .scratch beside the go.mod above the working folder.
func scratch() string {
	if folder := os.Getenv("SCRATCH"); folder != "" {
		return folder
	}
	folder, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			break
		}
		above := filepath.Dir(folder)
		if above == folder {
			return ""
		}
		folder = above
	}
	return filepath.Join(folder, ".scratch")
}

// await waits until the server is ready, or says why it will not be.
func (s *Server) await(p *process, log string, ready func() bool) error {
	late := time.After(60 * time.Second)
	for {
		if ready() {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("ended at once:\n%s", tail(log))
		case <-late:
			return fmt.Errorf("is not ready after 60 s:\n%s", tail(log))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// run runs a program to its end by the server's account and gives what it printed.
func (s *Server) run(env []string, line ...string) (string, error) {
	cmd, err := s.cmd(env, line...)
	if err != nil {
		return "", err
	}
	var out []byte
	s.keeper.do(func() { out, err = cmd.CombinedOutput() })
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, out)
	}
	return string(out), nil
}

// dial says whether the server's first port answers what is said, at once, with the bytes given.
func (s *Server) dial(say, answer string) bool {
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte(say)); err != nil {
		return false
	}
	got := make([]byte, max(len(answer), 1))
	if _, err := c.Read(got); err != nil {
		return false
	}
	return strings.HasPrefix(string(got), answer)
}

// tail is the end of a file, for a person.
func tail(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
