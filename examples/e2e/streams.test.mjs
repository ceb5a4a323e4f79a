// Durable event streams: rows V1 to V19, as the examples have them.
import assert from 'node:assert/strict'
import { basic, block, jwt, sleep, sub } from './blocks.mjs'
import { APP, STREAM_TOKEN as token, until } from './lib.mjs'
import { makeStream, nobodyReads, sse } from './streams.mjs'

const app = APP.name
const Q = '?token=' + token

block('A4 (V1-V3, V5-V11, V14, V19): a stream', async ({ t, broker, call }) => {
  let r = await call('POST', '/streams' + Q, { json: { name: 'meaningful-customer-name', resource_filter: ['summary', 'measurement'], end_date: '2027-01-01' } })
  assert.equal(r.status, 201)
  const st = r.json
  assert.deepEqual({ ...st, id: 0, group: 0, created_at: 0, updated_at: 0 }, {
    id: 0, group: 0, created_at: 0, updated_at: 0, name: 'meaningful-customer-name', members: 0, start_date: null, resource_filter: ['summary', 'measurement'], event_type_filter: []
  })
  assert.equal(st.group, 'stream_' + st.id)

  const summary = {
    category: 'daily', log_id: '2017-03-27', type: 'summary', start_time: '2017-03-27T04:00:00Z', end_time: '2017-03-28T03:59:59Z',
    metrics: [{ origin: 'manual', type: 'steps', unit: 'count', value: 5713 }], source: { type: 'fitbit' }, segments: [],
    user: { organization_id: '58209c808a5da50001de6e2d', uid: 'TY892FG61', user_id: '583efed88a5da50001a45083' }, utc_offset: -14400, version: '1.0'
  }
  const put = async (rec) => {
    const r = await call('POST', '/v1/records', { auth: basic(app), json: rec })
    assert.equal(r.status, 201, r.text)
  }

  const s = await sse(t, broker.base, `/streams/${st.id}/connect${Q}`)
  assert.equal(s.status, 200)
  assert.match(s.type, /^text\/event-stream/)
  await until(() => s.of('poke').length >= 1, 'a poke')
  assert.match(s.raw, /^event: poke\ndata: \{"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/)
  assert.equal((await call('GET', `/streams/${st.id}${Q}`)).json.members, 1)

  await put(summary)
  const e = await until(() => s.of('data')[0], 'a record')
  for (const k of Object.keys(summary)) assert.deepEqual(e.data[k], summary[k], k)
  assert.match(e.data.id, /^[0-9a-f]{32}$/)
  assert.match(e.data.checksum, /^[0-9a-f]{32}$/)
  assert.ok(!Number.isNaN(Date.parse(e.data.created_at)))
  assert.match(s.raw, /event: data\ndata: \{[^\n]*\}\nid: [^\n]+\n\n/)

  // an update keeps the id and changes the checksum; the same content keeps both
  const steps = (value) => ({ ...summary, id: e.data.id, metrics: [{ origin: 'manual', type: 'steps', unit: 'count', value }] })
  await put(steps(6000))
  await put(steps(6000))
  await until(() => s.of('data').length === 3, 'three records')
  const [d1, d2, d3] = s.of('data').map((x) => x.data)
  assert.ok(d1.id === d2.id && d2.id === d3.id && d1.checksum !== d2.checksum && d2.checksum === d3.checksum)
  // a filtered type does not come; a connection event does, wrapped
  await put({ ...summary, type: 'sleep' })
  await put({
    connection: {
      id: '631b71415e78120001328462', source: { type: 'garmin' }, type: 'create', credentials: {},
      user: { user_id: '58d96aSAMPLE001a25d40', uid: 'demotestuser1', organization_id: '58cb55c98SAMPLE01f75db3' },
      created_at: '2022-02-29T15:15:15Z', deleted_at: null, version: '1.0'
    }
  })
  const conn = await until(() => s.of('connection')[0], 'a connection event')
  assert.equal(conn.data.connection.type, 'create')
  assert.equal(conn.data.connection.created_at, '2022-02-29T15:15:15Z') // a day that does not exist is passed through
  assert.equal(s.of('data').length, 3)

  // heartbeat: about one poke a second here
  const n = s.of('poke').length
  await sleep(3100)
  assert.ok(Math.abs(s.of('poke').length - n - 3) <= 1)

  // a stream in use cannot be deleted; a dropped consumer resumes at its checkpoint,
  // nothing lost, connection events not replayed
  assert.equal((await call('DELETE', `/streams/${st.id}${Q}`)).status, 422)
  s.close()
  await nobodyReads(broker, token, st.id)
  await put({ ...summary, log_id: 'while-away-1' })
  await put({
    connection: {
      id: 'x', source: { type: 'garmin' }, type: 'delete', user: { user_id: 'a', uid: 'b', organization_id: 'c' },
      created_at: '2022-02-25T14:49:15Z', deleted_at: '2022-09-28T12:42:48Z', deleted_reason: 'User manually disconnected', version: '1.0'
    }
  })
  await put({ ...summary, log_id: 'while-away-2' })
  const s2 = await sse(t, broker.base, `/streams/${st.id}/connect${Q}`)
  await until(() => s2.of('data').some((x) => x.data.log_id === 'while-away-2'), 'what came meanwhile')
  assert.deepEqual(s2.logs(), ['while-away-1', 'while-away-2'])
  assert.equal(s2.of('connection').length, 0)
  s2.close()
  await nobodyReads(broker, token, st.id)

  r = await call('GET', '/streams' + Q)
  assert.equal(r.json.streams.length, 1)
  assert.equal(r.json.meta.total, 1)
  assert.equal((await call('GET', '/streams?token=wrong')).status, 403)
  r = await call('DELETE', `/streams/${st.id}${Q}`)
  assert.equal(r.status, 200)
  assert.ok(r.json.deleted_at)
  assert.equal((await sse(t, broker.base, `/streams/${st.id}/connect${Q}`)).status, 404)
}, { config: ['streams: {poke: 1s, redelivery: 500ms}'] })

block('A6 (V8, V18): one evening, seen by a data consumer', async ({ t, broker, call, bayeux }) => {
  const id = 'gala'
  await call('POST', '/v1/objects', { auth: basic(app), json: { object_id: id, type: 'live', name: 'Gala', owner_ref: 'boss', url: 'gala_main' } })
  const o = (await call('GET', '/v1/objects/' + id, { auth: basic(app) })).json.object
  const V = o.realtime_channel
  const C = o.realtime_control_channel
  const st = await makeStream(broker, token, { name: 'warehouse' })
  const feed = await sse(t, broker.base, `/streams/${st.id}/connect?token=${token}`)
  const viewer = { role: 'viewer', channel_id: id, opaque_user_id: 'A9', user_ref: 'zoe', name: 'Zoe' }
  const vt = 'Bearer ' + jwt(app, viewer)

  await call('POST', `/v1/objects/${id}/publish`, { auth: basic(app), json: { channel: 'events', data: { event: 'broadcasting', state: 'start' } } })
  await call('POST', `/v1/objects/${id}/comments`, { auth: vt, json: { content: 'hello' } })
  await call('POST', '/v1/data/session', { auth: vt, json: { slide: 4 } })
  await call('POST', '/v1/e/accumulate?id=applause', { auth: vt, json: { claps: 3 } })
  await call('POST', `/v1/objects/${id}/publish`, { auth: basic(app), json: { channel: 'chat', data: { text: 'welcome' } } })

  // a late joiner gets the past of everything she may see through one root
  const z = bayeux(jwt(app, viewer))
  const [cm, da, ch] = [await sub(z, V + '/all_json/catchup/30m'), await sub(z, V + '/data/session'), await sub(z, V + '/chat/catchup/45s')]
  await until(() => cm.length && da.length && ch.length, 'the past')
  assert.equal(cm[0].data.content, 'hello')
  assert.deepEqual(da[0].data.data, { slide: 4 })
  assert.deepEqual(ch[0].data, { text: 'welcome' })
  // the dashboard gets the rest through the control root
  const ac = await sub(bayeux(), C + '/accumulate/applause/catchup/12h')
  await until(() => ac.length === 1, 'the applause')
  assert.deepEqual(ac[0].data.data, { claps: 3 })
  // and the data consumer saw each record once
  const of = (type) => feed.of('data').filter((e) => e.data.type === type)
  await until(() => ['accumulation', 'comment', 'message', 'event', 'session_data'].every((type) => of(type).length === 1), () => JSON.stringify(feed.events))
  assert.deepEqual(of('message')[0].data.data, { text: 'welcome' })
  assert.deepEqual(of('accumulation')[0].data.user, { organization_id: String(APP.id), uid: 'zoe', user_id: 'A9' })
  assert.deepEqual(of('session_data')[0].data.data.data, { slide: 4 })
  // V10: she has joined
  const joined = await until(() => feed.of('connection')[0], 'that she has joined', 20000)
  assert.deepEqual([joined.data.connection.type, joined.data.connection.user.uid, joined.data.connection.object_id], ['create', 'zoe', id])
  await until(() => of('occupied').length === 1, 'that somebody is there')
})

block('V4, V12, V15, V16, V17: connections that share, come again, and read everything', async ({ t, broker, call }) => {
  const put = (log_id) => call('POST', '/v1/records', { auth: basic(app), json: { type: 'a', log_id } })
  const st = await makeStream(broker, token, { name: 's' })
  const where = `/streams/${st.id}/connect${Q}`
  const all = []
  for (let i = 0; i < 3; i++) all.push(await sse(t, broker.base, where))
  const fourth = await sse(t, broker.base, where)
  assert.deepEqual([fourth.status, fourth.json], [422, { errors: ['Maximum number of client connections exceeded'] }])
  for (let i = 0; i < 30; i++) await put('r' + i)
  const seen = () => all.flatMap((s) => s.logs())
  await until(() => seen().length >= 30, () => `${seen().length} records`)
  assert.deepEqual(seen().sort(), Array.from({ length: 30 }, (_, i) => 'r' + i).sort(), 'each to one of them')
  // those of one that ends, younger than the window, go to the others
  const most = all.reduce((a, b) => a.logs().length > b.logs().length ? a : b)
  const lost = most.logs()
  most.close()
  const others = all.filter((s) => s !== most)
  await until(() => lost.every((id) => others.some((s) => s.logs().includes(id))), 'the others have them')
  for (const s of others) s.close()
  await nobodyReads(broker, token, st.id)

  const replay = await sse(t, broker.base, '/replay' + Q)
  await until(() => replay.logs().length === 30, 'everything kept')
  assert.deepEqual(replay.logs(), Array.from({ length: 30 }, (_, i) => 'r' + i))
  await put('live')
  await until(() => replay.logs().includes('live'), 'and then live')
  const at = replay.of('data')[9].id
  const exact = await sse(t, broker.base, where, { 'Last-Event-ID': at })
  await until(() => exact.logs().includes('live'), 'right after that place')
  assert.deepEqual(exact.logs(), [...Array.from({ length: 20 }, (_, i) => 'r' + (i + 10)), 'live'])

  // a restart ends the answers in order
  await broker.stop()
  await exact.ended
  assert.ok(exact.raw.endsWith('\n\n'))
  assert.doesNotMatch(exact.raw, /event: error/)
  if (process.env.STORE === 'memory') return
  await broker.start(t)
  const again = await sse(t, broker.base, where, { 'Last-Event-ID': exact.of('data').at(-1).id })
  await put('later')
  await until(() => again.logs().includes('later'), 'after the restart')
  assert.deepEqual(again.logs(), ['later'])
})
