// Our client while its links are cut at random, its sessions expire and the broker is
// killed: what a page is shown has no gap, nothing twice, and is in order. The seed is
// printed; SEED repeats it as far as time allows, ROUNDS makes it longer.
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import vm from 'node:vm'
import { test } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { Broker, WireSocket, atEnd, range, settled, until } from './lib.mjs'
import { Context } from '../conformance/lib/clients.mjs'

// A session lives two seconds after its last connect.
process.env.GOBELIN_BAYEUX_TIMEOUT = '1s'
const SEED = Number(process.env.SEED) || crypto.randomInt(1, 2 ** 31)
const ROUNDS = Number(process.env.ROUNDS) || 8

const random = (seed) => () => {
  seed = (seed + 0x6D2B79F5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), seed | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

// Everything from its first on; what came before it is nobody's fault.
const unbroken = (got, from, to, who) => assert.deepEqual(got, range(to - from).map((i) => from + i), who)

test(`links cut, sessions lost, broker killed, seed ${SEED}`, async (t) => {
  t.diagnostic(`SEED=${SEED}`)
  const next = random(SEED)
  const upTo = (n) => Math.floor(next() * n)
  const broker = await Broker.dev(t)
  const module = { exports: {} }
  globalThis.WebSocket ??= WireSocket
  vm.runInThisContext(`(function (module) {${await (await fetch(broker.url + '/client.js')).text()}\n})`)(module)
  const ctx = new Context(broker.url, null)
  atEnd(t, () => ctx.cleanUp())

  const channel = '/cuts/x'
  let said = 0
  const say = async (n) => {
    const batch = range(n).map((i) => ({ channel, data: said + i }))
    // A killed broker may have stored some; their number decides.
    try {
      const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(batch) })
      assert.ok((await r.json()).every((m) => m.successful))
      said += n
      return true
    } catch (e) { if (e.code === 'ERR_ASSERTION') throw e; return false }
  }
  await say(200)

  // Who joined how, and what each was shown.
  const joined = []
  const join = async (transport, what, ack) => {
    const line = await ctx.proxy()
    const c = new module.exports.Client(line.url, { retry: 0.05, ack })
    if (transport === 'long-polling') c.disable('websocket')
    const j = { c, line, who: `${transport} ${what.join(' ')}${ack ? ' ack' : ''}`, got: [], from: what.length > 1 ? 0 : null }
    const subs = c.subscribe(what, (n) => j.got.push(n))
    atEnd(t, () => settled(c.disconnect(), 'disconnect', 500).catch(() => {}))
    for (const s of subs) await settled(s, j.who)
    joined.push(j)
  }
  for (const transport of ['websocket', 'long-polling']) {
    for (const ack of [false, true]) {
      await join(transport, [channel, channel + '/catchup/1h'], ack)
      await join(transport, [channel], ack)
    }
  }
  for (let i = 0; i < ROUNDS; i++) {
    await say(1 + upTo(40))
    const j = joined[upTo(joined.length)]
    switch (upTo(5)) {
      case 0: for (const k of joined) k.line.cut(); break
      case 1: j.line.cut(); break
      case 2: // away for a while
        j.line.refuse(true)
        await after(upTo(300))
        j.line.refuse(false)
        break
      case 3: { // for longer than its session lives
        const away = joined.filter(() => next() < 0.5)
        for (const k of away) k.line.refuse(true)
        for (const n of range(5)) { await say(1 + n); await after(500) }
        for (const k of away) k.line.refuse(false)
        break
      }
      case 4:
        await broker.kill()
        await broker.start()
    }
  }
  await say(1)
  for (const j of joined) await until(() => j.got.includes(said - 1), () => `${j.who}: the last of ${said}, got ${j.got.length} up to ${j.got.at(-1)}`, 30000)
  for (const j of joined) unbroken(j.got, j.from ?? j.got[0], said, j.who)
  for (const j of joined.filter((j) => j.from === null)) assert.ok(j.got[0] <= 240, `${j.who} began with ${j.got[0]}`)
})
