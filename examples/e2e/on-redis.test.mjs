// Once more on a Redis: the acceptance examples that take the store from STORE, over
// both transports. Those that bring a Redis of their own are not among them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { noRedis, start, startRedis } from './redis.mjs'

const FILES = ['accumulate', 'data', 'medkit', 'poll', 'dashboard', 'streams', 'stream-consumer', 'viewers', 'viewer-log'].map((name) => name + '.test.mjs')

test('the acceptance examples on Redis', { skip: noRedis || (process.env.STORE && 'STORE names another store'), timeout: 400000 }, async (t) => {
  const env = { ...process.env, STORE: await startRedis(t) }
  delete env.NODE_TEST_CONTEXT // they are a run of their own
  const run = start(t, process.execPath, ['--test', '--test-reporter=spec', ...FILES], { env, cwd: fileURLToPath(new URL('.', import.meta.url)) })
  const code = await run.gone
  assert.equal(code, 0, run.said())
  assert.match(run.said(), /pass [1-9]/, 'it ran some')
})
