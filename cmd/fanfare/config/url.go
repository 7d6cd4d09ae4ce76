package config

import (
	"errors"
	"net/url"
)

// withPassword puts a password that is kept apart into a provider's URL.
func withPassword(raw, password string) (string, error) {
	if password == "" {
		return raw, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("url cannot be read; write it like smtp://user@host:port")
	}
	if u.User == nil || u.User.Username() == "" {
		return "", errors.New("password is given, but the url names no user; write it like smtp://user@host:port")
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}
