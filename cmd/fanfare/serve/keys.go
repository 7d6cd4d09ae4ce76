package serve

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	wrote := false
	text := "fan_" + base64.RawURLEncoding.EncodeToString(b)
	if old, err := os.ReadFile(path); err == nil && len(old) > 20 {
		text = string(old[:len(old)-1])
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin key: %w", err)
	} else if err := home.WriteFile(path, []byte(text+"\n")); err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	} else {
		wrote = true
	}
	taken := false
	err = store.Update(ctx, func(tx fanfare.ControlTx) error {
		keys, err := tx.Keys()
		if taken = len(keys) > 0; err != nil || taken { // another node came first
			return err
		}
		return tx.InsertKey(fanfare.Key{ID: "key_admin", Name: "admin", Hash: sha256.Sum256([]byte(text)), Scopes: scopes, CreatedAt: tx.Now()})
	})
	if err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	}
	if taken {
		if wrote {
			err = os.Remove(path)
		}
		return "", err
	}
	return path, nil
}

// sealing is the setting that tells the master key of the database's secrets, by a hash with a key of the installation's.
const sealing = "master_key"

// masterKey gives the key that seals secrets, which the nodes of a database share. A node that has another one is refused while others live: what
// it sealed they could not open.
func masterKey(ctx context.Context, store fanfare.Control, folder *home.Folder, given string, installation []byte, others bool, log *slog.Logger) ([]byte, error) {
	tag := func(key []byte) []byte {
		h := hmac.New(sha256.New, installation)
		h.Write([]byte("master key"))
		h.Write(key)
		return h.Sum(nil)
	}
	const help = "set FANFARE_MASTER_KEY to what master.key of their data folders holds, or copy that file here"
	var known []byte
	err := store.View(ctx, func(v fanfare.ControlView) (err error) {
		if known, err = v.Setting(sealing); errors.Is(err, fanfare.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if here, err := folder.Read("master.key"); err == nil && here == "" && given == "" && known != nil && others {
		return nil, fmt.Errorf("master key: other nodes serve this database with theirs; %s", help)
	}
	key, err := folder.MasterKey(given)
	if err != nil || hmac.Equal(known, tag(key)) {
		return key, err
	}
	if known != nil && others {
		return nil, fmt.Errorf("master key: it is not the one that other nodes serve this database with; %s", help)
	}
	if known != nil {
		log.Warn("the master key is another one than before: secrets of providers that were sealed with that cannot be read; put them again, or restore master.key")
	}
	first := false
	err = store.Update(ctx, func(tx fanfare.ControlTx) error {
		now, err := tx.Setting(sealing)
		if errors.Is(err, fanfare.ErrNotFound) {
			now, err = nil, nil
		}
		if first = err == nil && bytes.Equal(now, known); !first {
			return err
		}
		return tx.PutSetting(sealing, tag(key))
	})
	if err == nil && !first { // another node came first
		return masterKey(ctx, store, folder, given, installation, true, log)
	}
	return key, err
}
