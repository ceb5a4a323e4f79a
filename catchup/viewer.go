package catchup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ViewerRow is how many viewers a URL of an application had in a minute, an hour or a
// day (product.md §8). Each sample is a total over all nodes and all objects of the URL.
type ViewerRow struct {
	App uint32
	URL string
	// Time is the beginning of the bucket; days are days of UTC.
	Time time.Time
	// Of the samples: least, greatest, sum, and how many they were.
	Min, Max uint32
	Sum      uint64
	N        uint32
	// Arrived is how many sessions were in a sample of the bucket for the first time in
	// their life; Carried how many others were in its first sample.
	Arrived, Carried uint32
	// Seconds is what all viewers together watched.
	Seconds uint64
}

// Avg is the average of the samples, rounded half up.
func (r ViewerRow) Avg() uint32 {
	if r.N == 0 {
		return 0
	}
	n := uint64(r.N)
	return uint32((2*r.Sum + n) / (2 * n))
}

// Unique is how many sessions viewed the URL. It is exact but for sessions that left
// before the bucket and came back in it, which it leaves out; imported counts have no
// sessions and add nothing.
func (r ViewerRow) Unique() uint64 { return uint64(r.Arrived) + uint64(r.Carried) }

// Minutes is what all viewers together watched, in minutes.
func (r ViewerRow) Minutes() float64 { return float64(r.Seconds) / 60 }

// follow folds the row of a later bucket into r.
func (r *ViewerRow) follow(later ViewerRow) {
	r.Min, r.Max = min(r.Min, later.Min), max(r.Max, later.Max)
	r.Sum += later.Sum
	r.N = plus(r.N, later.N)
	r.Arrived = plus(r.Arrived, later.Arrived)
	r.Seconds += later.Seconds
}

// join adds what was counted elsewhere in the same bucket. The sums are as if that had
// been counted at our samples, too; where it has one sample it is exact, with more the
// least can be too small and the greatest too great.
func (r *ViewerRow) join(imported ViewerRow) {
	r.Min, r.Max = plus(r.Min, imported.Min), plus(r.Max, imported.Max)
	r.Sum += (2*imported.Sum*uint64(r.N) + uint64(imported.N)) / (2 * uint64(imported.N))
	r.Seconds += imported.Seconds
}

// plus adds up to the greatest number.
func plus(a, b uint32) uint32 { return uint32(min(uint64(a)+uint64(b), math.MaxUint32)) }

// foldRows makes rows of a coarser grain of rows in the order of time.
func foldRows(rows []ViewerRow, grain store.Grain) (out []ViewerRow) {
	for _, r := range rows {
		at := r.Time.Truncate(grain.Width())
		if last := len(out) - 1; last >= 0 && out[last].Time.Equal(at) {
			out[last].follow(r)
			continue
		}
		r.Time = at
		out = append(out, r)
	}
	return out
}

// viewerRowSize is the size of a stored row: min(4) max(4) sum(8) n(4) arrived(4)
// carried(4) seconds(8), big-endian.
const viewerRowSize = 4 + 4 + 8 + 4 + 4 + 4 + 8

var errViewerRow = errors.New("catchup: not a stored row of viewers")

// encode returns the stored form; application, URL and time are not in it.
func (r ViewerRow) encode() []byte {
	b := make([]byte, 0, viewerRowSize)
	b = binary.BigEndian.AppendUint32(b, r.Min)
	b = binary.BigEndian.AppendUint32(b, r.Max)
	b = binary.BigEndian.AppendUint64(b, r.Sum)
	b = binary.BigEndian.AppendUint32(b, r.N)
	b = binary.BigEndian.AppendUint32(b, r.Arrived)
	b = binary.BigEndian.AppendUint32(b, r.Carried)
	return binary.BigEndian.AppendUint64(b, r.Seconds)
}

// decodeViewerRow reads what encode wrote.
func decodeViewerRow(app uint32, url string, p store.Point) (ViewerRow, error) {
	b := p.Data
	if len(b) != viewerRowSize {
		return ViewerRow{}, fmt.Errorf("%w: %d bytes", errViewerRow, len(b))
	}
	r := ViewerRow{
		App: app, URL: url, Time: p.Time,
		Min: binary.BigEndian.Uint32(b), Max: binary.BigEndian.Uint32(b[4:]),
		Sum: binary.BigEndian.Uint64(b[8:]), N: binary.BigEndian.Uint32(b[16:]),
		Arrived: binary.BigEndian.Uint32(b[20:]), Carried: binary.BigEndian.Uint32(b[24:]),
		Seconds: binary.BigEndian.Uint64(b[28:]),
	}
	if r.N == 0 {
		return ViewerRow{}, fmt.Errorf("%w: without samples", errViewerRow)
	}
	return r, nil
}

// The kinds of series.
const (
	// countedSeries has what our nodes counted, by the minute, and what became of all
	// minutes, by the hour and the day.
	countedSeries = 'v'
	// importedSeries has minutes made of samples, sampleSeries the samples by the second,
	// pastSeries those of days of which minutes were not kept any more.
	importedSeries = 'i'
	sampleSeries   = 's'
	pastSeries     = 'p'
	// measuredSeries says, without application and URL, when our nodes counted at all: N
	// is the ticks, Sum how many nodes were in each, Seconds how long they stand for.
	measuredSeries = 'm'
)

// seriesOf names a series. A long URL goes by its hash.
func seriesOf(kind byte, app uint32, url string) string {
	b := binary.BigEndian.AppendUint32([]byte{kind}, app)
	if len(b)+1+len(url) <= store.MaxName {
		return string(append(append(b, 0), url...))
	}
	sum := sha256.Sum256([]byte(url))
	return string(append(append(b, 1), sum[:]...))
}
