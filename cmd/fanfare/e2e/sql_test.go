package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/cmd/fanfare/client"
)

// TestSQL asks the file of a stopped server with SQLite's own program: messages and message_items are what the API said, item by item.
func TestSQL(t *testing.T) {
	t.Parallel()
	sqlite, err := exec.LookPath("sqlite3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("sqlite3 is not on PATH; scripts/servers.sh installs it")
		}
		t.Skip("sqlite3 is not on PATH: install it (Debian: apt-get install sqlite3)")
	}
	const people = 100_000
	p := settle(t)
	p.people(people)
	p.do(http.MethodPut, "/v1/recipients/nowhere", map[string]any{}, nil) // has no address
	p.do(http.MethodPost, "/v1/lists/everyone/members", map[string]any{"add": []string{"nowhere"}}, nil)
	for i := range 20 {
		who, _ := person(7 * i)
		p.do(http.MethodPost, "/v1/suppressions", map[string]any{"recipient": who, "channel": "email", "reason": []string{"bounced", "complained"}[i%2]}, nil)
	}
	p.provider(8, map[string]any{"url": "sandbox:?fail=2%&temporary=3%&unknown=1%", "retry": map[string]any{"attempts": 1}})
	ids := []string{p.send(map[string]any{"uncertain": "hold"})}
	p.until(ids[0], "some sends", func(g client.Progress) bool { return g.Counts.Sent > people/20 })
	p.must(p.Kill())
	p.serve()
	p.until(ids[0], "the end", phase("completed"))
	for _, action := range []string{"cancel", "pause"} {
		id := p.send(limit(2000))
		ids = append(ids, id)
		p.until(id, "some sends", func(g client.Progress) bool { return g.Counts.Sent > 500 })
		p.do(http.MethodPost, "/v1/messages/"+id+"/"+action, nil, nil)
		p.until(id, action, func(g client.Progress) bool { return g.Phase == "cancelled" || g.Phase == "paused" })
	}
	inbox := p.send(map[string]any{"channel": "inbox", "content": map[string]string{"title": "Hello", "body": "Dear all"}})
	ids = append(ids, inbox)
	p.until(inbox, "the end", phase("completed"))
	for at, id := range map[int]string{0: ids[0], 30_000: inbox} {
		for k, kind := range []string{"delivered", "read", "unread", "clicked"} {
			var told []map[string]any
			for i := range 8000 {
				who, _ := person(at + 5000*k + i)
				r := map[string]any{"message": id, "recipient": who, "kind": kind}
				if i%3 == 0 {
					r["at"] = time.Now().Add(time.Duration(i) * time.Millisecond)
				}
				told = append(told, r)
			}
			p.do(http.MethodPost, "/v1/receipts", map[string]any{"receipts": told}, nil)
		}
	}
	gone, _ := person(123)
	p.do(http.MethodDelete, "/v1/recipients/"+gone, nil, nil)

	want, messages, seen := make(map[string][]string), []string(nil), make(map[string]int)
	for _, id := range ids {
		var m struct {
			ID, Name, Channel, Phase string
			Status                   int
			CreatedAt                string  `json:"created_at"`
			StartedAt                *string `json:"started_at"`
			FinishedAt               *string `json:"finished_at"`
		}
		p.do(http.MethodGet, "/v1/messages/"+id, nil, &m)
		messages = append(messages, line(t, m.ID, m.Name, m.Channel, m.Status, m.Phase, m.CreatedAt, m.StartedAt, m.FinishedAt))
		want[id] = p.exported(id, seen)
	}
	slices.Sort(messages)
	for _, what := range []string{"sent", "failed permanent", "failed temporary_exhausted", "uncertain no_answer", "skipped no_address", "skipped bounced", "skipped complained", "skipped cancelled",
		"pending", "doubted", "delivered", "read", "nobody"} {
		if seen[what] == 0 {
			t.Errorf("nobody is %s: this shows nothing of it", what)
		}
	}
	p.must(p.Stop())
	ask := func(query string) []string {
		out, err := exec.CommandContext(t.Context(), sqlite, "-readonly", "-batch", filepath.Join(p.data, "fanfare.db"), query).Output() //nolint:gosec // a test's own query
		p.must(err)
		lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		slices.Sort(lines)
		return lines
	}
	if got := ask("SELECT json_array(id, name, channel, status, phase, created_at, started_at, finished_at) FROM messages"); !slices.Equal(got, messages) {
		t.Errorf("messages:\n%s\nthe API:\n%s", strings.Join(got, "\n"), strings.Join(messages, "\n"))
	}
	for _, id := range ids {
		got := ask("SELECT json_array(recipient, result, reason, code, text, attempts, doubted, sent_at, delivered_at, read, read_at) FROM message_items WHERE message_id = '" + id + "'")
		if slices.Equal(got, want[id]) {
			continue
		}
		t.Errorf("message %s: %d items by SQL, %d by the API, and they differ", id, len(got), len(want[id]))
		for i := range min(len(got), len(want[id])) {
			if got[i] != want[id][i] {
				t.Errorf("by SQL  %s\nthe API %s", got[i], want[id][i])
				break
			}
		}
	}
}

// exported gives the items of a message as the API has them, a line each, and counts what there is.
func (p *place) exported(id string, seen map[string]int) (lines []string) {
	p.t.Helper()
	r, err := p.Send(ctx(p.t), http.MethodGet, "/v1/messages/"+id+"/items/export", "", nil, nil)
	p.must(err)
	defer r.Body.Close() //nolint:errcheck // read to its end
	all := bufio.NewScanner(r.Body)
	for all.Scan() {
		var it struct {
			Recipient                  *string
			Result, Reason, Code, Text string
			Attempts, Doubted          int
			SentAt                     *string `json:"sent_at"`
			DeliveredAt                *string `json:"delivered_at"`
			ReadAt                     *string `json:"read_at"`
		}
		p.must(json.Unmarshal(all.Bytes(), &it))
		read := 0
		if it.ReadAt != nil {
			read = 1
		}
		lines = append(lines, line(p.t, it.Recipient, it.Result, it.Reason, it.Code, it.Text, it.Attempts, it.Doubted, it.SentAt, it.DeliveredAt, read, it.ReadAt))
		for what, is := range map[string]bool{strings.TrimSpace(it.Result + " " + it.Reason): true, "doubted": it.Doubted > 0, "delivered": it.DeliveredAt != nil, "read": read > 0, "nobody": it.Recipient == nil} {
			if is {
				seen[what]++
			}
		}
	}
	p.must(all.Err())
	slices.Sort(lines)
	return lines
}

// line writes values as SQLite's json_array does.
func line(t *testing.T, values ...any) string {
	t.Helper()
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
