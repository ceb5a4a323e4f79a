package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/console"
	"github.com/spf13/cobra"
)

// maxTop bounds an answer that top reads: a row for each node and their figures.
const maxTop = 16 << 20

// topSessions is how many of the slowest sessions are shown.
const topSessions = 10

func newTopCommand() *cobra.Command {
	var at control
	var every time.Duration
	var rounds int
	var asJSON bool
	c := &cobra.Command{
		Use:   "top",
		Short: "Show live what the nodes do and who is slow",
		Long: `Shows, again each second, all nodes with their sessions, rates per second and the time
from publish to write, and those sessions of the asked node for which the most waits. It
asks the console of one node, so that needs admin.token. Where output is no terminal, or
with --json, each look is written below the one before. Interrupt it to end.`,
		Example: `  gobelin top --config /etc/gobelin/gobelin.yaml
  GOBELIN_ADMIN_TOKEN=… gobelin top --admin http://10.0.0.5:8001
  gobelin top --config gobelin.yaml --json --count 60 | jq -c '.nodes[].rates'`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond || rounds < 0 {
				return usage{errors.New("--every must be at least 100ms, and --count at least 0")}
			}
			o, err := at.open(c.InOrStdin())
			if err != nil {
				return err
			}
			ctx, stop := signals(c.Context())
			defer stop()
			t := &top{from: o, out: c.OutOrStdout(), asJSON: asJSON, live: !asJSON && isTerminal(c.OutOrStdout())}
			return t.run(ctx, every, rounds)
		}),
	}
	at.flags(c)
	c.Flags().DurationVar(&every, "every", time.Second, "how long between two looks")
	c.Flags().IntVar(&rounds, "count", 0, "end after so many looks; 0: never")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a look, on a line of its own")
	return c
}

// top looks again and again.
type top struct {
	from   *operator
	out    io.Writer
	asJSON bool
	live   bool // the terminal is drawn over
}

// topNode is a node as the console says it.
type topNode struct {
	broker.Node
	Rates *console.Rates `json:"rates"` // nil before the second look
}

// topLook is one look, and a line of --json.
type topLook struct {
	Time  int64     `json:"time"` // ms since 1970
	Fault string    `json:"fault,omitempty"`
	Nodes []topNode `json:"nodes"`
	// Sessions are the slowest of the node that was asked.
	Sessions []broker.SessionView `json:"sessions"`
}

// run looks until ctx ends, which is no failure, or so many times. A look that fails
// after a good one is told, and tried again: the node may be about to restart.
func (t *top) run(ctx context.Context, every time.Duration, rounds int) error {
	if t.live { // another screen, without a cursor, so that what was there comes back
		fmt.Fprint(t.out, "\x1b[?1049h\x1b[?25l")
		defer fmt.Fprint(t.out, "\x1b[?25h\x1b[?1049l")
	}
	beat := time.NewTicker(every)
	defer beat.Stop()
	for i := 1; ; i++ {
		look, err := t.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (i == 1 || !t.live):
			return err
		case err != nil:
			fmt.Fprintf(t.out, "\x1b[H\x1b[2K%s: trying again", err)
		default:
			if err := t.show(&look); err != nil {
				return err
			}
		}
		if i == rounds {
			return nil
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks for everything that is shown.
func (t *top) look(parent context.Context) (look topLook, err error) {
	ctx, cancel := context.WithTimeout(parent, probeWait)
	defer cancel()
	// No samples are wanted: those of the last hour begin after all time.
	if err := t.get(ctx, fmt.Sprintf("/console/overview?since=%d", int64(1)<<48), &look); err != nil {
		return look, err
	}
	var page struct{ Sessions []broker.SessionView }
	err = t.get(ctx, fmt.Sprintf("/console/sessions?slowest=1&limit=%d", topSessions), &page)
	look.Sessions = page.Sessions
	return look, err
}

func (t *top) get(ctx context.Context, path string, into any) error {
	answer, err := t.from.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxTop)).Decode(into); err != nil {
		return fmt.Errorf("top: %s did not answer as a node of this version does: %w", t.from.base, err)
	}
	return nil
}

func (t *top) show(look *topLook) error {
	if t.asJSON {
		for i := range look.Nodes {
			if f := look.Nodes[i].Figures; f != nil { // what the quantiles are made of is no use to others
				f.Written, f.Stored = broker.Spread{}, broker.Spread{}
			}
		}
		return json.NewEncoder(t.out).Encode(look)
	}
	text := look.text()
	if t.live { // line by line over the look before, and nothing of that below
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
	}
	_, err := io.WriteString(t.out, text)
	return err
}

// text draws a look. Names are others' and may hold anything.
func (k *topLook) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gobelin top  %s  %s\n", time.UnixMilli(k.Time).Format(time.TimeOnly), count(len(k.Nodes), "node"))
	if k.Fault != "" {
		fmt.Fprintf(&b, "! %s\n", printable(k.Fault))
	}
	fmt.Fprintf(&b, "\n%-22s %-8s %8s %8s %9s %9s %9s %8s %8s %7s %9s\n", "NODE", "STATE", "SESSIONS", "SUBS", "IN/s", "PUBLISH/s", "OUT/s", "p50 ms", "p99 ms", "CPU", "QUEUED")
	for i := range k.Nodes {
		n := &k.Nodes[i]
		name := n.Name
		if name == "" {
			name = n.ID
		}
		if n.Self {
			name = "*" + name
		}
		fmt.Fprintf(&b, "%-22s %-8s", short(name, 22), short(n.State, 8))
		if f := n.Figures; f != nil {
			fmt.Fprintf(&b, " %8d %8d", total(f.Sessions), f.Subscriptions)
			if r := n.Rates; r != nil {
				fmt.Fprintf(&b, " %9.0f %9.0f %9.0f %8s %8s %6.0f%%", r.Received, r.Published, r.Delivered, millis(r.WrittenP50), millis(r.WrittenP99), 100*r.CPU)
			} else {
				fmt.Fprintf(&b, " %9s %9s %9s %8s %8s %7s", "-", "-", "-", "-", "-", "-")
			}
			fmt.Fprintf(&b, " %9s", bytesInWords(f.QueueBytes))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%-16s %-16s %-24s %8s %10s %8s %8s\n", "SLOWEST HERE", "TRANSPORT", "ADDRESS", "QUEUED", "BYTES", "UNACKED", "LAGGING")
	for i := range k.Sessions {
		s := &k.Sessions[i]
		fmt.Fprintf(&b, "%-16s %-16s %-24s %8d %10d %8d %8d\n", short(s.ID, 16), short(s.Transport, 16), short(s.Address, 24), s.Queued, s.QueuedBytes, s.Unacknowledged, s.Lagging)
	}
	return b.String()
}

func total(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// millis writes a time in ms; below zero nothing was timed.
func millis(ms float64) string {
	if ms < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", ms)
}

// short makes a text of somebody else's fit into a column of a terminal.
func short(text string, width int) string {
	text = printable(text)
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}
