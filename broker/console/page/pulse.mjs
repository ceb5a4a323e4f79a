// The pulse: what all nodes do, asked for while somebody looks, and their last hour.
import { Fault, get } from './ask.mjs';

const EVERY = 2_000;      // ms between two questions
const LONGEST = 10_000;   // ms between two attempts when it is unreachable
const HOUR = 3_600_000;

export class Pulse {
  // state is told (name, text) how the console stands: up, down or loading.
  constructor (state) {
    this.state = state;
    this.listeners = new Set();
    this.latest = null;
    this.samples = [];  // of the last hour, oldest first: {time, <column>: value}
    this.skew = 0;      // ms that the server's clock is ahead of ours
    this.failures = 0;
    this.asking = null;
  }

  // listen calls f with each answer, at once with the one that is there; it returns what
  // ends that.
  listen (f) {
    this.listeners.add(f);
    if (this.latest) f(this.latest);
    return () => this.listeners.delete(f);
  }

  // now is the server's time.
  now () { return Date.now() + this.skew; }

  stop () {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
  }

  forget () {
    this.stop();
    this.latest = null;
    this.samples = [];
  }

  // again asks at once.
  again () {
    this.stop();
    this.failures = 0;
    return this.ask();
  }

  async ask () {
    const mine = this.asking = new AbortController();
    const since = this.samples.at(-1)?.time ?? 0;
    try {
      const answer = await get('overview', { since }, { signal: mine.signal });
      if (this.asking !== mine) return;
      this.take(answer);
      this.failures = 0;
      this.state('up', 'live');
      this.next(EVERY);
    } catch (e) {
      if (this.asking !== mine) return;
      this.fail(e);
    }
  }

  next (after) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), after);
  }

  fail (e) {
    if (e instanceof Fault && e.status === 401) return;
    this.failures++;
    const pause = Math.max(e.wait ?? 0, Math.min(LONGEST, 1000 * 2 ** Math.min(this.failures - 1, 10)));
    const what = navigator.onLine === false ? 'this device is offline' : e.status === 0 ? 'unreachable' : e.status === 429 ? 'too many wrong tokens from here' : e.status === 503 ? 'the broker is busy' : e.status ? `the broker answers ${e.status}` : 'the answer is none of Gobelin’s';
    this.state('down', `${what}, asking again every ${Math.round(pause / 1000)} s`);
    this.next(pause);
  }

  take (answer) {
    if (!Array.isArray(answer?.nodes) || !Array.isArray(answer.columns)) throw new TypeError('not an overview');
    this.skew = answer.time - Date.now();
    for (const row of answer.samples) {
      this.samples.push(Object.fromEntries(answer.columns.map((c, i) => [c, row[i]])));
    }
    // A node that began anew has a new hour.
    this.samples = this.samples.filter((s) => s.time > answer.time - HOUR && s.time <= answer.time + 60_000);
    this.latest = answer;
    for (const f of this.listeners) f(answer);
  }
}
