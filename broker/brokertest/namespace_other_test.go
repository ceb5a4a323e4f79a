//go:build !linux

package brokertest

import "testing"

// OnNamespaces skips the test: there are none.
func OnNamespaces(t *testing.T, _ int, _ ...string) *Backend {
	t.Helper()
	t.Skip("needs Linux")
	return nil
}
