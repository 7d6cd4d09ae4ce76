package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/servers"
)

// TestPostgreSQL: a message on PostgreSQL, with the node killed and the database crashed in the middle of it: nobody is lost, whoever got two copies is
// doubted. While the database is away the node is not ready. A copy of the data on another server sends nothing by itself.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	const people, connections = 8_000, 8
	server := servers.Open(t, servers.PostgreSQL)
	dsn := server.Database(t)
	p := settleOn(t, dsn, "--delay", "2ms")
	p.people(people)
	p.provider(connections, nil)
	id := p.send(nil)
	start := func() { // what its processes shared may be in use for a moment still
		var err error
		for range 200 {
			if err = server.Start(); err == nil {
				return
			}
		}
		t.Fatal(err)
	}
	ready := func() int {
		r, err := http.Get(p.URL + "/readyz")
		p.must(err)
		p.must(r.Body.Close())
		return r.StatusCode
	}
	for k, breaks := range []func(){
		func() { p.must(p.Kill()); p.serve() },
		func() {
			server.Crash()
			p.must(p.Until(ctx(t), "the node is not ready", 20*time.Millisecond, func() (bool, error) { return ready() == http.StatusServiceUnavailable, nil }))
			start()
			p.must(p.Until(ctx(t), "the node is ready", 20*time.Millisecond, func() (bool, error) { return ready() == http.StatusOK, nil }))
		},
		func() { p.must(p.Kill()); server.Crash(); start(); p.serve() },
		func() { p.must(server.Restart()) },
	} {
		p.begun(int64(k+1) * people / 6)
		breaks()
	}
	p.must(p.Until(ctx(t), "the end", 50*time.Millisecond, func() (bool, error) { return p.progress(id).Phase == "completed", nil }))
	twice := p.delivered(id, people)
	k := p.balanced(id, people)
	if k.Sent+k.Uncertain != people || k.Doubted == 0 || k.Doubted > 4*connections*chunk {
		t.Errorf("%+v", k)
	}
	t.Logf("%d doubted, %d of them got two copies, %d uncertain", k.Doubted, twice, k.Uncertain)

	for words, args := range map[string][]string{
		"back it up with the database's own means": {"backup", "copy.db"},
		"synchronous_commit = off":                 {"migrate"},
		"own now":                                  {"adopt"},
		"those of this version":                    {"migrate"},
	} {
		at := dsn
		if strings.HasPrefix(words, "synchronous") {
			at += "&options=-c%20synchronous_commit%3Doff"
		}
		if args[0] == "adopt" {
			p.must(p.Stop())
		}
		code, out := p.run(nil, append(args, "--data", p.data, "--store", at)...)
		if fails := args[0] == "backup" || at != dsn; !strings.Contains(out, words) || fails != (code != 0) {
			t.Errorf("fanfare %v: exit %d: %s", args, code, out)
		}
		if args[0] == "adopt" {
			p.serve()
		}
	}
}
