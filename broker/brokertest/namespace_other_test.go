//go:build !linux

package brokertest_test

import (
	"testing"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
)

// onNamespaces skips the test: there are none.
func onNamespaces(t *testing.T, _ int, _ ...string) *brokertest.Backend {
	t.Helper()
	t.Skip("needs Linux")
	return nil
}
