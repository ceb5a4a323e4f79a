// Run by browser_test.go with node's own test runner on the scripts as they are
// served, in the folder SCRIPTS. With GOBELIN=<url> the
// conversations that need no misbehaving server run against that one too.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { createRequire } from 'node:module'
import { Fake, idOf } from './fake.mjs'

const require = createRequire(import.meta.url)
const dir = process.env.SCRIPTS
if (!dir) throw new Error('SCRIPTS must name the folder of client.js, client.mjs and history.js: go test does')
const Faye = require(path.join(dir, 'client.js'))
const GobelinHistory = require(path.join(dir, 'history.js'))

let names = 0
const unique = () => `/t${process.pid}x${Date.now().toString(36)}x${names++}`

const until = async (check, why, ms = 8000) => {
  const end = Date.now() + ms
  while (!check()) {
    if (Date.now() > end) throw new Error(typeof why === 'function' ? why() : why || `not within ${ms} ms: ${check}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

// What has happened by the time a round trip is over.
const settled = async (client) => { await client.publish(unique(), 0) }

const clients = []
const make = (url, transport, options) => {
  const c = new Faye.Client(url, { retry: 0.05, ...options })
  if (transport === 'long-polling') c.disable('websocket')
  clients.push(c)
  return c
}

// One test for each transport, each with a server of its own.
const both = (name, run, server = () => new Fake()) => {
  for (const transport of ['websocket', 'long-polling']) {
    test(`${name}, ${transport}`, { timeout: 20000 }, async () => {
      const f = await server().start()
      try {
        await run(f, (options) => make(f.url, transport, options), transport)
      } finally {
        for (const c of clients.splice(0)) c._stop()
        await f.stop()
      }
    })
  }
}

// Conversations that any server must lead.
const plain = {
  'round trip': async (client, transport) => {
    const a = client()
    const got = []
    const ch = unique() + '/room'
    const sub = a.subscribe(ch, (m) => got.push(m))
    assert.equal(await sub, ch)
    await client().publish(ch, { text: 'hej \u2028 漢字 😀', n: 1 })
    await until(() => got.length === 1)
    assert.deepEqual(got, [{ text: 'hej \u2028 漢字 😀', n: 1 }])
    assert.equal(a.transport, transport)
    assert.equal(a.getState(), 'CONNECTED')
  },
  'a list of channels gives a list of subscriptions': async (client) => {
    const a = client()
    const u = unique()
    const got = []
    const subs = a.subscribe([u + '/1', u + '/2'], (m) => got.push(m))
    assert.equal(subs.length, 2)
    await Promise.all(subs)
    await a.publish(u + '/1', 1)
    await a.publish(u + '/3', 3)
    await a.publish(u + '/2', 2)
    await until(() => got.length === 2)
    assert.deepEqual(got, [1, 2])
  },
  'patterns, with the channel': async (client) => {
    const a = client()
    const u = unique()
    const one = []
    const deep = []
    await a.subscribe(u + '/*').withChannel((ch, m) => one.push([ch, m]))
    await a.subscribe(u + '/**').withChannel((ch, m) => deep.push([ch, m]))
    await a.publish(u + '/a', 1)
    await a.publish(u + '/a/b', 2)
    await until(() => deep.length === 2)
    assert.deepEqual(one, [[u + '/a', 1]])
    assert.deepEqual(deep, [[u + '/a', 1], [u + '/a/b', 2]])
  },
  'refusals have code, params and message': async (client) => {
    const a = client()
    const e = await a.publish('/not a channel', {}).then(() => null, (e) => e)
    assert.equal(e.code, 405)
    assert.equal(typeof e.code, 'number')
    assert.equal(e.message, 'Invalid channel')
    const codes = []
    a.subscribe('/forbidden/x').errback((e) => codes.push(e.code))
    a.subscribe('/meta/x').errback((e) => codes.push(e.code))
    await until(() => codes.length >= 1)
    assert.equal(codes[0], 403)
  },
  'cancel ends one listener, then the subscription': async (client) => {
    const a = client()
    const ch = unique() + '/c'
    const one = []
    const two = []
    const s1 = a.subscribe(ch, (m) => one.push(m))
    const f2 = (m) => two.push(m)
    await s1
    await a.subscribe(ch, f2)
    await a.publish(ch, 1)
    await until(() => one.length && two.length)
    s1.cancel()
    await a.publish(ch, 2)
    await until(() => two.length === 2)
    a.unsubscribe(ch, f2)
    await settled(a)
    await a.publish(ch, 3)
    await settled(a)
    assert.deepEqual([one, two], [[1], [1, 2]])
  },
  'extensions see what goes and comes, and may drop it': async (client) => {
    const a = client()
    const ch = unique() + '/e'
    const seen = []
    const x = {
      added (c) { assert.equal(c, a) },
      outgoing (m, next) { seen.push('>' + m.channel); setTimeout(next, 1, m) },
      incoming (m, next) { if (m.data !== 'no') next(m) }
    }
    a.addExtension(x)
    const got = []
    await a.subscribe(ch, (m) => got.push(m))
    await a.publish(ch, 'no')
    await a.publish(ch, 'yes')
    await until(() => got.length)
    a.removeExtension(x)
    const n = seen.length
    await a.publish(ch, 'more')
    await until(() => got.length === 2)
    assert.deepEqual(got, ['yes', 'more'])
    assert.equal(seen.length, n)
    assert.ok(seen.includes('>/meta/handshake') && seen.includes('>' + ch))
  },
  'publishes of one tick keep their order': async (client) => {
    const a = client()
    const ch = unique() + '/o'
    const got = []
    await a.subscribe(ch, (m) => got.push(m))
    for (let i = 0; i < 300; i++) a.publish(ch, i)
    await until(() => got.length === 300)
    assert.deepEqual(got, Array.from({ length: 300 }, (_, i) => i))
  },
  'disconnect is kept and final': async (client) => {
    const a = client()
    const ch = unique() + '/d'
    const got = []
    await a.subscribe(ch, (m) => got.push(m))
    await a.disconnect()
    await client().publish(ch, 1)
    assert.equal(a.getState(), 'DISCONNECTED')
    assert.deepEqual(got, [])
    await assert.rejects(a.publish(ch, 2).then(), { message: 'Disconnected' })
  }
}

for (const [name, run] of Object.entries(plain)) {
  both(name, (f, client, transport) => run(client, transport))
  if (!process.env.GOBELIN) continue
  for (const transport of ['websocket', 'long-polling']) {
    test(`${name}, ${transport}, GOBELIN`, { timeout: 20000 }, async () => {
      try {
        await run((options) => make(process.env.GOBELIN, transport, options), transport)
      } finally { for (const c of clients.splice(0)) c._stop() }
    })
  }
}

both('a broken link: the session goes on, and the page is told', async (f, client) => {
  const a = client()
  const events = []
  a.on('transport:down', () => events.push('down'))
  a.bind('transport:up', () => events.push('up'))
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  await a.publish('/x/y', 1)
  await until(() => got.length === 1)
  await until(() => f.held())
  f.cut()
  await until(() => events.includes('down'))
  f.deliver('/x/y', 2)
  await until(() => got.length === 2)
  await until(() => events.length === 3, () => events.join())
  assert.deepEqual(got, [1, 2])
  assert.deepEqual(events, ['up', 'down', 'up'])
  assert.equal(f.of('/meta/handshake').length, 1)
  assert.equal(f.of('/meta/subscribe').length, 1)
})

both('a lost session: subscribed again, the past not shown twice', async (f, client) => {
  for (let i = 0; i < 3; i++) f.deliver('/x/y', i)
  const a = client()
  const live = []
  const past = []
  await a.subscribe('/x/y', (m) => live.push(m))
  await a.subscribe('/x/y/catchup/6h', (m) => past.push(m))
  await until(() => past.length === 3)
  f.deliver('/x/y', 3)
  await until(() => live.length === 1)
  f.forget()
  f.deliver('/x/y', 4) // only the replay has it
  f.cut()
  await until(() => live.length === 2)
  f.deliver('/x/y', 5)
  await until(() => live.length === 3)
  await settled(a)
  assert.deepEqual([past, live], [[0, 1, 2], [3, 4, 5]])
  assert.equal(f.of('/meta/handshake').length, 2)
  const subs = f.of('/meta/subscribe')
  assert.deepEqual(subs.slice(2).map((m) => m.subscription), ['/x/y/catchup/9876543n', '/x/y'])
  assert.equal(subs[2].ext.catchup.after, idOf(3))

  // A new listener is shown the whole past, the old one nothing twice.
  const again = []
  await a.subscribe('/x/y/catchup/6h', (m) => again.push(m))
  await until(() => again.length === 6)
  assert.equal(past.length, 3)
})

both('a lost session: a live channel is mended from its history', async (f, client) => {
  f.deliver('/x/y', 'before it subscribed')
  const a = client()
  const got = []
  const later = []
  await a.subscribe('/x/y', (m) => got.push(m))
  await a.subscribe('/x/plain', (m) => got.push(m))
  f.deliver('/x/y', 0)
  f.send({ channel: '/x/plain', data: 'no history' })
  await until(() => got.length === 2)
  f.forget()
  f.deliver('/x/y', 1)
  f.deliver('/x/y', 2)
  f.cut()
  await until(() => got.length === 4)
  await a.subscribe('/x/*', (m) => later.push(m))
  f.deliver('/x/y', 3)
  await until(() => got.length === 5 && later.length === 1)
  assert.deepEqual([got, later], [[0, 'no history', 1, 2, 3], [3]])
  const subs = f.of('/meta/subscribe')
  assert.deepEqual(subs.slice(2).map((m) => m.subscription), ['/x/y/catchup/9876543n', '/x/y', '/x/plain', '/x/*'])
  assert.equal(subs[2].ext.catchup.after, idOf(1))
})

both('a lost session: what a channel missed that had been quiet', async (f, client) => {
  f.deliver('/x/y', 'before')
  const a = client()
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  f.forget()
  f.deliver('/x/y', 'missed')
  f.cut()
  await until(() => got.length === 1)
  await settled(a)
  assert.deepEqual(got, ['missed'])
})

both('a past that breaks off goes on where it was, and says when it is complete', async (f, client) => {
  for (let i = 0; i < 6; i++) f.deliver('/x/y', i)
  f.most = 2 // of a replay, then it stalls
  const a = client()
  const got = []
  const s = a.subscribe('/x/y/catchup/6h', (m) => got.push(m))
  let complete = null
  s.complete.then((c) => { complete = c })
  await until(() => got.length === 2 && s.catchup)
  assert.equal(s.catchup.messages, 6)
  assert.equal(complete, null)
  f.forget()
  f.cut()
  await until(() => got.length === 4)
  assert.equal(complete, null)
  f.deliver('/x/y', 6)
  f.most = Infinity
  f.forget()
  f.cut()
  await until(() => complete)
  assert.deepEqual(got, [0, 1, 2, 3, 4, 5, 6])
  assert.deepEqual(f.of('/meta/subscribe').map((m) => m.ext && m.ext.catchup.after), [undefined, idOf(1), idOf(3)])
  // Whole, it is asked for what came since, under the same listener.
  f.forget()
  f.deliver('/x/y', 7)
  f.cut()
  await until(() => got.length === 8)
  assert.equal(got[7], 7)
})

both('mending is tried again while the server cannot', async (f, client) => {
  f.deliver('/x/y', 0)
  const a = client()
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  f.deliver('/x/y', 1)
  await until(() => got.length === 1)
  let refused = 0
  f.hook = (m, r) => { if (m.channel === '/meta/subscribe' && refused++ < 2) Object.assign(r, { successful: false, error: '503::Service unavailable', ext: undefined }) }
  f.forget()
  f.deliver('/x/y', 2)
  f.deaf = () => refused < 2 // nothing is replayed by a refused one
  f.cut()
  await until(() => got.length === 2)
  assert.deepEqual(got, [1, 2])
})

both('with acks the next connect says what came', async (f, client) => {
  const a = client({ ack: true })
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  for (let i = 0; i < 3; i++) { await a.publish('/x/y', i); await until(() => got.length === i + 1) }
  assert.equal(f.of('/meta/handshake')[0].ext.ack, true)
  const said = () => f.of('/meta/connect').map((m) => m.ext.ack)
  f.hold = 20
  await until(() => said().some((n) => n > 1))
  assert.deepEqual(said(), [...said()].sort((x, y) => x - y))
  // A server without them is not told.
  f.acks = false
  const b = client({ ack: true })
  const from = f.of('/meta/connect').length
  await b.publish('/x/y', 3)
  await until(() => f.of('/meta/connect').slice(from).some((m) => m.clientId === [...f.sessions.keys()].at(-1)))
  assert.equal(f.of('/meta/connect').filter((m) => m.clientId === [...f.sessions.keys()].at(-1) && m.ext).length, 0)
})

both('a server without a past is told apart', async (f, client) => {
  f.plain = true
  await assert.rejects(client().catchUp('/x/y', '1h'), { code: 404, message: 'Catch-up not supported' })
})

test('callback-polling: where fetch is refused, scripts are asked', { timeout: 20000 }, async () => {
  const f = new Fake()
  f.upgrades = false
  await f.start()
  const { fetch, location, document } = globalThis
  const scripts = []
  // A page from disk: fetch is blocked, a script element is not.
  globalThis.fetch = async () => { throw new TypeError('Failed to fetch') }
  globalThis.location = { href: 'file:///late.html', origin: 'null' }
  globalThis.document = {
    createElement: () => ({ remove () { this.gone = true } }),
    head: {
      appendChild (s) {
        scripts.push(s)
        fetch(s.src).then((r) => r.text()).then((text) => (0, eval)(text)).catch(() => s.onerror())
      }
    }
  }
  const a = make(f.url, 'websocket')
  try {
    const got = []
    await a.subscribe('/x/y', (m) => got.push(m))
    assert.equal(a.transport, 'callback-polling')
    for (let i = 0; i < 60; i++) a.publish('/x/y', { i, text: 'x y\u2028'.repeat(20) })
    await until(() => got.length === 60)
    assert.deepEqual(got.map((m) => m.i), Array.from({ length: 60 }, (_, i) => i))
    assert.ok(scripts.every((s) => s.src.length < 14000))
    await assert.rejects(a.publish('/x/y', 'x'.repeat(20000)).then(), { code: 413, params: ['callback-polling'] })
    await until(() => f.held())
    f.cut()
    await until(() => a.transport === null)
    f.deliver('/x/y', { i: 'again' })
    await until(() => got.length === 61)
    assert.equal(Object.keys(globalThis).filter((k) => /^gobelin[a-z0-9]{6,}$/.test(k)).length <= 2, true)
  } finally { a._stop(); Object.assign(globalThis, { fetch, location, document }); await f.stop() }
})

test('the module has the same client', async () => {
  const m = await import(pathToFileURL(path.join(dir, 'client.mjs')))
  assert.deepEqual(Object.keys(m).sort(), ['Client', 'Error', 'Subscription', 'VERSION', 'default'])
  assert.equal(globalThis.Faye, undefined)
  const names = (c) => Object.getOwnPropertyNames(c.prototype)
  assert.deepEqual(names(m.Client), names(Faye.Client))
  assert.equal(m.default.Client, m.Client)
})

test('listeners come and go under all names', () => {
  const a = new Faye.Client('http://127.0.0.1:1/faye')
  const heard = []
  const f = (x) => heard.push('f' + x)
  a.on('e', f).addListener('e', function (x) { heard.push(this + x) }, 'ctx')
  a.once('e', f)
  assert.equal(a.countListeners('e'), 3)
  a.trigger('e', 1)
  a.trigger('e', 2)
  assert.deepEqual(heard, ['f1', 'ctx1', 'f1', 'f2', 'ctx2'])
  a.once('e', f)
  a.off('e', f)
  assert.equal(a.countListeners('e'), 1)
  a.removeAllListeners()
  assert.equal(a.countListeners('e'), 0)
  a.bind('e', f).removeListener('e', f).trigger('e', 3)
  a.bind('e', f).unbind('e').trigger('e', 4)
  assert.equal(heard.length, 5)
})

both('catchUp gives the whole past', async (f, client) => {
  for (let i = 0; i < 5; i++) f.deliver('/x/y', i)
  const a = client()
  assert.deepEqual(await a.catchUp('/x/y', '12h'), [0, 1, 2, 3, 4])
  assert.deepEqual(await a.catchUp('/x/none', '12h'), [])
  assert.deepEqual(await a.catchUp('/x/y', '12h'), [0, 1, 2, 3, 4])
  await assert.rejects(a.catchUp('/forbidden/y', '12h'), { code: 403 })
})

both('a publish is sent again with its id', async (f, client) => {
  const a = client()
  await new Promise((resolve) => a.connect(resolve))
  let n = 0
  f.hook = (m) => (m.channel === '/x/y' && ++n === 1 ? 'cut' : undefined)
  await a.publish('/x/y', 1)
  const sent = f.of('/x/y')
  assert.equal(sent.length, 2)
  assert.deepEqual(sent[0], sent[1])
  assert.equal(f.history.get('/x/y').length, 1)
})

both('a publish answered "unknown client" goes to the next session', async (f, client) => {
  const a = client()
  await a.publish('/x/y', 0)
  f.forget()
  await a.publish('/x/y', 1)
  assert.equal(f.history.get('/x/y').length, 2)
  assert.equal(f.of('/meta/handshake').length, 2)
})

both('a page put aside ends its session, and goes on when it is shown again', async (f, client) => {
  const listeners = {}
  globalThis.addEventListener = (name, l) => { listeners[name] = l }
  let a
  try { a = client() } finally { delete globalThis.addEventListener }
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  f.deliver('/x/y', 1)
  await until(() => got.length === 1)
  listeners.pagehide({ persisted: true })
  await until(() => f.of('/meta/disconnect').length === 1)
  assert.equal(f.sessions.size, 0)
  f.deliver('/x/y', 2)
  listeners.pageshow({ persisted: true })
  await until(() => got.length === 2)
  await a.publish('/x/y', 3)
  await until(() => got.length === 3)
  assert.deepEqual(got, [1, 2, 3])
  listeners.pagehide({ persisted: false })
  await until(() => f.of('/meta/disconnect').length === 2)
  assert.equal(a.getState(), 'DISCONNECTED')
})

both('attempts and deadline end a publish', async (f, client) => {
  const a = client()
  await new Promise((resolve) => a.connect(resolve))
  f.hook = (m) => (m.channel === '/x/y' ? 'cut' : undefined)
  await assert.rejects(a.publish('/x/y', 1, { attempts: 2 }).then())
  assert.equal(f.of('/x/y').length, 2)
  f.hook = (m) => (m.channel === '/x/z' ? 'swallow' : undefined)
  await assert.rejects(a.publish('/x/z', 1, { deadline: 0.05 }).then(), { message: 'Timeout' })
})

both('repeats are dropped, never what is older', async (f, client) => {
  const a = client()
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  for (const n of [5, 9, 5, 7, 9, 8, 6, 7]) f.send({ channel: '/x/y', id: idOf(n), data: n })
  for (let i = 0; i < 2; i++) f.send({ channel: '/x/y', id: '1', data: 'plain' })
  f.send({ channel: '/x/y', id: idOf(5, 8), data: 'other epoch' })
  await until(() => got.includes('other epoch'))
  assert.deepEqual(got, [5, 9, 7, 8, 6, 'plain', 'plain', 'other epoch'])
})

both('a refused handshake: none ends it, and all that waits', async (f, client) => {
  f.hook = (m, r) => { if (m.channel === '/meta/handshake') Object.assign(r, { successful: false, error: '403::Bad token', advice: { reconnect: 'none' } }) }
  const a = client()
  const s = a.subscribe('/x/y')
  await assert.rejects(a.publish('/x/y', 1).then(), { code: 403, message: 'Bad token' })
  await assert.rejects(s.then(), { code: 403 })
  assert.equal(a.getState(), 'DISCONNECTED')
  assert.equal(f.of('/meta/handshake').length, 1)
})

both('a refused handshake is tried again, not at once', async (f, client) => {
  const at = []
  f.hook = (m, r) => {
    if (m.channel !== '/meta/handshake') return
    at.push(Date.now())
    if (at.length < 3) Object.assign(r, { successful: false, error: '503::Service unavailable', advice: { reconnect: 'handshake', interval: 200 } })
  }
  const a = client()
  await a.subscribe('/x/y')
  assert.equal(at.length, 3)
  assert.ok(at[1] - at[0] >= 195 && at[2] - at[1] >= 195, 'interval not kept')
})

test('without WebSocket upgrades it goes on by long-polling', { timeout: 20000 }, async () => {
  const f = new Fake()
  f.upgrades = false
  await f.start()
  const a = make(f.url, 'websocket')
  try {
    a.setHeader('X-Mark', 'here')
    await a.publish('/x/y', 1)
    assert.equal(a.transport, 'long-polling')
    assert.equal(f.requests[0].headers['x-mark'], 'here')
    assert.equal(f.requests[0].headers['content-type'], 'application/json')
  } finally { a._stop(); await f.stop() }
})

both('a server that was away is found again', async (f, client) => {
  const a = client()
  const got = []
  await a.subscribe('/x/y', (m) => got.push(m))
  await f.stop()
  f.forget()
  await until(() => a.transport === null)
  await f.start(f.port)
  const timer = setInterval(() => f.deliver('/x/y', 'again'), 20)
  try { await until(() => got.length) } finally { clearInterval(timer) }
  await a.disconnect()
})

test('history.js drops what was shown, by place and not by age', () => {
  const h = new GobelinHistory()
  const shown = []
  const m = (channel, n, epoch) => ({ channel, data: n, ext: { history: { id: idOf(n, epoch), ts: 1 } } })
  const come = (x) => h.incoming(x, (y) => { if (y) shown.push(`${y.channel} ${y.data}`) })
  const f = (x, want) => { shown.length = 0; come(x); assert.deepEqual(shown, want ? [`${x.channel} ${x.data}`] : []) }
  f(m('/a/catchup/6h', 9), true)
  f(m('/a', 9), false)
  f(m('/a', 4), true)
  f(m('/a', 5), true)
  f(m('/a/catchup/6h', 3), true)
  for (const n of [3, 4, 5, 9]) f(m('/a/catchup/1h', n), false)
  f(m('/b', 9), true)
  f(m('/a', 9, 8), true)
  f({ channel: '/a', data: 'no id' }, true)
  f({ channel: '/a', data: 'no id' }, true)
  f({ channel: '/a', data: 1, ext: { history: { id: 7 } } }, true)
  // As many as one likes: ranges stay few.
  for (let n = 100; n < 5000; n++) f(m('/long', n), true)
  for (let n = 100; n < 5000; n++) f(m('/long', n), false)
  // Whoever leaves the catch-up may ask for it again.
  h.outgoing({ channel: '/meta/unsubscribe', subscription: '/a/catchup/6h' }, () => {})
  f(m('/a/catchup/6h', 9), true)
  f(m('/b', 9), false)
  // A reply is not looked at.
  let passed = 0
  h.incoming({ channel: '/meta/connect', successful: true }, (y) => { passed += y ? 1 : 0 })
  assert.equal(passed, 1)
})

for (const [name, remembering] of [['client.js', () => new Faye.Seen()], ['history.js', () => new GobelinHistory()]]) {
  test(`what ${name} remembers agrees with a plain set`, () => {
    let seed = 12345
    const rand = (n) => { seed = (seed * 1103515245 + 12345) % 2 ** 31; return (seed >> 8) % n }
    const r = remembering()
    const model = new Set()
    for (let i = 0; i < 20000; i++) {
      const channel = `/c${rand(3)}`
      const id = idOf(rand(2) * 2 ** 40 + rand(200), rand(2))
      assert.equal(r.take(channel, id), !model.has(channel + id), `${channel} ${id}`)
      model.add(channel + id)
    }
    assert.ok(model.size > 1000)
  })
}
