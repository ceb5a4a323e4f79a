package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
)

const grafana = "../../examples/grafana/"

// metricFamily is one metric as /metrics shows it.
type metricFamily struct {
	name, help, kind string
	labels           map[string]struct{}
}

// readMetrics reads the text form of /metrics.
func readMetrics(t *testing.T, text string) map[string]*metricFamily {
	t.Helper()
	all := map[string]*metricFamily{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	var last *metricFamily
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "# HELP "):
			name, help, _ := strings.Cut(line[len("# HELP "):], " ")
			last = &metricFamily{name: name, help: help, labels: map[string]struct{}{}}
			all[name] = last
		case strings.HasPrefix(line, "# TYPE "):
			require.True(t, strings.HasPrefix(line, "# TYPE "+last.name+" "), line)
			last.kind = line[strings.LastIndexByte(line, ' ')+1:]
		case line != "":
			require.True(t, strings.HasPrefix(line, last.name), line)
			for _, m := range label.FindAllStringSubmatch(line, -1) {
				last.labels[m[1]] = struct{}{}
			}
		}
	}
	return all
}

// series returns the names of a family as queries know them.
func (f *metricFamily) series() []string {
	if f.kind == "histogram" || f.kind == "summary" {
		return []string{f.name + "_bucket", f.name + "_sum", f.name + "_count"}
	}
	return []string{f.name}
}

// serving starts a node with everything that has metrics, and returns its address. It
// is gone with the test.
func serving(t *testing.T) string {
	t.Helper()
	c := testConfig(t)
	c.Accounts = []accountConfig{{CDN: 1, StreamToken: newSecret(), Apps: []appConfig{{ID: 1, Name: "dev", AppKey: newSecret(), TokenSecret: newSecret()}}}}
	n, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.run(ctx, func() { close(begun) }, nil) }()
	<-begun
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	// Routes are counted when they are first asked for.
	status, _ := fetch(t, n.url("public")+"/v1/history?channel=/a")
	require.Equal(t, http.StatusOK, status)
	require.Eventually(t, func() bool { // it is counted after it was answered
		_, text := fetch(t, n.url("public")+"/metrics")
		return strings.Contains(text, "\ngobelin_http_answers_total{")
	}, time.Minute, time.Millisecond)
	return n.url("public")
}

// exposed is what a node of any kind exposes: that of serving, and what only one on Redis has.
func exposed(t *testing.T) string {
	t.Helper()
	status, text := fetch(t, serving(t)+"/metrics")
	require.Equal(t, http.StatusOK, status)
	e, err := broker.NewExposition()
	require.NoError(t, err)
	require.NoError(t, e.ObserveStore(func() map[string]int64 { return map[string]int64{"oom": 1} }))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "gobelin_store_errors_total") {
			text += line
		}
	}
	return text
}

// Names, units and help are as Prometheus has them, labels are ours.
func TestMetricsAreWellFormed(t *testing.T) {
	text := exposed(t)
	ours := []string{"mount", "transport", "reason", "what", "service", "cause", "route", "code", "version", "revision", "goversion", "store", "le"}
	for name, f := range readMetrics(t, text) {
		if !strings.HasPrefix(name, "gobelin_") {
			continue
		}
		require.Regexp(t, `^gobelin(_[a-z]+)+$`, name)
		require.Regexp(t, `^[A-Z].*\.$|^Always 1; `, f.help, name)
		require.Equal(t, f.kind == "counter", strings.HasSuffix(name, "_total"), name)
		if f.kind == "histogram" {
			require.Regexp(t, `_(seconds|bytes)$`, name)
		}
		for l := range f.labels {
			require.Contains(t, ours, l, name)
		}
	}
}

// The table in the guide is this one. UPDATE_README=1 writes it.
func TestReadmeMetrics(t *testing.T) {
	text := exposed(t)
	all := readMetrics(t, text)
	var b strings.Builder
	b.WriteString("| Metric | Kind | Labels | Meaning |\n| --- | --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		if !strings.HasPrefix(name, "gobelin_") {
			continue
		}
		delete(f.labels, "le")
		labels := strings.Join(slices.Sorted(maps.Keys(f.labels)), "`, `")
		if labels != "" {
			labels = "`" + labels + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, f.kind, labels, f.help)
	}
	requireTable(t, grafana+"README.md", "metrics", b.String(), "TestReadmeMetrics")
}

// question is one query of the dashboard or of an alert.
type question struct{ at, expr string }

func dashboardQuestions(t *testing.T) (all []question) {
	t.Helper()
	text, err := os.ReadFile(grafana + "dashboard.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, question{"panel " + p.Title, target.Expr})
		}
	}
	for _, v := range board.Templating.List {
		if inner, ok := strings.CutPrefix(v.Query, "label_values("); ok {
			all = append(all, question{"variable " + v.Name, inner[:strings.LastIndexByte(inner, ',')]})
		}
	}
	require.Greater(t, len(all), 40)
	for i := range all {
		all[i].expr = strings.NewReplacer("$job", "gobelin", "$instance", ".*", "$__rate_interval", "1m").Replace(all[i].expr)
		require.NotContains(t, all[i].expr, "$")
	}
	return all
}

func alertQuestions(t *testing.T) (all []question) {
	t.Helper()
	text, err := os.ReadFile(grafana + "alerts.yml")
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &rules))
	tests, err := os.ReadFile(grafana + "alerts_test.yml")
	require.NoError(t, err)
	for _, r := range rules.Groups[0].Rules {
		require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["action"], r.Alert)
		require.Contains(t, string(tests), "alertname: "+r.Alert+"\n", "each alert has a test")
		all = append(all, question{"alert " + r.Alert, r.Expr})
	}
	require.NotEmpty(t, all)
	return all
}

// Every name in a query is one of /metrics, and every metric of ours has a panel.
func TestDashboardKnowsTheMetrics(t *testing.T) {
	text := exposed(t)
	known := map[string]*metricFamily{}
	for _, f := range readMetrics(t, text) {
		for _, name := range f.series() {
			known[name] = f
		}
	}
	used := map[string]bool{}
	name := regexp.MustCompile(`\b(?:gobelin|go|process)_[a-z_]+\b`)
	selector := regexp.MustCompile(`\b((?:gobelin|go|process)_[a-z_]+)\{([^}]*)\}`)
	matcher := regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
	check := func(q question) {
		for _, n := range name.FindAllString(q.expr, -1) {
			require.NotNil(t, known[n], "%s asks for %s, which /metrics has not", q.at, n)
		}
		for _, s := range selector.FindAllStringSubmatch(q.expr, -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if m[1] != "job" && m[1] != "instance" { // those are Prometheus's own
					require.Contains(t, known[s[1]].labels, m[1], "%s: %s", q.at, q.expr)
				}
			}
		}
	}
	for _, q := range dashboardQuestions(t) {
		check(q)
		for _, n := range name.FindAllString(q.expr, -1) {
			used[known[n].name] = true
		}
	}
	for _, q := range alertQuestions(t) {
		check(q)
	}
	for _, f := range known {
		if strings.HasPrefix(f.name, "gobelin_") {
			require.True(t, used[f.name], "%s is in no panel of examples/grafana/dashboard.json", f.name)
		}
	}
}

// prometheusTool returns Debian's promtool or prometheus, where there is one.
func prometheusTool(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path, err := filepath.Abs("../../dist/prometheus/usr/bin/" + name)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s: make deps brings it", name)
		}
		t.Skipf("no %s: make deps brings it", name)
	}
	return path
}

// promtool finds nothing to say about the metrics and the rules, and the rules do what
// their tests say.
func TestPromtool(t *testing.T) {
	tool := prometheusTool(t, "promtool")
	text := exposed(t)
	f := func(input string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir, cmd.Stdin = grafana, strings.NewReader(input)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), said)
	}
	f(text, "check", "metrics")
	f("", "check", "rules", "alerts.yml")
	f("", "test", "rules", "alerts_test.yml")
	f("", "check", "config", "prometheus.yml")
}

// A real Prometheus over a running broker answers every query, and each panel has
// something to show.
func TestPrometheusAnswersEveryQuery(t *testing.T) {
	tool := prometheusTool(t, "prometheus")
	broker, err := url.Parse(serving(t))
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(
		"global: {scrape_interval: 250ms, scrape_timeout: 250ms}\nscrape_configs: [{job_name: gobelin, static_configs: [{targets: [\""+broker.Host+"\"]}]}]\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), tool, "--config.file="+file, "--storage.tsdb.path="+dir+"/data", "--web.listen-address=127.0.0.1:0")
	said, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	log := bufio.NewScanner(said)
	listens := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	address := ""
	for address == "" && log.Scan() {
		if m := listens.FindStringSubmatch(log.Text()); m != nil {
			address = m[1]
		}
	}
	require.NotEmpty(t, address, "Prometheus did not start")
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, said)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	ask := func(expr string) (rows int, err error) {
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		r, err := http.PostForm("http://"+address+"/api/v1/query", url.Values{"query": {expr}})
		if err != nil {
			return 0, err
		}
		defer r.Body.Close()
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || answer.Status != "success" {
			return 0, fmt.Errorf("%s: %s %w", answer.Status, answer.Error, err)
		}
		return len(answer.Data.Result), nil
	}
	require.Eventually(t, func() bool { // a rate needs two scrapes
		rows, err := ask("rate(gobelin_published_total[1m])")
		return err == nil && rows == 1
	}, time.Minute, 100*time.Millisecond)
	for _, q := range dashboardQuestions(t) {
		rows, err := ask(q.expr)
		require.NoError(t, err, "%s: %s", q.at, q.expr)
		if !strings.Contains(q.expr, "gobelin_store_errors_total") { // this node has no Redis
			require.NotZero(t, rows, "%s: %s", q.at, q.expr)
		}
	}
	for _, q := range alertQuestions(t) {
		rows, err := ask(q.expr)
		require.NoError(t, err, "%s: %s", q.at, q.expr)
		require.Zero(t, rows, "a broker that is well: %s: %s", q.at, q.expr)
	}
}
