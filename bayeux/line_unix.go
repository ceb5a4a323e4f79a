//go:build unix

package bayeux

import (
	"errors"
	"os"
	"syscall"
)

// directIO: readNow and its kin work here.
const directIO = true

// errNotNow: the kernel has nothing to read, or no room, at the moment.
var errNotNow error = syscall.EAGAIN

// readNow reads without waiting; n is 0 at the end and with an error.
func readNow(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), os.NewSyscallError("read", err)
		}
	}
}

// writeNow writes what the kernel takes without waiting, and returns how much.
func writeNow(fd uintptr, p []byte) (n int, err error) {
	for {
		n, err = syscall.Write(int(fd), p)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, errNotNow):
			err = nil
		}
		return max(n, 0), os.NewSyscallError("write", err)
	}
}
