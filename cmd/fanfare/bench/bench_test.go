package bench

import (
	"path/filepath"
	"testing"
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

func TestHTMLIsFiveKilobytes(t *testing.T) {
	if n := len(html()); n < 4_800 || n > 5_300 {
		t.Errorf("%d bytes", n)
	}
}
