package main

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// memoryLimit is how much memory the process may use, in bytes: what its container may,
// or the machine has, or GOMEMLIMIT says, whichever is least; 0: not known. It is read
// once: paceCollector sets a limit of its own.
var memoryLimit = sync.OnceValue(func() int64 { return leastMemory(os.DirFS("/"), debug.SetMemoryLimit(-1)) })

// leastMemory reads what the system under root says; most is a bound besides.
func leastMemory(root fs.FS, most int64) int64 {
	least := most
	for _, n := range append(groupLimits(root), machineMemory(root)) {
		if n > 0 {
			least = min(least, n)
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

// groupLimits returns the limits of the control groups that the process is in, of both
// versions; a container often sees its own as the root.
func groupLimits(root fs.FS) (limits []int64) {
	text, _ := fs.ReadFile(root, "proc/self/cgroup") // there is none but on Linux
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path; version 2 has no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if parts[1] != "" {
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			limits = append(limits, readNumber(root, path.Join(mount, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limits
}

// readNumber returns the number that a file holds; 0 if it holds none, such as "max".
func readNumber(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// machineMemory is what the machine has.
func machineMemory(root fs.FS) int64 {
	text, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}
