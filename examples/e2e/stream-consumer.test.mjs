// The consumers of ../stream-consumer, killed again and again; and readers that stop
// reading, come again at random places, or have their node killed. STORE as in blocks.mjs.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { STORE, basic, serveOn } from './blocks.mjs'
import { APP, STREAM_TOKEN as token, atEnd, freePort, range, tempDir, until } from './lib.mjs'
import { lacking, noRedis, startNode, startRedis } from './redis.mjs'
import { makeStream, nobodyReads, sse } from './streams.mjs'

const store = STORE.split(':')[0]
const where = (st) => `/streams/${st.id}/connect?token=${token}`
const names = (n) => range(n).map((i) => 'r' + i)

// Posts records r0, r1, … until it is told to stop; gives how many there are.
const publisher = (node) => {
  let n = 0
  let stop = false
  const done = (async () => {
    while (!stop) {
      const r = await node.call('POST', '/v1/records', { auth: basic(APP.name), json: { type: 'a', log_id: 'r' + n }, headers: { 'Idempotency-Key': 'r' + n } })
      if (r.status === 201) n++
      await after(5)
    }
    return n
  })()
  return { stop: () => { stop = true; return done }, count: () => n }
}

// Numbers that are the same in every run of one seed.
const seed = Number(process.env.SEED) || crypto.randomInt(1 << 30)
let state = seed
const random = (n) => {
  state = (state * 1103515245 + 12345) % 2147483648
  return Math.floor(state / 2147483648 * n)
}

const consumers = {
  node: {
    skip: false,
    kills: 12, // a start takes a second
    prepare: (t, dir) => {
      fs.copyFileSync(fileURLToPath(new URL('../stream-consumer/consumer.mjs', import.meta.url)), path.join(dir, 'consumer.mjs'))
      fs.symlinkSync(fileURLToPath(new URL('node_modules', import.meta.url)), path.join(dir, 'node_modules'))
    },
    command: (st) => [process.execPath, ['consumer.mjs', st.name]]
  },
  curl: {
    skip: lacking('curl'),
    kills: 50,
    prepare: (t, dir) => fs.copyFileSync(fileURLToPath(new URL('../stream-consumer/consume.sh', import.meta.url)), path.join(dir, 'consume.sh')),
    command: (st) => ['sh', ['consume.sh', st.id]]
  }
}

for (const [name, consumer] of Object.entries(consumers)) {
  test(`a consumer (${name}) killed ${consumer.kills} times at random sees every record, in order, ${store}`, { skip: consumer.skip, timeout: 180000 }, async (t) => {
    t.diagnostic(`SEED=${seed}`)
    const broker = await serveOn(t)
    const st = await makeStream(broker, token, { name: 'warehouse' })
    const dir = tempDir(t)
    consumer.prepare(t, dir)
    const got = []
    let said = ''
    const start = () => {
      const [program, args] = consumer.command(st)
      const child = spawn(program, args, { cwd: dir, detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, BROKER: broker.base, TOKEN: token } })
      let rest = ''
      child.stdout.on('data', (d) => {
        const lines = (rest + d).split('\n')
        rest = lines.pop()
        for (const line of lines) got.push(JSON.parse(line).log_id)
      })
      child.stderr.on('data', (d) => { said = (said + d).slice(-2000) })
      const gone = new Promise((resolve) => child.once('close', resolve))
      const kill = async () => { try { process.kill(-child.pid, 'SIGKILL') } catch { /* it has ended */ } await gone }
      atEnd(t, kill)
      return kill
    }
    const pub = publisher(broker)
    const { kills } = consumer
    for (let i = 0; i < kills; i++) {
      const kill = start()
      const had = got.length
      await until(() => got.length > had, () => 'a record: ' + said)
      await after(random(60))
      await kill()
    }
    const n = await pub.stop()
    const kill = start()
    await until(() => got.includes('r' + (n - 1)), () => `the last of ${n}: ${said}`)
    await kill()
    // What a killed one had printed and not noted comes again, and nothing else does.
    const once = got.filter((id, i) => id !== got[i - 1])
    assert.deepEqual(once, names(n))
    assert.ok(got.length - n <= kills, `${got.length - n} came again`)
  })
}

test(`a connection that is cut fifty times at random and says what it had last gets every record once, ${store}`, { timeout: 120000 }, async (t) => {
  t.diagnostic(`SEED=${seed}`)
  const broker = await serveOn(t)
  const st = await makeStream(broker, token, { name: 's' })
  const pub = publisher(broker)
  const got = []
  let last = ''
  const note = (s) => {
    const all = s.of('data')
    got.push(...all.map((e) => e.data.log_id))
    if (all.length) last = all.at(-1).id
  }
  for (let i = 0; i < 50; i++) {
    const s = await sse(t, broker.base, where(st), last ? { 'Last-Event-ID': last } : {})
    assert.equal(s.status, 200)
    await after(random(150))
    s.close()
    await s.ended // what was read by then was seen
    note(s)
  }
  const n = await pub.stop()
  const s = await sse(t, broker.base, where(st), last ? { 'Last-Event-ID': last } : {})
  await until(() => s.logs().includes('r' + (n - 1)) || got.includes('r' + (n - 1)), 'the last one')
  s.close()
  await s.ended
  note(s)
  assert.deepEqual(got, names(n))
})

test(`a reader that stops reading is waited for and loses nothing, ${store}`, { timeout: 120000 }, async (t) => {
  const broker = await serveOn(t)
  const st = await makeStream(broker, token, { name: 's' })
  const response = await new Promise((resolve, reject) => http.get(broker.base + where(st), resolve).on('error', reject))
  atEnd(t, () => response.destroy())
  response.pause()
  const pad = 'x'.repeat(100_000)
  const n = 600
  for (let i = 0; i < n; i += 30) {
    const r = await broker.call('POST', '/v1/records', { auth: basic(APP.name), json: range(30).map((k) => ({ type: 'a', log_id: 'r' + (i + k), pad })) })
    assert.equal(r.status, 201, r.text)
  }
  await after(12000) // longer than the window, with 60 MB to read
  assert.equal((await broker.call('GET', `/streams/${st.id}?token=${token}`)).json.members, 1)
  let text = ''
  response.setEncoding('utf8')
  response.on('data', (d) => { text += d })
  response.resume()
  const logs = () => [...text.matchAll(/"log_id":"(r\d+)"/g)].map((m) => m[1])
  await until(() => text.includes(`"log_id":"r${n - 1}"`), () => `${logs().length} of ${n}`, 30000)
  assert.deepEqual(logs(), names(n))
})

test('V16 on three nodes: one is killed, and what its connection had not settled goes to the others', { skip: noRedis || (process.env.STORE && 'once is enough'), timeout: 120000 }, async (t) => {
  const redis = await startRedis(t)
  const nodes = []
  for (let i = 0; i < 3; i++) nodes.push(await startNode(t, redis, '127.0.0.1', await freePort(), await freePort()))
  const st = await makeStream(nodes[0], token, { name: 's' })
  const all = []
  for (const node of nodes) all.push(await sse(t, node.base, where(st)))
  const members = async () => (await nodes[0].call('GET', `/streams/${st.id}?token=${token}`)).json.members
  assert.equal(await members(), 3)
  assert.equal((await sse(t, nodes[1].base, where(st))).status, 422)
  const pub = publisher(nodes[0])
  await until(() => all.every((s) => s.logs().length > 10), 'each has some')
  await nodes[2].kill()
  await until(async () => await members() === 2, 'its place is free')
  const n = await pub.stop()
  const others = () => new Set([...all[0].logs(), ...all[1].logs()])
  await until(() => names(n).every((id) => others().has(id) || all[2].logs().includes(id)), 'every record was seen')
  // younger than ten seconds when it died: they come again to the others
  await until(() => names(n).every((id) => others().has(id)), () => `${others().size} of ${n}`)
  const fresh = await sse(t, nodes[1].base, where(st))
  assert.equal(fresh.status, 200)
  for (const s of [...all, fresh]) s.close()
  await nobodyReads(nodes[0], token, st.id)
})

test(`V12, V14: the broker is killed ten times; what it had not settled comes again, and nothing is lost, ${store}`, { skip: STORE === 'memory' && 'it forgets', timeout: 120000 }, async (t) => {
  const broker = await serveOn(t)
  const st = await makeStream(broker, token, { name: 's' })
  const seen = []
  let sent = 0
  for (let i = 0; i < 10; i++) {
    // on Redis the place of a node that was killed is free once its lease is over
    const s = await until(async () => { const s = await sse(t, broker.base, where(st)); return s.status === 200 && s }, 'a connection')
    for (const end = sent + 20; sent < end; sent++) {
      const r = await broker.call('POST', '/v1/records', { auth: basic(APP.name), json: { type: 'a', log_id: 'r' + sent } })
      assert.equal(r.status, 201, r.text)
    }
    await until(() => s.logs().includes('r' + (sent - 1)), 'what was posted')
    await broker.kill()
    await s.ended
    seen.push(...s.logs())
    await broker.start(t)
  }
  const first = seen.filter((id, i) => seen.indexOf(id) === i)
  assert.deepEqual(first, names(sent), 'all of them, in order')
})
