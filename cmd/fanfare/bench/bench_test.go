package bench

import (
	"path/filepath"
	"testing"

	"fanfare"
	"fanfare/plan"
	"fanfare/queues/memory"
)

// TestBareCommitter: the bare loop of delivery journals every person, as the delivery core would: the doctor says so.
func TestBareCommitter(t *testing.T) {
	const n, chunk = 10_007, 8
	data := filepath.Join(t.TempDir(), "data")
	if err := numbered(t.Context(), data, n); err != nil {
		t.Fatal(err)
	}
	began := 0
	records, err := commit(t.Context(), data, chunk, func() { began++ })
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for s := range slots {
		here := n/slots + min(1, max(0, n%slots-s))
		for ; here > 0; here -= min(here, 500) {
			want += (min(here, 500)+chunk-1)/chunk + 1 // the last one holds results only
		}
	}
	if records != want || began != 1 {
		t.Errorf("%d records, want %d", records, want)
	}
	if err := examine(t.Context(), data); err != nil {
		t.Error(err)
	}
}

// TestCharacters: the sets that the row `audience` makes say of everybody what the people are made of, and the doctor agrees.
func TestCharacters(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	want, err := characters(t.Context(), data, 50_000)
	if err != nil {
		t.Fatal(err)
	}
	if err := examine(t.Context(), data); err != nil {
		t.Error(err)
	}
	store, err := open(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // at the end
	got, err := plan.New(plan.Config{Store: store, Queue: memory.New(), Node: "a"}).Count(t.Context(), plan.CountQuery{Audience: []byte(counted), Channel: fanfare.ChannelNull, Topic: "general"})
	if err != nil || got.Recipients != want.Recipients || got.Planned != want.Planned || got.Skipped[fanfare.ReasonUnsubscribed] != want.Skipped["unsubscribed"] ||
		got.Skipped[fanfare.ReasonBounced] != want.Skipped["bounced"] || got.Planned == 0 {
		t.Errorf("counted %+v (%v), want %+v", got, err, want)
	}
}

func TestHTMLIsFiveKilobytes(t *testing.T) {
	if n := len(html()); n < 4_800 || n > 5_300 {
		t.Errorf("%d bytes", n)
	}
}
