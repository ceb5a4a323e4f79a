// What tests of streams share: one connection of server-sent events.
import assert from 'node:assert/strict'
import { atEnd, until } from './lib.mjs'

export const sse = async (t, base, path, headers = {}) => {
  const ctl = new AbortController()
  const r = await fetch(base + path, { headers, signal: ctl.signal })
  const s = { status: r.status, type: r.headers.get('content-type') || '', raw: '', events: [], closed: false, close: () => ctl.abort() }
  if (r.status !== 200) { s.json = await r.json(); return s }
  atEnd(t, () => ctl.abort())
  s.ended = (async () => {
    const text = new TextDecoder()
    let rest = ''
    try {
      for await (const chunk of r.body) {
        const got = text.decode(chunk, { stream: true })
        s.raw += got
        rest += got
        for (let i; (i = rest.indexOf('\n\n')) >= 0; rest = rest.slice(i + 2)) {
          const e = {}
          for (const line of rest.slice(0, i).split('\n')) { const k = line.indexOf(':'); e[line.slice(0, k)] = line.slice(k + 1).trimStart() }
          s.events.push({ event: e.event, id: e.id, data: JSON.parse(e.data) })
        }
      }
    } catch { /* it was closed, or the broker died */ }
    s.closed = true
  })()
  s.of = (kind) => s.events.filter((e) => e.event === kind)
  s.logs = () => s.of('data').map((e) => e.data.log_id)
  return s
}

// Makes a stream and gives it.
export const makeStream = async (node, token, json) => {
  const r = await node.call('POST', '/streams?token=' + token, { json })
  assert.equal(r.status, 201, r.text)
  return r.json
}

export const nobodyReads = (node, token, id) =>
  until(async () => (await node.call('GET', `/streams/${id}?token=${token}`)).json.members === 0, 'nobody reads the stream')
