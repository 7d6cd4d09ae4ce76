package e2e

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fanfare/cmd/fanfare/spawn"
	"fanfare/servers"
)

// fleet is several nodes on one database and one broker, each a process with a folder of its own. The place is that of the first one, which answers.
type fleet struct {
	*place
	dir   string
	args  []string
	roles map[string]string // by node
	nodes map[string]*spawn.Server
}

// settleNodes starts two planners and two workers behind one node that answers.
func settleNodes(t *testing.T, sinkArgs ...string) *fleet {
	t.Helper()
	broker := servers.Open(t, servers.NATS)
	f := &fleet{dir: t.TempDir(), nodes: make(map[string]*spawn.Server),
		roles: map[string]string{"planner1": "planner", "planner2": "planner", "worker1": "worker", "worker2": "worker"}}
	f.args = []string{"--store", "sqlite:" + filepath.Join(f.dir, "shared.db"), "--queue", broker.URL(), "--master-key", base64.StdEncoding.EncodeToString(make([]byte, 32))}
	f.place = &place{t: t, exe: program(t), data: filepath.Join(f.dir, "front"), args: append(slices.Clone(f.args), "--roles", "api", "--node", "front")}
	var err error
	f.sink, err = spawn.StartSink(ctx(t), f.exe, sinkArgs...)
	f.must(err)
	t.Cleanup(func() {
		if err := f.sink.Stop(); err != nil {
			t.Error(err)
		}
	})
	f.serve()
	t.Cleanup(f.stopAll)
	started := make(map[string]chan *spawn.Server)
	for name := range f.roles {
		started[name] = make(chan *spawn.Server, 1)
		go func() {
			s, err := f.launch(name)
			if err != nil {
				t.Error(err)
			}
			started[name] <- s
		}()
	}
	for name, s := range started {
		f.nodes[name] = <-s
	}
	if t.Failed() {
		t.FailNow()
	}
	return f
}

func (f *fleet) launch(name string) (*spawn.Server, error) {
	return spawn.Serve(ctx(f.t), f.exe, filepath.Join(f.dir, name), "127.0.0.1:0", nil, append(slices.Clone(f.args), "--roles", f.roles[name], "--node", name)...)
}

// again starts a node that has ended.
func (f *fleet) again(name string) {
	f.t.Helper()
	s, err := f.launch(name)
	f.must(err)
	f.nodes[name] = s
}

func (f *fleet) stopAll() {
	for _, s := range append(slices.Collect(maps.Values(f.nodes)), f.Server) {
		if s != nil {
			if err := s.Stop(); err != nil {
				f.t.Error(err)
			}
		}
	}
}

func (f *fleet) names() []string { return slices.Sorted(maps.Keys(f.roles)) }

// TestNodes: two planners and two workers send one message while every node is restarted in order, one after another: nobody is lost, doubled or
// doubted. Then another one while each role is killed: whoever got two is doubted. A pause is heard by all within a second.
func TestNodes(t *testing.T) {
	t.Parallel()
	const people, rate, connections = 3000, 200, 4
	f := settleNodes(t, "--delay", "30ms")
	f.people(people)
	f.provider(connections, nil)
	id := f.send(limit(rate))
	f.begun(people / 20)
	for _, name := range f.names() {
		f.must(f.nodes[name].Stop())
		if code := f.nodes[name].ExitCode(); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM: %s", name, code, f.nodes[name].Said())
		}
		f.again(name)
	}
	f.must(f.Stop())
	f.serve()
	if g := f.until(id, "the end", phase("completed")); g.Counts.Sent != people || g.Counts.Doubted != 0 || !g.Balanced {
		t.Errorf("after the restarts: %+v", g)
	}
	if twice := f.delivered(id, people); twice != 0 {
		t.Errorf("%d got two copies", twice)
	}

	second := f.send(map[string]any{"rate": rate, "name": "second"})
	before := f.counts().Begun
	for k, name := range f.names() {
		f.begun(before + int64(k+1)*people/8)
		f.must(f.nodes[name].Kill())
		f.again(name)
	}
	f.must(f.Kill())
	f.serve()
	called := time.Now()
	f.do(http.MethodPost, "/v1/messages/"+second+"/pause", nil, nil)
	f.silent(called)
	f.do(http.MethodPost, "/v1/messages/"+second+"/resume", nil, nil)
	g := f.until(second, "the end", phase("completed"))
	if g.Counts.Sent+g.Counts.Uncertain != people || !g.Balanced || g.Counts.Doubted > 2*connections*chunk {
		t.Errorf("after the kills: %+v", g)
	}
	ledger, items, doubted := f.ledger(), f.items(second, nil), f.items(second, url.Values{"doubted": {"true"}})
	twice := 0
	for i := range people {
		who, address := person(i)
		copies := ledger[address].Copies - 1 // the first message's
		_, doubt := doubted[who]
		if it := items[who]; it.Result == "sent" && copies < 1 || copies > 2 || copies == 2 && !doubt {
			t.Errorf("%s got %d copies, doubted %v: %+v", who, copies, doubt, it)
		}
		if copies == 2 {
			twice++
		}
	}
	t.Logf("%d doubted, %d of them got two copies", g.Counts.Doubted, twice)
	var nodes struct {
		Items []struct {
			Name  string
			Alive bool
		}
	}
	f.do(http.MethodGet, "/v1/nodes", nil, &nodes)
	for _, n := range nodes.Items {
		if !n.Alive {
			t.Errorf("%s is not alive", n.Name)
		}
	}
	f.stopAll()
	if code, out := f.run(nil, append([]string{"doctor", "--data", f.data}, f.args[:2]...)...); code != 0 {
		t.Errorf("doctor: exit %d\n%s", code, out)
	}
	f.nodes, f.Server = nil, nil
}
