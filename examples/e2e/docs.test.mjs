// Every code block of README.md, CONTRIBUTING.md and the guides, from the text itself:
// commands are run, answers compared, pages opened, configurations checked. A block that
// no claim takes fails; blocks may move between files.
// A new block is claimed here by its first line, or its beginning.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { APP, freePort, settled, until } from './lib.mjs'
import { launch, noBrowser, openPage } from './browser.mjs'
import { lacking, noRedis, startRedis } from './redis.mjs'
import { ROOT, blocks, blocksOf } from './docs.mjs'
import { World, alike, json } from './docs-world.mjs'

// A block that another test runs: that one says each of the words.
const elsewhere = (file, ...words) => () => {
  const text = fs.readFileSync(path.join(ROOT, file), 'utf8')
  for (const w of words) assert.ok(text.includes(w), `${file} says ${w}`)
}

// Commands that cannot be carried out here: the shell takes them, every path of the
// repository is there, and gobelin knows its verbs and flags.
const parses = async (b, w) => {
  execFileSync('bash', ['-n', '-c', b.text])
  const joined = b.text.replace(/\\\n/g, ' ')
  for (const [, file] of joined.matchAll(/(?:^|[ =])(examples\/[\w./-]+)/g)) assert.ok(fs.existsSync(path.join(ROOT, file)), file)
  for (const [, args] of joined.matchAll(/(?:^|[;&|] *|taskset -c \d )(?:\.\/)?gobelin ([^#&|\n]*)/gm)) {
    await w.sh(`gobelin ${args.replace(/\$\w+/g, '1')} --help`)
  }
}

// Requests with a server key, which are answered with result 0.
const asked = async (b, w) => {
  await w.show()
  const out = await w.sh(b.text, await w.serve())
  if (!b.text.includes('ndjson')) assert.equal(json(out).result, 0, out)
  else assert.ok(out.trim().split('\n').every((l) => JSON.parse(l).id), out)
}

// A configuration, whole but for what stands for secrets.
const secrets = 'identity_secret: only-for-this-test-identity-secret, roots: [{kid: 0, secret: only-for-this-test-signing-secret-0, sign: true}]'
const config = async (b, w) => {
  const keys = `{${secrets}}`
  const apps = `[{id: ${APP.id}, name: ${APP.name}, app_key: ${APP.key}, token_secret: ${APP.secret}}]`
  let text = b.text.replaceAll('{…}', keys).replaceAll('[…]', `[{apps: ${apps}}]`).replaceAll('[...]', apps)
  const store = await startRedis(w.t)
  text = text.replace(/redis:\/\/gobelin\S*/, store)
  const file = path.join(w.dir, 'checked.yaml')
  fs.writeFileSync(file, text + '\nsandbox: true\n', { mode: 0o600 })
  await w.sh('gobelin check --config checked.yaml', null, { GOBELIN_REDIS: store, STREAM_TOKEN: w.streamToken, ...(/^keys/m.test(text) ? {} : { GOBELIN_STORE: 'memory:' }) })
}

// A snippet of a page, with a client of Faye; it is run in a function that has names.
const snippet = (text, names) => new Function(...Object.keys(names), text)(...Object.values(names))

const transcript = async (b, w) => {
  const { url, env } = await w.addresses()
  const lines = b.text.split('\n')
  const [first, ...rest] = lines.filter((l) => l.startsWith('$ ')).map((l) => l.slice(2))
  const ready = `until curl -sf -o /dev/null -d message='[]' ${url}; do sleep 0.05; done`
  const commands = rest.flatMap((l) => (/ & /.test(l) ? [l, 'other=$!'] : [l]))
  const out = await w.sh([first, 'server=$!', ready, ...commands, 'wait $other', 'kill $server', 'wait'].join('\n'), null, { ...env, GOBELIN_URL: url })
  const mask = (l) => l.replace(/^[0-9A-HJKMNP-TV-Z]{26}$/, 'id')
  assert.deepEqual(out.trim().split('\n').map(mask).sort(), lines.filter((l) => !l.startsWith('$ ')).map(mask).sort())
}

const page = async (b, w) => {
  if (noBrowser) return
  const broker = await w.dev()
  const file = path.join(w.dir, 'page.html')
  fs.writeFileSync(file, w.here(b.text, broker))
  const p = await openPage(await launch(w.t), pathToFileURL(file).href)
  const count = () => p.$$eval('#list li', (l) => l.length)
  await until(async () => await count() >= 2, 'the past')
  const past = await count()
  await until(async () => await count() >= past + 2, 'live messages')
  assert.deepEqual(p.complaints, [])
}

// The two halves of the quickstart are in two terminals.
const early = async (b, w) => {
  const broker = await w.dev()
  const [pub, sub] = b.text.split('\n')
  await w.sh(pub, broker)
  w.waiting = w.runs(sub.replace(/ #.*/, ''), broker)
  await w.waiting.shows('{"text":"early"}')
}

const late = async (b, w) => {
  await w.sh(b.text, await w.dev())
  for (const text of ['{"text":"live"}', '{"text":"curl"}']) await w.waiting.shows(text)
}

const production = async (b, w) => {
  const dir = fs.mkdtempSync(path.join(w.dir, 'production-'))
  fs.symlinkSync(path.join(w.dir, 'gobelin'), path.join(dir, 'gobelin'))
  const commands = b.text.split(/\n|&&/).map((l) => l.replace(/ #.*/, '').trim())
  const { env } = await w.addresses()
  await w.sh(commands.slice(0, -1).join('\n'), null, env, dir)
  assert.equal(fs.statSync(path.join(dir, 'gobelin.yaml')).mode & 0o777, 0o600)
  await w.runs(commands.at(-1), null, env, dir).shows('ready')
}

const routes = async (b, w) => {
  const { json: api } = await (await w.serve()).call('GET', '/openapi.json')
  const known = Object.entries(api.paths).map(([p, ops]) => [new RegExp('^' + p.replace(/\{\w+\}/g, '[^/]+') + '$'), ops])
  for (const line of b.text.split('\n')) {
    const [, method, where] = /^([A-Z]+) +([^ ?[]+)/.exec(line)
    assert.ok(known.some(([p, ops]) => p.test(where) && ops[method.toLowerCase()]), line)
  }
}

const signature = async (b, w) => {
  const bin = path.join(w.dir, 'fake')
  fs.mkdirSync(bin)
  fs.writeFileSync(path.join(bin, 'curl'), '#!/bin/sh\nprintf "%s\\n" "$@"\n', { mode: 0o755 })
  const out = await w.sh(`PATH=${bin}:$PATH sh ${ROOT}/examples/publishers/curl/signed.sh show-7 signed '{}'`, await w.serve())
  const grammar = b.text.replace('<api_key>', '\\w+').replace('<unix seconds>', '\\d+').replace('<16 to 64 of A-Za-z0-9_->', '[\\w-]{16,64}').replace('<base64>', '[\\w+/=]+')
  assert.match(out, new RegExp(grammar))
}

// The object's session ends, so that its document begins anew.
const anew = async (broker) => {
  const auth = 'Basic ' + Buffer.from(`${APP.name}:${APP.key}`).toString('base64')
  await broker.call('DELETE', '/v1/objects/show-7/sessions', { auth })
  return auth
}

// Requests, each with the answer that stands behind it.
const answered = async (b, w) => {
  const broker = await w.serve()
  await w.show()
  await anew(broker)
  const env = {
    VIEWER: w.token('viewer', { opaque_user_id: 'A1954218' }),
    CASTER: w.token('broadcaster', { opaque_user_id: 'U1' }),
    TOKEN: w.token('participant', { name: 'Ann', user_ref: 'ann' })
  }
  const parts = b.text.split(/^(?=curl )/m)
  assert.ok(parts.length > 0)
  for (const part of parts) {
    const [command, ...rest] = part.split(/\n(?=→|\{)/)
    const want = rest.join('\n').replace(/^→ */, '')
    alike(json(want.replaceAll('"…"', '""')), json(await w.sh(command, broker, env)), command)
  }
}

const dataPage = async (b, w) => {
  const broker = await w.serve()
  const { view } = await w.show()
  const shown = []
  const client = broker.client(w.t, 'websocket', w.token('broadcaster', { user_ref: 'caster' }))
  snippet(b.text, { client, ROOT: view, show: (m) => shown.push(m) })
  await until(() => shown.length, 'a snapshot')
  await settled(client.publish(view + '/data/session', { then: 1 }), 'a change')
  await until(() => shown.length >= 2 && shown.at(-1).changes.then, () => JSON.stringify(shown))
  assert.deepEqual([shown[0].op, shown.at(-1).op], ['snapshot', 'set'])
}

const livePage = async (b, w) => {
  const broker = await w.serve()
  const { view } = await w.show()
  const shown = []
  await broker.comment('show-7', 'first')
  snippet(b.text, { client: broker.client(w.t), ROOT: view, doStuff: (m) => shown.push(m.content_text) })
  await until(() => shown.includes('first'), 'the past')
  await broker.comment('show-7', 'second')
  await until(() => shown.includes('second'), 'what comes')
}

const historyExtension = async (b, w) => {
  const broker = await w.serve()
  const module = { exports: {} }
  new Function('module', await (await fetch(broker.url + '/history.js')).text())(module)
  const { view } = await w.show()
  const client = broker.client(w.t)
  snippet(b.text, { client, GobelinHistory: module.exports })
  const got = []
  await settled(client.subscribe(view + '/all_json/catchup/12h', (m) => got.push(m)), 'the past')
  const n = await until(() => got.length, 'messages')
  await settled(client.subscribe(view + '/all_json/catchup/12h', () => {}), 'the past again')
  await settled(client.subscribe(view + '/x'), 'a round trip')
  assert.equal(got.length, n)
}

const statistics = async (b, w) => {
  const { control } = await w.show()
  for (const line of b.text.split('\n')) {
    const [channel] = line.split(/ {2,}/)
    await settled((await w.serve()).client(w.t).subscribe(channel.replace('/<control root>', control)), channel)
  }
}

const streams = async (b, w) => {
  const broker = await w.serve()
  const [, make, connect, replay, record] = b.text.split('\n').map((l) => l.replace(/ #.*/, ''))
  const env = { TOKEN: w.streamToken }
  const id = json(await w.sh(make, broker, env))
  const first = (text) => w.runs(text.replace('<id>', id.stream?.id ?? id.id), broker, env)
  const [filtered, whole] = [first(connect), first(replay)]
  await filtered.shows('"type":"message"')
  await w.sh(record.replace('-u demo:', `-u ${APP.name}:`), broker, env)
  await whole.shows('4711')
  assert.ok(!filtered.text.includes('4711'), 'an order is no message or comment')
}

const openapi = async (b, w) => assert.match(json(await w.sh(b.text, await w.serve())).openapi, /^3\.1/)

const nodes = async (b, w) => {
  if (noRedis) return
  const store = await startRedis(w.t)
  const [a, z] = [await w.addresses(), await w.addresses()]
  const lines = b.text.split('\n').map((l) => l.replace(/ #.*/, '').replace('redis://127.0.0.1:6379', store))
  assert.match(lines[1], /127\.0\.0\.1:8002/)
  w.runs(lines[0], null, { GOBELIN_LISTEN: `127.0.0.1:${a.port}` })
  w.runs(lines[1].replace('127.0.0.1:8002', `127.0.0.1:${z.port}`))
  const answers = (n) => fetch(n.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '[]' }).then((r) => r.ok, () => false)
  await until(async () => await answers(a) && await answers(z), 'both nodes')
  const out = w.runs('gobelin sub /demo/docs', null, { GOBELIN_URL: z.url })
  const timer = setInterval(() => w.sh('gobelin pub /demo/docs 1', null, { GOBELIN_URL: a.url }).catch(() => {}), 500)
  try { await out.shows('1') } finally { clearInterval(timer) }
}

const copied = async (b, w) => {
  if (noRedis) return
  const store = await startRedis(w.t)
  const dir = path.join(w.dir, 'copied')
  fs.mkdirSync(dir)
  const { env, url } = await w.addresses()
  const open = 'channels: {open: [{pattern: /demo/**, publish: anyone, history: 1h}]}\n'
  fs.writeFileSync(path.join(dir, 'old.yaml'), 'store: ./data\n' + open, { mode: 0o600 })
  const old = w.runs('gobelin serve --config old.yaml', null, env, dir)
  await old.shows('ready')
  await w.sh('gobelin pub /demo/copied 7', null, { GOBELIN_URL: url })
  await old.stop()
  const keys = fs.readFileSync(path.join(dir, 'data/keys.yaml'), 'utf8')
  fs.writeFileSync(path.join(dir, 'new.yaml'), `store: ${store}\n${open}${keys}`, { mode: 0o600 })
  const commands = b.text.split('\n').map((l) => l.replace(/ #.*/, '').replace('redis://10.0.0.2:6379', store))
  await w.sh(commands.slice(0, -1).join('\n'), null, env, dir)
  await w.runs(commands.at(-1), null, env, dir).shows('ready')
  await w.runs('gobelin sub /demo/copied --since 1h', null, { GOBELIN_URL: url }).shows('7')
}

// The stock client is at hand in the suite's own packages.
const stockClient = async (b, w) => {
  const dir = fs.mkdtempSync(path.join(w.dir, 'page-'))
  const [install, copy, serve] = b.text.split('\n')
  const modules = new URL('node_modules/faye/', import.meta.url)
  assert.equal(install, `npm install --no-save --no-package-lock faye@${JSON.parse(fs.readFileSync(new URL('package.json', modules))).version}`)
  fs.cpSync(modules, path.join(dir, 'node_modules/faye'), { recursive: true })
  await w.sh(copy, null, {}, dir)
  if (lacking('python3') || process.env.CI === 'true') return
  const port = await freePort()
  w.runs(serve.replace('8080', port), null, {}, dir)
  await until(() => fetch(`http://127.0.0.1:${port}/faye-browser-min.js`).then((r) => r.ok, () => false), serve)
}

const conditional = async (b, w) => {
  await w.show()
  const broker = await w.serve()
  const asked = w.here(b.text, broker)
  const version = Number(/If-Match: "(\d+)"/.exec(asked)[1])
  const where = '/v1/data/session?object_id=show-7'
  const auth = await anew(broker)
  for (let n = 0; ; n++) {
    const { json } = await broker.call('POST', where, { auth, json: { n } })
    assert.ok(json.version <= version, `version ${json.version}`)
    if (json.version === version) break
  }
  assert.equal(json(await w.sh(b.text, broker)).version, version + 1)
  assert.equal(json(await w.sh(b.text.replace('-X POST', '-s -X POST'), broker)).result, 4012)
  // What follows finds an empty session, as its reader does.
  assert.equal((await broker.call('DELETE', '/v1/objects/show-7/sessions', { auth })).status, 200)
}

const cleared = async (b, w) => {
  const broker = await w.serve()
  await w.show()
  const out = await w.sh(b.text, broker, { TOKEN: w.token('broadcaster', { opaque_user_id: 'U1' }) })
  assert.match(out, /observed/)
}

const suite = async (b, w) => {
  const broker = await w.dev()
  for (const line of b.text.split('\n')) {
    if (!line.startsWith('node ')) continue
    const out = await w.sh(line + ' --kind clients --only "CometD over WebSocket"', broker, {}, path.join(ROOT, 'examples/conformance'))
    assert.match(out, /1 passed, 0 failed/)
  }
}

const targets = async (b, w) => {
  for (const line of b.text.split('\n')) if (line.startsWith('make')) await w.sh(`make -n ${line.replace(/ #.*/, '').slice(4)} CI=`, null, {}, ROOT)
}

const charts = async (b, w) => {
  const { view } = await w.show()
  const broker = await w.serve()
  for (const [, src] of b.text.matchAll(/src="https:\/\/live\.example\.com(\S+)"/g)) {
    const r = await broker.call('GET', src.replace(/\/[0-9a-f]{40}/, view))
    assert.equal(r.status, 200, src)
    assert.match(r.headers.get('content-type'), src.includes('.svg') ? /svg/ : /html/)
    assert.doesNotMatch(r.headers.get('content-security-policy'), /frame-ancestors 'none'/)
    assert.equal(r.headers.get('x-frame-options'), null)
  }
}

const viewerRow = elsewhere('examples/e2e/viewer-log.test.mjs', 'viewer_count_avg')

const claims = [
  ['nice -n 19 taskset -c 1 ./gobelin bench catchup', parses],
  ['$ ./gobelin dev', transcript],
  ['<script src="http://127.0.0.1:8000/faye/client.js">', page],
  ['git clone https://', elsewhere('examples/e2e/first-minutes.test.mjs', 'git clone https://')],
  ["./gobelin pub /demo/hello '{\"text\":\"early\"}'", early],
  ["./gobelin pub /demo/hello '{\"text\":\"live\"}'", late],
  ['./gobelin init', production],
  ['gobelin init && gobelin serve', production],
  ['curl -u "$APP:$KEY"', asked],
  ['curl -u NAME:KEY -X POST -H \'If-Match', conditional],
  ['curl -u NAME:KEY', asked],
  ['{"result":0', (b, w) => alike(json(b.text), json(w.said))],
  ['POST   /v1/objects/', routes],
  ['Gobelin-Signature: ', signature],
  ['curl -H "Authorization: demo-origin $VIEWER"', answered],
  ['curl -H "Authorization: Bearer $TOKEN"', answered],
  ["client.subscribe(ROOT + '/data/session'", dataPage],
  ["client.subscribe([ROOT + '/all_json'", livePage],
  ['client.addExtension(new GobelinHistory())', historyExtension],
  ['/<control root>/stats/live', statistics],
  ['{"app":"demo-origin","video_url"', viewerRow],
  ["gobelin stats 'show-*'", elsewhere('cmd/gobelin/testdata/stats.txt', 'gobelin stats', 'VIEWER-MINUTES')],
  ['{"command":"viewer.log"', elsewhere('examples/e2e/viewer-log.test.mjs', 'viewer.log', 'signature')],
  ['<iframe src="https://live.example.com/stats/', charts],
  ['TOKEN=…', streams],
  ['curl http://127.0.0.1:8000/openapi.json', openapi],
  ['gobelin dev --store redis://', nodes],
  ['listen: 10.0.0.11:8000', config],
  ['keys:    ', (b, w) => config({ text: 'store: "memory:"\n' + b.text.replace(/^keys:.*/, 'keys:\n  ' + secrets.replace(', roots', '\n  roots')) }, w)],
  ['accounts: [{cdn: 158, stream_token', config],
  ['ACL SETUSER gobelin', elsewhere('cmd/gobelin/acl_test.go', 'ACL SETUSER', 'examples/nodes/README.md')],
  ['gobelin check --config new.yaml', copied],
  ['make ', targets],
  ['npm install --no-save', stockClient],
  ['npm install', suite],
  ['install -m 0755 gobelin', parses],
  ['docker build', parses],
  ['umask 077', parses],
  ['gobelin backup', parses],
  ['sha256sum -c', parses],
  ['gobelin dev --no-demo --mounts', elsewhere('examples/e2e/migrating.test.mjs', 'gobelin dev --no-demo --mounts /cometd')],
  ['node faye.js', elsewhere('examples/e2e/migrating.test.mjs', 'node faye.js /demo/news')],
  ['node cometd.js', elsewhere('examples/e2e/migrating.test.mjs', 'node cometd.js /demo/news')],
  ['node salesforce.js', elsewhere('examples/e2e/migrating.test.mjs', 'node salesforce.js', 'gobelin sub')],
  ['curl -X DELETE -H "Authorization: NAME $TOKEN"', cleared],
  ['APP=dev KEY=… sh evening.sh', elsewhere('examples/e2e/comments.test.mjs', 'evening.sh')],
  ['KEY=… SECRET=… CDN=158 php viewer-log.php', elsewhere('examples/e2e/viewer-log.test.mjs', 'viewer-log.php')],
  ['APP=… KEY=… node import-cdn.mjs', elsewhere('examples/e2e/viewer-log.test.mjs', 'import-cdn.mjs')],
  // Any other command line of ours at least has its verbs and flags.
  ['gobelin ', parses],
  ['./gobelin ', parses]
]

const all = blocks()
const claimOf = (b) => claims.find(([first]) => b.first.startsWith(first))

test('every block is claimed', (t) => {
  assert.ok(all.length > 40, `${all.length} blocks`)
  assert.deepEqual(all.filter((b) => !claimOf(b)).map((b) => `${b.file}:${b.line} ${b.first}`), [])
  const used = new Set(all.map(claimOf))
  for (const [first] of claims.filter((c) => !used.has(c))) t.diagnostic(`a claim without a block: ${first}`)
})

test('blocks are found: fenced, indented, in lists', () => {
  const text = 'a\n\n```sh\none\n\ntwo\n```\n\n    three\n\n    four\n\n1. b\n\n       five\n   c\n\n   ```\n   six\n   ```\n- d\n    no\n'
  assert.deepEqual(blocksOf(text).map((b) => [b.line, b.lang, b.text]), [[3, 'sh', 'one\n\ntwo'], [9, '', 'three\n\nfour'], [15, '', 'five'], [18, '', 'six']])
})

// In order: an answer is that of the command before it.
test('what the blocks say', { timeout: 300000 }, async (t) => {
  const w = new World(t)
  for (const b of all) {
    if (!claimOf(b)) continue
    await t.test(`${b.file}:${b.line} ${b.first.slice(0, 60)}`, { timeout: 90000 }, () => claimOf(b)[1](b, w))
  }
})
