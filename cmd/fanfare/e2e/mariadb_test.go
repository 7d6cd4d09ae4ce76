package e2e

import (
	"strings"
	"testing"
	"time"

	"fanfare/servers"
)

// TestMariaDB: a message on MariaDB, with the node killed and the database crashed in the middle of it: nobody is lost, whoever got two copies is doubted.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	const people, connections = 4_000, 8
	server := servers.Open(t, servers.MariaDB)
	url := server.Database(t)
	p := settleOn(t, url, "--delay", "2ms")
	p.people(people)
	p.provider(connections, nil)
	id := p.send(nil)
	for k, breaks := range []func(){
		func() { p.must(p.Kill()); p.serve() },
		func() { server.Crash(); p.must(server.Start()) },
		func() { p.must(p.Kill()); server.Crash(); p.must(server.Start()); p.serve() },
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

	_, err := server.SQL("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
	p.must(err)
	if code, out := p.run(nil, "migrate", "--data", p.data, "--store", url); code == 0 || !strings.Contains(out, "set innodb_flush_log_at_trx_commit = 1") {
		t.Errorf("exit %d: %s", code, out)
	}
	_, err = server.SQL("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
	p.must(err)
	p.doctor()
}
