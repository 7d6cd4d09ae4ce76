package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fanfare.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func flags() []string { return []string{"listen", "public-url", "store"} }

func TestRead(t *testing.T) {
	f, err := Read(write(t, `
listen = "127.0.0.1:1"
public_url = "https://x.example"
[providers.mail]
channel = "email"
url = "smtp://user@mail.example.org"
password = "env:CONFIG_TEST_PASSWORD"
from = "a@example.org"
connections = 4
rate_per_second = 2.5
timeout = "60s"
retry = { attempts = 3, first = "1s" }
only_to = ["*@example.com"]
default = true
[providers."中文"]
channel = "null"
`), flags())
	if err != nil {
		t.Fatal(err)
	}
	if f.Values["listen"] != "127.0.0.1:1" || f.Values["public_url"] != "https://x.example" || len(f.Providers) != 2 {
		t.Errorf("%+v", f)
	}
	t.Setenv("CONFIG_TEST_PASSWORD", "p@ss/word")
	p, err := f.Provider("mail")
	if err != nil {
		t.Fatal(err)
	}
	if p.URL != "smtp://user:p%40ss%2Fword@mail.example.org" || p.Connections != 4 || p.Rate != 2.5 || p.Timeout != time.Minute || !p.Default ||
		p.Retry != (fanfare.Retry{Attempts: 3, First: time.Second, Most: time.Hour}) || len(p.OnlyTo) != 1 || p.Name != "mail" {
		t.Errorf("%+v", p)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]string{
		"plain": "smtp://u:plain@h", "file:secret": "smtp://u:from%20a%20file@h", "file:" + filepath.Join(dir, "secret"): "smtp://u:from%20a%20file@h", "": "smtp://u@h",
	} {
		f := &File{Path: filepath.Join(dir, "f.toml"), Providers: map[string]Provider{"m": {URL: "smtp://u@h", Password: password}}}
		if p, err := f.Provider("m"); err != nil || p.URL != want {
			t.Errorf("%q: %s, %v", password, p.URL, err)
		}
	}
	for _, c := range []Provider{{URL: "smtp://u@h", Password: "env:CONFIG_TEST_NOTHING"}, {URL: "smtp://u@h", Password: "file:nothing"}, {URL: "smtp://h", Password: "hidden"}} {
		f := &File{Path: "f.toml", Providers: map[string]Provider{"m": c}}
		if _, err := f.Provider("m"); err == nil || !strings.Contains(err.Error(), "f.toml: providers.m: ") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"lisen = 1":                                     `unknown key "lisen"`,
		"storre = 1":                                    "did you mean store?",
		"listen = ":                                     ":1:",
		"\n[providers.m]\ncolour = 1":                   `:3: unknown key "providers.m.colour"`,
		"[providers.m]\ntimeout = \"soon\"":             "60s",
		"[providers.m]\ntimeout = \"-1s\"":              "negative",
		"[providers.m]\nconnections = \"x\"":            ":2:",
		"[providers.m.retry]\nfirst = \"1h\"\nlast = 2": `unknown key "providers.m.retry.last"`,
	} {
		_, err := Read(write(t, text), flags())
		if !errors.Is(err, fanfare.ErrUsage) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "fanfare.toml") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.toml"), flags()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// TestDKIM: the key is the file's content, wherever the server was started; a file that is not there is told with what to do.
func TestDKIM(t *testing.T) {
	path := write(t, `
[providers.mail]
dkim = { domain = "example.org", selector = "s1", key_file = "dkim.pem" }
[providers.gone]
dkim = { domain = "example.org", selector = "s1", key_file = "gone.pem" }
[providers.none]
dkim = { domain = "example.org", selector = "s1" }
`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "dkim.pem"), []byte("the key"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path, flags())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := f.Provider("mail"); err != nil || p.DKIM != (fanfare.DKIM{Domain: "example.org", Selector: "s1", Key: "the key"}) {
		t.Errorf("%+v, %v", p.DKIM, err)
	}
	for name, says := range map[string]string{"gone": "openssl genrsa -out gone.pem", "none": "key_file is missing"} {
		if _, err := f.Provider(name); err == nil || !strings.Contains(err.Error(), "providers."+name+": dkim: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(write(t, "[providers.mail]\ndkim = { domain = \"x\", key = \"y\" }\n"), flags()); err == nil || !strings.Contains(err.Error(), ".key") {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestTrack(t *testing.T) {
	f, err := Read(write(t, "[providers.mail]\ntrack = { clicks = true }\n[providers.other]\n"), flags())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fanfare.Track{"mail": {Clicks: true}, "other": {}} {
		if p, err := f.Provider(name); err != nil || p.Track != want {
			t.Errorf("%s: %+v, %v", name, p.Track, err)
		}
	}
}
