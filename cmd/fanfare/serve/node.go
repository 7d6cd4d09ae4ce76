package serve

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// run serves until ctx ends, or until a part fails. Then no new request is taken, what is under way ends within its grace and is
// recorded, the planner gives its lease back; last of all the log of receipts is folded and the guard notes the journal's position.
func (n *node) run(ctx context.Context, l net.Listener) error {
	var admin net.Listener
	if n.AdminListen != "" {
		var err error
		if admin, err = listen(ctx, n.AdminListen); err != nil {
			return err
		}
		defer admin.Close() //nolint:errcheck // closed by the server before
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	noting, stopNoting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNoting()
	var mu sync.Mutex
	var failed []error // guarded by mu
	var parts, last sync.WaitGroup
	start := func(wg *sync.WaitGroup, ctx context.Context, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
				stop()
			}
		})
	}
	if !n.has(roleWorker) {
		start(&last, noting, n.presence.run)
	}
	start(&parts, working, n.presence.superseded)
	n.begin(working)
	start(&last, noting, n.guard.Run)
	start(&parts, working, n.importer.Run) // files lie where they were taken in
	if n.has(rolePlanner) {
		start(&last, noting, n.folder.Run)
		start(&parts, working, n.planner.Run)
		start(&parts, working, n.indexer.Run)
		start(&parts, working, n.purge)
		start(&parts, working, n.sweep)
		if n.mover != nil {
			start(&parts, working, n.mover.Run)
		}
	} else {
		start(&last, noting, n.folder.End)
	}
	if n.has(roleWorker) {
		start(&parts, working, n.worker.Run)
	}
	if n.has(roleAPI) {
		start(&parts, working, n.hub.Run)
	}
	start(&parts, working, func(ctx context.Context) error { return answer(ctx, l, n.handler, n.Log) })
	if admin != nil {
		start(&parts, working, func(ctx context.Context) error { return answer(ctx, admin, n.api.MetricsHandler(), n.Log) })
	}
	n.Log.Info("listening", "addr", l.Addr().String(), "version", n.Version)
	<-working.Done()
	n.Log.Info("stopping: what is under way may end")
	parts.Wait()
	n.presence.end()
	stopNoting()
	last.Wait()
	if err := n.presence.leave(ctx); err != nil {
		n.Log.Debug("the others learn only by its silence that this node has stopped", "error", err)
	}
	n.Log.Info("stopped")
	return errors.Join(failed...)
}

// begin waits, if others live, until they know of this node: then they ask for what it writes.
func (n *node) begin(ctx context.Context) {
	if n.late {
		select {
		case <-ctx.Done():
		case <-time.After(joinTime):
		}
	}
	n.presence.belong(n.presence.now())
}
