package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/console"
	"github.com/gobelin-broker/gobelin/broker/trace"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/redis"
	"go.uber.org/zap"
)

type phase int32

const (
	phaseStarting phase = iota
	phaseServing
	phaseStopping
)

// Bounds of a stop beyond drain.time.
const (
	requestsEnd = time.Second     // for answers that are being written
	brokerEnd   = 5 * time.Second // for what is being delivered or written
)

// node is one running server.
type node struct {
	config *config
	log    *zap.Logger
	dev    bool

	store     store.Store
	broker    *broker.Broker
	bayeux    *bayeux.Server
	metrics   *broker.Exposition
	tracer    *trace.Tracer    // nil: nobody wants traces
	gate      *console.Gate    // nil: no token, so nobody is an operator
	console   *console.Console // nil likewise
	listeners []*endpoint
	// certificate may be exchanged at any time; config is changed by reload alone,
	// and only what nobody reads after the start.
	certificate certificate
	api         exchange  // made anew by reload
	retired     []rootKey // keys that reload found gone, likewise

	phase atomic.Int32 // a phase

	stopOnce   sync.Once
	asked      chan struct{} // closed when the operator asks for a stop
	handedOver chan struct{} // closed when a stop has let all clients go
}

// end makes run stop in order, as a signal does.
func (n *node) end() { n.stopOnce.Do(func() { close(n.asked) }) }

// endpoint is one listener with what answers on it.
type endpoint struct {
	name     string
	listener net.Listener
	server   *http.Server
	tls      bool
}

// openNode opens listeners, store and broker; nothing is served before run. The
// listeners come first, so that a busy port costs nothing.
func openNode(ctx context.Context, c *config, log *zap.Logger, dev bool) (*node, error) {
	if c.Store.kind() == kindRedis {
		log = log.With(zap.String("node", c.nodeName()))
	}
	n := &node{config: c, log: log, dev: dev, asked: make(chan struct{}), handedOver: make(chan struct{})}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.release())
	}
	return n, nil
}

func (n *node) open(ctx context.Context) error {
	c := n.config
	public, err := listen(c.Listen, n.dev)
	if err != nil {
		return err
	}
	n.listeners = append(n.listeners, &endpoint{name: "public", listener: public})
	if c.AdminListen != "" {
		l, err := listen(c.AdminListen, false)
		if err != nil {
			return err
		}
		n.listeners = append(n.listeners, &endpoint{name: "admin", listener: l})
	}
	if c.ACME.HTTP != "" {
		l, err := listen(c.ACME.HTTP, false)
		if err != nil {
			return err
		}
		n.listeners = append(n.listeners, &endpoint{name: "acme", listener: l})
	}
	if n.store, err = openStore(ctx, c, n.log); err != nil {
		return err
	}
	if err := c.completeKeys(true); err != nil {
		return err
	}
	if n.dev {
		if _, err := c.completeDevAccount(true); err != nil {
			return err
		}
	}
	metrics, err := broker.NewExposition()
	if err != nil {
		return err
	}
	n.metrics = metrics
	kept := n.store
	if n.tracer = newTracer(c, n.log); n.tracer != nil {
		kept = trace.Store(kept)
	}
	if err := n.observe(); err != nil {
		return err
	}
	options, err := brokerOptions(c, kept, metrics, n.log)
	if err != nil {
		return err
	}
	if n.broker, err = broker.New(options); err != nil {
		return err
	}
	script, err := clientScript(c)
	if err != nil {
		return err
	}
	n.bayeux = bayeux.NewServer(n.broker, bayeuxOptions(c, script, n.log))
	if err := n.broker.Observe(c.Mount, n.bayeux); err != nil {
		return err
	}
	name, revision := built()
	err = metrics.Describe(broker.Build{Version: name, Revision: revision, Store: c.Store.kind()}, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), healthWait)
		defer cancel()
		return n.ready(ctx)
	})
	if err != nil {
		return err
	}
	n.gate = n.newGate()
	var page http.Handler
	if n.console = n.newConsole(); n.console != nil {
		page = n.console
	}
	return n.route(adminHandler(metrics, page, n.operatorHandler(), n.ready))
}

// observe adds what the tracer and the store count to the metrics.
func (n *node) observe() error {
	if err := n.metrics.ObserveTraces(n.tracer.Counts); err != nil {
		return err
	}
	if s, ok := n.store.(*redis.Store); ok {
		return n.metrics.ObserveStore(s.Errors)
	}
	return nil
}

// route gives each listener its server.
func (n *node) route(admin http.Handler) error {
	c := n.config
	n.api.put(apiHandler(c, n.broker, n.metrics, n.tracer, n.log))
	public := &routes{bayeux: n.bayeux, api: &n.api, mount: c.Mount, mounts: c.Mounts}
	if n.dev {
		public.try, public.admin = tryPage(), admin
	}
	err := n.certificate.load(c)
	if err != nil {
		return err
	}
	if n.certificate.acme, err = newACME(c, n.log); err != nil {
		return err
	}
	for _, e := range n.listeners {
		var handler http.Handler = public
		switch e.name {
		case "admin":
			handler = admin
		case "acme":
			handler = inTime(n.certificate.acme.challenges())
		}
		e.server = newHTTPServer(handler, n.log, n.metrics.CountPanic)
		if secured := n.certificate.config(); e.name == "public" && secured != nil {
			e.server.TLSConfig, e.tls = secured, true
		}
	}
	return nil
}

// release closes what open has opened before it failed.
func (n *node) release() error {
	var faults []error
	for _, e := range n.listeners {
		faults = append(faults, e.listener.Close())
	}
	if n.store != nil {
		faults = append(faults, n.store.Close())
	}
	return errors.Join(faults...)
}

// run serves until ctx ends or a listener fails, then stops in order (architecture.md
// §4) and returns. extra runs beside it while it serves; announce is called once
// it does.
func (n *node) run(ctx context.Context, announce func(), extra func(context.Context)) error {
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	failed := make(chan error, len(n.listeners)+1)
	var serving, core sync.WaitGroup
	core.Go(func() {
		if err := n.broker.Run(background); err != nil {
			failed <- fmt.Errorf("broker: %w", err)
		}
	})
	if n.tracer != nil {
		core.Go(func() { n.tracer.Run(background) })
	}
	for _, e := range n.listeners {
		serving.Go(func() {
			if err := e.serve(); err != nil {
				failed <- fmt.Errorf("listener %s: %w", e.name, err)
			}
		})
	}
	while, endExtra := context.WithCancel(ctx)
	defer endExtra()
	serving.Go(func() { paceCollector(while, memoryLimit(), os.Getenv) })
	if n.console != nil {
		serving.Go(func() { n.console.Run(while) })
	}
	if a := n.certificate.acme; a != nil {
		serving.Go(func() { a.obtain(while) })
	}
	if extra != nil {
		serving.Go(func() { extra(while) })
	}
	n.phase.Store(int32(phaseServing))
	announce()
	var err error
	select {
	case <-ctx.Done():
	case <-n.asked:
	case err = <-failed:
	}
	endExtra()
	n.drain()
	serving.Wait()
	end()
	if !within(brokerEnd, core.Wait) {
		// The store stays open: closing it beneath a broker that still works would
		// be worse than a crash, from which it recovers.
		return errors.Join(err, fmt.Errorf("stop: the broker did not end within %v", brokerEnd))
	}
	return errors.Join(err, n.store.Close())
}

// drain takes the node out of traffic: not ready, the public listeners closed, clients
// handed over spread over drain.time. The admin listener closes last, so that it can be
// seen.
func (n *node) drain() {
	n.phase.Store(int32(phaseStopping))
	n.log.Info("stopping", zap.Duration("drain", n.config.DrainTime), zap.Int("sessions", n.bayeux.Sessions()))
	clients, done := context.WithTimeout(context.Background(), n.config.DrainTime)
	defer done()
	requests, finish := context.WithTimeout(context.Background(), n.config.DrainTime+requestsEnd)
	defer finish()
	n.broker.EndStreams()
	var ending sync.WaitGroup
	ending.Go(func() {
		defer close(n.handedOver)
		if err := n.bayeux.Shutdown(clients); err != nil {
			n.log.Warn("not all clients were handed over", zap.Error(err))
		}
	})
	for _, e := range n.listeners {
		ending.Go(func() {
			if e.name == "admin" {
				<-n.handedOver
			}
			if e.server.Shutdown(requests) != nil {
				_ = e.server.Close() // what is left is cut off
			}
		})
	}
	if limit := n.config.DrainTime + requestsEnd + brokerEnd; !within(limit, ending.Wait) {
		n.log.Error("clients did not end in time", zap.Duration("limit", limit))
	}
}

func (e *endpoint) serve() error {
	var err error
	if e.tls {
		err = e.server.ServeTLS(e.listener, "", "")
	} else {
		err = e.server.Serve(e.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// within reports whether wait returned in time; if not, it goes on alone.
func within(limit time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// url returns the address of a listener as a URL, "" when there is none.
func (n *node) url(name string) string {
	for _, e := range n.listeners {
		if e.name != name {
			continue
		}
		if e.tls {
			return "https://" + e.listener.Addr().String()
		}
		return "http://" + e.listener.Addr().String()
	}
	return ""
}
