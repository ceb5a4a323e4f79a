const base = (channel) => channel.replace(/^(.+)\/catchup\/[^/]+$/, '$1')
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

// The place that a message has in its channel, as text that sorts; null: none.
const positionOf = (message) => {
  const x = message.ext && message.ext.history && message.ext.history.id
  const id = typeof x === 'string' ? x : message.id
  return /^[0-7][\dA-HJKMNP-TV-Z]{25}$/.test(id) ? id : null
}

// The positions seen, as ranges by channel and epoch, and the newest 1,000
// ids without a neighbour. Ids in ULID form end in a number that is dense in its epoch.
class Seen {
  constructor () { this.ranges = new Map(); this.recent = new Set() }

  // Whether the id is new on the channel; it is remembered.
  take (channel, id) {
    let x = 0
    for (const c of id.slice(16)) x = x * 32 + DIGITS.indexOf(c)
    const n = x % 2 ** 48
    const key = `${channel} ${id.slice(10, 16)}${Math.floor(x / 2 ** 48)}`
    const list = this.ranges.get(key) || []
    if (!list.length) {
      this.ranges.set(key, list)
      if (this.ranges.size > 4096) this.ranges.delete(this.ranges.keys().next().value)
    }
    let i = list.length
    while (i && list[i - 1][0] > n) i--
    const prev = list[i - 1]
    const next = list[i]
    if (prev && n <= prev[1]) return false
    const toPrev = prev && prev[1] + 1 === n
    const toNext = next && n + 1 === next[0]
    if (toPrev && toNext) { prev[1] = next[1]; list.splice(i, 1) } else if (toPrev) prev[1] = n
    else if (toNext) next[0] = n
    else {
      list.splice(i, 0, [n, n])
      if (list.length > 256) list.shift()
      const name = `${channel} ${id}`
      if (this.recent.has(name)) return false
      this.recent.add(name)
      if (this.recent.size > 1000) this.recent.delete(this.recent.values().next().value)
    }
    return true
  }

  // What was seen on the channel counts no more.
  forget (channel) {
    for (const all of [this.ranges, this.recent]) for (const k of all.keys()) if (k.startsWith(channel + ' ')) all.delete(k)
  }
}
