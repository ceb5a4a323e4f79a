// What the commands of the documentation run in: brokers on free ports under the
// addresses that the text names, a folder with ./gobelin, and the secrets of the tests.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { ACCOUNT, APP, BINARY, Broker, STREAM_TOKEN, atEnd, freePort, jwt, tempDir, until } from './lib.mjs'
import { serveOn } from './blocks.mjs'

const once = (f) => { let made; return () => (made ??= f()) }

export class World {
  constructor (t) {
    this.t = t
    this.dir = tempDir(t)
    fs.mkdirSync(path.join(this.dir, 'bin'))
    for (const at of ['bin/gobelin', 'gobelin']) fs.symlinkSync(BINARY, path.join(this.dir, at))
    this.said = '' // by the command before
    // As in production, and as on the first day.
    this.serve = once(() => serveOn(t, ['stats: {public: true}']))
    this.dev = once(() => Broker.dev(t, { demo: true }))
  }

  env (broker, more = {}) {
    return {
      ...process.env,
      PATH: path.join(this.dir, 'bin') + ':' + process.env.PATH,
      GOBELIN_URL: broker ? broker.url : '',
      BASE: broker ? broker.base : '',
      BROKER: broker ? broker.base : '',
      APP: APP.name,
      KEY: APP.key,
      APP_KEY: APP.key,
      KID: ACCOUNT.key,
      SECRET: ACCOUNT.secret,
      ...more
    }
  }

  // A text with the addresses and names of here in place of its own.
  here (text, broker) {
    return text.replaceAll('http://127.0.0.1:8000', broker.base).replaceAll('NAME:KEY', `${APP.name}:${APP.key}`).replaceAll('NAME $TOKEN', `${APP.name} $TOKEN`)
  }

  // Runs commands as one would paste them, and gives what they print.
  async sh (text, broker, env = {}, cwd = this.dir) {
    const script = broker ? this.here(text, broker) : text
    const { stdout, stderr } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], { cwd, env: this.env(broker, env), timeout: 60000, maxBuffer: 1 << 24 })
      .catch((e) => assert.fail(`${text}\n${e.stdout}${e.stderr}${e.message}`))
    this.said = stdout
    this.complained = stderr
    return stdout
  }

  // A command that goes on until the test ends: shows(text) waits for what it prints.
  runs (command, broker, env = {}, cwd = this.dir) {
    const child = spawn('bash', ['-c', 'exec ' + (broker ? this.here(command, broker) : command)], { cwd, env: this.env(broker, env), stdio: ['ignore', 'pipe', 'pipe'] })
    const it = { text: '' }
    for (const out of [child.stdout, child.stderr]) out.on('data', (d) => { it.text += d })
    const gone = new Promise((resolve) => child.once('exit', resolve))
    it.stop = () => { child.kill('SIGTERM'); return gone }
    atEnd(this.t, () => { child.kill('SIGKILL'); return gone })
    it.shows = (text) => until(() => it.text.includes(text), () => `${command} prints ${text}; it printed ${it.text}`)
    return it
  }

  // Addresses of a node of its own, as the environment gives them.
  async addresses () {
    const [port, admin] = [await freePort(), await freePort()]
    return { port, url: `http://127.0.0.1:${port}/faye`, env: { GOBELIN_LISTEN: `127.0.0.1:${port}`, GOBELIN_ADMIN_LISTEN: `127.0.0.1:${admin}`, GOBELIN_DISK_FLOOR: '64MiB' } }
  }

  token (role, more = {}) { return jwt({ role, channel_id: 'show-7', ...more }) }
  // The object of the examples.
  show = once(async () => { const b = await this.serve(); return b.object('show-7', 'Show 7') })
  get streamToken () { return STREAM_TOKEN }
}

// Whether b is built as a is: the same members of the same types. What is null, or a
// list without elements, says nothing.
export const alike = (a, b, at = 'answer') => {
  if (a === null || b === null) return
  assert.equal(Array.isArray(b) ? 'list' : typeof b, Array.isArray(a) ? 'list' : typeof a, at)
  if (Array.isArray(a)) {
    a.forEach((x, i) => { if (i < b.length) alike(x, b[i], `${at}[${i}]`) })
  } else if (typeof a === 'object') {
    assert.deepEqual(Object.keys(b).sort(), Object.keys(a).sort(), at)
    for (const k of Object.keys(a)) alike(a[k], b[k], `${at}.${k}`)
  }
}

// JSON of a text that may leave members out by …
export const json = (text) => JSON.parse(text.trim())
