// The console of one node shows all nodes of a store.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { collect, until } from './lib.mjs'
import { launch, noBrowser } from './browser.mjs'
import { ask, clean, enter, place, serve, tile, visit } from './console.mjs'
import { noRedis, startRedis } from './redis.mjs'

test('figures of two nodes on one Redis', { skip: noBrowser || noRedis }, async (t) => {
  const store = await startRedis(t)
  const [first, second] = [await serve(t, store), await serve(t, store)]
  const page = await enter(await launch(t), first)
  await collect(second.client(t), ['/demo/there'])
  const rows = () => page.$$eval('table:has(caption:text-is("Nodes")) tbody tr', (l) => l.map((tr) => tr.textContent))
  await until(async () => (await rows()).length === 2, 'both nodes', 30000)
  await until(async () => await tile(page, 'sessions') === '1' && await tile(page, 'subscriptions') === '1', 'what the other has', 30000)
  const facts = (await ask(first, 'overview')).store.facts.map((f) => f.name)
  for (const name of ['Redis', 'persistence', 'eviction', 'clock']) assert.ok(facts.includes(name), name)
  await visit(page, place('sessions', { kind: 'all' }))
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1)
  assert.match(await page.textContent('tbody tr'), new RegExp(`:${second.port}`))
  await page.click('tbody a')
  await page.waitForFunction(() => /known on its own node/.test(document.querySelector('#page').textContent))
  await second.stop()
  await visit(page, place('overview'))
  await until(async () => (await rows()).some((r) => /stopped/.test(r)), 'the one that stopped', 30000)
  await clean(page)
})
