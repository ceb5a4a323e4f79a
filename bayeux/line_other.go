//go:build !unix

package bayeux

import "errors"

// directIO: readNow and its kin do not work here, and are not called.
const directIO = false

var errNotNow = errors.New("bayeux: not now")

func readNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func writeNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
