package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/stretchr/testify/require"
)

// BenchmarkViewerLog asks for 100 objects, with as little and as much kept beside what is
// asked for: what an answer costs is its rows.
func BenchmarkViewerLog(b *testing.B) {
	const objects = 100
	for _, kept := range []time.Duration{day, 4 * day} {
		g := newGallery(b, nil)
		for object := range objects {
			fillMinutes(g, fmt.Sprintf("show-%02d", object), kept)
		}
		g.minute(noon.Add(-time.Minute), g.demo, nil, nil) // closes what was before
		g.turn(noon)
		for _, q := range []struct {
			name  string
			graph int64
		}{{"6h-by-minute", 1}, {"24h-by-minute", 2}, {"7d-by-hour", 3}, {"30d-by-day", 4}} {
			b.Run(fmt.Sprintf("%s/kept=%v", q.name, kept), func(b *testing.B) {
				b.ReportAllocs()
				rows := 0
				for b.Loop() {
					found, err := g.ViewerLog(g.background, ViewerQuery{Apps: []*Application{g.demo}, URLs: urlPattern(b, "show-*"), Graph: ViewerGraphs[q.graph]})
					require.NoError(b, err)
					for _, row := range found {
						if _, err := row.JSON(false); err != nil {
							b.Fatal(err)
						}
					}
					rows = len(found)
				}
				b.ReportMetric(float64(rows), "rows/op")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(max(rows, 1)), "ns/row")
			})
		}
	}
}

// fillMinutes gives a url a count in every minute of the time before now.
func fillMinutes(g *gallery, url string, kept time.Duration) {
	g.Helper()
	var some []catchup.ViewerSample
	for at := g.now().Add(-kept); at.Before(g.now()); at = at.Add(time.Minute) {
		if some = append(some, catchup.ViewerSample{URL: url, Time: at, Count: uint32(at.Minute())}); len(some) == catchup.MaxSamples {
			g.add(g.demo, some...)
			some = nil
		}
	}
	if some != nil {
		g.add(g.demo, some...)
	}
}
