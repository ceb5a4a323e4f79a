// Streams: who reads the accounts' logs, and how far they are.
import { card, empty, h, text } from './element.mjs';
import { get } from './ask.mjs';
import { ago, clock, count, span } from './figure.mjs';
import { Rows } from './rows.mjs';

export const title = 'Streams';

const EVERY = 4_000;

export function open (root, params, { task }) {
  const fault = h('p', { class: 'fault', role: 'alert' });
  const note = h('p', { class: 'quiet', role: 'status' }, 'Loading…');
  const none = empty('There is no stream.', 'An account with a stream_token makes one by POST /streams?token=…; then what is said in its objects is read by GET /streams/<id>/connect.');
  none.hidden = true;
  let now = Date.now();
  const rows = new Rows({
    caption: 'Streams', key: (s) => s.account + s.id, columns: [
      { title: 'stream', wide: true, of: (s) => s.name }, { title: 'account', of: (s) => s.account }, { title: 'connections', number: true, of: (s) => count(s.members) },
      { title: 'checkpoint', of: (s) => (s.checkpoint ? `${clock(s.checkpoint)}, ${ago(s.checkpoint, now)}` : 'at the beginning') }, { title: 'waiting', number: true, of: (s) => count(s.waiting) },
      { title: 'lag', number: true, of: (s) => (s.waiting ? span(s.lag / 1000) : '0 s') }, { title: 'taken', number: true, of: (s) => count(s.taken) }, { title: 'given back', number: true, of: (s) => count(s.returned) },
      { title: 'shows', wide: true, of: (s) => [...s.resources, ...s.events].join(', ') || 'everything' }]
  });
  const load = task(async (signal) => {
    const all = await get('streams', {}, { signal });
    now = all.now;
    rows.show(all.streams);
    rows.root.hidden = all.streams.length === 0;
    none.hidden = all.streams.length > 0;
    text(note, all.waiting ? `${count(all.waiting)} records are on their way to the accounts’ logs, the oldest since ${ago(all.since, now)}.` : 'All records have reached the accounts’ logs.');
  }, fault);
  root.append(h('h1', {}, 'Streams'), fault, card('Streams', { note: 'a record counts as waiting until its delivery is sure' }, note, rows.root, none));
  load();
  const again = setInterval(load, EVERY);
  return { close () { clearInterval(again); } };
}
