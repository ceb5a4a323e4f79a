package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/cmd/gobelin/archive"
	"github.com/gobelin-broker/gobelin/store/disk"
	"go.uber.org/zap"
)

// What only who has the operator's token may ask of a node (experience.md §2).
const (
	drainPath  = "/admin/drain"
	backupPath = "/admin/backup"
)

// drainEach is how often a drain tells how far it is.
const drainEach = 200 * time.Millisecond

func operatorPath(path string) bool { return strings.HasPrefix(path, "/admin/") }

// operatorHandler serves it, or nil where there is no token.
func (n *node) operatorHandler() http.Handler {
	if n.gate == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+drainPath, n.serveDrain)
	mux.HandleFunc("GET "+backupPath, n.serveBackup)
	audit := n.log.Named("audit")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if !n.gate.Admit(w, r) {
			return
		}
		if _, known := mux.Handler(r); known != "" {
			audit.Info("operator", zap.String("action", known), zap.String("address", r.RemoteAddr))
		}
		mux.ServeHTTP(w, r)
	})
}

// drainProgress is a line of what a drain answers.
type drainProgress struct {
	Phase   string `json:"phase"` // draining, then drained
	Clients int64  `json:"clients"`
	Of      int64  `json:"of"`
}

// serveDrain begins a stop and tells how far it is until all clients were handed over; who
// asks while one is under way is told of that.
func (n *node) serveDrain(w http.ResponseWriter, r *http.Request) {
	n.end()
	w.Header().Set("Content-Type", "application/x-ndjson")
	// The first line may wait for the last polls: their deadline is not this one's.
	control, lines := http.NewResponseController(w), json.NewEncoder(w)
	say := func(p drainProgress) error {
		_ = control.SetWriteDeadline(time.Now().Add(headerTime))
		if err := lines.Encode(p); err != nil {
			return err
		}
		return control.Flush()
	}
	p := drainProgress{Phase: "draining"}
	beat := time.NewTicker(drainEach)
	defer beat.Stop()
	for last := int64(-1); ; {
		p.Clients = n.clients()
		if p.Of = max(p.Of, p.Clients); p.Clients != last {
			if say(p) != nil {
				return
			}
		}
		last = p.Clients
		select {
		case <-n.handedOver:
			_ = say(drainProgress{Phase: "drained", Clients: n.clients(), Of: p.Of})
			return
		case <-r.Context().Done():
			return
		case <-beat.C:
		}
	}
}

// clients is how many hold a connection now.
func (n *node) clients() int64 {
	s := n.bayeux.Stats()
	return s.Sockets + s.Held
}

// serveBackup answers with an archive of the embedded store as it is now. One that
// breaks off has no end, which its reader sees.
func (n *node) serveBackup(w http.ResponseWriter, r *http.Request) {
	s, embedded := n.store.(*disk.Store)
	if !embedded {
		answer(w, http.StatusConflict, noBackup(n.config.Store.kind()))
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	counted := &counter{w: w}
	defer counted.untimed()
	end, err := n.config.writeBackup(r.Context(), s, counted, nil)
	switch {
	case err == nil:
		n.log.Info("backup made", zap.Int64("bytes", counted.n), zap.Any("content", end.Content))
	case counted.n == 0:
		answer(w, http.StatusServiceUnavailable, err.Error())
	default:
		n.log.Error("backup broke off", zap.Int64("bytes", counted.n), zap.Error(err))
		panic(http.ErrAbortHandler) // so that the answer has no end
	}
}

// noBackup says why a store of a kind cannot be backed up.
func noBackup(kind string) string {
	if kind == kindMemory {
		return "memory: keeps nothing that could be backed up"
	}
	return "the store is a Redis: back that up by its own means, or copy it into a folder with gobelin copy"
}

// backupStall and backupRate bound a write of a backup: that time, and that of its bytes
// at so many a second. While a reader stands still there can be no other backup, and
// what the store has deleted since stays on the disk.
const (
	backupStall = time.Minute
	backupRate  = 32 << 10
)

// counter counts what is written, each part in its time.
type counter struct {
	w http.ResponseWriter
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	deadline := time.Now().Add(backupStall + time.Duration(len(p))*time.Second/backupRate)
	_ = http.NewResponseController(c.w).SetWriteDeadline(deadline) // recorders of tests have none
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// untimed leaves no deadline to the next request of the connection.
func (c *counter) untimed() { _ = http.NewResponseController(c.w).SetWriteDeadline(time.Time{}) }

// writeBackup writes an archive of an open store: its snapshot, and the secrets in its
// folder, without which no root would be good.
func (c *config) writeBackup(ctx context.Context, s *disk.Store, w io.Writer, progress func(int)) (end archive.End, err error) {
	folder, remove, err := s.Snapshot(ctx)
	if err != nil {
		return end, err
	}
	defer func() {
		if e := remove(); err == nil {
			err = e
		}
	}()
	entries, err := os.ReadDir(folder)
	if err != nil {
		return end, fmt.Errorf("backup: %w", err)
	}
	var files []archive.File
	for _, e := range entries {
		files = append(files, archive.File{Name: archive.Store + e.Name(), Path: filepath.Join(folder, e.Name())})
	}
	for _, name := range []string{keysFile, devAccountFile} {
		path := filepath.Join(filepath.Dir(folder), name)
		if _, err := os.Lstat(path); err == nil {
			files = append(files, archive.File{Name: archive.Secrets + name, Path: path})
		}
	}
	head := archive.Head{Version: readBuild(false).Version, Made: time.Now().UTC().Truncate(time.Second)}
	content := func() (map[string]int64, error) { return disk.Count(ctx, folder) }
	return archive.Write(ctxWriter{ctx, w}, head, files, content, progress)
}

// ctxWriter ends with a context.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
