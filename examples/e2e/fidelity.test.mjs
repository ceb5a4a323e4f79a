// What is published arrives byte for byte, whichever way it goes in and out
// (bayeux-cometd.md §0.10).
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { describe, test } from 'node:test'
import { Broker, WireSocket, atEnd, settled, shared, until } from './lib.mjs'

// JSON that readers and writers of JSON like to change.
const CORPUS = [
  '12345678901234567890', '-0', '0.1000', '1E400', '1e-400', '1.0', '123456789012345678901234567890.123456789012345678901234567890e+007',
  'null', 'true', 'false', '""', '[]', '{}', '[ ]', '{ }', '[1 , 2]', '{"a" : 1}', ' [\t1 ]'.trim(),
  '"\\u0000\\u001f\\u007f"', '"\\/ / \\" \\\\ \\b\\f\\n\\r\\t"', '"\\u00e9 é e\u0301"', '"\\ud83d\\ude00 😀"', '"\\ud800"', '"\\udc00\\ud800"', '"\u{10ffff}\u{fffe}"',
  '"</script><!-- & \'"', '"\u2028\u2029"', '"\\u2028"', '"\ufeff"', '"\u200b\u202e"',
  '{"":0,"a":1,"a":2}', '{"__proto__":{"x":1},"constructor":1,"toString":null}', '{"b":1,"a":2,"10":3,"9":4}', '{"\\u0061":1}',
  '{"channel":"/meta/handshake","clientId":"x","id":7,"successful":false,"advice":{"reconnect":"none"},"ext":{"ack":1},"data":{"data":1}}',
  '[' + '['.repeat(60) + ']'.repeat(60) + ']', JSON.stringify('x'.repeat(100000)), '[' + '0,'.repeat(5000) + '0]'
]

const JSONP_ESCAPES = [['\u2028', '\\u2028'], ['\u2029', '\\u2029']]

describe('what is published', () => {
  const its = shared(Broker.dev)

  const post = async (body, type = 'application/json') => (await fetch(its.broker.url, { method: 'POST', headers: { 'Content-Type': type }, body })).text()
  const jsonp = async (body) => (await fetch(its.broker.url + '?message=' + encodeURIComponent(body) + '&jsonp=f')).text()
  const socket = async (t) => {
    const ws = new WireSocket(its.broker.url.replace('http', 'ws'))
    const box = []
    ws.on('message', (e) => box.push(String(e.data)))
    await settled(new Promise((resolve) => ws.on('open', resolve)), 'open')
    atEnd(t, () => ws.close())
    return { send: (text) => ws.send(text), box }
  }
  const shake = async () => JSON.parse(await post('[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'))[0].clientId
  const member = (id, more) => `[{"clientId":"${id}",${more}}]`
  const subscribed = async (name) => {
    const id = await shake()
    const [r] = JSON.parse(await post(member(id, `"channel":"/meta/subscribe","subscription":"${name}"`)))
    assert.ok(r.successful, r.error)
    return id
  }
  const connect = (id, type) => member(id, `"channel":"/meta/connect","connectionType":"${type}","id":"c"`)

  // Each way in says a value on a channel.
  const INS = {
    'JSON post': (name, id, v) => post(member(id, `"channel":"${name}","data":${v}`)),
    'one object': (name, id, v) => post(`{"clientId":"${id}","channel":"${name}","data":${v}}`),
    form: (name, id, v) => post('message=' + encodeURIComponent(member(id, `"channel":"${name}","data":${v}`)), 'application/x-www-form-urlencoded'),
    callback: (name, id, v) => v.length > 4000 ? INS['JSON post'](name, id, v) : jsonp(member(id, `"channel":"${name}","data":${v}`)),
    websocket: async (name, id, v, t) => {
      const s = await socket(t)
      s.send(member(id, `"channel":"${name}","data":${v}`))
      await until(() => s.box.length, 'the reply')
    }
  }
  // Each way out gives the text in which the value came.
  const OUTS = {
    'long-polling': (name, id) => post(connect(id, 'long-polling')),
    callback: (name, id) => jsonp(connect(id, 'callback-polling')),
    websocket: async (name, id, t) => {
      const s = await socket(t)
      s.send(connect(id, 'websocket'))
      return until(() => s.box.find((text) => text.includes(`"channel":"${name}"`)), 'the message')
    },
    eventsource: async (name, id) => {
      const stop = new AbortController()
      const r = await fetch(its.broker.url + '/' + id, { headers: { Accept: 'text/event-stream' }, signal: stop.signal })
      let text = ''
      for await (const part of r.body.pipeThrough(new TextDecoderStream())) if ((text += part).includes('}]\r\n\r\n')) break
      stop.abort()
      return text
    }
  }

  for (const [way, say] of Object.entries(INS)) {
    test('in by ' + way, async (t) => {
      const name = '/demo/f' + crypto.randomInt(1e12)
      const id = await shake()
      for (const [i, v] of CORPUS.entries()) {
        const one = name + '-' + i
        const listener = await subscribed(one)
        await say(one, id, v, t)
        const text = await post(connect(listener, 'long-polling'))
        assert.ok(text.includes(`{"channel":"${one}","data":${v},"id":"`), `${v.slice(0, 80)}: ${text.slice(0, 300)}`)
      }
    })
  }

  for (const [way, hear] of Object.entries(OUTS)) {
    for (const past of [false, true]) {
      test(`out by ${way}, ${past ? 'from the past' : 'live'}`, async (t) => {
        const id = await shake()
        for (const v of CORPUS) {
          const name = '/demo/f' + crypto.randomInt(1e12)
          let listener = past || await subscribed(name)
          await post(member(id, `"channel":"${name}","data":${v}`))
          const heardOn = past ? name + '/catchup/1h' : name
          if (past) listener = await subscribed(heardOn)
          const want = way === 'callback' ? JSONP_ESCAPES.reduce((s, [from, to]) => s.replaceAll(from, to), v) : v
          const text = await hear(heardOn, listener, t)
          assert.ok(text.includes(`{"channel":"${heardOn}","data":${want},"id":"`), `${v.slice(0, 80)}: ${text.slice(0, 300)}`)
        }
      })
    }
  }

  test('what is no JSON, or no UTF-8, is refused and said to nobody', async () => {
    const name = '/demo/f' + crypto.randomInt(1e12)
    const listener = await subscribed(name)
    const id = await shake()
    for (const v of ['01', '1.', '.5', '+1', 'NaN', "'x'", '"\t"', '"\\x41"', '[1,]', '{"a":1,}', '{a:1}', '"a', 'nul', '//x']) {
      assert.equal(await post(member(id, `"channel":"${name}","data":${v}`)), 'Bad request', v)
    }
    const bad = Buffer.concat([Buffer.from(`[{"clientId":"${id}","channel":"${name}","data":"`), Buffer.from([0xff, 0xfe]), Buffer.from('"}]')])
    assert.equal(await post(bad), 'Bad request')
    await post(member(id, `"channel":"${name}","data":"end"`))
    assert.deepEqual(JSON.parse(await post(connect(listener, 'long-polling'))).map((m) => m.data), ['end', undefined])
  })
})
