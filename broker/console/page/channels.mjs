// Channels: those that spoke in the last hour, and whichever is named.
import { card, empty, field, h, text } from './element.mjs';
import { get } from './ask.mjs';
import { ago, bytes, count, rate, span } from './figure.mjs';
import { go, href } from './place.mjs';
import { Rows } from './rows.mjs';

export const title = 'Channels';

const EVERY = 5_000;

export const nameOf = (c) => (c.object ? `${c.object}/${c.channel}` : c.channel);
export const placeOf = (c) => href('channel', { app: c.app, object: c.object, channel: c.channel });

const columns = (now) => [
  { title: 'channel', wide: true, of: (c) => h('span', { 'data-same': c.app + nameOf(c) }, h('a', { href: placeOf(c) }, nameOf(c)), c.app ? h('span', { class: 'quiet block' }, c.app) : null) },
  { title: 'kind', of: (c) => c.kind },
  { title: 'subscribers here', number: true, of: (c) => count(c.subscribers) },
  { title: 'rate', number: true, of: (c) => rate(c.minute / 60) + '/s' },
  { title: 'kept', number: true, of: (c) => count(c.count) },
  { title: 'goes back', number: true, of: (c) => (c.count ? span((now() - c.oldest) / 1000) : '–') },
  { title: 'about', number: true, of: (c) => (c.count ? bytes(c.bytes) : '–') },
  { title: 'last', number: true, of: (c) => ago(c.newest, now()) },
  { title: 'last message', wide: true, of: (c) => h('code', { class: 'clip', 'data-same': c.last_id }, c.last + (c.cut ? '…' : '')) }
];

export function open (root, params, { task }) {
  const input = h('input', { type: 'search', value: params.search ?? '', placeholder: 'a part of a name, or the whole of one', maxlength: 255, autocomplete: 'off', spellcheck: false });
  let now = Date.now();
  const rows = new Rows({ caption: 'Channels', key: (c) => c.app + '\n' + nameOf(c), columns: columns(() => now) });
  const note = h('p', { class: 'quiet', role: 'status' }, 'Loading…');
  const fault = h('p', { class: 'fault', role: 'alert' });
  const none = h('div');
  const load = task(async (signal) => {
    const search = input.value.trim();
    const page = await get('channels', { search, limit: 100 }, { signal });
    now = page.now;
    rows.show(page.channels);
    rows.root.hidden = page.channels.length === 0;
    none.replaceChildren(...(page.channels.length ? [] : [search
      ? empty(`No channel that spoke in the last hour has “${search}” in its name.`, 'A channel that was silent for longer is found by its whole name: /demo/ticks, or live-123/chat for one of an object.')
      : empty('No channel spoke in the last hour.', 'Publish something: the publish box of a channel’s page, gobelin pub, or any Bayeux client. A silent one is found by its whole name.')]));
    text(note, page.truncated ? `${page.channels.length} channels, the ones that spoke last. There are more: search for them.` : `${page.channels.length} ${page.channels.length === 1 ? 'channel' : 'channels'} that spoke in the last hour.`);
  }, fault);
  let timer = 0;
  input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(() => { go('channels', { search: input.value.trim() }, { quiet: true }); load(); }, 250); });
  root.append(h('h1', {}, 'Channels'),
    h('form', { class: 'bar', role: 'search', onsubmit: (e) => { e.preventDefault(); load(); } }, field('Search', input)),
    fault, card('Channels', { note: 'by when they spoke last' }, note, rows.root, none));
  load();
  const again = setInterval(load, EVERY);
  return { close () { clearInterval(again); clearTimeout(timer); } };
}

