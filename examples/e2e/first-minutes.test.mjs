// The first five minutes as a newcomer has them (experience.md §1): a fresh clone, one
// command, and every line that it prints used as it stands.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { atEnd, freePort, tempDir, until } from './lib.mjs'
import { launch, noBrowser, openPage } from './browser.mjs'
import { start } from './redis.mjs'
import { ROOT, blocks } from './docs.mjs'

const run = (cwd, command, env = {}) => {
  const r = spawnSync('bash', ['-euo', 'pipefail', '-c', command], { cwd, env: { ...process.env, ...env }, encoding: 'utf8', timeout: 120000 })
  assert.equal(r.status, 0, `${command}: ${r.stdout}${r.stderr}`)
  return r.stdout
}

const noGit = spawnSync('git', ['-C', ROOT, 'rev-parse', 'HEAD']).status !== 0 && 'this is no clone'

test('from git clone to the first replayed message', { skip: noGit, timeout: 240000 }, async (t) => {
  const dir = tempDir(t)
  const [clone] = blocks().find((b) => b.first.startsWith('git clone https://')).text.split('\n')
  const origin = path.join(tempDir(t), 'gobelin')
  fs.symlinkSync(ROOT, origin)
  run(dir, clone.replace(/https:\S+/, origin))
  const home = path.join(dir, 'gobelin')
  run(home, 'make -n build && make -n run && go list ./cmd/gobelin')
  run(home, 'git check-ignore .gobelin gobelin')

  // Built where the tests have been, so that it need not be all built again. The server
  // ends with its process group: make and go run are before it.
  const port = await freePort()
  const began = Date.now()
  const env = { ...process.env, GOBELIN_LISTEN: `127.0.0.1:${port}` }
  for (const name of ['MAKELEVEL', 'MAKEFLAGS', 'MFLAGS']) delete env[name] // a make that another one calls says more
  const made = start(t, 'make', ['run', `ARGS=--data ${path.join(dir, 'data')}`], { cwd: ROOT, detached: true, env })
  atEnd(t, () => { if (!made.ended()) process.kill(-made.child.pid, 'SIGTERM') })
  await until(() => { if (made.ended()) throw new Error(made.said()); return made.said().includes('dev mode') }, made.said, 180000)
  t.diagnostic(`make run took ${Date.now() - began} ms with its build; ${/ready in \d+ ms/.exec(made.said())}`)
  const lines = made.said().trim().split('\n')
  assert.ok(lines.length <= 6, made.said())
  const what = Object.fromEntries(lines.map((l) => [l.split(/ {2,}|: /)[0], l]))
  const [client, console, page] = ['client', 'console', 'try it'].map((k) => /http:\S+/.exec(what[k])[0])
  assert.match(console, /#token=\w{20,}$/)
  assert.match(what['dev mode'], /loopback only, everything is open/)

  // The curl, as it stands.
  assert.match(run(dir, what.publish.replace(/^publish +/, '')), /"successful":true/)

  // The terminal.
  const gobelin = fs.realpathSync(process.env.GOBELIN)
  const to = { GOBELIN_URL: client }
  const id = run(dir, `${gobelin} pub /demo/ticks '{"n":1}'`, to).trim()
  assert.match(id, /^[0-9A-HJKMNP-TV-Z]{26}$/)
  const past = run(dir, `${gobelin} sub /demo/ticks --since 10m --count 1`, to)
  assert.ok(JSON.parse(past).run || JSON.parse(past).n, past)

  if (!noBrowser) {
    const context = await launch(t)
    const tab = await openPage(context, page)
    const counted = (name, least) => tab.waitForFunction(([id, n]) => Number(document.getElementById(id).textContent) >= n, [name, least], { timeout: 20000 })
    for (const interval of ['30s', '5m', '1h']) {
      await tab.click(`text=catch up ${interval}`)
      await counted('past', 1)
      await counted('live', 1)
      for (const name of ['duplicates', 'gaps', 'disorder']) assert.equal(await tab.textContent('#' + name), '0', `${interval}: ${name}`)
    }
    assert.deepEqual(tab.complaints, [])
    // The console lets its reader in by the fragment, which does not stay in the address.
    const asked = []
    context.on('request', (q) => asked.push(q.url()))
    const operator = await openPage(context, console)
    await operator.waitForFunction(() => document.body.innerText.length > 50)
    await until(() => !operator.url().includes('token='), 'the token leaves the address')
    assert.ok(asked.every((u) => !u.includes('token=') || u === console), asked.join('\n'))
    assert.deepEqual(operator.complaints, [])
  }
})

test('dev is for this machine alone', async (t) => {
  const r = spawnSync(process.env.GOBELIN, ['dev', '--memory', '--listen', `0.0.0.0:${await freePort()}`], { cwd: tempDir(t), encoding: 'utf8', timeout: 20000 })
  assert.notEqual(r.status, 0)
  assert.match(r.stderr, /this machine only/)
})
