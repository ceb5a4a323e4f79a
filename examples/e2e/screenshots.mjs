// Pictures of every page of the console, light and dark, wide and as on a phone: make
// screenshots writes them into the folder that is named.
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { collect, jwt, range, STREAM_TOKEN } from './lib.mjs'
import { launch } from './browser.mjs'
import { makeStream } from './streams.mjs'
import { ask, enter, operator, pages, serve, settledPage, visit } from './console.mjs'

const dir = path.resolve(process.argv[2] ?? 'screenshots')
const ends = []
const t = { after: (f) => ends.push(f) }

// A show with some life in it: listeners, a chat, a poll, a stream.
const show = async (broker) => {
  const id = 'friday-show'
  await operator(broker, 'objects', { method: 'POST', json: { object_id: id, name: 'The Friday show', owner_ref: 'studio-2', url: 'https://example.org/friday' } })
  await operator(broker, 'objects', { method: 'POST', json: { object_id: 'concert-17', name: 'Concert', type: 'video' } })
  const o = (await operator(broker, 'objects/' + id)).object
  for (const [i, name] of ['Anna', 'Bea', 'Chloé', 'Dmitri'].entries()) {
    const c = broker.client(t, i % 2 ? 'long-polling' : 'websocket', jwt({ role: i ? 'viewer' : 'broadcaster', channel_id: id, name, user_ref: 'u-' + i }))
    await collect(c, [o.realtime_channel + '/chat', o.realtime_channel + '/all_json'])
  }
  await collect(broker.client(t), ['/demo/ticks'])
  await makeStream(broker, STREAM_TOKEN, { name: 'warehouse', resource_filter: ['message', 'accumulation'] })
  await operator(broker, 'data/room?object_id=' + id, { method: 'POST', json: { scene: 3, title: 'Second half', lights: { main: 'warm', level: 0.8 } } })
  for (const choice of ['red', 'blue', 'red', 'green']) await operator(broker, 'e/accumulate?id=vote&channel_id=' + id, { method: 'POST', json: { choice } })
  return { id, beat: async (n) => {
    await operator(broker, 'publish', { method: 'POST', json: { messages: [{ channel: '/demo/ticks', data: { n } }, ...range(n % 4).map((k) => ({ object_id: id, channel: 'chat', data: { text: ['hello', 'what a goal', 'good evening from Lyon'][k], n } }))] } })
  } }
}

try {
  const broker = await serve(t)
  const { id, beat } = await show(broker)
  for (const n of range(150)) { // half a minute, so that the charts have lines
    await beat(n)
    await sleep(200)
  }
  const session = (await ask(broker, 'sessions?search=anna')).sessions[0].id
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of Object.entries({ wide: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } })) {
      const context = await launch(t, { colorScheme, viewport })
      const page = await enter(context, broker)
      const folder = path.join(dir, `${colorScheme}-${size}`)
      fs.mkdirSync(folder, { recursive: true })
      for (const [name, where] of Object.entries(pages(broker, id, session))) {
        await visit(page, where)
        await settledPage(page)
        if (name === 'channel') {
          await page.click('button:text-is("Replay")')
          await page.waitForSelector('ol[aria-label^=Replayed] li')
          await beat(7)
          await page.waitForSelector('ol[aria-label^=Live] li')
        }
        await page.waitForTimeout(300)
        await page.screenshot({ path: path.join(folder, name + '.png'), fullPage: true })
      }
      await context.close()
    }
  }
  console.log('screenshots are in ' + dir)
} finally {
  for (const f of ends.reverse()) await f()
}
process.exit(0)
