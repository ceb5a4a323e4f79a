/*! Gobelin's browser client, with the interface of the Faye client: new Faye.Client(url). */
(function (root) {
  'use strict'

  const META = '/meta/'
  const later = (f) => Promise.resolve().then(f)
  const base = (channel) => channel.replace(/^(.+)\/catchup\/[^/]+$/, '$1')
  const own = (object, key) => (object && Object.prototype.hasOwnProperty.call(object, key) ? object[key] : undefined)

  // A refusal: code (null when the text has no grammar), params and message.
  class FayeError extends Error {
    constructor (text) {
      const m = /^(\d{3}):([^:]*):([^]*)$/.exec(text) || [null, null, '', String(text)]
      super(m[3])
      this.name = 'FayeError'
      this.code = m[1] && +m[1]
      this.params = m[2] ? m[2].split(',') : []
    }

    toString () { return `${this.code || ''}:${this.params.join(',')}:${this.message}` }
  }

  // What is given back by subscribe and publish: a thenable that never troubles
  // the page with an unhandled rejection.
  class Deferred {
    constructor () {
      this._promise = new Promise((resolve, reject) => { this._resolve = resolve; this._reject = reject })
      this._promise.catch(() => {})
    }

    then (f, r) { return this._promise.then(f, r) }
    catch (r) { return this._promise.catch(r) }
    finally (f) { return this._promise.finally(f) }
    callback (f, context) { this._promise.then((v) => f.call(context, v), () => {}); return this }
    errback (f, context) { this._promise.catch((e) => f.call(context, e)); return this }
    timeout (seconds, error) { setTimeout(() => this._reject(error), seconds * 1000); return this }
  }

  class Subscription extends Deferred {
    constructor (client, channel, callback, context) {
      super()
      this._client = client
      this.channel = channel
      this._callback = callback
      this._context = context
      this._had = new Seen()
    }

    // callback is given (channel, data): for patterns.
    withChannel (callback, context) {
      this._withChannel = [callback, context]
      return this
    }

    cancel () {
      if (this._cancelled) return
      this._cancelled = true
      this._client.unsubscribe(this.channel, this)
    }

    unsubscribe () { this.cancel() }

    apply (context, args) { this._deliver(this.channel, args[0]) }

    _deliver (channel, data) {
      if (this._callback) this._callback.call(this._context, data)
      if (this._withChannel) this._withChannel[0].call(this._withChannel[1], channel, data)
    }
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
  }
  const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
  const POSITION = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/

  const UNKNOWN = /^40[123]:[^:]*:(Unknown client|session_unknown|unknown_session)$/

  const positionOf = (message) => {
    const id = own(own(own(message, 'ext'), 'history'), 'id') || message.id
    return typeof id === 'string' && POSITION.test(id) ? id : null
  }

  // A WebSocket. The client hears of messages, and once of the end.
  class Socket {
    constructor (client, url) {
      this.type = 'websocket'
      const ws = this.ws = new root.WebSocket(url.replace(/^http/, 'ws'))
      const timer = setTimeout(() => this.end(), 10000)
      ws.onopen = () => { clearTimeout(timer); this.opened = true; client._opened(this) }
      ws.onmessage = (e) => client._received(this, e.data)
      ws.onclose = ws.onerror = () => this.end()
      this.down = () => { clearTimeout(timer); client._failed(this) }
    }

    send (messages) { this.ws.send(JSON.stringify(messages)) }

    end () {
      const ws = this.ws
      if (!ws) return
      this.ws = null
      ws.onopen = ws.onmessage = ws.onclose = ws.onerror = null
      ws.onerror = () => {}
      try { ws.close() } catch (e) {}
      this.down()
    }
  }

  // Long-polling: connects beside the rest, of which one request is under way at
  // a time, so that publishes keep their order.
  class Polling {
    constructor (client, url) {
      this.type = 'long-polling'
      this.client = client
      this.url = url
      this.abort = new root.AbortController()
      later(() => client._opened(this))
    }

    send (messages, hold) {
      const connecting = messages[0].channel === META + 'connect'
      if (!connecting) this.busy = true
      const timer = setTimeout(() => this.end(), this.client._patience + (hold || 0))
      const last = messages[messages.length - 1].channel === META + 'disconnect'
      root.fetch(this.url, {
        method: 'POST',
        headers: { ...this.client._headers, 'Content-Type': 'application/json' },
        body: JSON.stringify(messages),
        keepalive: last,
        signal: last ? undefined : this.abort.signal
      }).then((r) => {
        if (!r.ok) throw new Error(r.status)
        return r.text()
      }).then((text) => {
        clearTimeout(timer)
        if (!connecting) this.busy = false
        this.client._received(this, text)
        this.client._flush()
      }).catch(() => { clearTimeout(timer); this.end() })
    }

    end () {
      if (this.ended) return
      this.ended = true
      this.abort.abort()
      this.client._failed(this)
    }
  }

  class Client {
    constructor (url, options) {
      this._url = new URL(url || '/faye', root.location ? root.location.href : undefined).href
      this._options = options || {}
      this._patience = (this._options.timeout || 30) * 1000
      this._state = 'UNCONNECTED'
      this._disabled = {}
      this._headers = {}
      this._extensions = []
      this._events = {}
      this._advice = { reconnect: 'retry', interval: (this._options.interval || 0) * 1000, timeout: 45000 }
      this._channels = new Map() // name to subscriptions
      this._pending = new Map() // message id to what waits for the answer
      this._queue = []
      this._waiting = [] // to be done once connected
      this._seen = new Seen()
      this._session = 0 // rises with each handshake
      this._kept = new Set() // channels that have a history
      this._mended = new Map() // catch-up channels that stand for the live one
      this._failures = 0
      this._lastId = 0
      if (root.addEventListener) {
        root.addEventListener('pagehide', (e) => {
          if (!this._disabled.autodisconnect) e.persisted ? this._suspend() : this.disconnect()
        })
        root.addEventListener('pageshow', (e) => { if (e.persisted && this._state === 'CONNECTING') this._open() })
        root.addEventListener('online', () => { if (this._retry && !this._transport) this._open() })
      }
    }

    // Subscribing. A list of channels gives a list of subscriptions.
    subscribe (channel, callback, context) {
      if (Array.isArray(channel)) return channel.map((c) => this.subscribe(c, callback, context))
      const s = new Subscription(this, channel, callback, context)
      const list = this._channels.get(channel)
      if (list) list.push(s)
      else this._channels.set(channel, [s])
      s._session = this._session
      if (this._state === 'CONNECTED') this._subscribeNow(channel)
      else { s._session++; this.connect() }
      return s
    }

    _subscribeNow (channel) {
      const session = this._session
      const wanted = this._channels.get(channel).slice()
      this._send({ channel: META + 'subscribe', clientId: this._clientId, subscription: channel }, (reply) => {
        if (session !== this._session) return
        for (const s of wanted) {
          if (reply.successful) {
            s.catchup = own(reply.ext, 'catchup')
            if (s._acknowledged) s._acknowledged()
            s._resolve(channel)
          } else if (!/^5/.test(reply.error)) {
            this._remove(channel, s)
            s._reject(new FayeError(reply.error))
          }
        }
        // What may pass is tried again.
        if (!reply.successful && /^5/.test(reply.error)) this._after(this._delay(), () => session === this._session && this._channels.has(channel) && this._subscribeNow(channel))
      })
    }

    // The past of a channel: await client.catchUp('/a', '12h') gives the list of
    // its messages' data once it is complete.
    catchUp (channel, interval, callback) {
      return new Promise((resolve, reject) => {
        const past = []
        const s = this.subscribe(`${channel}/catchup/${interval}`, (data) => {
          past.push(data)
          if (callback) callback(data)
          if (s.catchup) s._acknowledged()
        })
        s._whole = true
        s._acknowledged = () => {
          if (s.catchup && past.length < s.catchup.messages) return
          s.cancel()
          resolve(past)
        }
        s.errback(reject)
      })
    }

    // x: a subscription or its callback; without it, all of the channel.
    unsubscribe (channel, x) {
      if (Array.isArray(channel)) return channel.forEach((c) => this.unsubscribe(c, x))
      for (const s of (this._channels.get(channel) || []).slice()) {
        if (x && s !== x && s._callback !== x) continue
        s._cancelled = true
        if (this._remove(channel, s) && this._state === 'CONNECTED') {
          this._send({ channel: META + 'unsubscribe', clientId: this._clientId, subscription: channel })
        }
      }
    }

    // Whether it was the last one of its channel.
    _remove (channel, s) {
      const list = (this._channels.get(channel) || []).filter((other) => other !== s)
      if (list.length) { this._channels.set(channel, list); return false }
      return this._channels.delete(channel)
    }

    // options: deadline (seconds) and attempts, after which it is rejected.
    publish (channel, data, options) {
      const p = new Deferred()
      const o = options || {}
      if (o.deadline) setTimeout(() => { p._reject(new FayeError('Timeout')); p._over = true }, o.deadline * 1000)
      this._whenConnected(() => {
        if (p._over) return
        this._send({ channel, data, clientId: this._clientId }, (reply) => {
          if (reply.successful) p._resolve()
          else p._reject(new FayeError(reply.error))
        }, { over: () => p._over, attempts: o.attempts })
      }, p)
      return p
    }

    connect (callback, context) {
      if (this._state === 'UNCONNECTED') {
        this._state = 'CONNECTING'
        later(() => this._open())
      }
      if (callback) this._whenConnected(() => callback.call(context))
    }

    // Final: the client does nothing afterwards.
    disconnect () {
      const p = new Deferred()
      if (this._state !== 'CONNECTED' || !this._transport) {
        this._stop()
        p._resolve()
        return p
      }
      this._state = 'DISCONNECTED'
      const finish = () => this._stop()
      const timer = setTimeout(finish, 5000)
      this._goodbye = () => { clearTimeout(timer); p._resolve() }
      this._send({ channel: META + 'disconnect', clientId: this._clientId }, finish)
      return p
    }

    // The page is put aside and may be shown again: the session ends, and the next
    // one subscribes again.
    _suspend () {
      const t = this._transport
      if (this._state !== 'CONNECTED') return
      if (t && t.opened) t.send([{ channel: META + 'disconnect', clientId: this._clientId, id: (++this._lastId).toString(36) }])
      this._lost()
      this._transport = null
      clearTimeout(this._watch)
      clearTimeout(this._retry)
      if (t) t.end()
    }

    // One of UNCONNECTED, CONNECTING, CONNECTED, DISCONNECTED.
    getState () { return this._state }

    addExtension (extension) {
      this._extensions.push(extension)
      if (extension.added) extension.added(this)
    }

    removeExtension (extension) {
      const i = this._extensions.indexOf(extension)
      if (i < 0) return
      this._extensions.splice(i, 1)
      if (extension.removed) extension.removed(this)
    }

    setHeader (name, value) { this._headers[name] = value }
    disable (feature) { this._disabled[feature] = true }

    bind (name, f, context) { (this._events[name] = this._events[name] || []).push([f, context]); return this }
    on (name, f, context) { return this.bind(name, f, context) }

    once (name, f, context) {
      const wrapped = (...args) => { this.unbind(name, wrapped); f.apply(context, args) }
      return this.bind(name, wrapped)
    }

    unbind (name, f) {
      this._events[name] = (this._events[name] || []).filter((e) => f && e[0] !== f)
      return this
    }

    trigger (name, ...args) { for (const [f, context] of (this._events[name] || []).slice()) f.apply(context, args) }

    // Where this client is on the wire now.
    get transport () { return this._transport ? this._transport.type : null }

    _whenConnected (f, p) {
      if (this._state === 'CONNECTED') return f()
      if (this._state === 'DISCONNECTED') { if (p) p._reject(this._end()); return }
      this._waiting.push([f, p])
      this.connect()
    }

    _end () { return this._error || new FayeError('Disconnected') }

    // The road of a message: extensions, queue, transport; done is given the reply.
    _send (message, done, more) {
      message.id = (++this._lastId).toString(36)
      this._pipe('outgoing', message, (m) => {
        const entry = { m, done: done || (() => {}), attempts: 0, ...more }
        entry.limit = (more || {}).attempts || Infinity
        entry.attempts = 0
        if (this._isOver(entry) || (this._state === 'DISCONNECTED' && m.channel !== META + 'disconnect')) return
        this._pending.set(m.id, entry)
        this._queue.push(entry)
        if (!this._soon) this._soon = later(() => { this._soon = null; this._flush() })
      })
    }

    _isOver (entry) { return entry.over && entry.over() }

    _pipe (way, message, done) {
      const list = this._extensions.slice()
      const step = (m) => {
        if (!m) return
        const x = list.shift()
        if (!x) return done(m)
        if (x[way]) x[way](m, step)
        else step(m)
      }
      step(message)
    }

    _flush () {
      const t = this._transport
      if (!t || !t.opened) return
      const rest = []
      const batch = []
      let size = 0
      for (const e of this._queue) {
        const c = e.m.channel
        // The last word does not wait for an answer: the page may be going.
        const alone = c === META + 'connect' || c === META + 'handshake' || (t.busy && c === META + 'disconnect')
        if (this._pending.get(e.m.id) !== e || this._isOver(e)) continue
        if (!alone && (!this._clientId || size > 65536 || batch.length > 99 || t.busy)) { rest.push(e); continue }
        if (e.m.clientId) e.m.clientId = this._clientId
        if (alone) { t.send([e.m], e.hold); continue }
        e.attempts++
        batch.push(e.m)
        size += JSON.stringify(e.m).length
      }
      this._queue = rest
      if (batch.length) t.send(batch)
      if (rest.length && this._clientId && !t.busy) this._flush()
    }

    // Connections: a WebSocket where there is one, else long-polling.
    _open () {
      clearTimeout(this._retry)
      this._retry = null
      if (this._state === 'DISCONNECTED' || this._transport) return
      const ws = root.WebSocket && !this._disabled.websocket && !this._noSockets
      const endpoints = this._options.endpoints || {}
      try {
        if (ws) this._transport = new Socket(this, endpoints.websocket || this._url)
      } catch (e) { this._noSockets = true }
      this._transport = this._transport || this._polling()
    }

    _polling () { return new Polling(this, (this._options.endpoints || {})['long-polling'] || this._url) }

    _opened (t) {
      if (t !== this._transport) return
      t.opened = true
      if (t.type === 'websocket') this._socketsWork = true
      if (!this._clientId) return this._handshake()
      this._queue = [...this._pending.values()].filter((e) => e.m.channel !== META + 'connect')
      this._connect(true)
      this._flush()
    }

    // The transport has broken. A socket that never opened gives way to
    // long-polling at once.
    _failed (t) {
      if (t !== this._transport) return
      this._transport = null
      clearTimeout(this._watch)
      if (this._state === 'DISCONNECTED') return this._stop()
      if (t.type === 'websocket' && !t.opened) {
        this._transport = this._polling()
        this._fallback = true
        return
      }
      for (const [id, e] of this._pending) {
        if (e.m.channel === META + 'handshake') this._pending.delete(id)
        else if (e.attempts >= e.limit) { this._pending.delete(id); e.done({ error: 'Attempts exhausted' }) }
      }
      if (this._up !== false) { this._up = false; this.trigger('transport:down') }
      this._again()
    }

    _again () { this._retry = this._after(Math.max(this._delay(), this._advice.interval), () => this._open()) }

    // The wait after one more failure: doubling to 30 s, at random between half
    // and whole.
    _delay () {
      const first = (this._options.retry || 1) * 1000
      return Math.min(first * 2 ** Math.min(this._failures++, 10), Math.max(first, 30000)) * (0.5 + Math.random() / 2)
    }

    _after (ms, f) { return setTimeout(() => { if (this._state !== 'DISCONNECTED') f() }, ms) }

    _handshake () {
      const t = this._transport
      this._watch = this._after(this._patience, () => t.end())
      this._send({
        channel: META + 'handshake',
        version: '1.0',
        supportedConnectionTypes: ['websocket', 'long-polling', 'cross-origin-long-polling']
      }, (reply) => {
        if (t !== this._transport || this._clientId) return
        clearTimeout(this._watch)
        if (!reply.successful || !reply.clientId) return this._refused(reply)
        // A socket that could not be opened where polling can: not tried again.
        if (this._fallback && !this._socketsWork) this._noSockets = true
        this._renewed(reply.clientId)
      })
    }

    // A new session: subscriptions first, the past before the live, then the rest.
    _renewed (clientId) {
      this._clientId = clientId
      this._session++
      this._state = 'CONNECTED'
      for (const [id, e] of this._pending) if (e.m.channel.startsWith(META)) this._pending.delete(id)
      const rest = [...this._pending.values()]
      this._queue = []
      this._mend()
      const past = (c) => (base(c) === c ? 1 : 0)
      for (const c of [...this._channels.keys()].sort((a, b) => past(a) - past(b))) this._subscribeNow(c)
      later(() => { this._queue.push(...rest.filter((e) => !this._queue.includes(e))); this._flush() })
      const waiting = this._waiting
      this._waiting = []
      for (const [f] of waiting) f()
      this._connect()
    }

    // What a live channel missed between two sessions is asked for from its
    // history, with a minute to spare, unless a catch-up of it is replayed anyway.
    _mend () {
      this._mended.clear()
      if (this._session < 2) { this._contact = Date.now(); return }
      const away = Math.ceil((Date.now() - this._contact) / 1000) + 60
      const names = [...this._channels.keys()]
      for (const c of names) {
        if (!this._kept.has(c) || names.some((n) => n !== c && base(n) === c)) continue
        const subscription = `${c}/catchup/${away}s`
        this._mended.set(subscription, c)
        this._send({ channel: META + 'subscribe', clientId: this._clientId, subscription })
      }
    }

    // On a new socket of a known session the first connect asks for an answer at
    // once; a poll that was not answered is repeated as it was, which tells the
    // server that the answer was lost.
    _connect (again) {
      const t = this._transport
      if (!t || !t.opened) return
      const socket = t.type === 'websocket'
      const m = { channel: META + 'connect', clientId: this._clientId, connectionType: t.type }
      const old = [...this._pending.values()].find((e) => e.m.channel === m.channel)
      if (old) this._pending.delete(old.m.id)
      if (again && socket) m.advice = { timeout: 0 }
      const hold = this._advice.timeout * 1.1
      const send = () => {
        clearTimeout(this._watch)
        this._watch = this._after(hold + this._patience, () => t.end())
      }
      if (again && !socket && old && old.m.connectionType === m.connectionType && !old.m.advice) {
        this._pending.set(old.m.id, old)
        this._queue.unshift(old)
        send()
        return
      }
      send()
      this._send(m, (reply) => {
        clearTimeout(this._watch)
        if (!reply.successful) return this._refused(reply)
        if (this._advice.reconnect !== 'retry') return this._refused({ error: 'Stopped' })
        this._failures = 0
        this._after(this._advice.interval, () => this._connect())
      }, { hold })
    }

    // A handshake or connect was refused.
    _refused (reply) {
      const unknown = UNKNOWN.test(reply.error)
      if (this._advice.reconnect === 'none') {
        this._error = new FayeError(reply.error)
        return this._stop()
      }
      if (this._advice.reconnect === 'handshake' || unknown) this._lost()
      const t = this._transport
      this._transport = null
      if (t) t.end()
      clearTimeout(this._watch)
      clearTimeout(this._retry)
      this._again()
    }

    // The session is gone.
    _lost () {
      this._clientId = null
      this._noSockets = false
      if (this._state === 'CONNECTED') this._state = 'CONNECTING'
      this._advice.reconnect = 'retry'
    }

    _stop () {
      this._state = 'DISCONNECTED'
      clearTimeout(this._retry)
      clearTimeout(this._watch)
      const t = this._transport
      this._transport = null
      if (t) t.end()
      const error = this._end()
      for (const [, p] of this._waiting) if (p) p._reject(error)
      for (const list of this._channels.values()) for (const s of list) s._reject(error)
      for (const e of this._pending.values()) if (!e.m.channel.startsWith(META)) e.done({ error: error.toString() })
      this._waiting = []
      this._pending.clear()
      this._channels.clear()
      if (this._goodbye) this._goodbye()
    }

    // The way in.
    _received (t, text) {
      let list
      try { list = JSON.parse(text) } catch (e) { return t.end() }
      for (const m of Array.isArray(list) ? list : [list]) {
        if (t !== this._transport) return
        if (!m || typeof m.channel !== 'string') continue
        if (this._up !== true) { this._up = true; this.trigger('transport:up') }
        const entry = m.successful !== undefined && this._pending.get(m.id)
        const answers = entry && entry.m.channel === m.channel
        if (answers) this._pending.delete(m.id)
        this._pipe('incoming', m, (n) => {
          if (answers) this._answered(entry, n)
          else if (n.data !== undefined && !n.channel.startsWith(META)) this._deliver(n)
        })
      }
    }

    _answered (entry, m) {
      const ours = m.channel === META + 'connect' || m.channel === META + 'handshake'
      if (ours) this._heed(m.advice)
      const gone = !m.successful && !ours && m.channel !== META + 'disconnect' && UNKNOWN.test(m.error)
      if (gone && (entry.unknown = (entry.unknown || 0) + 1) < 4) {
        // Answered on a session that is gone: it waits for the next one.
        this._pending.set(entry.m.id, entry)
        if (entry.m.clientId === this._clientId) this._refused(m)
        return
      }
      if (m.successful && m.channel === META + 'connect') this._contact = Date.now()
      entry.done(m)
    }

    // Numbers from outside are cut, so that nobody is sent away for ever.
    _heed (advice) {
      const a = this._advice
      if (!advice || typeof advice !== 'object') return
      if (typeof advice.reconnect === 'string') a.reconnect = advice.reconnect
      if (advice.interval >= 0) a.interval = Math.min(advice.interval, 3600000)
      if (advice.timeout >= 0) a.timeout = Math.min(advice.timeout, 900000)
    }

    // A subscription is given a message once. One that a later session subscribed
    // again is not replayed what its channel had before.
    _deliver (m) {
      const mended = this._mended.get(m.channel)
      m.channel = mended || m.channel
      const names = [m.channel]
      for (let i = m.channel.lastIndexOf('/'), n = 0; i >= 0; i = i ? m.channel.lastIndexOf('/', i - 1) : -1, n++) {
        if (!n) names.push(m.channel.slice(0, i) + '/*')
        names.push(m.channel.slice(0, i) + '/**')
      }
      const id = positionOf(m)
      const name = base(m.channel)
      const repeat = id && !this._seen.take(name, id)
      if (!mended) this._contact = Date.now()
      if (!mended && own(m.ext, 'history') && this._kept.size < 4096) this._kept.add(name)
      for (const n of names) {
        for (const s of (this._channels.get(n) || []).slice()) {
          // Mending begins behind the first message it was given.
          if (mended && (s.channel !== m.channel || !(id > s._first))) continue
          const had = id && !s._had.take(name, id)
          if (had || (repeat && !s._whole && s._session < this._session)) continue
          if (id && !s._first) s._first = id
          s._deliver(m.channel, m.data)
        }
      }
    }
  }

  const Faye = { VERSION: 'gobelin', Client, Error: FayeError, Subscription, Seen }
  if (typeof module === 'object' && module.exports) module.exports = Faye
  else root.Faye = Faye
})(globalThis)
