// CometD's own client, unmodified, with all its extensions.
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import net from 'node:net'
import { createRequire } from 'node:module'
import { before, describe, test } from 'node:test'
import { Broker, atEnd, collect, range, settled, shared, until } from './lib.mjs'

const require = createRequire(import.meta.url)
const TRANSPORTS = ['websocket', 'long-polling']

let cometd
before(async () => {
  require('cometd-nodejs-client').adapt()
  cometd = await import('cometd')
})

// A CometD client and call(), which turns its callbacks into promises.
const join = async (t, url, transport, { extensions = {}, ackEnabled = true, configure = {} } = {}) => {
  const c = new cometd.CometD()
  for (const name of ['websocket', 'long-polling', 'callback-polling']) if (name !== transport) c.unregisterTransport(name)
  for (const [name, extension] of Object.entries(extensions)) c.registerExtension(name, extension)
  c.configure({ url, logLevel: 'error', maxNetworkDelay: 3000, backoffIncrement: 100, ...configure })
  c.ackEnabled = ackEnabled
  atEnd(t, () => settled(new Promise((resolve) => { c.isDisconnected() ? resolve() : c.disconnect(resolve) }), 'disconnect', 1000).catch(() => {}))
  const call = (what, ...args) => settled(new Promise((resolve, reject) => c[what](...args, (r) => r.successful ? resolve(r) : reject(Object.assign(new Error(JSON.stringify(r)), { reply: r })))), what)
  return { c, call, hello: () => settled(new Promise((resolve, reject) => c.handshake((r) => r.successful ? resolve(r) : reject(new Error(JSON.stringify(r))))), 'handshake') }
}

// A way to the broker that can be cut.
const way = async (t, port) => {
  const pairs = new Set()
  const server = net.createServer((a) => {
    const b = net.connect(port, '127.0.0.1')
    const pair = [a, b]
    pairs.add(pair)
    for (const s of pair) { s.on('error', () => {}); s.on('close', () => { pairs.delete(pair); a.destroy(); b.destroy() }) }
    a.pipe(b)
    b.pipe(a)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => { for (const [a, b] of pairs) { a.resetAndDestroy(); b.destroy() } }
  atEnd(t, () => new Promise((resolve) => { server.close(resolve); cut() }))
  return { port: server.address().port, cut }
}

describe('CometD\'s client', () => {
  const its = shared(Broker.dev)
  const channel = () => '/demo/c' + crypto.randomInt(1e12)

  for (const transport of TRANSPORTS) {
    test(`handshake, batch, publish, subscribe, disconnect, ${transport}`, async (t) => {
      const name = channel()
      const { c, call, hello } = await join(t, its.broker.url, transport)
      const shaken = await hello()
      assert.equal(shaken.advice.reconnect, 'retry')
      const got = []
      const acks = []
      const sub = await new Promise((resolve) => { const s = c.subscribe(name, (m) => got.push(m), () => resolve(s)) })
      c.batch(() => { for (const n of range(10)) c.publish(name, { n }, (r) => acks.push(r.successful)) })
      await until(() => got.length === 10 && acks.length === 10, 'ten messages and their replies')
      assert.deepEqual(got.map((m) => m.data.n), range(10))
      assert.ok(got.every((m) => typeof m.id === 'string' && m.id.length === 26), 'the broker\'s own ids')
      assert.ok(acks.every(Boolean))
      // Faye's client and CometD's hear each other.
      const faye = its.broker.client(t, transport)
      const heard = await collect(faye, name)
      await settled(faye.publish(name, { n: 10 }), 'publish')
      await until(() => got.length === 11, 'Faye to CometD')
      await call('publish', name, { n: 11 })
      await until(() => heard.length === 2 && got.length === 12, 'CometD to Faye, and to itself')
      await new Promise((resolve) => c.unsubscribe(sub, resolve))
      await call('publish', name, { n: 12 })
      await until(() => heard.length === 3, 'to Faye alone')
      assert.equal(got.length, 12, 'nothing more after unsubscribing')
      const gone = await new Promise((resolve) => c.disconnect(resolve))
      assert.equal(gone.successful, true, 'and not refused because its held connect was released')
    })

    test(`a refusal is told in words, ${transport}`, async (t) => {
      const { c, call, hello } = await join(t, its.broker.url, transport)
      await hello()
      const e = await call('publish', '/demo/a.b', 1).then(() => assert.fail('accepted'), (e) => e)
      assert.equal(e.reply.error, '405:/demo/a.b:Invalid channel')
      const r = await new Promise((resolve) => c.subscribe('/demo/a.b', () => {}, resolve))
      assert.deepEqual([r.successful, r.subscription, r.error], [false, '/demo/a.b', '405:/demo/a.b:Invalid channel'])
    })

    test(`catch-up and live, ${transport}`, async (t) => {
      const name = channel()
      const { c, call, hello } = await join(t, its.broker.url, transport, { extensions: { ack: new cometd.AckExtension() } })
      await hello()
      for (const n of range(300)) await call('publish', name, n)
      const got = []
      c.batch(() => { c.subscribe(name, (m) => got.push(m.data)); c.subscribe(name + '/catchup/1h', (m) => got.push(m.data)) })
      for (const n of range(50)) await call('publish', name, 300 + n)
      await until(() => got.length >= 350, 'past and live')
      assert.deepEqual(got, range(350))
    })

    test(`ack: nothing is lost or comes twice on a link that is cut, ${transport}`, async (t) => {
      const name = channel()
      const link = await way(t, its.broker.port)
      const { c, hello } = await join(t, `http://127.0.0.1:${link.port}/faye`, transport, { extensions: { ack: new cometd.AckExtension() } })
      const shaken = await hello()
      assert.equal(shaken.ext.ack, true)
      const got = []
      await new Promise((resolve) => c.subscribe(name, (m) => got.push(m.data), resolve))
      let shaken2 = 0
      c.addListener('/meta/handshake', () => shaken2++)
      const publisher = its.broker.client(t, 'websocket')
      for (const n of range(400)) {
        await settled(publisher.publish(name, n), 'publish')
        if (n % 40 === 20) link.cut()
      }
      await until(() => got.length >= 400, () => `got ${got.length}`, 30000)
      assert.deepEqual(got, range(400))
      assert.equal(shaken2, 0, 'the session lived on')
    })

    test(`ack: what was queued before the first connect comes once, ${transport}`, async (t) => {
      const name = channel()
      const { c, hello } = await join(t, its.broker.url, transport, { extensions: { ack: new cometd.AckExtension() } })
      const got = []
      c.addListener('/meta/handshake', () => c.batch(() => {
        c.subscribe(name, (m) => got.push(m.data))
        for (const n of range(5)) c.publish(name, n)
      }))
      await hello()
      await until(() => got.length === 5, 'five')
      assert.deepEqual(got, range(5))
    })

    test(`ack disabled by the client, ${transport}`, async (t) => {
      const { hello } = await join(t, its.broker.url, transport, { extensions: { ack: new cometd.AckExtension() }, ackEnabled: false })
      assert.equal((await hello()).ext?.ack, undefined)
    })

    test(`timesync and timestamp, ${transport}`, async (t) => {
      const timesync = new cometd.TimeSyncExtension()
      const { c, call, hello } = await join(t, its.broker.url, transport, { extensions: { timesync, timestamp: new cometd.TimeStampExtension() } })
      const shaken = await hello()
      assert.match(shaken.timestamp, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d$/)
      const sent = []
      c.registerExtension('probe', { outgoing (m) { sent.push(m); return m }, incoming (m) { return m } })
      await new Promise((resolve) => c.subscribe(channel(), () => {}, resolve))
      await call('publish', channel(), 1)
      assert.ok(sent.some((m) => m.timestamp))
      assert.ok(Math.abs(timesync.getTimeOffset()) < 1000, `offset ${timesync.getTimeOffset()}`)
      assert.ok(timesync.getNetworkLag() < 2000, `lag ${timesync.getNetworkLag()}: the hold of a connect is none`)
    })

    test(`binary, ${transport}`, async (t) => {
      const name = channel()
      const options = { extensions: { binary: new cometd.BinaryExtension() } }
      const [a, b] = [await join(t, its.broker.url, transport, options), await join(t, its.broker.url, transport, { extensions: { binary: new cometd.BinaryExtension() } })]
      await a.hello()
      await b.hello()
      const bytes = crypto.randomBytes(4096)
      const got = []
      await new Promise((resolve) => b.c.subscribe(name, (m) => got.push(m.data), resolve))
      await settled(new Promise((resolve) => a.c.publishBinary(name, bytes, true, { name: 'noise' }, resolve)), 'publish')
      await until(() => got.length === 1, 'the bytes')
      assert.deepEqual(Buffer.from(got[0].data), bytes)
      assert.deepEqual([got[0].last, got[0].meta], [true, { name: 'noise' }])
    })

    test(`reload: the next page goes on with the session, ${transport}`, async (t) => {
      const name = channel()
      // What a browser keeps for a tab.
      const kept = new Map()
      globalThis.window.sessionStorage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, String(v)), removeItem: (k) => kept.delete(k) }
      const page = () => join(t, its.broker.url, transport, { extensions: { ack: new cometd.AckExtension(), reload: new cometd.ReloadExtension() } })
      const first = await page()
      const shaken = await first.hello()
      const got = []
      await new Promise((resolve) => first.c.subscribe(name, (m) => got.push(m.data), resolve))
      await first.call('publish', name, 1)
      await until(() => got.length === 1, 'the first page hears')
      first.c.reload()
      // The page goes: its connections end and nothing of it runs any more.
      first.c.getTransport().abort()
      const second = await page()
      const again = await second.hello()
      assert.equal(again.clientId, shaken.clientId)
      assert.equal(again.ext.reload, true)
      await settled(new Promise((resolve) => second.c.subscribe(name, (m) => got.push(m.data), resolve)), 'subscribed again')
      await settled(its.broker.client(t).publish(name, 2), 'publish')
      await until(() => got.includes(2), () => JSON.stringify(got))
      assert.deepEqual(got, [1, 2])
    })
  }
})

// Mounts of libraries that cannot choose theirs, with a version behind (bayeux-cometd.md §0.8).
describe('further mounts', () => {
  const its = shared(Broker.dev, { args: ['--mounts', '/cometd,/bayeux'] })

  for (const transport of TRANSPORTS) {
    for (const mount of ['/cometd', '/cometd/', '/cometd/62.0', '/cometd/replay/36.0/', '/bayeux']) {
      test(`${mount}, ${transport}`, async (t) => {
        // CometD's client adds /handshake, /connect and /disconnect by itself.
        const { c, call, hello } = await join(t, its.broker.base + mount, transport, { configure: { appendMessageTypeToURL: true } })
        await hello()
        const name = '/demo/m' + crypto.randomInt(1e12)
        const got = []
        await new Promise((resolve) => c.subscribe(name, (m) => got.push(m.data), resolve))
        await call('publish', name, 1)
        await until(() => got.length === 1, 'its own message')
        await settled(its.broker.client(t).publish(name, 2), 'one from /faye')
        await until(() => got.length === 2, 'the same sessions and channels')
      })
    }
  }
})

// What elastic/bayeux, LMS and Java's clients send and rely on (bayeux-cometd.md §0.7 to §0.9).
describe('on the wire', () => {
  const its = shared(Broker.dev)
  const post = async (body, { path = '', headers = {} } = {}) => {
    const r = await fetch(its.broker.url + path, { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body })
    return { status: r.status, headers: r.headers, text: await r.text() }
  }
  const shake = async () => JSON.parse((await post('[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"id":7}]')).text)[0]

  test('ids keep their type, an absent one stays absent, advice is whole and of integers', async () => {
    const h = await shake()
    assert.strictEqual(h.id, 7)
    assert.deepEqual(Object.entries(h.advice).map(([k, v]) => [k, typeof v]), [['reconnect', 'string'], ['interval', 'number'], ['timeout', 'number']])
    const [c] = JSON.parse((await post(`[{"channel":"/meta/connect","clientId":"${h.clientId}","connectionType":"long-polling","advice":{"timeout":0}}]`)).text)
    assert.ok(!('id' in c) && c.successful)
    assert.deepEqual(Object.keys(c.advice), ['reconnect', 'interval', 'timeout'])
    for (const id of ['"1a"', '1', '1.50', '-3', '12345678901234567890']) {
      const { text } = await post(`[{"channel":"/demo/x","clientId":"${h.clientId}","data":1,"id":${id}}]`)
      assert.ok(text.includes(`"id":${id},`), text)
    }
  })

  test('subscription comes back in the shape it was sent', async () => {
    const h = await shake()
    for (const s of ['"/demo/a"', '["/demo/a"]', '["/demo/a", "/demo/b"]']) {
      const { text } = await post(`[{"channel":"/meta/subscribe","clientId":"${h.clientId}","subscription":${s}}]`)
      assert.ok(text.includes(`"subscription":${s}`), text)
    }
  })

  test('one object as the body, form fields, and what clients put behind the mount', async () => {
    const one = '{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}'
    assert.ok(JSON.parse((await post(one)).text)[0].successful)
    assert.ok(JSON.parse((await post(new URLSearchParams({ message: `[${one}]` }), { headers: { 'Content-Type': 'application/x-www-form-urlencoded' } })).text)[0].successful)
    for (const path of ['/', '/handshake', '/connect', '/disconnect']) assert.equal((await post('[]', { path })).status, 200)
  })

  test('cross-origin requests with credentials', async () => {
    const origin = 'https://shop.example'
    const r = await post('[]', { headers: { Origin: origin } })
    assert.equal(r.headers.get('Access-Control-Allow-Origin'), origin)
    assert.equal(r.headers.get('Access-Control-Allow-Credentials'), 'true')
  })

  test('events come first, the reply to the connect last; the publisher\'s id stays its own', async () => {
    const h = await shake()
    const m = (more) => `{"clientId":"${h.clientId}",${more}}`
    await post(`[${m('"channel":"/meta/subscribe","subscription":"/demo/o"')}]`)
    await post(`[${m('"channel":"/demo/o","data":1,"id":"7"')}]`)
    let all
    // It is fanned out a moment after it is taken.
    await until(async () => {
      all = JSON.parse((await post(`[${m('"channel":"/meta/connect","connectionType":"long-polling","id":"c"')},${m('"channel":"/demo/p","data":2,"id":"8"')}]`)).text)
      return all.length === 3
    }, 'the event')
    assert.deepEqual(all.map((x) => x.successful === undefined ? 'event' : x.channel), ['event', '/demo/p', '/meta/connect'])
    assert.notEqual(all[0].id, '7')
    assert.equal(all[1].id, '8')
  })

  test('an unknown session is told to handshake', async () => {
    const [c] = JSON.parse((await post('[{"channel":"/meta/connect","clientId":"nobody","connectionType":"long-polling"}]')).text)
    assert.deepEqual([c.successful, c.error, c.advice.reconnect], [false, '401:nobody:Unknown client', 'handshake'])
  })
})
