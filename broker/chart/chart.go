package chart

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"
)

// Chart is what is drawn.
type Chart struct {
	// Title is shown as text, whatever is in it.
	Title string
	// Span says in words how long the chart is, such as "6 hours".
	Span string
	// From and To are its ends, From before To.
	From, To time.Time
	// Step is the time of one point, above 0.
	Step time.Duration
	// Points are in the order of time; what lies between two that are further apart than
	// Step was not measured.
	Points []Point
}

// Point is how many viewers there were in one step: the least, on average, the most.
type Point struct {
	At            time.Time
	Min, Avg, Max uint32
}

// The picture's measures, in units of its own; it is scaled to the room there is.
const (
	width, height = 720, 260
	left, right   = 56, 20 // margins around the plot
	top, bottom   = 14, 28
	plotWidth     = width - left - right
	plotHeight    = height - top - bottom
)

// Draw returns the chart as an SVG document.
func Draw(c Chart) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t d">`, width, height)
	fmt.Fprintf(&b, `<title id="t">%s</title><desc id="d">%s</desc><style>%s</style>`, html.EscapeString(c.Heading()), html.EscapeString(c.Summary()), drawingStyle)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`, width, height)
	s := newScale(c)
	s.axes(&b, c)
	for _, run := range c.runs() {
		s.run(&b, run)
	}
	if len(c.Points) == 0 {
		fmt.Fprintf(&b, `<text class="none" x="%d" y="%d">nothing was measured in this time</text>`, left+plotWidth/2, top+plotHeight/2)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// Heading is the chart's title as it is shown.
func (c Chart) Heading() string { return "Viewers of " + c.Title + ", " + c.Span }

// Summary says in a sentence what the picture shows, for those who do not see it.
func (c Chart) Summary() string {
	if len(c.Points) == 0 {
		return "Nothing was measured in this time."
	}
	peak, sum := c.Points[0], uint64(0)
	for _, p := range c.Points {
		if p.Max > peak.Max {
			peak = p
		}
		sum += uint64(p.Avg)
	}
	last := c.Points[len(c.Points)-1]
	mean := (sum + uint64(len(c.Points))/2) / uint64(len(c.Points))
	return fmt.Sprintf("Most: %d at %s UTC. On average: %d. Last: %d at %s UTC.",
		peak.Max, peak.At.UTC().Format("2006-01-02 15:04"), mean, last.Avg, last.At.UTC().Format("2006-01-02 15:04"))
}

// runs are the stretches without a gap.
func (c Chart) runs() [][]Point {
	var all [][]Point
	for i, p := range c.Points {
		if i == 0 || p.At.Sub(c.Points[i-1].At) > c.Step {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], p)
	}
	return all
}

// scale places times and numbers in the picture.
type scale struct {
	from  time.Time
	span  float64 // in seconds
	step  time.Duration
	most  float64 // at the plot's top
	lines []uint64
}

func newScale(c Chart) scale {
	s := scale{from: c.From, span: c.To.Sub(c.From).Seconds(), step: c.Step}
	most := uint32(0)
	for _, p := range c.Points {
		most = max(most, p.Max)
	}
	by := roundStep(uint64(most))
	for n := uint64(0); ; n += by {
		s.lines = append(s.lines, n)
		if n >= uint64(most) && n > 0 {
			s.most = float64(n)
			return s
		}
	}
}

// roundStep is 1, 2 or 5 times a power of ten, so that three to six lines reach most.
func roundStep(most uint64) uint64 {
	for ten := uint64(1); ; ten *= 10 {
		for _, times := range []uint64{1, 2, 5} {
			if by := times * ten; by*5 >= most {
				return by
			}
		}
	}
}

// x is where the middle of the step at a time is.
func (s scale) x(at time.Time) string {
	return short(left + plotWidth*math.Min(1, math.Max(0, at.Add(s.step/2).Sub(s.from).Seconds()/s.span)))
}

func (s scale) y(n float64) string { return short(top + plotHeight*(1-n/s.most)) }

// short writes a place to a tenth of a unit.
func short(f float64) string {
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
}

// axes draws the lines of round numbers and the marks of round times.
func (s scale) axes(b *strings.Builder, c Chart) {
	for _, n := range s.lines {
		y := s.y(float64(n))
		fmt.Fprintf(b, `<path class="line" d="M%d %sH%d"/><text class="n" x="%d" y="%s">%d</text>`, left, y, width-right, left-8, y, n)
	}
	every, layout := marks(c.To.Sub(c.From))
	s.step = 0 // a mark is at its time itself
	for at := c.From.UTC().Truncate(every); !at.After(c.To); at = at.Add(every) {
		if at.Before(c.From) {
			continue
		}
		x := s.x(at)
		fmt.Fprintf(b, `<path class="line" d="M%s %dv5"/><text class="at" x="%s" y="%d">%s</text>`, x, top+plotHeight, x, height-8, at.Format(layout))
	}
}

// marks are how far apart the times below a chart are, and how they are written.
func marks(span time.Duration) (every time.Duration, layout string) {
	const day = 24 * time.Hour
	switch {
	case span <= 6*time.Hour:
		return time.Hour, "15:04"
	case span <= day:
		return 3 * time.Hour, "15:04"
	case span <= 7*day:
		return day, "01-02"
	}
	return 5 * day, "01-02"
}

// run draws a stretch: from the least to the most, and on average.
func (s scale) run(b *strings.Builder, points []Point) {
	if len(points) == 1 {
		p := points[0]
		x := s.x(p.At)
		fmt.Fprintf(b, `<path class="one" d="M%s %sV%s"/><circle class="dot" cx="%s" cy="%s" r="2"/>`,
			x, s.y(float64(p.Max)), s.y(float64(p.Min)), x, s.y(float64(p.Avg)))
		return
	}
	var band, line strings.Builder
	for i, p := range points {
		to := "L"
		if i == 0 {
			to = "M"
		}
		x := s.x(p.At)
		band.WriteString(to + x + " " + s.y(float64(p.Max)))
		line.WriteString(to + x + " " + s.y(float64(p.Avg)))
	}
	for i := len(points) - 1; i >= 0; i-- {
		band.WriteString("L" + s.x(points[i].At) + " " + s.y(float64(points[i].Min)))
	}
	fmt.Fprintf(b, `<path class="band" d="%sZ"/><path class="avg" d="%s"/>`, band.String(), line.String())
}
