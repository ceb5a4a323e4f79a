// tsc, on a program that uses everything client.d.ts declares, and on itself; and the
// client has all of it.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { test } from 'node:test'
import { Broker, tempDir } from './lib.mjs'

const types = new URL('../../bayeux/browser/client.d.ts', import.meta.url)

test('the types hold for a program that uses them', async () => {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  const flags = ['--noEmit', '--strict', '--target', 'es2020', '--module', 'nodenext', '--lib', 'es2022,dom', '--skipLibCheck', '--typeRoots', import.meta.dirname + '/no-types']
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, ...flags, 'types.ts'], { cwd: import.meta.dirname }).catch((e) => e)
  assert.equal(stdout, '')
})

test('the module has what the types say, and the types what it has', async (t) => {
  const broker = await Broker.dev(t)
  const file = path.join(tempDir(t), 'client.mjs')
  const r = await fetch(broker.url + '/client.mjs')
  assert.equal(r.headers.get('content-type'), 'text/javascript; charset=utf-8')
  fs.writeFileSync(file, await r.text())
  const { Client } = await import(file)
  const text = fs.readFileSync(types, 'utf8')
  const body = text.slice(text.indexOf('export class Client'))
  const declared = new Set([...body.slice(0, body.indexOf('\n}')).matchAll(/^ {2}(?:readonly )?(\w+)[ :(]/gm)].map((m) => m[1]))
  const has = new Set()
  for (let p = Client.prototype; p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    for (const name of Object.getOwnPropertyNames(p)) if (!name.startsWith('_')) has.add(name)
  }
  assert.deepEqual([...declared].sort(), [...has].sort())
})
