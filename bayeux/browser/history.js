/*! Gobelin: drops what a Faye client is replayed again. client.addExtension(new GobelinHistory()) */
(function (root) {
  const base = (c) => c.replace(/^(.+)\/catchup\/[^/]+$/, '$1')

  class GobelinHistory {
    constructor () { this.seen = new Map(); this.ids = new Set() }

    incoming (m, callback) {
      const id = m.data !== undefined && m.ext && m.ext.history && m.ext.history.id
      callback(!/^[0-7][\dA-HJKMNP-TV-Z]{25}$/.test(id) || this.take(base(m.channel), id) ? m : null)
    }

    // Whoever leaves a catch-up channel may ask for the past once more.
    outgoing (m, callback) {
      const c = m.subscription
      if (m.channel === '/meta/unsubscribe' && typeof c === 'string' && base(c) !== c) {
        for (const all of [this.seen, this.ids]) for (const k of all.keys()) if (k.startsWith(base(c) + ' ')) all.delete(k)
      }
      callback(m)
    }

    // Ids are positions: an epoch and a number without gaps, kept as ranges.
    take (channel, id) {
      let x = 0
      for (const c of id.slice(16)) x = x * 32 + '0123456789ABCDEFGHJKMNPQRSTVWXYZ'.indexOf(c)
      const n = x % 2 ** 48
      const key = channel + ' ' + id.slice(10, 16) + (x - n)
      const list = this.seen.get(key) || []
      this.seen.set(key, list)
      if (this.seen.size > 4096) this.seen.delete(this.seen.keys().next().value)
      let i = list.length
      while (i && list[i - 1][0] > n) i--
      if (i && n <= list[i - 1][1]) return false
      list.splice(i, 0, [n, n])
      const size = list.length
      if (i + 1 < list.length && list[i + 1][0] === n + 1) list[i][1] = list.splice(i + 1, 1)[0][1]
      if (i && list[i - 1][1] === n - 1) list[i - 1][1] = list.splice(i, 1)[0][1]
      if (list.length < size) return true
      // Without a neighbour.
      if (size > 256) list.shift()
      const name = channel + ' ' + id
      if (this.ids.has(name)) return false
      this.ids.add(name)
      if (this.ids.size > 1000) this.ids.delete(this.ids.keys().next().value)
      return true
    }
  }

  if (typeof module === 'object' && module.exports) module.exports = GobelinHistory
  else root.GobelinHistory = GobelinHistory
})(globalThis)
