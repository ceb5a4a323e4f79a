// The sample pages as they are, with our client in place of the stock one: what people
// write is text, tabs do not disturb each other, and neither a lost network nor a
// restart of the broker loses or repeats anything.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Broker, jwt, range, until } from './lib.mjs'
import { launch, noBrowser, openPage, site } from './browser.mjs'

const ENDPOINT = "'http://127.0.0.1:8000/faye'"
const ROOT = "'/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62'"

// A page with what its reader is to fill in.
const source = (name, fill) => Object.entries(fill)
  .reduce((html, [from, to]) => { assert.ok(html.includes(from), from); return html.replaceAll(from, to) }, fs.readFileSync(new URL(`../${name}`, import.meta.url), 'utf8'))

// What would run if a page took text for markup; each calls alert.
const PAYLOADS = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '"><svg onload=alert(1)>',
  "javascript:alert(1)//'><a href=javascript:alert(1)>x",
  '</title></textarea></style><iframe srcdoc="<script>parent.alert(1)</script>">',
  '{{constructor.constructor("alert(1)")()}}${alert(1)}',
  '&lt;img src=x onerror=alert(1)&gt;\u2028\u202E',
  '<details open ontoggle=alert(1)><!--'
]

// Pictures to look at, in the folder of those of /try.
const shoot = async (page, name) => {
  const dir = path.join(os.tmpdir(), 'gobelin-screenshots')
  fs.mkdirSync(dir, { recursive: true })
  for (const [kind, colorScheme, width] of [['light', 'light', 1000], ['dark', 'dark', 1000], ['phone', 'light', 390]]) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 844 })
    await page.screenshot({ path: path.join(dir, `${name}-${kind}.png`) })
  }
}

// No element came of a payload, and nothing of one ran.
const harmless = async (page, where) => {
  assert.deepEqual(page.alerts, [])
  assert.equal(await page.$$eval(`${where} :is(script, img, svg, iframe, a, details, style)`, (l) => l.length), 0)
}

const open = async (context, url) => {
  const page = await openPage(context, url)
  page.alerts = []
  page.on('dialog', (d) => { page.alerts.push(d.message()); d.dismiss() })
  return page
}

// While the network is away the browser itself complains of requests.
const complaints = (page) => page.complaints.filter((c) => !/net::ERR_|Failed to load resource|WebSocket connection/.test(c))

describe('sample pages with our client in Chromium', { skip: noBrowser }, () => {
  for (const transport of ['websocket', 'long-polling']) {
    test(`live page, ${transport}: two tabs, offline and online, a restart, a late joiner`, async (t) => {
      const broker = await Broker.serve(t)
      const { view } = await broker.object('show')
      const script = await (await fetch(broker.url + '/client.js')).text()
      const html = source('live-page/index.html', { [ENDPOINT]: JSON.stringify(broker.url), [ROOT]: JSON.stringify(view) })
      const origin = await site(t, { '/': html }, script)
      const context = await launch(t)
      if (transport === 'long-polling') await context.addInitScript(() => { delete window.WebSocket })
      const want = []
      const say = async (content) => {
        const c = await broker.comment('show', content, { role: 'viewer', channel_id: 'show', name: content.slice(0, 60) })
        want.push(`${c.name}: ${c.content_text}`)
      }
      const tabs = [await open(context, origin + '/'), await open(context, origin + '/')]
      const items = (page) => page.$$eval('#comments li', (list) => list.map((li) => li.textContent))
      const all = async (what) => {
        for (const page of tabs) {
          let got
          await until(async () => (got = await items(page)).length >= want.length, () => `${what}: ${want.length} comments, got ${got.length}`, 30000)
          assert.deepEqual(got, want, what)
        }
      }
      for (const page of tabs) await page.waitForFunction(() => document.getElementById('state').textContent === 'connected')

      for (const p of PAYLOADS) await say(p)
      await all('live')
      await context.setOffline(true)
      for (const n of range(5)) await say(`offline ${n}`)
      await context.setOffline(false)
      await say('online')
      await all('online again')

      await broker.kill()
      for (const page of tabs) await page.waitForFunction(() => document.getElementById('state').textContent.startsWith('connection lost'), null, { timeout: 20000 })
      await broker.start()
      for (const n of range(5)) await say(`restarted ${n}`)
      await all('after the restart')

      if (transport === 'websocket') await shoot(tabs[0], 'live-page')

      // One tab goes, another comes.
      await tabs.shift().close()
      tabs.push(await open(context, origin + '/'))
      await say('the last')
      await all('late')
      for (const page of tabs) {
        await harmless(page, '#comments')
        assert.deepEqual(complaints(page), [])
      }
    })
  }

  test('poll and dashboard show what people wrote as text', async (t) => {
    const broker = await Broker.serve(t)
    const { view, control } = await broker.object('show')
    const script = await (await fetch(broker.url + '/client.js')).text()
    const token = jwt({ role: 'broadcaster', channel_id: 'show', user_ref: PAYLOADS[1] })
    const origin = await site(t, {
      '/poll': source('poll/dashboard.html', { [ENDPOINT]: JSON.stringify(broker.url), [ROOT]: JSON.stringify(control) }),
      '/dashboard': source('dashboard/index.html', { "'http://127.0.0.1:8000'": JSON.stringify(broker.base), [ROOT]: JSON.stringify(view), "'eyJ…'": JSON.stringify(token) })
    }, script)
    const context = await launch(t)
    const poll = await open(context, origin + '/poll')
    const dashboard = await open(context, origin + '/dashboard')
    for (const [i, choice] of PAYLOADS.entries()) {
      const voter = jwt({ role: 'viewer', channel_id: 'show', opaque_user_id: `A${i}` })
      const r = await broker.call('POST', '/v1/e/accumulate?id=next-song', { auth: `demo-origin ${voter}`, json: { choice } })
      assert.equal(r.status, 200, r.text)
      const s = await broker.call('POST', '/v1/data/session', { auth: 'Bearer ' + token, json: { lower_third: choice, [choice]: choice } })
      assert.equal(s.status, 200, s.text)
    }
    await poll.waitForFunction((n) => document.querySelectorAll('#votes tr').length >= n, PAYLOADS.length)
    const songs = await poll.$$eval('#votes tr', (rows) => rows.map((r) => r.cells[0].textContent))
    assert.deepEqual(songs.sort(), [...PAYLOADS].sort())
    await dashboard.waitForFunction((last) => document.getElementById('lower_third').value === last, PAYLOADS.at(-1))
    for (const p of PAYLOADS) assert.ok((await dashboard.textContent('#data')).includes(JSON.stringify(p)), p)
    await shoot(poll, 'poll')
    await shoot(dashboard, 'dashboard')
    await harmless(poll, '#votes')
    await harmless(dashboard, ':is(#data, #changes, #form)')
    for (const page of [poll, dashboard]) assert.deepEqual(complaints(page), [])
  })

  test('/try shows what anybody publishes as text', async (t) => {
    const broker = await Broker.dev(t)
    const page = await open(await launch(t), broker.base + '/try')
    await page.waitForFunction(() => document.getElementById('state').dataset.state === 'up')
    for (const p of [...PAYLOADS, { [PAYLOADS[0]]: PAYLOADS[1], time: PAYLOADS[2], run: PAYLOADS[1], n: 1 }]) {
      const r = await broker.call('POST', '/faye', { json: [{ channel: '/demo/ticks', data: p }] })
      assert.equal(r.json[0].successful, true)
    }
    await page.waitForFunction((n) => document.querySelectorAll('#messages li').length >= n, PAYLOADS.length + 1)
    await harmless(page, '#messages')
    const shown = await page.$$eval('#messages .data', (l) => l.map((e) => e.textContent).reverse())
    assert.deepEqual(shown.slice(0, PAYLOADS.length).map((s) => JSON.parse(s)), PAYLOADS)
    assert.deepEqual(page.complaints, [])
  })
})
