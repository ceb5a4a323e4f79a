package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Broker decides who may, appends, routes and delivers. It is the bayeux.Handler
// of every mount and the api.Service of every HTTP surface. All its methods may be
// called by many goroutines at once.
type Broker struct {
	opt     Options
	bounds  atomic.Pointer[Limits]           // changed by ReloadLimits
	ring    atomic.Pointer[channels.Keyring] // changed by ReloadKeyring
	log     *zap.Logger
	tokens  *tokens
	objects *registry
	kinds   *kinds
	classes []RootClass // by number
	open    []openChannels
	hub     *hub
	taps    *taps
	// presence says who listens to what (decided.md 26).
	presence *presence
	// views says who views what on this node, stats is what is kept of that over all nodes
	// (product.md §8).
	views   *viewers
	stats   *catchup.Viewers
	metrics *metrics
	// entropy is for comment ids; it is not monotonic and safe for concurrent use.
	entropy io.Reader
	reads   slots // of histories (historyReads)
	fills   *fills
	pages   *pages
	// documents and conferences are what data is kept in (product.md §7), attendance
	// lets conferences go on while there are subscribers; suspended are the
	// applications that nobody may use.
	documents   *catchup.Documents
	conferences *catchup.Conferences
	attendance  *attendance
	suspended   *suspensions
	started     int64 // when this node began, in ms of the store's clock
	// fanned is a time up to which everything announced was handed to the queues, in ms
	// of the store's clock, as of the last round.
	fanned      atomic.Int64
	nodes       *nodes
	mail        *mail
	absents     absents
	overdue     overdue
	departed    departed
	deaf        atomic.Bool   // letters to this node were lost
	doubts      atomic.Uint64 // how often this node could not be sure to be taken for alive
	advanced    bool          // the watermark has, and is not written; owned by the round
	listing     chan struct{} // asks Run to read the deny lists
	retiredKeys atomic.Uint32 // a bit for each key whose roots are refused
	// accounts have streams, which are rows, groups of readers of the account's log,
	// and connections.
	accounts *accounts
	streams  catchup.Streams
	readers  readers
	tending  chan struct{} // asks Run to look after them
	lag      lag

	// mu guards what follows.
	mu          sync.Mutex
	subscribers map[string]*subscriber // by the key of their record
	taking      map[string]int64       // sessions being taken up, likewise, and since when, in ms
	servers     []*bayeux.Server
}

// New makes a broker over an open store; Run must be called for it to deliver.
// Errors: what is missing or contradicts itself in o.
func New(o Options) (*Broker, error) {
	if o.Store == nil || o.Keyring == nil || o.Logger == nil {
		return nil, errors.New("broker: new: a store, a keyring and a logger are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &Broker{opt: o, log: o.Logger, entropy: rand.Reader, reads: make(slots, historyReads), listing: make(chan struct{}, 1), subscribers: map[string]*subscriber{}, taking: map[string]int64{}}
	b.bounds.Store(new(o.Limits.withDefaults()))
	b.ring.Store(o.Keyring)
	if b.opt.StatsSample == 0 {
		b.opt.StatsSample = defaultSample
	}
	if err := checkSample(b.opt.StatsSample); err != nil {
		return nil, err
	}
	b.opt.StatsKeep = o.StatsKeep.WithDefaults()
	if err := b.opt.StatsKeep.Validate(); err != nil {
		return nil, err
	}
	b.views, b.stats = newViewers(), catchup.NewViewers(o.Store, b.opt.StatsSample, b.opt.StatsKeep)
	var err error
	b.opt.Accumulate = o.Accumulate.withDefaults()
	b.opt.Streams = o.Streams.withDefaults()
	if b.accounts, err = newAccounts(o.Accounts, b.opt.Streams); err != nil {
		return nil, err
	}
	b.streams, b.tending = catchup.NewStreams(o.Store), make(chan struct{}, 1)
	if b.kinds, err = newKinds(o.Kinds, b.limits().History, b.opt.Accumulate.TTL, b.opt.StatsKeep); err != nil {
		return nil, err
	}
	if b.classes, err = RootClasses(o.Classes); err != nil {
		return nil, err
	}
	if b.open, err = openPrefixes(o.Open, b.limits().History); err != nil {
		return nil, err
	}
	if b.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("broker: metrics: %w", err)
	}
	if err := b.gaugeStreams(); err != nil {
		return nil, err
	}
	if err = addGauge(o.Registerer, "viewers", "Viewers on this node: sessions, over all objects.", func() float64 { return float64(b.views.total()) }); err != nil {
		return nil, fmt.Errorf("broker: metrics: %w", err)
	}
	b.tokens = newTokens(o.Accounts, o.TokenRules, o.Sandbox, o.Now)
	b.objects = newRegistry(registryOptions{
		store: o.Store, keyring: o.Keyring, accounts: o.Accounts, capacity: b.limits().Objects,
		now: o.Store.Now, logger: o.Logger, withdrawn: b.withdraw,
		post: func(a announcement) { b.post(notice{Object: &a}) },
	})
	if b.opt.SessionLife == 0 {
		b.opt.SessionLife = 90 * time.Second
	}
	b.started = o.Store.Now().UnixMilli()
	b.fanned.Store(b.started - 1) // in that ms something may still be said
	if b.nodes, err = newNodes(o, b.recordLife(), b.started); err != nil {
		return nil, fmt.Errorf("broker: new: %w", err)
	}
	b.documents = catchup.NewDocuments(o.Store, o.MaxDocument)
	b.conferences = catchup.NewConferences(o.Store, o.sessionTTL())
	b.attendance = newAttendance(b)
	b.suspended = newSuspensions()
	b.mail = newMail(b)
	// Before the first session: what its node was is asked when it is resumed.
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if err := b.nodes.beat(ctx, false); err != nil {
		return nil, err
	}
	b.overdue.b, b.departed.b = b, b
	b.hub = newHub(b)
	b.taps, b.presence = newTaps(b), newPresence(b)
	if o.PresencePublic {
		b.kinds.reserved[presenceKind].subscribe = RoleViewer
	}
	if o.StatsPublic {
		b.kinds.stats[statsLive].subscribe = RoleViewer
	}
	b.pages = newPages(b.limits().Pages)
	if err := b.pages.observe(o.Registerer); err != nil {
		return nil, fmt.Errorf("broker: metrics: %w", err)
	}
	b.fills = newFills(o.Store, b.opt.Accumulate)
	return b, nil
}

// openPrefixes checks the open prefixes and gives each its kind.
func openPrefixes(list []OpenPrefix, length int) ([]openChannels, error) {
	open := make([]openChannels, 0, len(list))
	for _, o := range list {
		switch o.Publish {
		case publishAnyone, publishSession, publishServer:
		default:
			return nil, fmt.Errorf("broker: open: %s: publish is %q; it can be anyone, session or server", o.Pattern, o.Publish)
		}
		if first := o.Pattern.First(); first == "meta" || first == "service" || channels.IsRoot(first) {
			return nil, fmt.Errorf("broker: open: %s: %s channels cannot be open", o.Pattern, "/meta, /service and root")
		}
		k := &kind{name: "open", subscribe: RoleViewer, publish: RoleViewer, catchup: o.History}
		if o.History > 0 {
			k.limits = store.Limits{Age: o.History + catchup.Grace, Length: length}
		}
		open = append(open, openChannels{OpenPrefix: o, kind: k})
	}
	return open, nil
}

// Run fans out and keeps house until ctx ends; it returns once all its goroutines
// have stopped. The store must stay open until then.
func (b *Broker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { b.hub.run(ctx) })
	failed := make(chan error, 2)
	wg.Go(func() { b.objects.Run(ctx) })
	wg.Go(func() { b.keepLists(ctx) })
	wg.Go(func() { b.attendance.run(ctx) })
	wg.Go(func() { b.purgeSuspended(ctx) })
	for _, f := range []*follower{b.notices(), b.mail.inbox()} {
		wg.Go(func() {
			if err := f.run(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	wg.Go(func() { b.keepAlive(ctx) })
	wg.Go(func() { b.keepFigures(ctx) })
	wg.Go(func() { b.taps.run(ctx) })
	wg.Go(func() { b.presence.run(ctx) })
	wg.Go(func() { b.tendStreams(ctx) })
	wg.Go(func() { newSampler(b).run(ctx) })
	wg.Go(func() { newTally(b).run(ctx) })
	wg.Go(func() {
		tick := time.NewTicker(rememberEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-tick.C:
				b.rememberSessions(ctx)
				b.settleDocuments(ctx)
				b.pages.sweep()
				b.departed.sweep()
			case <-ctx.Done():
			}
		}
	})
	tick := time.NewTicker(topicSweep)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case now := <-tick.C:
			b.hub.sweep(now)
		case <-ctx.Done():
		}
	}
	b.EndStreams()
	wg.Wait()
	b.mail.wg.Wait()
	b.readers.wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// kindOf returns the kind of a log's channel, nil for a log that is no channel.
func (b *Broker) kindOf(log store.LogName, name channels.Name) *kind {
	if spaceFeed(log.Feed) == openFeed {
		t, err := b.openTarget(name)
		if err != nil {
			return nil
		}
		return t.kind
	}
	return b.kinds.of(name)
}

// withdraw ends every session that listens by a root that is no longer good: its
// client handshakes again, and the dead name gets its refusal (security.md §1.8).
func (b *Broker) withdraw(_, oid channels.OID) {
	b.endSessions(func(s *subscriber) bool { return s.uses(oid) })
}

// DeleteObject removes an object: its roots lead nowhere, and the data of its room and
// sessions is gone (product.md E20). The data goes first, so that a deletion that fails
// half way can be asked for again, and once more after, for what was written between.
func (b *Broker) DeleteObject(ctx context.Context, app *Application, id string) error {
	o, err := b.objects.get(ctx, app, id)
	if err != nil {
		return err
	}
	if err := b.forgetData(ctx, o); err != nil {
		return err
	}
	if err := b.objects.delete(ctx, app, id); err != nil {
		return err
	}
	return b.forgetData(ctx, o)
}

// Object returns an object, made on its first mention by a trusted party where
// Options.AutoCreate is set. ErrNoObject when there is none.
func (b *Broker) Object(ctx context.Context, app *Application, id string) (*Object, error) {
	if b.opt.AutoCreate {
		return b.objects.ensure(ctx, app, id)
	}
	return b.objects.get(ctx, app, id)
}
