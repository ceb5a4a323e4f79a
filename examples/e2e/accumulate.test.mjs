// Accumulations: rows M1 to M17, as the examples have them.
import assert from 'node:assert/strict'
import { basic, block, jwt, refused, sub } from './blocks.mjs'
import { APP, until } from './lib.mjs'

const app = APP.name

block('A1 (M1, M3, M4, M5, M6, M9, M10, M11): over HTTP', async ({ call }) => {
  const channel_id = '23161357'
  const P = '/v1/e/accumulate?id=awesomeness_level'
  const viewer = app + ' ' + jwt(app, { role: 'viewer', channel_id, opaque_user_id: 'A1954218', user_id: '' })
  const caster = app + ' ' + jwt(app, { role: 'broadcaster', channel_id, user_id: channel_id })
  const blob = { awesomeness_level: { great: 10, good: 2.5, poor: 'dank' } }

  const t0 = Date.now()
  let r = await call('POST', P, { auth: viewer, json: blob })
  assert.equal(r.status, 200, r.text)
  const { observed } = r.json
  assert.ok(Number.isInteger(observed) && observed >= t0 - 1000 && observed <= Date.now() + 1000)

  r = await call('GET', P + '&start=' + (Date.now() - 60000), { auth: caster })
  assert.equal(r.status, 200)
  assert.deepEqual(r.json.data, [{ observed, channel_id, opaque_user_id: 'A1954218', user_id: '', data: blob }])
  assert.equal(r.json.latest, observed)

  // start is inclusive; strictly newer entries come by cursor
  assert.equal((await call('GET', P + '&start=' + observed, { auth: caster })).json.data.length, 1)
  assert.equal((await call('GET', P + '&start=' + (observed + 1), { auth: caster })).json.data.length, 0)
  assert.equal((await call('GET', P + '&start=' + (observed + 1), { auth: caster })).json.latest, observed)
  await call('POST', P, { auth: viewer, json: { n: 2 } })
  r = await call('GET', P + '&after=' + r.json.cursor, { auth: caster })
  assert.deepEqual(r.json.data.map((e) => e.data), [{ n: 2 }])

  // a start in seconds is understood as seconds
  assert.equal((await call('GET', P + '&start=' + (Math.floor(Date.now() / 1000) - 60), { auth: caster })).json.data.length, 2)

  // viewers cannot read; a broadcaster of another channel sees nothing of this one
  assert.equal((await call('GET', P + '&start=0', { auth: viewer })).status, 403)
  const other = app + ' ' + jwt(app, { role: 'broadcaster', channel_id: '999' })
  assert.deepEqual((await call('GET', P + '&start=0', { auth: other })).json, { data: [], latest: 0, cursor: '', truncated: false })
  assert.equal((await call('GET', P + '&start=0', { auth: app + ' ' + jwt(app, { role: 'admin' }) })).json.data.length, 2)

  // only JSON objects; start is required; a token is required
  for (const bad of ['[1]', '"x"', '7', 'null', 'true', '{', '']) {
    r = await call('POST', P, { auth: viewer, body: bad })
    assert.equal(r.status, 400, bad)
    assert.deepEqual(r.json, { result: 4000, error: 'data must be a JSON object' })
  }
  assert.equal((await call('GET', P, { auth: caster })).status, 400)
  assert.equal((await call('POST', P, { json: {} })).status, 401)
  assert.equal((await call('POST', P, { auth: app + ' ' + jwt(app, { role: 'viewer', channel_id }, -60), json: {} })).status, 401)
  assert.equal((await call('GET', P + '&start=0', { auth: caster })).json.data.length, 2, 'nothing of it was stored')
})

block('A1b (M1, M2, M16): over Bayeux', async ({ call, bayeux }) => {
  const channel_id = 'show-7'
  await call('POST', '/v1/objects', { auth: basic(app), json: { object_id: channel_id, type: 'live', name: 'Show 7' } })
  const o = (await call('GET', '/v1/objects/' + channel_id, { auth: basic(app) })).json.object
  const V = o.realtime_channel
  const C = o.realtime_control_channel
  assert.match(V, /^\/[0-9a-f]{40}$/); assert.match(C, /^\/[0-9a-f]{40}$/); assert.notEqual(V, C)

  const viewer = bayeux(jwt(app, { role: 'viewer', channel_id, opaque_user_id: 'U77' }))
  const wild = bayeux(jwt(app, { role: 'moderator', channel_id }))
  for (const ch of [V + '/**', V + '/*', V + '/accumulate/*']) await sub(wild, ch)
  const board = bayeux()
  const live = await sub(board, C + '/accumulate/mood')
  await viewer.publish(V + '/accumulate/mood', { mood: 'good' })
  const m = await until(() => live[0], 'the entry')
  assert.deepEqual(Object.keys(m.data).sort(), ['channel_id', 'data', 'observed', 'opaque_user_id', 'user_id'])
  assert.deepEqual(m.data.data, { mood: 'good' })
  assert.equal(m.data.opaque_user_id, 'U77')
  const ack = viewer.published.at(-1)
  assert.equal(ack.ext.observed, m.data.observed)
  assert.equal(ack.ext.history.id, m.ext.history.id)

  const late = bayeux()
  const past = await sub(late, C + '/accumulate/mood/catchup/30m')
  assert.equal(past.ack.ext.catchup.messages, 1)
  await until(() => past.length === 1, 'the past')
  assert.equal(past[0].channel, C + '/accumulate/mood/catchup/30m')
  assert.deepEqual(past[0].data, m.data)

  // the view root alone does not open the store, live or past, with or without a viewer token
  for (const ch of [V + '/accumulate/mood', V + '/accumulate/mood/catchup/30m']) {
    assert.equal((await refused(viewer, ch)).code, 403)
    assert.equal((await refused(bayeux(), ch)).code, 403)
  }
  // a caller without a token cannot accumulate
  await assert.rejects(async () => { await bayeux().publish(V + '/accumulate/mood', { x: 1 }) }, (e) => e.code === 403)
  await assert.rejects(async () => { await viewer.publish(V + '/accumulate/mood', [1]) }, (e) => e.code === 400)

  // what is said later on the same root arrives, and no entry did
  await sub(wild, V + '/chat')
  await call('POST', `/v1/objects/${channel_id}/publish`, { auth: basic(app), json: { channel: 'chat', data: 'end' } })
  await until(() => wild.boxes[V + '/chat'].length, 'the end')
  assert.deepEqual(Object.entries(wild.boxes).filter(([ch]) => ch.includes('accumulate')).flatMap(([, box]) => box), [])
  assert.equal(live.length, 1)
})

block('M7, M8: a store expires whole after its last entry, and begins anew', async ({ call }) => {
  const P = '/v1/e/accumulate?id=short'
  const viewer = app + ' ' + jwt(app, { role: 'viewer', channel_id: 'c', opaque_user_id: 'U1' })
  const caster = app + ' ' + jwt(app, { role: 'broadcaster', channel_id: 'c' })
  for (const n of [1, 2]) await call('POST', P, { auth: viewer, json: { n } })
  let r = await call('GET', P + '&start=0', { auth: caster })
  assert.deepEqual(r.json.data.map((e) => e.data.n), [1, 2])
  const { cursor } = r.json
  await until(async () => (await call('GET', P + '&start=0', { auth: caster })).json.data.length !== 2, 'it expires')
  r = await call('GET', P + '&start=0', { auth: caster })
  assert.deepEqual(r.json, { data: [], latest: 0, cursor: '', truncated: false })
  await call('POST', P, { auth: viewer, json: { n: 3 } })
  assert.deepEqual((await call('GET', P + '&start=0', { auth: caster })).json.data.map((e) => e.data.n), [3])
  assert.deepEqual((await call('GET', P + '&after=' + cursor, { auth: caster })).json.data.map((e) => e.data.n), [3])
}, { config: ['accumulate: {ttl: 1500ms}'] })

block('M17 and exports: cleared between rounds, CSV and NDJSON', async ({ call }) => {
  const P = '/v1/e/accumulate?id=round'
  const viewer = app + ' ' + jwt(app, { role: 'viewer', channel_id: 'c', opaque_user_id: '=1+1' })
  const caster = app + ' ' + jwt(app, { role: 'broadcaster', channel_id: 'c' })
  for (const n of [1, 2, 3]) assert.equal((await call('POST', P, { auth: viewer, body: `{"n":${n}, "big":12345678901234567890}` })).status, 200)
  const full = await call('POST', P, { auth: viewer, json: {} })
  assert.equal(full.status, 507)
  assert.equal(full.json.result, 5007)
  const lines = (await call('GET', P + '&start=0&format=ndjson', { auth: caster })).text.trim().split('\n')
  assert.equal(lines.length, 3)
  assert.ok(lines[2].endsWith('"data":{"n":3, "big":12345678901234567890}}'))
  const rows = (await call('GET', P + '&start=0&format=csv', { auth: caster })).text.trim().split('\r\n')
  assert.equal(rows.length, 4)
  assert.ok(rows[1].includes('"\'=1+1"'))
  let r = await call('GET', P + '&start=0', { auth: caster })
  assert.equal(r.json.truncated, true)
  r = await call('GET', P + '&after=' + r.json.cursor, { auth: caster })
  assert.equal(r.json.data.length, 1)
  assert.equal((await call('DELETE', P, { auth: viewer })).status, 403)
  assert.equal((await call('DELETE', P, { auth: caster })).status, 200)
  assert.deepEqual((await call('GET', P + '&start=0', { auth: caster })).json, { data: [], latest: 0, cursor: '', truncated: false })
  await until(async () => (await call('POST', P, { auth: viewer, json: { next: true } })).status === 200, 'there is room again')
}, { config: ['accumulate: {max: 3, page: 2}'] })
