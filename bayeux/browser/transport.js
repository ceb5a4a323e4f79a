// A transport takes messages by send, and tells the client once that it can
// (_opened), what comes (_received), and once of its end (_failed). room is how
// much goes in one request, most how much one message may be.

class Socket {
  constructor (client, url) {
    this.type = 'websocket'
    this.room = 65536
    this.most = Infinity
    const ws = this.ws = new root.WebSocket(url.replace(/^http/, 'ws'))
    const timer = setTimeout(() => this.end(), 10000)
    ws.onopen = () => { clearTimeout(timer); this.opened = true; client._opened(this) }
    ws.onmessage = (e) => {
      let list
      try { list = JSON.parse(e.data) } catch (e) { return this.end() }
      client._received(this, list)
    }
    ws.onclose = ws.onerror = () => this.end()
    this.down = () => { clearTimeout(timer); client._failed(this) }
  }

  size (m) { return JSON.stringify(m).length }
  send (messages) { this.ws.send(JSON.stringify(messages)) }

  end () {
    const ws = this.ws
    if (!ws) return
    this.ws = null
    ws.onopen = ws.onmessage = ws.onclose = null
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
    this.room = 65536
    this.most = Infinity
    this.client = client
    this.url = url
    this.abort = new root.AbortController()
    later(() => client._opened(this))
  }

  size (m) { return JSON.stringify(m).length }

  send (messages, hold) {
    const connecting = messages[0].channel === META + 'connect'
    if (!connecting) this.busy = true
    const timer = setTimeout(() => this.end(), this.client._patience + (hold || 0))
    this.ask(messages).then((list) => {
      clearTimeout(timer)
      if (this.ended) return
      if (!connecting) this.busy = false
      this.heard = true
      this.client._received(this, list)
      this.client._flush()
    }).catch(() => { clearTimeout(timer); this.end() })
  }

  ask (messages) {
    const last = messages[messages.length - 1].channel === META + 'disconnect'
    return root.fetch(this.url, {
      method: 'POST',
      headers: { ...this.client._headers, 'Content-Type': 'application/json' },
      body: JSON.stringify(messages),
      keepalive: last,
      signal: last ? undefined : this.abort.signal
    }).then((r) => {
      if (!r.ok) throw new Error(r.status)
      return r.json()
    })
  }

  end () {
    if (this.ended) return
    this.ended = true
    this.abort.abort()
    this.client._failed(this)
  }
}

// Callback-polling: script elements, for pages that may not fetch from the
// server's origin, such as those opened from disk. A URL has little room.
class Callbacks extends Polling {
  constructor (client, url) {
    super(client, url)
    this.type = 'callback-polling'
    this.room = 2000
    this.most = 12000
  }

  size (m) { return encodeURIComponent(JSON.stringify(m)).length }

  ask (messages) {
    return new Promise((resolve, reject) => {
      const name = 'gobelin' + Math.random().toString(36).slice(2)
      const url = new URL(this.url)
      url.searchParams.set('message', JSON.stringify(messages))
      url.searchParams.set('jsonp', name)
      const script = root.document.createElement('script')
      const done = (f) => (v) => { delete root[name]; script.remove(); f(v) }
      root[name] = done(resolve)
      script.onerror = done(reject)
      script.src = url.href
      root.document.head.appendChild(script)
    })
  }
}
