package people

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fanfare"
)

// Store is what the importer needs of a store.
type Store interface {
	fanfare.Control
	fanfare.People
}

// Options says how one import is read and what becomes of its list.
type Options struct {
	Format       Format            `json:"format"`
	Encoding     Encoding          `json:"encoding"`
	Map          map[string]string `json:"map,omitempty"`
	EmptyRemove  bool              `json:"empty_remove,omitempty"`
	Insert       bool              `json:"insert,omitempty"`       // refuse recipients that are there
	Replace      bool              `json:"replace,omitempty"`      // the list's members become those of the file
	Suppressions bool              `json:"suppressions,omitempty"` // the rows say who gets nothing, see suppressionRows
	Confirmed    bool              `json:"confirmed,omitempty"`    // a person said so, though many rows were refused
	Folder       string            `json:"folder,omitempty"`       // of the data folder that the file lies in; empty: this one's
	Node         string            `json:"node,omitempty"`         // whose that was
	ErrorsBytes  int64             `json:"errors_bytes,omitempty"` // length of the file of refused rows after the last finished block
	// Then runs in the transaction that queues the import; nil: nothing. It may run again after a conflict.
	Then func(fanfare.ControlTx, fanfare.Import) error `json:"-"`
}

// blockRows is how many rows are stored together: one upsert a slot.
const blockRows = 50_000

// retryTime is how long Run waits after a failure of the store, and for imports that somebody else queued.
const retryTime = 2 * time.Second

// maxRefusedShare of rows, in percent, lets members=replace go on without a person's word.
const maxRefusedShare = 5

// Importer keeps accepted files in a folder and stores their rows, one import at a time. Only one may run on a folder.
type Importer struct {
	store Store
	dir   string
	log   *slog.Logger
	wake  chan struct{}
	block int      // rows
	left  []string // ids of files that were there at the start; only Run uses it
	at    Place

	mu     sync.Mutex
	cancel map[string]context.CancelFunc // guarded by mu; of the running import
	wanted map[string]bool               // guarded by mu; cancelled by a person
	waits  map[string]string             // guarded by mu; why an import does not go on, until it does
}

// Place is where an importer's files lie: several nodes share the database, none the files.
type Place struct{ Folder, Node string }

// At has the importer take up the imports of its place only. It is called before Run.
func (im *Importer) At(p Place) { im.at = p }

// Elsewhere tells which node has the file of an import; false: this one.
func (im *Importer) Elsewhere(i *fanfare.Import) (node string, away bool) {
	var o Options
	if json.Unmarshal(i.Options, &o) != nil || o.Folder == "" || o.Folder == im.at.Folder {
		return "", false // what cannot be read fails where it is taken up
	}
	return o.Node, true
}

// NewImporter makes the folder if it is missing.
func NewImporter(store Store, dir string, log *slog.Logger) (*Importer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of imports: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of imports: %w", err)
	}
	var left []string
	for _, e := range there {
		for _, ext := range [...]string{dataExt, seenExt} {
			if id, ok := strings.CutSuffix(e.Name(), ext); ok {
				left = append(left, id)
			}
		}
	}
	return &Importer{store: store, dir: dir, log: log, wake: make(chan struct{}, 1), block: blockRows, left: left,
		cancel: map[string]context.CancelFunc{}, wanted: map[string]bool{}, waits: map[string]string{}}, nil
}

// What an import has in the folder: its file as it was sent, until all rows are stored, and while it is held the numbers of whom the file named.
const (
	dataExt = ".data"
	seenExt = ".seen"
)

func (im *Importer) data(id string) string { return filepath.Join(im.dir, id+dataExt) }

func (im *Importer) seen(id string) string { return filepath.Join(im.dir, id+seenExt) }

// drop removes what an import that is over has left in the folder.
func (im *Importer) drop(id string) error {
	return errors.Join(removeFile(im.data(id)), removeFile(im.seen(id)))
}

// ErrorsFile is the CSV file of an import's refused rows (line, reason); it may be missing.
func (im *Importer) ErrorsFile(id string) string { return filepath.Join(im.dir, id+".errors.csv") }

// Accept takes a whole body to disk, makes the list if it is missing, and queues the import. When it returns, a restart loses nothing.
func (im *Importer) Accept(ctx context.Context, body io.Reader, list string, o Options) (fanfare.Import, error) {
	imp := fanfare.Import{ID: "imp_" + rand.Text(), State: fanfare.ImportQueued, List: list}
	file := im.data(imp.ID)
	if err := spool(file, body); err != nil {
		return imp, errors.Join(err, removeFile(file))
	}
	gone, err := im.queue(ctx, &imp, file, o)
	if gone {
		return imp, errors.Join(err, removeFile(file))
	}
	im.Wake() // also after an error: it may be queued all the same; if it is not, the next start removes the file
	return imp, err
}

// queue answers gone if it is certain that the import is not queued.
func (im *Importer) queue(ctx context.Context, imp *fanfare.Import, file string, o Options) (gone bool, err error) {
	o.Folder, o.Node = im.at.Folder, im.at.Node
	if err := prepare(imp, file, o); err != nil {
		return true, err
	}
	gone = true
	err = im.store.Update(ctx, func(tx fanfare.ControlTx) error {
		err := insert(tx, imp, o)
		gone = err != nil // from here on only the commit can fail
		return err
	})
	return gone && err != nil, err
}

// prepare looks at the head of the file and completes the import's options.
func prepare(imp *fanfare.Import, file string, o Options) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if o.Encoding == "" {
		if o.Encoding, err = Detect(f); err != nil {
			return fmt.Errorf("import: %w: %w", fanfare.ErrUsage, err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	if o.Suppressions {
		_, err = newSuppressionRows(f, o)
	} else {
		_, err = NewRows(f, o.Format, o.Encoding, o.rows())
	}
	if err != nil {
		return fmt.Errorf("import: %w: %w", fanfare.ErrUsage, err)
	}
	if imp.Options, err = json.Marshal(o); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// insert makes the list if it is missing, and queues.
func insert(tx fanfare.ControlTx, imp *fanfare.Import, o Options) error {
	imp.CreatedAt, imp.UpdatedAt = tx.Now(), tx.Now()
	if imp.List != "" {
		if _, err := tx.List(imp.List); errors.Is(err, fanfare.ErrNotFound) {
			if err := tx.InsertList(&fanfare.List{Name: imp.List, CreatedAt: tx.Now()}); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	if err := tx.PutImport(*imp); err != nil || o.Then == nil {
		return err
	}
	return o.Then(tx, *imp)
}

func (o Options) rows() RowOptions {
	return RowOptions{Map: o.Map, EmptyRemove: o.EmptyRemove, Insert: o.Insert}
}

func spool(file string, body io.Reader) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep the body: %w", err)
	}
	_, err = io.Copy(f, body)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = syncFolder(filepath.Dir(file))
	}
	if err != nil {
		return fmt.Errorf("keep the body: %w", err)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only synced
	return d.Sync()
}

func removeFile(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Wake makes Run look for queued imports at once.
func (im *Importer) Wake() {
	select {
	case im.wake <- struct{}{}:
	default:
	}
}

// Run stores queued imports, oldest first, until ctx ends; what it stopped in the middle of it goes on with at the next start.
func (im *Importer) Run(ctx context.Context) error {
	for {
		im.sweep(ctx)
		imp, ok, err := im.next(ctx)
		if err != nil && ctx.Err() == nil {
			im.log.Error("imports cannot be read; trying again soon", "error", err)
		}
		if ok && ctx.Err() == nil && im.one(ctx, imp) {
			continue
		}
		again := time.NewTimer(retryTime)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-im.wake:
		case <-again.C:
		}
		again.Stop()
	}
}

// sweep removes the files that were there at the start and that nobody needs any more: of imports that are over, or never were, of uploads
// that broke off, and of ends that were kept when the file was not removed yet. Those of which the store cannot tell wait for the next call.
func (im *Importer) sweep(ctx context.Context) {
	im.left = slices.DeleteFunc(im.left, func(id string) bool {
		drop := im.drop
		err := im.store.View(ctx, func(v fanfare.ControlView) error {
			imp, err := v.Import(id)
			switch {
			case err != nil:
				return err
			case imp.State == fanfare.ImportHeld:
				if _, err := os.Stat(im.seen(id)); err != nil {
					return errNeeded
				}
				drop = func(id string) error { return removeFile(im.data(id)) }
			case !over(imp.State):
				return errNeeded
			}
			return nil
		})
		switch {
		case errors.Is(err, errNeeded):
			return true
		case err != nil && !errors.Is(err, fanfare.ErrNotFound):
			return false
		}
		if err := drop(id); err != nil {
			im.log.Warn("import's file stays", "import", id, "error", err)
		}
		return true
	})
}

func over(s fanfare.ImportState) bool {
	return s == fanfare.ImportDone || s == fanfare.ImportFailed || s == fanfare.ImportCancelled
}

// next gives the oldest import, if its file is here. An older one of another node that lives comes first, since of one row in two files the
// later file's is to stay; one of a node that is gone waits for it and keeps nobody else waiting.
func (im *Importer) next(ctx context.Context) (imp fanfare.Import, ok bool, err error) {
	err = im.store.View(ctx, func(v fanfare.ControlView) error {
		imp, ok = fanfare.Import{}, false
		all, err := v.Imports(fanfare.ImportQueued, fanfare.ImportRunning)
		if err != nil || len(all) == 0 {
			return err
		}
		var nodes []fanfare.Node
		for _, i := range slices.Backward(all) { // newest first
			node, away := im.Elsewhere(&i)
			if !away {
				imp, ok = i, true
				return nil
			}
			if nodes == nil {
				if nodes, err = v.Nodes(); err != nil {
					return err
				}
			}
			if slices.ContainsFunc(nodes, func(n fanfare.Node) bool { return n.Name == node && n.Alive(v.Now()) }) {
				return nil
			}
		}
		return nil
	})
	return imp, ok, err
}

var (
	errStore     = errors.New("database")  // failures of the database, not of the file: they are tried again
	errDisk      = errors.New("disk")      // likewise, of the disk that takes the refused rows
	errNeeded    = errors.New("needed")    // a file whose import is not over
	errCancelled = errors.New("cancelled") // by a person, while the import was under way
)

// one stores one import; false if its end could not be kept.
func (im *Importer) one(ctx context.Context, imp fanfare.Import) bool {
	run, stop := context.WithCancel(ctx)
	defer stop()
	im.mu.Lock()
	im.cancel[imp.ID] = stop
	im.mu.Unlock()
	defer func() {
		im.mu.Lock()
		defer im.mu.Unlock()
		delete(im.cancel, imp.ID)
		delete(im.wanted, imp.ID)
	}()
	err := im.store1(run, &imp)
	im.mu.Lock()
	cancelled := im.wanted[imp.ID]
	im.mu.Unlock()
	switch {
	case cancelled, errors.Is(err, errCancelled):
		imp.State, imp.Detail = fanfare.ImportCancelled, cancelledDetail
	case ctx.Err() != nil:
		return false // goes on after the restart
	case errors.Is(err, errStore), errors.Is(err, errDisk):
		im.wait(imp.ID, err)
		im.log.Error("import waits; trying again soon", "import", imp.ID, "error", err)
		return false // goes on when they do
	case err != nil:
		imp.State, imp.Detail = fanfare.ImportFailed, err.Error()
	}
	err = im.save(ctx, &imp)
	if err != nil && !errors.Is(err, errCancelled) {
		im.wait(imp.ID, err)
		im.log.Error("import's end cannot be kept; it is repeated at the next start, harmlessly", "import", imp.ID, "error", err)
		return false
	}
	im.goesOn(imp.ID)
	if err == nil { // otherwise it was cancelled while it ended
		im.log.Info("import ended", "import", imp.ID, "state", imp.State, "rows", imp.Rows, "failed", imp.Failed, "detail", imp.Detail)
	}
	remove := im.drop
	if err == nil && imp.State == fanfare.ImportHeld {
		remove = func(id string) error { return removeFile(im.data(id)) }
	}
	if err := remove(imp.ID); err != nil {
		im.log.Warn("import's file stays", "import", imp.ID, "error", err)
	}
	return true
}

// Waiting says why an import that is not over does not go on just now, and what to do; empty: it does, or nothing of it is known here.
func (im *Importer) Waiting(id string) string {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.waits[id]
}

// wait notes why an import does not go on: in words that can be told to anybody, the log has the error.
func (im *Importer) wait(id string, err error) {
	why := "the database does not answer, or does not take the rows; the server's log says why"
	switch {
	case errors.Is(err, fanfare.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		why = "there is no space left on the server's disk; make room"
	case errors.Is(err, fanfare.ErrReadOnly):
		why = "the server's database cannot be written; give its account the right to write there"
	case errors.Is(err, errDisk):
		why = "the file of refused rows cannot be written; the server's log says why"
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.waits[id] = why + ". The import goes on by itself"
}

func (im *Importer) goesOn(id string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	delete(im.waits, id)
}

// save keeps where an import stands, unless a person has cancelled it.
func (im *Importer) save(ctx context.Context, imp *fanfare.Import) error {
	err := im.store.Update(ctx, func(tx fanfare.ControlTx) error {
		now, err := tx.Import(imp.ID)
		if err != nil {
			return err
		}
		if now.State == fanfare.ImportCancelled && imp.State != fanfare.ImportCancelled {
			return errCancelled
		}
		imp.UpdatedAt = tx.Now()
		return tx.PutImport(*imp)
	})
	if errors.Is(err, errCancelled) {
		return fmt.Errorf("import %s: %w", imp.ID, errCancelled)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	return nil
}

const cancelledDetail = "cancelled; the rows counted here are stored"

// Cancel stops an import that is queued, held or running; what is stored stays.
func (im *Importer) Cancel(ctx context.Context, id string) (fanfare.Import, error) {
	im.mu.Lock()
	stop, running := im.cancel[id]
	if running {
		im.wanted[id] = true
	}
	im.mu.Unlock()
	if running {
		stop()
	}
	imp, err := im.change(ctx, id, func(imp *fanfare.Import) error {
		switch imp.State {
		case fanfare.ImportQueued, fanfare.ImportHeld, fanfare.ImportRunning:
			imp.State, imp.Detail = fanfare.ImportCancelled, cancelledDetail
			return nil
		case fanfare.ImportCancelled:
			return nil
		}
		return fmt.Errorf("import %s: %w: it is %s already", id, fanfare.ErrState, imp.State)
	})
	if err == nil && !running {
		err = im.drop(id)
	}
	return imp, err
}

// Confirm lets a held import replace its list's members.
func (im *Importer) Confirm(ctx context.Context, id string) (fanfare.Import, error) {
	imp, err := im.change(ctx, id, func(imp *fanfare.Import) error {
		if imp.State != fanfare.ImportHeld {
			return fmt.Errorf("import %s: %w: it is %s, only a held one waits for a word", id, fanfare.ErrState, imp.State)
		}
		var o Options
		if err := json.Unmarshal(imp.Options, &o); err != nil {
			return fmt.Errorf("import %s: %w", id, err)
		}
		o.Confirmed = true
		var err error
		imp.Options, err = json.Marshal(o)
		imp.State, imp.Detail = fanfare.ImportQueued, ""
		return err
	})
	im.Wake()
	return imp, err
}

func (im *Importer) change(ctx context.Context, id string, fn func(*fanfare.Import) error) (imp fanfare.Import, err error) {
	err = im.store.Update(ctx, func(tx fanfare.ControlTx) error {
		if imp, err = tx.Import(id); err != nil {
			return err
		}
		if err := fn(&imp); err != nil {
			return err
		}
		imp.UpdatedAt = tx.Now()
		return tx.PutImport(imp)
	})
	if err == nil {
		im.goesOn(id)
	}
	return imp, err
}
