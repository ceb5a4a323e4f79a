package examples

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(Pages, name)
	require.NoError(t, err)
	return string(b)
}

// The page must work under TryPolicy: nothing inline, nothing from elsewhere.
func TestPageKeepsItsPolicy(t *testing.T) {
	html := page(t, "try/index.html")
	for _, bad := range []string{
		`<script>`, `<style`, `\sstyle=`, `\son[a-z]+=`, `javascript:`, `(src|href)="(https?:)?//`,
	} {
		require.NotRegexp(t, regexp.MustCompile(bad), html)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if name, ours := strings.CutPrefix(m[1], "/try/"); ours {
			require.NotEmpty(t, page(t, "try/"+name))
		} else {
			require.Contains(t, []string{"/faye/client.js", "#messages"}, m[1])
		}
	}
	meta := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]+)"`).FindStringSubmatch(html)
	require.NotNil(t, meta)
	// frame-ancestors means nothing in a meta element; all else is the same.
	require.Equal(t, strings.TrimSuffix(TryPolicy, "; frame-ancestors 'none'"), meta[1])
}

// Data from outside must reach the page as text only.
func TestPageShowsDataAsText(t *testing.T) {
	js := page(t, "try/try.js")
	require.NotRegexp(t, regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser`), js)
	require.Contains(t, js, "textContent")
}

// Every element the script asks for is on the page, and only once.
func TestPageHasWhatTheScriptUses(t *testing.T) {
	html, js := page(t, "try/index.html"), page(t, "try/try.js")
	used := regexp.MustCompile(`\$\('([a-z-]+)'\)`).FindAllStringSubmatch(js, -1)
	require.NotEmpty(t, used)
	for _, m := range used {
		require.Equal(t, 1, strings.Count(html, `id="`+m[1]+`"`), m[1])
	}
}
