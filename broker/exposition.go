package broker

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
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
	answers  *prometheus.CounterVec
	waits    prometheus.Histogram
	panics   prometheus.Counter
}

// NewExposition returns one with the figures of the process and the Go runtime.
func NewExposition() (*Exposition, error) {
	r := prometheus.NewRegistry()
	e := &Exposition{
		registry: r,
		// Few at once: a scrape walks all figures.
		handler: promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "gobelin", Name: "http_answers_total", Help: "Requests answered by the HTTP API, by route and status.",
		}, []string{"route", "code"}),
		waits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "gobelin", Name: "http_answer_seconds", Help: "Time from a request to the HTTP API to the head of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 7),
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "gobelin", Name: "request_panics_total", Help: "Panics recovered in requests over HTTP; those of Bayeux are in gobelin_panics_total.",
		}),
	}
	// What the last collection left tells a leak; what is allocated goes up and down.
	live := collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}
	err := errors.Join(r.Register(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(live))),
		r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		r.Register(e.answers), r.Register(e.waits), r.Register(e.panics))
	if err != nil {
		return nil, fmt.Errorf("broker: exposition: %w", err)
	}
	return e, nil
}

// Build is what a node runs.
type Build struct {
	Version  string // as `gobelin version` says it
	Revision string // the commit; may be empty
	Store    string // memory, disk or redis
}

// Describe adds what the node runs and whether it is ready: ready is asked at each
// scrape, with a bound of its own. Call it once.
func (e *Exposition) Describe(b Build, ready func() error) error {
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "gobelin", Name: "build_info", Help: "Always 1; the labels say what this node runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": runtime.Version(), "store": b.Store},
	}, func() float64 { return 1 })
	state := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "gobelin", Name: "ready", Help: "Whether this node should get traffic, as /readyz says it: 1, or 0 while it starts or stops or cannot reach its store.",
	}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
	if err := errors.Join(e.registry.Register(build), e.registry.Register(state)); err != nil {
		return fmt.Errorf("broker: exposition: %w", err)
	}
	return nil
}

// ObserveTraces adds the figures of a tracer (trace.Tracer.Counts). Call it once.
func (e *Exposition) ObserveTraces(counts func() (sent, dropped int64)) error {
	err := errors.Join(
		addCounter(e.registry, "trace_spans_sent_total", "Spans that a collector of traces has taken.", func() float64 {
			sent, _ := counts()
			return float64(sent)
		}),
		addCounter(e.registry, "trace_spans_dropped_total", "Spans dropped: more were made than the collector takes, or it took none.", func() float64 {
			_, dropped := counts()
			return float64(dropped)
		}))
	if err != nil {
		return fmt.Errorf("broker: exposition: %w", err)
	}
	return nil
}

// ObserveStore adds the errors of a store by cause (redis.Store.Errors). Call it once.
func (e *Exposition) ObserveStore(errors func() map[string]int64) error {
	if err := e.registry.Register(storeErrors(errors)); err != nil {
		return fmt.Errorf("broker: exposition: %w", err)
	}
	return nil
}

// storeErrors turns a store's errors into metrics when it is scraped.
type storeErrors func() map[string]int64

var storeErrorsTotal = prometheus.NewDesc("gobelin_store_errors_total", "Commands that Redis refused or did not answer, each attempt of one, by cause.", []string{"cause"}, nil)

// Describe is part of prometheus.Collector.
func (storeErrors) Describe(ch chan<- *prometheus.Desc) { ch <- storeErrorsTotal }

// Collect is part of prometheus.Collector.
func (s storeErrors) Collect(ch chan<- prometheus.Metric) {
	for cause, n := range s() {
		ch <- prometheus.MustNewConstMetric(storeErrorsTotal, counted, float64(n), cause)
	}
}

// CountPanic counts a panic that was recovered in a request over HTTP.
func (e *Exposition) CountPanic() { e.panics.Inc() }

// CountAnswer counts one answer of the HTTP API. route must be one of ours, never a
// path that somebody asked for.
func (e *Exposition) CountAnswer(route string, status int, took time.Duration) {
	e.answers.WithLabelValues(route, strconv.Itoa(status)).Inc()
	e.waits.Observe(took.Seconds())
}

// Registerer is where metrics are added.
func (e *Exposition) Registerer() prometheus.Registerer { return e.registry }

// ServeHTTP answers a scrape.
func (e *Exposition) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }
