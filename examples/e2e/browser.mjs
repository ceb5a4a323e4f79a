// Debian's Chromium, driven by playwright-core.
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'
import { atEnd, tempDir } from './lib.mjs'

const require = createRequire(import.meta.url)
const CHROMIUM = process.env.CHROMIUM || '/usr/bin/chromium'
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync']

// Where there is no browser the tests are skipped, but never under CI.
export const noBrowser = !fs.existsSync(CHROMIUM) && process.env.CI !== 'true' && `no ${CHROMIUM}`

// A browser with an empty profile, ended with the test.
export const launch = async (t, options = {}) => {
  const dir = tempDir(t)
  const context = await chromium.launchPersistentContext(dir, { executablePath: CHROMIUM, args: FLAGS, ...options })
  atEnd(t, () => context.close())
  return context
}

// Opens a page and notes all it complains about.
export const openPage = async (context, url) => {
  const page = await context.newPage()
  page.complaints = []
  page.on('pageerror', (e) => page.complaints.push(e.message))
  page.on('console', (m) => { if (m.type() === 'error') page.complaints.push(m.text()) })
  await page.goto(url)
  return page
}

// A site of another origin: pages by path, and the stock client from npm, or another
// in its place.
export const site = async (t, pages, client) => {
  const script = client || fs.readFileSync(path.join(path.dirname(require.resolve('faye/package.json')), 'client', 'faye-browser-min.js'))
  const server = http.createServer((req, res) => {
    const where = req.url.split('?')[0]
    if (where.endsWith('/faye-browser-min.js')) return res.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script)
    if (where === '/favicon.ico') return res.writeHead(204).end()
    if (pages[where] === undefined) return res.writeHead(404).end()
    res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(pages[where])
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  atEnd(t, () => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${server.address().port}`
}
