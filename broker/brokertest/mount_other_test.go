//go:build !linux

package brokertest

import "testing"

// smallDisk skips the test: there is no file system to be had that is soon full.
func smallDisk(t *testing.T, _ string) string {
	t.Helper()
	t.Skip("needs Linux")
	return ""
}
