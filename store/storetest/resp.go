package storetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBulk and maxDepth bound what a server can make this client hold.
	maxBulk  = 512 << 20
	maxDepth = 16
	maxItems = 1 << 20
	maxLine  = 64 << 10
	// askTimeout bounds one command: a frozen server answers never.
	askTimeout = 5 * time.Second
)

// wire is a connection that speaks the Redis protocol, as little as starting and
// disturbing servers takes. One goroutine uses it.
type wire struct {
	c net.Conn
	r *bufio.Reader
}

func dial(addr string) (*wire, error) {
	c, err := net.DialTimeout("tcp", addr, askTimeout)
	if err != nil {
		return nil, fmt.Errorf("storetest: redis: %w", err)
	}
	return &wire{c, bufio.NewReader(c)}, nil
}

func (w *wire) close() { _ = w.c.Close() }

// ask sends one command and returns its answer as text, the items of arrays each on
// a line of its own. An error of the server is an error.
func (w *wire) ask(args ...string) (string, error) {
	texts, err := w.list(args...)
	return strings.Join(texts, "\n"), err
}

// list is ask for answers whose items may hold lines.
func (w *wire) list(args ...string) ([]string, error) {
	if err := w.c.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, fmt.Errorf("storetest: redis: %w", err)
	}
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := w.c.Write(b); err != nil {
		return nil, fmt.Errorf("storetest: redis: %w", err)
	}
	f, err := readFrame(w.r)
	if err != nil {
		return nil, fmt.Errorf("storetest: redis: %w", err)
	}
	if f.kind == '-' || f.kind == '!' {
		return nil, fmt.Errorf("storetest: redis: %s", f.texts[0])
	}
	return f.texts, nil
}

// frame is one value of the protocol, of version 2 or 3.
type frame struct {
	kind  byte     // its first byte
	raw   []byte   // as it came
	texts []string // what it is made of, flat; nulls are empty
}

// readFrame reads one value. It refuses what is deeper, longer or of more items
// than any server says.
func readFrame(r *bufio.Reader) (frame, error) {
	var f frame
	err := f.read(r, 0)
	if err == nil {
		f.kind = f.raw[0]
	}
	return f, err
}

var errProtocol = errors.New("not the protocol")

func (f *frame) read(r *bufio.Reader, depth int) error {
	from := len(f.raw)
	line, err := readLine(r)
	if err != nil {
		return err
	}
	f.raw = append(f.raw, line...)
	body := string(f.raw[from+1 : len(f.raw)-2])
	switch f.raw[from] {
	case '+', '-', ':', '_', ',', '#', '(':
		f.texts = append(f.texts, body)
		return nil
	case '$', '!', '=':
		return f.bulk(r, body)
	case '*', '~', '>':
		return f.items(r, body, 1, depth)
	case '%':
		return f.items(r, body, 2, depth)
	case '|': // an attribute: the value follows
		if err := f.items(r, body, 2, depth); err != nil {
			return err
		}
		return f.read(r, depth+1)
	}
	return errProtocol
}

func (f *frame) bulk(r *bufio.Reader, body string) error {
	n, err := strconv.Atoi(body)
	if err != nil || n < -1 || n > maxBulk {
		return errProtocol
	}
	if n < 0 {
		f.texts = append(f.texts, "")
		return nil
	}
	from := len(f.raw)
	for left := n + 2; left > 0; { // memory grows with what comes, not with what is said
		step := min(left, 1<<20)
		at := len(f.raw)
		f.raw = append(f.raw, make([]byte, step)...)
		if _, err := io.ReadFull(r, f.raw[at:]); err != nil {
			return err
		}
		left -= step
	}
	if string(f.raw[from+n:]) != "\r\n" {
		return errProtocol
	}
	f.texts = append(f.texts, string(f.raw[from:from+n]))
	return nil
}

func (f *frame) items(r *bufio.Reader, body string, each, depth int) error {
	n, err := strconv.Atoi(body)
	if err != nil || n < -1 || n > maxItems || depth >= maxDepth {
		return errProtocol
	}
	if n < 0 {
		f.texts = append(f.texts, "")
	}
	for range n * each {
		if err := f.read(r, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// readLine returns a line with its end, which is valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		var long []byte
		for errors.Is(err, bufio.ErrBufferFull) && len(long) < maxLine {
			long = append(long, line...)
			line, err = r.ReadSlice('\n')
		}
		line = append(long, line...)
	}
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return nil, errProtocol
	}
	return line, nil
}
