// The broker's own Bayeux endpoint: what a channel says now, and what it said. Requests
// carry the token, so they are polls; the names of channels are roots, which stay here.
import { api } from './ask.mjs';
import * as token from './token.mjs';

const READ = 1_000;      // messages looked at before a page may draw again
const PATIENCE = 30_000; // ms without a message that is owed

export class Live {
  // state is told whether the endpoint is reached.
  constructor (state = () => {}) {
    this.client = new globalThis.Faye.Client('/console/bayeux');
    this.client.disable('websocket');
    this.client.setHeader('Authorization', 'Bearer ' + token.kept());
    // What the callback of a subscription is not told: when a message came, and its id.
    this.envelope = {};
    this.client.addExtension({ incoming: (m, pass) => { this.envelope = m; pass(m); } });
    this.client.on('transport:down', () => state(false));
    this.client.on('transport:up', () => state(true));
  }

  message (data) {
    const { id, ext } = this.envelope;
    return { id: ext?.history?.id ?? id ?? '', time: ext?.history?.ts ?? Date.now(), data };
  }

  // rootOf returns the name under which the broker knows a channel.
  async rootOf ({ app, object, channel }) {
    if (!object) return channel;
    const { object: o } = JSON.parse(await api(app, 'objects/' + encodeURIComponent(object)));
    return `${o.realtime_control_channel}/${channel}`;
  }

  // tail calls f with each message from now on, once; what was missed while the broker was
  // away comes when it is back. It returns what ends that.
  async tail (channel, f) {
    const s = this.client.subscribe(await this.rootOf(channel), (data) => f(this.message(data)));
    await s;
    return () => s.cancel();
  }

  // replay brings the messages of [from, to), in ms of the server's clock now, by an
  // ordinary catch-up, which goes on to now: what comes after to is left there. longest is
  // the longest interval there is, in seconds. f gets each message and returns false to end
  // it; a promise holds the reading up. It resolves to {complete, truncated}.
  async replay (channel, from, to, now, longest, f, signal) {
    const seconds = Math.max(1, Math.min(longest, Math.ceil((now - from) / 1000) + 2)); // clocks and ways differ
    const waiting = [];
    let wake = () => {};
    const name = await this.rootOf(channel);
    signal.throwIfAborted();
    const s = this.client.subscribe(`${name}/catchup/${seconds}s`, (data) => { waiting.push(this.message(data)); wake(); });
    signal.addEventListener('abort', () => wake());
    try {
      await s;
      const { messages = 0, truncated = false } = s.catchup ?? {};
      for (let seen = 0; seen < messages; seen++) {
        while (waiting.length === 0 && !signal.aborted) {
          let late;
          const came = await Promise.race([new Promise((resolve) => { wake = () => resolve(true); }), new Promise((resolve) => { late = setTimeout(resolve, PATIENCE, false); })]);
          clearTimeout(late);
          if (!came) throw new Error('The replay stopped: nothing came for half a minute. Ask for it again.');
        }
        if (signal.aborted) return { complete: false, truncated };
        const m = waiting.shift();
        if (m.time >= to) break; // the rest is later still
        if (m.time >= from && (await f(m)) === false) return { complete: false, truncated };
        if (seen % READ === READ - 1) await new Promise((resolve) => setTimeout(resolve));
      }
      return { complete: true, truncated };
    } finally {
      s.cancel();
    }
  }

  publish (channel, data) { return this.client.publish(channel, data); }

  close () { this.client.disconnect(); }
}
