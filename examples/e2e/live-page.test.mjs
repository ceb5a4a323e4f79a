// The sample page as a user would copy it: stock Faye client, another origin, a
// signed root, in a real browser. Past then future, once each, in order.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { describe, test } from 'node:test'
import { Broker, range, shared, until } from './lib.mjs'
import { launch, noBrowser, openPage, site } from './browser.mjs'

const SOURCE = fs.readFileSync(new URL('../live-page/index.html', import.meta.url), 'utf8')

const pageFor = (url, root, channel = 'all_json') => {
  const html = SOURCE
    .replace("'http://127.0.0.1:8000/faye'", JSON.stringify(url))
    .replace("'/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62'", JSON.stringify(root))
    .replaceAll('/all_json', '/' + channel)
  assert.ok(html.includes(url) && html.includes(root), 'the placeholders of the page are filled in')
  return html
}

const items = (page) => page.$$eval('#comments li', (list) => list.map((li) => li.textContent))
const has = (page, n) => page.waitForFunction((n) => document.querySelectorAll('#comments li').length >= n, n, { timeout: 20000 })

describe('sample page in Chromium', { skip: noBrowser }, () => {
  const its = shared(Broker.serve)

  for (const transport of ['websocket', 'long-polling']) {
    test(`early and late, ${transport}`, async (t) => {
      const { broker } = its
      const id = 'show-' + transport
      const { view } = await broker.object(id)
      const origin = await site(t, { '/': pageFor(broker.url, view) })
      const context = await launch(t)
      const sockets = []
      context.on('page', (p) => p.on('websocket', (ws) => sockets.push(ws.url())))
      if (transport === 'long-polling') await context.addInitScript(() => { delete window.WebSocket })

      // The early one is there before anything was said.
      const early = await openPage(context, origin + '/')
      await early.waitForFunction(() => document.getElementById('state').textContent === 'connected')
      for (const n of range(20)) await broker.comment(id, `past ${n}`)
      await has(early, 20)

      // The late one joins while comments are being written.
      let stop = false
      let said = 20
      const writer = (async () => { while (!stop) await broker.comment(id, `flow ${said++}`) })()
      const late = await openPage(context, origin + '/')
      await late.waitForFunction(() => document.getElementById('state').textContent === 'connected')
      await has(late, 21)
      stop = true
      await writer
      for (const n of range(5)) await broker.comment(id, `end ${n}`)

      const want = [...range(20).map((n) => `past ${n}`), ...range(said - 20).map((n) => `flow ${n + 20}`), ...range(5).map((n) => `end ${n}`)]
        .map((s) => 'Ernest: ' + s)
      for (const page of [early, late]) {
        await until(async () => (await items(page)).at(-1) === want.at(-1), 'the last comment is on the page')
        assert.deepEqual(await items(page), want)
        assert.deepEqual(page.complaints, [])
      }
      assert.equal(sockets.length > 0, transport === 'websocket', 'the transport asked for was used')
    })
  }

  test('HTML comments catch up as the JSON ones do', async (t) => {
    const { broker } = its
    const id = 'show-html'
    const { view } = await broker.object(id)
    for (const n of range(3)) await broker.comment(id, `<b>${n}</b>`)
    const html = pageFor(broker.url, view, 'all_html').replace("comment.name + ': ' + comment.content_text", 'comment.html')
    const origin = await site(t, { '/': html })
    const late = await openPage(await launch(t), origin + '/')
    await has(late, 3)
    await broker.comment(id, 'live & well')
    await has(late, 4)
    const got = await items(late)
    assert.equal(got.length, 4)
    assert.deepEqual(got.map((s) => s.includes('<b>')), [false, false, false, false], 'what people wrote is escaped')
    assert.ok(got[0].includes('&lt;b&gt;0&lt;/b&gt;') && got[3].includes('live &amp; well'))
  })

  test('a wrong root is refused in words, and the page lives on', async (t) => {
    const { broker } = its
    const origin = await site(t, { '/': pageFor(broker.url, '/' + 'f'.repeat(40)) })
    const page = await openPage(await launch(t), origin + '/')
    await page.waitForFunction(() => document.getElementById('state').textContent === 'refused: Forbidden channel')
    assert.deepEqual(await items(page), [])
  })
})
