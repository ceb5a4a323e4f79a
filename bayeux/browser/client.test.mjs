// Run by browser_test.go with node's own test runner. With GOBELIN=<url> the
// conversations that need no misbehaving server run against that one too.
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { Fake, idOf } from './fake.mjs'

const require = createRequire(import.meta.url)
const Faye = require('./client.js')
const GobelinHistory = require('./history.js')

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
  await until(() => past.length === 4)
  f.deliver('/x/y', 5)
  await until(() => live.length === 2)
  await settled(a)
  assert.deepEqual([past, live], [[0, 1, 2, 4], [3, 5]])
  assert.equal(f.of('/meta/handshake').length, 2)
  const subs = f.of('/meta/subscribe').map((m) => m.subscription)
  assert.deepEqual(subs.slice(2), ['/x/y/catchup/6h', '/x/y'])

  // A new listener is shown the whole past, the old one nothing twice.
  const again = []
  await a.subscribe('/x/y/catchup/6h', (m) => again.push(m))
  await until(() => again.length === 6)
  assert.equal(past.length, 4)
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
  const subs = f.of('/meta/subscribe').map((m) => m.subscription)
  assert.match(subs[2], /^\/x\/y\/catchup\/6[0-9]s$/)
  assert.deepEqual(subs.slice(3), ['/x/y', '/x/plain', '/x/*'])
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
