// The configurations of examples/proxy, with the proxies themselves: two nodes on one
// Redis, no sticky sessions, a node killed under its clients.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, test } from 'node:test'
import { Broker, collect, freePort, range, tempDir, until } from './lib.mjs'
import { lacking, noRedis, start, startNode, startRedis } from './redis.mjs'

const PLACE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../proxy')

// Addresses of the examples, as they are in a test: loopback has a whole network, so
// both nodes can have the same ports, as on two machines.
const HOSTS = ['127.0.0.11', '127.0.0.12']

const proxies = {
  nginx: {
    file: 'nginx.conf',
    check: (file) => ['-t', '-e', 'stderr', '-c', file, '-p', path.dirname(file)],
    run: (file) => ['-e', 'stderr', '-c', file, '-p', path.dirname(file), '-g', 'daemon off;'],
    adapt: (text, port) => text.replace('listen 8080', `listen 127.0.0.1:${port}`)
      .replace('http {', 'http {\n' + ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((k) => `\t${k}_temp_path tmp_${k};\n`).join(''))
  },
  haproxy: {
    file: 'haproxy.cfg',
    check: (file) => ['-c', '-f', file],
    run: (file) => ['-db', '-f', file],
    adapt: (text, port) => text.replace('bind :8080', `bind 127.0.0.1:${port}`).replace('maxconn 20000', 'maxconn 200')
  },
  caddy: {
    file: 'Caddyfile',
    check: (file) => ['validate', '--adapter', 'caddyfile', '--config', file],
    run: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
    adapt: (text, port) => text.replace('http://live.example.com', `http://127.0.0.1:${port}`)
  }
}

const metric = async (node, name) => {
  const text = await (await fetch(node.admin + '/metrics')).text()
  return text.split('\n').filter((l) => l.startsWith(name)).reduce((sum, l) => sum + Number(l.slice(l.lastIndexOf(' '))), 0)
}

// Publishes until a node has taken it. The id makes it one message, however often.
const say = async (base, n) => {
  for (;;) {
    try {
      const r = await fetch(base + '/v1/publish', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: 'Basic ' + Buffer.from('demo-origin:demo-app-key').toString('base64'), 'Idempotency-Key': 'n' + n },
        body: JSON.stringify({ messages: [{ channel: '/demo/x', data: n }] }),
        signal: AbortSignal.timeout(10000)
      })
      if (r.status === 200) { const { results } = await r.json(); if (results[0].id) return }
    } catch { /* the node was killed over it */ }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const numbers = (box) => box.map(([, d]) => d)
const once = (list) => [...new Set(list)]

// An EventSource as a browser has it: the first message after the head.
const firstEvent = async (base, t) => {
  const call = async (m) => (await (await fetch(base + '/faye', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([m]) })).json())[0]
  const { clientId } = await call({ channel: '/meta/handshake', version: '1.0', supportedConnectionTypes: ['eventsource'] })
  const stop = new AbortController()
  t.after(() => stop.abort())
  const r = await fetch(`${base}/faye/${clientId}`, { headers: { Accept: 'text/event-stream' }, signal: stop.signal })
  assert.equal(r.status, 200)
  assert.match(r.headers.get('content-type'), /text\/event-stream/)
  assert.equal((await call({ channel: '/meta/subscribe', clientId, subscription: '/demo/event', id: '2' })).successful, true)
  assert.equal((await call({ channel: '/demo/event', data: 'as it comes', id: '3' })).successful, true)
  let text = ''
  for await (const part of r.body) {
    text += Buffer.from(part)
    if (text.includes('as it comes')) return
  }
  throw new Error('the stream ended: ' + text)
}

for (const [name, proxy] of Object.entries(proxies)) {
  describe(`behind ${name}`, { skip: noRedis || lacking(name) || (process.platform !== 'linux' && 'loopback has one address') }, () => {
    test('the example is valid as it is', () => {
      const dir = fs.mkdtempSync(path.join(fs.realpathSync('/tmp'), 'gobelin-proxy-'))
      try {
        fs.copyFileSync(path.join(PLACE, proxy.file), path.join(dir, proxy.file))
        const r = spawnSync(name, proxy.check(path.join(dir, proxy.file)), { encoding: 'utf8' })
        assert.equal(r.status, 0, r.stdout + r.stderr)
      } finally { fs.rmSync(dir, { recursive: true }) }
    })

    test('clients of all transports, on two nodes, one of which is killed', async (t) => {
      const store = await startRedis(t)
      const [port, admin, front] = [await freePort(), await freePort(), await freePort()]
      const nodes = []
      for (const host of HOSTS) nodes.push(await startNode(t, store, host, port, admin))
      const dir = tempDir(t)
      const file = path.join(dir, proxy.file)
      let text = proxy.adapt(fs.readFileSync(path.join(PLACE, proxy.file), 'utf8'), front)
      text = text.replaceAll('10.0.0.11:8000', `${HOSTS[0]}:${port}`).replaceAll('10.0.0.12:8000', `${HOSTS[1]}:${port}`).replaceAll('port 8001', `port ${admin}`).replaceAll('health_port 8001', `health_port ${admin}`)
      fs.writeFileSync(file, text)
      const p = start(t, name, proxy.run(file), { cwd: dir, env: { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir } })
      const base = `http://127.0.0.1:${front}`
      await until(async () => {
        if (p.ended()) throw new Error(p.said())
        try { return (await fetch(base + '/faye', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '[]' })).status === 200 } catch { return false }
      }, p.said)

      const front2 = Object.assign(Object.create(Broker.prototype), { base, url: base + '/faye' })
      await say(base, 0)
      const boxes = []
      for (const transport of ['websocket', 'long-polling', 'websocket', 'long-polling']) {
        boxes.push(await collect(front2.client(t, transport), ['/demo/x', '/demo/x/catchup/1h']))
      }
      for (const n of range(20)) await say(base, n + 1)
      for (const b of boxes) {
        await until(() => b.length >= 21, () => `${b.length} of 21`)
        assert.deepEqual(numbers(b), range(21), 'each once, in order')
      }
      await firstEvent(base, t)
      for (const node of nodes) assert.ok(await metric(node, 'gobelin_received_messages_total') > 0, 'both nodes are asked')

      await nodes[0].kill()
      for (const n of range(20)) await say(base, n + 21)
      for (const b of boxes) {
        await until(() => once(numbers(b)).length >= 41, () => `${once(numbers(b)).length} of 41 after the death`, 30000)
        assert.deepEqual(once(numbers(b)), range(41), 'none missing, in order')
      }
      const late = await collect(front2.client(t, 'long-polling'), '/demo/x/catchup/1h')
      await until(() => late.length >= 41, 'a late joiner')
      assert.deepEqual(numbers(late), range(41))
    })
  })
}
