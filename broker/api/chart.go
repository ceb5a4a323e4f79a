package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/chart"
)

// chartRoutes are the statistics of an object as a picture: a page of its own, which
// other pages may frame, and an image. The root in the path is all the credential there
// is, so that both work in an iframe and an img.
var chartRoutes = []route{
	{path: "/stats/{root}", form: chartForm, open: true, methods: map[string]handler{http.MethodGet: getChartPage}},
	{path: "/stats/{root}/chart.svg", form: chartForm, open: true, methods: map[string]handler{http.MethodGet: getChart}},
}

// chartSpans are the graphs by what they are called on a page, in the order of their
// numbers.
var chartSpans = []string{"6 hours", "24 hours", "7 days", "30 days"}

// document is an answer that is shown by a browser.
type document struct {
	contentType, policy string
	maxAge              time.Duration // 0: it is not to be kept
	body                []byte
}

// chartAge is how long a browser may keep a picture. No cache between may: a root can be
// withdrawn.
const chartAge = 10 * time.Second

// chartForm is the form of a refusal: a page, since it is people who see it.
func chartForm(e *broker.Error) any {
	text := "There is no chart here: " + e.Text + "."
	if e.Result == 4004 {
		text = "There is no chart at this address. It may have been withdrawn, or its numbers are not public."
	}
	body, err := chart.Notice("No chart", text)
	if err != nil {
		return v1Form(e) // a template that cannot fail has failed
	}
	return document{contentType: "text/html; charset=utf-8", policy: chart.Policy, body: body}
}

// getChartPage: GET /stats/{root}[?graph=1-4], a page.
func getChartPage(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	c, graph, err := a.chart(r)
	if err != nil {
		return reply{}, err
	}
	var links []chart.Link
	for i, span := range chartSpans {
		links = append(links, chart.Link{Text: span, Target: "?graph=" + strconv.Itoa(i+1), Current: int64(i+1) == graph})
	}
	body, err := chart.Page(c, links)
	return reply{http.StatusOK, document{"text/html; charset=utf-8", chart.Policy, chartAge, body}}, err
}

// getChart: GET /stats/{root}/chart.svg[?graph=1-4], an image.
func getChart(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	c, _, err := a.chart(r)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, document{"image/svg+xml", chart.Policy, chartAge, chart.Draw(c)}}, nil
}

// chart reads what a request's chart shows.
func (a *api) chart(r *http.Request) (c chart.Chart, graph int64, err error) {
	n, err := positive(r.URL.Query(), "graph", 1, len(chartSpans))
	if err != nil {
		return c, 0, err
	}
	graph = int64(n)
	v, err := a.service.ViewerChart(r.Context(), r.PathValue("root"), broker.ViewerGraphs[graph])
	if err != nil {
		return c, 0, err
	}
	c = chart.Chart{Title: v.Title(), Span: chartSpans[n-1], From: v.From, To: v.To, Step: v.Step}
	for _, row := range v.Rows {
		c.Points = append(c.Points, chart.Point{At: row.Time, Min: row.Min, Avg: row.Avg(), Max: row.Max})
	}
	return c, graph, nil
}
