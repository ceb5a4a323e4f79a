// The public browser kit, npm @muxy/extensions-js 2.4.18, unmodified in a page of another
// origin (jsdom, with CORS and its preflights). Its package also asks for gulp, which it
// builds itself with and no page needs: package.json puts something small in its place.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { JSDOM, VirtualConsole } from 'jsdom'
import { serveOn } from './blocks.mjs'
import { APP, atEnd, settled } from './lib.mjs'

const require = createRequire(import.meta.url)
const KIT = fs.readFileSync(require.resolve('@muxy/extensions-js'), 'utf8')

// Opens a page with the kit in a role, and gives the SDK once it has loaded.
const page = async (t, broker, role) => {
  const complaints = []
  const quiet = new VirtualConsole()
  quiet.on('jsdomError', (e) => complaints.push(e.message))
  const { window } = new JSDOM('<!doctype html><title>extension</title>', { url: 'http://extension.example/', runScripts: 'outside-only', virtualConsole: quiet })
  atEnd(t, () => window.close())
  window.eval(KIT)
  window.broker = broker.base
  window.role = role
  window.clientID = APP.name
  // The package's global has its singleton as default, which pages call Muxy.
  window.eval(`
    var Muxy = window.Muxy.default
    const opts = new Muxy.DebuggingOptions()
    opts.role(role); opts.url(broker); opts.channelID('23161357')
    Muxy.debug(opts)
    Muxy.setup({ clientID })
    window.sdk = new Muxy.SDK()
  `)
  await settled(window.sdk.loaded(), role + ': the kit has loaded')
  return { window, sdk: window.sdk, complaints }
}

test('@muxy/extensions-js (M12, M13, M14, M15): a viewer accumulates, a broadcaster reads', async (t) => {
  assert.equal(require('@muxy/extensions-js/package.json').version, '2.4.18')
  const broker = await serveOn(t)
  const viewer = await page(t, broker, 'viewer')
  const blob = { awesomeness_level: { great: 10, good: 2.5, poor: 'dank' } }
  const { observed } = await settled(viewer.sdk.accumulate('awesomeness_level', blob), 'the viewer accumulates')
  assert.ok(Math.abs(observed - Date.now()) < 60000)

  const caster = await page(t, broker, 'broadcaster')
  const got = await settled(caster.sdk.getAccumulation('awesomeness_level', Date.now() - 60000), 'the broadcaster reads')
  assert.deepEqual(JSON.parse(JSON.stringify(got.data)), [{
    observed, channel_id: '23161357', opaque_user_id: 'U12345678', user_id: '12345678', data: blob
  }])
  assert.equal(got.latest, observed)

  const refusal = await settled(viewer.sdk.getAccumulation('awesomeness_level', 0), 'the viewer reads').then(() => null, (e) => e)
  assert.equal(refusal && refusal.result, 4003, 'a viewer cannot read')
  assert.ok(viewer.sdk.user.ip, 'user_info was understood')
  assert.ok(Math.abs(viewer.sdk.user.timeOffset) < 60000)
  for (const p of [viewer, caster]) assert.deepEqual(p.complaints, [])
})
