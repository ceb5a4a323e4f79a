// The worked examples A2 and A2b (shared data), as they stand, over each transport and
// on the store that STORE names: a folder of its own by default, memory: or a Redis URL.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Broker, basic, jwt, refusal, settled, shared, until } from './lib.mjs'

const its = shared(Broker.serve)
const transports = process.env.TRANSPORT ? [process.env.TRANSPORT] : ['websocket', 'long-polling']
// A Redis may hold what an earlier run has left: every run has rooms of its own.
const run = Date.now().toString(36)

// Subscribes and collects whole messages.
const box = async (client, channel) => {
  const all = []
  await settled(client.subscribe(channel).withChannel((name, data) => all.push({ channel: name, data })), channel + ' is acknowledged')
  return all
}

test('A2: five scopes, merges, sessions', async () => {
  const { broker } = its
  const room = 'room-1-' + run
  const user = (ref) => ref + run
  const D = '/v1/data/'
  const call = (...args) => broker.call(...args)
  await call('POST', '/v1/objects', { auth: basic(), json: { object_id: room, type: 'live', name: 'Room 1', owner_ref: 'boss' + run } })
  const T = (userRef, more = {}) => 'Bearer ' + jwt({ role: 'participant', channel_id: room, user_ref: user(userRef), name: userRef, ...more })
  const ann = T('ann')
  const bob = T('bob')
  const get = (scope, q = '', auth = ann) => call('GET', D + scope + q, { auth })
  const set = (scope, data, auth = ann) => call('POST', D + scope, { auth, json: data })

  // user scope: create, merge on update, delete by null
  assert.equal((await set('user', { custom_data1: 'String', custom_data2: 'String' })).status, 200)
  await set('user', { custom_data1: 'changed', in_session_new_data: 'String', custom_data2: null })
  let r = await get('user', '?user_ref=' + user('ann'))
  assert.equal(r.status, 200)
  assert.deepEqual(r.json, {
    result: 0, clientId: '', name: 'ann', user_ref: user('ann'), role: 'participant',
    data: { custom_data1: 'changed', in_session_new_data: 'String' }
  })
  assert.equal((await get('user')).status, 400) // user_ref is required with scope user
  assert.deepEqual((await get('user', '?user_ref=nobody')).json.data, {})

  // session scope: everybody in the session reads and writes the same document
  r = await set('session', { poll: { question: 'Which?', options: [{ opt: 'A', response: 0 }] } })
  const first = r.json.conf_num
  assert.ok(first)
  await set('session', { lower_third: 'Hello' }, bob)
  r = await get('session', '', bob)
  assert.deepEqual(r.json.data, { poll: { question: 'Which?', options: [{ opt: 'A', response: 0 }] }, lower_third: 'Hello' })
  assert.equal(r.json.conf_num, first)
  assert.deepEqual((await get('session', '?user_ref=' + user('bob'))).json.data, { lower_third: 'Hello' }) // what bob wrote

  // app and owner are read-only for clients, writable by the server
  for (const scope of ['app', 'owner']) {
    r = await set(scope, { x: 1 })
    assert.equal(r.status, 403)
    assert.notEqual(r.json.result, 0)
    assert.equal((await call('POST', D + scope + '?object_id=' + room, { auth: basic(), json: { [scope]: 'v' } })).status, 200)
    assert.deepEqual((await get(scope)).json.data, { [scope]: 'v' })
  }

  // the session ends; its data stays reachable as last, all, and by conf_num; the next one starts empty
  assert.equal((await call('DELETE', '/v1/objects/' + room + '/sessions', { auth: basic() })).status, 200)
  r = await get('session')
  assert.notEqual(r.json.conf_num, first)
  assert.deepEqual(r.json.data, {})
  assert.equal((await get('session', '?session=last')).json.conf_num, first)
  assert.deepEqual((await get('session', '?conf_num=' + first)).json.data.lower_third, 'Hello')
  r = await get('session', '?session=all')
  assert.deepEqual(r.json.sessions.map((s) => Object.keys(s.data).length), [0, 2]) // newest first
  assert.equal((await get('session', '?session=first')).status, 400)
  assert.equal((await get('session', '?session=last&conf_num=' + first)).status, 400)
  assert.equal((await get('weather')).status, 400)

  // room data outlives the session
  await set('room', { theme: 'dark' })
  await call('DELETE', '/v1/objects/' + room + '/sessions', { auth: basic() })
  assert.deepEqual((await get('room')).json.data, { theme: 'dark' })
})

for (const transport of transports) {
  test(`A2b over ${transport}: joining hands the data over at once, changes reach the others`, async (t) => {
    const { broker } = its
    const room = `room-2-${transport}-${run}`
    const { view: V } = await broker.object(room)
    const tok = (userRef) => jwt({ role: 'participant', channel_id: room, user_ref: userRef })
    const ann = broker.client(t, transport, tok('ann'))
    const bob = broker.client(t, transport, tok('bob'))
    await settled(ann.publish(V + '/data/session', { score: 1, old: true }), 'the first change')
    const got = await box(bob, V + '/data/session')
    const s = await until(() => got[0], 'the snapshot')
    assert.equal(s.data.op, 'snapshot')
    assert.deepEqual(s.data.data, { score: 1, old: true })

    await settled(ann.publish(V + '/data/session', { score: 2, old: null, note: 'x' }), 'the second change')
    const e = await until(() => got[1], 'the change')
    assert.equal(e.data.op, 'set')
    assert.deepEqual(e.data.changes, { score: 2, note: 'x' })
    assert.deepEqual(e.data.removed, ['old'])
    assert.deepEqual(e.data.data, { score: 2, note: 'x' })
    assert.equal(e.data.by.user_ref, 'ann')
    assert.equal(e.data.version, s.data.version + 1)

    const past = await box(broker.client(t, transport, tok('cid')), V + '/data/session/catchup/12h')
    await until(() => past.length === 2, 'the past')
    assert.deepEqual(past.map((m) => m.data.version), [1, 2])

    assert.equal((await refusal(ann.publish(V + '/data/app', { x: 1 }), 'app is read-only')).code, 403)
    assert.equal((await refusal(broker.client(t, transport).subscribe(V + '/data/session', () => {}), 'it needs a token')).code, 403)
  })
}

test('E16: many writers over HTTP and Bayeux: every key, every version, in order', async (t) => {
  const { broker } = its
  const room = 'room-3-' + run
  const { view: V } = await broker.object(room)
  const token = (ref) => jwt({ role: 'participant', channel_id: room, user_ref: ref })
  const got = await box(broker.client(t, 'websocket', token('reader')), V + '/data/room')
  const N = 40
  const merge = async (ref, json) => {
    for (;;) { // 503 is definite: nothing was changed
      const r = await broker.call('POST', '/v1/data/room', { auth: 'Bearer ' + token(ref), json })
      if (r.status === 200) return
      assert.equal(r.status, 503, r.text)
    }
  }
  const writers = []
  for (let i = 0; i < N; i++) {
    writers.push(merge('h' + i, { ['h' + i]: [] }))
    const c = broker.client(t, i % 2 ? 'websocket' : 'long-polling', token('b' + i))
    writers.push(settled(c.publish(V + '/data/room', { ['b' + i]: {} }), 'a merge over Bayeux'))
  }
  await Promise.all(writers)
  const r = await broker.call('GET', '/v1/data/room', { auth: 'Bearer ' + token('reader') })
  assert.equal(Object.keys(r.json.data).length, 2 * N)
  assert.equal(r.json.version, 2 * N)
  await until(() => got.length === 2 * N + 1, () => `${got.length} messages`)
  assert.deepEqual(got.map((m) => m.data.version), Array.from({ length: 2 * N + 1 }, (_, i) => i))
})
