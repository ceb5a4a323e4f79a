// Two nodes on one Redis: what the first minutes with them look like.
import assert from 'node:assert/strict'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Broker, collect, freePort, settled, tempDir, until } from './lib.mjs'
import { launch, noBrowser, openPage } from './browser.mjs'
import { noRedis, startRedis } from './redis.mjs'

// Two nodes of dev with their secrets in one folder.
const twoNodes = async (t) => {
  const store = await startRedis(t)
  const data = path.join(tempDir(t), 'secrets')
  const nodes = []
  for (let i = 0; i < 2; i++) {
    nodes.push(await new Broker('dev', null, await freePort(), 0, ['--store', store, '--data', data]).start(t))
  }
  return nodes
}

const ticks = (box) => box.map(([, d]) => d).filter((d) => d && d.run)

// Numbers of each run rise by one from 1: none twice, none missing, none out of order.
const clean = (list) => {
  const last = new Map()
  for (const { run, n } of list) {
    assert.equal(n, (last.get(run) ?? (last.size ? 0 : n - 1)) + 1, JSON.stringify(list))
    last.set(run, n)
  }
  return last.size
}

describe('two nodes', { skip: noRedis }, () => {
  test('one ticks; what it says is heard on the other; killed, the other ticks on', async (t) => {
    const [first, second] = await twoNodes(t)
    const boxes = []
    for (const transport of ['websocket', 'long-polling']) {
      boxes.push(await collect(second.client(t, transport), ['/demo/ticks', '/demo/ticks/catchup/1h']))
    }
    await until(() => boxes.every((b) => ticks(b).length >= 4), 'ticks of the first on the second')
    for (const b of boxes) assert.equal(clean(ticks(b)), 1, 'one node ticks')
    await first.kill()
    const had = Math.max(...boxes.map((b) => ticks(b).length))
    await until(() => boxes.every((b) => ticks(b).length >= had + 5), 'ticks go on')
    for (const b of boxes) assert.equal(clean(ticks(b)), 2, 'the other took over')
    // Who comes now gets the whole past, of both.
    const late = await collect(second.client(t), ['/demo/ticks', '/demo/ticks/catchup/1h'])
    await until(() => ticks(late).length >= had + 6, 'a late joiner')
    assert.equal(clean(ticks(late)), 2)
    // And the first comes back without a second ticker.
    await first.start()
    const back = await collect(first.client(t), ['/demo/ticks', '/demo/ticks/catchup/1h'])
    const seen = ticks(boxes[0]).length
    await until(() => ticks(boxes[0]).length >= seen + 4, 'ticks')
    assert.equal(clean(ticks(boxes[0])), 2)
    assert.equal(clean(ticks(back)), 2)
  })

  test('/try on the second shows the ticks of the first, and 0/0/0 after its death', { skip: noBrowser }, async (t) => {
    const [first, second] = await twoNodes(t)
    const page = await openPage(await launch(t), second.base + '/try')
    const more = (id, n) => page.waitForFunction(([id, n]) => Number(document.getElementById(id).textContent) >= n, [id, n], { timeout: 20000 })
    const number = (id) => page.$eval('#' + id, (e) => Number(e.textContent))
    await more('live', 3)
    await first.kill()
    await more('live', await number('live') + 4)
    for (const id of ['duplicates', 'gaps', 'disorder']) assert.equal(await number(id), 0, id)
    assert.deepEqual(page.complaints, [])
  })

  test('roots and history are the same on both', async (t) => {
    const [first, second] = await twoNodes(t)
    const dev = first.output.match(/app_key (\S+), /)[1]
    assert.ok(second.output.includes(dev), 'one account')
    const auth = 'Basic ' + Buffer.from('dev:' + dev).toString('base64')
    const made = await first.call('POST', '/v1/objects', { auth, json: { object_id: 'show', type: 'live', name: 'Show' } })
    assert.equal(made.status, 201, made.text)
    const root = made.json.object.realtime_channel
    const live = await collect(second.client(t), root + '/score')
    const said = await first.call('POST', '/v1/objects/show/publish', { auth, json: { channel: 'score', data: { home: 1 } } })
    assert.equal(said.status, 200, said.text)
    await until(() => live.length === 1, 'live on the other node')
    const past = await collect(second.client(t, 'long-polling'), root + '/score/catchup/1h')
    await until(() => past.length === 1, 'the past on the other node')
    const read = await second.call('GET', '/v1/objects/show/history?channel=score', { auth })
    assert.equal(read.json.messages[0].id, said.json.id)
    await settled(first.client(t).publish('/demo/x', 1), 'publish')
  })
})
