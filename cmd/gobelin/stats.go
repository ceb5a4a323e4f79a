package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gobelin-broker/gobelin/broker/signed"
	"github.com/spf13/cobra"
)

// maxStats bounds the answer that is read: more rows than a broker gives, at some 300
// bytes each.
const maxStats = 128 << 20

// statsAsker holds the flags of `stats`.
type statsAsker struct {
	from               signerSource
	url, start         string
	apps               []string
	graph              int
	fill, rows, asJSON bool
	timeout            time.Duration
}

func newStatsCommand() *cobra.Command {
	var q statsAsker
	c := &cobra.Command{
		Use:   "stats [URL…]",
		Short: "Say how many viewers there were",
		Long: `Asks a broker for viewer statistics (the command viewer.log) as an account, and
prints a line for each url of an object, with its curve; --rows prints each minute,
hour or day. A URL may have | for alternatives and * for any characters; without
one all are shown.

--graph 1 is 6 hours by minute, 2 is 24 hours by minute, 3 is 7 days by hour and
4 is 30 days by day. Times are UTC. A viewer-minute is one viewer for one minute;
the sum of viewer.log is one of samples and no audience, so it is not shown here.`,
		Example: `  gobelin stats                                        # of gobelin dev
  gobelin stats 'show-*' --app main --graph 3 --config gobelin.yaml
  gobelin stats show-7 --start '2026-03-01 20:00:00' --rows --fill
  gobelin stats --json --url https://live.example.com --key APX1 --secret env:SECRET | jq .data`,
		RunE: work(func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return q.run(ctx, c, args)
		}),
	}
	q.from.flags(c)
	c.Flags().StringVar(&q.url, "url", statsURL(os.Getenv("GOBELIN_URL")), "the broker; of $GOBELIN_URL its host counts")
	c.Flags().StringSliceVar(&q.apps, "app", nil, "applications by name or number (default: all of the configuration's account)")
	c.Flags().IntVar(&q.graph, "graph", 1, "1, 2, 3 or 4: how long, and how fine")
	c.Flags().StringVar(&q.start, "start", "", "where the time begins, such as '2026-03-01 20:00:00' or 2026-03-01 (default: it ends now)")
	c.Flags().BoolVar(&q.fill, "fill", false, "with rows of zeros for times at which nobody watched")
	c.Flags().BoolVar(&q.rows, "rows", false, "each minute, hour or day on a line of its own")
	c.Flags().BoolVar(&q.asJSON, "json", false, "the broker's answer as it came")
	c.Flags().DurationVar(&q.timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	c.MarkFlagsMutuallyExclusive("rows", "json")
	return c
}

// statsURL is the broker that a Bayeux endpoint belongs to.
func statsURL(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return "http://127.0.0.1:8000"
	}
	return u.Scheme + "://" + u.Host
}

func (q *statsAsker) run(ctx context.Context, c *cobra.Command, urls []string) error {
	if q.graph < 1 || q.graph > 4 {
		return usage{errors.New("--graph must be 1 (6 hours), 2 (24 hours), 3 (7 days) or 4 (30 days)")}
	}
	if u, err := url.Parse(q.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usage{fmt.Errorf("--url %q is not a URL such as https://live.example.com", clip(q.url))}
	}
	account, err := q.from.load(c.InOrStdin())
	if err != nil {
		return err
	}
	command, err := q.command(account, urls, time.Now())
	if err != nil {
		return err
	}
	ctx, done := context.WithTimeout(ctx, q.timeout)
	defer done()
	text, err := q.ask(ctx, command)
	if err != nil {
		return err
	}
	rows, err := readStats(text)
	switch {
	case err != nil:
		return err
	case q.asJSON:
		_, err = c.OutOrStdout().Write(append(bytes.TrimSpace(text), '\n'))
		return err
	case q.rows:
		return printStatsRows(c.OutOrStdout(), rows)
	}
	return printStats(c.OutOrStdout(), rows)
}

// command is the signed query.
func (q *statsAsker) command(account signer, urls []string, now time.Time) ([]byte, error) {
	apps := []any{}
	names := q.apps
	if len(names) == 0 && account.apps == nil {
		return nil, usage{errors.New("--app is needed where no configuration is read")}
	}
	if len(names) == 0 {
		names = account.apps
	}
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 32); err == nil {
			apps = append(apps, n)
			continue
		}
		apps = append(apps, name)
	}
	text, err := json.Marshal(struct {
		Command   string   `json:"command"`
		APIKey    string   `json:"api_key"`
		Timestamp int64    `json:"timestamp"`
		CDN       int      `json:"cdn"`
		App       []any    `json:"app"`
		Graph     int      `json:"graph"`
		URL       []string `json:"url,omitempty"`
		StartTime string   `json:"starttime,omitempty"`
		Extended  bool     `json:"extended,omitempty"`
		Fill      bool     `json:"fill,omitempty"`
	}{"viewer.log", account.key, now.Unix(), account.cdn, apps, q.graph, urls, q.start, !q.asJSON, q.fill})
	if err != nil {
		return nil, err
	}
	return signed.Sign(text, []byte(account.Secret.Reveal()))
}

// ask sends a command and returns the answer.
func (q *statsAsker) ask(ctx context.Context, command []byte) ([]byte, error) {
	endpoint := strings.TrimSuffix(q.url, "/") + "/stable/"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(command))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxStats+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: the answer broke off: %w", endpoint, err)
	case len(text) > maxStats:
		return nil, fmt.Errorf("%s: the answer is larger than %v: name fewer urls or a coarser --graph", endpoint, size(maxStats))
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s: is there a broker with viewer statistics?", endpoint, answer.Status)
	}
	return text, nil
}

// statsRow is a row of the answer.
type statsRow struct {
	App     string  `json:"app"`
	URL     string  `json:"video_url"`
	Avg     uint32  `json:"viewer_count_avg"`
	Min     uint32  `json:"viewer_count_min"`
	Max     uint32  `json:"viewer_count_max"`
	Sum     uint64  `json:"viewer_count_sum"`
	Time    string  `json:"time"`
	Samples uint32  `json:"samples"`
	Minutes float64 `json:"viewer_minutes"`
	Partial bool    `json:"partial"`
}

// readStats reads an answer, of which a failure is an error in the broker's words.
func readStats(text []byte) ([]statsRow, error) {
	var answer struct {
		Status, Code, Message string
		Data                  []statsRow
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Status != "success" && answer.Status != "failure" {
		return nil, errors.New("stats: the answer is not one of viewer.log: is --url a broker?")
	}
	if answer.Status == "failure" {
		return nil, fmt.Errorf("stats: refused (%s): %s", answer.Code, printable(answer.Message))
	}
	return answer.Data, nil
}
