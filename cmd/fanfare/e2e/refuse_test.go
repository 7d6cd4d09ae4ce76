package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/sink"
)

// TestRefusals: 1 % are refused for good and 1 % for now. Each of them is listed with reason, code and text; those refused for now are
// tried again and sent. Who they are the sink's configuration says.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const people = 5_000
	p := settle(t, "--refuse", "1%", "--temporary", "1%")
	p.people(people)
	p.provider(8, map[string]any{"retry": map[string]any{"attempts": 4, "first": "200ms", "most": "1s"}})
	id := p.send(nil)
	p.until(id, "the end", phase("completed"))
	failed, all := p.items(id, url.Values{"result": {"failed"}}), p.items(id, nil)
	judge := sink.Config{Refuse: 0.01, Temporary: 0.01}
	refused, late := 0, 0
	for i := range people {
		who, address := person(i)
		it := all[who]
		switch judge.Verdict(address) {
		case sink.RefusedForGood:
			refused++
			if f, listed := failed[who]; !listed || f.Reason != "permanent" || f.Code != "550 5.1.1" || !strings.Contains(f.Text, "refuses this address for good") {
				t.Errorf("%s was refused for good, and is listed as %+v", who, f)
			}
		case sink.RefusedAtFirst:
			late++
			if it.Result != "sent" || it.Attempts != 2 {
				t.Errorf("%s was refused at first, and is %+v", who, it)
			}
		default:
			if it.Result != "sent" || it.Attempts != 1 {
				t.Errorf("%s was taken at once, and is %+v", who, it)
			}
		}
	}
	if refused == 0 || late == 0 || len(failed) != refused {
		t.Errorf("%d refused, %d listed as failed, %d refused at first", refused, len(failed), late)
	}
	var groups []struct {
		Reason, Code, Sample string
		Count                int
	}
	p.do(http.MethodGet, "/v1/messages/"+id+"/failures", nil, &groups)
	if len(groups) != 1 || groups[0].Count != refused || groups[0].Reason != "permanent" {
		t.Errorf("failures: %+v", groups)
	}
	if twice := p.delivered(id, people); twice != 0 {
		t.Errorf("%d got two copies", twice)
	}
	if k := p.balanced(id, people); k.Failed != refused || k.Sent != people-refused || k.Doubted != 0 {
		t.Errorf("%+v", k)
	}
}

// TestMailServerDown: down at the start, then answering 421, then up. Nobody is used up, the message says why it waits, all are sent.
func TestMailServerDown(t *testing.T) {
	t.Parallel()
	const people = 2_000
	p := settle(t)
	p.people(people)
	p.must(p.sink.Mode(ctx(t), true, false))
	p.provider(8, map[string]any{"retry": map[string]any{"attempts": 2, "first": "100ms"}})
	id := p.send(nil)
	g := p.until(id, "waiting for the mail server", waiting("provider_down"))
	if g.Waiting.Provider != "mail" || g.Waiting.Detail == "" || g.Counts.Sent != 0 || g.Counts.Failed != 0 {
		t.Errorf("%+v", g)
	}
	p.must(p.sink.Mode(ctx(t), false, true))
	p.until(id, "waiting because of 421", func(g client.Progress) bool {
		return g.Waiting != nil && g.Waiting.Reason == "provider_down" && strings.Contains(g.Waiting.Detail, "421")
	})
	p.must(p.sink.Mode(ctx(t), false, false))
	p.until(id, "the end", phase("completed"))
	for who, it := range p.items(id, nil) {
		if it.Result != "sent" || it.Attempts != 1 {
			t.Fatalf("%s: %+v", who, it)
		}
	}
	if twice := p.delivered(id, people); twice != 0 {
		t.Errorf("%d got two copies", twice)
	}
	if k := p.balanced(id, people); k.Sent != people || k.Doubted != 0 {
		t.Errorf("%+v", k)
	}
}

// TestMailServerFails: the mail server answers 421 and then is cut off in the middle of a message: nobody is failed for it.
func TestMailServerFails(t *testing.T) {
	t.Parallel()
	const people = 6_000
	p := settle(t, "--delay", "2ms")
	p.people(people)
	p.provider(8, nil)
	id := p.send(nil)
	p.begun(people / 4)
	p.must(p.sink.Mode(ctx(t), false, true))
	p.until(id, "waiting because of 421", waiting("provider_down"))
	p.must(p.sink.Mode(ctx(t), false, false))
	p.begun(people / 2)
	p.must(p.sink.Mode(ctx(t), true, false))
	p.until(id, "waiting for the mail server", waiting("provider_down"))
	p.must(p.sink.Mode(ctx(t), false, false))
	p.until(id, "the end", phase("completed"))
	p.delivered(id, people)
	if k := p.balanced(id, people); k.Sent+k.Uncertain != people || k.Failed != 0 || k.Doubted > 2*8*chunk {
		t.Errorf("%+v", k)
	}
}

// TestUnsubscribe: the List-Unsubscribe link of a received mail works with one POST, and the next message skips that person;
// the first one counts them, also when the server is killed right after its answer.
func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	p := settle(t)
	p.people(3)
	p.provider(2, nil)
	first := p.send(nil)
	p.until(first, "the end", phase("completed"))
	kept, err := p.sink.Messages(ctx(t), 10)
	p.must(err)
	_, address := person(1)
	link := ""
	for _, m := range kept {
		if m.To[0] == address {
			raw := strings.ReplaceAll(m.Raw, "\r\n ", " ")
			if !strings.Contains(raw, "\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") {
				t.Errorf("no List-Unsubscribe-Post in\n%s", raw)
			}
			if found := regexp.MustCompile(`\nList-Unsubscribe:\s*<(http[^>]+)>`).FindStringSubmatch(raw); found != nil {
				link = found[1]
			}
		}
	}
	if link == "" {
		t.Fatalf("no link in %+v", kept)
	}
	if code, said := post(t, link, "application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"); code != http.StatusOK {
		t.Fatalf("%s: %d %s", link, code, said)
	}
	p.must(p.Kill())
	p.serve()
	if n := p.progress(first).Counts.Unsubscribed; n != 1 {
		t.Errorf("%d unsubscribed", n)
	}
	second := p.send(nil)
	p.until(second, "the end", phase("completed"))
	for i := range 3 {
		who, address := person(i)
		it, copies := p.items(second, nil)[who], p.ledger()[address].Copies
		if i == 1 && (it.Result != "skipped" || it.Reason != "unsubscribed" || copies != 1) || i != 1 && (it.Result != "sent" || copies != 2) {
			t.Errorf("%s: %+v, %d copies", who, it, copies)
		}
	}
	if code, _ := post(t, p.URL+"/u/nonsense", "application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"); code != http.StatusNotFound {
		t.Errorf("an unknown token answers %d", code)
	}
	p.balanced(second, 3)
}
