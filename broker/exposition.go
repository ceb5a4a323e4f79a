package broker

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Exposition is what Prometheus scrapes of a node (experience.md §6). It is an
// http.Handler for /metrics; Options.Registerer takes its Registerer.
type Exposition struct {
	registry *prometheus.Registry
	handler  http.Handler
}

// NewExposition returns one with the figures of the process and the Go runtime.
func NewExposition() (*Exposition, error) {
	r := prometheus.NewRegistry()
	err := errors.Join(r.Register(collectors.NewGoCollector()),
		r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	if err != nil {
		return nil, fmt.Errorf("broker: exposition: %w", err)
	}
	return &Exposition{
		registry: r,
		// Few at once: a scrape walks all figures.
		handler: promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}),
	}, nil
}

// Registerer is where metrics are added.
func (e *Exposition) Registerer() prometheus.Registerer { return e.registry }

// ServeHTTP answers a scrape.
func (e *Exposition) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }
