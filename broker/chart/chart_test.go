package chart

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2014, 9, 21, 12, 0, 0, 0, time.UTC)

// evening is six hours with a gap and a lone minute.
func evening() Chart {
	c := Chart{Title: "show-7", Span: "6 hours", From: noon, To: noon.Add(6 * time.Hour), Step: time.Minute}
	for i := range 360 {
		if i >= 100 && i < 150 && i != 125 {
			continue
		}
		n := uint32(500 + 400*math.Sin(float64(i)/40))
		c.Points = append(c.Points, Point{At: noon.Add(time.Duration(i) * time.Minute), Min: n - 50, Avg: n, Max: n + 80})
	}
	return c
}

// wellFormed reads a text as XML to its end.
func wellFormed(t *testing.T, text []byte) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(text)))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else {
			require.NoError(t, err)
		}
	}
}

func TestDraw(t *testing.T) {
	svg := Draw(evening())
	wellFormed(t, svg)
	text := string(svg)
	require.Equal(t, 2, strings.Count(text, `class="band"`)) // a stretch on each side of the gap
	require.Equal(t, 1, strings.Count(text, `class="dot"`))  // what was measured alone between
	require.Contains(t, text, `>1000</text>`)                // the round number that all fit below
	require.Contains(t, text, `>12:00</text>`)
	require.Contains(t, text, `>18:00</text>`)
	require.Contains(t, text, "Most: 979 at 2014-09-21 13:01 UTC")
	// Everything is inside of the picture.
	for _, m := range regexp.MustCompile(`[ML](-?[0-9.]+) (-?[0-9.]+)`).FindAllStringSubmatch(text, -1) {
		x, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		y, err := strconv.ParseFloat(m[2], 64)
		require.NoError(t, err)
		require.True(t, x >= left && x <= width-right && y >= top && y <= top+plotHeight+5, m[0])
	}
}

// TestDrawPlaces: a number is where its height says, and zero is on the ground.
func TestDrawPlaces(t *testing.T) {
	c := Chart{Title: "x", Span: "6 hours", From: noon, To: noon.Add(2 * time.Hour), Step: time.Hour, Points: []Point{
		{At: noon}, {At: noon.Add(time.Hour), Min: 2, Avg: 5, Max: 10},
	}}
	text := string(Draw(c))
	// The middle of the first hour at zero, that of the second at half of ten.
	require.Contains(t, text, `class="avg" d="M217 232L539 123"`)
	require.Contains(t, text, `class="band" d="M217 232L539 14L539 188.4L217 232Z"`)
}

func TestDrawNothing(t *testing.T) {
	svg := Draw(Chart{Title: "x", Span: "a day", From: noon, To: noon.Add(time.Hour), Step: time.Minute})
	wellFormed(t, svg)
	require.Contains(t, string(svg), "nothing was measured")
	svg = Draw(Chart{From: noon, To: noon.Add(time.Hour), Step: time.Minute, Points: []Point{{At: noon}}})
	require.NotContains(t, string(svg), "nothing was measured")
	require.NotContains(t, string(svg), "NaN")
	svg = Draw(Chart{From: noon, To: noon.Add(time.Hour), Step: time.Minute, Points: []Point{{At: noon, Max: math.MaxUint32, Avg: math.MaxUint32}}})
	require.Contains(t, string(svg), ">5000000000</text>")
}

// TestText: a title is text, whatever is in it.
func TestText(t *testing.T) {
	c := evening()
	c.Title = `</title><script>alert(1)</script>"'&`
	page, err := Page(c, []Link{{Text: "<b>", Target: "?graph=2&x=\"", Current: true}})
	require.NoError(t, err)
	require.NotContains(t, string(page), "<script")
	require.NotContains(t, string(page), "<b>")
	wellFormed(t, Draw(c))
}

// TestPolicy: the policy allows exactly the styles that are there, and nothing in a page
// needs more.
func TestPolicy(t *testing.T) {
	page, err := Page(evening(), []Link{{Text: "6 hours", Target: "?graph=1", Current: true}, {Text: "24 hours", Target: "?graph=2"}})
	require.NoError(t, err)
	styles := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllSubmatch(page, -1)
	require.Len(t, styles, 2)
	for _, s := range styles {
		sum := sha256.Sum256(s[1])
		require.Contains(t, Policy, base64.StdEncoding.EncodeToString(sum[:]))
	}
	require.Contains(t, Policy, "default-src 'none'")
	for _, needs := range []string{"<script", "style=", "src=", "url(", "onload", "http://", "https://", "@import"} {
		require.NotContains(t, strings.ReplaceAll(string(page), "http://www.w3.org/2000/svg", ""), needs)
	}
	require.Contains(t, string(page), `<a href="?graph=1" aria-current="page">6 hours</a><a href="?graph=2">24 hours</a>`)
	require.Contains(t, string(page), `content="60"`)
	notice, err := Notice("No chart", "There is none.")
	require.NoError(t, err)
	require.NotContains(t, string(notice), "refresh")
	require.Contains(t, string(notice), "There is none.")
}

func BenchmarkDraw(b *testing.B) {
	c := evening()
	b.ReportAllocs()
	for b.Loop() {
		Draw(c)
	}
}
