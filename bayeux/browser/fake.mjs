// A small Bayeux server for the tests of client.js and history.js: both
// transports, history with catch-up, and handles to make it misbehave.
import http from 'node:http'
import { createHash } from 'node:crypto'

const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

// A message id as the store gives it: the number n of an epoch.
export const idOf = (n, epoch = 7) => {
  let v = (5n << 80n) | (BigInt(epoch) << 48n) | BigInt(n)
  let s = ''
  for (let i = 0; i < 26; i++) { s = DIGITS[Number(v & 31n)] + s; v >>= 5n }
  return s
}

const matches = (pattern, channel) => pattern === channel ||
  (pattern.endsWith('/**') && channel.startsWith(pattern.slice(0, -2))) ||
  (pattern.endsWith('/*') && channel.slice(0, channel.lastIndexOf('/') + 1) === pattern.slice(0, -1))

export class Fake {
  constructor (hold = 2000) {
    this.hold = hold
    this.sessions = new Map()
    this.history = new Map()
    this.heard = []
    this.taken = new Set()
    this.sockets = new Set()
    this.hook = () => {} // (message, reply) => 'swallow' | 'cut' | undefined
    this.upgrades = true
    this.acks = true
    this.most = Infinity // messages of one replay that are sent
    this.next = 0
  }

  async start (port = 0) {
    this.server = http.createServer((q, r) => this.serve(q, r))
    this.server.on('upgrade', (q, socket) => this.upgrade(q, socket))
    this.server.on('connection', (s) => { this.sockets.add(s); s.on('close', () => this.sockets.delete(s)); s.on('error', () => {}) })
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve))
    this.port = this.server.address().port
    this.url = `http://127.0.0.1:${this.port}/faye`
    return this
  }

  async stop () { this.cut(); await new Promise((resolve) => this.server.close(resolve)) }
  cut () { for (const s of this.sockets) s.destroy() }
  // Whether some connect is under way, so that a cut is noticed.
  held () { return [...this.sessions.values()].some((s) => s.wake) }
  forget () { this.sessions.clear() }
  of (channel) { return this.heard.filter((m) => m.channel === channel) }

  serve (q, r) {
    let body = ''
    q.on('data', (d) => { body += d })
    q.on('end', async () => {
      const out = []
      const query = new URL(q.url, this.url).searchParams
      const jsonp = query.get('jsonp')
      if (jsonp) body = query.get('message')
      this.requests = (this.requests || []).concat({ headers: q.headers, body })
      for (const m of JSON.parse(body)) {
        const [reply, session, what] = this.handle(m)
        if (what === 'cut') return q.socket.destroy()
        if (session) await this.wait(session, m, out, q.socket)
        if (what !== 'swallow') out.push(reply)
      }
      r.setHeader('Content-Type', jsonp ? 'text/javascript' : 'application/json')
      r.end(jsonp ? `/**/${jsonp}(${JSON.stringify(out)});` : JSON.stringify(out))
    })
  }

  wait (session, m, out, socket) {
    return new Promise((resolve) => {
      const done = () => { clearTimeout(timer); session.wake = null; out.push(...session.queue.splice(0)); resolve() }
      const timer = setTimeout(done, m.advice ? m.advice.timeout : this.hold)
      if (session.wake) session.wake()
      session.wake = done
      socket.on('close', () => { if (session.wake === done) { clearTimeout(timer); session.wake = null } })
      if (session.queue.length) done()
    })
  }

  upgrade (q, socket) {
    if (!this.upgrades) return socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
    const accept = createHash('sha1').update(q.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
    const timers = new Set()
    let bound = null
    const send = (messages) => { if (!socket.destroyed) socket.write(frame(1, JSON.stringify(messages))) }
    socket.on('close', () => { for (const t of timers) clearTimeout(t); if (bound && bound.wake === bound.mine) bound.wake = null })
    readFrames(socket, (opcode, payload) => {
      if (opcode === 8) return socket.end(frame(8, ''))
      if (opcode !== 1) return
      const list = [].concat(JSON.parse(payload))
      for (const m of list) {
        const [reply, session, what] = this.handle(m)
        if (what === 'cut') return socket.destroy()
        if (what === 'swallow') continue
        if (!session) { send([reply]); continue }
        bound = session
        const push = () => { if (session.queue.length) send(session.queue.splice(0)) }
        session.wake = session.mine = push
        push()
        timers.add(setTimeout(() => send([reply]), m.advice ? m.advice.timeout : this.hold))
      }
    })
  }

  advice () { return { reconnect: 'retry', interval: 0, timeout: this.hold } }

  // [reply, session of a connect to be held, what the hook wants]
  handle (m) {
    this.heard.push(structuredClone(m))
    const reply = { channel: m.channel, id: m.id, clientId: m.clientId, successful: true }
    const refuse = (error) => { reply.successful = false; reply.error = error }
    let session = this.sessions.get(m.clientId)
    let held = null
    if (m.channel === '/meta/handshake') {
      session = { id: `session${++this.next}`, subs: new Set(), queue: [] }
      this.sessions.set(session.id, session)
      Object.assign(reply, { clientId: session.id, version: '1.0', supportedConnectionTypes: ['websocket', 'long-polling'], advice: this.advice() })
      if (this.acks && m.ext && m.ext.ack) { reply.ext = { ack: true }; session.batch = 0 }
    } else if (!session) {
      refuse(`401:${m.clientId}:Unknown client`)
      if (m.channel === '/meta/connect') reply.advice = { reconnect: 'handshake', interval: 0 }
    } else if (m.channel === '/meta/connect') {
      held = session
      reply.advice = this.advice()
      if (session.batch !== undefined) reply.ext = { ack: ++session.batch }
    } else if (m.channel === '/meta/subscribe') {
      reply.subscription = m.subscription
      const [name, interval] = m.subscription.split('/catchup/')
      if (m.subscription.startsWith('/forbidden')) refuse(`403:${m.subscription}:Forbidden channel`)
      else if (this.deaf && this.deaf()) session.subs.add(name)
      else if (interval && !this.plain) {
        const after = m.ext && m.ext.catchup && m.ext.catchup.after
        const past = (this.history.get(name) || []).filter((p) => !after || p.id > after)
        reply.ext = { catchup: { messages: past.length, truncated: false } }
        session.queue.push(...past.slice(0, this.most).map((p) => ({ ...p, channel: m.subscription })))
        if (session.wake) setImmediate(session.wake)
      } else {
        session.subs.add(m.subscription)
        const kept = this.history.get(name)
        if (m.ext && m.ext.history && kept) reply.ext = { history: { last: kept.length ? kept.at(-1).id : idOf(0, 0) } }
      }
    } else if (m.channel === '/meta/unsubscribe') session.subs.delete(m.subscription)
    else if (m.channel === '/meta/disconnect') this.sessions.delete(session.id)
    else if (!/^(\/[\w!~()$@-]+)+$/.test(m.channel)) refuse(`405:${m.channel}:Invalid channel`)
    else if (!this.taken.has(m.clientId + m.id)) {
      this.taken.add(m.clientId + m.id)
      this.deliver(m.channel, m.data, m.ext)
    }
    const what = this.hook(m, reply)
    return [reply, reply.successful ? held : null, what]
  }

  deliver (channel, data, ext = {}) {
    const list = this.history.get(channel) || []
    this.history.set(channel, list)
    const m = { channel, id: idOf(list.length), data, ext: { ...ext, history: { id: idOf(list.length), ts: 1 } } }
    list.push(m)
    this.send(m)
  }

  // Straight to the subscribers.
  send (m) {
    for (const s of this.sessions.values()) {
      if (![...s.subs].some((p) => matches(p, m.channel))) continue
      s.queue.push(m)
      if (s.wake) s.wake()
    }
  }
}

const frame = (opcode, text) => {
  const body = Buffer.from(text)
  const head = body.length < 126 ? [0x80 | opcode, body.length] : [0x80 | opcode, 126, body.length >> 8, body.length & 255]
  if (body.length > 65535) throw new Error('fake: frame too large')
  return Buffer.concat([Buffer.from(head), body])
}

// Frames of a client: masked, not fragmented.
const readFrames = (socket, each) => {
  let b = Buffer.alloc(0)
  socket.on('data', (d) => {
    b = Buffer.concat([b, d])
    while (b.length >= 6) {
      let n = b[1] & 127
      let at = 2
      if (n === 126) { n = b.readUInt16BE(2); at = 4 } else if (n === 127) { n = Number(b.readBigUInt64BE(2)); at = 10 }
      if (b.length < at + 4 + n) return
      const body = Buffer.from(b.subarray(at + 4, at + 4 + n))
      for (let i = 0; i < n; i++) body[i] ^= b[at + (i & 3)]
      const opcode = b[0] & 15
      b = b.subarray(at + 4 + n)
      each(opcode, body.toString())
    }
  })
}
