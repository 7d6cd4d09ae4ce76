package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/home"
	"fanfare/deliver"
)

// The times of being one of several.
const (
	tellEvery = time.Second
	// aloneTime is for how long a node that saw no other in `nodes` reckons that there is none: so long whoever comes waits until it begins.
	aloneTime = 2 * time.Second
	joinTime  = aloneTime + 500*time.Millisecond
	// silentTime is how long another has to be silent to be taken for gone. It is longer than memberTime: one that was stopped for so long joins
	// anew before it answers that it wrote something.
	silentTime = 15 * time.Second
	memberTime = 10 * time.Second
	leaveTime  = time.Second
)

// errSuperseded says that another process has this node's name and a later incarnation.
var errSuperseded = errors.New("another process was started as this node meanwhile, on a copy of its data folder; this one stops: its claims are void")

// presence is this node among those of the database: it says every second that it lives, and learns of the others. A node alone needs to ask nobody
// what is new in the database; see [presence.Alone].
type presence struct {
	store fanfare.Control
	self  fanfare.Node
	now   func() deliver.Instant
	touch func()        // others write, or did until now
	later chan struct{} // closed when this node was superseded
	once  sync.Once

	until  atomic.Int64 // deliver.Instant; nobody else is there before
	member atomic.Int64 // the others know of us before; 0: this node has not begun

	mu     sync.Mutex // guards what follows
	others []fanfare.Node
	again  deliver.Instant // a member once more then, if the node was silent for too long; 0: it was not
}

func newPresence(store fanfare.Control, folder *home.Folder, c *Config) *presence {
	return &presence{store: store, now: deliver.BootClock(), touch: func() {}, later: make(chan struct{}), self: fanfare.Node{Name: folder.Node, Folder: folder.ID, Version: c.Version, Roles: c.Roles}}
}

// join enters the node into the database, which refuses a second one of its name, and says whether others live. own says that tasks do not reach
// other processes.
func (p *presence) join(ctx context.Context, folder *home.Folder, c *Config, own bool) (others bool, err error) {
	began := p.now()
	err = p.store.Update(ctx, func(tx fanfare.ControlTx) error {
		others = false
		p.self.Incarnation = folder.Incarnation
		nodes, err := tx.Nodes()
		if err != nil {
			return err
		}
		for i := range nodes {
			n, ago := &nodes[i], tx.Now().Sub(nodes[i].SeenAt).Round(time.Second)
			switch {
			case n.Name != p.self.Name && n.Folder == p.self.Folder && n.Folder != "": // this node under its former name: the folder is locked
			case n.Name != p.self.Name:
				others = others || !gone(n, tx.Now())
				if own && n.Alive(tx.Now()) && c.moves() && moves(n.Roles) {
					return fmt.Errorf("the node %s plans and sends on this database too (heard %s ago), and the queue memory: reaches one process only; "+
						"give every node a queue that they share (--queue), or this one --roles api", n.Name, ago)
				}
			case n.Folder != "" && n.Folder != p.self.Folder && n.Alive(tx.Now()):
				return fmt.Errorf("there is a node %s already (heard %s ago), and its data folder is another one; name this one otherwise with --node", n.Name, ago)
			default:
				p.self.Incarnation = max(p.self.Incarnation, n.Incarnation+1)
			}
		}
		p.note(began, nodes, tx.Now())
		return tx.PutNode(p.self)
	})
	if err == nil && p.self.Incarnation != folder.Incarnation {
		err = folder.Raise(p.self.Incarnation)
	}
	return others, err
}

// gone says whether a node writes nothing more, as far as can be known.
func gone(n *fanfare.Node, now time.Time) bool { return n.Left || now.Sub(n.SeenAt) >= silentTime }

// note keeps what a transaction that began then saw of the others.
func (p *presence) note(began deliver.Instant, nodes []fanfare.Node, now time.Time) {
	others := slices.DeleteFunc(slices.Clone(nodes), func(n fanfare.Node) bool { return n.Name == p.self.Name || n.Folder == p.self.Folder || gone(&n, now) })
	p.mu.Lock()
	before := len(p.others)
	p.others = others
	p.mu.Unlock()
	if before+len(others) > 0 {
		p.touch()
	}
	if len(others) == 0 {
		p.until.Store(int64(began.After(aloneTime)))
	} else {
		p.until.Store(0)
	}
}

// Alone implements inbox.Others: no other node can have written anything that this one does not know of. Whoever comes says so in `nodes` and begins only when
// that is over.
func (p *presence) Alone() bool { return int64(p.now()) < p.until.Load() }

// heard says whether another node was heard of lately.
func (p *presence) heard(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return node == p.self.Name || slices.ContainsFunc(p.others, func(n fanfare.Node) bool { return n.Name == node })
}

// tell writes the node's row and reads those of the others.
func (p *presence) tell(ctx context.Context, row fanfare.Node) error {
	row.Name, row.Incarnation, row.Folder, row.Version, row.Roles = p.self.Name, p.self.Incarnation, p.self.Folder, p.self.Version, p.self.Roles
	began := p.now()
	var nodes []fanfare.Node
	var now time.Time
	err := p.store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
		if nodes, err = tx.Nodes(); err != nil {
			return err
		}
		now = tx.Now()
		if slices.ContainsFunc(nodes, func(n fanfare.Node) bool { return n.Name == row.Name && n.Incarnation > row.Incarnation }) {
			return errSuperseded
		}
		return tx.PutNode(row)
	})
	if errors.Is(err, errSuperseded) {
		p.once.Do(func() { close(p.later) })
	}
	if err != nil {
		return err
	}
	p.note(began, nodes, now)
	p.belong(began)
	return nil
}

// superseded ends the node when another process has its name.
func (p *presence) superseded(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.later:
		return errSuperseded
	}
}

// belong notes that the others know of this node. After a silence in which they may have taken it for gone they have to learn of it first.
func (p *presence) belong(began deliver.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.others) == 0 { // whoever comes back reads this node's row first
		p.again = 0
	} else if member := deliver.Instant(p.member.Load()); member != 0 && began >= member && p.again == 0 {
		p.again = p.now().After(joinTime)
	}
	if p.again != 0 && p.now() < p.again {
		return
	}
	p.again = 0
	p.member.Store(int64(began.After(memberTime)))
}

// Known implements inbox.Others. The others know of this node unless it was silent for long: then they may reckon that they are alone, and do not
// ask for what it wrote.
func (p *presence) Known(ctx context.Context) error {
	for {
		if member := p.member.Load(); member == 0 || int64(p.now()) < member { // 0: it has not begun
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tellEvery / 10):
		}
	}
}

// run tells until ctx ends, for a node whose worker does not.
func (p *presence) run(ctx context.Context) error {
	for {
		_ = p.tell(ctx, fanfare.Node{}) // what fails is tried again
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tellEvery):
		}
	}
}

// end has nothing wait for the others any more: the node has stopped all that writes what they show, but for the last fold.
func (p *presence) end() { p.member.Store(0) }

// leave says that this node writes nothing more.
func (p *presence) leave(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer stop()
	return p.tell(ctx, fanfare.Node{Left: true})
}
