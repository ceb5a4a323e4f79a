// The page of /try with our own client: it joins late, the counters stay 0.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Broker, shared, tempDir, until } from './lib.mjs'
import { launch, noBrowser, openPage, site } from './browser.mjs'

const number = (page, id) => page.$eval('#' + id, (e) => Number(e.textContent))
const counters = async (page) => ({ duplicates: await number(page, 'duplicates'), gaps: await number(page, 'gaps'), disorder: await number(page, 'disorder') })
const more = (page, id, n) => page.waitForFunction(([id, n]) => Number(document.getElementById(id).textContent) >= n, [id, n], { timeout: 20000 })
const clean = { duplicates: 0, gaps: 0, disorder: 0 }

describe('/try in Chromium', { skip: noBrowser }, () => {
  const its = shared(Broker.dev, { demo: true })

  test('joins late: past, then live, counters 0; all buttons and both transports', async (t) => {
    const { broker } = its
    const context = await launch(t, { viewport: { width: 1280, height: 900 } })
    const page = await openPage(context, broker.base + '/try')
    await more(page, 'live', 3)
    for (const transport of ['websocket', 'long-polling']) {
      await page.check(`input[value="${transport}"]`)
      for (const interval of ['30s', '5m', '1h']) {
        await page.click(`button[data-catchup="${interval}"]`)
        assert.equal(await page.getAttribute(`button[data-catchup="${interval}"]`, 'aria-pressed'), 'true')
        await more(page, 'past', 3)
        await more(page, 'live', 1)
        assert.deepEqual(await counters(page), clean, `${transport}, ${interval}`)
        assert.equal(await page.textContent('#state-text'), 'connected, ' + transport)
      }
    }
    const dir = path.join(os.tmpdir(), 'gobelin-screenshots')
    fs.mkdirSync(dir, { recursive: true })
    await page.screenshot({ path: path.join(dir, 'try.png'), fullPage: true })
    t.diagnostic('screenshot: ' + path.join(dir, 'try.png'))
    assert.deepEqual(page.complaints, [])
  })

  test('publishing, text shown as text, the counters see what is wrong', async (t) => {
    const { broker } = its
    const page = await openPage(await launch(t), broker.base + '/try')
    await more(page, 'live', 1)
    await page.fill('#text', '{"html":"<img src=x onerror=alert(1)>"}')
    await page.press('#text', 'Enter')
    await page.waitForFunction(() => [...document.querySelectorAll('#messages .data')].some((e) => e.textContent.includes('<img src=x')))
    assert.equal(await page.$$eval('#messages img', (l) => l.length), 0)
    await page.waitForFunction(() => document.getElementById('note').textContent.startsWith('published'))
    for (const n of [1, 2, 2, 5, 4]) {
      await page.fill('#text', JSON.stringify({ run: 'by hand', n }))
      await page.press('#text', 'Enter')
      await page.waitForFunction((want) => document.querySelector('#messages li .data') && [...document.querySelectorAll('#messages .data')].slice(0, 4).some((e) => e.textContent === want), JSON.stringify({ run: 'by hand', n }))
    }
    await page.waitForFunction(() => document.getElementById('disorder').textContent === '1')
    assert.deepEqual(await counters(page), { duplicates: 1, gaps: 1, disorder: 1 })
  })

  test('under its policy, with no byte from elsewhere', async (t) => {
    const { broker } = its
    const r = await broker.call('GET', '/try/')
    assert.equal(r.status, 200)
    assert.match(r.headers.get('content-security-policy') || r.text, /default-src 'none'; script-src 'self'; style-src 'self'/)
    const context = await launch(t)
    const asked = []
    context.on('request', (q) => asked.push(q.url()))
    const page = await openPage(context, broker.base + '/try/')
    await more(page, 'live', 1)
    assert.deepEqual(asked.filter((u) => !u.startsWith(broker.base)), [])
    assert.deepEqual(page.complaints, [])
  })

  for (const from of ['another origin', 'a file on disk']) {
    test(`the snippet works from ${from}`, async (t) => {
      const { broker } = its
      const context = await launch(t)
      const page = await openPage(context, broker.base + '/try')
      const html = await page.textContent('#snippet')
      let url
      if (from === 'another origin') {
        url = await site(t, { '/': html })
      } else {
        const file = path.join(tempDir(t), 'late.html')
        fs.writeFileSync(file, html)
        url = pathToFileURL(file).href
      }
      const copy = await openPage(context, url)
      const count = () => copy.$$eval('#list li', (l) => l.length)
      await until(async () => await count() >= 3, () => 'messages on the page: ' + copy.complaints.join('; '))
      const past = await count()
      await until(async () => await count() >= past + 2, 'live messages')
      const numbers = await copy.$$eval('#list li', (l) => l.map((li) => JSON.parse(li.textContent)).filter((d) => d.run !== 'by hand' && d.n !== undefined).map((d) => d.n).reverse())
      assert.deepEqual(numbers, numbers.map((_, i) => numbers[0] + i))
    })
  }

  test('transport:down and up are shown, and nothing is missed meanwhile', async (t) => {
    const broker = await Broker.dev(t, { demo: true })
    const page = await openPage(await launch(t), broker.base + '/try')
    await more(page, 'live', 2)
    await broker.kill()
    await page.waitForFunction(() => document.getElementById('state').dataset.state === 'down', null, { timeout: 20000 })
    await broker.start()
    await page.waitForFunction(() => document.getElementById('state').dataset.state === 'up', null, { timeout: 20000 })
    const live = await number(page, 'live')
    await more(page, 'live', live + 2)
    assert.deepEqual(await counters(page), clean)
  })
})
