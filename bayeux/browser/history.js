// Drops what a Faye client is replayed again: client.addExtension(new GobelinHistory()).
class GobelinHistory extends Seen {
  incoming (m, callback) {
    const id = m.data !== undefined && m.ext && m.ext.history && positionOf(m)
    callback(!id || this.take(base(m.channel), id) ? m : null)
  }

  // Whoever leaves a catch-up channel may ask for the past once more.
  outgoing (m, callback) {
    const c = m.subscription
    if (m.channel === '/meta/unsubscribe' && typeof c === 'string' && base(c) !== c) this.forget(base(c))
    callback(m)
  }
}
