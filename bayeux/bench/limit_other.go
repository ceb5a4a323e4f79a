//go:build !unix

package bench

import "time"

// ownCPU is not known here: the share of the generator is told as 0.
func ownCPU() time.Duration { return 0 }

// reserveFiles has nothing to raise: the system has no such limit.
func reserveFiles(int) error { return nil }
