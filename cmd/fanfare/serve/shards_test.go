package serve_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"fanfare"
	"fanfare/cmd/fanfare/serve"
)

// TestTheListOfStoresIsTheInstallations: several empty databases become shards; from then on the same list in the same order is needed.
func TestTheListOfStoresIsTheInstallations(t *testing.T) {
	dir := t.TempDir()
	dsn := func(name string) string { return "sqlite:" + filepath.Join(dir, name+".db") }
	three := []string{dsn("a"), dsn("b"), dsn("c")}
	for range 2 {
		s, err := serve.OpenStore(t.Context(), dir, three, 6, false)
		if err != nil {
			t.Fatal(err)
		}
		if s.Shards() != 3 || s.ShardOf(4) != 1 {
			t.Errorf("%d shards, slot 4 on shard %d", s.Shards(), s.ShardOf(4))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		list []string
		says string
	}{
		{[]string{three[0], three[2], three[1]}, "in this order"}, {three[:2], "3 shards"}, {three[:1], "3 shards"}, {append(three[:2:2], dsn("new")), "empty database"},
		{three[1:2], "the first one first"}, {append([]string{dsn("other")}, three[1:]...), "the first one first"},
	} {
		_, err := serve.OpenStore(t.Context(), dir, c.list, 6, false)
		if !errors.Is(err, fanfare.ErrUsage) && !errors.Is(err, fanfare.ErrConflict) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", c.list, err)
		}
	}
	one, err := serve.OpenStore(t.Context(), dir, []string{dsn("alone")}, 6, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Number(t.Context(), 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.OpenStore(t.Context(), dir, []string{dsn("alone"), dsn("more")}, 6, false); !errors.Is(err, fanfare.ErrUsage) || !strings.Contains(err.Error(), "shards add") {
		t.Errorf("one with data and an empty one: %v", err)
	}
}
