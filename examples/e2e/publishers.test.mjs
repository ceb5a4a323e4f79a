// The backend publishers of ../publishers, run as they are.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ACCOUNT, APP, Broker, basic, collect, until } from './lib.mjs'

const run = promisify(execFile)
const cwd = fileURLToPath(new URL('../publishers', import.meta.url))
const missing = async (program, ...args) => run(program, args).then(() => false, () => 'no ' + program)

for (const [name, program, args, probe] of [
  ['curl', 'sh', ['curl/publish.sh'], ['curl', '--version']],
  ['node', process.execPath, ['node/publish.mjs'], [process.execPath, '--version']],
  ['php', 'php', ['php/publish.php'], ['php', '--version']],
  ['go', 'go', ['run', './go'], ['go', 'version']]
]) {
  test(`publishing with ${name}`, { skip: process.env.CI !== 'true' && await missing(...probe) }, async (t) => {
    const broker = await Broker.serve(t)
    const { view } = await broker.object('show-7', 'Show 7')
    const got = await collect(broker.client(t), [view + '/score', view + '/ticker'])
    const { stdout } = await run(program, args, { cwd, env: { ...process.env, BROKER: broker.base, APP: APP.name, KEY: APP.key } })
    await until(() => got.length >= 3, () => `three messages: ${JSON.stringify(got)} ${stdout}`)
    const past = await collect(broker.client(t), [view + '/score/catchup/1h', view + '/ticker/catchup/1h'])
    await until(() => past.length >= 3, 'the history')
    for (const box of [got, past]) assert.deepEqual(box.map(([, d]) => JSON.stringify(d)).sort(), ['"Second goal"', '{"home":1,"away":0}', '{"home":2,"away":0}'])
    if (name === 'curl') {
      const { stdout: lines } = await run('sh', ['curl/history.sh', 'show-7', 'score', '1h'], { cwd, env: { ...process.env, BROKER: broker.base, APP: APP.name, KEY: APP.key } })
      assert.deepEqual(lines.trim().split('\n').map((l) => JSON.parse(l).data), [{ home: 1, away: 0 }, { home: 2, away: 0 }])
      const { stdout: signed } = await run('sh', ['curl/signed.sh', 'show-7', 'signed', '{"text":"caf\u00e9"}'], { cwd, env: { ...process.env, BROKER: broker.base, KID: ACCOUNT.key, SECRET: ACCOUNT.secret } })
      const { json: page } = await broker.call('GET', '/v1/objects/show-7/history?channel=signed', { auth: basic() })
      assert.deepEqual(page.messages.map((m) => [m.id, m.data]), [[JSON.parse(signed).id, { text: 'caf\u00e9' }]])
    }
    assert.equal(new Set(stdout.match(/[0-9A-HJKMNP-TV-Z]{26}/g)).size, 3, stdout)
  })
}
