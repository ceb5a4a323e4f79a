class Client extends Events {
  constructor (url, options) {
    super()
    this._url = new URL(url || '/faye', root.location ? root.location.href : undefined).href
    this._options = options || {}
    this._patience = (this._options.timeout || 30) * 1000
    this._state = 'UNCONNECTED'
    this._disabled = {}
    this._headers = {}
    this._extensions = []
    this._advice = { reconnect: 'retry', interval: (this._options.interval || 0) * 1000, timeout: 45000 }
    this._channels = new Map() // name to subscriptions
    this._pending = new Map() // message id to what waits for the answer
    this._queue = []
    this._waiting = [] // to be done once connected
    this._seen = new Seen()
    this._session = 0 // rises with each handshake
    this._mended = new Map() // catch-up channels that stand for another one
    this._ack = null // with the ack extension: the newest batch that came
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
    const wanted = this._channels.get(channel).slice()
    const past = base(channel) !== channel
    if (past) for (const s of wanted) { s._begin(); s._resumed = s._session < this._session }
    // A live channel says where it begins, for when the session is lost.
    this._ask(channel, channel, past || channel.endsWith('*') ? undefined : { history: {} }, (reply) => {
      for (const s of wanted) {
        if (reply.successful) {
          if (past) s._granted(own(reply.ext, 'catchup'))
          else s._at = s._at || own(own(reply.ext, 'history'), 'last')
          s._resolve(channel)
        } else {
          this._remove(channel, s)
          s._reject(new FayeError(reply.error))
        }
      }
    })
  }

  // A subscribe message for a channel that is wanted, repeated while what refuses it
  // may pass.
  _ask (channel, subscription, ext, done) {
    const session = this._session
    const m = { channel: META + 'subscribe', clientId: this._clientId, subscription }
    if (ext) m.ext = ext
    this._send(m, (reply) => {
      if (session !== this._session) return
      if (reply.successful || !/^5/.test(reply.error)) return done(reply)
      this._after(this._delay(), () => session === this._session && this._channels.has(channel) && this._ask(channel, subscription, ext, done))
    })
  }

  // The past of a channel: await client.catchUp('/a', '12h') gives the list of
  // its messages' data once it is complete.
  catchUp (channel, interval, callback) {
    const past = []
    const s = this.subscribe(`${channel}/catchup/${interval}`, (data) => {
      past.push(data)
      if (callback) callback(data)
    })
    s._all = true
    return s.complete.then(() => { s.cancel(); return past })
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

  // callback: once connected.
  handshake (callback, context) { this.connect(callback, context) }

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

  // Browsers negotiate WebSocket extensions by themselves.
  addWebsocketExtension () {}

  setHeader (name, value) { this._headers[name] = value }
  disable (feature) { this._disabled[feature] = true }

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
    let room = t.room
    for (const e of this._queue) {
      const c = e.m.channel
      // The last word does not wait for an answer: the page may be going.
      const alone = c === META + 'connect' || c === META + 'handshake' || (t.busy && c === META + 'disconnect')
      if (this._pending.get(e.m.id) !== e || this._isOver(e)) continue
      if (!alone && (!this._clientId || t.busy || batch.length > 99 || room < 0)) { rest.push(e); continue }
      if (e.m.clientId) e.m.clientId = this._clientId
      if (alone) { t.send([e.m], e.hold); continue }
      const size = t.size(e.m)
      if (size > t.most) {
        this._pending.delete(e.m.id)
        e.done({ error: `413:${t.type}:Message too large` })
        continue
      }
      if ((room -= size) < 0 && batch.length) { rest.push(e); continue }
      e.attempts++
      batch.push(e.m)
    }
    this._queue = rest
    if (batch.length) t.send(batch)
    if (rest.length && this._clientId && !t.busy) this._flush()
  }

  // Connections: a WebSocket where there is one, else long-polling, else scripts.
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

  _polling () {
    const scripts = root.document && (this._scripts || this._disabled['long-polling'])
    const type = scripts ? 'callback-polling' : 'long-polling'
    return new (scripts ? Callbacks : Polling)(this, (this._options.endpoints || {})[type] || this._url)
  }

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
    // What never got an answer from another origin may be forbidden to.
    if (t.type !== 'websocket' && !t.heard && !this._disabled['callback-polling'] && root.location && new URL(t.url).origin !== root.location.origin) this._scripts = !this._scripts
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
    const m = {
      channel: META + 'handshake',
      version: '1.0',
      supportedConnectionTypes: ['websocket', 'long-polling', 'cross-origin-long-polling', 'callback-polling']
    }
    if (this._options.ack) m.ext = { ack: true }
    this._send(m, (reply) => {
      if (t !== this._transport || this._clientId) return
      clearTimeout(this._watch)
      if (!reply.successful || !reply.clientId) return this._refused(reply)
      // A socket that could not be opened where polling can: not tried again.
      if (this._fallback && !this._socketsWork) this._noSockets = true
      this._ack = own(reply.ext, 'ack') === true ? 0 : null
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
    this._subscribeAll()
    later(() => { this._queue.push(...rest.filter((e) => !this._queue.includes(e))); this._flush() })
    const waiting = this._waiting
    this._waiting = []
    for (const [f] of waiting) f()
    this._connect()
  }

  // Catch-up channels first, so that the past comes before the live. What was had
  // before is not asked for again: a live channel goes on where it was, and so does
  // the past of one that had not come whole.
  _subscribeAll () {
    this._mended.clear()
    const old = (c) => (this._channels.get(c) || []).some((s) => s._session < this._session)
    const covered = new Set() // whose gap some catch-up brings
    const newest = new Map() // up to where live channels had their past
    for (const [c, list] of this._channels) {
      const x = base(c)
      if (x === c) continue
      const at = list[0]._at
      const whole = list.every((s) => s._isComplete())
      if (whole && at && old(x)) {
        if (!(newest.get(x) > at)) newest.set(x, at)
        continue
      }
      const goesOn = old(c) && at && (whole || (list.length < 2 && list[0].catchup))
      if (goesOn || !c.endsWith('n')) covered.add(x)
      if (goesOn) this._mend(c, at)
      else this._subscribeNow(c)
    }
    for (const [c, list] of this._channels) {
      if (base(c) !== c) continue
      let at = newest.get(c)
      for (const s of list) if (!(s._at < at)) at = s._at || at
      if (at && old(c) && !covered.has(c) && !c.endsWith('*')) this._mend(c, at)
      this._subscribeNow(c)
    }
  }

  // Asks for what a channel missed since at, to be handed out under its own name.
  _mend (channel, at) {
    let n = 9876543
    const name = () => `${base(channel)}/catchup/${n}n`
    while (this._channels.has(name()) || this._mended.has(name())) n--
    this._mended.set(name(), channel)
    const list = this._channels.get(channel).slice()
    if (base(channel) !== channel) for (const s of list) { s._begin(at); s._resumed = true }
    this._ask(channel, name(), { catchup: { after: at } }, (reply) => {
      const catchup = own(reply.ext, 'catchup') || { messages: 0, truncated: true }
      if (base(channel) !== channel) for (const s of list) s._granted(catchup)
    })
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
    if (this._ack !== null) m.ext = { ack: this._ack }
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
      const batch = own(reply.ext, 'ack')
      if (this._ack !== null && typeof batch === 'number') this._ack = batch
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
  _received (t, list) {
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
    for (const n of names) {
      for (const s of (this._channels.get(n) || []).slice()) {
        const old = s._session < this._session
        // What was missed is for those who missed it.
        if (mended && (n !== mended || !old)) continue
        const had = id && !s._had.take(name, id)
        s._take(id, had || (repeat && old && !s._all), m.channel, m.data)
      }
    }
  }
}
