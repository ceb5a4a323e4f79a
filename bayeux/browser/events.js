// Those who want to hear of 'transport:up' and 'transport:down', under the names
// of Faye's client and of Node's emitters.
class Events {
  constructor () { this._listeners = new Map() }

  bind (name, f, context) {
    this._listeners.set(name, [...(this._listeners.get(name) || []), [f, context]])
    return this
  }

  once (name, f, context) {
    const wrapped = (...args) => { this.unbind(name, wrapped); f.apply(context, args) }
    wrapped.f = f
    return this.bind(name, wrapped)
  }

  // Without f: all of that name; without a name: all.
  unbind (name, f) {
    if (name === undefined) this._listeners.clear()
    else this._listeners.set(name, f ? (this._listeners.get(name) || []).filter((e) => e[0] !== f && e[0].f !== f) : [])
    return this
  }

  trigger (name, ...args) { for (const [f, context] of this._listeners.get(name) || []) f.apply(context, args) }
  countListeners (name) { return (this._listeners.get(name) || []).length }
  on (...args) { return this.bind(...args) }
  off (...args) { return this.unbind(...args) }
  addListener (...args) { return this.bind(...args) }
  removeListener (...args) { return this.unbind(...args) }
  removeAllListeners (name) { return this.unbind(name) }
}
