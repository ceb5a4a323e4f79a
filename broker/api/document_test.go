package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/stretchr/testify/require"
)

// described is the part of the description that the tests read.
type described struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct {
		SecuritySchemes map[string]any
		Parameters      map[string]parameter
		Responses       map[string]response
		Schemas         map[string]any
	}
}

type operation struct {
	OperationID string
	Summary     string
	Description string
	Tags        []string
	Parameters  []parameter
	RequestBody *struct {
		Required bool
		Content  map[string]struct {
			Schema  any
			Example json.RawMessage
		}
	}
	Responses map[string]response
	Security  []map[string][]string
}

type parameter struct {
	Ref         string `json:"$ref"`
	Name, In    string
	Description string
	Required    bool
	Schema      any
	Example     any
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Headers     map[string]any
	Content     map[string]struct{ Schema any }
}

// description reads openapi.json as strictly as the structs above are written.
func description(t *testing.T) *described {
	t.Helper()
	d := &described{}
	require.NoError(t, json.Unmarshal(openapi, d))
	return d
}

func (d *described) parameter(p parameter) parameter {
	if p.Ref != "" {
		return d.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
	}
	return p
}

func (d *described) response(r response) response {
	if r.Ref != "" {
		return d.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
	}
	return r
}

// each calls f with every operation.
func (d *described) each(t *testing.T, f func(t *testing.T, path, method string, op operation)) {
	for path, methods := range d.Paths {
		for method, op := range methods {
			t.Run(op.OperationID, func(t *testing.T) { f(t, path, strings.ToUpper(method), op) })
		}
	}
}

// TestOpenAPIRoutes: what is served is described, and nothing else is.
func TestOpenAPIRoutes(t *testing.T) {
	var served, described []string
	for _, rt := range routes {
		for method := range rt.methods {
			served = append(served, method+" "+rt.path)
		}
	}
	d := description(t)
	require.Equal(t, "3.1.0", d.OpenAPI)
	ids := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
			require.False(t, ids[op.OperationID], "%s is there twice", op.OperationID)
			ids[op.OperationID] = true
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	require.Equal(t, served, described)
}

// TestOpenAPIForm: every reference leads somewhere, every parameter of a path is
// described, every scheme exists, and schemas use only what the checker checks.
func TestOpenAPIForm(t *testing.T) {
	d := description(t)
	var all any
	require.NoError(t, json.Unmarshal(openapi, &all))
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				at := all
				for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					at = at.(map[string]any)[step]
				}
				require.NotNil(t, at, ref)
			}
			for _, sub := range v {
				walk(sub)
			}
		case []any:
			for _, sub := range v {
				walk(sub)
			}
		}
	}
	walk(all)
	d.each(t, func(t *testing.T, path, _ string, op operation) {
		require.NotEmpty(t, op.Summary)
		require.Contains(t, op.Description, "Who may: ")
		require.Len(t, op.Tags, 1)
		var inPath []string
		for _, p := range op.Parameters {
			p = d.parameter(p)
			require.NotEmpty(t, p.Description, p.Name)
			if p.In == "path" {
				require.True(t, p.Required)
				inPath = append(inPath, "{"+p.Name+"}")
			}
		}
		require.ElementsMatch(t, regexp.MustCompile(`\{\w+\}`).FindAllString(path, -1), inPath)
		require.NotEmpty(t, op.Security)
		for _, s := range op.Security {
			for name := range s {
				require.Contains(t, d.Components.SecuritySchemes, name)
			}
		}
		for _, r := range op.Responses {
			require.NotEmpty(t, d.response(r).Description)
		}
	})
}

// check holds a value against a schema, of which it knows the parts the description
// uses, and returns what is wrong; what it does not know is wrong.
func (d *described) check(schema, value any, at string) error {
	s := schema.(map[string]any)
	for word, arg := range s {
		var err error
		switch word {
		case "description", "default", "required", "additionalProperties", "minItems", "maxItems":
		case "$ref":
			err = d.check(d.Components.Schemas[strings.TrimPrefix(arg.(string), "#/components/schemas/")], value, at)
		case "oneOf":
			err = d.checkOneOf(arg.([]any), value, at)
		case "type":
			err = checkType(arg, value, at)
		case "enum":
			if !slices.Contains(arg.([]any), value) {
				err = fmt.Errorf("%s: %v is none of %v", at, value, arg)
			}
		case "minimum":
			if n, ok := value.(float64); ok && n < arg.(float64) {
				err = fmt.Errorf("%s: %v is below %v", at, n, arg)
			}
		case "maximum":
			if n, ok := value.(float64); ok && n > arg.(float64) {
				err = fmt.Errorf("%s: %v is above %v", at, n, arg)
			}
		case "maxLength":
			if text, ok := value.(string); ok && float64(len(text)) > arg.(float64) {
				err = fmt.Errorf("%s: longer than %v", at, arg)
			}
		case "pattern":
			if text, ok := value.(string); ok && !regexp.MustCompile(arg.(string)).MatchString(text) {
				err = fmt.Errorf("%s: %q is not %s", at, text, arg)
			}
		case "items":
			elements, _ := value.([]any)
			for i, v := range elements {
				if err = d.check(arg, v, fmt.Sprintf("%s[%d]", at, i)); err != nil {
					break
				}
			}
		case "properties":
			err = d.checkMembers(s, value, at)
		default:
			err = fmt.Errorf("%s: the checker does not know %q", at, word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *described) checkOneOf(all []any, value any, at string) error {
	fits := 0
	for _, one := range all {
		if d.check(one, value, at) == nil {
			fits++
		}
	}
	if fits != 1 {
		return fmt.Errorf("%s: fits %d of its schemas, not one", at, fits)
	}
	return nil
}

// checkMembers finds members that are required and are not there, and those that are
// there and not described.
func (d *described) checkMembers(s map[string]any, value any, at string) error {
	members, ok := value.(map[string]any)
	if !ok {
		return nil // its type says so
	}
	properties := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := members[name.(string)]; !there {
			return fmt.Errorf("%s: %s is not there", at, name)
		}
	}
	for name, v := range members {
		if properties[name] == nil {
			if s["additionalProperties"] == true {
				continue
			}
			return fmt.Errorf("%s: %s is not described", at, name)
		}
		if err := d.check(properties[name], v, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func checkType(types, value any, at string) error {
	is := map[string]bool{}
	switch v := value.(type) {
	case nil:
		is["null"] = true
	case bool:
		is["boolean"] = true
	case string:
		is["string"] = true
	case float64:
		is["number"], is["integer"] = true, v == float64(int64(v))
	case []any:
		is["array"] = true
	case map[string]any:
		is["object"] = true
	}
	all, several := types.([]any)
	if !several {
		all = []any{types}
	}
	for _, name := range all {
		if is[name.(string)] {
			return nil
		}
	}
	return fmt.Errorf("%s: %v is no %v", at, value, types)
}

func TestOpenAPIChecker(t *testing.T) {
	d := description(t)
	f := func(schema, value, fault string) {
		t.Helper()
		var s, v any
		require.NoError(t, json.Unmarshal([]byte(schema), &s))
		require.NoError(t, json.Unmarshal([]byte(value), &v))
		err := d.check(s, v, "x")
		if fault == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, fault)
	}
	taken := `{"$ref":"#/components/schemas/Taken"}`
	f(taken, `{"id":"a","time":1}`, "")
	f(taken, `{"id":"a"}`, "time is not there")
	f(taken, `{"id":1,"time":1}`, "1 is no string")
	f(taken, `{"id":"a","time":1.5}`, "1.5 is no integer")
	f(taken, `{"id":"a","time":1,"more":1}`, "more is not described")
	f(`{"type":["string","null"]}`, `null`, "")
	f(`{"type":["string","null"]}`, `1`, "is no [string null]")
	f(`{"type":"array","items":{"enum":[1]}}`, `[1,2]`, "x[1]: 2 is none of [1]")
	f(`{"type":"string","pattern":"^a$","maxLength":1}`, `"b"`, "is not ^a$")
	f(`{"minimum":2,"maximum":3}`, `1`, "below")
	f(`{"minimum":2,"maximum":3}`, `4`, "above")
	f(`{"oneOf":[{"type":"string"},{"type":"integer"}]}`, `true`, "fits 0")
	f(`{"anyOf":[]}`, `1`, "does not know")
}

// answered checks that a response is one of those documented for an operation.
func (d *described) answered(t *testing.T, op operation, w *httptest.ResponseRecorder) {
	t.Helper()
	r, there := op.Responses[fmt.Sprint(w.Code)]
	require.True(t, there, "%d is not described: %s", w.Code, w.Body)
	r = d.response(r)
	for name := range r.Headers {
		if name != truncatedHeader { // of lines alone
			require.NotEmpty(t, w.Header().Get(name), name)
		}
	}
	if r.Content == nil {
		require.Empty(t, w.Body.String())
		return
	}
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	require.Contains(t, r.Content, kind)
	if kind != "application/json" {
		return
	}
	var v any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	require.NoError(t, d.check(r.Content[kind].Schema, v, "body"), "%s", w.Body)
}

// stage is a broker where what the examples name is there.
func stage(t *testing.T) (x *office, comment string) {
	t.Helper()
	x = newOffice(t)
	must := func(method, target, body string) *httptest.ResponseRecorder {
		t.Helper()
		w := x.send(method, target, body, x.server())
		require.Less(t, w.Code, 300, "%s %s: %s", method, target, w.Body)
		return w
	}
	must("POST", "/v1/objects", `{"object_id":"show-7","name":"Show 7","owner_ref":"boss"}`)
	must("POST", "/v1/objects", `{"object_id":"film-1","type":"video"}`)
	must("POST", "/v1/objects/show-7/publish", `{"channel":"score","data":{"home":0}}`)
	must("POST", "/v1/objects/show-7/publish", `{"channel":"events","data":{"event":"broadcasting","state":"start"}}`)
	must("POST", "/v1/objects/show-7/sessions", ``)
	must("POST", "/v1/data/room?object_id=show-7", `{"score":{"home":0}}`)
	must("POST", "/v1/e/accumulate?id=mood&channel_id=show-7", `{"mood":"good"}`)
	var made struct {
		Comment struct {
			CommentID string `json:"comment_id"`
		}
	}
	require.NoError(t, json.Unmarshal(must("POST", "/v1/objects/show-7/comments", `{"content":"hi"}`).Body.Bytes(), &made))
	return x, made.Comment.CommentID
}

// send sends a request with a credential, "" for none; headers are "Name: value".
func (x *office) send(method, target, body, credential string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if credential != "" {
		r.Header.Set("Authorization", credential)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	x.handler.ServeHTTP(w, r)
	return w
}

// example makes the request of an operation's examples: its target and its body.
func (d *described) example(t *testing.T, path, comment string, op operation) (target, body string) {
	t.Helper()
	query := url.Values{}
	for _, p := range op.Parameters {
		p = d.parameter(p)
		if p.Example == nil {
			require.False(t, p.Required, "%s has no example", p.Name)
			continue
		}
		require.NoError(t, d.check(p.Schema, p.Example, p.Name))
		text := fmt.Sprint(p.Example)
		switch {
		case p.In == "path" && p.Name == "comment":
			path = strings.Replace(path, "{comment}", comment, 1) // the broker makes it
		case p.In == "path":
			path = strings.Replace(path, "{"+p.Name+"}", text, 1)
		case p.In == "query":
			query.Set(p.Name, text)
		}
	}
	if op.RequestBody != nil {
		content := op.RequestBody.Content["application/json"]
		body = string(content.Example)
		require.NotEmpty(t, body)
		var v any
		require.NoError(t, json.Unmarshal(content.Example, &v))
		require.NoError(t, d.check(content.Schema, v, "example"))
	}
	return path + "?" + query.Encode(), body
}

// unlucky are the operations whose example cannot succeed on a broker alone.
var unlucky = map[string]int{
	"endConnection": http.StatusNotFound,  // there is no session
	"openHistory":   http.StatusForbidden, // there is no open channel
	"chartPage":     http.StatusNotFound,  // the root is another broker's
	"chart":         http.StatusNotFound,
}

// headless are the operations for which no header is a credential.
var headless = map[string]bool{"chartPage": true, "chart": true}

// TestOpenAPIExamples: the request of each operation's example does what the
// description says, on a broker; and so do bad ones.
func TestOpenAPIExamples(t *testing.T) {
	d := description(t)
	d.each(t, func(t *testing.T, path, method string, op operation) {
		if op.OperationID == "command" {
			return // TestOpenAPICommand: it has its own signature, and always status 200
		}
		x, comment := stage(t)
		target, body := d.example(t, path, comment, op)
		if op.OperationID == "clearAccumulation" || op.OperationID == "accumulate" {
			target += "&channel_id=show-7" // the server's key names no object
		}
		public := slices.ContainsFunc(op.Security, func(s map[string][]string) bool { return len(s) == 0 })

		if _, stream := op.Security[0]["stream"]; stream {
			d.streamExample(t, x, method, target, body, op)
			return
		}
		w := x.send(method, target, body, "")
		if d.answered(t, op, w); !public {
			require.Equal(t, http.StatusUnauthorized, w.Code)
		}
		w = x.send(method, target, body, "Bearer nonsense")
		d.answered(t, op, w)
		require.Equal(t, headless[op.OperationID], w.Code != http.StatusUnauthorized)
		if op.RequestBody != nil {
			w = x.send(method, target, `{"a":1,"a"`, x.server())
			d.answered(t, op, w)
			require.Equal(t, http.StatusBadRequest, w.Code)
		}
		w = x.send("TRACE", target, "", x.server())
		d.answered(t, op, w)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)

		w = x.send(method, target, body, x.server())
		d.answered(t, op, w)
		want, bad := unlucky[op.OperationID]
		if !bad {
			require.Less(t, w.Code, 300, "%s", w.Body)
			return
		}
		require.Equal(t, want, w.Code)
	})
}

// TestOpenAPIOnFake: what a broker alone cannot show.
func TestOpenAPIOnFake(t *testing.T) {
	d := description(t)
	f := func(path, method, target, body string, status int, prepare func(c *call), headers ...string) {
		t.Helper()
		c := newCall(t, Options{})
		if prepare != nil {
			prepare(c)
		}
		w := c.do(strings.ToUpper(method), target, "server", body, headers...)
		require.Equal(t, status, w.Code, "%s", w.Body)
		d.answered(t, d.Paths[path][method], w)
	}
	f("/v1/connections/{connection}", "delete", "/v1/connections/c1", "", 200, nil)
	f("/v1/connections", "get", "/v1/connections", "", 200, nil)
	f("/v1/objects/{id}/presence", "get", "/v1/objects/own/presence", "", 200, nil)
	f("/v1/history", "get", "/v1/history?channel=/demo/hello", "", 200, nil)
	f("/v1/history", "get", "/v1/history?channel=/demo/hello", "", 200, func(c *call) {
		c.service.pages = []broker.HistoryPage{{Messages: []broker.HistoryMessage{{ID: "a", Time: 1700, Channel: "/demo/hello", Data: []byte("1")}}}}
	}, "Accept: application/x-ndjson")
	f("/v1/objects", "post", "/v1/objects", `{"object_id":"own","name":"another"}`, 409, nil)
	f("/v1/stats/samples", "post", "/v1/stats/samples", `{"samples":[{"url":"a","time":1,"count":7}]}`, 200, nil)
	shown := func(c *call) {
		c.service.chart = broker.ViewerChart{Object: c.service.objects["12/own"], From: time.Unix(0, 0), To: time.Unix(3600, 0), Step: time.Minute}
	}
	f("/stats/{root}", "get", "/stats/good", "", 200, shown)
	f("/stats/{root}", "get", "/stats/good?graph=5", "", 400, shown)
	f("/stats/{root}", "get", "/stats/bad", "", 404, shown)
	f("/stats/{root}/chart.svg", "get", "/stats/good/chart.svg?graph=4", "", 200, shown)
}

// TestOpenAPICommand: the command's example is well signed, but of another time; signed
// anew it is answered, and every answer is as described.
func TestOpenAPICommand(t *testing.T) {
	d := description(t)
	x, op := newOffice(t), d.Paths["/stable/"]["post"]
	example := op.RequestBody.Content["application/json"].Example
	var v any
	require.NoError(t, json.Unmarshal(example, &v))
	require.NoError(t, d.check(op.RequestBody.Content["application/json"].Schema, v, "example"))
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, example))
	f := func(method, body, want string) {
		t.Helper()
		w := x.send(method, "/stable/", body, "", "Content-Type: application/json")
		d.answered(t, op, w)
		require.Contains(t, w.Body.String(), want)
	}
	f("POST", compact.String(), `"0002"`)
	f("POST", strings.Replace(compact.String(), `"graph":1`, `"graph":2`, 1), `"0003"`)
	f("POST", x.signed(`"app":"demo-origin","graph":1`), "No viewers found")
	require.Equal(t, http.StatusOK, x.send("POST", "/v1/stats/samples", fmt.Sprintf(`{"samples":[{"url":"a","time":%d,"count":7}]}`, time.Now().Add(-time.Hour).Unix()), x.server()).Code)
	f("POST", x.signed(`"app":"demo-origin","graph":1,"extended":true`), `"viewer_count_max":7`)
	f("GET", "", "POST")
}

// TestOpenAPIServed: to anybody, from any page, and not twice to who has it.
func TestOpenAPIServed(t *testing.T) {
	c := newCall(t, Options{})
	w := c.do("GET", "/openapi.json", "", "", "Origin: http://page.example")
	require.Equal(t, 200, w.Code)
	require.Equal(t, openapi, w.Body.Bytes())
	require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "public, max-age=3600", w.Header().Get("Cache-Control"))
	require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	tag := w.Header().Get("ETag")
	require.Regexp(t, `^"[0-9a-f]{16}"$`, tag)
	for _, have := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		w = c.do("GET", "/openapi.json", "", "", "If-None-Match: "+have)
		require.Equal(t, http.StatusNotModified, w.Code, have)
		require.Empty(t, w.Body.Bytes())
		require.Equal(t, tag, w.Header().Get("ETag"))
	}
	require.Equal(t, 200, c.do("GET", "/openapi.json", "", "", `If-None-Match: "other"`).Code)
	c.service.suspended = demo
	require.Equal(t, 200, c.do("GET", "/openapi.json", "server", "").Code)
	require.Equal(t, http.StatusMethodNotAllowed, c.do("POST", "/openapi.json", "", "").Code)
	require.Equal(t, http.StatusNoContent, c.do("OPTIONS", "/openapi.json", "", "").Code)
}
