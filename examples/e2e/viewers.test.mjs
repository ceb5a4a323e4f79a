// Viewers as they are counted: on the control root's /stats/live, and who may hear it
// (examples.md A5b).
import assert from 'node:assert/strict'
import { basic, block, jwt, refused, sub } from './blocks.mjs'
import { until } from './lib.mjs'

const app = 'demo-origin'

const made = async (call, id, url) => {
  await call('POST', '/v1/objects', { auth: basic(app), json: { object_id: id, type: 'live', url } })
  const o = (await call('GET', '/v1/objects/' + id, { auth: basic(app) })).json.object
  return { V: o.realtime_channel, C: o.realtime_control_channel }
}
const last = (live) => live.length ? live[live.length - 1].data.viewers : undefined

block('A5b: viewers are counted', async ({ call, bayeux }) => {
  const { V, C } = await made(call, 'live-5', 'mystream_live')
  const board = bayeux()
  const live = await sub(board, C + '/stats/live')
  const a = bayeux()
  const b = bayeux()
  const c = bayeux()
  await sub(a, V + '/all_json')
  await sub(a, V + '/promoted_json') // two subscriptions, one viewer
  await sub(b, V + '/all_json')
  await sub(c, V + '/chat')
  await until(() => last(live) === 3, 'three viewers', 5000) // the dashboard itself is not a viewer
  c.disconnect()
  await until(() => last(live) === 2, 'two viewers', 5000)
  const past = await sub(bayeux(), C + '/stats/live/catchup/1m')
  await until(() => past.some((m) => m.data.viewers === 3), 'the past says three')
  assert.equal((await refused(a, V + '/stats/live')).code, 403)

  // Each sample once, at whole seconds, and a last 0 when nobody is left.
  a.disconnect()
  b.disconnect()
  await until(() => last(live) === 0, 'nobody', 5000)
  const times = live.map((m) => m.data.time)
  assert.equal(new Set(times).size, times.length)
  assert.ok(times.every((t) => t % 1000 === 0))
  const told = live.length
  const { V: other } = await made(call, 'live-6', 'other_live')
  await sub(bayeux(), other + '/chat')
  const second = await sub(board, (await made(call, 'live-6', 'other_live')).C + '/stats/live')
  await until(() => second.length >= 2, 'two samples of another object', 5000)
  assert.equal(live.length, told, 'nothing is said of an object that nobody views')

  // Nobody says anything there but the broker.
  const publish = await call('POST', '/v1/objects/live-5/publish', { auth: basic(app), json: { channel: 'stats/live', data: { viewers: 1e6 } } })
  assert.equal(publish.status, 403, publish.text)
  const moderator = bayeux(jwt(app, { role: 'moderator', channel_id: 'live-5' }))
  assert.equal((await refused(moderator, V + '/stats/minute')).code, 403)
  await sub(bayeux(jwt(app, { role: 'broadcaster', channel_id: 'live-5' })), V + '/stats/live/catchup/24h')
  assert.equal((await refused(board, C + '/stats/live/catchup/25h')).code, 413)
}, { config: ['stats: {sample: 1s}'] })

block('stats.public: viewers hear how many they are', async ({ call, bayeux }) => {
  const { V } = await made(call, 'live-7', 'public_live')
  const a = bayeux()
  const live = await sub(a, V + '/stats/live')
  await until(() => last(live) === 1, 'one viewer', 5000)
  assert.equal((await refused(a, V + '/stats/minute')).code, 403)
}, { config: ['stats: {sample: 1s, public: true}'] })
