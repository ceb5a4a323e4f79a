package brokertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Node is the real broker as a child process with a disk store, which can be
// killed and started again.
type Node struct {
	binary, dir string
	env         []string
	log         *os.File
	out         sync.WaitGroup
	cmd         *exec.Cmd
	address     string
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
	return &Node{binary: binary, dir: dir, env: env, log: log}, nil
}

// Address is where the running broker listens, as host:port.
func (n *Node) Address() string { return n.address }

var clientLine = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// Start runs the broker and returns when it is ready.
func (n *Node) Start(ctx context.Context) error {
	n.cmd = exec.Command(n.binary, "dev", "--data", filepath.Join(n.dir, "data"), "--no-demo", "--listen", "127.0.0.1:0")
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
		n.address = address
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("brokertest: node: %w", ctx.Err())
	}
	return n.ready(ctx)
}

func (n *Node) ready(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		r, err := client.Get("http://" + n.address + "/readyz")
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

// Close kills it and ends its log.
func (n *Node) Close() {
	n.Kill()
	_ = n.log.Close()
}

// Token makes an administrator's token with the broker's own keys.
func (n *Node) Token(ctx context.Context) (string, error) {
	c := exec.CommandContext(ctx, n.binary, "token", "--role", "admin", "--ttl", "24h", "--data", filepath.Join(n.dir, "data"))
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
