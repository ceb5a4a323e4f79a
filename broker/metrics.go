package broker

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the broker's own counters; no channel and no client is ever a label
// (experience.md §6).
type metrics struct {
	published, replays, replayed, mended, lagged, gaps, badRecords, refusedRoots        prometheus.Counter
	resumed, released, unanswered, leaseLosses, overdue, paced, errandsAgain            prometheus.Counter
	sessionRecords, repeats, forgottenSeams                                             prometheus.Counter
	feedBreaks, lostWildcards, forks, deepForks, recordForks                            prometheus.Counter
	changes, snapshots, lostEvents                                                      prometheus.Counter
	refusals, drops, calls                                                              *prometheus.CounterVec
	records, streamEvents, redelivered, streamFaults, superseded                        prometheus.Counter
	accumulated                                                                         prometheus.Counter
	samples, lostSamples, minutesClosed, minutesUnmeasured, statsMessages, unlistedURLs prometheus.Counter
	sampleSeconds, stored                                                               prometheus.Histogram
	lostVisits                                                                          prometheus.Counter
	unsureBatches                                                                       prometheus.Counter
}

// What the counters with a label count: the values of refused and dropped.
var (
	refusalNames = []string{
		"accumulate", "accumulated", "accumulation full", "accumulation names", "busy session", "call", "contended session", "data",
		"forward", "forward too large", "history", "letter", "overdue record", "publish", "records", "signed body",
		"store full", "subscribe", "subscriptions", "suspended", "token", "unavailable", "viewer log",
	}
	dropNames = []string{"backlog", "tap"}
)

// newMetrics makes the counters and, where reg is not nil, registers them.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "gobelin", Name: name, Help: help})
		all = append(all, c)
		return c
	}
	// The values are there from the start: what begins with its first event has no rate
	// that shows this event.
	vec := func(name, help, label string, values []string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gobelin", Name: name, Help: help}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		all = append(all, c)
		return c
	}
	sampleSeconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "gobelin", Name: "viewer_sample_seconds", Help: "Time that one count of this node's viewers took, until it was stored.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 7),
	})
	stored := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "gobelin", Name: "store_append_seconds", Help: "Time from when a publish was taken until the store had it.",
		Buckets: storedBuckets,
	})
	all = append(all, sampleSeconds, stored)
	m := &metrics{
		accumulated:       counter("accumulated_total", "Entries taken into accumulations."),
		published:         counter("published_total", "Messages appended and acknowledged."),
		replays:           counter("replays_total", "Catch-ups begun."),
		replayed:          counter("replayed_messages_total", "Messages delivered by catch-ups."),
		mended:            counter("mended_messages_total", "Live messages read from the store because a session lagged."),
		lagged:            counter("lagging_total", "Times a session's queue was full and a kept channel began to lag."),
		gaps:              counter("feed_gaps_total", "Gaps found in the store's feed and mended by reading."),
		badRecords:        counter("bad_records_total", "Stored records that could not be read as a message."),
		refusedRoots:      counter("refused_roots_total", "Roots that did not verify."),
		sessionRecords:    counter("session_records_total", "Session records written, for resuming after a restart."),
		resumed:           counter("resumed_sessions_total", "Sessions taken up here that lived elsewhere, or before a restart."),
		released:          counter("released_sessions_total", "Sessions let go because another node asked for them."),
		unanswered:        counter("unanswered_letters_total", "Letters to other nodes that were not answered in time; of a node that leaves three in a row the sessions are taken over."),
		leaseLosses:       counter("lease_losses_total", "Times this node could not say in time that it lives, and stopped serving."),
		overdue:           counter("overdue_records_total", "Records of sessions that left while the store could not be reached, to be written later."),
		paced:             counter("paced_takeovers_total", "Takeovers that waited because their session goes from node to node too fast."),
		errandsAgain:      counter("repeated_errands_total", "Subscribes and unsubscribes by another node that had been carried out before, and were answered as then."),
		repeats:           counter("repeated_publishes_total", "Publishes sent again by their session and answered as before."),
		forgottenSeams:    counter("forgotten_seams_total", "Catch-ups that repeat some of what came by an older wildcard, since where that began was forgotten."),
		feedBreaks:        counter("feed_breaks_total", "Times a watched feed of the store broke."),
		lostWildcards:     counter("lost_wildcards_total", "Sessions ended because more channels spoke during a break of the feed than their wildcards are mended for."),
		lostEvents:        counter("lost_object_events_total", "Changes of an object's fields that could not be said on its events."),
		forks:             counter("history_forks_total", "Channels of which the store lost the newest messages after they had been delivered."),
		deepForks:         counter("history_forks_deep_total", "Channels of history_forks_total of which nothing delivered of late is left, so that it is not known how much was lost."),
		recordForks:       counter("session_record_forks_total", "Session records that the store had set back, and that were written again."),
		changes:           counter("data_changes_total", "Changes of shared documents (data channels and /v1/data)."),
		snapshots:         counter("data_snapshots_total", "Snapshots of shared documents that subscriptions began with."),
		records:           counter("stream_records_total", "Records taken into accounts' logs that are no copies of messages."),
		streamEvents:      counter("stream_events_total", "Records written to connections of streams."),
		redelivered:       counter("stream_redelivered_events_total", "Records written to connections of streams that another connection had before."),
		streamFaults:      counter("stream_faults_total", "Times a connection to a stream could not be served by the store, to be tried again."),
		superseded:        counter("stream_superseded_total", "Connections to streams ended because their peer had come again."),
		refusals:          vec("refused_total", "Requests refused, by what was asked.", "what", refusalNames),
		calls:             vec("remote_calls_total", "Remote calls answered, by service.", "service", slices.Sorted(maps.Keys(services))),
		drops:             vec("dropped_messages_total", "Messages of channels without history dropped before a session's queue, by reason.", "reason", dropNames),
		sampleSeconds:     sampleSeconds,
		stored:            stored,
		samples:           counter("viewer_samples_total", "Times this node counted its viewers."),
		lostSamples:       counter("lost_viewer_samples_total", "Times this node could not count its viewers in time: the store was away, or the process stood still."),
		minutesClosed:     counter("viewer_rows_closed_total", "Minutes of viewer statistics that this node added up."),
		minutesUnmeasured: counter("viewer_rows_unmeasured_total", "Minutes without samples, or that could not be added up in time."),
		unlistedURLs:      counter("viewer_unlisted_urls_total", "Urls of a minute that the index of their day had no room for: they have no hours and no days."),
		statsMessages:     counter("viewer_messages_total", "Messages on /stats/live, minute, hour and day."),
		lostVisits:        counter("stream_lost_visits_total", "Users who joined or left while the store was away for so long that streams were not told."),
		unsureBatches:     counter("unsure_batches_total", "Batches of the ack extension whose session's record could not be written first."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// addGauge adds a figure of now.
func addGauge(reg prometheus.Registerer, name, help string, now func() float64) error {
	if reg == nil {
		return nil
	}
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "gobelin", Name: name, Help: help}, now))
}

// addCounter adds a figure that only grows, and that is counted elsewhere.
func addCounter(reg prometheus.Registerer, name, help string, now func() float64) error {
	if reg == nil {
		return nil
	}
	return reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "gobelin", Name: name, Help: help}, now))
}

func (m *metrics) refused(what string) prometheus.Counter { return m.refusals.WithLabelValues(what) }

func (m *metrics) called(service string) prometheus.Counter {
	return m.calls.WithLabelValues(service)
}

func (m *metrics) dropped(reason string) prometheus.Counter { return m.drops.WithLabelValues(reason) }
