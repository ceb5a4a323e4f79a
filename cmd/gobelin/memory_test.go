package main

import (
	"math"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestMemoryLimit(t *testing.T) {
	f := func(want, most int64, files map[string]string) {
		t.Helper()
		root := fstest.MapFS{}
		for name, text := range files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		require.Equal(t, want, leastMemory(root, most))
	}
	const meminfo = "MemTotal:       16384 kB\nMemFree: 1 kB\n"
	f(0, math.MaxInt64, nil)
	f(7, 7, nil)
	f(16<<20, math.MaxInt64, map[string]string{"proc/meminfo": meminfo})
	// A container of version 2 that sees its own group as the root.
	f(1<<20, math.MaxInt64, map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1048576\n"})
	// Without a limit of its own, in a group that has one.
	f(2<<20, math.MaxInt64, map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a.slice/b.scope\n",
		"sys/fs/cgroup/a.slice/b.scope/memory.max": "max\n", "sys/fs/cgroup/a.slice/memory.max": "2097152\n",
	})
	f(3<<20, math.MaxInt64, map[string]string{
		"proc/meminfo": meminfo, "proc/self/cgroup": "12:cpu,memory:/docker/x\n3:cpuset:/y\n",
		"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "3145728\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
	})
	f(16<<20, math.MaxInt64, map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "nonsense\n0::/../..\n"})
}
