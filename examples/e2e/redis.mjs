// A redis-server of a test's own, and nodes of the broker on it.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { ADMIN_TOKEN, APP, Broker, STREAM_TOKEN, atEnd, freePort, tempDir, until } from './lib.mjs'

// Whether a program is there: a reason to skip where not, but never under CI.
export const lacking = (program) => process.env.CI !== 'true' &&
  spawnSync('which', [program]).status !== 0 && `no ${program}`

export const noRedis = lacking('redis-server')

const answers = (port, host = '127.0.0.1') => new Promise((resolve) => {
  const s = net.connect(port, host, () => s.write('PING\r\n'))
  s.setTimeout(1000, () => s.destroy())
  s.once('data', (d) => { resolve(String(d).startsWith('+PONG')); s.destroy() })
  s.once('close', () => resolve(false)).on('error', () => resolve(false))
})

// Starts a process that ends with the test; what it says is in said().
export const start = (t, program, args, options = {}) => {
  let text = ''
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  for (const out of [child.stdout, child.stderr]) out.on('data', (d) => { text = (text + d).slice(-8000) })
  const gone = new Promise((resolve) => { child.once('exit', resolve); child.once('error', (e) => { text += e.message; resolve(e) }) })
  let ended = false
  gone.then(() => { ended = true })
  // In order first: a program with workers of its own would leave them behind.
  atEnd(t, async () => {
    if (!ended) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
    await gone
    clearTimeout(timer)
  })
  return { child, gone, said: () => text, ended: () => ended }
}

export const startRedis = async (t) => {
  const dir = tempDir(t)
  const port = await freePort()
  const p = start(t, 'redis-server', ['--port', port, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'yes'].map(String))
  await until(() => { if (p.ended()) throw new Error(p.said()); return answers(port) }, p.said)
  return `redis://127.0.0.1:${port}`
}

// A node of serve on a Redis, or another store, as in production, with /demo/** open: on host, with a
// port and an admin port that are the caller's.
export const startNode = async (t, store, host, port, admin) => {
  const dir = tempDir(t)
  const file = path.join(dir, 'gobelin.yaml')
  fs.writeFileSync(file, [
    `listen: ${host}:${port}`,
    `admin: {listen: "${host}:${admin}", token: ${ADMIN_TOKEN}}`,
    `store: ${store}`,
    'keys: {identity_secret: only-for-this-test-identity-secret, roots: [{kid: 0, secret: only-for-this-test-signing-secret-0, sign: true}]}',
    `accounts: [{cdn: 158, stream_token: ${STREAM_TOKEN}, apps: [{id: ${APP.id}, name: ${APP.name}, app_key: ${APP.key}, token_secret: ${APP.secret}}]}]`,
    'channels: {open: [{pattern: /demo/**, publish: anyone, history: 1h}]}',
    'limits: {handshakes_per_ip: 0, requests_per_session: 0, publish_per_session: 0, requests_per_credential: 0, publish_per_credential: 0}',
    'trusted_proxies: [127.0.0.0/8]',
    'drain: {time: 1s}',
    'sandbox: true',
    ''
  ].join('\n'), { mode: 0o600 })
  const node = new Broker('serve', dir, port, admin, ['--config', file])
  node.base = `http://${host}:${port}`
  node.url = node.base + '/faye'
  node.admin = `http://${host}:${admin}`
  return node.start(t)
}
