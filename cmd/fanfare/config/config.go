// Package config reads the configuration file. Every flag of serve is also a key of the file (dashes become underscores) and an
// environment variable FANFARE_NAME; the file has the providers besides. An unknown key is an error that names its line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"

	"fanfare"
)

// File is a configuration file.
type File struct {
	Path      string
	Values    map[string]any // flags
	Providers map[string]Provider
}

// Provider is a section [providers.NAME]. The password may stand in the url, or apart.
type Provider struct {
	Channel     fanfare.ChannelName `toml:"channel"`
	URL         string              `toml:"url"`
	From        string              `toml:"from"`
	Password    string              `toml:"password"` // literal, "env:NAME" or "file:PATH"
	Connections int                 `toml:"connections"`
	Chunk       int                 `toml:"chunk"`
	Rate        float64             `toml:"rate_per_second"`
	Timeout     Duration            `toml:"timeout"`
	Retry       *Retry              `toml:"retry"`
	OnlyTo      []string            `toml:"only_to"`
	Default     bool                `toml:"default"`
	DKIM        *DKIM               `toml:"dkim"`
	Track       Track               `toml:"track"`
	Bounces     string              `toml:"bounces"`
}

// Track says what mail of messages that do not say tells of itself.
type Track struct {
	Opens  bool `toml:"opens"`
	Clicks bool `toml:"clicks"`
}

// DKIM says by what a provider's mail is signed.
type DKIM struct {
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	KeyFile  string `toml:"key_file"` // PEM; relative to the configuration file
}

// Retry is a provider's schedule of temporary refusals.
type Retry struct {
	Attempts int      `toml:"attempts"`
	First    Duration `toml:"first"`
	Most     Duration `toml:"most"`
}

// Duration is written like "60s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is no duration; write it like 60s or 5m", b)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", b)
	}
	*d = Duration(v)
	return nil
}

// Read reads a file; flags names the keys that are flags.
func Read(path string, flags []string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	f := &File{Path: path}
	if err := toml.Unmarshal(b, &f.Values); err != nil {
		return nil, located(path, err)
	}
	delete(f.Values, "providers")
	var providers struct {
		Providers map[string]Provider `toml:"providers"`
	}
	if err := toml.Unmarshal(b, &providers); err != nil {
		return nil, located(path, err)
	}
	f.Providers = providers.Providers
	known := make(map[string]bool, len(flags))
	for _, name := range flags {
		known[key(name)] = true
	}
	for name := range f.Values {
		if !known[name] {
			return nil, fmt.Errorf("%s: unknown key %q; the keys are the flags of fanfare serve with underscores, and [providers.NAME]: %w%s", path, name, fanfare.ErrUsage, near(name, known))
		}
	}
	return f, strictProviders(path, b)
}

// strictProviders refuses keys of a provider that are not known.
func strictProviders(path string, b []byte) error {
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var strict struct {
		Providers map[string]Provider `toml:"providers"`
	}
	err := d.Decode(&strict)
	var missing *toml.StrictMissingError
	if !errors.As(err, &missing) {
		return err
	}
	for i := range missing.Errors {
		k := missing.Errors[i].Key()
		if len(k) > 1 && k[0] == "providers" {
			line, _ := missing.Errors[i].Position()
			return fmt.Errorf("%s:%d: unknown key %q: %w", path, line, strings.Join(k, "."), fanfare.ErrUsage)
		}
	}
	return nil
}

func located(path string, err error) error {
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		return fmt.Errorf("%s:%d:%d: %w: %w", path, line, column, fanfare.ErrUsage, err)
	}
	return fmt.Errorf("%s: %w: %w", path, fanfare.ErrUsage, err)
}

func near(name string, known map[string]bool) string {
	names := make([]string, 0, len(known))
	for k := range known {
		if strings.HasPrefix(k, name[:min(2, len(name))]) {
			names = append(names, k)
		}
	}
	if len(names) == 0 {
		return ""
	}
	sort.Strings(names)
	return " (did you mean " + strings.Join(names, " or ") + "?)"
}

func key(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// Resolver gives the file's values to flags that neither the command line nor the environment sets.
func (f *File) Resolver() kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, env := range flag.Envs {
			if _, set := os.LookupEnv(env); set {
				return nil, nil
			}
		}
		return f.Values[key(flag.Name)], nil
	})
}

// Provider gives a section as the rest of the program knows it, with its secrets.
func (f *File) Provider(name string) (fanfare.Provider, error) {
	c := f.Providers[name]
	p := fanfare.Provider{Name: name, Channel: c.Channel, URL: c.URL, From: c.From, Connections: c.Connections, Chunk: c.Chunk, Rate: c.Rate,
		Timeout: time.Duration(c.Timeout), OnlyTo: c.OnlyTo, Default: c.Default, Track: fanfare.Track(c.Track), Bounces: c.Bounces, Retry: fanfare.DefaultRetry()}
	if r := c.Retry; r != nil {
		if r.Attempts > 0 {
			p.Retry.Attempts = r.Attempts
		}
		if r.First > 0 {
			p.Retry.First = time.Duration(r.First)
		}
		if r.Most > 0 {
			p.Retry.Most = time.Duration(r.Most)
		}
	}
	secret, err := f.secret(c.Password)
	if err == nil {
		p.URL, err = withPassword(p.URL, secret)
	}
	if err == nil && c.DKIM != nil {
		p.DKIM, err = f.dkim(*c.DKIM)
	}
	if err != nil {
		return p, fmt.Errorf("%s: providers.%s: %w", f.Path, name, err)
	}
	return p, nil
}

// dkim reads the key; whether it fits is for the channel to say.
func (f *File) dkim(c DKIM) (fanfare.DKIM, error) {
	if c.KeyFile == "" {
		return fanfare.DKIM{}, errors.New(`dkim: key_file is missing; write dkim = { domain = "example.org", selector = "s1", key_file = "dkim.pem" }`)
	}
	key, err := os.ReadFile(f.beside(c.KeyFile))
	if err != nil {
		return fanfare.DKIM{}, fmt.Errorf("dkim: key_file: %w; give a file that this account may read, or make one: openssl genrsa -out %s 2048", err, c.KeyFile)
	}
	return fanfare.DKIM{Domain: c.Domain, Selector: c.Selector, Key: string(key)}, nil
}

// beside gives a path as it is meant in the file: relative to it.
func (f *File) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.Path), path)
}

func (f *File) secret(s string) (string, error) {
	if name, ok := strings.CutPrefix(s, "env:"); ok {
		v, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("password: the environment has no %s", name)
		}
		return v, nil
	}
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		b, err := os.ReadFile(f.beside(path))
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	return s, nil
}
