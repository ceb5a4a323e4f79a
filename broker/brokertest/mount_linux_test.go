package brokertest

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// smallDisk returns a folder on a file system of its own with so many bytes. The test is
// skipped where that takes rights that it has not.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a file system of its own cannot be mounted (it takes root): %v", err)
	}
	t.Cleanup(func() {
		// A child that was killed may hold it for a moment.
		assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH))
		_ = os.Remove(dir)
	})
	return dir
}
