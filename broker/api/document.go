package api

import (
	"crypto/sha256"
	_ "embed" // openapi.json
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
)

// documentRoutes is the description of all that is served here, itself included.
var documentRoutes = []route{
	{path: "/openapi.json", form: v1Form, suspended: true, methods: map[string]handler{http.MethodGet: getDocument}},
}

// openapi is the description, OpenAPI 3.1. A test holds it against the routes and what
// they answer.
//
//go:embed openapi.json
var openapi []byte

// openapiTag changes with the description.
var openapiTag = func() string {
	sum := sha256.Sum256(openapi)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}()

// kept is an answer that may be kept by those between, and asked for again by its tag.
type kept struct {
	tag  string
	body encoded
}

// getDocument: GET /openapi.json, to anybody. 304 where the caller has it.
func getDocument(_ *api, r *http.Request, _ *broker.Identity) (reply, error) {
	// The tags of one header, or of several, are a list; each may be called weak.
	for _, tag := range strings.Split(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == openapiTag || tag == "*" {
			return reply{http.StatusNotModified, kept{tag: openapiTag}}, nil
		}
	}
	return reply{http.StatusOK, kept{tag: openapiTag, body: openapi}}, nil
}
