package e2e

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fanfare/cmd/fanfare/client"
)

// refusal runs the program, which must end with the exit code and say one line that has all the words.
func refusal(t *testing.T, code int, edit func(*exec.Cmd), words []string, args ...string) {
	t.Helper()
	got, out := run(t, program(t), edit, args...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	last := lines[len(lines)-1]
	if got != code || len(lines) != 1 || !strings.HasPrefix(last, "fanfare: ") {
		t.Errorf("fanfare %s: exit %d, want %d and one line:\n%s", strings.Join(args, " "), got, code, out)
	}
	for _, w := range words {
		if !strings.Contains(last, w) {
			t.Errorf("fanfare %s: want %q in: %s", strings.Join(args, " "), w, last)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	refusal(t, 1, nil, []string{"port in use", l.Addr().String(), "--listen"}, "serve", "--data", t.TempDir(), "--listen", l.Addr().String())
}

func TestSecondServe(t *testing.T) {
	t.Parallel()
	p := settle(t)
	refusal(t, 1, nil, []string{"in use by another process", "process", "--data"}, "serve", "--data", p.data, "--listen", "127.0.0.1:0")
	p.people(3) // the first one did not notice
}

func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for at := dir; strings.HasPrefix(at, os.TempDir()+"/"); at = filepath.Dir(at) { // everybody may look, only we may write
		if err := os.Chmod(at, 0o755); err != nil && !errors.Is(err, fs.ErrPermission) {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	ordinary := func(c *exec.Cmd) {
		c.Dir = dir
		if os.Getuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
	}
	refusal(t, 1, ordinary, []string{"not writable", "--data"}, "serve", "--data", dir, "--listen", "127.0.0.1:0")
	refusal(t, 1, ordinary, []string{"not writable", "--data"}, "serve", "--data", filepath.Join(dir, "new"), "--listen", "127.0.0.1:0")
}

func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	for text, words := range map[string][]string{
		"lisen = \"127.0.0.1:0\"\n":                                    {"lisen", "listen", "unknown key"},
		"[providers.mail]\nchannel = \"email\"\nurll = \"smtp://x\"\n": {"fanfare.toml:3", "providers.mail.urll", "unknown key"},
		"listen = \n": {"fanfare.toml:1"},
		"[providers.mail]\nchannel = \"email\"\ntimeout = \"fast\"\n":   {"fanfare.toml:3", "60s"},
		"[providers.mail]\nchannel = \"sms\"\nurl = \"smtp://x:25\"\n":  {"mail", "sms"},
		"[providers.mail]\nchannel = \"email\"\nurl = \"ftp://x:25\"\n": {"mail", "smtp"},
	} {
		file := filepath.Join(t.TempDir(), "fanfare.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refusal(t, 2, nil, words, "serve", "--config", file, "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	}
}

// TestDamagedFirstPage: what is no database any more is not touched.
func TestDamagedFirstPage(t *testing.T) {
	t.Parallel()
	p := settle(t)
	p.people(100)
	p.must(p.Stop())
	file := filepath.Join(p.data, "fanfare.db")
	was, err := os.ReadFile(file)
	p.must(err)
	bad := bytes.Clone(was)
	copy(bad, bytes.Repeat([]byte("rot"), 1000))
	p.must(os.WriteFile(file, bad, 0o600))
	refusal(t, 1, nil, []string{"fanfare.db", "damaged", "backup"}, "serve", "--data", p.data, "--listen", "127.0.0.1:0")
	refusal(t, 1, nil, []string{"fanfare.db", "damaged", "backup"}, "doctor", "--data", p.data)
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, bad) {
		t.Error("the damaged file was changed")
	}
	p.must(os.WriteFile(file, was, 0o600)) // the restored backup
	p.serve()
	if got := p.listed(); got != 100 {
		t.Errorf("%d recipients after the repair", got)
	}
}

// listed tells how many the list has.
func (p *place) listed() int {
	p.t.Helper()
	var l struct{ Recipients int }
	p.do(http.MethodGet, "/v1/lists/everyone", nil, &l)
	return l.Recipients
}

// TestDamagedMiddlePage: whichever page in the middle rots, nothing is lost silently: the server says so in one line and ends, or it serves
// and the doctor names the damage, or the page was one that nobody needs and everybody is still there.
func TestDamagedMiddlePage(t *testing.T) {
	t.Parallel()
	const people, page = 3_000, 4096
	p := settle(t)
	p.people(people)
	p.provider(4, nil)
	id := p.send(nil)
	p.until(id, "the end", phase("completed"))
	p.must(p.Stop())
	file := filepath.Join(p.data, "fanfare.db")
	was, err := os.ReadFile(file)
	p.must(err)
	pages, named := len(was)/page, 0
	for i := range 8 {
		at := (pages*(2*i+1)/16)*page + 100
		bad := bytes.Clone(was)
		for j := range 3000 {
			bad[at+j] ^= 0x5a
		}
		p.must(os.WriteFile(file, bad, 0o600))
		code, out := p.run(nil, "doctor", "--data", p.data)
		switch {
		case strings.Contains(out, "panic"), strings.Contains(out, "goroutine "):
			t.Errorf("page %d: %s", at/page, out)
		case code == 1 && strings.Contains(out, "damaged"):
			named++
		case code != 0:
			t.Errorf("page %d: exit %d: %s", at/page, code, out)
		}
	}
	if named == 0 {
		t.Errorf("the doctor named no damage in any of 8 of %d pages", pages)
	}
	t.Logf("the doctor named the damage in %d of 8 of %d pages", named, pages)
	p.must(os.WriteFile(file, was, 0o600))
	p.serve()
	p.balanced(id, people)
}

// TestTruncatedLog: the end of the write-ahead log is gone, so the database is older than what the folder has noted. It sends nothing by
// itself; after a person's word everybody is accounted for.
func TestTruncatedLog(t *testing.T) {
	t.Parallel()
	const people = 6_000
	p := settle(t)
	p.people(people)
	p.provider(8, nil)
	p.must(p.Stop()) // the log is empty then
	p.serve()
	id := p.send(limit(800))
	p.begun(people - 1_000) // six seconds; the position is noted every two
	p.must(p.Kill())
	log := filepath.Join(p.data, "fanfare.db-wal")
	info, err := os.Stat(log)
	p.must(err)
	p.must(os.Truncate(log, info.Size()/2))
	before := p.counts().Begun
	p.serve()
	p.until(id, "paused", phase("paused"))
	var m client.Message
	p.do(http.MethodGet, "/v1/messages/"+id, nil, &m)
	if m.PauseReason != "restored" || p.counts().Begun != before {
		t.Errorf("%+v, %d envelopes were begun", m, p.counts().Begun-before)
	}
	p.do(http.MethodPost, "/v1/messages/"+id+"/rate", map[string]any{"per_second": nil}, nil)
	p.do(http.MethodPost, "/v1/messages/"+id+"/resume", nil, nil)
	p.until(id, "the end", phase("completed"))
	if k := p.balanced(id, people); k.Sent+k.Uncertain != people {
		t.Errorf("%+v", k)
	}
	ledger := p.ledger()
	for i := range people {
		if _, address := person(i); ledger[address].Copies == 0 {
			t.Errorf("%s has nothing", address)
		}
	}
}

// TestCopiedDatabase: a copy of a data folder sends nothing by itself.
func TestCopiedDatabase(t *testing.T) {
	t.Parallel()
	const people = 4_000
	p := settle(t, "--delay", "2ms")
	p.people(people)
	p.provider(8, nil)
	id := p.send(nil)
	p.begun(people / 2)
	p.must(p.Kill())
	dir := filepath.Join(t.TempDir(), "copy")
	p.must(os.CopyFS(dir, os.DirFS(p.data)))
	p.data = dir
	before := p.counts().Begun
	p.serve()
	p.until(id, "paused", phase("paused"))
	var m client.Message
	p.do(http.MethodGet, "/v1/messages/"+id, nil, &m)
	if now := p.counts().Begun; m.PauseReason != "restored" || now != before {
		t.Errorf("%+v, %d envelopes were begun", m, now-before)
	}
	p.must(p.Stop())
	if code, out := p.run(nil, "adopt", "--data", dir); code != 0 {
		t.Fatalf("adopt: %d %s", code, out)
	}
	p.serve()
	p.do(http.MethodPost, "/v1/messages/"+id+"/resume", nil, nil)
	p.until(id, "the end", phase("completed"))
	p.delivered(id, people)
	if k := p.balanced(id, people); k.Sent+k.Uncertain != people || k.Doubted > 8*chunk {
		t.Errorf("%+v", k)
	}
}

// TestFullDisk: the database may not grow any more (SQLite's max_page_count). What cannot be stored is answered with what to do; what
// was stored stays; with room again everything goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const people = 2_000
	p := settle(t)
	p.people(people)
	p.provider(4, nil)
	p.must(p.Stop())
	info, err := os.Stat(filepath.Join(p.data, "fanfare.db"))
	p.must(err)
	small := "sqlite:" + filepath.Join(p.data, "fanfare.db") + "?max_pages=" + strconv.FormatInt(info.Size()/4096+8, 10)
	p.args = []string{"--store", small}
	p.serve()
	var full error
	var ids []string
	for i := range 200 {
		var m client.Message
		err := p.Do(ctx(t), http.MethodPost, "/v1/messages", map[string]any{"name": "filler", "channel": "email", "audience": map[string]string{"list": "everyone"},
			"content": map[string]string{"subject": "x", "text": strings.Repeat("long ", 3000)}}, &m)
		if err != nil {
			full = err
			t.Logf("full after %d messages: %v", i, err)
			break
		}
		ids = append(ids, m.ID)
	}
	var problem *client.Problem
	if !errors.As(full, &problem) || problem.Status != http.StatusServiceUnavailable && problem.Status != http.StatusInsufficientStorage || !strings.Contains(problem.Detail, "space") {
		t.Errorf("a full disk answers %v", full)
	}
	if got := p.listed(); got != people {
		t.Errorf("%d recipients are left", got)
	}
	p.must(p.Stop())
	p.args = nil
	p.serve()
	for _, id := range ids {
		var m client.Message
		p.do(http.MethodGet, "/v1/messages/"+id, nil, &m)
	}
	id := p.send(nil)
	p.until(id, "the end", phase("completed"))
	p.delivered(id, people)
	p.balanced(id, people)
}

// TestFullWhileSending: the journal cannot be written in the middle of a message. Sending stops and says so; with room again it goes on,
// and nobody is lost or sent to without being listed.
func TestFullWhileSending(t *testing.T) {
	t.Parallel()
	const people = 20_000
	p := settle(t, "--refuse", "30%") // every refusal is a row: the database grows while it sends
	p.people(people)
	p.provider(4, nil)
	p.must(p.Stop())
	info, err := os.Stat(filepath.Join(p.data, "fanfare.db"))
	p.must(err)
	p.args = []string{"--store", "sqlite:" + filepath.Join(p.data, "fanfare.db") + "?max_pages=" + strconv.FormatInt(info.Size()/4096+60, 10)}
	p.serve()
	id := p.send(nil)
	g := p.until(id, "the full disk", func(g client.Progress) bool {
		return waiting("journal")(g) || g.Phase == "completed" || g.Phase == "paused"
	})
	if g.Phase == "completed" {
		t.Fatalf("there was room for everything: %+v", g)
	}
	p.must(p.Stop())
	p.args = nil
	p.serve()
	if g := p.progress(id); g.Phase == "paused" {
		p.do(http.MethodPost, "/v1/messages/"+id+"/resume", nil, nil)
	}
	g = p.until(id, "the end", func(g client.Progress) bool { return g.Phase == "completed" || g.Phase == "paused" })
	p.delivered(id, people)
	if k := p.balanced(id, people); g.Phase != "completed" || k.Sent+k.Failed+k.Uncertain != people || k.Failed == 0 {
		t.Errorf("%+v", g)
	}
}

// TestBadRequests: what cannot be is answered with a problem that points at the field and says what to do.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	p := settle(t)
	p.people(3)
	p.provider(1, nil)
	mail := func(edit func(m, content map[string]any)) map[string]any {
		content := map[string]any{"subject": "s", "text": "t"}
		m := map[string]any{"name": "x", "channel": "email", "audience": map[string]any{"list": "everyone"}, "content": content}
		edit(m, content)
		return m
	}
	for name, c := range map[string]struct {
		path, pointer, word string
		status              int
		body                any
	}{
		"an unknown list": {"/v1/messages", "#/audience/list", "no list of this name", 422, mail(func(m, _ map[string]any) { m["audience"] = map[string]any{"list": "nobody"} })},
		"a list in a list": {"/v1/messages", "#/audience/every/0", "list", 422,
			mail(func(m, _ map[string]any) {
				m["audience"] = map[string]any{"every": []any{map[string]any{"lists": "x"}}}
			})},
		"a broken template":  {"/v1/messages", "#/content/subject", "subject", 422, mail(func(_, c map[string]any) { c["subject"] = "Hello {{ first_name" })},
		"an unknown field":   {"/v1/messages", "#/chanel", "chanel", 422, mail(func(m, _ map[string]any) { m["chanel"] = "email" })},
		"an unknown channel": {"/v1/messages", "#/channel", "channel", 422, mail(func(m, _ map[string]any) { m["channel"] = "pigeon" })},
		"a negative rate":    {"/v1/messages", "#/rate", "rate", 422, mail(func(m, _ map[string]any) { m["rate"] = -1 })},
		"two ways to start":  {"/v1/messages", "#/", "start", 422, mail(func(m, _ map[string]any) { m["start"], m["send_at"] = true, "2040-01-01T00:00:00Z" })},
		"no message":         {"/v1/messages/nothing/start", "", "nothing", 404, nil},
	} {
		err := p.Do(ctx(t), http.MethodPost, c.path, c.body, nil)
		var problem *client.Problem
		if !errors.As(err, &problem) || problem.Status != c.status || !strings.Contains(problem.Error(), c.word) {
			t.Errorf("%s: %#v", name, err)
			continue
		}
		found := c.pointer == ""
		for _, e := range problem.Errors {
			found = found || strings.HasPrefix(e.Pointer, c.pointer) && e.Detail != ""
		}
		if !found {
			t.Errorf("%s: nothing points at %s in %+v", name, c.pointer, problem)
		}
	}
}
