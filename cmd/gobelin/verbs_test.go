package main

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Every verb says what it does and shows how, and what it shows is understood.
func TestEveryVerbHasExamples(t *testing.T) {
	seen := 0
	err := eachVerb(wholeCommand(), func(c *cobra.Command) error {
		seen++
		require.NotEmpty(t, c.Short, c.CommandPath())
		require.NotEmpty(t, c.Example, c.CommandPath())
		own := false
		for line := range strings.Lines(c.Example) {
			for _, words := range calls(t, line) {
				own = own || strings.HasPrefix(strings.Join(words, " ")+" ", c.CommandPath()+" ")
				require.NoError(t, understood(words[1:]), "%s: %s", c.CommandPath(), line)
			}
		}
		require.True(t, own, "%s: no example of it", c.CommandPath())
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 30)
}

// wholeCommand is the program's, with what run adds.
func wholeCommand() *cobra.Command {
	root := newRootCommand()
	completable(root)
	return root
}

// understood reports what is wrong with a call, which is not carried out.
func understood(args []string) error {
	root := wholeCommand()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if i := scenarioAt(rest); i >= 0 {
		return understood(append([]string{"bench", rest[i+1]}, append(rest[:i:i], rest[i+2:]...)...))
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		return err
	}
	if !c.Runnable() {
		return fmt.Errorf("%s does nothing by itself", c.CommandPath())
	}
	return c.ValidateFlagGroups()
}

func scenarioAt(args []string) int {
	for i, a := range args {
		if a == "--scenario" && i+1 < len(args) {
			return i
		}
	}
	return -1
}

// process is how examples find the server's.
var process = regexp.MustCompile(`\$\(pgrep [^)]*\)|\$!`)

var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// calls returns the calls of gobelin in a line of a shell.
func calls(t *testing.T, line string) (all [][]string) {
	t.Helper()
	var words []string
	end := func() {
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 && words[0] == "gobelin" {
			all = append(all, words)
		}
		words = nil
	}
	for _, w := range shellWords(t, process.ReplaceAllString(line, "4711")) {
		switch w {
		case "|", "||", "&", "&&", ";":
			end()
		default:
			words = append(words, w)
		}
	}
	end()
	return all
}

// shellWords splits a line as a shell does, as far as examples go: quotes, comments,
// redirections, and $(…) as one word.
func shellWords(t *testing.T, line string) (words []string) {
	t.Helper()
	var word strings.Builder
	begun, quote, depth := false, rune(0), 0
	flush := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	before := ' '
	for _, r := range strings.TrimSpace(line) {
		switch {
		case quote != 0 && r == quote && depth == 0:
			quote = 0
		case quote != 0 || depth > 0:
			word.WriteRune(r)
			depth += strings.Count(string(before)+string(r), "$(") - strings.Count(string(r), ")")
			depth = max(depth, 0)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == '(' && before == '$':
			word.WriteRune(r)
			depth++
		case r == '#' && !begun:
			return words
		case r == ' ':
			flush()
		case strings.ContainsRune("|&;", r):
			if n := len(words); !begun && n > 0 && words[n-1] == string(r) {
				words[n-1] += string(r)
				break
			}
			flush()
			words = append(words, string(r))
		case r == '>':
			flush()
			words = append(words, ";") // what follows is a file
		default:
			word.WriteRune(r)
			begun = true
		}
		before = r
	}
	flush()
	require.Zero(t, quote, "quotes: %s", line)
	return words
}

// The pages are for each verb, and say the same each time; no line of them is a request
// by accident.
func TestManPages(t *testing.T) {
	request := regexp.MustCompile(`^\.(TH|SH|B|BR|TP|nf|fi)\b`)
	err := eachVerb(wholeCommand(), func(c *cobra.Command) error {
		page := manPage(c)
		require.Equal(t, page, manPage(c))
		require.Contains(t, page, "\n.SH EXAMPLES\n")
		for line := range strings.Lines(page) {
			require.False(t, strings.HasPrefix(line, "'"), line)
			require.True(t, !strings.HasPrefix(line, ".") || request.MatchString(line), line)
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, `\&.a \-\- \e`, roff(`.a -- \`))
	require.Equal(t, `\&'x`, roff("'x"))

	man, err := exec.LookPath("man")
	if err != nil {
		t.Skip("no man: the pages have not been formatted")
	}
	dir := t.TempDir()
	require.Equal(t, exitOK, run(t.Context(), []string{"man", dir}, nil, io.Discard, io.Discard))
	pages, err := filepath.Glob(filepath.Join(dir, "gobelin*.1"))
	require.NoError(t, err)
	require.Greater(t, len(pages), 30)
	for _, page := range []string{"gobelin.1", "gobelin-serve.1", "gobelin-bench-fanout.1"} {
		out, err := exec.Command(man, "--warnings", "-l", filepath.Join(dir, page)).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NotContains(t, string(out), "warning", page)
	}
}

// Shells are told what verbs, options and values there are; their scripts are taken by
// the shells that are here.
func TestCompletion(t *testing.T) {
	complete := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		require.Equal(t, exitOK, run(t.Context(), append([]string{"__complete"}, args...), nil, &out, io.Discard))
		return out.String()
	}
	require.Contains(t, complete("ba"), "backup\t")
	require.Contains(t, complete("config", "bayeux.ti"), "bayeux.timeout\t45s")
	require.Contains(t, complete("serve", "--durability.ack", ""), "replica")
	require.Contains(t, complete("serve", "--sandbox", ""), "true")
	require.Contains(t, complete("token", "--role", "b"), "broadcaster")
	require.Contains(t, complete("root", "x", "--class", ""), "control")
	require.Contains(t, complete("sub", "--transport", ""), "long-polling")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var script strings.Builder
		require.Equal(t, exitOK, run(t.Context(), []string{"completion", shell}, nil, &script, io.Discard))
		require.Contains(t, script.String(), "gobelin")
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		check := exec.Command(path, "-n")
		check.Stdin = strings.NewReader(script.String())
		out, err := check.CombinedOutput()
		require.NoError(t, err, "%s: %s", shell, out)
	}
}
