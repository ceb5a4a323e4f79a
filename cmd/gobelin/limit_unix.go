//go:build unix

package main

import "syscall"

// openFiles returns how many files and sockets the process may have open; ok is false
// where that cannot be told.
func openFiles() (n uint64, ok bool) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	return uint64(l.Cur), true
}
