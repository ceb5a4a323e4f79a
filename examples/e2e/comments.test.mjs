// The program of ../comments, run as it is, and the page of a viewer who was there and of
// one who came late.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { APP, Broker, collect, until } from './lib.mjs'

const run = promisify(execFile)
const cwd = fileURLToPath(new URL('../comments', import.meta.url))

test('an evening of comments', async (t) => {
  const broker = await Broker.serve(t)
  const { view } = await broker.object('show-7', 'Show 7')
  const live = await collect(broker.client(t), [view + '/all_json', view + '/promoted_json'])
  const { stdout } = await run('sh', ['evening.sh'], { cwd, env: { ...process.env, BROKER: broker.base, APP: APP.name, KEY: APP.key } })
  const [promoted, withdrawn, log] = stdout.trim().split('\n').map((l) => JSON.parse(l))
  assert.equal(promoted.comment.content, 'what a goal')
  assert.equal(promoted.comment.promoted_p, 1)
  assert.deepEqual(withdrawn, { result: 0 })
  assert.deepEqual(log.onelog.map((e) => [e.event, e.end_time !== '']), [['broadcasting', true]])

  const told = (box) => box.map(([, d]) => d.deleted_p ? 'withdrawn' : d.content)
  await until(() => live.length >= 4, () => `two comments, one promoted, one withdrawn: ${JSON.stringify(live)}`)
  assert.deepEqual(told(live).sort(), ['buy my coins', 'what a goal', 'what a goal', 'withdrawn'])
  const late = await collect(broker.client(t), [view + '/all_json/catchup/12h', view + '/promoted_json/catchup/12h'])
  await until(() => late.length >= 3, () => `what is left: ${JSON.stringify(late)}`)
  assert.ok(!told(late).includes('buy my coins'))
})
