//go:build unix

package bench

import (
	"fmt"
	"syscall"
	"time"
)

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reserveFiles raises the soft limit of open files to the hard one where that is
// needed, and says what to do when it does not reach.
func reserveFiles(need int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("bench: limit of open files: %w", err)
	}
	if uint64(l.Cur) >= uint64(need) {
		return nil
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || uint64(l.Cur) < uint64(need) {
		return fmt.Errorf("bench: %d connections need %d open files, the limit is %d: raise it as root with `ulimit -Hn %d && ulimit -n %d` in this shell, and for the server in its own",
			need-spareFiles, need, l.Max, need, need)
	}
	return nil
}
