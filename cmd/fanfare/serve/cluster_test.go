package serve

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/queues/memory"
)

// cluster is several nodes on one database in this process, with one queue.
type cluster struct {
	t     *testing.T
	dir   string
	base  Config
	first *running
}

func newCluster(t *testing.T) *cluster {
	dir := t.TempDir()
	q := memory.New()
	t.Cleanup(func() { _ = q.Close() })
	return &cluster{t: t, dir: dir, base: Config{Stores: []string{"sqlite:" + filepath.Join(dir, "shared.db")}, MasterKey: base64.StdEncoding.EncodeToString(make([]byte, 32)), tasks: q, Slots: 4}}
}

// node starts a node; its name is its folder's.
func (c *cluster) node(name string, roles ...string) *running {
	c.t.Helper()
	r := c.launch(name, roles...)
	c.await(r)
	return r
}

func (c *cluster) launch(name string, roles ...string) *running {
	config := c.base
	config.Roles, config.Node = roles, name
	return launch(c.t, filepath.Join(c.dir, name), config)
}

func (c *cluster) await(r *running) {
	c.t.Helper()
	r.await()
	if c.first == nil {
		c.first = r
	}
	r.key = c.first.key
}

// TestRoles: each node does what its roles say, and together they are one server.
func TestRoles(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	front := c.node("front", "api")
	planner, worker := c.launch("planner", "planner"), c.launch("worker", "worker", "worker")
	c.await(planner)
	c.await(worker)
	if _, err := os.Stat(filepath.Join(c.dir, "planner", "admin.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the second node made an admin key too: %v", err)
	}
	for _, r := range []*running{planner, worker} {
		var out map[string]any
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/v1/messages": 404, "/": 404} {
			if got := r.do("GET", path, "", "", &out); got != want {
				t.Errorf("GET %s: %d, want %d: %v", path, got, want, out)
			}
		}
		if out["code"] != "no_role" && out["status"] != "ok" {
			t.Errorf("%v", out)
		}
		if status := r.do("GET", "/metrics", "", "", nil); status != 200 {
			t.Errorf("metrics: %d", status)
		}
	}
	front.importPeople(50)
	front.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Hello"}})
	var nodes struct {
		Items []struct {
			Name, Version string
			Roles         []string
			Alive         bool
			Free          map[string]int
		}
	}
	front.want(http.StatusOK, "GET", "/v1/nodes", "", "", &nodes)
	got := ""
	for _, n := range nodes.Items {
		got += fmt.Sprintf("%s %v %v %s %v; ", n.Name, n.Roles, n.Alive, n.Version, n.Free["inbox"] > 0)
	}
	if want := "front [api] true test false; planner [planner] true test false; worker [worker] true test true; "; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	worker.end()
	front.want(http.StatusOK, "GET", "/v1/nodes", "", "", &nodes)
	if nodes.Items[2].Alive {
		t.Error("a node that was stopped is alive")
	}
}

// TestWhoMayNotJoin: what would do harm beside others is refused with what to do.
func TestWhoMayNotJoin(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node("one", "api", "planner", "worker")
	for name, x := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"the name of another": {func(c *Config) { c.Node = "one" }, "--node"},
		"another master key":  {func(c *Config) { c.MasterKey = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32))) }, "FANFARE_MASTER_KEY"},
		"no master key":       {func(c *Config) { c.MasterKey = "" }, "FANFARE_MASTER_KEY"},
		"a queue of its own":  {func(c *Config) { c.tasks = nil }, "--roles api"},
	} {
		config := c.base
		config.Data, config.Listen, config.Queue, config.Log = t.TempDir(), "127.0.0.1:0", "memory:", slog.New(slog.DiscardHandler)
		config.Roles = []string{"api", "planner", "worker"}
		x.change(&config)
		if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(config.Data, "master.key")); config.MasterKey == "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a master key was made: %v", name, err)
		}
	}
	c.base.tasks = nil
	c.node("two", "api") // tasks do not concern it
}

// TestImportsOfSeveralNodes: a file is taken up where it lies, and every node tells of it.
func TestImportsOfSeveralNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	one, two := c.node("one", "api", "planner", "worker"), c.node("two", "api")
	var state struct{ ID, State string }
	two.want(http.StatusAccepted, "POST", "/v1/imports?list=all", "", "external_id,email\nu1,a@example.org\n,b@example.org\n", &state)
	one.until("/v1/imports/"+state.ID, "state", "done")
	if l := one.must("GET", "/v1/lists/all", "", ""); l["recipients"] != 1.0 {
		t.Errorf("%v", l)
	}
	var problem map[string]any
	if status := one.do("GET", "/v1/imports/"+state.ID+"/errors", "", "", &problem); status != http.StatusConflict || problem["code"] != "elsewhere" || !strings.Contains(problem["detail"].(string), "node two") {
		t.Errorf("%d %v", status, problem)
	}
}

// TestTwoPlannersFourWorkers: nobody gets anything twice, and nobody is in doubt.
func TestTwoPlannersFourWorkers(t *testing.T) {
	t.Parallel()
	const people = 20_000
	c := newCluster(t)
	front := c.node("front", "api", "planner")
	var others []*running
	for i := range 5 {
		others = append(others, c.launch(fmt.Sprint("node", i), []string{"planner", "worker", "worker", "worker", "worker"}[i]))
	}
	for _, r := range others {
		c.await(r)
	}
	front.importPeople(people)
	m := front.must("POST", "/v1/messages", "", `{"channel":"null","audience":{"list":"all"},"content":{},"start":true}`)
	path := "/v1/messages/" + m["id"].(string)
	front.until(path, "phase", "completed")
	var p struct {
		Counts   map[string]int
		Balanced bool
	}
	front.want(http.StatusOK, "GET", path+"/progress", "", "", &p)
	if p.Counts["sent"] != people || p.Counts["doubted"] != 0 || !p.Balanced {
		t.Errorf("%+v", p)
	}
}
