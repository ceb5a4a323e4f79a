// The poll as a user would copy it: viewers vote on one page, the dashboard on another
// folds their votes, before and after it was opened. In a real browser, another origin.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { describe, test } from 'node:test'
import { jwt, serveOn, TRANSPORTS } from './blocks.mjs'
import { APP } from './lib.mjs'
import { launch, noBrowser, openPage, site } from './browser.mjs'

const source = (name) => fs.readFileSync(new URL('../poll/' + name, import.meta.url), 'utf8')

const filled = (html, pairs) => {
  for (const [placeholder, value] of pairs) {
    assert.ok(html.includes(placeholder), 'the page has ' + placeholder)
    html = html.replace(placeholder, JSON.stringify(value))
  }
  return html
}

describe('the poll in Chromium', { skip: noBrowser }, () => {
  for (const transport of TRANSPORTS) {
    test(`votes are counted once for each user, ${transport} (M1, M2, M16)`, async (t) => {
      const broker = await serveOn(t)
      const { view, control } = await broker.object('show-7')
      const token = (user) => jwt(APP.name, { role: 'viewer', channel_id: 'show-7', opaque_user_id: user })
      const users = ['U1', 'U2', 'U3', '__proto__']
      const pages = Object.fromEntries(users.map((u) => ['/' + u, filled(source('vote.html'), [["'http://127.0.0.1:8000'", broker.base], ["'demo-origin'", APP.name], ["'the viewer token'", token(u)]])]))
      pages['/dashboard'] = filled(source('dashboard.html'), [["'http://127.0.0.1:8000/faye'", broker.url], ["'/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62'", control]])
      pages['/curious'] = filled(source('dashboard.html'), [["'http://127.0.0.1:8000/faye'", broker.url], ["'/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62'", view]])
      const origin = await site(t, pages)
      const context = await launch(t)
      if (transport === 'long-polling') await context.addInitScript(() => { delete window.WebSocket })

      const voter = Object.create(null)
      const vote = async (user, song) => {
        voter[user] ??= await openPage(context, origin + '/' + user)
        await voter[user].click(`button[value=${song}]`)
        await voter[user].waitForFunction((s) => document.getElementById('state').textContent === `You voted for ${s}.`, song)
      }
      const counted = (page, want) => page.waitForFunction((want) =>
        [...document.querySelectorAll('#votes tr')].map((tr) => [...tr.cells].map((c) => c.textContent).join(' ')).join(', ') === want, want, { timeout: 20000 })

      await vote('U1', 'Aurora')
      await vote('U2', 'Bolero')
      const dashboard = await openPage(context, origin + '/dashboard')
      await counted(dashboard, 'Aurora 1, Bolero 1')
      await vote('U3', 'Bolero')
      await counted(dashboard, 'Bolero 2, Aurora 1')
      await vote('U1', 'Bolero') // another mind
      await counted(dashboard, 'Bolero 3')
      await vote('__proto__', 'Cascade')
      await counted(dashboard, 'Bolero 3, Cascade 1')
      const late = await openPage(context, origin + '/dashboard')
      await counted(late, 'Bolero 3, Cascade 1')

      // The dashboard on a viewer's root is refused and shows nothing.
      const curious = await openPage(context, origin + '/curious')
      await curious.waitForFunction(() => document.getElementById('state').textContent === 'refused: Forbidden channel')
      assert.equal(await curious.$$eval('#votes tr', (rows) => rows.length), 0)
      for (const page of [dashboard, late, ...Object.values(voter)]) assert.deepEqual(page.complaints, [])
    })
  }
})
