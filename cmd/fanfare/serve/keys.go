package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"fanfare"
	"fanfare/cmd/fanfare/home"
)

// installation is the setting that holds the key of item keys and links: it belongs to the database, so all nodes share it.
const installation = "installation_key"

// installationKey gives the installation's key; the first node on empty databases makes it.
func installationKey(ctx context.Context, store fanfare.Control) (key []byte, err error) {
	err = store.Update(ctx, func(tx fanfare.ControlTx) error {
		key, err = tx.Setting(installation)
		if err == nil || !errors.Is(err, fanfare.ErrNotFound) {
			return err
		}
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		return tx.PutSetting(installation, key)
	})
	if err != nil {
		return nil, fmt.Errorf("installation key: %w", err)
	}
	return key, nil
}

// adminKey makes the first key, with every scope, and keeps it in the data folder; it answers the file if it made one. If the database
// has no key at all but the folder does, the folder's is taken again.
func adminKey(ctx context.Context, store fanfare.Control, folder *home.Folder, scopes []string) (file string, err error) {
	path := folder.Path("admin.key")
	var keys []fanfare.Key
	err = store.View(ctx, func(v fanfare.ControlView) (err error) {
		keys, err = v.Keys()
		return err
	})
	if err != nil || len(keys) > 0 {
		return "", err
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	text := "fan_" + base64.RawURLEncoding.EncodeToString(b)
	if old, err := os.ReadFile(path); err == nil && len(old) > 20 {
		text = string(old[:len(old)-1])
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin key: %w", err)
	} else if err := home.WriteFile(path, []byte(text+"\n")); err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	}
	err = store.Update(ctx, func(tx fanfare.ControlTx) error {
		return tx.InsertKey(fanfare.Key{ID: "key_admin", Name: "admin", Hash: sha256.Sum256([]byte(text)), Scopes: scopes, CreatedAt: tx.Now()})
	})
	if err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	}
	return path, nil
}
