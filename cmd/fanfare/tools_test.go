package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTheImportsProgressSaysWhyItWaits: a full disk on the server once looked like an import that takes long.
func TestTheImportsProgressSaysWhyItWaits(t *testing.T) {
	var state importState
	for _, c := range []struct{ answer, first string }{{`{"state":"running","rows":1200,"waiting":"there is no space left"}`, "waiting: there is no space left"},
		{`{"state":"running","rows":1200,"waiting":null}`, "stored"}} {
		if err := json.Unmarshal([]byte(c.answer), &state); err != nil {
			t.Fatal(err)
		}
		if line := state.progress(); !strings.HasPrefix(line, c.first) || !strings.Contains(line, number(1200)+" rows") {
			t.Errorf("%s: %s", c.answer, line)
		}
	}
}

// TestSummaryNamesWhatWasScanned: why a count took long, and a freeze will.
func TestSummaryNamesWhatWasScanned(t *testing.T) {
	got := (&sendCommand{}).summary(count{Recipients: 3, Planned: 2, Skipped: map[string]int{"no_address": 1}, Scanned: []string{"id", "name"}}, 0)
	if want := "audience 3: 2 will be sent to; skipped: 1 no address; read profile by profile, as they have more than 4,096 values: id, name"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
