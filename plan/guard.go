package plan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare"
)

const (
	noteEvery  = 2 * time.Second // the journal's position and that the database is served
	silentMost = time.Hour       // a database that nobody served for longer is not trusted with what was under way
)

// Position keeps how far the journal had come outside of the database: in the node's data folder. What a node noted it never takes
// back, so a database that is behind the note is an older state of itself.
type Position interface {
	// Noted gives what was noted last, 0 if nothing was.
	Noted() (int64, error)
	// Note replaces it; it is on disk when Note returns.
	Note(head int64) error
}

// GuardStore is what the guard asks of a store.
type GuardStore interface {
	fanfare.Control
	fanfare.Freezer
	Slots() int
	Identity(ctx context.Context) (fanfare.Identity, error)
	Alive(ctx context.Context) error
}

// Guard keeps a database that was copied, restored or rolled back from sending by itself (promise 10). Check is called at the start,
// before anything can be sent; Run notes, as long as the node serves, what the next start compares with.
type Guard struct {
	Store    GuardStore
	Position Position
	Logger   *slog.Logger // nil: silent

	kept int64 // what was noted last
}

// Finding is what the guard found, and which messages it paused for that.
type Finding struct {
	Why    string // empty: the database is where it was
	Paused []fanfare.MessageID
}

// Check compares the database with what is known of it and pauses messages (restored) if it is not what it was: all unfinished ones
// if its place is another one or if its journal is behind the position noted, and those that were under way if nobody served it for an
// hour. It may fail and be repeated at any point; until it has answered nothing may be sent.
func (g *Guard) Check(ctx context.Context) (Finding, error) {
	id, err := g.Store.Identity(ctx)
	if err != nil {
		return Finding{}, fmt.Errorf("restore guard: who the database is: %w", err)
	}
	noted, err := g.Position.Noted()
	if err != nil {
		return Finding{}, fmt.Errorf("restore guard: the journal's position in the data folder: %w", err)
	}
	var now time.Time
	err = g.Store.View(ctx, func(v fanfare.ControlView) error {
		now = v.Now()
		return nil
	})
	if err != nil {
		return Finding{}, fmt.Errorf("restore guard: what time it is: %w", err)
	}
	f := Finding{}
	underWay := false // only what was under way is paused
	switch silent := now.Sub(id.AliveAt); {
	case id.Stored != id.Found:
		f.Why = fmt.Sprintf("the database was copied or restored: it was made as %q and is found as %q; say fanfare adopt if this is its place from now on",
			id.Stored, id.Found)
	case noted > id.Head:
		f.Why = fmt.Sprintf("the database was restored or rolled back: this node saw its journal at %d, it is at %d", noted, id.Head)
	case !id.AliveAt.IsZero() && silent > silentMost:
		f.Why = fmt.Sprintf("the database was not served for %s", silent.Round(time.Second))
		underWay = true
	}
	if f.Why != "" {
		if f.Paused, err = g.pause(ctx, underWay); err != nil {
			return f, fmt.Errorf("restore guard: %s: %w", f.Why, err)
		}
		g.log().Warn("restore guard: messages are paused and wait for a person", "why", f.Why, "paused", len(f.Paused))
	}
	g.kept = -1 // whatever was noted before
	return f, g.note(ctx)
}

func (g *Guard) log() *slog.Logger {
	if g.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return g.Logger
}

func (g *Guard) pause(ctx context.Context, underWay bool) (paused []fanfare.MessageID, err error) {
	looks, err := g.Store.Look(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the messages: %w", err)
	}
	for _, l := range looks {
		if underWay && l.State.Phase == fanfare.PhaseScheduled {
			continue // start_grace decides
		}
		var m fanfare.Message
		var v fanfare.Verdict
		err := g.Store.Update(ctx, func(tx fanfare.ControlTx) error {
			now, err := tx.Message(l.ID)
			if err != nil {
				return err
			}
			if m, v, err = fanfare.TransitionIn(tx, now, fanfare.EventRestored, nil); err != nil || v != fanfare.Moved {
				return err
			}
			return tx.AddAudit(fanfare.Audited("restore guard", now.State, &m, fanfare.EventRestored))
		})
		switch {
		case errors.Is(err, fanfare.ErrState) || errors.Is(err, fanfare.ErrNotFound):
			continue // it ended meanwhile
		case err != nil:
			return paused, fmt.Errorf("message %s: %w", l.ID, err)
		case v == fanfare.Moved:
			paused = append(paused, l.ID)
		}
		// Also when it was paused before: a start that died in between has told some slots only.
		if err := fanfare.SpreadAll(ctx, g.Store, g.Store.Slots(), m); err != nil {
			return paused, err
		}
	}
	return paused, nil
}

// note keeps the position of what is durable: a note is never ahead of the database that it was read from.
func (g *Guard) note(ctx context.Context) error {
	if err := g.Store.Alive(ctx); err != nil {
		return fmt.Errorf("note that the database is served: %w", err)
	}
	id, err := g.Store.Identity(ctx)
	if err != nil {
		return fmt.Errorf("read the journal's position: %w", err)
	}
	if id.Head == g.kept {
		return nil
	}
	if err := g.Position.Note(id.Head); err != nil {
		return fmt.Errorf("note the journal's position: %w", err)
	}
	g.kept = id.Head
	return nil
}

// Run notes until ctx ends, and once more then. A note that fails is tried again: the next start then finds an older one, which is
// normal.
func (g *Guard) Run(ctx context.Context) error {
	ticker := time.NewTicker(noteEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := g.note(last); err != nil {
				g.log().Warn("restore guard: the last note is missing", "error", err)
			}
			return nil
		case <-ticker.C:
			if err := g.note(ctx); err != nil && ctx.Err() == nil {
				g.log().Warn("restore guard: tried again in a moment", "error", err)
			}
		}
	}
}
