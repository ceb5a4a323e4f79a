package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
)

// sparkCells is how wide a curve is.
const sparkCells = 32

// statsLine is all rows of one url.
type statsLine struct {
	app, url string
	rows     []statsRow
}

// printStats prints a line for each url: when it was watched, how many viewers it had,
// and their curve.
func printStats(w io.Writer, rows []statsRow) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "no viewers in this time")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	first, last := rows[0].Time, rows[len(rows)-1].Time
	from, err := time.Parse(broker.ViewerTime, first)
	to, err2 := time.Parse(broker.ViewerTime, last)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("stats: the answer has a row at no time: %w", err)
	}
	fmt.Fprintf(w, "%s to %s UTC\n", first, last)
	fmt.Fprintln(t, "APP\tURL\tAVG\tMIN\tMAX\tVIEWER-MINUTES\tCURVE")
	for _, l := range statsLines(rows) {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", printable(l.app), printable(l.url), l.avg(), l.min(), l.max(), l.minutes(), l.curve(from, to))
	}
	return t.Flush()
}

// printStatsRows prints each row.
func printStatsRows(w io.Writer, rows []statsRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tAPP\tURL\tAVG\tMIN\tMAX\tVIEWER-MINUTES\t")
	for _, r := range rows {
		partial := ""
		if r.Partial {
			partial = "partial"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", printable(r.Time), printable(r.App), printable(r.URL), r.Avg, r.Min, r.Max, strconv.FormatFloat(r.Minutes, 'f', -1, 64), partial)
	}
	return t.Flush()
}

// statsLines puts rows together by url, in the order in which they first come.
func statsLines(rows []statsRow) []*statsLine {
	var lines []*statsLine
	at := map[[2]string]*statsLine{}
	for _, r := range rows {
		l := at[[2]string{r.App, r.URL}]
		if l == nil {
			l = &statsLine{app: r.App, url: r.URL}
			at[[2]string{r.App, r.URL}] = l
			lines = append(lines, l)
		}
		l.rows = append(l.rows, r)
	}
	return lines
}

// avg is the mean of all samples, half up.
func (l *statsLine) avg() uint64 {
	var sum, n uint64
	for _, r := range l.rows {
		sum, n = sum+r.Sum, n+uint64(r.Samples)
	}
	if n == 0 {
		return 0
	}
	return (sum + n/2) / n
}

func (l *statsLine) min() uint32 {
	least := l.rows[0].Min
	for _, r := range l.rows {
		least = min(least, r.Min)
	}
	return least
}

func (l *statsLine) max() uint32 {
	most := uint32(0)
	for _, r := range l.rows {
		most = max(most, r.Max)
	}
	return most
}

func (l *statsLine) minutes() string {
	sum := 0.0
	for _, r := range l.rows {
		sum += r.Minutes
	}
	return strconv.FormatFloat(sum, 'f', 1, 64)
}

// curve draws the averages of the rows from a time to another, as many in a cell as
// there have to be; a cell without a row is blank.
func (l *statsLine) curve(from, to time.Time) string {
	const bars = "▁▂▃▄▅▆▇█"
	var cells [sparkCells][]statsRow
	for _, r := range l.rows {
		i := 0
		if at, err := time.Parse(broker.ViewerTime, r.Time); err == nil && to.After(from) {
			i = int(at.Sub(from) * (sparkCells - 1) / to.Sub(from))
		}
		i = max(0, min(i, sparkCells-1))
		cells[i] = append(cells[i], r)
	}
	most := max(uint64(l.max()), 1)
	var b strings.Builder
	for _, some := range cells {
		if some == nil {
			b.WriteByte(' ')
			continue
		}
		part := statsLine{rows: some}
		b.WriteRune([]rune(bars)[min(part.avg()*8/most, 7)])
	}
	return strings.TrimRight(b.String(), " ")
}

// printable shows a text of somebody else's on a terminal: what would move a cursor is
// escaped.
func printable(text string) string {
	for _, r := range text {
		if !strconv.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}
