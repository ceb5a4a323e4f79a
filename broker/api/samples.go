package api

import (
	"fmt"
	"math"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
)

// sampleRoutes takes counts of viewers that others have made (product.md §5.5, S14).
var sampleRoutes = []route{
	{path: "/v1/stats/samples", form: v1Form, methods: map[string]handler{http.MethodPost: postSamples}},
}

// maxSampleURL bounds the url of a sample in bytes, as that of an object is.
const maxSampleURL = 1024

// postSamples: POST /v1/stats/samples {"samples":[{"url","time","count"}, …]}. All of
// them are looked at before any is taken.
func postSamples(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleServer, who, ""); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	samples, err := a.readSamples(body)
	if err != nil {
		return reply{}, err
	}
	if err := a.service.AddSamples(r.Context(), who.App, samples); err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, struct {
		Result  int `json:"result"`
		Samples int `json:"samples"`
	}{0, len(samples)}}, nil
}

func (a *api) readSamples(body []byte) ([]catchup.ViewerSample, error) {
	f, err := a.object(body, []string{"samples"}, nil)
	if err != nil {
		return nil, err
	}
	elements, err := exact.Elements(f.get("samples"), catchup.MaxSamples)
	if err != nil || len(elements) == 0 {
		return nil, badRequest("samples must be an array of 1 to %d", catchup.MaxSamples)
	}
	samples := make([]catchup.ViewerSample, len(elements))
	for i, element := range elements {
		where := fmt.Sprintf("samples[%d]", i)
		members, err := exact.Members(element, a.Depth)
		if err != nil {
			return nil, a.bodyError(where, err)
		}
		if samples[i], err = readSample(where+": ", members); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// readSample reads one; where begins a refusal.
func readSample(where string, members []exact.Member) (s catchup.ViewerSample, err error) {
	f, err := pick(where, members, []string{"url", "time", "count"}, nil)
	if err != nil {
		return s, err
	}
	url, err := exact.Text(f.get("url"))
	if err != nil || url == "" || len(url) > maxSampleURL {
		return s, badRequest("%surl must be a string of 1 to %d bytes", where, maxSampleURL)
	}
	at, ok := readViewerTime(f.get("time"))
	if !ok {
		return s, badRequest("%stime must be YYYY-MM-DD HH:MM:SS, YYYY-MM-DD or whole seconds since 1970, all UTC", where)
	}
	count, err := exact.Int(f.get("count"))
	if err != nil || count < 0 || count > math.MaxUint32 {
		return s, badRequest("%scount must be a whole number from 0 to %d", where, uint32(math.MaxUint32))
	}
	return catchup.ViewerSample{URL: url, Time: at, Count: uint32(count)}, nil
}
