// One session: what it listens to, how it keeps up, and its end.
import { card, confirm, empty, h, text } from './element.mjs';
import { get, post } from './ask.mjs';
import { ago, bytes, count } from './figure.mjs';
import { nameOf, placeOf } from './channels.mjs';
import { pairs } from './overview.mjs';
import { href } from './place.mjs';
import { Rows } from './rows.mjs';
import { whoIs } from './sessions.mjs';

export const title = 'Session';

const EVERY = 3_000;

export function open (root, params, { pulse, task }) {
  const id = params.id ?? '';
  const fault = h('p', { class: 'fault', role: 'alert' });
  const said = h('p', { class: 'quiet', role: 'status' });
  const facts = h('dl', { class: 'pairs wide' });
  const none = empty('It is subscribed to nothing.');
  const rows = new Rows({
    caption: 'Subscriptions', key: (s) => s.app + '\n' + nameOf(s), columns: [
      { title: 'channel', wide: true, of: (s) => (/\*/.test(s.channel) || s.object.startsWith('@') ? nameOf(s) : h('a', { href: placeOf(s), 'data-same': s.app + nameOf(s) }, nameOf(s))) },
      { title: 'application', of: (s) => s.app || '–' }, { title: 'live', of: (s) => (s.live ? 'yes' : 'no') }, { title: 'catch-ups', of: (s) => s.catchups.join(', ') || '–' }]
  });
  const end = h('button', { type: 'button', class: 'danger' }, 'Disconnect');
  root.append(h('p', { class: 'crumbs' }, h('a', { href: href('sessions') }, 'Sessions')), h('h1', { class: 'name' }, 'Session ' + id.slice(0, 8)), fault, said,
    card('Session', { tools: [end] }, facts), card('Subscriptions', {}, rows.root, none));
  let over = false;
  const load = task(async (signal) => {
    if (over) return;
    const s = await get('session', { id }, { signal });
    const here = (f) => (s.here ? f() : 'known on its own node');
    pairs(facts, [
      ['user', whoIs(s)], ['role', s.role || 'no token'], ['application', s.app || '–'], ['node', s.node || 'none just now'], ['since', ago(s.came, pulse.now())],
      ['transport', here(() => s.transport + (s.away ? ', away' : ''))], ['address', here(() => s.address)], ['page', here(() => s.origin || '–')],
      ['waits in its queue', here(() => `${count(s.queued)} messages, ${bytes(s.queued_bytes)}`)], ['not yet acknowledged', here(() => count(s.unacknowledged))],
      ['channels it lags on', here(() => count(s.lagging))]
    ]);
    rows.show(s.list);
    rows.root.hidden = s.list.length === 0;
    none.hidden = s.list.length > 0;
  }, fault);
  const disconnect = task(async () => {
    if (!await confirm('Disconnect this session?', 'It ends on whatever node it is. Its client handshakes again, with what rights it then has.', 'Disconnect it')) return;
    await post('session/end', { id });
    over = true;
    end.disabled = true;
    text(said, 'The session was ended.');
  }, fault);
  end.addEventListener('click', () => disconnect());
  load();
  const again = setInterval(load, EVERY);
  return { close () { clearInterval(again); } };
}
