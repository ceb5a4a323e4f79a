package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options says what is traced, and who is told.
type Options struct {
	// Endpoint is the collector's URL, such as http://127.0.0.1:4318: spans are sent to
	// /v1/traces below it. Required.
	Endpoint string
	// Percent is how many of a hundred requests are traced that bring no traceparent.
	Percent int
	// Node and Version say who speaks.
	Node, Version string
	// Logger hears when the collector does not take spans. Required.
	Logger *zap.Logger
}

const (
	// mostQueued bounds the spans that wait: so many are dropped otherwise, if more are
	// made than a collector takes. Peers decide how many there are, up to their rates.
	mostQueued = 4096
	// mostSent is how many go at once, sendEvery how long they wait for company.
	mostSent  = 512
	sendEvery = time.Second
	// sendWait bounds one request to the collector. At the end it is waited for one that
	// is under way and for the last.
	sendWait = 2 * time.Second
	// mostAnswer is what is read of its answer.
	mostAnswer = 64 << 10
)

// Tracer takes spans and sends them. A nil one makes none.
type Tracer struct {
	options Options
	client  *http.Client
	queue   chan *Span
	sent    atomic.Int64
	dropped atomic.Int64
	quiet   bool // Run has told that the collector takes nothing
}

// New returns a tracer; it sends while Run runs.
func New(o Options) *Tracer {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute}
	o.Endpoint = strings.TrimSuffix(o.Endpoint, "/") + "/v1/traces"
	return &Tracer{
		options: o,
		queue:   make(chan *Span, mostQueued),
		client: &http.Client{
			Transport:     transport,
			Timeout:       sendWait,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Counts returns how many spans a collector has taken, and how many were dropped, because
// more were made than it takes, or it took none.
func (t *Tracer) Counts() (sent, dropped int64) {
	if t == nil {
		return 0, 0
	}
	return t.sent.Load(), t.dropped.Load()
}

func (t *Tracer) add(s *Span) {
	select {
	case t.queue <- s:
	default:
		t.dropped.Add(1)
	}
}

// Run sends what is made until ctx ends, and then what is left.
func (t *Tracer) Run(ctx context.Context) {
	beat := time.NewTicker(sendEvery)
	defer beat.Stop()
	var some []*Span
	for {
		due := false
		select {
		case s := <-t.queue:
			some = append(some, s)
		case <-beat.C:
			due = true
		case <-ctx.Done():
			for len(t.queue) > 0 && len(some) < mostQueued {
				some = append(some, <-t.queue)
			}
			t.send(ctx, some)
			t.client.CloseIdleConnections()
			return
		}
		if due || len(some) == mostSent {
			t.send(ctx, some)
			clear(some)
			some = some[:0]
		}
	}
}

// send posts spans, if there are any, and counts them. The log hears of the first failure,
// and of the first success after it.
func (t *Tracer) send(ctx context.Context, some []*Span) {
	if len(some) == 0 {
		return
	}
	err := t.post(context.WithoutCancel(ctx), t.encode(some)) // the end waits for it
	switch {
	case err != nil:
		t.dropped.Add(int64(len(some)))
		if !t.quiet {
			t.options.Logger.Warn("the collector of traces takes nothing: spans are dropped until it does", zap.Error(err))
		}
	default:
		t.sent.Add(int64(len(some)))
		if t.quiet {
			t.options.Logger.Info("the collector of traces takes spans again")
		}
	}
	t.quiet = err != nil
}

func (t *Tracer) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.options.Endpoint, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("trace: send: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := t.client.Do(r)
	if err != nil {
		return fmt.Errorf("trace: send: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, mostAnswer)) // so that the connection is used again
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("trace: send: %s answers %s", t.options.Endpoint, answer.Status)
	}
	return nil
}

// The JSON form of OTLP: ids as hex digits, 64-bit numbers as texts.
type (
	wireValue struct {
		Text   *string `json:"stringValue,omitempty"`
		Number *string `json:"intValue,omitempty"`
	}
	wireFact struct {
		Key   string    `json:"key"`
		Value wireValue `json:"value"`
	}
	wireStatus struct {
		Code int `json:"code,omitempty"`
	}
	wireSpan struct {
		Trace  string     `json:"traceId"`
		ID     string     `json:"spanId"`
		Parent string     `json:"parentSpanId,omitempty"`
		Name   string     `json:"name"`
		Kind   int        `json:"kind"`
		Began  string     `json:"startTimeUnixNano"`
		Ended  string     `json:"endTimeUnixNano"`
		Facts  []wireFact `json:"attributes,omitempty"`
		Status wireStatus `json:"status"`
	}
)

// statusError is OTLP's code of a span that failed.
const statusError = 2

func textFact(key, text string) wireFact { return wireFact{key, wireValue{Text: &text}} }

func (f fact) wire() wireFact {
	if f.text != "" {
		return textFact(f.key, f.text)
	}
	n := strconv.FormatInt(f.n, 10)
	return wireFact{f.key, wireValue{Number: &n}}
}

func (s *Span) wire() wireSpan {
	w := wireSpan{
		Trace: hex.EncodeToString(s.trace[:]), ID: hex.EncodeToString(s.id[:]), Name: s.name, Kind: s.kind,
		Began: strconv.FormatInt(s.began.UnixNano(), 10), Ended: strconv.FormatInt(s.ended.UnixNano(), 10),
	}
	if s.parent != [8]byte{} {
		w.Parent = hex.EncodeToString(s.parent[:])
	}
	for _, f := range s.facts {
		w.Facts = append(w.Facts, f.wire())
	}
	if s.failed {
		w.Status.Code = statusError
	}
	return w
}

// encode makes the body of a request.
func (t *Tracer) encode(some []*Span) []byte {
	type scope struct {
		Name string `json:"name"`
	}
	type scoped struct {
		Scope scope      `json:"scope"`
		Spans []wireSpan `json:"spans"`
	}
	type resource struct {
		Facts []wireFact `json:"attributes"`
	}
	type resourced struct {
		Resource resource `json:"resource"`
		Scopes   []scoped `json:"scopeSpans"`
	}
	spans := make([]wireSpan, len(some))
	for i, s := range some {
		spans[i] = s.wire()
	}
	of := resource{[]wireFact{textFact("service.name", "gobelin"), textFact("service.version", t.options.Version), textFact("service.instance.id", t.options.Node)}}
	body, err := json.Marshal(struct {
		All []resourced `json:"resourceSpans"`
	}{[]resourced{{of, []scoped{{scope{"github.com/gobelin-broker/gobelin"}, spans}}}}})
	if err != nil {
		return nil // texts and numbers always can be
	}
	return body
}
