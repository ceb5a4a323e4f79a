package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documents returns the text of every Markdown file of the repository, by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	top := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "node_modules" || name == "dist" || path != top && strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		if !entry.IsDir() && filepath.Ext(name) == ".md" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] = string(text)
		}
		return nil
	}))
	return all
}

// withoutCode takes out what stands between fences and backticks.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "code")
}

// anchors returns the anchors of a document's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	fenced := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fenced, -1) {
		slug := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		all[regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(slug, "")] = true
	}
	return all
}

// Every link within the repository leads to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	all := documents(t)
	require.Greater(t, len(all), 10)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range all {
		for _, m := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", path, m[1])
				continue
			}
			if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s: %s: %s has no such heading", path, m[1], target)
			}
		}
	}
}

// README names every guide there is, and every guide begins with what it is.
func TestGuides(t *testing.T) {
	all := documents(t)
	readme := all[filepath.Join("..", "..", "README.md")]
	for path, text := range all {
		if dir := filepath.Dir(path); filepath.Base(path) == "README.md" && filepath.Base(filepath.Dir(dir)) == "examples" {
			require.Regexp(t, `^# .+\n\n`, text, path)
			if filepath.Base(dir) != "conformance" { // for who works on the broker
				require.Contains(t, readme, "](examples/"+filepath.Base(dir)+"/README.md)", "README must lead to it")
			}
		}
	}
}

// What the specifications call by number means nothing to who has only this.
func TestDocumentsStandAlone(t *testing.T) {
	for path, text := range documents(t) {
		require.NotRegexp(t, `(?i)decided\.md|issue #?\d`, text, path)
	}
}

// README's table of verbs is this one. UPDATE_README=1 writes it.
func TestReadmeVerbs(t *testing.T) {
	var b strings.Builder
	b.WriteString("| Verb | Does |\n| --- | --- |\n")
	for _, c := range newRootCommand().Commands() {
		if c.Runnable() && c.Name() != "help" && c.Name() != "completion" {
			b.WriteString("| `" + c.Name() + "` | " + strings.ReplaceAll(c.Short, "|", "\\|") + " |\n")
		}
	}
	requireTable(t, "../../README.md", "verbs", b.String(), "TestReadmeVerbs")
}

// README says of every limit what is beyond it.
func TestReadmeLimits(t *testing.T) {
	_, rest, ok := strings.Cut(documents(t)[filepath.Join("..", "..", "README.md")], "\n## Limits\n")
	require.True(t, ok)
	section, _, _ := strings.Cut(rest, "\n## ")
	for _, o := range options {
		if name, ok := strings.CutPrefix(o.key, "limits."); ok {
			require.Contains(t, section, "`"+name+"`", "README, Limits, has no row for %s", o.key)
		}
	}
}

// Options and metrics that a document names are there.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	keys, sections := map[string]bool{}, map[string]bool{}
	for _, o := range options {
		keys[o.key] = true
		for at := strings.LastIndexByte(o.key, '.'); at > 0; at = strings.LastIndexByte(o.key[:at], '.') {
			keys[o.key[:at]] = true
			sections[o.key[:at]] = true
		}
	}
	text := exposed(t)
	metrics := map[string]bool{}
	for _, f := range readMetrics(t, text) {
		metrics[f.name] = true
		for _, name := range f.series() {
			metrics[name] = true
		}
	}
	option := regexp.MustCompile("`(--)?([a-z]+)\\.([a-z_.]+)[`:]")
	metric := regexp.MustCompile(`\bgobelin_[a-z_]+\b`)
	files := regexp.MustCompile(`\.(go|yml|yaml|sh|mjs|js|php|html|json|conf|cfg|css|txt|md|service|log)$`)
	for path, text := range documents(t) {
		for _, m := range option.FindAllStringSubmatch(text, -1) {
			key := m[2] + "." + m[3]
			if sections[m[2]] && !files.MatchString(key) {
				require.True(t, keys[key], "%s: there is no option %s", path, key)
			}
		}
		for _, name := range metric.FindAllString(text, -1) {
			require.True(t, metrics[name], "%s: there is no metric %s", path, name)
		}
	}
}

// testNames returns the tests and fuzz targets of each package, by its folder, and what
// their parts are called.
func testNames(t *testing.T) (tests map[string]bool, parts map[string]string) {
	t.Helper()
	top := filepath.Join("..", "..")
	tests, parts = map[string]bool{}, map[string]string{}
	name := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	part := regexp.MustCompile(`(?:\bRun|\brun)\("([^"]+)"`)
	require.NoError(t, filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			if err == nil && entry.IsDir() && entry.Name() == "node_modules" {
				return fs.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, filepath.Dir(path))
		rel = filepath.ToSlash(rel)
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			tests[rel+"."+m[1]] = true
		}
		for _, m := range part.FindAllStringSubmatch(string(text), -1) {
			parts[rel] += m[1] + "\n"
		}
		return nil
	}))
	return tests, parts
}

// TestTablesOfTests: each test that a table of CONTRIBUTING.md names in a last column
// called test or tests exists, and each threat has one.
func TestTablesOfTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "CONTRIBUTING.md"))
	require.NoError(t, err)
	tests, parts := testNames(t)
	code := regexp.MustCompile("`([^`]+)`")
	exists := func(name string) bool {
		if ext := filepath.Ext(name); ext == ".mjs" || ext == ".txt" || ext == ".json" {
			_, err := os.Stat(filepath.Join("..", "..", name))
			return err == nil
		}
		dot := strings.LastIndexByte(name, '.')
		test, part, inside := strings.Cut(name[dot+1:], "/")
		if !tests[name[:max(dot, 0)]+"."+test] {
			return false
		}
		return !inside || regexp.MustCompile(`(?m)^(\d+ )*`+regexp.QuoteMeta(part)+`\b`).MatchString(parts[name[:dot]])
	}
	require.True(t, exists("cmd/gobelin.TestThreats/13"))
	require.False(t, exists("cmd/gobelin.TestThreats/99"))
	require.False(t, exists("cmd/gobelin.TestThreat"))
	named := 0
	threats := map[string]bool{}
	section, listing := "", false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "## ") {
			section = line
		}
		if !strings.HasPrefix(line, "|") {
			listing = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		if last == "test" || last == "tests" {
			listing = true
			continue
		}
		if !listing || strings.HasPrefix(last, "---") {
			continue
		}
		found := code.FindAllStringSubmatch(last, -1)
		require.NotEmpty(t, found, "%s: no test in: %s", section, line)
		for _, m := range found {
			named++
			if !exists(m[1]) {
				t.Errorf("%s: there is no %s", section, m[1])
			}
		}
		if section == "## Threats and their tests" {
			threats[strings.TrimSpace(cells[0])] = true
		}
	}
	require.Greater(t, named, 50)
	for n := range 55 {
		require.True(t, threats[strconv.Itoa(n+1)], "threat %d has no row", n+1)
	}
}
