package people

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"fanfare"
	"fanfare/set"
)

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
	if done, err := j.confirmed(ctx); done || err != nil {
		return err
	}
	f, err := os.Open(im.data(imp.ID))
	if err != nil {
		return fmt.Errorf("the file as it was sent is gone: %w; send it again", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if j.o.Suppressions {
		return j.suppressions(ctx, f)
	}
	if j.rows, err = NewRows(f, j.o.Format, j.o.Encoding, j.o.rows()); err != nil {
		return err
	}
	if err := j.open(ctx); err != nil {
		return err
	}
	defer func() { err = j.closed(err) }()
	ctx, stop := context.WithCancel(ctx)
	blocks := make(chan *block) // no buffer: one block is stored, one is read, and no third one is in memory
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
			err = j.skip(ctx, b, number)
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

// findList looks for the import's list.
func (j *job) findList(ctx context.Context) error {
	err := j.im.store.View(ctx, func(v fanfare.ControlView) (err error) {
		j.list, err = v.List(j.imp.List)
		return err
	})
	if errors.Is(err, fanfare.ErrNotFound) {
		return fmt.Errorf("the list %q was deleted meanwhile", j.imp.List)
	}
	if err != nil {
		return fmt.Errorf("%w: list %q: %w", errStore, j.imp.List, err)
	}
	return nil
}

func (j *job) open(ctx context.Context) error {
	if j.imp.List != "" {
		if err := j.findList(ctx); err != nil {
			return err
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
		return refusedError(err)
	}
	if err := j.errors.Truncate(j.o.ErrorsBytes); err != nil {
		return refusedError(err)
	}
	if _, err := j.errors.Seek(0, io.SeekEnd); err != nil {
		return refusedError(err)
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
		for b.rows < j.im.block && !b.last && b.err == nil {
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
func (j *job) skip(ctx context.Context, b *block, number int64) error {
	for n, changes := range b.slots {
		if len(changes) == 0 {
			continue
		}
		s := fanfare.Slot(n) //nolint:gosec // slots fit
		seqs, err := j.named(ctx, s, changes, number)
		if err != nil {
			return fmt.Errorf("%w: %w", errStore, err)
		}
		for _, seq := range seqs {
			if seq >= 0 {
				j.seen[s].Add(uint32(seq)) //nolint:gosec // a seq
			}
		}
	}
	return nil
}

// named gives the seqs of those whose rows were stored, -1 for others.
func (j *job) named(ctx context.Context, s fanfare.Slot, changes []fanfare.RecipientChange, number int64) ([]int64, error) {
	if !j.o.Insert {
		ids := make([]string, len(changes))
		for i := range changes {
			ids[i] = changes[i].ExternalID
		}
		return j.im.store.Resolve(ctx, s, ids)
	}
	// Who was refused is there all the same: only the first answer tells.
	done, err := j.im.store.Upsert(ctx, s, changes, j.options(number))
	seqs := make([]int64, len(done))
	for i, u := range done {
		if seqs[i] = int64(u.Seq); u.Outcome == fanfare.UpsertRefused || u.Outcome == fanfare.UpsertErased {
			seqs[i] = -1
		}
	}
	return seqs, err
}

func (j *job) options(number int64) fanfare.UpsertOptions {
	return fanfare.UpsertOptions{Add: j.add, RefuseErased: true, Mark: &fanfare.Mark{Work: j.imp.ID, Part: number}}
}

func (j *job) keep(ctx context.Context, b *block, number int64) error {
	next := *j.imp
	next.Rows += int64(b.rows)
	next.Failed += int64(len(b.refused))
	answers, err := j.upsert(ctx, b, number)
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	for s, done := range answers {
		for i, u := range done {
			switch u.Outcome {
			case fanfare.UpsertRefused:
				next.Failed++
				b.refused = append(b.refused, &RowError{b.lines[s][i], errors.New("is there already; use mode=upsert to change it")})
				continue
			case fanfare.UpsertErased:
				next.Failed++
				b.refused = append(b.refused, &RowError{b.lines[s][i], errors.New("was erased; if they consented anew, put this recipient once by PUT /v1/recipients/{external_id} with \"resubscribe\": true")})
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
	return j.record(ctx, next, b.refused, number)
}

// record keeps what became of a block.
func (j *job) record(ctx context.Context, next fanfare.Import, refused []*RowError, number int64) (err error) {
	if j.o.ErrorsBytes, err = j.refuse(refused); err != nil {
		return err
	}
	next.Block = number + 1
	if next.Options, err = json.Marshal(j.o); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	*j.imp = next
	if err := j.im.save(ctx, j.imp); err != nil {
		return err
	}
	j.im.goesOn(j.imp.ID)
	return nil
}

// upsert stores the slots of a block side by side: one is made ready while another is written. Marks make it harmless that some are
// stored when one fails.
func (j *job) upsert(ctx context.Context, b *block, number int64) ([][]fanfare.Upserted, error) {
	answers, errs := make([][]fanfare.Upserted, len(b.slots)), make([]error, len(b.slots))
	var group sync.WaitGroup
	for s, changes := range b.slots {
		if len(changes) == 0 {
			continue
		}
		group.Go(func() {
			answers[s], errs[s] = j.im.store.Upsert(ctx, fanfare.Slot(s), changes, j.options(number)) //nolint:gosec // slots fit
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
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
			return 0, refusedError(err)
		}
	}
	n, err := j.errors.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, refusedError(err)
	}
	return n, nil
}

// closed closes the file of refused rows, at the end of all, with its error beside the one there is.
func (j *job) closed(err error) error {
	if cerr := j.errors.Close(); cerr != nil {
		return errors.Join(err, refusedError(cerr))
	}
	return err
}

func refusedError(err error) error {
	return fmt.Errorf("%w: file of refused rows: %w", errDisk, err)
}

func (j *job) finish(ctx context.Context) error {
	if j.o.Replace && j.imp.List != "" {
		if !j.o.Confirmed && j.imp.Failed*100 >= j.imp.Rows*maxRefusedShare && j.imp.Failed > 0 {
			j.imp.State = fanfare.ImportHeld
			j.imp.Detail = fmt.Sprintf("%d of %d rows were refused, so the list %q keeps its members; look at the errors, then confirm or cancel this import",
				j.imp.Failed, j.imp.Rows, j.imp.List)
			return j.keepSeen()
		}
		if err := j.replaceAll(ctx); err != nil {
			return err
		}
	}
	j.imp.State, j.imp.Detail = fanfare.ImportDone, ""
	return nil
}

// replace makes a list's members of one slot those that the file named and nobody erased since.
func (j *job) replace(ctx context.Context, s fanfare.Slot, name fanfare.SetName, seen *set.Set) error {
	alive, err := j.im.store.LoadSet(ctx, s, fanfare.SetAlive)
	if err != nil {
		return err
	}
	old, err := j.im.store.LoadSet(ctx, s, name)
	if err != nil {
		return err
	}
	members := set.And(seen, alive)
	_, _, err = j.im.store.ChangeSet(ctx, s, name, members, set.AndNot(old, members))
	return err
}
