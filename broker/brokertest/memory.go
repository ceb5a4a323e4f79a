package brokertest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory returns the resident memory of the running broker, in bytes. It works
// where there is /proc.
func (n *Node) Memory() (int64, error) {
	if n.cmd == nil {
		return 0, errors.New("brokertest: node: memory: it does not run")
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(n.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("brokertest: node: memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("brokertest: node: memory: not told")
}
