package config

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestSize(t *testing.T) {
	for s, want := range map[string]Size{"256MB": 256 << 20, "256 MiB": 256 << 20, "1g": 1 << 30, "1048576": 1 << 20, "2048kb": 2 << 20, "4194304B": 4 << 20, " 5M ": 5 << 20, "1024GB": 1 << 40} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for s, says := range map[string]string{"": "256MB", "MB": "256MB", "-1MB": "256MB", "1.5GB": "256MB", "256TB": "256MB", "lots": "256MB", "0": "at least 1MB", "1023KB": "at least 1MB",
		"1025GB": "at most", "99999999999999999999999": "at most", "18446744073709551615GB": "at most", "1x\x00MB": "256MB", "0x100000": "256MB", "١MB": "256MB"} {
		if got, err := ParseSize(s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %d, %v, want %q", s, got, err, says)
		}
	}
}

// TestSizeFromEverywhere: the flag, then the environment, then the file, as a text or a number.
func TestSizeFromEverywhere(t *testing.T) {
	parse := func(file string, args ...string) (Size, error) {
		t.Helper()
		f, err := Read(write(t, file), []string{"cache-bytes"})
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			CacheBytes Size `default:"256MB"`
		}
		p, err := kong.New(&c, kong.DefaultEnvars("CONFIG_TEST"), kong.Resolvers(f.Resolver()))
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Parse(args)
		return c.CacheBytes, err
	}
	check := func(want Size, file string, args ...string) {
		t.Helper()
		if got, err := parse(file, args...); err != nil || got != want {
			t.Errorf("%q, %q: %d, %v, want %d", file, args, got, err, want)
		}
	}
	check(256<<20, "")
	check(3<<20, `cache_bytes = "3MB"`)
	check(3<<20, `cache_bytes = 3145728`)
	check(5<<20, `cache_bytes = "3MB"`, "--cache-bytes=5MB")
	for _, bad := range []string{`cache_bytes = "much"`, "cache_bytes = 1", "cache_bytes = true", "cache_bytes = 2.5", "cache_bytes = [1]"} {
		if got, err := parse(bad); err == nil || !strings.Contains(err.Error(), "MB") || !strings.Contains(err.Error(), "cache-bytes") {
			t.Errorf("%s: %d, %v", bad, got, err)
		}
	}
	t.Setenv("CONFIG_TEST_CACHE_BYTES", "4MB")
	check(4<<20, `cache_bytes = "3MB"`)
	check(5<<20, "", "--cache-bytes=5MB")
}
