package bayeuxtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Conversation is a handler on a network in memory, and the connections that a
// script has opened to it. It must be used on the goroutine of a test in a
// testing/synctest bubble.
type Conversation struct {
	// Mount is the path that connections use. Default "/faye".
	Mount string
	// Default is the transport of an open that names none. Default "long-polling".
	Default string
	// Header is sent with every request and upgrade.
	Header http.Header

	t       testing.TB
	network *Network
	peers   map[string]peer
	muted   map[string]bool
	verbs   map[string]func(rest string)
	kept    map[string]string
	start   time.Time
}

// New serves h until the test ends.
func New(t testing.TB, h http.Handler) *Conversation {
	c := &Conversation{
		Mount:   "/faye",
		Default: "long-polling",
		t:       t,
		network: NewNetwork(),
		peers:   map[string]peer{},
		muted:   map[string]bool{},
		verbs:   map[string]func(string){},
		kept:    map[string]string{},
		start:   time.Now(),
	}
	server := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(c.network)
	}()
	t.Cleanup(func() {
		for _, p := range c.peers {
			p.end()
		}
		_ = server.Close()
		<-served
		// net/http lets go of a refused request's connection only half a second later.
		time.Sleep(time.Second)
	})
	return c
}

// Client returns an HTTP client of the conversation's server, for what is no
// conversation. Its connections end with the test.
func (c *Conversation) Client() *http.Client {
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.network.Dial(ctx) },
		DisableCompression: true,
	}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Dial returns a bare connection to the server, for what is no HTTP. The caller
// closes it.
func (c *Conversation) Dial() *Conn {
	c.t.Helper()
	conn, err := c.network.Dial(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// Do registers a statement of the test's own: f gets what follows the verb, with
// variables replaced, and runs on the test's goroutine.
func (c *Conversation) Do(verb string, f func(rest string)) { c.verbs[verb] = f }

// Value returns a variable, "" if it was not kept.
func (c *Conversation) Value(name string) string { return c.kept[name] }

// Keep sets a variable.
func (c *Conversation) Keep(name, value string) { c.kept[name] = value }

// Take returns all messages that a connection has got and no statement has heard, and
// fails the test if there is anything else.
func (c *Conversation) Take(name string) []map[string]any {
	c.t.Helper()
	synctest.Wait()
	p, err := c.peer(name)
	if err != nil {
		c.t.Fatal(err)
	}
	var all []map[string]any
	for {
		m, err := p.mail().message()
		if errors.Is(err, errNothing) {
			return all
		}
		object, ok := m.(map[string]any)
		if err != nil || !ok {
			c.t.Fatalf("bayeuxtest: %s: %v %v", name, err, m)
		}
		all = append(all, object)
	}
}

// Run carries out a script. The test fails at the first statement that is not met,
// or if something is left unheard.
func (c *Conversation) Run(script string) {
	c.t.Helper()
	c.Begin(script)
	synctest.Wait()
	if err := c.quiet(); err != nil {
		c.t.Fatalf("bayeuxtest: at the end, after %v: %v", time.Since(c.start), err)
	}
}

// Begin is Run for the beginning of a conversation: something may be left unheard.
func (c *Conversation) Begin(script string) {
	c.t.Helper()
	for i, line := range strings.Split(script, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		synctest.Wait()
		if err := c.step(c.expand(line)); err != nil {
			c.t.Fatalf("bayeuxtest: line %d, after %v: %s\n%v", i+1, time.Since(c.start), line, err)
		}
	}
}

var (
	variable  = regexp.MustCompile(`\$\{(\w+)\}`)
	statement = regexp.MustCompile(`^(\w+)(>>|>|<)\s*(.*)$`)
)

func (c *Conversation) expand(line string) string {
	return variable.ReplaceAllStringFunc(line, func(s string) string {
		if v, ok := c.kept[s[2:len(s)-1]]; ok {
			return v
		}
		return s
	})
}

func (c *Conversation) step(line string) error {
	if m := statement.FindStringSubmatch(line); m != nil {
		p, err := c.peer(m[1])
		if err != nil {
			return err
		}
		switch m[2] {
		case ">":
			if _, err := parse([]byte(m[3])); err != nil {
				return err
			}
			return p.send([]byte(m[3]))
		case ">>":
			text := m[3]
			if plain, err := strconv.Unquote(text); err == nil {
				text = plain
			}
			return p.send([]byte(text))
		}
		return c.expect(p, m[3])
	}
	verb, rest, _ := strings.Cut(line, " ")
	if f, ok := c.verbs[verb]; ok {
		f(strings.TrimSpace(rest))
		return nil
	}
	return c.command(verb, strings.Fields(rest))
}

func (c *Conversation) command(verb string, words []string) error {
	switch {
	case verb == "quiet":
		return c.quiet()
	case len(words) == 0:
		return fmt.Errorf("bayeuxtest: no such statement")
	case verb == "wait":
		d, err := time.ParseDuration(words[0])
		if err != nil {
			return fmt.Errorf("bayeuxtest: %w", err)
		}
		time.Sleep(d)
		return nil
	case verb == "mute":
		c.muted[words[0]] = true
		return nil
	case verb == "open":
		return c.open(words)
	}
	p, err := c.peer(words[0])
	if err != nil {
		return err
	}
	switch verb {
	case "break":
		p.sever()
	case "freeze":
		p.freeze()
	case "deaf":
		p.deafen()
	default:
		return fmt.Errorf("bayeuxtest: no such statement")
	}
	return nil
}

func (c *Conversation) peer(name string) (peer, error) {
	if p, ok := c.peers[name]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("bayeuxtest: %s is not open", name)
}

// open replaces a connection of the same name, which must have nothing left to hear.
func (c *Conversation) open(words []string) error {
	name, transport := words[0], c.Default
	if old, ok := c.peers[name]; ok {
		if heard := old.mail().rest(); heard != "" {
			return fmt.Errorf("bayeuxtest: %s has got %s", name, heard)
		}
		old.end()
	}
	if len(words) > 1 {
		transport = words[1]
	}
	url := "http://server" + c.Mount
	var p peer
	var err error
	switch transport {
	case "websocket":
		p, err = openSocket(c.network, url, c.Header, c.muted[name])
	case "eventsource":
		if len(words) < 3 {
			return fmt.Errorf("bayeuxtest: whose stream?")
		}
		p, err = openStream(c.network, url+"/"+words[2], c.Header)
	default:
		p = openPoller(c.network, url, transport, c.Header)
	}
	if err == nil {
		c.peers[name] = p
	}
	return err
}

// expect compares what a connection has got next.
func (c *Conversation) expect(p peer, want string) error {
	box := p.mail()
	verb, rest, _ := strings.Cut(want, " ")
	switch verb {
	case "*":
		box.drop()
		return nil
	case "status", "closed":
		return box.event(verb + " " + rest)
	}
	w, err := parse([]byte(want))
	if err != nil {
		return err
	}
	var got any
	if _, whole := w.([]any); whole {
		got, err = box.frame()
	} else {
		got, err = box.message()
	}
	if err != nil {
		return err
	}
	if wrong := (matcher{c.kept}).match("it", w, got); wrong != "" {
		return fmt.Errorf("%s\ngot %s", wrong, encode(got))
	}
	return nil
}

func (c *Conversation) quiet() error {
	for _, name := range slices.Sorted(maps.Keys(c.peers)) {
		if rest := c.peers[name].mail().rest(); rest != "" {
			return fmt.Errorf("%s has got %s", name, rest)
		}
	}
	return nil
}
