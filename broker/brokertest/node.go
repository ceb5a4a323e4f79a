package brokertest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Node is the real broker as a child process, which can be killed, stopped in order
// and started again: alone with a disk store, or one of many on a shared one.
type Node struct {
	binary, dir string
	place       []string // the arguments that say where it keeps things
	keys        []string // those that let `token` find its keys
	env         []string
	log         *os.File
	out         sync.WaitGroup
	cmd         *exec.Cmd
	address     atomic.Pointer[string]
}

// Build makes the real binary from the sources around this package, in dir; race
// has it find its data races. It returns the binary's path.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	binary := filepath.Join(dir, "gobelin")
	args := []string{"build", "-buildvcs=false", "-o", binary}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "github.com/gobelin-broker/gobelin/cmd/gobelin")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("brokertest: build: %w: %s", err, out)
	}
	return binary, nil
}

// NewNode prepares a broker: binary is the program, dir a folder of its own for
// data and log, env what is added to the environment.
func NewNode(binary, dir string, env ...string) (*Node, error) {
	log, err := os.Create(filepath.Join(dir, "broker.log"))
	if err != nil {
		return nil, fmt.Errorf("brokertest: node: %w", err)
	}
	place := []string{"--data", filepath.Join(dir, "data")}
	return &Node{binary: binary, dir: dir, place: place, keys: place, env: env, log: log}, nil
}

// NewSharedNode prepares one of many brokers on the store at url; config is the
// file with the keys that they share.
func NewSharedNode(binary, dir, config, url string, env ...string) (*Node, error) {
	n, err := NewNode(binary, dir, env...)
	if err == nil {
		n.keys = []string{"--config", config}
		n.place = []string{"--config", config, "--store", url}
	}
	return n, err
}

// writeKeys writes what brokers on one store must agree on into a file in dir.
func writeKeys(dir string) (path string, err error) {
	path = filepath.Join(dir, "nodes.yaml")
	text := fmt.Sprintf("keys:\n  identity_secret: %s\n  roots:\n  - {kid: 0, secret: %s, sign: true}\naccounts:\n- apps:\n  - {id: 1, name: dev, app_key: %s, token_secret: %s}\n",
		newSecret(), newSecret(), newSecret(), newSecret())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("brokertest: node: %w", err)
	}
	return path, nil
}

func newSecret() string { return (rand.Text() + rand.Text())[:40] }

// Address is where the broker listens, as host:port; empty before it first ran.
func (n *Node) Address() string {
	if a := n.address.Load(); a != nil {
		return *a
	}
	return ""
}

var clientLine = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// Start runs the broker and returns when it is ready.
func (n *Node) Start(ctx context.Context) error {
	n.cmd = exec.Command(n.binary, append([]string{"dev", "--no-demo", "--listen", "127.0.0.1:0"}, n.place...)...)
	n.cmd.Dir = n.dir
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stderr = n.log
	out, err := n.cmd.StdoutPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("brokertest: node: %w", err)
	}
	said := make(chan string, 1)
	n.out.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := clientLine.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case said <- m[1]:
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, out)
		close(said)
	})
	select {
	case address, ok := <-said:
		if !ok {
			n.Kill()
			return errors.New("brokertest: node: it ended at once; see " + n.log.Name())
		}
		n.address.Store(&address)
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("brokertest: node: %w", ctx.Err())
	}
	return n.ready(ctx)
}

func (n *Node) ready(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		r, err := client.Get("http://" + n.Address() + "/readyz")
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("brokertest: node: not ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Kill ends it as kill -9 does, and returns when it is gone.
func (n *Node) Kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	n.out.Wait()
	_ = n.cmd.Wait() // says that it was killed
	n.cmd = nil
}

// Stop ends it in order (SIGTERM) and returns when it is gone; an error means that
// it did not end by itself with success before ctx did.
func (n *Node) Stop(ctx context.Context) error {
	if n.cmd == nil {
		return nil
	}
	err := n.cmd.Process.Signal(syscall.SIGTERM)
	stop := context.AfterFunc(ctx, func() { _ = n.cmd.Process.Kill() })
	defer stop()
	n.out.Wait()
	if ended := n.cmd.Wait(); err == nil {
		err = ended
	}
	n.cmd = nil
	if err != nil {
		return fmt.Errorf("brokertest: node: stop: %w", err)
	}
	return nil
}

// Metric returns the sum of a metric of the running broker over its labels.
func (n *Node) Metric(ctx context.Context, name string) (float64, error) {
	all, err := n.metrics(ctx)
	if err != nil {
		return 0, err
	}
	sum, found := all[name]
	if !found {
		return 0, errors.New("brokertest: node: no metric " + name)
	}
	return sum, nil
}

// lookTime is how long a look at the broker may take on a machine that is busy.
const lookTime = time.Minute

// metrics returns the sums of all metrics over their labels, by name.
func (n *Node) metrics(ctx context.Context) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Address()+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("brokertest: node: %w", err)
	}
	answer, err := (&http.Client{Timeout: lookTime, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return nil, fmt.Errorf("brokertest: node: %w", err)
	}
	defer answer.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		text := lines.Text()
		if text == "" || text[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("brokertest: node: metric: %w", err)
		}
		all[text[:strings.IndexAny(text, "{ ")]] += value
	}
	return all, lines.Err()
}

// Close kills it and ends its log.
func (n *Node) Close() {
	n.Kill()
	_ = n.log.Close()
}

// Token makes an administrator's token with the broker's own keys.
func (n *Node) Token(ctx context.Context) (string, error) {
	c := exec.CommandContext(ctx, n.binary, append([]string{"token", "--role", "admin", "--ttl", "24h"}, n.keys...)...)
	c.Env = append(os.Environ(), n.env...)
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("brokertest: node: token: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Troubles returns the lines of its log that no fault of ours explains: crashes,
// races and errors.
func (n *Node) Troubles() ([]string, error) {
	f, err := os.Open(n.log.Name())
	if err != nil {
		return nil, fmt.Errorf("brokertest: node: %w", err)
	}
	defer f.Close()
	var all []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		for _, sign := range [...]string{"panic", "DATA RACE", "fatal error", `"level":"error"`} {
			if strings.Contains(text, sign) {
				all = append(all, text)
				break
			}
		}
	}
	return all, lines.Err()
}
