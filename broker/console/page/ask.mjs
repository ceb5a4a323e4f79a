// Asking the broker: every question has the token, and a time within which it is
// answered. A fault says what to do.
import * as token from './token.mjs';

const PATIENCE = 15_000; // ms: an answer that takes longer is none

// Fault is an answer that is none: status 0 where nothing answered.
export class Fault extends Error {
  constructor (status, text, wait = 0) {
    super(text);
    this.status = status;
    this.wait = wait; // ms, before it is worth while to ask again
  }
}

let locked = () => {};

// whenLocked is told when the token is not taken any more.
export function whenLocked (f) { locked = f; }

// answerOf sends a request below /console/ and returns the whole answer.
async function answerOf (path, { method = 'GET', body, headers = {}, signal } = {}) {
  const secret = token.kept();
  const limit = AbortSignal.timeout(PATIENCE);
  let r;
  try {
    r = await fetch('/console/' + path, {
      method, body, cache: 'no-store', credentials: 'omit', redirect: 'error',
      headers: { ...headers, ...(secret ? { Authorization: 'Bearer ' + secret } : {}) },
      signal: signal ? AbortSignal.any([signal, limit]) : limit
    });
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new Fault(0, 'The broker cannot be reached. It is asked again by itself.');
  }
  if (r.ok) return r;
  const told = await r.text().then((t) => JSON.parse(t).error).catch(() => '');
  if (r.status === 401) {
    locked('That is not this broker’s token.');
    throw new Fault(401, 'The token is not taken any more.');
  }
  if (r.status === 429) throw new Fault(429, 'Too many wrong tokens came from this address. Wait a little.', (Number(r.headers.get('Retry-After')) || 10) * 1000);
  if (r.status === 503) throw new Fault(503, told || 'The broker is busy, or its store does not answer. Try again in a moment.', 1000);
  throw new Fault(r.status, told || `The broker answered ${r.status}.`);
}

// get asks for figures: a path and its parameters, of which empty ones are left out.
export async function get (path, params = {}, options = {}) {
  const q = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== '' && v !== null && v !== undefined));
  const r = await answerOf(path + (q.size ? '?' + q : ''), options);
  return r.json();
}

// post asks for something to be done.
export async function post (path, value = {}) {
  const r = await answerOf(path, { method: 'POST', body: JSON.stringify(value), headers: { 'Content-Type': 'application/json' } });
  return r.json();
}

// api calls /v1 in the name of an application's operator; path begins behind /v1/. It
// returns the answer's text, since numbers in data may be larger than JavaScript's.
export async function api (app, path, { method = 'GET', body, headers } = {}) {
  const r = await answerOf(`as/${encodeURIComponent(app)}/v1/${path}`, { method, body, headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) } });
  return r.text();
}

// blob is api for what is saved as a file.
export async function blob (app, path) {
  const r = await answerOf(`as/${encodeURIComponent(app)}/v1/${path}`, { signal: new AbortController().signal });
  return r.blob();
}
