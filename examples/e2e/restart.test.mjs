// kill -9 and a new start on the same folder: what was acknowledged is there.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import vm from 'node:vm'
import { Broker, collect, range, settled, until } from './lib.mjs'

test('kill -9 under publishers: every acknowledged message is replayed, in order, once', async (t) => {
  const broker = await Broker.dev(t)
  const channel = '/torn/x'
  let cut = false
  const acknowledged = []
  // Plain HTTP: a request without an answer is not sent again, so what is kept
  // beyond the acknowledged can only be the one that was under way.
  const publishers = range(4).map(async (p) => {
    for (let n = 0; !cut; n++) {
      try {
        const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel, data: { p, n } }]) })
        const [reply] = await r.json()
        if (reply.successful) acknowledged.push(p + ':' + n)
        else throw new Error(reply.error)
      } catch (e) {
        if (cut) return
        throw e
      }
    }
  })
  const listener = broker.client(t)
  const live = await collect(listener, [channel, channel + '/catchup/1h'])
  await until(() => acknowledged.length >= 400, 'messages are acknowledged')
  cut = true
  await broker.kill()
  await Promise.all(publishers)
  await broker.start()

  const past = await collect(broker.client(t), channel + '/catchup/1h')
  await until(() => past.length >= acknowledged.length, () => `${past.length} of ${acknowledged.length}`)
  await settled(broker.client(t).publish(channel, { p: 'end', n: 0 }), 'publishing goes on')
  const again = await collect(broker.client(t, 'long-polling'), channel + '/catchup/1h')
  await until(() => again.some(([, d]) => d.p === 'end'), 'a second history')
  const keys = again.map(([, d]) => d.p + ':' + d.n)
  assert.equal(new Set(keys).size, keys.length, 'nothing twice')
  const kept = new Set(keys)
  assert.deepEqual(acknowledged.filter((k) => !kept.has(k)), [], 'nothing acknowledged is lost')
  assert.ok(keys.length - 1 <= acknowledged.length + publishers.length, 'nothing is made up')
  for (const p of range(4)) {
    const of = again.filter(([, d]) => d.p === p).map(([, d]) => d.n)
    assert.deepEqual(of, range(of.length), 'publisher ' + p + ' in order')
  }
  // The one that was there all along reconnects by itself and has it all too.
  await until(() => { const got = new Set(live.map(([, d]) => d.p + ':' + d.n)); return keys.every((k) => got.has(k)) }, 'the listener caught up', 30000)
})

test('a stock client with /faye/history.js gets nothing twice across a restart', async (t) => {
  const broker = await Broker.dev(t)
  const r = await fetch(broker.url + '/history.js')
  assert.equal(r.status, 200)
  const module = { exports: {} }
  vm.runInThisContext(`(function (module, exports) {${await r.text()}\n})`)(module, module.exports)
  const say = async (n) => {
    const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel: '/seen/x', data: n }]) })
    assert.equal((await r.json())[0].successful, true)
  }
  const c = broker.client(t)
  c.addExtension(new module.exports())
  for (const n of range(10)) await say(n)
  const got = await collect(c, ['/seen/x', '/seen/x/catchup/1h'])
  await until(() => got.length === 10, 'the past')
  await broker.kill()
  await broker.start()
  for (const n of range(10)) await say(n + 10)
  await until(() => got.length >= 20, () => `what was said meanwhile: ${got.length}`, 30000)
  await say('end')
  await until(() => got.some(([, d]) => d === 'end'), 'the last one')
  assert.deepEqual(got.map(([, d]) => d), [...range(20), 'end'])
})

test('a graceful stop and start: the history of a signed channel and its root survive', async (t) => {
  const broker = await Broker.serve(t)
  const { view } = await broker.object('keeps')
  for (const n of range(5)) await broker.comment('keeps', String(n))
  await broker.stop()
  await broker.start()
  const { view: same } = await broker.object('keeps')
  assert.equal(same, view)
  const past = await collect(broker.client(t), view + '/all_json/catchup/1h')
  await until(() => past.length === 5, 'the past')
  assert.deepEqual(past.map(([, d]) => d.content_text), range(5).map(String))
})

// Live only, without any extension: the session itself outlives the process.
for (const transport of ['websocket', 'long-polling']) {
  test(`kill -9 under a live ${transport} subscriber: no handshake, nothing lost, repeats in order`, async (t) => {
    const broker = await Broker.dev(t)
    const say = async (n) => {
      const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel: '/on/x', data: n }]) })
      assert.equal((await r.json())[0].successful, true)
    }
    const c = broker.client(t, transport)
    let handshakes = 0
    c.addExtension({ outgoing (m, done) { if (m.channel === '/meta/handshake') handshakes++; done(m) } })
    const got = await collect(c, '/on/x')
    for (const n of range(10)) await say(n)
    await until(() => got.length === 10, 'live')
    await broker.kill()
    await broker.start()
    for (const n of range(10)) await say(n + 10)
    await until(() => got.some(([, n]) => n === 19), 'what was said after the restart', 30000)
    assert.equal(handshakes, 1, 'the session went on')
    const first = []
    for (const [, n] of got) if (!first.includes(n)) first.push(n)
    assert.deepEqual(first, range(20), 'all of it, in order')
    const again = got.slice(10).map(([, n]) => n)
    assert.deepEqual(again, range(20).slice(20 - again.length), 'what comes twice comes before what is new')
  })
}
