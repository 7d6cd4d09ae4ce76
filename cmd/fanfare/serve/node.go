package serve

import (
	"context"
	"errors"
	"net"
	"sync"
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
	start(&last, noting, n.guard.Run)
	start(&last, noting, n.folder.Run)
	start(&parts, working, n.worker.Run)
	start(&parts, working, n.planner.Run)
	start(&parts, working, n.importer.Run)
	start(&parts, working, n.indexer.Run)
	start(&parts, working, n.purge)
	start(&parts, working, n.hub.Run)
	start(&parts, working, func(ctx context.Context) error { return answer(ctx, l, n.handler, n.Log) })
	if admin != nil {
		start(&parts, working, func(ctx context.Context) error { return answer(ctx, admin, n.api.MetricsHandler(), n.Log) })
	}
	n.Log.Info("listening", "addr", l.Addr().String(), "version", n.Version)
	<-working.Done()
	n.Log.Info("stopping: what is under way may end")
	parts.Wait()
	stopNoting()
	last.Wait()
	n.Log.Info("stopped")
	return errors.Join(failed...)
}
