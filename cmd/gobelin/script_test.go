package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gobelin": main})
}

// TestScripts runs the stories of testdata with the real binary. Beside the
// commands of testscript there are:
//
//	port NAME            sets NAME to a port that was free a moment ago
//	ready PORT           waits until the server on PORT says that it is ready
//	gone PORT            waits until nothing listens on PORT
//	lines FILE REGEXP N  waits until FILE has N lines that match, or [!] at least N
//	get [!] URL TEXT     GETs URL and looks for TEXT in status and body
//	post URL FILE USER:PASSWORD TEXT  POSTs FILE as JSON and looks for TEXT in the body
//	metric URL REGEXP    waits until URL/metrics has a line that matches
//	numbers FIRST LAST FILE writes {"n":FIRST} … {"n":LAST}, one a line
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:      "testdata",
		Deadline: time.Now().Add(2 * time.Minute), // a story that hangs is killed
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"port": cmdPort, "ready": cmdReady, "gone": cmdGone, "lines": cmdLines, "get": cmdGet, "numbers": cmdNumbers, "metric": cmdMetric, "post": cmdPost,
		},
	})
}

// patience is how long a script waits for a condition. Nothing is measured by
// it: it only ends a test that would hang.
const patience = 20 * time.Second

func await(ts *testscript.TestScript, what string, check func() bool) {
	end := time.Now().Add(patience)
	beat := time.NewTicker(10 * time.Millisecond)
	defer beat.Stop()
	for !check() {
		if time.Now().After(end) {
			ts.Fatalf("not within %v: %s", patience, what)
		}
		<-beat.C
	}
}

func cmdPort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Check(l.Close())
	ts.Setenv(args[0], port)
}

var impatient = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func cmdReady(ts *testscript.TestScript, _ bool, args []string) {
	await(ts, "ready on port "+args[0], func() bool {
		r, err := impatient.Get("http://127.0.0.1:" + args[0] + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func cmdGone(ts *testscript.TestScript, _ bool, args []string) {
	await(ts, "nothing listens on port "+args[0], func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	var want, have int
	_, err := fmt.Sscan(args[2], &want)
	ts.Check(err)
	pattern := regexp.MustCompile(args[1])
	path := ts.MkAbs(args[0])
	await(ts, fmt.Sprintf("%d lines like %s in %s", want, args[1], args[0]), func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		have = 0
		for line := range strings.Lines(string(text)) {
			if pattern.MatchString(strings.TrimSuffix(line, "\n")) {
				have++
			}
		}
		return have >= want
	})
	if have != want && !neg {
		ts.Fatalf("%d lines like %s, want %d", have, args[1], want)
	}
}

func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	r, err := impatient.Get(args[0])
	ts.Check(err)
	defer r.Body.Close()
	var text strings.Builder
	fmt.Fprintf(&text, "%d\n", r.StatusCode)
	scanner := bufio.NewScanner(r.Body)
	for scanner.Scan() {
		text.WriteString(scanner.Text() + "\n")
	}
	if strings.Contains(text.String(), args[1]) == neg {
		ts.Fatalf("%s answers:\n%s", args[0], text.String())
	}
}

func cmdMetric(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[1])
	await(ts, args[0]+" shows "+args[1], func() bool {
		r, err := impatient.Get(args[0] + "/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		for scanner := bufio.NewScanner(r.Body); scanner.Scan(); {
			if pattern.MatchString(scanner.Text()) {
				return true
			}
		}
		return false
	})
}

func cmdNumbers(ts *testscript.TestScript, _ bool, args []string) {
	var first, last int
	_, err := fmt.Sscan(args[0]+" "+args[1], &first, &last)
	ts.Check(err)
	var b strings.Builder
	for n := first; n <= last; n++ {
		fmt.Fprintf(&b, "{\"n\":%d}\n", n)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(b.String()), 0o600))
}

func cmdPost(ts *testscript.TestScript, _ bool, args []string) {
	r, err := http.NewRequest(http.MethodPost, args[0], strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	user, password, _ := strings.Cut(args[2], ":")
	r.SetBasicAuth(user, password)
	r.Header.Set("Content-Type", "application/json")
	answer, err := impatient.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	if !strings.Contains(string(text), args[3]) {
		ts.Fatalf("%s answered %s: %s", args[0], answer.Status, text)
	}
}
