// The dashboard as a user would copy it, in a real browser: two of them see one
// document, and what one changes the other shows.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { describe, test } from 'node:test'
import { Broker, basic, jwt, shared, until } from './lib.mjs'
import { launch, noBrowser, openPage, site } from './browser.mjs'

const SOURCE = fs.readFileSync(new URL('../dashboard/index.html', import.meta.url), 'utf8')

const pageFor = (base, root, object, token) => {
  const html = SOURCE
    .replace("'http://127.0.0.1:8000'", JSON.stringify(base))
    .replace("'/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62'", JSON.stringify(root))
    .replace("'show-7'", JSON.stringify(object))
    .replace("'eyJ…'", JSON.stringify(token))
  assert.ok([base, root, object, token].every((text) => html.includes(text)), 'the placeholders of the page are filled in')
  return html
}

describe('dashboard in Chromium', { skip: noBrowser }, () => {
  const its = shared(Broker.serve)

  for (const transport of ['websocket', 'long-polling']) {
    test(`two dashboards, ${transport}`, async (t) => {
      const { broker } = its
      const id = 'show-' + transport
      const { view } = await broker.object(id)
      const token = (user) => jwt({ role: 'broadcaster', channel_id: id, user_ref: user })
      const origin = await site(t, { '/ann': pageFor(broker.base, view, id, token('ann')), '/bob': pageFor(broker.base, view, id, token('bob')) })
      const context = await launch(t)
      if (transport === 'long-polling') await context.addInitScript(() => { delete window.WebSocket })
      const ann = await openPage(context, origin + '/ann')
      const version = (page, n) => page.waitForFunction((n) => document.getElementById('version').textContent === n, String(n), { timeout: 20000 })
      const data = (page) => page.$eval('#data', (e) => JSON.parse(e.textContent))
      await version(ann, 0)
      await ann.fill('#lower_third', 'Hello')
      await ann.click('#form button')
      await version(ann, 1)
      const bob = await openPage(context, origin + '/bob') // late
      await version(bob, 1)
      assert.deepEqual(await data(bob), { lower_third: 'Hello' })
      const r = await broker.call('POST', '/v1/data/session?object_id=' + id, { auth: basic(), json: { poll: { open: true } }, headers: { 'If-Match': '"1"' } })
      assert.equal(r.status, 200, r.text)
      for (const page of [ann, bob]) {
        await version(page, 2)
        assert.deepEqual(await data(page), { lower_third: 'Hello', poll: { open: true } })
      }
      await bob.click('#clear')
      await version(ann, 3)
      assert.deepEqual(await data(ann), { poll: { open: true } })
      assert.equal(await ann.$eval('#changes li', (e) => e.textContent), 'bob: −lower_third')
      await ann.click('#end')
      await until(() => ann.$eval('#state', (e) => e.textContent === 'session ended'), 'the session has ended')
    })
  }
})
