// What acceptance examples share: a whole broker for each, on an empty store, over one
// transport after the other. STORE says where: disk (a folder, unless told), memory, or
// the URL of a Redis. TRANSPORT selects one transport.
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { ACCOUNT, APP, Broker, STREAM_TOKEN, atEnd, faye, freePort, part, settled, tempDir } from './lib.mjs'

export const STORE = process.env.STORE || 'disk'
export const TRANSPORTS = process.env.TRANSPORT ? [process.env.TRANSPORT] : ['websocket', 'long-polling']

// serve, as in production but without rates: all clients of a test come from one
// address. config are further lines of its file.
export const serveOn = async (t, config = []) => {
  for (let left = 3; ; left--) {
    try { return await serveOnce(t, config) } catch (e) {
      // A port that was free may be another test file's a moment later.
      if (left === 0 || !/in use/.test(e.message)) throw e
    }
  }
}

const serveOnce = async (t, config) => {
  const dir = tempDir(t)
  const port = await freePort()
  const admin = await freePort()
  const where = { disk: path.join(dir, 'data'), memory: 'memory:' }[STORE] || STORE
  const lines = [
    `listen: 127.0.0.1:${port}`,
    `admin: {listen: 127.0.0.1:${admin}}`,
    `store: "${where}"`,
    'disk: {floor: 64MiB}',
    'accounts:',
    `  - cdn: ${ACCOUNT.cdn}`,
    `    api_key: ${ACCOUNT.key}`,
    `    api_secret: ${ACCOUNT.secret}`,
    `    stream_token: ${STREAM_TOKEN}`,
    '    apps:',
    `      - {id: ${APP.id}, name: ${APP.name}, app_key: ${APP.key}, token_secret: ${APP.secret}}`,
    '      - {id: 13, name: demo-vod, app_key: vod-app-key, token_secret: vod-token-secret}',
    'keys: {identity_secret: only-for-this-test-identity-secret, roots: [{kid: 0, secret: only-for-this-test-signing-secret-0, sign: true}]}',
    'limits: {handshakes_per_ip: 0, requests_per_session: 0, publish_per_session: 0, requests_per_credential: 0, publish_per_credential: 0}',
    'drain: {time: 1s}',
    'sandbox: true',
    ...config
  ]
  // An empty store of its own on a Redis that is there already.
  if (where === STORE) lines.push(`redis: {prefix: t${crypto.randomBytes(6).toString('hex')}}`)
  const file = path.join(dir, 'gobelin.yaml')
  fs.writeFileSync(file, lines.join('\n') + '\n', { mode: 0o600 })
  return new Broker('serve', dir, port, admin, ['--config', file]).start(t)
}

const b64u = (v) => Buffer.from(v).toString('base64url')

export const jwt = (app, claims, ttl = 600) => {
  const head = b64u('{"alg":"HS256","typ":"JWT"}') + '.' + b64u(JSON.stringify({ app, exp: Math.floor(Date.now() / 1000) + ttl, ...claims }))
  return head + '.' + crypto.createHmac('sha256', APP.secret).update(head).digest('base64url')
}

export const basic = (app) => 'Basic ' + Buffer.from(app + ':' + APP.key).toString('base64')

// The clients of one block; acknowledgements are in acks, whole messages in boxes.
class Clients {
  constructor (t, broker, transport) { Object.assign(this, { t, broker, transport }) }

  bayeux (token) {
    const c = new faye.Client(this.broker.url, { timeout: 30 })
    if (this.transport === 'long-polling') c.disable('websocket')
    c.acks = {}
    c.boxes = {}
    c.published = []
    c.addExtension({
      outgoing (m, pass) { if (token && m.channel === '/meta/handshake') m.ext = { ...(m.ext || {}), token }; pass(m) },
      incoming (m, pass) {
        if (m.channel === '/meta/subscribe') c.acks[m.subscription] = m
        if (m.successful && !m.channel.startsWith('/meta/')) c.published.push(m)
        if (m.data !== undefined && c.boxes[m.channel]) c.boxes[m.channel].push(m)
        pass(m)
      }
    })
    atEnd(this.t, () => part(c))
    return c
  }
}

// Collects whole messages of a channel; resolves once acknowledged, rejects with Faye's
// error.
export const sub = async (c, channel) => {
  const box = c.boxes[channel] = []
  await settled(c.subscribe(channel, () => {}), channel + ' is acknowledged')
  box.ack = c.acks[channel]
  return box
}

export const refused = async (c, channel) => {
  try { await settled(c.subscribe(channel, () => {}), channel + ' is refused') } catch (e) { return e }
  throw new Error('accepted: ' + channel)
}

export const sleep = (ms) => after(ms)

// Registers an example: f gets { call, bayeux, broker }.
export const block = (name, f, { config = [] } = {}) => {
  for (const transport of TRANSPORTS) {
    test(`${name}, ${transport}, ${STORE.split(':')[0]}`, async (t) => {
      const broker = await serveOn(t, config)
      const clients = new Clients(t, broker, transport)
      await f({ t, broker, call: broker.call.bind(broker), bayeux: clients.bayeux.bind(clients) })
    })
  }
}
