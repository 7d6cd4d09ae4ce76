package e2e

import (
	"net/http"
	"testing"

	"fanfare/cmd/fanfare/client"
	"fanfare/servers"
)

// TestBrokerWiped: the broker is killed with all its data twice in the middle of a message, and its tasks are gone with it. What nobody claimed is
// published again: everybody gets the message, once.
func TestBrokerWiped(t *testing.T) {
	t.Parallel()
	const people = 20_000
	broker := servers.Open(t, servers.NATS)
	p := settle(t, "--delay", "2ms")
	p.must(p.Stop())
	p.args = append(p.args, "--queue", broker.URL())
	p.serve()
	p.people(people)
	p.provider(4, nil)
	id := p.send(nil)
	for k := range 2 {
		p.begun(int64(k+1) * people / 4)
		p.must(broker.Wipe())
	}
	p.until(id, "the end", phase("completed"))
	if twice := p.delivered(id, people); twice != 0 {
		t.Errorf("%d got two copies", twice)
	}
	if k := p.balanced(id, people); k.Sent != people || k.Doubted != 0 {
		t.Errorf("%+v", k)
	}
	p.must(broker.Stop())
	var at client.Progress
	p.do(http.MethodGet, "/v1/messages/"+id, nil, &at) // what needs no queue goes on without one
}
