// What the end-to-end tests share: the real binary, real Faye clients, and ways
// to wait for a condition instead of for a time.
import { spawn } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after as afterAll, before } from 'node:test'
import { createRequire } from 'node:module'
import { setTimeout as after } from 'node:timers/promises'

const require = createRequire(import.meta.url)
export const faye = require('faye')
export const { Client: WireSocket } = require('faye-websocket')
faye.logger = { error () {}, warn () {} }

export const BINARY = process.env.GOBELIN && path.resolve(process.env.GOBELIN)
if (!BINARY) throw new Error('GOBELIN must name the broker binary: GOBELIN=/path/to/gobelin npm test')

export const APP = { id: 12, name: 'demo-origin', key: 'demo-app-key', secret: 'demo-token-secret' }

export const ACCOUNT = { cdn: 158, key: 'APXDEMO000000000000000000000KEY1', secret: '9c1185a5c5e9fc54612808977ee8f548b2258d31a1d2c3b4a5968778695a4b3c' }

export const ADMIN_TOKEN = 'an-operators-token-of-these-tests-alone'

export const STREAM_TOKEN = '6f46db36dd6543d2b82d91698fcd0896'

// The Faye client leaves promises without a catch when a subscription fails.
process.on('unhandledRejection', (e) => { if (!e || e.code === undefined || !Array.isArray(e.params)) throw e })

// What is to be done at a test's end, last in first out: a folder goes after the
// process that writes to it.
const endings = new WeakMap()
export const atEnd = (t, f) => {
  if (!endings.has(t)) {
    const list = []
    endings.set(t, list)
    t.after(async () => { while (list.length) await list.pop()() })
  }
  endings.get(t).push(f)
}

export const tempDir = (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'gobelin-e2e-'))
  atEnd(t, () => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 10 }))
  return dir
}

const given = new Set()

// A port that nobody has, and that was not given before: the system may offer it again.
export const freePort = () => new Promise((resolve, reject) => {
  const s = net.createServer()
  s.on('error', reject)
  s.listen(0, '127.0.0.1', () => {
    const { port } = s.address()
    const again = given.has(port)
    given.add(port)
    s.close(() => resolve(again ? freePort() : port))
  })
})

// Asks until the answer is truthy and gives it back; the only way to wait here.
export const until = async (check, what, ms = 15000) => {
  const end = Date.now() + ms
  for (;;) {
    const v = await check()
    if (v) return v
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`)
    await after(15)
  }
}

export const settled = (promise, what, ms = 15000) => {
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms) })
  // Faye's promises are thenables of its own.
  return Promise.race([new Promise((resolve, reject) => promise.then(resolve, reject)), late]).finally(() => clearTimeout(timer))
}

// Ends a stock client, also where its broker is gone: then it would try again for ever,
// with whatever transport it finds, and keep the process.
export const part = async (client) => {
  try { await settled(client.disconnect(), 'disconnect', 500) } catch { /* the broker may be gone */ }
  client._dispatcher._sendEnvelope = () => {}
  client._dispatcher.close()
}

// A broker process of one test file, on a port and a folder of its own.
export class Broker {
  constructor (verb, dir, port, adminPort, more) {
    Object.assign(this, { verb, dir, port, adminPort, more })
    this.base = `http://127.0.0.1:${port}`
    this.url = this.base + '/faye'
    this.output = ''
  }

  // dev: everything open; demo: with the ticker.
  static async dev (t, { demo = false, args = [] } = {}) {
    const more = ['--data', path.join(tempDir(t), 'data'), ...(demo ? [] : ['--no-demo']), ...args]
    return new Broker('dev', null, await freePort(), 0, more).start(t)
  }

  // serve: nothing open, one account with one application, as in production but
  // without rates, since all clients of a test come from one address.
  static async serve (t) {
    const dir = tempDir(t)
    const port = await freePort()
    const admin = await freePort()
    const file = path.join(dir, 'gobelin.yaml')
    fs.writeFileSync(file, [
      `listen: 127.0.0.1:${port}`,
      `admin: {listen: 127.0.0.1:${admin}}`,
      `store: ${JSON.stringify({ '': path.join(dir, 'data'), disk: path.join(dir, 'data'), memory: 'memory:' }[process.env.STORE || ''] || process.env.STORE)}`,
      // On a Redis the keys must be named: nodes share them.
      ...(/^redis/.test(process.env.STORE || '') ? [`keys: {identity_secret: ${b64(32)}, roots: [{kid: 0, secret: ${b64(32)}, sign: true}]}`, `redis: {prefix: e2e${crypto.randomInt(1e9)}}`] : []),
      'disk: {floor: 64MiB}',
      'accounts:',
      `  - cdn: ${ACCOUNT.cdn}`,
      `    api_key: ${ACCOUNT.key}`,
      `    api_secret: ${ACCOUNT.secret}`,
      '    apps:',
      `      - {id: ${APP.id}, name: ${APP.name}, app_key: ${APP.key}, token_secret: ${APP.secret}}`,
      'limits: {handshakes_per_ip: 0, requests_per_session: 0, publish_per_session: 0, requests_per_credential: 0, publish_per_credential: 0}',
      'drain: {time: 1s}',
      'sandbox: true',
      ''
    ].join('\n'), { mode: 0o600 })
    return new Broker('serve', dir, port, admin, ['--config', file]).start(t)
  }

  async start (t) {
    const listen = this.verb === 'dev' ? ['--listen', `127.0.0.1:${this.port}`] : []
    const child = this.child = spawn(BINARY, [this.verb, ...listen, ...this.more], { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    let announced = this.verb !== 'dev' // what dev prints last comes after it serves
    const keep = (d) => {
      this.output = (this.output + d).slice(-8000)
      announced ||= (said += d).includes('dev mode')
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    this.gone = new Promise((resolve) => {
      child.once('error', (e) => { keep(e.message); this.child = null; resolve(e) })
      child.once('exit', (code, signal) => { this.child = null; resolve(signal || code) })
    })
    if (t) atEnd(t, () => this.stop())
    await until(async () => {
      if (!this.child) throw new Error('the broker ended at once: ' + this.output)
      try { return (await fetch(this.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '[]' })).status === 200 && announced } catch { return false }
    }, () => 'the broker answers: ' + this.output)
    return this
  }

  // Ends it at once, as a power switch would, and waits until it is gone.
  async kill () {
    if (this.child) this.child.kill('SIGKILL')
    await this.gone
  }

  async stop () {
    if (!this.child) return
    this.child.kill('SIGTERM')
    const gone = await Promise.race([this.gone.then(() => true), after(10000, false, { ref: false })])
    if (!gone) { await this.kill(); throw new Error('the broker did not stop within 10 s: ' + this.output) }
  }

  async call (method, where, { auth, json, body, headers = {} } = {}) {
    const h = { ...headers }
    if (auth) h.Authorization = auth
    if (json !== undefined) { body = JSON.stringify(json); h['Content-Type'] ??= 'application/json' }
    const r = await fetch(this.base + where, { method, headers: h, body })
    const text = await r.text()
    let parsed
    try { parsed = JSON.parse(text) } catch { /* not every answer is JSON */ }
    return { status: r.status, json: parsed, text, headers: r.headers }
  }

  // Makes an object and gives its two roots.
  async object (id, name = 'Object ' + id) {
    const r = await this.call('POST', '/v1/objects', { auth: basic(), json: { object_id: id, type: 'live', name } })
    if (r.status !== 201 && r.status !== 200) throw new Error(`object ${id}: ${r.status} ${r.text}`)
    return { view: r.json.object.realtime_channel, control: r.json.object.realtime_control_channel, object: r.json.object }
  }

  async comment (id, content, token = { role: 'viewer', channel_id: id, name: 'Ernest' }) {
    const r = await this.call('POST', `/v1/objects/${id}/comments`, { auth: 'Bearer ' + jwt(token), json: { content, comment_type: 'chat' } })
    if (r.status !== 201) throw new Error(`comment: ${r.status} ${r.text}`)
    return r.json.comment
  }

  // A stock Faye client, ended with the test.
  client (t, transport = 'websocket', token = null, options = {}) {
    const c = new faye.Client(this.url, { retry: 0.5, timeout: 30, ...options })
    if (transport === 'long-polling') c.disable('websocket')
    c.acks = {}
    c.addExtension({
      outgoing (m, pass) { if (token && m.channel === '/meta/handshake') m.ext = { ...(m.ext || {}), token }; pass(m) },
      incoming (m, pass) { if (m.channel === '/meta/subscribe') c.acks[m.subscription] = m; pass(m) }
    })
    atEnd(t, () => part(c))
    return c
  }
}

const b64 = (n) => JSON.stringify(crypto.randomBytes(n).toString('base64'))

const b64u = (v) => Buffer.from(v).toString('base64url')

export const jwt = (claims, ttl = 600) => {
  const head = b64u('{"alg":"HS256","typ":"JWT"}') + '.' + b64u(JSON.stringify({ app: APP.name, exp: Math.floor(Date.now() / 1000) + ttl, ...claims }))
  return head + '.' + crypto.createHmac('sha256', APP.secret).update(head).digest('base64url')
}

export const basic = () => 'Basic ' + Buffer.from(APP.name + ':' + APP.key).toString('base64')

// Subscribes and collects [channel, data]; resolves once acknowledged.
export const collect = async (client, channels, box = []) => {
  const subs = [].concat(client.subscribe(channels, () => {}))
  for (const s of subs) s.withChannel((channel, data) => box.push([channel, data]))
  await Promise.all(subs.map((s, i) => settled(s, `${[].concat(channels)[i]} is acknowledged`)))
  return box
}

export const refusal = (promise, what) => settled(promise, what).then(() => { throw new Error('accepted: ' + what) }, (e) => e)

export const range = (n) => Array.from({ length: n }, (_, i) => i)

// One broker for all tests of a file (or of a describe): shared(Broker.serve).
export const shared = (start, options) => {
  const ends = []
  const holder = {}
  before(async () => { holder.broker = await start({ after: (f) => ends.push(f) }, options) })
  afterAll(async () => { for (const f of ends.reverse()) await f() })
  return holder
}
