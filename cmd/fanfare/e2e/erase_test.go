package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestErase: people who are erased in the middle of a message to them get nothing more, and of their ids and addresses no byte stays in the
// data folder: within a minute, though the server was killed right after the answer, and at once at a clean stop. The next import refuses them.
func TestErase(t *testing.T) {
	t.Parallel()
	const people, every = 6_000, 50
	p := settle(t, "--delay", "2ms", "--refuse", "5%")
	p.people(people)
	p.provider(8, nil)
	id := p.send(map[string]any{"rate": 400})
	p.begun(people / 4)
	erase := func(first int) {
		var ids []string
		for i := first; i < people; i += every {
			who, _ := person(i)
			ids = append(ids, who)
		}
		var done struct{ Erased int }
		p.do(http.MethodPost, "/v1/recipients/erase", map[string]any{"external_ids": ids}, &done)
		if done.Erased != len(ids) {
			t.Errorf("%d of %d are erased", done.Erased, len(ids))
		}
	}
	if len(p.traces(0, people, every)) == 0 {
		t.Fatal("the search finds nothing before the erasure")
	}
	erase(0)
	p.must(p.Kill())
	p.serve()
	p.must(p.Until(ctx(t), "no trace of the erased", time.Second, func() (bool, error) { return len(p.traces(0, people, every)) == 0, nil }))
	p.until(id, "the end", phase("completed"))
	erase(1)
	p.must(p.Stop())
	for _, first := range []int{0, 1} {
		if found := p.traces(first, people, every); len(found) > 0 {
			t.Errorf("after a clean stop: %s", found)
		}
	}
	p.serve()
	var skipped struct {
		Items []struct{ Recipient *string }
	}
	p.do(http.MethodGet, "/v1/messages/"+id+"/items?result=skipped&reason=erased&limit=1000", nil, &skipped)
	for _, it := range skipped.Items {
		if it.Recipient != nil {
			t.Errorf("%s is skipped as erased", *it.Recipient)
		}
	}
	if len(skipped.Items) == 0 {
		t.Error("nobody who was pending was skipped as erased")
	}
	if state := p.imported(people); state.State != "done" || state.Created != 0 || state.Failed != 2*people/every {
		t.Errorf("the next import: %+v", state)
	}
	p.balanced(id, people)
	if found := p.traces(0, people, every); len(found) > 0 {
		t.Errorf("after the next import: %s", found)
	}
}

// traces lists the files of the data folder that hold the id or the address of some people.
func (p *place) traces(first, n, every int) (found []string) {
	p.t.Helper()
	gone := make(map[string]bool)
	for i := first; i < n; i += every {
		_, address := person(i)
		gone[address] = true
	}
	p.must(filepath.WalkDir(p.data, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // it went meanwhile
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return nil //nolint:nilerr // it went meanwhile
		}
		const host = "@people.example"
		for at := 0; ; {
			next := bytes.Index(content[at:], []byte(host))
			if next < 0 {
				return nil
			}
			at += next
			from := at
			for from > 0 && (content[from-1] >= '0' && content[from-1] <= '9') {
				from--
			}
			if from > 0 && content[from-1] == 'u' && gone[string(content[from-1:at])+host] {
				found = append(found, fmt.Sprintf("%s: %s at %d", filepath.Base(name), content[from-1:at+len(host)], from-1))
				return nil
			}
			at += len(host)
		}
	}))
	return found
}
