package broker

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
)

// ViewerTime is how times are written in viewer statistics, in UTC (product.md §5.5, S9).
const ViewerTime = time.DateTime

// ViewerLogRow is a row of viewer statistics: how many viewers one url of an
// application had in one minute, hour or day.
type ViewerLogRow struct {
	App *Application
	catchup.ViewerRow
	// Partial: viewers were not counted for the whole time of the row, or it is not
	// over. Only JSON with extended shows it.
	Partial bool
}

// rowFields are a row as viewer.log has it (product.md §5.5, S11).
type rowFields struct {
	App      string `json:"app"`
	VideoURL string `json:"video_url"`
	Avg      uint32 `json:"viewer_count_avg"`
	Min      uint32 `json:"viewer_count_min"`
	Max      uint32 `json:"viewer_count_max"`
	Sum      uint64 `json:"viewer_count_sum"`
	Time     string `json:"time"`
	*extendedFields
}

// extendedFields are those that must be asked for (S13).
type extendedFields struct {
	Samples        uint32      `json:"samples"`
	UniqueSessions uint64      `json:"unique_sessions"`
	ViewerMinutes  json.Number `json:"viewer_minutes"`
	Partial        bool        `json:"partial"`
}

// JSON returns the row as one JSON object without a line break, with the extended
// fields where they are asked for.
func (r ViewerLogRow) JSON(extended bool) ([]byte, error) {
	f := rowFields{
		App: r.App.Name, VideoURL: r.URL, Avg: r.Avg(), Min: r.Min, Max: r.Max, Sum: r.Sum,
		Time: r.Time.UTC().Format(ViewerTime),
	}
	if extended {
		f.extendedFields = &extendedFields{
			Samples: r.N, UniqueSessions: r.Unique(), ViewerMinutes: minutesOf(r.Seconds), Partial: r.Partial,
		}
	}
	return encodeText(f)
}

// minutesOf writes seconds as minutes, to a hundredth, half up; as a decimal, so that
// large sums stay exact.
func minutesOf(seconds uint64) json.Number {
	hundredths := seconds/60*100 + (seconds%60*100+30)/60
	text := strconv.FormatUint(hundredths/100, 10)
	if part := hundredths % 100; part > 0 {
		text += "." + string(byte('0'+part/10))
		if part%10 > 0 {
			text += string(byte('0' + part%10))
		}
	}
	return json.Number(text)
}
