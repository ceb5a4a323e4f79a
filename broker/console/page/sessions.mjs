// Sessions: who is connected, by what, and what waits for them.
import { card, empty, field, h, select, text } from './element.mjs';
import { get } from './ask.mjs';
import { ago, bytes, count } from './figure.mjs';
import { go, href } from './place.mjs';
import { Rows } from './rows.mjs';

export const title = 'Sessions';

const EVERY = 4_000;
const KINDS = [['here', 'of this node, by id'], ['slow', 'of this node, slowest first'], ['all', 'of all nodes']];

export const whoIs = (s) => [s.name, s.user_ref, s.user_id].find(Boolean) ?? (s.role ? 'without a name' : 'anybody');

export function open (root, params, { pulse, task }) {
  const input = h('input', { type: 'search', value: params.search ?? '', maxlength: 200, placeholder: 'address, transport, user …', autocomplete: 'off', spellcheck: 'false' });
  const kind = select(KINDS, KINDS.some(([k]) => k === params.kind) ? params.kind : 'here');
  const fault = h('p', { class: 'fault', role: 'alert' });
  const note = h('p', { class: 'quiet', role: 'status' }, 'Loading…');
  const none = h('div');
  const live = (s, f) => (s.here ? f(s) : '–');
  const rows = new Rows({
    caption: 'Sessions', key: (s) => s.id, columns: [
      { title: 'session', of: (s) => h('a', { href: href('session', { id: s.id }), 'data-same': s.id }, s.id.slice(0, 8)) },
      { title: 'user', wide: true, of: (s) => whoIs(s) }, { title: 'role', of: (s) => s.role || '–' },
      { title: 'transport', of: (s) => live(s, () => s.transport + (s.away ? ', away' : '')) }, { title: 'address', of: (s) => live(s, () => s.address) },
      { title: 'node', of: (s) => s.node || 'none just now' }, { title: 'since', number: true, of: (s) => ago(s.came, pulse.now()) },
      { title: 'subscriptions', number: true, of: (s) => count(s.subscriptions) },
      { title: 'queue', number: true, of: (s) => live(s, () => (s.queued ? `${count(s.queued)}, ${bytes(s.queued_bytes)}` : '0')) },
      { title: 'lagging', number: true, of: (s) => live(s, () => count(s.lagging)) }]
  });
  const more = h('button', { type: 'button', hidden: true }, 'Next page');
  const first = h('button', { type: 'button', hidden: true }, 'First page');
  let after = '';
  let next = '';
  const load = task(async (signal) => {
    const page = await get('sessions', { search: input.value.trim(), after, limit: 100, everywhere: kind.value === 'all' ? 1 : '', slowest: kind.value === 'slow' ? 1 : '' }, { signal });
    next = page.next;
    rows.show(page.sessions);
    rows.root.hidden = page.sessions.length === 0;
    more.hidden = !next;
    first.hidden = !after;
    none.replaceChildren(...(page.sessions.length ? [] : [input.value || after ? empty('No such session on this page.', next ? 'The search goes through a part of them at a time: look at the next page.' : 'Try a part of an address, a transport, or of a user’s name.') : empty('Nobody is connected.', 'Open /try, or connect any Bayeux client.')]));
    text(note, `${count(page.sessions.length)} ${page.sessions.length === 1 ? 'session' : 'sessions'}${next ? ' on this page' : ''}. What waits for a session is known on its own node.`);
  }, fault);
  const anew = () => { after = ''; go('sessions', { search: input.value.trim(), kind: kind.value }, { quiet: true }); load(); };
  let timer = 0;
  input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(anew, 250); });
  kind.addEventListener('change', anew);
  more.addEventListener('click', () => { after = next; load(); });
  first.addEventListener('click', () => { after = ''; load(); });
  root.append(h('h1', {}, 'Sessions'), h('form', { class: 'bar', role: 'search', onsubmit: (e) => { e.preventDefault(); anew(); } }, field('Search', input), field('Which', kind)),
    fault, card('Sessions', {}, note, rows.root, none, h('div', { class: 'row' }, first, more)));
  load();
  const again = setInterval(load, EVERY);
  return { close () { clearInterval(again); clearTimeout(timer); } };
}
