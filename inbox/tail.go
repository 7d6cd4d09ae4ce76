package inbox

import (
	"context"
	"slices"
	"sync"

	"fanfare"
)

// tail is the log of one shard as this node follows it. At most one question for it is under way; whoever comes meanwhile waits for the next one, which
// begins after they came: so what was durable before they asked is in the answer, and however many ask, the database is asked once at a time.
type tail struct {
	mu      sync.Mutex // guards what follows
	asking  bool
	begun   int64         // questions
	done    int64         // the last one that was answered
	changed chan struct{} // closed when asking ends

	// Of the one that asks only.
	after int64
	known bool // after is a place in the log
}

// ask takes over what the log of a shard said up to now. foreign: others may have written some of it.
func (r *Reader) ask(ctx context.Context, shard int, foreign bool) error {
	t := &r.tails[shard]
	t.mu.Lock()
	defer t.mu.Unlock()
	for need := t.begun + 1; t.done < need; {
		if t.asking {
			changed := t.changed
			t.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			t.mu.Lock()
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		t.asking, t.changed = true, make(chan struct{})
		t.begun++
		mine := t.begun
		t.mu.Unlock()
		err := r.follow(ctx, shard, t, foreign)
		t.mu.Lock()
		t.asking = false
		close(t.changed)
		if err != nil {
			return err // the others ask for themselves
		}
		t.done = mine
	}
	return nil
}

// follow takes over what the log of a shard says since the last time. What was folded since is not known any more: then all begins anew.
func (r *Reader) follow(ctx context.Context, shard int, t *tail, foreign bool) error {
	for {
		page, err := r.Store.Tail(ctx, shard, t.after)
		if err != nil {
			return err
		}
		if t.known && len(page.Entries) == 0 && page.Folded <= t.after {
			t.after = page.Next
			if !page.More {
				return nil
			}
			continue
		}
		missed := page.Folded > t.after || slices.ContainsFunc(page.Entries, moved)
		foreign = foreign || !r.Store.others.Alone() // asked now: while nobody else is there, nothing of theirs is in the page
		r.mu.Lock()
		r.notes++
		if missed {
			clear(r.chunks)
			clear(r.owns)
			r.bytes, r.ownBytes = 0, 0
			for _, notes := range r.coming {
				*notes = append(*notes, fanfare.Note{}) // of no message: it says that the chunk has to be loaded again
			}
		}
		for _, e := range page.Entries {
			for i := range e.Notes {
				r.apply(&e.Notes[i])
			}
		}
		r.evict(nil)
		r.mu.Unlock()
		for _, e := range page.Entries {
			if foreign { // ours were noted when they were made
				r.Store.news(e.News)
			}
		}
		if missed {
			r.Store.news([]fanfare.News{{Kind: fanfare.NewsDeliveredFew}, {Kind: fanfare.NewsPeople}})
		}
		if r.heard != nil {
			r.heard(page, missed)
		}
		if t.after, t.known = page.Next, true; !page.More {
			return nil
		}
	}
}

// moved says whether a slot came or went with an entry: what was read of it before, and the log of another shard said, is of no use any more.
func moved(e fanfare.LogEntry) bool {
	return slices.ContainsFunc(e.News, func(n fanfare.News) bool { return n.Kind == fanfare.NewsMoved })
}
