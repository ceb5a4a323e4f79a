package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// process looks at the server from outside: it and all its descendants, through
// /proc.
type process struct {
	pid  int
	peak atomic.Int64 // RSS in bytes
}

// usage is what a process tree used up to a moment.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// A tick of /proc/PID/stat, on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// newProcess returns nil for pid 0: nobody asked.
func newProcess(pid int) (*process, error) {
	if pid == 0 {
		return nil, nil
	}
	p := &process{pid: pid}
	if _, err := readStat(pid); err != nil {
		return nil, fmt.Errorf("bench: process %d cannot be looked at (it takes /proc, that is Linux): %w", pid, err)
	}
	return p, nil
}

// look reads what the tree has used. CPU of descendants that ended and were waited
// for counts.
func (p *process) look() usage {
	if p == nil {
		return usage{}
	}
	var sum usage
	for _, pid := range p.tree() {
		s, err := readStat(pid)
		if err != nil {
			continue // it has just ended
		}
		sum.cpu += s.cpu
		sum.rss += s.rss
	}
	if sum.rss > p.peak.Load() {
		p.peak.Store(sum.rss)
	}
	return sum
}

// watch follows the peak of memory until ctx ends.
func (p *process) watch(ctx context.Context, wg *sync.WaitGroup) {
	if p == nil {
		return
	}
	wg.Go(func() {
		beat := time.NewTicker(50 * time.Millisecond)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				p.look()
			case <-ctx.Done():
				return
			}
		}
	})
}

// tree returns the process and its descendants.
func (p *process) tree() []int {
	paths, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	children := map[int][]int{}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil {
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	all := []int{p.pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
		children[all[i]] = nil // a pid that came anew must not make a circle
	}
	return all
}

// stat is what /proc/PID/stat says.
type stat struct {
	parent int
	usage
}

var errStat = errors.New("bench: /proc: not as expected")

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text, int64(os.Getpagesize()))
}

// parseStat reads "pid (name) state ppid …"; a name may hold anything.
func parseStat(text []byte, page int64) (stat, error) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, errStat
	}
	fields := bytes.Fields(text[end+1:])
	// Counted from 3, the state, in proc(5): ppid 4, utime 14 to cstime 17, rss 24.
	if len(fields) < 22 {
		return stat{}, errStat
	}
	var n [6]int64
	for i, field := range []int{4, 14, 15, 16, 17, 24} {
		v, err := strconv.ParseInt(string(fields[field-3]), 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("%w: %w", errStat, err)
		}
		n[i] = v
	}
	return stat{parent: int(n[0]), usage: usage{cpu: time.Duration(n[1]+n[2]+n[3]+n[4]) * tick, rss: n[5] * page}}, nil
}
