// Publishing from a backend, comments, signed roots and their refusals, as real
// Faye clients see them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { APP, Broker, basic, collect, jwt, range, refusal, settled, shared, until } from './lib.mjs'

const its = shared(Broker.serve)
const publish = (broker, id, json, headers = {}) => broker.call('POST', `/v1/objects/${id}/publish`, { auth: basic(), json, headers })

test('objects: made once, two roots, the control root only from admin up', async () => {
  const { broker } = its
  const { view, control, object } = await broker.object('roots')
  assert.match(view, /^\/[0-9a-f]{40}$/)
  assert.match(control, /^\/[0-9a-f]{40}$/)
  assert.notEqual(view, control)
  assert.equal(object.object_id, 'roots')
  const own = await broker.call('GET', '/v1/objects/roots', { auth: 'Bearer ' + jwt({ role: 'viewer', channel_id: 'roots' }) })
  assert.equal(own.status, 200)
  assert.equal(own.json.object.realtime_channel, view)
  assert.equal(own.json.object.realtime_control_channel, undefined)
  assert.equal((await broker.call('GET', '/v1/objects/roots', { auth: 'Bearer ' + jwt({ role: 'viewer', channel_id: 'other' }) })).status, 403)
  assert.equal((await broker.call('GET', '/v1/objects/roots')).status, 401)
  assert.equal((await broker.call('GET', '/v1/objects/roots', { auth: 'Bearer ' + jwt({ role: 'viewer', channel_id: 'roots' }, -120) })).status, 401)
})

test('the same Idempotency-Key twice is one message; another body is refused', async (t) => {
  const { broker } = its
  const { view } = await broker.object('once')
  const live = await collect(broker.client(t), view + '/chat')
  const body = { channel: 'chat', data: { big: 1 } }
  const first = await publish(broker, 'once', body, { 'Idempotency-Key': 'k-1' })
  const second = await publish(broker, 'once', body, { 'Idempotency-Key': 'k-1' })
  assert.equal(first.status, 200, first.text)
  assert.equal(first.json.result, 0)
  assert.match(first.json.id, /^[0-9A-Z]{26}$/)
  assert.deepEqual([second.status, second.json.id], [200, first.json.id])
  assert.equal((await publish(broker, 'once', { channel: 'chat', data: 'else' }, { 'Idempotency-Key': 'k-1' })).status, 400)
  await publish(broker, 'once', { channel: 'chat', data: 'end' })
  await until(() => live.length >= 2, 'both arrive')
  const past = await collect(broker.client(t), view + '/chat/catchup/1h')
  await until(() => past.length >= 2, 'the past')
  for (const box of [live, past]) assert.deepEqual(box.map(([, d]) => d), [{ big: 1 }, 'end'])
})

test('a batch: one result each, in order; a retry stores nothing twice', async (t) => {
  const { broker } = its
  const { view } = await broker.object('batch')
  const messages = [...range(50).map((n) => ({ object_id: 'batch', channel: 'score', data: { n } })), { object_id: 'batch', channel: 'all_json', data: {} }]
  const send = () => broker.call('POST', '/v1/publish', { auth: basic(), json: { messages }, headers: { 'Idempotency-Key': 'b-1' } })
  const [one, two] = [await send(), await send()]
  assert.equal(one.status, 200, one.text)
  assert.equal(one.json.results.length, 51)
  assert.equal(one.json.results[50].result, 4003)
  assert.deepEqual(two.json.results.map((r) => r.id), one.json.results.map((r) => r.id))
  const past = await collect(broker.client(t), view + '/score/catchup/1h')
  await until(() => past.length >= 50, 'the past')
  assert.deepEqual(past.map(([, d]) => d.n), range(50))
  assert.equal((await broker.call('POST', '/v1/publish', { auth: basic(), json: { messages: range(101).map((n) => ({ object_id: 'batch', channel: 'score', data: n })) } })).status, 413)
})

test('data stays as it was sent, large numbers too', async () => {
  const { broker } = its
  const { view } = await broker.object('exact')
  const r = await broker.call('POST', '/v1/objects/exact/publish', { auth: basic(), body: '{"channel":"n","data":{"id":12345678901234567890,"f":1.10}}', headers: { 'Content-Type': 'application/json' } })
  assert.equal(r.status, 200, r.text)
  const post = async (m) => (await broker.call('POST', '/faye', { json: m })).text
  const hello = JSON.parse(await post([{ channel: '/meta/handshake', version: '1.0', supportedConnectionTypes: ['long-polling'] }]))[0]
  const sub = await post([{ channel: '/meta/subscribe', clientId: hello.clientId, subscription: view + '/n/catchup/1h' }])
  const raw = sub.includes('12345678901234567890') ? sub : await post([{ channel: '/meta/connect', clientId: hello.clientId, connectionType: 'long-polling' }])
  assert.ok(raw.includes('{"id":12345678901234567890,"f":1.10}'), raw)
})

test('history: what a catch-up brings, by pages and by lines, with its rights (decided.md 25)', async (t) => {
  const { broker } = its
  const { view } = await broker.object('told')
  const N = 2500
  for (let n = 0; n < N; n += 100) {
    const messages = range(100).map((i) => ({ object_id: 'told', channel: 'score', data: { n: n + i } }))
    assert.equal((await broker.call('POST', '/v1/publish', { auth: basic(), json: { messages } })).status, 200)
  }
  const past = []
  const c = broker.client(t)
  const sub = c.subscribe(view + '/score/catchup/1h', () => {})
  c.addExtension({ incoming (m, pass) { if (m.channel === view + '/score/catchup/1h') past.push([m.id, m.data]); pass(m) } })
  await settled(sub, 'the catch-up')
  await until(() => past.length === N, 'the past')
  const auth = 'Bearer ' + jwt({ role: 'viewer', channel_id: 'told' })
  const get = (query, options = { auth }) => broker.call('GET', '/v1/objects/told/history?channel=score' + query, options)

  const walk = async (query, param) => {
    const pages = []
    for (let next = ''; next !== null;) {
      const r = await get(next ? `&${param}=${next}&limit=999` : query + '&limit=999')
      assert.equal(r.status, 200, r.text)
      assert.equal(r.json.truncated, false)
      pages.push(r.json.messages.map((m) => [m.id, m.data]))
      next = r.json.next
    }
    return pages
  }
  assert.deepEqual((await walk('&since=1h', 'after')).flat(), past)
  assert.deepEqual((await walk('', 'before')).reverse().flat(), past)
  const lines = await get('', { auth, headers: { Accept: 'application/x-ndjson' } })
  assert.equal(lines.headers.get('content-type'), 'application/x-ndjson; charset=utf-8')
  assert.deepEqual(lines.text.trim().split('\n').map((l) => JSON.parse(l)).map((m) => [m.id, m.data]), past)

  assert.equal((await get('', {})).status, 401)
  assert.equal((await get('', { auth: 'Bearer ' + jwt({ role: 'viewer', channel_id: 'other' }) })).status, 403)
  assert.equal((await get('&after=' + '0'.repeat(26).replace(/^0/, '7'))).status, 400)
  const events = await broker.call('GET', '/v1/objects/told/history?channel=events', { auth: basic() })
  assert.deepEqual([events.status, events.json.result], [404, 4004])
})

test('comments fill all_json; listing, late joiner, refusals (product.md §5.3)', async (t) => {
  const { broker } = its
  const id = '4580158'
  await broker.object(id, 'Stream name')
  const list = await broker.call('GET', `/api/live/list?app=${APP.name}&live_id=${id}`)
  assert.equal(list.status, 200, list.text)
  assert.equal(list.json.status, 'ok')
  const { realtime_url: url, realtime_channel: root } = list.json.live[0]
  assert.match(root, /^\/[0-9a-f]{40}$/)
  assert.ok(url.endsWith('/faye'))

  const seen = await collect(broker.client(t), root + '/all_json')
  const promoted = await collect(broker.client(t), root + '/promoted_json')
  const first = await broker.comment(id, 'first <b>!')
  await broker.comment(id, 'second')
  await until(() => seen.length === 2, 'both comments live')
  const [, got] = seen[0]
  assert.equal(got.comment_id, first.comment_id)
  assert.equal(got.content_text, 'first <b>!')
  assert.equal(got.content, 'first &lt;b&gt;!')
  assert.equal(promoted.length, 0)

  for (const transport of ['websocket', 'long-polling']) {
    const before = seen.length
    const late = broker.client(t, transport)
    const texts = []
    const subs = late.subscribe([root + '/all_json', root + '/all_json/catchup/12h'], (d) => texts.push(d.content_text))
    for (const s of subs) await settled(s, 'acknowledged')
    assert.equal(late.acks[root + '/all_json/catchup/12h'].ext.catchup.messages, before)
    await until(() => texts.length === before, 'the past')
    await broker.comment(id, 'after ' + transport)
    await until(() => texts.length === before + 1 && seen.length === before + 1, 'the future')
    assert.deepEqual(texts, seen.map(([, d]) => d.content_text))
  }
})

test('refusals come as errors Faye can parse', async (t) => {
  const { broker } = its
  const { view: root, control } = await broker.object('refuses')
  const other = '/' + (root[1] === '0' ? '1' : '0') + root.slice(2)
  const cases = [
    [root + '/all_json/catchup/12x', 400, 'Invalid catch-up interval'],
    [root + '/all_json/catchup/0h', 400, 'Invalid catch-up interval'],
    [root + '/all_json/catchup/1d', 400, 'Invalid catch-up interval'],
    [root + '/all_json/catchup/25h', 413, 'Catch-up interval too long'],
    [control + '/events/catchup/1h', 404, 'Catch-up not supported'],
    [root + '/catchup/1h', 405, 'Invalid channel'],
    ['/' + 'f'.repeat(40) + '/all_json', 403, 'Forbidden channel'],
    ['/' + 'f'.repeat(40) + '/all_json/catchup/1h', 403, 'Forbidden channel'],
    [other + '/all_json', 403, 'Forbidden channel'],
    [root + '/events', 403, 'Forbidden channel'],
    ['/**', 403, 'Forbidden channel'],
    ['/anything', 403, 'Forbidden channel'],
    [root + '/no.dots', 405, 'Invalid channel']
  ]
  for (const transport of ['websocket', 'long-polling']) {
    const c = broker.client(t, transport)
    for (const [channel, code, message] of cases) {
      const e = await refusal(c.subscribe(channel, () => {}), channel)
      assert.deepEqual([e.code, e.message], [code, message], `${transport} ${channel}`)
    }
    const e = await refusal(c.publish(root + '/chat', {}), 'publishing with the view root')
    assert.deepEqual([e.code, e.message], [403, 'Forbidden channel'])
    const f = await refusal(c.publish(root + '/all_json', {}), 'publishing a comment over Bayeux')
    assert.equal(f.code, 403)
    // The session goes on after all of this.
    const live = await collect(c, root + '/chat')
    await settled(c.publish(control + '/chat', transport), 'publishing with the control root')
    await until(() => live.length === 1, 'the message')
  }
})

test('a bad token ends in a refusal, not in a loop', async (t) => {
  const { broker } = its
  const c = broker.client(t, 'websocket', jwt({ role: 'viewer', channel_id: 'x' }).slice(0, -3) + 'AAA')
  const replies = []
  c.addExtension({ incoming (m, pass) { if (m.channel === '/meta/handshake') replies.push(m); pass(m) } })
  c.connect(() => {})
  await until(() => replies.length > 0, 'the handshake is answered')
  assert.equal(replies[0].successful, false)
  assert.match(replies[0].error, /^403:/)
  assert.equal(replies[0].advice.reconnect, 'none')
})

test('a root that was reset: the new one works, the old one does not', async (t) => {
  const { broker } = its
  const { view } = await broker.object('leaked')
  await broker.comment('leaked', 'kept')
  const r = await broker.call('POST', '/v1/objects/leaked/reset-token', { auth: basic(), json: {} })
  assert.equal(r.status, 200, r.text)
  const fresh = r.json.object.realtime_channel
  assert.notEqual(fresh, view)
  const c = broker.client(t)
  assert.equal((await refusal(c.subscribe(view + '/all_json', () => {}), 'the old root')).code, 403)
  const past = await collect(c, fresh + '/all_json/catchup/1h')
  await until(() => past.length === 1, 'the history is still that of the object')
})
