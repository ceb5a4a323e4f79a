// Merges of one document on three nodes of one Redis.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freePort, jwt, settled, until } from './lib.mjs'
import { noRedis, startNode, startRedis } from './redis.mjs'

test('E16: many writers on three nodes, over HTTP and Bayeux: every key, every version, in order on each', { skip: noRedis }, async (t) => {
  const store = await startRedis(t)
  const nodes = []
  for (let i = 0; i < 3; i++) nodes.push(await startNode(t, store, '127.0.0.1', await freePort(), await freePort()))
  const room = 'room-nodes'
  const { view } = await nodes[0].object(room)
  const token = (ref) => jwt({ role: 'participant', channel_id: room, user_ref: ref })
  const heard = []
  for (const [i, node] of nodes.entries()) {
    const box = []
    const c = node.client(t, i % 2 ? 'long-polling' : 'websocket', token('reader' + i))
    await settled(c.subscribe(view + '/data/room', (m) => box.push(m)), 'a subscription')
    heard.push(box)
  }
  const merge = async (node, ref, json) => {
    for (;;) { // 503 is definite: nothing was changed
      const r = await node.call('POST', '/v1/data/room', { auth: 'Bearer ' + token(ref), json })
      if (r.status === 200) return
      assert.equal(r.status, 503, r.text)
    }
  }
  const N = 24
  const writers = []
  for (let i = 0; i < N; i++) {
    writers.push(merge(nodes[i % 3], 'h' + i, { ['h' + i]: [] }))
    const c = nodes[(i + 1) % 3].client(t, i % 2 ? 'websocket' : 'long-polling', token('b' + i))
    writers.push(settled(c.publish(view + '/data/room', { ['b' + i]: { n: i } }), 'a merge over Bayeux', 30000))
  }
  await Promise.all(writers)
  const versions = Array.from({ length: 2 * N + 1 }, (_, i) => i)
  for (const [i, node] of nodes.entries()) {
    const r = await node.call('GET', '/v1/data/room', { auth: 'Bearer ' + token('reader' + i) })
    assert.equal(Object.keys(r.json.data).length, 2 * N)
    assert.equal(r.json.version, 2 * N)
    await until(() => heard[i].length >= 2 * N + 1, () => `${heard[i].length} messages`)
    assert.deepEqual(heard[i].map((m) => m.version), versions)
  }
})
