// The client scenarios of the conformance suite, for another client than the stock
// one: run(make) registers a test for each; make(url, options, transport, ctx) gives a client.
import { test } from 'node:test'
import { BINARY, Broker, shared } from './lib.mjs'
import { Context } from '../conformance/lib/clients.mjs'
import { Server, freePort } from '../conformance/lib/server.mjs'
import { scenarios as pubsub } from '../conformance/clients/public/pubsub.mjs'
import { scenarios as load } from '../conformance/clients/public/load.mjs'
import { scenarios as failure } from '../conformance/clients/public/failure.mjs'
import { scenarios as beyond } from '../conformance/clients/beyond/failure.mjs'

const COMMAND = `env GOBELIN_BAYEUX_TIMEOUT={timeout}s ${BINARY} dev --memory --no-demo --listen 127.0.0.1:{port}`

export const run = (make) => {
  const its = shared(Broker.dev)

  // The suite looks into the stock client for the transport, which is no part of the
  // interface.
  class Other extends Context {
    client (transport, options = {}, url = this.url) {
      const c = make(url, { retry: 1, ...options }, transport, this)
      c.wanted = transport
      this.clients.push(c)
      return c
    }

    transportOf (c) { return c.wanted }
  }

  for (const s of [...pubsub, ...load, ...failure, ...beyond]) {
    test(s.name, async () => {
      const needs = s.needs || {}
      const own = needs.restart || needs.timeout
        ? await new Server(COMMAND, { mount: '/faye', port: await freePort(), timeout: needs.timeout || 45 }).start()
        : null
      const ctx = new Other(own ? own.url : its.broker.url, own)
      try { await s.run(ctx) } finally { await ctx.cleanUp(); if (own) await own.stop('SIGKILL') }
    })
  }
  return its
}
