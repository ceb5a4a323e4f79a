// A hundred clients join while publishers never pause. Whatever the order of the
// two subscriptions and the transport: history and live together are each message
// exactly once, in order.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Broker, WireSocket, atEnd, collect, range, settled, shared, until } from './lib.mjs'

const X = '/flow/x'
const its = shared(Broker.dev)

const WAYS = ['live first', 'catch-up first', 'batch, live first', 'batch, catch-up first']

// A client of a few lines, for what no library sends: both subscriptions in one
// batch, in either order, over either transport.
class Wire {
  constructor (broker, transport) {
    Object.assign(this, { broker, transport, box: [], id: 0, waiting: new Map(), over: false })
  }

  async join (t, channels) {
    atEnd(t, () => this.close())
    const [hello] = await this.post([{ channel: '/meta/handshake', version: '1.0', supportedConnectionTypes: ['websocket', 'long-polling'] }])
    this.clientId = hello.clientId
    if (this.transport === 'websocket') {
      this.socket = new WireSocket(this.broker.url.replace('http', 'ws'))
      this.socket.onmessage = (e) => this.take(JSON.parse(e.data))
      await settled(new Promise((resolve, reject) => { this.socket.onopen = resolve; this.socket.onerror = reject }), 'the socket opens')
      this.send([this.connect()])
    }
    const batch = channels.map((subscription) => ({ channel: '/meta/subscribe', clientId: this.clientId, subscription, id: String(++this.id) }))
    if (this.transport === 'websocket') {
      const replies = batch.map((m) => new Promise((resolve) => this.waiting.set(m.id, resolve)))
      this.send(batch)
      for (const r of await settled(Promise.all(replies), 'the batch is answered')) assert.equal(r.successful, true, r.error)
    } else {
      const replies = this.take(await this.post(batch))
      for (const r of replies) assert.equal(r.successful, true, r.error)
      this.poll()
    }
  }

  connect () { return { channel: '/meta/connect', clientId: this.clientId, connectionType: this.transport, id: String(++this.id) } }
  send (messages) { this.socket.send(JSON.stringify(messages)) }

  async post (messages) {
    const r = await fetch(this.broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(messages), signal: this.abort?.signal })
    return r.json()
  }

  async poll () {
    this.abort = new AbortController()
    while (!this.over) {
      try { this.take(await this.post([this.connect()])) } catch (e) { if (!this.over) throw e }
    }
  }

  take (messages) {
    const replies = []
    for (const m of messages) {
      if (m.data !== undefined) this.box.push([m.channel, m.data])
      else {
        replies.push(m)
        this.waiting.get(m.id)?.(m)
        if (m.channel === '/meta/connect' && this.socket && !this.over) this.send([this.connect()])
      }
    }
    return replies
  }

  close () {
    this.over = true
    this.abort?.abort()
    this.socket?.close()
  }
}

const join = async (t, broker, way, transport, past) => {
  const pair = way.endsWith('live first') ? [X, past] : [past, X]
  if (way.startsWith('batch')) {
    const w = new Wire(broker, transport)
    await w.join(t, pair)
    return w.box
  }
  const c = broker.client(t, transport)
  // A connected client sends the subscriptions one after the other.
  await collect(c, '/elsewhere')
  const box = []
  for (const channel of pair) await collect(c, channel, box)
  return box
}

// Checks one joiner against the order in which the messages were kept.
const check = (box, order, way, name) => {
  const where = (d) => order.get(d.p + ':' + d.n)
  const all = box.map(([, d]) => where(d))
  const missing = order.size - new Set(all).size
  const duplicates = all.length - new Set(all).size
  assert.deepEqual({ missing, duplicates, unknown: all.filter((i) => i === undefined).length }, { missing: 0, duplicates: 0, unknown: 0 }, name)
  const disorder = (list) => list.filter((v, i) => i > 0 && v < list[i - 1]).length
  const live = box.filter(([ch]) => ch === X).map(([, d]) => where(d))
  const past = box.filter(([ch]) => ch !== X).map(([, d]) => where(d))
  assert.ok(live.length > 0 && past.length > 0, name + ' got both past and live')
  assert.equal(disorder(live) + disorder(past), 0, name + ', each channel in order')
  // Only what was live before the catch-up was asked for may come before the past
  // (decided.md 7), be it between two messages of a batch.
  if (way.endsWith('catch-up first')) assert.equal(disorder(all), 0, name + ', past wholly before live')
}

for (const transport of ['websocket', 'long-polling']) {
  test(`100 joiners, ${transport}: 0 missing, 0 duplicates, 0 out of order`, { timeout: 110000 }, async (t) => {
    const { broker } = its
    const channel = X
    const run = transport[0]
    let stop = false
    const publishers = range(3).map(async (p) => {
      const c = broker.client(t, p === 2 ? 'long-polling' : 'websocket')
      let n = 0
      for (; !stop; n++) await settled(c.publish(channel, { p: run + p, n }), `publish ${n}`)
      return n
    })
    // Something is there to catch up with before the first one joins.
    const probe = await collect(broker.client(t), channel)
    await until(() => probe.length >= 20, 'the publishers publish')

    const joiners = []
    for (const batch of range(10)) {
      joiners.push(...await Promise.all(range(10).map(async (k) => {
        const way = WAYS[k % WAYS.length]
        return { way, name: `joiner ${batch}.${k}, ${way}`, box: await join(t, broker, way, transport, `${channel}/catchup/1h`) }
      })))
    }
    const seen = probe.length
    await until(() => probe.length >= seen + 30, 'publishing goes on after the last has joined')
    stop = true
    const counts = await Promise.all(publishers)
    const last = { p: run + 'end', n: 0 }
    await settled(broker.client(t).publish(channel, last), 'the last message')

    const history = await collect(broker.client(t), `${channel}/catchup/1h`)
    await until(() => history.some(([, d]) => d.p === last.p), 'the history is whole')
    const order = new Map(history.map(([, d], i) => [d.p + ':' + d.n, i]))
    const mine = counts.reduce((a, b) => a + b, 1)
    assert.equal(history.filter(([, d]) => d.p.startsWith(run)).length, mine, 'every acknowledged message is kept once')
    assert.equal(order.size, history.length, 'nothing is kept twice')

    for (const j of joiners) await until(() => j.box.some(([, d]) => d.p === last.p) && j.box.length >= order.size, () => `${j.name}: ${j.box.length} of ${order.size}`, 30000)
    for (const j of joiners) check(j.box, order, j.way, j.name)
    t.diagnostic(`${joiners.length} joiners, ${order.size} messages each, ${mine} of them published meanwhile`)
  })
}
