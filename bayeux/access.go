package bayeux

import (
	"time"

	"go.uber.org/zap"
)

// logEnd writes the one line that the access log has for a session. Its id is a secret
// and not in it.
func (s *Session) logEnd(reason string) {
	log := s.server.options.Access
	if log == nil {
		return
	}
	peer := s.Peer()
	queued, arrived := s.Progress()
	log.Info("session ended",
		zap.String("address", peer.Addr), zap.String("transport", peer.Transport), zap.String("origin", peer.Origin),
		zap.Duration("lived", time.Duration(time.Now().UnixMilli()-s.began)*time.Millisecond), zap.String("reason", reason),
		zap.Uint64("queued", queued), zap.Uint64("delivered", arrived))
}
