package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// API is how servers publish to Gobelin without a session: POST /v1/publish, with one
// result for each message in order (product.md §9).
const API = "api"

// poster is a road to the API: it only sends.
type poster struct{ *poller }

// openAPI returns the road to the API of the server that the target's URL is on.
func (t *target) openAPI(token string) road {
	p := t.newPoller(&url.URL{Path: "/v1/publish"}, token)
	p.begin, p.end = `{"messages":[`, `]}`
	return &poster{p}
}

// send posts messages, whose marks are told to sink when they are answered.
func (p *poster) send(messages [][]byte, sink sink) error {
	return p.request(&p.others, answered, false, messages, func(r io.Reader) error {
		var answer struct {
			Results []struct {
				ID    string `json:"id"`
				Error string `json:"error"`
			} `json:"results"`
		}
		if err := json.NewDecoder(io.LimitReader(r, maxSetup)).Decode(&answer); err != nil {
			return fmt.Errorf("bench: the answer to a publish: %w", err)
		}
		if len(answer.Results) != len(messages) {
			return fmt.Errorf("bench: %d results for %d messages", len(answer.Results), len(messages))
		}
		var found seen
		for i, result := range answer.Results {
			if result.ID == "" {
				found.refused, found.why = true, []byte(result.Error)
			}
			at := bytes.Index(messages[i], []byte(p.target.anchor))
			if at < 0 || at+markSize > len(messages[i]) {
				return errors.New("bench: a message without a mark")
			}
			if m, ok := parseMark(messages[i][at : at+markSize]); ok {
				found.marks = append(found.marks, m)
			}
		}
		sink(&found)
		// A connection can be used again once its answer is read to the end.
		_, err := io.Copy(io.Discard, r)
		return err
	})
}

// entry writes a message for the API.
func entry(channel string, data []byte) []byte {
	b := make([]byte, 0, len(data)+len(channel)+32)
	b = append(append(b, `{"channel":"`...), channel...)
	b = append(append(b, `","data":`...), data...)
	return append(b, '}')
}
