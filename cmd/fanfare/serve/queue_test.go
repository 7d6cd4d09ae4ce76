package serve

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/servers"
)

// TestBrokerThatIsAwayIsWaitedFor: serve starts without it, says so, and goes on when it is there.
func TestBrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	broker := servers.Open(t, servers.NATS)
	if err := broker.Stop(); err != nil {
		t.Fatal(err)
	}
	r := start(t, filepath.Join(t.TempDir(), "data"), Config{Queue: strings.Replace(broker.URL(), "://", "://fanfare:hunter2@", 1)})
	var said map[string]any
	if status := r.do(http.MethodGet, "/readyz", "", "", &said); status != http.StatusServiceUnavailable || !strings.Contains(said["detail"].(string), "queue") {
		t.Errorf("ready without its broker: %d %v", status, said)
	}
	imported := r.must(http.MethodPost, "/v1/imports?list=all", "", threePeople)
	r.until("/v1/imports/"+imported["id"].(string), "state", "done")
	m := r.must(http.MethodPost, "/v1/messages", "", `{"channel":"null","audience":{"list":"all"},"content":{},"start":true}`)
	r.until("/v1/messages/"+m["id"].(string), "phase", "sending")
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	r.until("/v1/messages/"+m["id"].(string), "phase", "completed")
	for began := time.Now(); r.do(http.MethodGet, "/readyz", "", "", nil) != http.StatusOK; {
		if time.Since(began) > time.Minute {
			t.Fatal("never ready")
		}
	}
	r.end()
	if strings.Contains(r.log.String(), "hunter2") {
		t.Error("the log tells the password")
	}
}
