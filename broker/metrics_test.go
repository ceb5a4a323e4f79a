package broker

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Counters with a label have all their values from the start: what the code counts is
// what newMetrics makes, no more and no less.
func TestLabelsAreThereFromTheStart(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	counted := map[string][]string{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != "refused" && f.Sel.Name != "dropped" {
				return true
			}
			value, ok := call.Args[0].(*ast.BasicLit)
			require.True(t, ok, "%s: %s counts what is no constant", path, f.Sel.Name)
			name, err := strconv.Unquote(value.Value)
			require.NoError(t, err)
			counted[f.Sel.Name] = append(counted[f.Sel.Name], name)
			return true
		})
	}
	f := func(call string, want []string) {
		t.Helper()
		slices.Sort(counted[call])
		require.Equal(t, slices.Compact(counted[call]), want)
	}
	f("refused", refusalNames)
	f("dropped", dropNames)
}
