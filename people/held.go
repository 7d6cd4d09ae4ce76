package people

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"fanfare"
	"fanfare/set"
)

// A held import may wait for a person's word for long, and its file has names and addresses of people who may be erased meanwhile. All rows are
// stored, so the file is not needed any more: whom it named is kept by number.

// keepSeen writes whom the file named.
func (j *job) keepSeen() error {
	sets := make([][]byte, len(j.seen))
	for i, s := range j.seen {
		sets[i] = s.Encode()
	}
	content, err := json.Marshal(sets)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	file := j.im.seen(j.imp.ID)
	if err := errors.Join(removeFile(file), spool(file, bytes.NewReader(content))); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	return nil
}

// confirmed ends an import that was held, after a person's word; false: it was not.
func (j *job) confirmed(ctx context.Context) (bool, error) {
	if !j.o.Confirmed {
		return false, nil
	}
	content, err := os.ReadFile(j.im.seen(j.imp.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("%w: %w", errDisk, err)
	}
	var sets [][]byte
	if err := json.Unmarshal(content, &sets); err != nil || len(sets) != j.im.store.Slots() {
		return false, fmt.Errorf("what was kept of the import: %w; send the file again", fanfare.ErrDamaged)
	}
	for _, b := range sets {
		s, err := set.Decode(b)
		if err != nil {
			return false, fmt.Errorf("what was kept of the import: %w; send the file again", err)
		}
		j.seen = append(j.seen, s)
	}
	if err := j.findList(ctx); err != nil {
		return false, err
	}
	if err := j.replaceAll(ctx); err != nil {
		return false, err
	}
	j.imp.State, j.imp.Detail = fanfare.ImportDone, ""
	return true, nil
}

// replaceAll makes the list's members those that the file named.
func (j *job) replaceAll(ctx context.Context) error {
	name := fanfare.ListSet(j.list.ID)
	for s, seen := range j.seen {
		if err := j.replace(ctx, fanfare.Slot(s), name, seen); err != nil { //nolint:gosec // slots fit
			return fmt.Errorf("%w: list %q: %w", errStore, j.imp.List, err)
		}
	}
	return nil
}
