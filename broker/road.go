package broker

// roadFeed returns the feed in which everything is announced that a target hears: an
// object's, that of an open channel, or, for a wildcard over open channels, that of
// its first segment, and of all where that is not fixed (decided.md 16).
func roadFeed(t *target) string {
	switch {
	case t.feed != openFeed:
		return t.feed
	case t.pattern.IsZero():
		return t.log.Feed
	}
	if above := t.pattern.Parent(); !above.IsZero() {
		return openFeedOf(above)
	}
	return openFeed
}
