// Counts the viewers in a CDN's access log (the combined format of nginx, Apache and
// most CDNs) and gives the counts to the broker. A viewer of a stream at a time is an
// address with a player that fetched a segment of it in the 12 s from then on; a stream is
// the folder of its segments. See README.md for APP, KEY and BROKER.
//
//   node import-cdn.mjs access.log        (- for standard input)
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as after } from 'node:timers/promises'

const BROKER = process.env.BROKER || 'http://127.0.0.1:8000'
const { APP, KEY } = process.env
const file = process.argv[2]
if (!APP || !KEY || !file) {
  console.error('APP and KEY must be an application name and its app_key\nnode import-cdn.mjs access.log')
  process.exit(2)
}

const SLOT = 12 // seconds, as the broker's stats.sample
const BATCH = 1000 // samples of one request, the most there may be
const LINE = /^(\S+) \S+ \S+ \[(\d\d)\/(\w{3})\/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)\] "GET \/?([^ ?"]+)\/[^ /?"]+\.(?:ts|m4s|mp4|aac)(?:\?[^ "]*)? [^"]*" (?:200|206) \S+ "[^"]*" "([^"]*)"/
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

// Sends samples until the broker has them. The same samples again change nothing, so a
// whole log may be imported twice.
const send = async (samples) => {
  for (let pause = 200; ; pause = Math.min(pause * 2, 10000)) {
    let answer
    try {
      answer = await fetch(`${BROKER}/v1/stats/samples`, {
        method: 'POST',
        headers: { Authorization: 'Basic ' + Buffer.from(`${APP}:${KEY}`).toString('base64'), 'Content-Type': 'application/json' },
        body: JSON.stringify({ samples }),
        signal: AbortSignal.timeout(10000)
      })
      if (answer.ok) return
      const { error } = await answer.json()
      if (![429, 503, 504].includes(answer.status)) throw new Error(`refused: ${error}`)
      console.error(`${error}; again in ${pause} ms`)
    } catch (e) {
      if (e.message.startsWith('refused')) throw e
      console.error(`${e.message}; again in ${pause} ms`)
    }
    await after(pause)
  }
}

const viewers = new Map() // url and slot → its viewers
let other = 0
for await (const line of createInterface({ input: file === '-' ? process.stdin : createReadStream(file) })) {
  const m = LINE.exec(line)
  if (!m) { other++; continue }
  const [, address, day, month, year, clock, hours, minutes, url, player] = m
  const at = Date.parse(`${year}-${String(MONTHS.indexOf(month) + 1).padStart(2, '0')}-${day}T${clock}${hours}:${minutes}`) / 1000
  const place = JSON.stringify([url, Math.floor(at / SLOT) * SLOT])
  if (!viewers.has(place)) viewers.set(place, new Set())
  viewers.get(place).add(address + ' ' + player)
}
const samples = [...viewers].map(([place, who]) => {
  const [url, time] = JSON.parse(place)
  return { url, time, count: who.size }
})
for (let i = 0; i < samples.length; i += BATCH) await send(samples.slice(i, i + BATCH))
console.log(`${samples.length} samples imported, ${other} other lines passed over`)
