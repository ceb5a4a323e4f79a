// The operator's console in Chromium: what its tests and its pictures share.
import assert from 'node:assert/strict'
import path from 'node:path'
import { ADMIN_TOKEN, APP, freePort, jwt, settled, tempDir, until } from './lib.mjs'
import { startNode } from './redis.mjs'

// Texts that run in a page that takes them for markup or script.
export const HOSTILE = ['<img src=x onerror="globalThis.owned=1">', '</script><script>globalThis.owned=1</script>', '"><svg onload=globalThis.owned=1>', '\u2028globalThis.owned=1\u2029', 'javascript:globalThis.owned=1']

// A node with an admin listener of its own, as in production.
export const serve = async (t, store = path.join(tempDir(t), 'data')) => startNode(t, store, '127.0.0.1', await freePort(), await freePort())

// Where the console of a broker is, and its token: of dev, what it prints.
export const consoleOf = (broker) => {
  if (broker.verb === 'dev') {
    const [, url, token] = /console\s+(\S+)#token=(\S+)/.exec(broker.output)
    return { url, token }
  }
  return { url: `${broker.admin}/console/`, token: ADMIN_TOKEN }
}

// watched notes whatever a page should not do: complain, break its policy, ask elsewhere.
export const watched = async (context, broker) => {
  const page = await context.newPage()
  page.setDefaultTimeout(30000)
  page.complaints = []
  const own = new URL(consoleOf(broker).url).origin
  page.on('pageerror', (e) => page.complaints.push(e.message))
  page.on('console', (m) => { if (m.type() === 'error' && !/^Failed to load resource/.test(m.text())) page.complaints.push(m.text()) })
  page.on('request', (r) => { if (new URL(r.url()).origin !== own && !r.url().startsWith('blob:')) page.complaints.push('asked ' + r.url()) })
  await page.addInitScript(() => {
    globalThis.violations = []
    document.addEventListener('securitypolicyviolation', (e) => globalThis.violations.push(`${e.violatedDirective} ${e.blockedURI}`))
  })
  return page
}

// clean fails where a page has done what it should not.
export const clean = async (page) => {
  assert.deepEqual(page.complaints, [])
  assert.deepEqual(await page.evaluate(() => [globalThis.violations, globalThis.owned]), [[], undefined])
}

// Opens the console with its token at a page.
export const enter = async (context, broker, place = '#/overview') => {
  const page = await watched(context, broker)
  const { url, token } = consoleOf(broker)
  await page.goto(url + '#token=' + token)
  await page.waitForSelector('#page h1')
  if (place !== '#/overview') await visit(page, place)
  return page
}

export const visit = async (page, place) => {
  await page.evaluate((p) => { location.hash = p }, place)
  await page.waitForFunction((p) => location.hash === p && document.querySelector('#page h1'), place)
}

export const place = (name, params = {}) => '#/' + name + (Object.keys(params).length ? '?' + new URLSearchParams(params) : '')

// state waits for what the console says of itself.
export const state = (page, want) => page.waitForFunction((w) => document.getElementById('state').dataset.state === w, want, { timeout: 30000 })

// tile is the text of a figure of the overview.
export const tile = (page, name) => page.$$eval('.tiles > div', (l, n) => l.find((d) => d.querySelector('dt').textContent === n)?.querySelector('dd').textContent, name)

// What the operator may ask himself, without the page.
export const ask = async (broker, path, { method = 'GET', json } = {}) => {
  const { url, token } = consoleOf(broker)
  const r = await fetch(url + path, { method, headers: { Authorization: 'Bearer ' + token }, body: json && JSON.stringify(json) })
  const text = await r.text()
  assert.equal(r.status < 300, true, `${path}: ${r.status} ${text}`)
  return JSON.parse(text)
}

const app = (broker) => (broker.verb === 'dev' ? 'dev' : APP.name)
export const operator = (broker, path, options) => ask(broker, `as/${app(broker)}/v1/${path}`, options)
export { app as appOf }

// Something of everything: an object with hostile names, messages, an accumulation, data,
// listeners with tokens.
export const populate = async (t, broker) => {
  const id = `gala ${HOSTILE[0]}`.slice(0, 150)
  await operator(broker, 'objects', { method: 'POST', json: { object_id: id, name: HOSTILE[1], owner_ref: 'org-7', url: HOSTILE[4] } })
  const o = (await operator(broker, 'objects/' + encodeURIComponent(id))).object
  for (const text of HOSTILE) {
    await operator(broker, `objects/${encodeURIComponent(id)}/publish`, { method: 'POST', json: { channel: 'chat', data: { text } } })
    await operator(broker, 'e/accumulate?' + new URLSearchParams({ id: 'poll', channel_id: id }), { method: 'POST', json: { text } })
  }
  await operator(broker, 'data/room?' + new URLSearchParams({ object_id: id }), { method: 'POST', json: { [HOSTILE[0]]: HOSTILE[1] } })
  if (broker.verb !== 'serve') return { id, view: o.realtime_channel }
  const c = broker.client(t, 'websocket', jwt({ role: 'viewer', channel_id: id, name: HOSTILE[0], user_ref: HOSTILE[2], user_id: 'u1' }))
  await settled(c.subscribe(o.realtime_channel + '/chat', () => {}), 'a listener')
  return { id, view: o.realtime_channel, client: c }
}

// Every page there is, as places.
export const pages = (broker, id, session) => ({
  overview: place('overview'),
  channels: place('channels'),
  channel: place('channel', { app: app(broker), object: id, channel: 'chat' }),
  objects: place('objects', { app: app(broker) }),
  ...Object.fromEntries(['channels', 'roots', 'accumulations', 'data', 'viewers', 'settings'].map((tab) => ['object-' + tab, place('object', { app: app(broker), id, tab })])),
  sessions: place('sessions'),
  ...(session ? { session: place('session', { id: session }) } : {}),
  streams: place('streams'),
  tools: place('tools')
})

// settledPage waits until a page has what it asks for.
export const settledPage = (page) => until(() => page.evaluate(() => ![...document.querySelectorAll('#page [role=status]')].some((e) => e.textContent === 'Loading…') && !document.querySelector('.stale')), 'the page has loaded')
