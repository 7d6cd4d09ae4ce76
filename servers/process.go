package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// keeper is a thread that lives as long as what it started: Pdeathsig follows the thread that started a process, and Go ends idle threads.
type keeper struct {
	work chan func()
	once sync.Once
}

func newKeeper() *keeper {
	k := &keeper{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for f := range k.work {
			f()
		}
	}()
	return k
}

func (k *keeper) do(f func()) {
	done := make(chan struct{})
	k.work <- func() { defer close(done); f() }
	<-done
}

func (k *keeper) end() { k.once.Do(func() { close(k.work) }) }

// process is a program that was started; a goroutine waits for it, so that no zombie of it stays.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// cmd is a command by the server's account, in the server's folder.
func (s *Server) cmd(env []string, line ...string) (*exec.Cmd, error) {
	uid, gid, err := s.runs()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(line[0], line[1:]...) //nolint:gosec // a server's own program
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(), "HOME="+s.folder, "TMPDIR="+s.folder, "LC_ALL=C.UTF-8")
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = attributes(uid, gid, s.recipe.dies)
	return cmd, nil
}

func (s *Server) launch(log string, env []string, line ...string) (*process, error) {
	cmd, err := s.cmd(env, line...)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	s.keeper.do(func() { err = cmd.Start() })
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// kill ends the process and all its children, and waits until none is left: a PostgreSQL does not start while a child of the former one
// still holds its memory. It stops them first, so that none of them sees another one gone and acts on it.
func (p *process) kill() {
	if p.gone() {
		return
	}
	_ = p.signal(syscall.SIGSTOP)
	all := tree(p.pid())
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.ended
	for _, pid := range all {
		for alive(pid) {
			<-time.After(time.Millisecond)
		}
	}
}

// tree lists a process and all that it started, itself first.
func tree(pid int) []int {
	all := []int{pid}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range threads {
		text, _ := os.ReadFile(name)
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, tree(n)...)
			}
		}
	}
	return all
}

// alive: it runs, and is not a zombie that process 1 has not collected yet.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, found := strings.Cut(string(text), ") ")
	return found && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
