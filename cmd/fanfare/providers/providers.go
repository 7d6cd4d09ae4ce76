// Package providers knows all providers of an installation: those of the configuration file and those kept in the database, whose URLs
// (they hold passwords) and DKIM keys are sealed at rest with AES-256-GCM.
package providers

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fanfare"
)

const sealed = "sealed:"

// dkim is behind the name that a key is sealed for: no provider has such a name, and none of its secrets opens as another.
const dkim = "\x00dkim"

// Book is the list of providers.
type Book struct {
	store fanfare.Control
	aead  cipher.AEAD
	file  []fanfare.Provider
}

// New makes a book; file are the providers of the configuration file, key the 32-byte master key.
func New(store fanfare.Control, key []byte, file []fanfare.Provider) (*Book, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return &Book{store: store, aead: aead, file: file}, nil
}

// Fixed says whether the configuration file holds the provider, so that the API must not change it.
func (b *Book) Fixed(name string) bool {
	return slices.ContainsFunc(b.file, func(p fanfare.Provider) bool { return p.Name == name })
}

// All lists all providers by name, with their secrets: for sending only. One that cannot be opened is left out and named in the error;
// the others are answered all the same.
func (b *Book) All(ctx context.Context) ([]fanfare.Provider, error) {
	var kept []fanfare.Provider
	err := b.store.View(ctx, func(v fanfare.ControlView) (err error) {
		kept, err = v.Providers()
		return err
	})
	if err != nil {
		return nil, err
	}
	all := slices.Clone(b.file)
	var bad []error
	for _, p := range kept {
		if b.Fixed(p.Name) {
			continue
		}
		if p.URL, err = b.Open(p.Name, p.URL); err == nil {
			p.DKIM.Key, err = b.Open(p.Name+dkim, p.DKIM.Key)
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y fanfare.Provider) int { return strings.Compare(x.Name, y.Name) })
	return all, errors.Join(bad...)
}

// Put keeps a provider, its secrets sealed.
func (b *Book) Put(tx fanfare.ControlTx, p fanfare.Provider) error {
	p.URL = b.Seal(p.Name, p.URL)
	if p.DKIM.Key != "" {
		p.DKIM.Key = b.Seal(p.Name+dkim, p.DKIM.Key)
	}
	return tx.PutProvider(p)
}

// Seal encrypts a provider's URL, bound to its name.
func (b *Book) Seal(name, text string) string {
	nonce := make([]byte, b.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return sealed + base64.StdEncoding.EncodeToString(b.aead.Seal(nonce, nonce, []byte(text), []byte(name)))
}

// Open decrypts what Seal made; text that is not sealed is answered as it is.
func (b *Book) Open(name, text string) (string, error) {
	data, ok := strings.CutPrefix(text, sealed)
	if !ok {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(data)
	if err == nil && len(raw) < b.aead.NonceSize() {
		err = errors.New("too short")
	}
	var plain []byte
	if err == nil {
		plain, err = b.aead.Open(nil, raw[:b.aead.NonceSize()], raw[b.aead.NonceSize():], []byte(name))
	}
	if err != nil {
		return "", fmt.Errorf("provider %s cannot be opened with this master key: bring the master.key that sealed it, or put the provider again (%w)", name, err)
	}
	return string(plain), nil
}

// Hide takes the password out of a URL, for people's eyes.
func Hide(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}
