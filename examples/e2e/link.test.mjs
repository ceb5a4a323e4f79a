// A plain Faye client, without any extension of ours, whose link is cut while messages
// go on, and which comes back to another node: it gets what it missed, and never
// handshakes again.
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { atEnd, collect, faye, freePort, part, range, settled, until } from './lib.mjs'
import { noRedis, startNode, startRedis } from './redis.mjs'

// A link that can be cut and leads to one node after the other.
const startLink = (t, nodes) => new Promise((resolve, reject) => {
  const link = { to: 0, open: true, pairs: new Set() }
  const server = net.createServer((near) => {
    if (!link.open) return near.destroy()
    const far = net.connect(nodes[link.to].port, '127.0.0.1')
    const pair = [near, far]
    link.pairs.add(pair)
    const end = () => { near.destroy(); far.destroy(); link.pairs.delete(pair) }
    for (const [from, to] of [[near, far], [far, near]]) from.on('data', (d) => to.write(d)).on('error', end).on('close', end)
  })
  link.cut = () => { link.open = false; for (const [near, far] of link.pairs) { near.destroy(); far.destroy() } }
  link.mend = (to) => { link.to = to; link.open = true }
  atEnd(t, () => { link.cut(); server.close() })
  server.on('error', reject)
  server.listen(0, '127.0.0.1', () => { link.port = server.address().port; resolve(link) })
})

for (const transport of ['websocket', 'long-polling']) {
  test(`a plain Faye client over ${transport} gets what it missed, on any node, without a handshake`, { skip: noRedis }, async (t) => {
    const store = await startRedis(t)
    const nodes = []
    for (let i = 0; i < 3; i++) nodes.push(await startNode(t, store, '127.0.0.1', await freePort(), await freePort()))
    const link = await startLink(t, nodes)
    const client = new faye.Client(`http://127.0.0.1:${link.port}/faye`, { retry: 0.2, timeout: 10 })
    if (transport === 'long-polling') client.disable('websocket')
    let handshakes = 0
    let subscribes = 0
    client.addExtension({
      outgoing (m, pass) {
        if (m.channel === '/meta/handshake') handshakes++
        if (m.channel === '/meta/subscribe') subscribes++
        pass(m)
      }
    })
    atEnd(t, () => part(client))
    const say = async (n) => {
      const r = await fetch(nodes[n % 3].url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel: '/demo/link', data: n }]) })
      assert.equal((await r.json())[0].successful, true)
    }
    const got = await collect(client, '/demo/link')
    const seen = () => new Set(got.map(([, n]) => n))
    let said = 0
    for (let i = 0; i < 10; i++) await say(said++)
    await until(() => seen().size === said, 'the first ones')
    for (const round of range(4)) {
      link.cut()
      for (let i = 0; i < 25; i++) await say(said++)
      link.mend((round + 1) % 3)
      await until(() => seen().size === said, () => `round ${round}: ${seen().size} of ${said}`, 30000)
      await say(said++)
      await until(() => seen().size === said, 'and what is live', 30000)
    }
    assert.deepEqual([...seen()].sort((a, b) => a - b), range(said), 'nothing is lost')
    // What comes again is only what was on its way when the link was cut.
    const once = got.map(([, n]) => n).filter((n, i, all) => all.indexOf(n) === i)
    assert.deepEqual(once, range(said), 'in order')
    assert.equal(handshakes, 1, 'one handshake')
    assert.equal(subscribes, 1, 'one subscription')
    await settled(client.publish('/demo/link', said), 'it can publish, too')
  })
}
