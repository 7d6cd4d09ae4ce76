package lane

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"fanfare"
)

// Broker is a queue's URL, read: scheme://user:password@host:port,host:port/path?option=value. What it prints holds no password.
type Broker struct {
	Scheme   string
	User     *url.Userinfo // nil: none
	Hosts    []string      // with their ports
	Path     string        // without the first slash, unescaped
	settings url.Values
	taken    map[string]bool
}

// ParseBroker reads a queue's URL. Where a host has no port it gets the usual one. An error never holds what was given but the scheme:
// a password may stand anywhere in what cannot be read.
func ParseBroker(raw, port string) (*Broker, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, fmt.Errorf("%w: a queue's URL is written like scheme://host:port", fanfare.ErrUsage)
	}
	wrong := func(what string) error {
		return fmt.Errorf("%w: the queue's URL: %s; write it like %s://user:password@host:%s,host2:%s/name", fanfare.ErrUsage, what, scheme, port, port)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	b := &Broker{Scheme: scheme, taken: make(map[string]bool)}
	user, hosts := "", authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, hosts = authority[:at], authority[at+1:]
	}
	// The list of hosts is no URL's: the standard library reads the rest.
	u, err := url.Parse(scheme + "://" + withAt(user) + "host" + tail)
	if err != nil {
		return nil, wrong("it cannot be read (escape what is special in a password, as %40 for @)")
	}
	if u.Fragment != "" || strings.HasSuffix(raw, "#") {
		return nil, wrong("it has a #; escape it as %23")
	}
	b.User, b.Path = u.User, strings.TrimPrefix(u.Path, "/")
	if b.settings, err = url.ParseQuery(u.RawQuery); err != nil {
		return nil, wrong("what follows ? cannot be read")
	}
	for host := range strings.SplitSeq(hosts, ",") {
		name, number, err := net.SplitHostPort(host)
		if err != nil {
			name, number = strings.Trim(host, "[]"), port
		}
		if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 || name == "" || strings.ContainsAny(name, " \t\r\n\\") ||
			strings.Contains(name, ":") && net.ParseIP(name) == nil {
			return nil, wrong("a host or a port is missing or wrong")
		}
		b.Hosts = append(b.Hosts, net.JoinHostPort(name, number))
	}
	return b, nil
}

func withAt(user string) string {
	if user == "" {
		return ""
	}
	return user + "@"
}

// Setting gives an option of the URL, or what holds without it.
func (b *Broker) Setting(name, otherwise string) string {
	b.taken[name] = true
	if !b.settings.Has(name) {
		return otherwise
	}
	return b.settings.Get(name)
}

// Wrong is the error for an option that cannot be used.
func (b *Broker) Wrong(name, want string) error {
	return fmt.Errorf("%w: the queue's URL %s: %s; %s", fanfare.ErrUsage, b, name, want)
}

// Number gives a whole number among the options.
func (b *Broker) Number(name string, otherwise, least, most int) (int, error) {
	n, err := strconv.Atoi(b.Setting(name, strconv.Itoa(otherwise)))
	if err != nil || n < least || n > most {
		return 0, b.Wrong(name, fmt.Sprintf("it is a number from %d to %d", least, most))
	}
	return n, nil
}

// Rest refuses options that nobody asked for: one that is misspelt would change nothing, silently.
func (b *Broker) Rest() error {
	for name := range b.settings {
		if !b.taken[name] {
			return b.Wrong(name, "there is no such option")
		}
	}
	return nil
}

// String names the broker, without credentials.
func (b *Broker) String() string { return b.Scheme + "://" + strings.Join(b.Hosts, ",") }
