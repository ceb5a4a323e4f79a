// Viewer statistics as their analysts ask for them (examples.md A5), from Node, from PHP
// and with what is altered on the way; and the examples of ../viewer-log, as they are.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { basic, block, serveOn } from './blocks.mjs'
import { ACCOUNT, APP, BINARY, tempDir } from './lib.mjs'

const run = promisify(execFile)
const MIN = 60000
const ansi = (t) => new Date(t).toISOString().slice(0, 19).replace('T', ' ')
const base = () => ({ command: 'viewer.log', api_key: ACCOUNT.key, timestamp: Math.floor(Date.now() / 1000), cdn: ACCOUNT.cdn })
const mac = (text) => crypto.createHmac('sha256', ACCOUNT.secret).update(text).digest('base64')
// Signs the text and appends the member last.
const sign = (req) => { const j = JSON.stringify(req); return j.slice(0, -1) + ',"signature":' + JSON.stringify(mac(j)) + '}' }

block('A5 (S1-S12, S14): viewer.log', async ({ call }) => {
  const log = async (q, text) => (await call('POST', '/stable/', {
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: 'json=' + encodeURIComponent(text ?? sign({ ...base(), ...q }))
  })).json
  const now = Date.now()
  const m0 = Math.floor((now - 120 * MIN) / MIN) * MIN
  const put = (samples) => call('POST', '/v1/stats/samples', { auth: basic('demo-origin'), json: { samples } })

  // five samples inside one minute give the row of the source document
  const url = 'sestore3/username/path/filename.mp4'
  assert.equal((await put([10, 10, 20, 30, 30].map((count, i) => ({ url, time: ansi(m0 + i * 12000), count })))).status, 200)
  let r = await log({ app: 'demo-origin', graph: 1, url, starttime: ansi(m0) })
  assert.deepEqual({ ...r, handle_time: 0 }, {
    message: 'Found viewers',
    status: 'success',
    handle_time: 0,
    data: [{ app: 'demo-origin', video_url: url, viewer_count_avg: 20, viewer_count_min: 10, viewer_count_max: 30, viewer_count_sum: 100, time: ansi(m0) }]
  })
  assert.match(r.handle_time, /^\d+\.\d{4} seconds$/)

  // wildcards, alternatives, arrays; one row per application, url and time
  await put([['mystream_720p', 4], ['mystream_360p', 6], ['other', 9]].map(([u, count]) => ({ url: u, time: ansi(m0), count })))
  const urls = async (url) => (await log({ app: 12, graph: 1, url, starttime: ansi(m0) })).data.map((d) => d.video_url).sort()
  assert.deepEqual(await urls('mystream_*'), ['mystream_360p', 'mystream_720p'])
  assert.deepEqual(await urls('mystream_720p|other'), ['mystream_720p', 'other'])
  assert.deepEqual(await urls(['mystream_3*', url]), ['mystream_360p', url])
  assert.deepEqual(await urls('stream_*'), [])
  assert.equal((await log({ app: ['demo-origin', 13], graph: 1, starttime: ansi(m0) })).data.length, 4)

  // without starttime the window ends now; hour and day rows add up; results start on or after starttime
  assert.equal((await log({ app: 'demo-origin', graph: 1, url: 'other' })).data.length, 1)
  r = await log({ app: 'demo-origin', graph: 3, url, starttime: ansi(Math.floor(m0 / 3600000) * 3600000) })
  assert.equal(r.data[0].viewer_count_sum, 100)
  assert.match(r.data[0].time, /:00:00$/)
  assert.deepEqual((await log({ app: 'demo-origin', graph: 1, url, starttime: ansi(m0 + 1000) })).data, [])
  assert.equal((await log({ app: 'demo-origin', graph: 1, url: 'nothing', starttime: ansi(m0) })).status, 'success')

  // failures
  const fails = async (code, q, text) => { const f = await log(q, text); assert.equal(f.status, 'failure'); assert.equal(f.code, code, f.message) }
  await fails('0006', { app: 'demo-origin' })
  await fails('2001', { app: 'demo-origin', graph: 5 })
  await fails('2002', { app: 'demo-origin', graph: 1, starttime: 'yesterday' })
  await fails('2003', { app: 'not-mine', graph: 1 })
  await fails('0000', { command: 'viewer.nothing', app: 'demo-origin', graph: 1 })
  await fails('0002', { timestamp: Math.floor(now / 1000) - 3600, app: 'demo-origin', graph: 1 })
  await fails('0003', null, sign({ ...base(), app: 'demo-origin', graph: 1 }).replace('"graph":1', '"graph":2'))
  await fails('0001', { cdn: 159, app: 'demo-origin', graph: 1 })
  // the vector of the documentation is well signed, and of 2014
  await fails('0002', null, '{"command":"viewer.log","api_key":"APXDEMO000000000000000000000KEY1","timestamp":1411312260,"cdn":158,"app":"demo-origin","graph":1,"url":"sestore3\\/username\\/path\\/filename.mp4","starttime":"2014-09-21 15:00:00","signature":"LiC7NjiHZy+Cj8AGbiWnKVS6MlPBz6EFXR\\/EDrkoZWk="}')
})

const noPHP = process.env.CI !== 'true' && await run('php', ['--version']).then(() => false, () => 'no php')
const examples = fileURLToPath(new URL('../viewer-log', import.meta.url))

test('PHP signs requests that pass, and the alterations of security.md §2.1 fail (S2, S3)', { skip: noPHP }, async (t) => {
  const broker = await serveOn(t)
  const env = { ...process.env, BROKER: broker.base, KEY: ACCOUNT.key, SECRET: ACCOUNT.secret, CDN: String(ACCOUNT.cdn) }
  const php = (args, more = {}) => run('php', [path.join(examples, 'viewer-log.php'), ...args], { env: { ...env, ...more } })
  const url = 'sestore3/caf\u00e9/filename.mp4'
  const m0 = Math.floor((Date.now() - 60 * MIN) / MIN) * MIN
  const added = await broker.call('POST', '/v1/stats/samples', { auth: basic('demo-origin'), json: { samples: [10, 30].map((count, i) => ({ url, time: m0 / 1000 + i, count })) } })
  assert.equal(added.status, 200, added.text)
  for (const FORM of ['multipart', 'urlencoded']) {
    const { stdout } = await php([APP.name, url, '1', ansi(m0)], { FORM })
    assert.equal(stdout, `${ansi(m0)}  ${APP.name}  ${url}  avg 20, min 10, max 30, sum of samples 40\n`, FORM)
  }
  assert.match((await php([APP.name, 'nothing'])).stdout, /No viewers found/)
  await assert.rejects(php([APP.name, url], { SECRET: 'x' + ACCOUNT.secret }), /refused: 0003/)

  const { stdout: sent } = await php([APP.name, url, '1', ansi(m0)], { PRINT: '1' })
  assert.match(sent, /sestore3\\\/caf\\u00e9\\\/filename\.mp4/, 'PHP escapes slashes and what is not ASCII')
  const ask = async (body) => (await broker.call('POST', '/stable/', { headers: { 'Content-Type': 'application/json' }, body })).json
  assert.equal((await ask(sent)).status, 'success')
  const signature = JSON.parse(sent).signature
  const without = sent.replace(/,"signature":"[^"]*"/, '')
  const withSignature = (value) => without.slice(0, -1) + `,"signature":${value}}`
  const hex = Buffer.from(signature, 'base64').toString('hex')
  const good = JSON.stringify(signature)
  for (const [what, code, body] of [
    ['duplicate signature', '0003', sent.slice(0, -1) + `,"signature":${good}}`],
    ['duplicate other member', '0004', sent.slice(0, -1) + ',"graph":1}'],
    ['escaped name alone', '0003', sent.replace('"signature"', '"\\u0073ignature"')],
    ['escaped name beside', '0003', sent.slice(0, -1) + `,"\\u0073ignature":${good}}`],
    ['number', '0003', withSignature('7')],
    ['array', '0003', withSignature(`[${good}]`)],
    ['40 characters', '0003', withSignature(JSON.stringify(signature.slice(0, 40)))],
    ['43 characters', '0003', withSignature(JSON.stringify(signature.slice(0, 43)))],
    ['hex', '0003', withSignature(JSON.stringify(hex))],
    ['line break in the base64', '0003', withSignature(JSON.stringify(signature.slice(0, 20) + '\n' + signature.slice(20)))],
    ['changed value', '0003', sent.replace('"graph":1', '"graph":2')],
    ['changed blank', '0003', sent.replace('"graph":1', '"graph": 1')],
    ['written anew without escapes', '0003', JSON.stringify(JSON.parse(sent))],
    ['trailing bytes', '0004', sent + 'x'],
    ['signature as the only member', '0001', `{"signature":${JSON.stringify(mac('{}'))}}`],
    ['no signature', '0003', without],
    ['an array of it', '0004', `[${sent}]`]
  ]) {
    const answer = await ask(body)
    assert.equal(answer.status, 'failure', what)
    assert.equal(answer.code, code, `${what}: ${answer.message}`)
  }
})

test('the counts of a CDN are imported from its log (S14)', async (t) => {
  const broker = await serveOn(t)
  const file = path.join(tempDir(t), 'access.log')
  const m0 = Math.floor((Date.now() - 60 * MIN) / MIN) * MIN
  const stamp = (t) => { const [, d, m, y, clock] = /^\w+, (\d+) (\w+) (\d+) ([\d:]+)/.exec(new Date(t).toUTCString()); return `${d}/${m}/${y}:${clock} +0000` }
  const line = (viewer, slot, where = 'show-7/main/seg_1.ts') => `198.51.100.${viewer} - - [${stamp(m0 + slot * 12000 + viewer)}] "GET /${where} HTTP/1.1" 200 18233 "-" "player/1"`
  // 2, 2, 3, 1 and 1 viewers in the five samples of a minute; a playlist is nobody
  const lines = [line(1, 0), line(2, 0), line(1, 0, 'show-7/main/seg_2.ts'), line(1, 1), line(2, 1), line(1, 2), line(2, 2), line(3, 2), line(1, 3), line(1, 4), line(9, 4, 'show-7/main/list.m3u8'), line(5, 0, 'film/one.m4s?x=1')]
  fs.writeFileSync(file, lines.join('\n') + '\n')
  const env = { ...process.env, BROKER: broker.base, APP: APP.name, KEY: APP.key }
  const asked = async () => {
    const r = await broker.call('POST', '/stable/', { headers: { 'Content-Type': 'application/json' }, body: sign({ ...base(), app: APP.name, graph: 1, starttime: ansi(m0) }) })
    return r.json.data.map((d) => [d.video_url, d.viewer_count_avg, d.viewer_count_min, d.viewer_count_max, d.viewer_count_sum])
  }
  for (const time of ['once', 'twice']) {
    const { stdout } = await run(process.execPath, [path.join(examples, 'import-cdn.mjs'), file], { env })
    assert.match(stdout, /^6 samples imported, 1 other lines passed over/, time)
    assert.deepEqual(await asked(), [['film', 1, 1, 1, 1], ['show-7/main', 2, 1, 3, 9]], time)
  }
})

test('gobelin stats and gobelin sign against a broker', async (t) => {
  const broker = await serveOn(t)
  const m0 = Math.floor((Date.now() - 60 * MIN) / MIN) * MIN
  await broker.call('POST', '/v1/stats/samples', { auth: basic('demo-origin'), json: { samples: [{ url: 'show-7', time: m0 / 1000, count: 7 }] } })
  const env = { ...process.env, GOBELIN_URL: broker.url, GOBELIN_API_KEY: ACCOUNT.key, GOBELIN_API_SECRET: ACCOUNT.secret }
  const { stdout } = await run(BINARY, ['stats', '--app', APP.name, '--cdn', String(ACCOUNT.cdn)], { env })
  assert.match(stdout, /demo-origin +show-7 +7 +7 +7 /)
  const signing = spawn(BINARY, ['sign', '--complete', '--cdn', String(ACCOUNT.cdn)], { env })
  signing.stdin.end('{"command":"viewer.log","app":"demo-origin","graph":1}\n')
  let body = ''
  for await (const part of signing.stdout) body += part
  const r = await broker.call('POST', '/stable/', { headers: { 'Content-Type': 'application/json' }, body })
  assert.deepEqual(r.json.data?.map((d) => d.viewer_count_max), [7], r.text)
})

test('the chart of an object, framed by another page', async (t) => {
  const broker = await serveOn(t, ['stats: {public: true}'])
  const { view, control } = await broker.object('show-7', 'Show 7 <b>')
  await broker.call('POST', '/v1/stats/samples', { auth: basic('demo-origin'), json: { samples: [{ url: 'show-7', time: Math.floor(Date.now() / 1000) - 3600, count: 7 }] } })
  for (const root of [view, control]) {
    const page = await broker.call('GET', '/stats' + root)
    assert.equal(page.status, 200)
    assert.match(page.headers.get('content-security-policy'), /default-src 'none'.*frame-ancestors \*/)
    assert.match(page.text, /Viewers of Show 7 &lt;b&gt;, 6 hours/)
    assert.match(page.text, /Most: 7 at /)
    const image = await broker.call('GET', `/stats${root}/chart.svg?graph=4`)
    assert.equal(image.headers.get('content-type'), 'image/svg+xml')
  }
  const altered = view.slice(0, -1) + (view.endsWith('0') ? '1' : '0')
  assert.equal((await broker.call('GET', '/stats' + altered)).status, 404)
  await broker.call('POST', '/v1/objects/show-7/reset-token', { auth: basic('demo-origin') })
  assert.equal((await broker.call('GET', '/stats' + view)).status, 404)
  const shy = await serveOn(t)
  const roots = await shy.object('show-7')
  assert.equal((await shy.call('GET', '/stats' + roots.view)).status, 404)
  assert.equal((await shy.call('GET', '/stats' + roots.control)).status, 200)
})
