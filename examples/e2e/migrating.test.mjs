// The programs of ../migrating, run as they are, with the broker as its README starts it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { BINARY, Broker, atEnd, until } from './lib.mjs'

const cwd = fileURLToPath(new URL('../migrating', import.meta.url))
const readme = fs.readFileSync(cwd + '/README.md', 'utf8')

// A command that stands in the README, with what it prints.
const running = (t, command, env) => {
  assert.ok(readme.includes('\n' + command + '\n'), `the README says ${command}`)
  const [program, ...args] = command.split(' ')
  const at = { node: process.execPath, gobelin: BINARY }[program]
  const child = spawn(at, args, { cwd, env: { ...process.env, ...env, NODE_PATH: fileURLToPath(new URL('node_modules', import.meta.url)) } })
  const box = { text: '' }
  for (const out of [child.stdout, child.stderr]) out.on('data', (d) => { box.text += d })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  atEnd(t, () => { child.kill('SIGKILL'); return gone })
  box.shows = (text) => until(() => box.text.includes(text), () => `${command} prints ${text}; it printed ${box.text}`)
  return box
}

const say = async (broker, channel, data) => {
  const r = await fetch(broker.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([{ channel, data }]) })
  assert.equal((await r.json())[0].successful, true)
}

const start = (t) => {
  const command = 'gobelin dev --no-demo --mounts /cometd'
  assert.ok(readme.includes('\n' + command + '\n'))
  return Broker.dev(t, { args: command.split(' ').slice(3) })
}

test('from Faye: the past, and then what comes', async (t) => {
  const broker = await start(t)
  await say(broker, '/demo/news', { text: 'before' })
  const p = running(t, 'node faye.js /demo/news', { BROKER: broker.url })
  await p.shows('past {"text":"before"}')
  await p.shows('live {"text":"hello from Faye"}')
})

test('from CometD: live, and a page of history', async (t) => {
  const broker = await start(t)
  await say(broker, '/demo/news', { text: 'before' })
  const p = running(t, 'node cometd.js /demo/news', { BROKER: broker.base + '/cometd' })
  await p.shows('live {"text":"hello from CometD"}')
  await p.shows('page [{"text":"before"},{"text":"hello from CometD"}]')
})

test('from Salesforce: by replay id', async (t) => {
  const broker = await start(t)
  const channel = '/event/Order_Shipped__e'
  await say(broker, channel, { payload: { order: 1 } })
  const p = running(t, `node salesforce.js ${channel} -2`, { BROKER: broker.base })
  const q = running(t, `gobelin sub ${channel} --replay -2`, { GOBELIN_URL: broker.url })
  await p.shows(' {"order":1}')
  await say(broker, channel, { payload: { order: 2 } })
  await p.shows(' {"order":2}')
  const ids = p.text.match(/^\d+ /gm).map(Number)
  assert.equal(ids[1], ids[0] + 1)
  await q.shows(`"replayId":${ids[1]}`)
  await q.shows('"payload":{"order":2}}')
})
