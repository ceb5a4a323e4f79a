package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// source is one file of the product.
type sourceFile struct {
	path string // from the top of the repository
	text []byte
	tree *ast.File
}

// of returns the text of a node.
func (f *sourceFile) of(n ast.Node) string { return string(f.text[n.Pos()-1 : n.End()-1]) }

// product returns every file that is neither a test nor for tests, nor an example.
func product(t *testing.T) (all []*sourceFile) {
	t.Helper()
	top := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			if rel != "." && strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules" || slices.Contains([]string{"bayeux/bayeuxtest", "broker/brokertest", "store/storetest", "examples", "dist"}, rel) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tree, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		all = append(all, &sourceFile{path: rel, text: text, tree: tree})
		return err
	}))
	require.Greater(t, len(all), 300)
	return all
}

// allowed are what a test of the source finds and lets pass; each must be found.
type allowed map[string]string

// judge reports what is found and not allowed, and what is allowed and not found.
func (a allowed) judge(t *testing.T, found map[string]bool, why string) {
	t.Helper()
	for one := range found {
		if a[one] == "" {
			t.Errorf("%s: %s", one, why)
		}
	}
	for one := range a {
		if !found[one] {
			t.Errorf("%s is not there any more", one)
		}
	}
}

// TestThreat42ConstantTime: what is made of secrets is compared in constant time alone.
func TestThreat42ConstantTime(t *testing.T) {
	word := regexp.MustCompile(`(?i)\b(h?mac|tag|sums?|digest|signature|password|secret|token|\w*\.Sum\(|Sum256\()`)
	plain := func(text string) bool { // says nothing of what it is compared with
		return text == "nil" || text == "true" || text == "false" || strings.HasPrefix(text, "len(") || text[0] == '"' || text[0] == '\'' || text[0] >= '0' && text[0] <= '9'
	}
	found := map[string]bool{}
	for _, f := range product(t) {
		ast.Inspect(f.tree, func(n ast.Node) bool {
			switch e := n.(type) {
			case *ast.BinaryExpr:
				left, right := f.of(e.X), f.of(e.Y)
				if (e.Op == token.EQL || e.Op == token.NEQ) && !plain(left) && !plain(right) && (word.MatchString(left) || word.MatchString(right)) {
					found[f.path+" "+left+" "+e.Op.String()+" "+right] = true
				}
			case *ast.CallExpr:
				if name := f.of(e.Fun); (name == "bytes.Equal" || name == "bytes.Compare" || name == "strings.EqualFold" || name == "strings.Compare") && word.MatchString(f.of(e)) {
					found[f.path+" "+f.of(e)] = true
				}
			}
			return true
		})
	}
	allowed{
		"broker/api/document.go tag == openapiTag":              "the tag of a cache",
		"bayeux/script.go tag == etag":                          "the tag of a cache",
		"broker/repeat.go s.repeats.byTag[tag] == r":            "a key of a map",
		"broker/repeat.go m.Tag == tag":                         "what a publish is known again by",
		"cmd/gobelin/validate.go r.Secret == k.IdentitySecret":  "two lines of one operator's configuration",
		"cmd/gobelin/validate.go app.AppKey == app.TokenSecret": "two lines of one operator's configuration",
		"cmd/gobelin/rotate.go had.Secret != k.Secret":          "two lines of one operator's configuration",
	}.judge(t, found, "is it a secret, or a MAC? Then hmac.Equal or subtle.ConstantTimeCompare; else name it here, with the reason")
}

// TestThreat48NodeAsksNobody: nothing that runs in a node opens connections, but to the
// store and, where it is configured, to the CA. No message can make it ask an address.
func TestThreat48NodeAsksNobody(t *testing.T) {
	opens := regexp.MustCompile(`^(net\.(Dial\w*|Dialer)|tls\.(Dial\w*|Dialer)|http\.(Get|Post|PostForm|Head|Client|DefaultClient|Transport|DefaultTransport)|httputil\.\w*Proxy\w*|websocket\.(Dialer|DefaultDialer|NewClient)|exec\.Command\w*|acme\.Client|autocert\.Manager|rpc\.Dial\w*|smtp\.\w+)$`)
	found := map[string]bool{}
	for _, f := range product(t) {
		if strings.HasPrefix(f.path, "cmd/release/") {
			continue
		}
		for _, i := range f.tree.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			require.NotContains(t, []string{"net/http/pprof", "expvar", "net/rpc", "plugin"}, path, "%s: it serves more than it is asked to (46)", f.path)
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if s, is := n.(*ast.SelectorExpr); is && opens.MatchString(f.of(s)) {
				found[f.path+" "+f.of(s)] = true
			}
			return true
		})
	}
	allowed{
		"store/redis/client.go net.Dialer":             "the store",
		"store/redis/client.go tls.Dialer":             "the store",
		"broker/trace/tracer.go http.Client":           "the collector of traces.endpoint; follows no redirect",
		"broker/trace/tracer.go http.Transport":        "the collector of traces.endpoint",
		"cmd/gobelin/acme.go autocert.Manager":         "the CA of tls.acme.directory",
		"cmd/gobelin/acme.go acme.Client":              "the CA of tls.acme.directory",
		"cmd/gobelin/control.go net.Dialer":            "verbs: the node that the operator names",
		"cmd/gobelin/control.go http.Client":           "verbs: the node that the operator names; follows no redirect",
		"cmd/gobelin/control.go http.Transport":        "verbs: the node that the operator names",
		"cmd/gobelin/stats.go http.DefaultClient":      "a verb: the broker of --url",
		"cmd/gobelin/doctor_net.go http.DefaultClient": "a verb: the broker of --url",
		"bayeux/client/link.go websocket.Dialer":       "the client",
		"bayeux/client/link.go http.Client":            "the client",
		"bayeux/client/link.go http.Transport":         "the client",
		"bayeux/client/options.go http.Client":         "the client",
		"bayeux/bench/socket.go websocket.Dialer":      "a verb: the broker of --url",
		"bayeux/bench/road.go net.Dialer":              "a verb: the broker of --url",
	}.judge(t, found, "a node that asks addresses can be made to ask those of its own network: see security.md §4, 48")
}
