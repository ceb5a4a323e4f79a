// The operator's console: every page with a real broker behind it.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { basic, collect, jwt, range, settled, shared, STREAM_TOKEN, until } from './lib.mjs'
import { launch, noBrowser } from './browser.mjs'
import { makeStream } from './streams.mjs'
import { appOf, ask, clean, consoleOf, enter, HOSTILE, operator, pages, place, populate, serve, settledPage, state, tile, visit, watched } from './console.mjs'

const cell = (page, row, column) => page.$$eval('#page table', (tables, [row, column]) => {
  for (const t of tables) {
    const at = [...t.querySelectorAll('thead th')].findIndex((th) => th.textContent === column)
    for (const tr of t.querySelectorAll('tbody tr')) if (at >= 0 && tr.children[0].textContent.includes(row)) return tr.children[at].textContent
  }
}, [row, column])

describe('the console', { skip: noBrowser }, () => {
  const browser = {}
  const ends = []
  let made
  after(async () => { for (const f of ends.reverse()) await f() }) // before the broker's end
  const its = shared(serve)
  before(async () => {
    const t = { after: (f) => ends.push(f) }
    browser.context = await launch(t, { viewport: { width: 1280, height: 900 }, acceptDownloads: true })
    made = await populate(t, its.broker)
  })

  const open = async (t, where) => {
    const page = await enter(browser.context, its.broker, where)
    t.after(() => page.close())
    return page
  }

  test('the overview shows what the node does', async (t) => {
    const { broker } = its
    const page = await open(t)
    const box = await collect(broker.client(t), ['/demo/a'])
    const publisher = broker.client(t)
    for (const n of range(20)) await settled(publisher.publish('/demo/a', { n }), 'a publish')
    await until(() => box.length === 20, 'deliveries')
    const truth = await until(async () => (await ask(broker, 'overview')).nodes.find((n) => n.figures.delivered >= 20), 'figures of all deliveries')
    await until(async () => Number(await tile(page, 'sessions')) === Object.values(truth.figures.sessions).reduce((a, b) => a + b, 0), 'the sessions of now')
    await until(async () => await tile(page, 'deliveries') !== '0/s' && await tile(page, 'publish to write, p99') !== '–', 'rates')
    assert.equal(await cell(page, truth.name, 'state'), 'serving')
    assert.match(await cell(page, truth.name, 'memory'), /MiB/)
    assert.equal(await cell(page, 'publishes stored', 'total'), String((await ask(broker, 'overview')).nodes[0].figures.published))
    // The hour begins with two samples; the chart is read by keyboard.
    await page.waitForFunction(() => /latest \d/.test(document.querySelector('.plot svg').getAttribute('aria-label')), null, { timeout: 45000 })
    await page.focus('.plot')
    await page.keyboard.press('ArrowLeft')
    await page.waitForFunction(() => /^at /.test(document.querySelector('.when').textContent) && /delivered .*received/.test(document.querySelector('.plot [aria-live]').textContent))
    await page.keyboard.press('Escape')
    await page.waitForFunction(() => document.querySelector('.when').textContent === 'latest')
    await page.click('.chart summary')
    await page.waitForSelector('.chart details[open] tbody tr') // the page fills it once it is open
    await clean(page)
  })

  test('channels are searched, one that was silent by its whole name', async (t) => {
    const page = await open(t, place('channels'))
    await page.waitForSelector('tbody tr')
    assert.equal(await cell(page, `${made.id}/chat`, 'kept'), String(HOSTILE.length))
    assert.equal(await cell(page, `${made.id}/chat`, 'subscribers here'), '1')
    await page.fill('input[type=search]', 'POLL')
    await page.waitForFunction(() => [...document.querySelectorAll('tbody tr')].length === 1 && /accumulate\/poll/.test(document.querySelector('tbody tr').textContent))
    assert.match(page.url(), /search=POLL/)
    await page.fill('input[type=search]', 'nothing like it')
    await page.waitForSelector('.empty')
    assert.match(await page.textContent('.empty'), /whole name/)
    await clean(page)
  })

  test('a channel: live, its past replayed exactly, a publish byte for byte', async (t) => {
    const { broker } = its
    // Messages with gaps of a few ms, so that ends can lie on them.
    const said = []
    for (const n of range(60)) {
      const r = (await operator(broker, 'publish', { method: 'POST', json: { messages: [{ channel: '/demo/past', data: { n } }] } })).results[0]
      said.push({ n, time: r.time })
      await sleep(4)
    }
    const page = await open(t, place('channel', { channel: '/demo/past' }))
    await page.waitForSelector('.scrubber')
    const texts = () => page.$$eval('ol[aria-label^=Replayed] summary code', (l) => l.map((e) => JSON.parse(e.textContent).n))
    const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, -1)
    const replay = async (from, to) => {
      await page.fill('input[type=datetime-local] >> nth=0', local(from))
      await page.fill('input[type=datetime-local] >> nth=1', local(to))
      await page.click('button:text-is("Replay")')
      await page.waitForFunction(() => /all that is kept of the interval/.test(document.querySelector('#page').textContent))
      return texts()
    }
    const want = (from, to) => said.filter((m) => m.time >= from && m.time < to).map((m) => m.n)
    for (const [a, b] of [[10, 30], [0, 59], [25, 26], [40, 40]]) {
      const [from, to] = [said[a].time, said[b].time]
      await page.evaluate(() => { for (const e of document.querySelectorAll('[role=status]')) if (/all that is kept/.test(e.textContent)) e.textContent = '' })
      assert.deepEqual(await replay(from, to), want(from, to), `from message ${a} to message ${b}`)
    }
    // By keyboard: the whole stretch, then one that begins at its end.
    await page.focus('[role=slider] >> nth=0')
    await page.keyboard.press('Home')
    assert.match(await page.getAttribute('[role=slider] >> nth=0', 'aria-valuetext'), /\d\d:\d\d:\d\d/)
    const before = Number(await page.getAttribute('[role=slider] >> nth=0', 'aria-valuenow'))
    await page.keyboard.press('Shift+ArrowRight')
    assert.ok(Number(await page.getAttribute('[role=slider] >> nth=0', 'aria-valuenow')) > before)

    const big = '{"n": 9007199254740993, "text": "</script>\\u2028"}'
    await page.fill('textarea', '{broken')
    await page.keyboard.press('Control+Enter')
    await page.waitForFunction(() => /Not JSON/.test(document.querySelector('#page').textContent))
    await page.fill('textarea', big)
    await page.keyboard.press('Control+Enter')
    await page.waitForFunction(() => document.querySelector('ol[aria-label^=Live] li'))
    const kept = await broker.call('GET', '/v1/history?channel=/demo/past&limit=1', { auth: basic() })
    assert.ok(kept.text.includes(`"data":${big}`), kept.text)
    // Live goes on, and stands still while it is paused.
    const live = () => page.$$eval('ol[aria-label^=Live] li', (l) => l.length)
    await page.click('button:text-is("Pause")')
    await operator(broker, 'publish', { method: 'POST', json: { messages: [{ channel: '/demo/past', data: 1 }] } })
    await page.waitForFunction(() => /2 came since/.test(document.querySelector('#page').textContent))
    assert.equal(await live(), 1)
    await page.click('button:text-is("Go on")')
    await until(async () => await live() === 2, 'what came while it was paused')
    await clean(page)
  })

  test('an object: made, its roots shown when asked for, and in no address', async (t) => {
    const { broker } = its
    const page = await open(t, place('objects', { app: appOf(broker) }))
    await page.fill('input[name=object_id]', 'room/9')
    await page.click('button:text-is("Make")')
    await page.waitForFunction(() => [...document.querySelectorAll('tbody a')].some((a) => a.textContent === 'room/9'))
    await page.click('a:text-is("room/9")')
    await page.click('a:text-is("Roots")')
    await page.waitForSelector('button:text-is("Show the roots")')
    const root = (await operator(broker, 'objects/room%2F9/roots')).roots.find((r) => r.class === 'control').realtime_channel
    assert.ok(!(await page.content()).includes(root))
    await page.click('button:text-is("Show the roots")')
    await page.waitForFunction((r) => document.querySelector('#page').textContent.includes(r), root)
    await page.click('button:text-is("Hide them")')
    await visit(page, place('channel', { app: appOf(broker), object: 'room/9', channel: 'chat' }))
    await page.waitForFunction(() => /connected/.test(document.querySelector('#page').textContent))
    assert.ok(!(await page.content()).includes(root) && !page.url().includes(root.slice(1)))
    assert.ok(!broker.output.includes(root.slice(1)), 'a root is in the log')
    assert.match(broker.output, /"action": ?"object\.roots"/)
    assert.match(broker.output, /operator/)
    await clean(page)
  })

  test('accumulations are paged and exported', async (t) => {
    const { broker } = its
    const page = await open(t, place('object', { app: appOf(broker), id: made.id, tab: 'accumulations' }))
    await page.waitForFunction((n) => document.querySelectorAll('tbody tr').length === n, HOSTILE.length)
    for (const [label, check] of [['Export NDJSON', (text) => assert.deepEqual(text.trim().split('\n').map((l) => JSON.parse(l).data.text), HOSTILE)], ['Export CSV', (text) => assert.ok(text.includes(HOSTILE[0].replaceAll('"', '""')) || text.includes('onerror'))]]) {
      const [download] = await Promise.all([page.waitForEvent('download'), page.click(`button:text-is("${label}")`)])
      check(fs.readFileSync(await download.path(), 'utf8'))
      assert.match(download.suggestedFilename(), /^poll-/)
    }
    await clean(page)
  })

  test('data is edited by version', async (t) => {
    const { broker } = its
    const page = await open(t, place('object', { app: appOf(broker), id: made.id, tab: 'data' }))
    await page.waitForSelector('textarea.code')
    assert.deepEqual(JSON.parse(await page.inputValue('textarea.code')), { [HOSTILE[0]]: HOSTILE[1] })
    await page.fill('textarea.code', '{"big": 9007199254740993}')
    await page.click('button:text-is("Save")')
    await page.waitForFunction(() => /Saved as version 2/.test(document.querySelector('#page').textContent))
    assert.match(await page.inputValue('textarea.code'), /9007199254740993/)
    await operator(broker, 'data/room?' + new URLSearchParams({ object_id: made.id }), { method: 'POST', json: { other: 1 } })
    await page.click('button:text-is("Save")')
    await page.waitForFunction(() => /Somebody else changed it since version 2/.test(document.querySelector('#page').textContent))
    await page.click('button:text-is("Load again")')
    await page.waitForFunction(() => /"other": 1/.test(document.querySelector('textarea.code').value))
    // A session's document, and the dialog that asks before one is cleared.
    await operator(broker, 'data/session?' + new URLSearchParams({ object_id: made.id }), { method: 'POST', json: { s: 1 } })
    await page.selectOption('select >> nth=0', 'session')
    await page.waitForFunction(() => /"s": 1/.test(document.querySelector('textarea.code').value))
    await page.click('button:text-is("Clear")')
    await page.click('dialog button:text-is("Cancel")')
    await page.click('button:text-is("Clear")')
    await page.click('dialog button:text-is("Clear it")')
    await page.waitForFunction(() => document.querySelector('textarea.code').value === '{}')
    await clean(page)
  })

  test('sessions: found, looked into, disconnected', async (t) => {
    const { broker } = its
    const c = broker.client(t, 'websocket', jwt({ role: 'viewer', channel_id: made.id, name: 'Zoë ' + HOSTILE[0], user_ref: 'zoe' }))
    await settled(c.subscribe(made.view + '/chat', () => {}), 'a listener')
    await settled(c.subscribe(made.view + '/chat/catchup/1h', () => {}), 'its past')
    const page = await open(t, place('sessions'))
    await page.fill('input[type=search]', 'zoë')
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1 && /websocket/.test(document.querySelector('tbody tr').textContent))
    assert.match(await page.textContent('tbody tr'), /127\.0\.0\.1/)
    const before = await page.textContent('tbody th')
    await page.click('tbody a')
    await page.waitForFunction(() => /websocket/.test(document.querySelector('.pairs').textContent) && document.querySelectorAll('tbody tr').length === 1)
    assert.equal(await cell(page, `${made.id}/chat`, 'catch-ups'), '1h')
    await page.click('button:text-is("Disconnect")')
    await page.click('dialog button:text-is("Disconnect it")')
    await page.waitForFunction(() => /was ended/.test(document.querySelector('#page').textContent))
    await until(async () => !(await ask(broker, 'sessions?search=zo')).sessions.some((s) => s.id.startsWith(before)), 'the session is gone')
    await clean(page)
  })

  test('streams show where they stand', async (t) => {
    const { broker } = its
    const page = await open(t, place('streams'))
    await page.waitForSelector('.empty')
    const s = await makeStream(broker, STREAM_TOKEN, { name: HOSTILE[0] })
    await operator(broker, `objects/${encodeURIComponent(made.id)}/publish`, { method: 'POST', json: { channel: 'chat', data: 1 } })
    await page.waitForSelector('tbody tr')
    await until(async () => Number(await cell(page, HOSTILE[0], 'waiting')) > 0, 'records that wait')
    assert.equal(await cell(page, HOSTILE[0], 'checkpoint'), 'at the beginning')
    assert.ok(s.id)
    await clean(page)
  })

  test('tools make and check tokens and roots', async (t) => {
    const { broker } = its
    const page = await open(t, place('tools'))
    await page.fill('input[name=channel_id]', made.id)
    await page.fill('input[name=name]', HOSTILE[0])
    await page.click('button:text-is("Make it")')
    const token = await page.textContent('pre.secret')
    const r = await broker.call('GET', '/v1/e/user_info', { auth: 'Bearer ' + token })
    assert.equal(r.status, 200, 'the token is taken')
    await page.fill('textarea', token)
    await page.click('button:text-is("Check it") >> nth=0')
    await page.waitForFunction(() => /accepted: role viewer/.test(document.querySelector('#page').textContent))
    await page.fill('textarea', token.slice(0, -8) + 'AAAAAAAA')
    await page.click('button:text-is("Check it") >> nth=0')
    await page.waitForFunction(() => /refused: signature/.test(document.querySelector('#page').textContent))
    await page.fill('form:has(button:text-is("Check it")) input', made.view)
    await page.click('button:text-is("Check it") >> nth=1')
    await page.waitForFunction(() => /genuine: view root/.test(document.querySelector('#page').textContent))
    assert.equal(await page.$eval('.lines + p a', (a) => a.textContent), made.id)
    await page.click('button:text-is("Drain")')
    await page.keyboard.press('Escape')
    await page.waitForFunction(() => !document.querySelector('dialog'))
    assert.ok(broker.child, 'nobody said yes')
    await clean(page)
  })

  test('whatever people wrote is shown as text, on every page, and nothing of it runs', async (t) => {
    const { broker } = its
    const page = await open(t)
    const session = (await ask(broker, 'sessions?search=onerror')).sessions[0].id
    for (const [name, where] of Object.entries(pages(broker, made.id, session))) {
      await visit(page, where)
      await settledPage(page)
      if (name === 'channel') {
        await page.click('button:text-is("Replay")')
        await page.waitForSelector('ol[aria-label^=Replayed] li')
        for (const s of await page.$$('ol[aria-label^=Replayed] summary')) await s.click()
      }
      await until(() => page.evaluate(() => /onerror|Tools|Streams|Overview/.test(document.querySelector('#page').textContent)), name)
      assert.deepEqual(await page.$$eval('#page img, #page svg:not(.plot svg):not(.legend svg):not(.scrubber svg), #page script, #page iframe, #page a[href^="javascript:"]', (l) => l.map((e) => e.outerHTML)), [], name)
      await clean(page)
    }
  })

  test('every page has its landmarks, labels and one heading, and fits a phone', async (t) => {
    const { broker } = its
    const page = await open(t)
    const session = (await ask(broker, 'sessions?search=onerror')).sessions[0].id
    for (const [name, where] of Object.entries(pages(broker, made.id, session))) {
      await page.setViewportSize({ width: 1280, height: 900 })
      await visit(page, where)
      await settledPage(page)
      const wrong = await page.evaluate(() => {
        const seen = (e) => e.checkVisibility()
        const named = (e) => e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim() || (e.getAttribute('aria-labelledby') && document.getElementById(e.getAttribute('aria-labelledby'))?.textContent)
        const found = []
        for (const e of document.querySelectorAll('input, select, textarea, button, a, summary, [tabindex="0"]')) if (seen(e) && !named(e)) found.push('no name: ' + e.outerHTML.slice(0, 120))
        const ids = [...document.querySelectorAll('[id]')].map((e) => e.id)
        found.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => 'twice: ' + id))
        for (const e of document.querySelectorAll('table')) if (!e.caption?.textContent) found.push('a table without a caption')
        for (const what of ['main', 'header', 'nav[aria-label]', 'footer', '[role=status]']) if (!document.querySelector(what)) found.push('no ' + what)
        const h1 = [...document.querySelectorAll('h1')].filter(seen).length
        if (h1 !== 1) found.push(`${h1} h1`)
        return found
      })
      assert.deepEqual(wrong, [], name)
      assert.match(await page.title(), /Gobelin console$/)
      await page.setViewportSize({ width: 375, height: 720 })
      const over = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      await until(async () => await over() <= 0, async () => `${name} fits a phone`)
    }
    await clean(page)
  })

  test('light and dark are readable', async (t) => {
    const { broker } = its
    const page = await open(t)
    const grounds = []
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor))
      for (const [name, where] of Object.entries(pages(broker, made.id))) {
        await visit(page, where)
        await settledPage(page)
        const faint = await page.evaluate(() => {
          const rgb = (c) => c.match(/[\d.]+/g).map(Number)
          const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((a, v, i) => a + v * [0.2126, 0.7152, 0.0722][i], 0)
          const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if ((c[3] ?? 1) === 1) return c } return [255, 255, 255] }
          const bad = new Set()
          for (const e of document.querySelectorAll('body *')) {
            if (!e.checkVisibility() || e.closest('svg, [disabled], #nav, .unseen, .skip') || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x)
            const contrast = (a + 0.05) / (b + 0.05)
            if (contrast < 4.5) bad.add(`${e.tagName}.${e.className} ${contrast.toFixed(2)}`)
          }
          return [...bad]
        })
        assert.deepEqual(faint, [], `${colorScheme}: ${name}`)
      }
    }
    assert.notEqual(grounds[0], grounds[1])
    await clean(page)
  })

  test('it is used by keyboard alone', async (t) => {
    const page = await open(t)
    const focused = () => page.evaluate(() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent.trim().slice(0, 60) })
    const press = async (key, times = 1) => { for (const _ of range(times)) await page.keyboard.press(key) }
    const tabTo = async (what) => { for (const _ of range(120)) { if (await focused() === what) return; await press('Tab') } assert.fail(`never came to ${what}`) }
    await press('Tab')
    assert.equal(await focused(), 'Skip to the content')
    await press('Enter')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main')
    await page.evaluate(() => document.activeElement.blur())
    await tabTo('Channels')
    await press('Enter')
    await page.waitForFunction(() => document.activeElement.tagName === 'H1' && document.activeElement.textContent === 'Channels')
    await page.waitForSelector('tbody tr')
    await tabTo(`${made.id}/chat`.slice(0, 60))
    await press('Enter')
    await page.waitForSelector('.scrubber')
    await tabTo('Begin of the interval')
    await press('End')
    assert.equal(await page.getAttribute('.handle.start', 'aria-valuenow'), await page.getAttribute('.handle.end', 'aria-valuenow'))
    await press('Home')
    await tabTo('Replay')
    await press('Enter')
    await page.waitForFunction(() => /all that is kept of the interval/.test(document.querySelector('#page').textContent))
    await visit(page, place('tools'))
    await tabTo('Drain')
    await press('Enter')
    await page.waitForSelector('dialog[open]')
    assert.equal(await page.evaluate(() => document.activeElement.closest('dialog') !== null), true)
    await press('Escape')
    await page.waitForFunction(() => !document.querySelector('dialog'))
    assert.equal(await focused(), 'Drain', 'the focus is back')
    await clean(page)
  })

  test('two tabs have the token each, and hear each other', async (t) => {
    const where = place('channel', { channel: '/demo/tabs' })
    const [one, two] = [await open(t, where), await open(t, where)]
    for (const page of [one, two]) await page.waitForFunction(() => /connected/.test(document.querySelector('#page').textContent))
    for (const [from, to, text] of [[one, two, '"from the first"'], [two, one, '"from the second"']]) {
      await from.fill('textarea', text)
      await from.click('button:text-is("Publish")')
      for (const page of [from, to]) await page.waitForFunction((t) => [...document.querySelectorAll('ol[aria-label^=Live] code')].some((e) => e.textContent === t), text)
    }
    await one.click('#leave')
    await state(one, 'locked')
    assert.equal(await two.getAttribute('#state', 'data-state'), 'up')
    await clean(two)
  })

  test('without the token, or with a wrong one, it asks for it', async (t) => {
    const { broker } = its
    const page = await watched(browser.context, broker)
    t.after(() => page.close())
    const { url, token } = consoleOf(broker)
    await page.goto(url)
    await state(page, 'locked')
    assert.equal(await page.$$eval('#page *', (l) => l.length), 0)
    await page.fill('#door-token', 'wrong-token')
    await page.press('#door-token', 'Enter')
    await page.waitForFunction(() => /not this broker/.test(document.getElementById('door-note').textContent))
    await page.fill('#door-token', token)
    await page.press('#door-token', 'Enter')
    await state(page, 'up')
    assert.ok(!page.url().includes(token) && !(await page.content()).includes(token))
    assert.ok(!broker.output.includes(token), 'the token is in the log')
  })

  test('offline and online again: it says so, and the tail has what was missed', async (t) => {
    const { broker } = its
    const context = await launch(t)
    const page = await enter(context, broker, place('channel', { channel: '/demo/off' }))
    await page.waitForFunction(() => /connected/.test(document.querySelector('#page').textContent))
    const say = (n) => operator(broker, 'publish', { method: 'POST', json: { messages: [{ channel: '/demo/off', data: { n } }] } })
    const had = () => page.$$eval('ol[aria-label^=Live] code', (l) => l.map((e) => JSON.parse(e.textContent).n).reverse())
    await say(1)
    await until(async () => (await had()).length === 1, 'the first')
    await context.setOffline(true)
    await state(page, 'down')
    await page.waitForFunction(() => /offline/.test(document.getElementById('state-text').textContent))
    await say(2)
    await context.setOffline(false)
    await state(page, 'up')
    await say(3)
    await until(async () => (await had()).length === 3, async () => `all three: ${await had()}`, 45000)
    assert.deepEqual(await had(), [1, 2, 3])
  })
})

describe('the console and its node', { skip: noBrowser }, () => {
  test('it comes back with a broker that was killed, and drains one', async (t) => {
    const broker = await serve(t)
    const page = await enter(await launch(t), broker, place('channel', { channel: '/demo/again' }))
    const say = (n) => operator(broker, 'publish', { method: 'POST', json: { messages: [{ channel: '/demo/again', data: { n } }] } })
    const had = () => page.$$eval('ol[aria-label^=Live] code', (l) => l.map((e) => JSON.parse(e.textContent).n).reverse())
    await page.waitForFunction(() => /connected/.test(document.querySelector('#page').textContent))
    await say(1)
    await until(async () => (await had()).length === 1, 'the first')
    await broker.kill()
    await state(page, 'down')
    await broker.start()
    await say(2)
    await state(page, 'up')
    await until(async () => (await had()).length === 2, async () => `both: ${await had()}`, 45000)
    await say(3)
    await until(async () => (await had()).length === 3, 'the third')
    assert.deepEqual(await had(), [1, 2, 3])
    await visit(page, place('tools'))
    await page.click('button:text-is("Drain")')
    assert.match(await page.textContent('dialog'), /no other node/)
    await page.click('dialog button:text-is("Drain it")')
    assert.equal(await settled(broker.gone, 'the process ends', 30000), 0)
  })
})
