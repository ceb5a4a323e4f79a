// A live event from its listing to its log: rows T1 to T13 and T16 of product.md §5.3,
// on each transport and store. TRANSPORT=websocket|long-polling and STORE=disk|redis
// choose one (memory and a URL of a Redis mean the one they are most like); on Redis every other call goes to a second node.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { APP, Broker, basic, freePort, jwt, refusal, settled, until } from './lib.mjs'
import { noRedis, startNode, startRedis } from './redis.mjs'

const chosen = (name, all) => {
  const given = process.env[name]
  const v = name === 'STORE' && given ? (/^redis/.test(given) ? 'redis' : 'disk') : given
  if (v && !all.includes(v)) throw new Error(`${name} can be ${all.join(', ')}`)
  return v ? [v] : all
}

const STORES = {
  disk: { skip: false, start: async (t) => { const b = await Broker.serve(t); return [b, b] } },
  redis: {
    skip: noRedis,
    start: async (t) => {
      const store = await startRedis(t)
      const nodes = []
      for (let i = 0; i < 2; i++) nodes.push(await startNode(t, store, '127.0.0.1', await freePort(), await freePort()))
      return nodes
    }
  }
}

// Subscribes and collects whole messages, {channel, id, ext, data}.
const box = async (client, channel) => {
  const got = []
  client.addExtension({ incoming (m, pass) { if (m.channel === channel && m.data !== undefined) got.push(m); pass(m) } })
  await settled(client.subscribe(channel, () => {}), channel)
  return got
}

for (const store of chosen('STORE', Object.keys(STORES))) {
  for (const transport of chosen('TRANSPORT', ['websocket', 'long-polling'])) {
    test(`a live event, ${store}, ${transport} (T1-T13, T16)`, { skip: STORES[store].skip, timeout: 60000 }, async (t) => {
      const [one, two] = await STORES[store].start(t)
      const id = '4580158'
      const bearer = (claims) => 'Bearer ' + jwt(claims)
      let r = await one.call('POST', '/v1/objects', { auth: basic(), json: { object_id: id, type: 'live', name: 'Stream name' } })
      assert.equal(r.status, 201, r.text)

      // T2, T3: the signed root comes from the listing.
      r = await two.call('GET', `/api/live/list?app=${APP.name}&live_id=${id}`)
      assert.deepEqual([r.status, r.json.status, r.json.permission_level], [200, 'ok', 'anonymous'])
      const { realtime_url: url, realtime_channel: root } = r.json.live[0]
      assert.match(root, /^\/[0-9a-f]{40}$/)
      assert.ok(url.endsWith('/faye'))

      // T4, T8, T9: comments, live and promoted.
      const early = one.client(t, transport)
      const seen = await box(early, root + '/all_json')
      const html = await box(early, root + '/all_html')
      const promoted = await box(early, root + '/promoted_json')
      const promotedHTML = await box(early, root + '/promoted_html')
      const c1 = await one.comment(id, 'first <b>!')
      await two.comment(id, 'second')
      await until(() => seen.length === 2 && html.length === 2, 'both comments')
      assert.equal(seen[0].data.comment_id, c1.comment_id)
      assert.equal(seen[0].data.content_text, 'first <b>!')
      assert.equal(seen[0].data.content, 'first &lt;b&gt;!')
      assert.equal(promoted.length, 0)
      const promote = (node, role) => node.call('POST', `/v1/objects/${id}/comments/${c1.comment_id}/promote`, { auth: bearer({ role, channel_id: id }) })
      assert.equal((await promote(one, 'viewer')).status, 403)
      const answers = await Promise.all([one, two, one, two].map((n) => promote(n, 'moderator')))
      assert.deepEqual(answers.map((a) => a.status), [200, 200, 200, 200])
      assert.equal(answers[0].json.comment.promoted_p, 1)
      await until(() => promoted.length === 1 && promotedHTML.length === 1, 'it is promoted')
      assert.equal(promoted[0].data.comment_id, c1.comment_id)
      assert.equal(promoted[0].data.promoted_p, 1)
      assert.equal(promotedHTML[0].data.comment_id, c1.comment_id)

      // T5: one callback gets past and future, in order, nothing twice.
      const late = two.client(t, transport)
      const got = []
      for (const s of late.subscribe([root + '/all_json', root + '/all_json/catchup/12h'], (d) => got.push(d.content_text))) await settled(s, 'acknowledged')
      await until(() => got.length === 2, 'the past')
      const c3 = await two.comment(id, 'third')
      await until(() => got.length === 3 && seen.length === 3, 'the future')
      assert.deepEqual(got, ['first <b>!', 'second', 'third'])
      assert.equal(promoted.length, 1, 'promoted four times is promoted once')

      // T6: refusals that Faye can parse.
      const board = one.client(t, transport)
      r = await one.call('GET', '/api/live/realtime?live_id=' + id, { auth: bearer({ role: 'admin' }) })
      const control = r.json.realtime_channel
      assert.match(control, /^\/[0-9a-f]{40}$/)
      for (const [channel, code] of [[control + '/events/catchup/1h', 404], [root + '/all_json/catchup/12x', 400], [root + '/all_json/catchup/0h', 400],
        [root + '/all_json/catchup/25h', 413], [root + '/catchup/1h', 405], ['/' + 'f'.repeat(40) + '/all_json', 403], [root + '/events', 403]]) {
        const e = await refusal(board.subscribe(channel, () => {}), channel)
        assert.equal(e.code, code, channel + ' ' + e.message)
      }

      // T10, T11, T12: events, whose channel only admins are told, and their log.
      r = await two.call('GET', '/api/live/realtime?live_id=' + id, { auth: bearer({ role: 'viewer', channel_id: id }) })
      assert.deepEqual([r.status, r.json.status, r.json.code], [403, 'error', 'permission_denied'])
      const events = await box(board, control + '/events')
      const publish = (node, channel, data) => node.call('POST', `/v1/objects/${id}/publish`, { auth: basic(), json: { channel, data } })
      assert.equal((await publish(one, 'events', { event: 'broadcasting', state: 'start', time: 1414659998 })).status, 200)
      assert.equal((await publish(two, 'events', { event: 'broadcasting', state: 'stop', time: 1414660067 })).status, 200)
      assert.equal((await publish(two, 'events', { state: 'stop' })).status, 400)
      assert.equal((await two.call('PATCH', '/v1/objects/' + id, { auth: basic(), json: { name: 'New name' } })).status, 200)
      await until(() => events.length === 3, 'three events')
      assert.deepEqual(events.slice(0, 2).map((m) => m.data), [
        { live_id: id, event: 'broadcasting', state: 'start', time: 1414659998 }, { live_id: id, event: 'broadcasting', state: 'stop', time: 1414660067 }])
      assert.deepEqual([events[2].data.event, events[2].data.changes], ['metadata', { name: 'New name' }])
      r = await two.call('GET', `/api/live/log?live_id=${id}&event_types=broadcasting`, { auth: bearer({ role: 'broadcaster', channel_id: id }) })
      assert.deepEqual(r.json.onelog, [{ live_id: id, event: 'broadcasting', start_time: '1414659998', end_time: '1414660067' }])
      assert.equal(r.json.realtime_channel, control + '/events')

      // T13: analytics, from the server alone, with their past.
      assert.equal((await publish(one, 'analytics', { viewers: 7 })).status, 200)
      const analytics = await box(board, control + '/analytics/catchup/1h')
      await until(() => analytics.length === 1, 'analytics')
      assert.deepEqual(analytics[0].data, { viewers: 7 })
      assert.equal((await refusal(board.publish(control + '/analytics', {}), 'analytics over Bayeux')).code, 403)

      // T16: withdrawn here and for every late joiner.
      const withdraw = (node, comment, role = 'moderator') => node.call('DELETE', `/v1/objects/${id}/comments/${comment}`, { auth: bearer({ role, channel_id: id }) })
      assert.equal((await withdraw(one, c1.comment_id, 'viewer')).status, 403)
      assert.equal((await withdraw(two, c1.comment_id)).status, 200)
      assert.equal((await withdraw(one, c3.comment_id)).status, 200)
      assert.equal((await withdraw(one, c1.comment_id)).status, 200)
      assert.equal((await withdraw(one, '01HZX3J8Q4V5W6X7Y8Z9ABCDEF')).status, 404)
      await until(() => seen.length === 5 && promoted.length === 2, 'both are taken back')
      assert.deepEqual(seen.slice(3).map((m) => m.data), [{ comment_id: c1.comment_id, deleted_p: 1 }, { comment_id: c3.comment_id, deleted_p: 1 }])
      assert.deepEqual(promoted[1].data, { comment_id: c1.comment_id, deleted_p: 1 })
      assert.equal((await promote(two, 'moderator')).status, 404)
      const past = two.client(t, transport)
      const left = {}
      for (const name of ['all_json', 'all_html', 'promoted_json', 'promoted_html']) {
        left[name] = await box(past, `${root}/${name}/catchup/1h`)
        await until(() => left[name].length >= past.acks[`${root}/${name}/catchup/1h`].ext.catchup.messages, name)
      }
      const texts = (name) => left[name].map((m) => m.data.content_text ?? (m.data.deleted_p ? 'deleted' : 'html'))
      assert.deepEqual(Object.fromEntries(Object.keys(left).map((name) => [name, texts(name)])),
        { all_json: ['second', 'deleted', 'deleted'], all_html: ['html'], promoted_json: ['deleted'], promoted_html: [] })

      // Who is there, and who no longer is.
      r = await one.call('GET', '/v1/connections?object_id=' + id, { auth: basic() })
      assert.equal(r.status, 200, r.text)
      assert.equal(r.json.connections.length, 4)
      await until(async () => (await two.call('GET', `/v1/objects/${id}/presence`, { auth: basic() })).json.count === 4, 'all four are present', 20000)
      for (const c of r.json.connections) assert.equal((await two.call('DELETE', '/v1/connections/' + c.id, { auth: basic() })).status, 200)
      assert.equal((await one.call('DELETE', '/v1/connections/' + r.json.connections[0].id, { auth: basic() })).status, 404)
      const ended = new Set(r.json.connections.map((c) => c.id))
      await until(async () => {
        const now = (await two.call('GET', '/v1/connections?object_id=' + id, { auth: basic() })).json.connections
        return now.length === ended.size && now.every((c) => !ended.has(c.id))
      }, 'the clients handshake again, each as another connection', 20000)
    })
  }
}
