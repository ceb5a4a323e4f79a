// Clients of Salesforce's durable streaming, unmodified, against our history: jsforce,
// and CometD with a replay extension; and CometD's remote calls.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { Broker, atEnd, basic, collect, jwt, part, range, refusal, settled, until } from './lib.mjs'

const require = createRequire(import.meta.url)
const jsforce = require('jsforce')
const { StreamingExtension } = require('jsforce/lib/api/streaming')

const VERSION = '62.0'
// Everything below a mount is the same endpoint, versions included.
const MOUNT = ['--mounts', '/cometd']

const say = async (broker, channel, data) => {
  const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel, data }]) })
  const [reply] = await r.json()
  assert.equal(reply.successful, true, reply.error)
}

// A client as the documentation of jsforce makes it.
const stream = (t, broker, channel, replayId) => {
  const conn = new jsforce.Connection({ instanceUrl: broker.base, accessToken: 'not-looked-at', version: VERSION })
  const denied = []
  const replay = new StreamingExtension.Replay(channel, replayId)
  const client = conn.streaming.createClient([new StreamingExtension.AuthFailure((m) => denied.push(m)), replay])
  atEnd(t, () => part(client))
  return { client, replay, denied }
}

test('jsforce replays -2, a replay id and -1, and hears what is live without a gap', async (t) => {
  const broker = await Broker.dev(t, { args: MOUNT })
  const channel = '/event/Order_Shipped__e'
  for (const n of range(250)) await say(broker, channel, { payload: { n } })

  const all = []
  const first = stream(t, broker, channel, -2)
  await settled(first.client.subscribe(channel, (m) => all.push(m)), 'subscribed with -2')
  await say(broker, channel, { payload: { n: 250 } })
  await until(() => all.length === 251, () => `${all.length} of 251`)
  assert.deepEqual(all.map((m) => m.payload.n), range(251))
  for (const [i, m] of all.entries()) {
    assert.deepEqual(Object.keys(m), ['event', 'payload'], 'event is the first member')
    assert.equal(m.event.replayId, all[0].event.replayId + i)
    assert.ok(Number.isSafeInteger(m.event.replayId))
    assert.match(m.event.createdDate, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  }

  const rest = []
  const second = stream(t, broker, channel, all[99].event.replayId)
  await settled(second.client.subscribe(channel, (m) => rest.push(m.payload.n)), 'subscribed with an id')
  const fresh = []
  const third = stream(t, broker, channel, -1)
  await settled(third.client.subscribe(channel, (m) => fresh.push(m.payload.n)), 'subscribed with -1')
  // Others see what was published.
  const plain = await collect(broker.client(t), channel)
  await say(broker, channel, { payload: { n: 251 } })
  await until(() => rest.length >= 152 && fresh.length && plain.length, 'the rest')
  assert.deepEqual(rest, range(152).map((n) => n + 100))
  assert.deepEqual(fresh, [251])
  assert.deepEqual(plain, [[channel, { payload: { n: 251 } }]])
  assert.deepEqual([...first.denied, ...second.denied, ...third.denied], [])
})

test('jsforce is told of an id that is not kept, to the letter', async (t) => {
  const broker = await Broker.dev(t, { args: MOUNT })
  const channel = '/topic/Accounts'
  await say(broker, channel, { sobject: { Id: 'a' } })
  const { client } = stream(t, broker, channel, 1553783)
  let text
  client.addExtension({ incoming (m, pass) { if (m.channel === '/meta/subscribe') text = m.error; pass(m) } })
  await refusal(client.subscribe(channel, () => {}), 'an id that was never given out')
  assert.equal(text, '400::The replayId {1553783} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to replay only new events.')
})

test('jsforce goes on where it was when the broker is killed and comes back', async (t) => {
  const broker = await Broker.dev(t, { args: MOUNT })
  const channel = '/event/Reading__e'
  for (const n of range(50)) await say(broker, channel, { payload: { n } })
  const got = []
  const { client } = stream(t, broker, channel, -2)
  await settled(client.subscribe(channel, (m) => got.push(m)), 'subscribed')
  await until(() => got.length === 50, 'the past')
  for (const round of [1, 2]) {
    await broker.kill()
    await broker.start()
    for (const n of range(20)) await say(broker, channel, { payload: { n: 30 + 20 * round + n } })
    await until(() => got.some((m) => m.payload.n === 49 + 20 * round), 'what was said meanwhile', 60000)
  }
  // Without ack a broken link may bring again what is not known to have arrived, with
  // the same ids (README).
  const seen = new Map(got.map((m) => [m.event.replayId, m.payload.n]))
  assert.deepEqual([...seen.entries()].sort((a, b) => a[0] - b[0]).map(([, n]) => n), range(90))
})

test('a Faye client with its own replay extension: the number form, on a signed channel', async (t) => {
  const broker = await Broker.serve(t)
  const { view } = await broker.object('gala')
  const channel = view + '/chat'
  const publish = async (n) => {
    const r = await broker.call('POST', '/v1/publish', { auth: basic(), json: { messages: [{ object_id: 'gala', channel: 'chat', data: { n } }] } })
    assert.equal(r.status, 200, r.text)
  }
  for (const n of range(30)) await publish(n)
  const client = broker.client(t)
  client.addExtension({ outgoing (m, pass) { if (m.channel === '/meta/subscribe') m.ext = { ...m.ext, replay: -2 }; pass(m) } })
  const got = await collect(client, channel)
  await publish(30)
  await until(() => got.length === 31, () => `${got.length} of 31`)
  assert.deepEqual(got.map(([, m]) => m.n), range(31))
  assert.equal(got[30][1].event.replayId, got[0][1].event.replayId + 30)
})

test('CometD with a replay extension, and its remote calls', async (t) => {
  const broker = await Broker.serve(t)
  const { view, control } = await broker.object('gala')
  for (const n of range(5)) await broker.comment('gala', 'comment ' + n)
  require('cometd-nodejs-client').adapt()
  const { CometD } = require('cometd')
  const cometd = new CometD()
  cometd.configure({ url: broker.url, logLevel: 'error' })
  const replays = { [view + '/all_json']: -2 }
  let offered
  cometd.registerExtension('replay', {
    incoming (m) { if (m.channel === '/meta/handshake') offered = m.ext; return m },
    outgoing (m) { if (m.channel === '/meta/subscribe') m.ext = { ...m.ext, replay: replays }; return m }
  })
  atEnd(t, () => new Promise((resolve) => cometd.disconnect(resolve)))
  const handshake = await new Promise((resolve) => cometd.handshake({ ext: { token: jwt({ role: 'viewer', channel_id: 'gala', user_ref: 'ann' }) } }, resolve))
  assert.equal(handshake.successful, true, handshake.error)
  assert.equal(offered.replay, true)
  assert.equal(offered['payload.format'], true)
  const got = []
  const reply = await new Promise((resolve) => cometd.subscribe(view + '/all_json', (m) => got.push(m.data), resolve))
  assert.equal(reply.successful, true, reply.error)
  await until(() => got.length === 5, () => `${got.length} of 5`)
  assert.deepEqual(got.map((d) => d.content), range(5).map((n) => 'comment ' + n))
  assert.equal(got[4].event.replayId, got[0].event.replayId + 4)

  const call = (target, data) => new Promise((resolve) => cometd.remoteCall(target, data, 10000, resolve))
  const page = await call('history', { channel: view + '/all_json', limit: 2 })
  assert.deepEqual(page.data.messages.map((m) => m.data.content), ['comment 3', 'comment 4'])
  const before = await call('history', { channel: view + '/all_json', limit: 2, before: page.data.next })
  assert.deepEqual(before.data.messages.map((m) => m.data.content), ['comment 1', 'comment 2'])
  const set = await call('data', { channel: view + '/data/room', set: { seats: 3 } })
  assert.deepEqual(set.data, { version: 1, data: { seats: 3 } })
  const read = await call('data', { channel: view + '/data/room' })
  assert.deepEqual(read.data, { version: 1, data: { seats: 3 } })
  await until(async () => (await call('presence', { channel: control + '/presence' })).data.count === 1, 'it is seen itself', 20000)
  const refused = await call('presence', { channel: view + '/presence' })
  assert.equal(refused.successful, false)
  assert.equal(refused.error, `403:${view}/presence:Forbidden channel`)
  assert.equal(got.length, 5)
})
