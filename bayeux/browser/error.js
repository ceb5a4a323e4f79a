const META = '/meta/'
const UNKNOWN = /^40[123]:[^:]*:(Unknown client|session_unknown|unknown_session)$/
const later = (f) => Promise.resolve().then(f)
const own = (object, key) => (object && Object.prototype.hasOwnProperty.call(object, key) ? object[key] : undefined)

// A refusal: code (null when the text has no grammar), params and message.
class FayeError extends Error {
  constructor (text) {
    const m = /^(\d{3}):([^:]*):([^]*)$/.exec(text) || [null, null, '', String(text)]
    super(m[3])
    this.name = 'FayeError'
    this.code = m[1] && +m[1]
    this.params = m[2] ? m[2].split(',') : []
  }

  toString () { return `${this.code || ''}:${this.params.join(',')}:${this.message}` }
}
