package brokertest

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// built makes the real binary, once for all tests, in builds.
var (
	builds string
	built  = sync.OnceValues(func() (string, error) {
		return Build(context.Background(), builds, os.Getenv("TORTURE_RACE") == "1")
	})
)

// RealBinary returns the path of the real binary. GOBELIN names one that is there
// already; TORTURE_RACE=1 has its data races found. It ends tests that are to be short.
func RealBinary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the real binary")
	}
	if ready := os.Getenv("GOBELIN"); ready != "" {
		return ready
	}
	binary, err := built()
	require.NoError(t, err)
	return binary
}

func TestMain(m *testing.M) {
	var err error
	if builds, err = os.MkdirTemp("", "brokertest-"); err != nil {
		panic(err) // there is no t yet
	}
	code := m.Run()
	_ = os.RemoveAll(builds)
	os.Exit(code)
}
