package disk

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

const (
	spaceEvery = 500 * time.Millisecond
	// spaceBytes written make the committer look by itself: a fast disk fills
	// faster than the ticker ticks.
	spaceBytes = 16 << 20
)

// Space returns how many bytes are free for the user of the process, and how many there
// are, where a folder lies. It errs where the file system does not tell.
func Space(folder string) (free, total uint64, err error) {
	du, err := vfs.Default.GetDiskUsage(folder)
	if err != nil {
		return 0, 0, fmt.Errorf("disk: space: %w", err)
	}
	return du.AvailBytes, du.TotalBytes, nil
}

// spaceLoop is the watchdog on free space, until ctx ends.
func (s *Store) spaceLoop(ctx context.Context) {
	t := time.NewTicker(spaceEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.watchSpace()
		}
	}
}

// watchSpace looks at the free space and sets left by it. A file system that
// cannot tell is taken to be roomy.
func (s *Store) watchSpace() {
	if s.floor < 0 {
		return
	}
	du, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return
	}
	left := allRoom
	switch {
	case du.AvailBytes < uint64(s.floor/2):
		left = noRoom
	case du.AvailBytes < uint64(s.floor):
		left = someRoom
	}
	before := room(s.left.Swap(int32(left)))
	if (before == allRoom) == (left == allRoom) {
		return
	}
	if left < allRoom {
		s.log.Error("disk is nearly full: appends are refused", zap.String("folder", s.dir),
			zap.Uint64("free_bytes", du.AvailBytes), zap.Int64("floor_bytes", s.floor))
	} else {
		s.log.Info("disk has room again: appends are taken", zap.String("folder", s.dir),
			zap.Uint64("free_bytes", du.AvailBytes))
	}
}

// engineLog takes what the engine says.
type engineLog struct {
	log  *zap.Logger
	exit func(code int)
}

// Infof takes the engine's chatter.
func (l *engineLog) Infof(format string, args ...any) {
	if l.log.Core().Enabled(zap.DebugLevel) {
		l.log.Debug("engine", zap.String("text", fmt.Sprintf(format, args...)))
	}
}

// Errorf takes what the engine could go on after.
func (l *engineLog) Errorf(format string, args ...any) {
	l.log.Error("engine", zap.String("text", fmt.Sprintf(format, args...)))
}

// Fatalf takes what the engine cannot go on after: a write to its log has failed,
// and whether it is on the disk is not known. The process ends (store.md §2.3).
func (l *engineLog) Fatalf(format string, args ...any) {
	l.log.Error("engine cannot go on", zap.String("text", fmt.Sprintf(format, args...)), zap.Int("exit_code", exitIO))
	_ = l.log.Sync()
	l.exit(exitIO)
}
