// Package spawn runs this program's server and mail sink as processes of their own, for the demo, the benchmarks and the tests that kill
// them: a SIGKILL of a process is a real one only if it is another process.
package spawn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"fanfare/cmd/fanfare/client"
)

// startTime is how long a process may take to come up, untilTime how long whatever is waited for.
const (
	startTime = time.Minute
	untilTime = 3 * time.Minute
)

// Process is a child of this process that has an address.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error       // after ended
	at    chan string // its address, once
	log   io.Writer   // may be nil

	mu   sync.Mutex
	last []string // guarded by mu; the last lines it wrote
}

// begin starts exe; found tells the address that a line names.
func begin(exe string, args []string, log io.Writer, found func(line []byte) string) (*Process, error) {
	p := &Process{cmd: exec.Command(exe, args...), ended: make(chan struct{}), at: make(chan string, 1), log: log} //nolint:gosec // this program itself
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                                                        // Ctrl-C is for us; we stop it
	p.cmd.Env = append(environment(), "FANFARE_LOG_FORMAT=json")
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(exe), errors.Join(err, r.Close()))
	}
	go p.follow(r, found)
	return p, nil
}

// environment is ours without what steers a server of the user's: a demo or a benchmark must not find the way to its database.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FANFARE_") })
}

func (p *Process) follow(r io.ReadCloser, found func([]byte) string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if at := found(lines.Bytes()); at != "" {
			select {
			case p.at <- at:
			default:
			}
		}
		if p.log != nil {
			fmt.Fprintf(p.log, "%s\n", lines.Bytes())
		}
		p.mu.Lock()
		p.last = append(p.last, lines.Text())
		p.last = p.last[max(0, len(p.last)-8):]
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
	_ = r.Close()
	p.err = p.cmd.Wait()
	close(p.ended)
}

// Said gives the last lines it wrote.
func (p *Process) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}

// PID is its process number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when it has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// ExitCode is its exit code after it ended; −1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

func (p *Process) address(ctx context.Context) (string, error) {
	limit := time.NewTimer(startTime)
	defer limit.Stop()
	select {
	case at := <-p.at:
		return at, nil
	case <-p.ended:
		return "", fmt.Errorf("the process ended at once: %s", p.Said())
	case <-ctx.Done():
		return "", ctx.Err()
	case <-limit.C:
		return "", fmt.Errorf("the process does not come up: %s", p.Said())
	}
}

// Kill is kill -9: the process gets no chance to do anything.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// Signal sends it a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks it to end (SIGTERM), waits, and kills it if that takes longer than 20 s.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-p.ended:
		return nil
	case <-limit.C:
		return p.Kill()
	}
}

// PeakRSS is the greatest resident memory it had so far, in bytes (Linux: VmHWM).
func (p *Process) PeakRSS() (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmHWM")
}

// CPU is how much processor time it used so far (Linux), to the hundredth of a second.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses; user and system time are the 14th and 15th.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, errors.New("no times")
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err, err2)
}

// Server is a server process that is ready, and a client of it.
type Server struct {
	*Process
	*client.Client
	Addr string
}

// listening finds the address in a line of a server's log.
func listening(line []byte) string {
	var entry struct{ Msg, Addr string }
	if json.Unmarshal(line, &entry) == nil && entry.Msg == "listening" {
		return entry.Addr
	}
	return ""
}

// Serve starts `fanfare serve` on a data folder and waits until it is ready. listen is host:port, port 0 picks one.
func Serve(ctx context.Context, exe, data, listen string, log io.Writer, more ...string) (*Server, error) {
	args := append([]string{"serve", "--data", data, "--listen", listen}, more...)
	p, err := begin(exe, args, log, listening)
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p}
	if s.Addr, err = p.address(ctx); err == nil {
		s.Client, err = client.New("http://"+s.Addr, "", data)
	}
	if err == nil {
		err = s.ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return s, nil
}

// Constant starts the bare loop beside inbox pages: the API with an inbox that never changes.
func Constant(ctx context.Context, exe string) (*Server, error) {
	p, err := begin(exe, []string{"bench-constant"}, nil, listening)
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p}
	if s.Addr, err = p.address(ctx); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return s, nil
}

func (s *Server) ready(ctx context.Context) error {
	return s.Until(ctx, "the server", 5*time.Millisecond, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/readyz", nil)
		if err != nil {
			return false, err
		}
		r, err := s.HTTP.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return r.StatusCode == http.StatusOK, r.Body.Close()
	})
}

// Until asks done every so often, until it is true; an error if the process ends or it takes longer than three minutes.
func (p *Process) Until(ctx context.Context, what string, every time.Duration, done func() (bool, error)) error {
	limit := time.NewTimer(untilTime)
	defer limit.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("%s: not after %s: %s", what, untilTime, p.Said())
		case <-p.ended:
			return fmt.Errorf("%s: the process ended: %s", what, p.Said())
		case <-tick.C:
		}
	}
}
