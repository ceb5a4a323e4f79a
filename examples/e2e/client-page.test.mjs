// The client the broker serves, in pages of Chromium of another origin, against the
// client scenarios of the conformance suite.
import { after, before, describe } from 'node:test'
import { launch, noBrowser, site } from './browser.mjs'
import { run } from './scenarios.mjs'

// A client in a page, with the interface of one that is here: what it is told goes to
// the page in the order of the calls, what it hears comes back the same way, both as much
// at a time as there is.
class PageClient {
  constructor (page, url, options, transport) {
    this.page = page
    this.todo = []
    this.key = `c${++PageClient.made}`
    this.does(([key, url, options, transport]) => {
      const c = window[key] = new window.Faye.Client(url, options)
      if (transport === 'long-polling') c.disable('websocket')
      c.disable('autodisconnect')
    }, url, options, transport)
  }

  does (f, ...args) {
    this.todo.push([`(${f})`, [this.key, ...args]])
    if (this.todo.length > 1) return
    this.page.then((p) => p.evaluate((todo) => {
      for (const [f, args] of todo) (0, eval)(f)(args)
    }, this.todo.splice(0))).catch(() => {}) // the page was closed
  }

  // A name under which the page may call f.
  name (f) {
    const name = `f${++PageClient.made}`
    this.page.then((p) => p.told.set(name, f))
    return name
  }

  // A promise with a name for its end, which the page calls with an error or nothing.
  end () {
    let name
    const kept = new Promise((resolve, reject) => { name = this.name((e) => (e ? reject(Object.assign(new Error(e.message), e)) : resolve())) })
    kept.catch(() => {})
    return [kept, name]
  }

  subscribe (channels, f = () => {}) {
    const subs = [].concat(channels).map(() => {
      const s = { with: () => {} }
      const [kept, end] = this.end()
      s.end = end
      s.sub = this.name(() => {})
      s.then = (f, r) => kept.then(f, r)
      s.withChannel = (f) => { s.with = f; return s }
      s.cancel = () => this.does(([, sub]) => window[sub].cancel(), s.sub)
      s.heard = this.name((channel, data) => { f(data); s.with(channel, data) })
      return s
    })
    this.does(([key, channels, subs]) => {
      [].concat(window[key].subscribe(channels)).forEach((s, i) => {
        window[subs[i].sub] = s
        s.withChannel((channel, data) => window.tell(subs[i].heard, channel, data))
        s.then(() => window.tell(subs[i].end), (e) => window.tell(subs[i].end, { code: e.code, params: e.params, message: e.message }))
      })
    }, channels, subs.map(({ sub, heard, end }) => ({ sub, heard, end })))
    return Array.isArray(channels) ? subs : subs[0]
  }

  publish (channel, data, options) {
    const [kept, end] = this.end()
    this.does(([key, channel, data, options, end]) => {
      window[key].publish(channel, data, options).then(() => window.tell(end), (e) => window.tell(end, { code: e.code, params: e.params, message: e.message }))
    }, channel, data, options, end)
    return kept
  }

  unsubscribe (channel) { this.does(([key, channel]) => window[key].unsubscribe(channel), channel) }
  disconnect () {
    const [kept, end] = this.end()
    this.does(([key, end]) => { window[key].disconnect().then(() => window.tell(end)) }, end)
    return kept
  }

  on (name, f) { this.does(([key, name, f]) => { window[key].on(name, () => window.tell(f)) }, name, this.name(f)) }

  addExtension (x) {
    const names = {}
    for (const way of ['incoming', 'outgoing']) if (x[way]) names[way] = this.name((m) => new Promise((resolve) => x[way](m, resolve)))
    this.does(([key, names]) => {
      const x = {}
      for (const way in names) x[way] = (m, pass) => window.ask(names[way], m).then(pass)
      window[key].addExtension(x)
    }, names)
  }
}
PageClient.made = 0

describe('our client in Chromium', { skip: noBrowser, concurrency: 2 }, () => {
  const ends = []
  let context
  let origin
  const open = async () => {
    const page = await context.newPage()
    page.told = new Map()
    await page.exposeFunction('ask', (name, m) => page.told.get(name)(m))
    await page.exposeFunction('tellAll', (all) => { for (const [name, args] of all) page.told.get(name)(...args) })
    await page.addInitScript(() => {
      let all = []
      window.tell = (...said) => {
        all.push([said[0], said.slice(1)])
        if (all.length === 1) Promise.resolve().then(() => { window.tellAll(all); all = [] })
      }
    })
    await page.goto(origin)
    return page
  }

  // One page for each scenario.
  const its = run((url, options, transport, ctx) => {
    if (!ctx.page) {
      ctx.page = open()
      ctx.closers.push(() => ctx.page.then((p) => p.close()))
    }
    return new PageClient(ctx.page, url, options, transport)
  })

  before(async () => {
    const t = { after: (f) => ends.push(f) }
    context = await launch(t)
    origin = await site(t, { '/': `<!doctype html><title>page</title><script src="${its.broker.url}/client.js"></script>` })
  })
  after(async () => { for (const f of ends.reverse()) await f() })
})
