// Publishes from Node, with nothing but fetch. See ../README.md for APP, KEY and BROKER.
import crypto from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'

const { BROKER = 'http://127.0.0.1:8000', APP, KEY } = process.env
if (!APP || !KEY) throw new Error('APP and KEY must be an application name and its app_key')

// Sends a request until it is answered for good. A body with a key is stored once,
// however often it is sent; without one the retry after a lost answer may repeat it.
const call = async (path, body, key) => {
  const headers = {
    Authorization: 'Basic ' + Buffer.from(`${APP}:${KEY}`).toString('base64'),
    'Content-Type': 'application/json',
    ...(key && { 'Idempotency-Key': key })
  }
  for (let pause = 0.2; ; pause = Math.min(pause * 2, 10)) {
    let why
    try {
      const r = await fetch(BROKER + path, { method: 'POST', headers, body: JSON.stringify(body), signal: AbortSignal.timeout(10_000) })
      const answer = await r.json()
      if (r.ok) return answer
      if (![429, 503, 504].includes(r.status)) throw Object.assign(new Error(answer.error), { final: true })
      why = answer.error
      pause = Math.max(pause, Number(r.headers.get('Retry-After')) || 0)
    } catch (e) {
      if (e.final) throw e
      why = e.message
    }
    console.error(`${path}: ${why}; again in ${pause} s`)
    await wait(pause * 1000)
  }
}

// An object has a signed root channel; viewers subscribe below it.
const { object } = await call('/v1/objects', { object_id: 'show-7', type: 'live', name: 'Show 7' })
console.log('viewers subscribe to', object.realtime_channel + '/score')

const goal = { channel: 'score', data: { home: 1, away: 0 } }
const key = crypto.randomUUID()
console.log('first time ', await call('/v1/objects/show-7/publish', goal, key))
console.log('second time', await call('/v1/objects/show-7/publish', goal, key))

const { results } = await call('/v1/publish', {
  messages: [
    { object_id: 'show-7', channel: 'score', data: { home: 2, away: 0 } },
    { object_id: 'show-7', channel: 'ticker', data: 'Second goal' }
  ]
}, crypto.randomUUID())
for (const r of results) console.log('batch      ', r)
