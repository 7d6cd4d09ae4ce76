package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"fanfare"
	"fanfare/api"
	"fanfare/channels/email"
	"fanfare/channels/inbox"
	"fanfare/channels/null"
	"fanfare/cmd/fanfare/config"
	"fanfare/cmd/fanfare/home"
	"fanfare/cmd/fanfare/providers"
	"fanfare/deliver"
	reading "fanfare/inbox"
	"fanfare/people"
	"fanfare/plan"
	"fanfare/receipts"
	"fanfare/stores/sharded"
	"fanfare/web"
)

// OpenAPI gives the document of the API.
func OpenAPI() ([]byte, error) { return api.OpenAPI() }

// node is one process with all its parts.
type node struct {
	Config
	store    fanfare.Store
	queue    fanfare.Queue
	guard    *plan.Guard
	planner  *plan.Planner
	indexer  *plan.Indexer
	worker   *deliver.Node
	importer *people.Importer
	folder   *receipts.Folder
	mover    *sharded.Mover // nil: there is one database
	api      *api.Server
	tokens   *api.Tokens
	presence *presence
	late     bool // others live: they have to learn of this node before it begins
	hub      *reading.Hub
	handler  http.Handler
}

// wire makes the parts and hands them to each other. When it returns, nothing of the past can send any more: the claims of this node's
// former incarnations are void, and a database that was copied or restored is paused. Nothing runs yet.
func wire(ctx context.Context, c Config, folder *home.Folder, store fanfare.Store) (*node, error) {
	here := newPresence(store, folder, &c)
	several, are := store.(*sharded.Store)
	watched := reading.Among(store, here)
	here.touch = watched.Touch
	store = watched
	guard := &plan.Guard{Store: store, Position: position{folder}, Logger: c.Log}
	if _, err := guard.Check(ctx); err != nil { // first: what is written before would raise the head of a database that was rolled back
		return nil, err
	}
	others, err := here.join(ctx, folder, &c, c.alone)
	if err != nil {
		return nil, err
	}
	key, err := installationKey(ctx, store)
	if err != nil {
		return nil, err
	}
	made, err := adminKey(ctx, store, folder, api.Scopes())
	if err != nil {
		return nil, err
	}
	if made != "" {
		c.Log.Info("admin key made", "file", made)
	}
	master, err := masterKey(ctx, store, folder, c.MasterKey, key, others, c.Log)
	if err != nil {
		return nil, err
	}
	book, err := providers.New(store, master, c.fixed)
	if err != nil {
		return nil, err
	}
	owner := fanfare.Owner{Node: folder.Node, Incarnation: folder.Incarnation}
	if err := voidClaims(ctx, store, owner); err != nil {
		return nil, err
	}
	n := &node{Config: c, store: store, queue: c.tasks, guard: guard, presence: here, late: others}
	if are {
		n.mover = &sharded.Mover{Store: several, Holder: fmt.Sprintf("%s %d", folder.Node, folder.Incarnation), Log: c.Log}
	}
	links := api.NewLinks(c.links, key)
	cat := newCatalog(context.WithoutCancel(ctx), book, links, c.Log)
	n.tokens = api.NewTokens(key)
	n.parts(c, folder, owner, key, cat, links)
	if n.importer, err = people.NewImporter(store, folder.Path("imports"), c.Log); err != nil {
		return nil, err
	}
	n.importer.At(people.Place{Folder: folder.ID, Node: folder.Node})
	return n, n.faces(c, watched, book, cat, links)
}

// parts makes planner and worker, which wake each other.
func (n *node) parts(c Config, folder *home.Folder, owner fanfare.Owner, key []byte, cat *catalog, links *api.Links) {
	nudge := make(chan struct{}, 1)
	n.worker = deliver.New(deliver.Config{Store: n.store, Queue: n.queue, Owner: owner, Roles: c.Roles, Key: key, Lanes: cat.lanes, Tell: n.presence.tell,
		Unsubscribe: links.Unsubscribe, Logger: c.Log, Nudge: func() {
			select {
			case nudge <- struct{}{}:
			default:
			}
		}})
	n.folder = &receipts.Folder{Store: n.store, Node: folder.Node, Logger: c.Log}
	n.indexer = &plan.Indexer{Store: n.store, Node: folder.Node, Logger: c.Log}
	var free func() map[string]int
	if c.has(roleWorker) {
		free = n.worker.Free
	}
	n.planner = plan.New(plan.Config{Store: n.store, Queue: n.queue, Node: folder.Node, Free: free, Nudge: nudge, Logger: c.Log, Content: lacking,
		NeedsAddress: func(name fanfare.ChannelName) bool {
			channel, ok := cat.channel(name)
			return ok && channel.Features().NeedsAddress
		}})
}

// faces makes the API and the pages that use it.
func (n *node) faces(c Config, watched *reading.Watched, book *providers.Book, cat *catalog, links *api.Links) (err error) {
	reader := reading.New(reading.Config{Store: watched, Compile: readable, CacheBytes: c.CacheBytes, Logger: c.Log})
	n.hub = reading.NewHub(reader)
	var shards api.Shards
	if n.mover != nil {
		shards = n.mover.Store
	}
	n.api, err = api.New(api.Config{
		Store: n.store, Shards: shards, Queue: n.queue, Imports: files{n.importer, n.presence.heard}, Providers: shelf{book, cat}, Channel: cat.channel, Count: n.count,
		Inbox: mailbox{reader}, Feed: feed{n.hub},
		Receive: receipts.NewDesk(n.store).Accept, CheckRecipient: checkRecipient, SendTest: (&tester{cat, links}).send, Links: links, Tokens: n.tokens, InboxOrigins: c.InboxOrigins,
		Wake: func() {
			n.planner.Wake()
			if c.has(roleWorker) { // else nobody takes what it is told
				n.worker.LookNow()
			}
		},
		Reload: n.worker.Reload, Alone: n.presence.Alone, Seal: book.Seal, Open: book.Open, PublicURL: c.PublicURL, Version: c.Version, Log: c.Log,
	})
	if err != nil {
		return err
	}
	if !c.has(roleAPI) {
		n.handler = n.api.HealthHandler()
		return nil
	}
	pages := web.New(web.Config{API: n.api, Logger: c.Log})
	n.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api.Owns(r.URL.Path) {
			n.api.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
	return nil
}

// fileProviders reads the providers of the configuration file and has their channels look at them.
func fileProviders(f *config.File) (fixed []fanfare.Provider, err error) {
	if f == nil {
		return nil, nil
	}
	for name := range f.Providers {
		p, err := f.Provider(name)
		if err == nil {
			err = checkProvider(p)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", fanfare.ErrUsage, f.Path, err)
		}
		fixed = append(fixed, p)
	}
	return fixed, nil
}

// voidClaims ends what former incarnations of this node held: a restart waits for no lease.
func voidClaims(ctx context.Context, store fanfare.Store, o fanfare.Owner) error {
	looks, err := store.Look(ctx)
	if err != nil {
		return fmt.Errorf("read the messages: %w", err)
	}
	for _, l := range looks {
		if err := store.VoidClaims(ctx, l.Num, o); err != nil {
			return fmt.Errorf("message %s: end the claims of the former process: %w", l.ID, err)
		}
	}
	return nil
}

// position keeps the journal's position in the data folder.
type position struct{ folder *home.Folder }

func (p position) file() string { return p.folder.Path("journal") }

// Noted implements plan.Position.
func (p position) Noted() (int64, error) {
	text, err := p.folder.Read("journal")
	if err != nil || text == "" {
		return 0, err
	}
	head, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number; if the database is right, remove the file", p.file(), text)
	}
	return head, nil
}

// Note implements plan.Position.
func (p position) Note(head int64) error {
	return home.WriteFile(p.file(), []byte(strconv.FormatInt(head, 10)+"\n"))
}

func (n *node) count(ctx context.Context, q api.CountQuery) (api.Counts, error) {
	found, err := n.planner.Count(ctx, plan.CountQuery{Audience: q.Audience, Channel: q.Channel, Topic: q.Topic, Essential: q.Essential, Dedupe: q.Dedupe, Message: q.Message})
	return api.Counts(found), err
}

func checkRecipient(c *fanfare.RecipientChange) error {
	err := people.Check(c)
	if e, ok := errors.AsType[*people.FieldError](err); ok {
		return &api.FieldError{Field: e.Field, Code: e.Code, Detail: e.Detail}
	}
	return err
}

// sandboxed says whether nothing that goes by this provider leaves, whatever its channel.
func sandboxed(p fanfare.Provider) bool { return strings.HasPrefix(p.URL, "sandbox:") }

// checkProvider has a provider's channel look at its settings.
func checkProvider(p fanfare.Provider) error {
	switch {
	case p.Name == string(fanfare.ChannelInbox) || p.Name == string(fanfare.ChannelNull) && p.Channel != fanfare.ChannelNull:
		return fmt.Errorf("provider %s: this is what the channel itself is called; choose another name", p.Name)
	case p.Channel == fanfare.ChannelNull || p.Channel == fanfare.ChannelEmail && sandboxed(p):
		return null.New().Check(p)
	case p.Channel == fanfare.ChannelEmail:
		return email.New(email.Config{}).Check(p)
	case p.Channel == fanfare.ChannelInbox:
		return inbox.New().Check(p)
	}
	return fmt.Errorf("provider %s: there is no channel %q; it is email or null", p.Name, p.Channel)
}
