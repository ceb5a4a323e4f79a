// The client the broker serves, in Node, against the client scenarios of the
// conformance suite, and where the stock client repeats itself.
import assert from 'node:assert/strict'
import vm from 'node:vm'
import { before, describe, test } from 'node:test'
import { Broker, WireSocket, atEnd, range, settled, until } from './lib.mjs'
import { run } from './scenarios.mjs'

// Loads /faye/client.js as CommonJS, with the WebSocket a browser has.
const load = async (broker) => {
  const r = await fetch(broker.url + '/client.js')
  assert.equal(r.status, 200)
  const module = { exports: {} }
  globalThis.WebSocket ??= WireSocket
  vm.runInThisContext(`(function (module, exports) {${await r.text()}\n})`, { filename: 'client.js' })(module, module.exports)
  return module.exports
}

describe('our client', { concurrency: 6 }, () => {
  const its = run((url, options, transport) => {
    const c = new Faye.Client(url, options)
    if (transport === 'long-polling') c.disable('websocket')
    c.disable('autodisconnect')
    return c
  })
  let Faye
  before(async () => { Faye = await load(its.broker) })

  const make = (t, transport = 'websocket') => {
    const c = new Faye.Client(its.broker.url, { retry: 0.5 })
    if (transport === 'long-polling') { c.disable('websocket') }
    c.disable('autodisconnect')
    atEnd(t, () => settled(c.disconnect(), 'disconnect', 500).catch(() => {}))
    return c
  }

  for (const transport of ['websocket', 'long-polling']) {
    test(`past, then future, once each, ${transport}`, async (t) => {
      const channel = '/ours/' + transport
      const writer = make(t)
      for (const n of range(50)) await settled(writer.publish(channel, n), 'publish')
      const got = []
      const subs = make(t, transport).subscribe([channel, channel + '/catchup/1h'], (n) => got.push(n))
      for (const s of subs) await settled(s, 'acknowledged')
      for (const n of range(50)) await settled(writer.publish(channel, n + 50), 'publish')
      await until(() => got.includes(99), 'the last one')
      assert.deepEqual(got, range(100))
    })
  }

  test('after a broker restart nothing comes twice and nothing is missing', async (t) => {
    const broker = await Broker.dev(t)
    const c = new Faye.Client(broker.url, { retry: 0.3 })
    c.disable('autodisconnect')
    atEnd(t, () => settled(c.disconnect(), 'disconnect', 500).catch(() => {}))
    const channel = '/ours/restart'
    const got = []
    const say = async (n) => {
      const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel, data: n }]) })
      assert.equal((await r.json())[0].successful, true)
    }
    for (const n of range(20)) await say(n)
    for (const s of c.subscribe([channel, channel + '/catchup/1h'], (n) => got.push(n))) await settled(s, 'acknowledged')
    await until(() => got.length === 20, 'the past')
    await broker.kill()
    await broker.start()
    for (const n of range(20)) await say(n + 20)
    await until(() => got.length >= 40, () => 'what was said meanwhile: ' + got.length, 30000)
    await say('end')
    await until(() => got.includes('end'), 'the last one')
    assert.deepEqual(got, [...range(40), 'end'])
  })
})
