package broker

import "time"

// limit notes that the session has rights from a token, which end with it where
// Options.EndOnExpiry is set.
func (s *subscriber) limit(id *Identity) {
	if id == nil || id.Expires.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends.IsZero() || id.Expires.Before(s.ends) {
		s.ends = id.Expires
	}
}

// ended reports whether a token has ended that the session has rights from.
func (s *subscriber) ended(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ends.IsZero() && !now.Before(s.ends.Add(tokenLeeway))
}
