// Reads a stream of a Gobelin account and keeps its place over restarts: each record is
// printed on a line of its own, and is handled exactly once as long as this is the only
// reader of the stream.
//
//   npm install eventsource
//   BROKER=http://127.0.0.1:8000 TOKEN=<stream_token> node consumer.mjs warehouse
import fs from 'node:fs'
import { EventSource } from 'eventsource'

const { BROKER = 'http://127.0.0.1:8000', TOKEN, PLACE = 'place.txt' } = process.env
const name = process.argv[2]
if (!TOKEN || !name) {
  console.error('usage: TOKEN=<stream_token> node consumer.mjs <name of the stream>')
  process.exit(2)
}

const ask = async (method, path, body) => {
  const r = await fetch(`${BROKER}${path}?token=${encodeURIComponent(TOKEN)}`, { method, body: body && JSON.stringify(body) })
  const answer = await r.json()
  if (!r.ok) throw new Error(`${method} ${path}: ${r.status} ${JSON.stringify(answer.errors)}`)
  return answer
}

// The stream of that name, made where there is none yet.
const { streams } = await ask('GET', '/streams')
const stream = streams.find((s) => s.name === name) ?? await ask('POST', '/streams', { name })

// The place is the id of the last record that was handled. An EventSource repeats it by
// itself when its connection breaks; after a restart it has to be told.
const place = fs.existsSync(PLACE) ? fs.readFileSync(PLACE, 'utf8') : ''
const source = new EventSource(`${BROKER}/streams/${stream.id}/connect?token=${encodeURIComponent(TOKEN)}`, {
  fetch: (url, init) => fetch(url, { ...init, headers: { ...(place && { 'Last-Event-ID': place }), ...init.headers } })
})

const handle = (record) => console.log(JSON.stringify(record))

source.addEventListener('data', (e) => {
  handle(JSON.parse(e.data))
  // After the record, and at once instead of in place: a kill between the two lines lets
  // one record come again, and never loses one. Give a database both in one transaction.
  fs.writeFileSync(PLACE + '.new', e.lastEventId)
  fs.renameSync(PLACE + '.new', PLACE)
})
source.addEventListener('connection', (e) => console.error('connection', e.data))
source.onerror = (e) => {
  console.error(e.code ? `refused: ${e.code}` : 'the connection broke; it is made again')
  if (e.code === 403 || e.code === 404) process.exit(1)
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { source.close(); process.exit(0) })
