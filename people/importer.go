package people

import (
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"fanfare"
	"fanfare/set"
)

// Store is what the importer needs of a store.
type Store interface {
	fanfare.Control
	fanfare.People
}

// Options says how one import is read and what becomes of its list.
type Options struct {
	Format      Format            `json:"format"`
	Encoding    Encoding          `json:"encoding"`
	Map         map[string]string `json:"map,omitempty"`
	EmptyRemove bool              `json:"empty_remove,omitempty"`
	Insert      bool              `json:"insert,omitempty"`       // refuse recipients that are there
	Replace     bool              `json:"replace,omitempty"`      // the list's members become those of the file
	Confirmed   bool              `json:"confirmed,omitempty"`    // a person said so, though many rows were refused
	ErrorsBytes int64             `json:"errors_bytes,omitempty"` // length of the file of refused rows after the last finished block
}

// blockRows is how many rows are stored together: one upsert a slot.
const blockRows = 50_000

// maxRefusedShare of rows, in percent, lets members=replace go on without a person's word.
const maxRefusedShare = 5

// Importer keeps accepted files in a folder and stores their rows, one import at a time. Only one may run on a folder.
type Importer struct {
	store Store
	dir   string
	log   *slog.Logger
	wake  chan struct{}

	mu     sync.Mutex
	cancel map[string]context.CancelFunc // guarded by mu; of the running import
	wanted map[string]bool               // guarded by mu; cancelled by a person
}

// NewImporter makes the folder if it is missing.
func NewImporter(store Store, dir string, log *slog.Logger) (*Importer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of imports: %w", err)
	}
	return &Importer{store: store, dir: dir, log: log, wake: make(chan struct{}, 1),
		cancel: map[string]context.CancelFunc{}, wanted: map[string]bool{}}, nil
}

func (im *Importer) data(id string) string { return filepath.Join(im.dir, id+".data") }

// ErrorsFile is the CSV file of an import's refused rows (line, reason); it may be missing.
func (im *Importer) ErrorsFile(id string) string { return filepath.Join(im.dir, id+".errors.csv") }

// Accept takes a whole body to disk, makes the list if it is missing, and queues the import. When it returns, a restart loses nothing.
func (im *Importer) Accept(ctx context.Context, body io.Reader, list string, o Options) (fanfare.Import, error) {
	imp := fanfare.Import{ID: "imp_" + rand.Text(), State: fanfare.ImportQueued, List: list}
	file := im.data(imp.ID)
	if err := spool(file, body); err != nil {
		return imp, errors.Join(err, removeFile(file))
	}
	err := im.queue(ctx, &imp, file, o)
	if err != nil {
		return imp, errors.Join(err, removeFile(file))
	}
	im.Wake()
	return imp, nil
}

func (im *Importer) queue(ctx context.Context, imp *fanfare.Import, file string, o Options) error {
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
	if _, err := NewRows(f, o.Format, o.Encoding, o.rows()); err != nil {
		return fmt.Errorf("import: %w: %w", fanfare.ErrUsage, err)
	}
	if imp.Options, err = json.Marshal(o); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return im.store.Update(ctx, func(tx fanfare.ControlTx) error {
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
		return tx.PutImport(*imp)
	})
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
		imp, ok, err := im.next(ctx)
		if err != nil && ctx.Err() == nil {
			im.log.Error("imports cannot be read; trying again at the next one", "error", err)
		}
		if ok {
			im.one(ctx, imp)
			if ctx.Err() == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-im.wake:
		}
	}
}

func (im *Importer) next(ctx context.Context) (imp fanfare.Import, ok bool, err error) {
	err = im.store.View(ctx, func(v fanfare.ControlView) error {
		all, err := v.Imports(fanfare.ImportQueued, fanfare.ImportRunning)
		for _, i := range all { // newest first: the last one is the oldest
			imp, ok = i, true
		}
		return err
	})
	return imp, ok, err
}

func (im *Importer) one(ctx context.Context, imp fanfare.Import) {
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
	case cancelled:
		imp.State, imp.Detail = fanfare.ImportCancelled, "cancelled; the rows counted here are stored"
	case ctx.Err() != nil:
		return // goes on after the restart
	case err != nil:
		imp.State, imp.Detail = fanfare.ImportFailed, err.Error()
	}
	if err := im.save(ctx, &imp); err != nil {
		im.log.Error("import's end cannot be kept; it is repeated at the next start, harmlessly", "import", imp.ID, "error", err)
		return
	}
	im.log.Info("import ended", "import", imp.ID, "state", imp.State, "rows", imp.Rows, "failed", imp.Failed, "detail", imp.Detail)
	if imp.State != fanfare.ImportHeld {
		if err := removeFile(im.data(imp.ID)); err != nil {
			im.log.Warn("import's file stays", "import", imp.ID, "error", err)
		}
	}
}

func (im *Importer) save(ctx context.Context, imp *fanfare.Import) error {
	return im.store.Update(ctx, func(tx fanfare.ControlTx) error {
		imp.UpdatedAt = tx.Now()
		return tx.PutImport(*imp)
	})
}

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
			imp.State, imp.Detail = fanfare.ImportCancelled, "cancelled; the rows counted here are stored"
			return nil
		case fanfare.ImportCancelled:
			return nil
		}
		return fmt.Errorf("import %s: %w: it is %s already", id, fanfare.ErrState, imp.State)
	})
	if err == nil && !running {
		err = removeFile(im.data(id))
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
	return imp, err
}

// job is one import under way.
type job struct {
	im     *Importer
	imp    *fanfare.Import
	o      Options
	rows   Rows
	add    []fanfare.SetName
	seen   []*set.Set // by slot: whom this file named already
	errors *os.File
	list   fanfare.List
}

// block is a run of rows, by slot.
type block struct {
	slots   [][]fanfare.RecipientChange
	lines   [][]int
	refused []*RowError
	rows    int
	last    bool
	err     error
}

func (im *Importer) store1(ctx context.Context, imp *fanfare.Import) (err error) {
	j := &job{im: im, imp: imp}
	if err := json.Unmarshal(imp.Options, &j.o); err != nil {
		return fmt.Errorf("import %s: %w", imp.ID, err)
	}
	f, err := os.Open(im.data(imp.ID))
	if err != nil {
		return fmt.Errorf("the file as it was sent is gone: %w; send it again", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if j.rows, err = NewRows(f, j.o.Format, j.o.Encoding, j.o.rows()); err != nil {
		return err
	}
	if err := j.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.errors.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	blocks := make(chan *block, 1)
	var wait sync.WaitGroup
	wait.Go(func() { j.read(ctx, blocks) })
	defer wait.Wait()
	defer stop()
	for number := int64(0); ; number++ {
		b, ok := <-blocks
		if !ok {
			return ctx.Err()
		}
		if b.err != nil {
			return b.err
		}
		if number < imp.Block {
			err = j.skip(ctx, b)
		} else {
			err = j.keep(ctx, b, number)
		}
		if err != nil {
			return err
		}
		if b.last {
			return j.finish(ctx)
		}
	}
}

func (j *job) open(ctx context.Context) error {
	if j.imp.List != "" {
		err := j.im.store.View(ctx, func(v fanfare.ControlView) (err error) {
			j.list, err = v.List(j.imp.List)
			return err
		})
		if err != nil {
			return fmt.Errorf("list %q: %w", j.imp.List, err)
		}
		if !j.o.Replace {
			j.add = append(j.add, fanfare.ListSet(j.list.ID))
		}
	}
	j.seen = make([]*set.Set, j.im.store.Slots())
	for i := range j.seen {
		j.seen[i] = set.New()
	}
	var err error
	if j.errors, err = os.OpenFile(j.im.ErrorsFile(j.imp.ID), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("file of refused rows: %w", err)
	}
	if err := j.errors.Truncate(j.o.ErrorsBytes); err != nil {
		return fmt.Errorf("file of refused rows: %w", err)
	}
	if _, err := j.errors.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("file of refused rows: %w", err)
	}
	j.imp.State = fanfare.ImportRunning
	return j.im.save(ctx, j.imp)
}

// read parses blocks while the last one is being stored.
func (j *job) read(ctx context.Context, to chan<- *block) {
	defer close(to)
	slots := j.im.store.Slots()
	for {
		b := &block{slots: make([][]fanfare.RecipientChange, slots), lines: make([][]int, slots)}
		for b.rows < blockRows && !b.last && b.err == nil {
			c, line, err := j.rows.Next()
			var bad *RowError
			switch {
			case errors.Is(err, io.EOF):
				b.last = true
				continue
			case errors.As(err, &bad):
				b.refused = append(b.refused, bad)
			case err != nil:
				b.err = err
				continue
			default:
				s := fanfare.SlotOf(c.ExternalID, slots)
				b.slots[s] = append(b.slots[s], c)
				b.lines[s] = append(b.lines[s], line)
			}
			b.rows++
		}
		select {
		case to <- b:
		case <-ctx.Done():
			return
		}
		if b.last || b.err != nil {
			return
		}
	}
}

// skip passes over a block that is stored, and remembers whom it named.
func (j *job) skip(ctx context.Context, b *block) error {
	for s, changes := range b.slots {
		ids := make([]string, len(changes))
		for i := range changes {
			ids[i] = changes[i].ExternalID
		}
		seqs, err := j.im.store.Resolve(ctx, fanfare.Slot(s), ids) //nolint:gosec // slots fit
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		for _, seq := range seqs {
			if seq >= 0 {
				j.seen[s].Add(uint32(seq)) //nolint:gosec // a seq
			}
		}
	}
	return nil
}

func (j *job) keep(ctx context.Context, b *block, number int64) error {
	next := *j.imp
	next.Rows += int64(b.rows)
	next.Failed += int64(len(b.refused))
	for s, changes := range b.slots {
		if len(changes) == 0 {
			continue
		}
		mark := &fanfare.Mark{Work: j.imp.ID, Part: number}
		done, err := j.im.store.Upsert(ctx, fanfare.Slot(s), changes, fanfare.UpsertOptions{Add: j.add, Mark: mark}) //nolint:gosec // slots fit
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		for i, u := range done {
			switch u.Outcome {
			case fanfare.UpsertRefused:
				next.Failed++
				b.refused = append(b.refused, &RowError{b.lines[s][i], errors.New("is there already; use mode=upsert to change it")})
				continue
			case fanfare.UpsertCreated:
				next.Created++
			case fanfare.UpsertUpdated:
				next.Updated++
			default:
				next.Unchanged++
			}
			if j.seen[s].Contains(u.Seq) {
				next.Duplicates++
			}
			j.seen[s].Add(u.Seq)
		}
	}
	var err error
	if j.o.ErrorsBytes, err = j.refuse(b.refused); err != nil {
		return err
	}
	next.Block = number + 1
	if next.Options, err = json.Marshal(j.o); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	*j.imp = next
	return j.im.save(ctx, j.imp)
}

// refuse appends the refused rows to their file and gives its length, on disk.
func (j *job) refuse(rows []*RowError) (int64, error) {
	if len(rows) > 0 {
		w := csv.NewWriter(j.errors)
		if j.o.ErrorsBytes == 0 {
			_ = w.Write([]string{"line", "reason"})
		}
		for _, r := range rows {
			_ = w.Write([]string{strconv.Itoa(r.Line), fanfare.CleanText(r.Err.Error())})
		}
		w.Flush()
		err := w.Error()
		if err == nil {
			err = j.errors.Sync()
		}
		if err != nil {
			return 0, fmt.Errorf("file of refused rows: %w", err)
		}
	}
	n, err := j.errors.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, fmt.Errorf("file of refused rows: %w", err)
	}
	return n, nil
}

func (j *job) finish(ctx context.Context) error {
	if j.o.Replace && j.imp.List != "" {
		if !j.o.Confirmed && j.imp.Failed*100 >= j.imp.Rows*maxRefusedShare && j.imp.Failed > 0 {
			j.imp.State = fanfare.ImportHeld
			j.imp.Detail = fmt.Sprintf("%d of %d rows were refused, so the list %q keeps its members; look at the errors, then confirm or cancel this import",
				j.imp.Failed, j.imp.Rows, j.imp.List)
			return nil
		}
		name := fanfare.ListSet(j.list.ID)
		for s := range j.seen {
			old, err := j.im.store.LoadSet(ctx, fanfare.Slot(s), name) //nolint:gosec // slots fit
			if err != nil {
				return fmt.Errorf("list %q: %w", j.imp.List, err)
			}
			if _, _, err := j.im.store.ChangeSet(ctx, fanfare.Slot(s), name, j.seen[s], set.AndNot(old, j.seen[s])); err != nil { //nolint:gosec // slots fit
				return fmt.Errorf("list %q: %w", j.imp.List, err)
			}
		}
	}
	j.imp.State, j.imp.Detail = fanfare.ImportDone, ""
	return nil
}
