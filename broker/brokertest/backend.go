package brokertest

// Backend is the store that many nodes share, and what can be done to it. A func
// that is nil cannot be done to this kind; the others may be called again and again,
// one at a time.
type Backend struct {
	// URL is the store as node n reaches it.
	URL func(n int) string
	// Kill ends it as kill -9 does, Restart starts it again with what it kept.
	Kill, Restart func() error
	// Freeze stops it in the middle of whatever it does, Thaw lets it go on.
	Freeze, Thaw func() error
	// KillFeeds cuts every pub/sub connection.
	KillFeeds func() error
	// CutOff takes it away from node n alone, or gives it back.
	CutOff func(n int, off bool) error
	// CutReplica lets the replica hear nothing more, so that the tail which it
	// misses is lost with Failover: the primary dies, the replica takes over.
	CutReplica, Failover func() error
	// Move moves a part of it to another server while it works.
	Move func() error
}
