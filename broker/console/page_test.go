package console

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func pageFile(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(pages, "page/"+name)
	require.NoError(t, err)
	return string(b)
}

func scripts(t *testing.T) map[string]string {
	t.Helper()
	names, err := fs.Glob(pages, "page/*.mjs")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	all := map[string]string{}
	for _, n := range names {
		all[filepath.Base(n)] = pageFile(t, filepath.Base(n))
	}
	return all
}

// The page must work under policy: nothing inline, nothing from elsewhere.
func TestPageKeepsItsPolicy(t *testing.T) {
	html := pageFile(t, "index.html")
	for _, bad := range []string{`<script>`, `<style`, `\sstyle=`, `\son[a-z]+=`, `javascript:`, `(src|href)="(https?:)?//`, `\saction=`} {
		require.NotRegexp(t, regexp.MustCompile(bad), html)
	}
	h := newBench(t, nil)
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(html, -1) {
		require.Equal(t, 200, get(h, "GET", m[1]).Code, m[1])
	}
	for name, js := range scripts(t) {
		for _, m := range regexp.MustCompile(`from '\./([^']+)'`).FindAllStringSubmatch(js, -1) {
			require.Equal(t, 200, get(h, "GET", root+m[1]).Code, "%s imports %s", name, m[1])
		}
	}
	require.NotRegexp(t, regexp.MustCompile(`@import|url\(|https?:`), pageFile(t, "console.css"))
}

// What comes from outside must reach the page as text only (security.md §4.2 row 36).
func TestPageShowsDataAsText(t *testing.T) {
	for name, js := range scripts(t) {
		require.NotRegexp(t, regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|setAttribute\('(on|style)`), js, name)
	}
}

// Every element the scripts ask for is on the page, and only once.
func TestPageHasWhatTheScriptsUse(t *testing.T) {
	html := pageFile(t, "index.html")
	for name, js := range scripts(t) {
		for _, m := range regexp.MustCompile(`\$\('([a-z-]+)'\)`).FindAllStringSubmatch(js, -1) {
			require.Equal(t, 1, strings.Count(html, `id="`+m[1]+`"`), "%s: %s", name, m[1])
		}
	}
}

// without skips where a program is missing; a CI machine skips nothing.
func without(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// Figures, axes, places and JSON of the scripts, by their own tests. The pages themselves
// are tested in a browser with a real broker behind them (examples/e2e).
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		without(t, "node")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, "--test", "--test-reporter=tap", "testdata/page.test.mjs").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, regexp.MustCompile(`(?m)^# pass [1-9]`), string(out))
}
