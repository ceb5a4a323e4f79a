package main

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// complaints logs what net/http has to say of connections, which anybody can make it say:
// TLS handshakes that fail, descriptors that are used up (security.md §4, 20). Of each
// kind it writes one line a second, with how many were left out since the last one;
// panics are written all, and counted. It is safe for concurrent use.
type complaints struct {
	log      *zap.Logger
	panicked func() // hears of each panic

	mu    sync.Mutex
	kinds map[string]*complaint // guarded by mu
}

// complaint is what there is of one kind of line.
type complaint struct {
	last    time.Time
	leftOut int
}

// saidKinds are how the lines begin; any other is of the last kind.
var saidKinds = []string{"http: TLS handshake error", "http: Accept error", "http: URL", "http: response.", "http: superfluous", ""}

func newComplaints(log *zap.Logger, panicked func()) *complaints {
	return &complaints{log: log, panicked: panicked, kinds: map[string]*complaint{}}
}

// Write takes one line; it never fails.
func (s *complaints) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	if strings.HasPrefix(text, "http: panic") {
		s.log.Error("net/http", zap.String("said", text))
		s.panicked()
		return len(line), nil
	}
	if leftOut, due := s.due(text, time.Now()); due {
		s.log.Warn("net/http", zap.String("said", clip(text)), zap.Int("left_out", leftOut))
	}
	return len(line), nil
}

// due reports whether a line is to be written, and how many before it were not.
func (s *complaints) due(text string, now time.Time) (leftOut int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range saidKinds {
		if !strings.HasPrefix(text, kind) {
			continue
		}
		k := s.kinds[kind]
		if k == nil {
			k = &complaint{}
			s.kinds[kind] = k
		}
		if !k.last.IsZero() && now.Sub(k.last) < time.Second {
			k.leftOut++
			return 0, false
		}
		leftOut, k.leftOut, k.last = k.leftOut, 0, now
		return leftOut, true
	}
	return 0, false
}
