// What is given back by subscribe and publish: a thenable that never troubles
// the page with an unhandled rejection.
class Deferred {
  constructor () {
    this._promise = new Promise((resolve, reject) => { this._resolve = resolve; this._reject = reject })
    this._promise.catch(() => {})
  }

  then (f, r) { return this._promise.then(f, r) }
  catch (r) { return this._promise.catch(r) }
  finally (f) { return this._promise.finally(f) }
  callback (f, context) { this._promise.then((v) => f.call(context, v), () => {}); return this }
  errback (f, context) { this._promise.catch((e) => f.call(context, e)); return this }
  timeout (seconds, error) { setTimeout(() => this._reject(error), seconds * 1000); return this }
}

// One listener on a channel, a pattern or a catch-up channel.
class Subscription extends Deferred {
  constructor (client, channel, callback, context) {
    super()
    this._client = client
    this.channel = channel
    this._callback = callback
    this._context = context
    this._had = new Seen()
    this._got = 0 // messages given
    const past = new Deferred()
    // Of a catch-up channel: kept with what is in catchup once the past is complete.
    this.complete = past._promise
    this._whole = past._resolve
    this._lacking = past._reject
    this.errback(past._reject)
    this._begin()
  }

  // callback is given (channel, data): for patterns.
  withChannel (callback, context) {
    this._withChannel = [callback, context]
    return this
  }

  cancel () {
    if (this._cancelled) return
    this._cancelled = true
    this._client.unsubscribe(this.channel, this)
  }

  unsubscribe () { this.cancel() }

  apply (context, args) { this._deliver(this.channel, args[0]) }

  // The past is asked for: all of it, or what follows at.
  _begin (at) {
    this._at = at // the newest that came
    this._came = 0
    this.catchup = undefined
  }

  // The server says how much will come, which may be here already.
  _granted (catchup) {
    this.catchup = catchup
    if (!catchup) this._lacking(new FayeError(`404:${this.channel}:Catch-up not supported`))
    this._check()
  }

  _isComplete () { return this.catchup && Math.max(this._came, this._resumed ? 0 : this._got) >= this.catchup.messages }
  _check () { if (this._isComplete()) this._whole(this.catchup) }

  // A message came, with or without a place; skip: it was shown before.
  _take (id, skip, channel, data) {
    if (id && !(id <= this._at)) { this._at = id; this._came++ }
    if (!skip) { this._got++; this._deliver(channel, data) }
    this._check()
  }

  _deliver (channel, data) {
    if (this._callback) this._callback.call(this._context, data)
    if (this._withChannel) this._withChannel[0].call(this._withChannel[1], channel, data)
  }
}
