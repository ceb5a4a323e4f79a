// One object: its channels, roots, accumulations, data, statistics.
import { card, confirm, copier, empty, field, h, select, text } from './element.mjs';
import { api, blob, Fault, get } from './ask.mjs';
import { clock, count, day } from './figure.mjs';
import { elements, members, pretty } from './json.mjs';
import { documentsOf } from './documents.mjs';
import { pairs } from './overview.mjs';
import { go, href } from './place.mjs';
import { Rows } from './rows.mjs';
import { viewersOf } from './viewers.mjs';

export const title = 'Object';

const TABS = [['channels', 'Channels'], ['roots', 'Roots'], ['accumulations', 'Accumulations'], ['data', 'Data'], ['viewers', 'Viewers'], ['settings', 'Settings']];

export function open (root, params, { pulse, task }) {
  const { app = '', id = '' } = params;
  const fault = h('p', { class: 'fault', role: 'alert' });
  root.append(h('p', { class: 'crumbs' }, h('a', { href: href('objects', { app }) }, 'Objects'), app && ` / ${app}`), h('h1', { class: 'name' }, id || 'No object'), fault);
  if (!id || !app) {
    root.append(empty('The address names no object.', h('a', { href: href('objects') }, 'Choose one.')));
    return { close () {} };
  }
  const tab = TABS.some(([t]) => t === params.tab) ? params.tab : 'channels';
  const facts = h('dl', { class: 'pairs wide' });
  const body = h('div', {});
  root.append(card('Object', {}, facts), h('nav', { class: 'tabs', 'aria-label': 'Parts of the object' },
    TABS.map(([t, label]) => h('a', { href: href('object', { app, id, tab: t }), 'aria-current': t === tab ? 'page' : null }, label))), body);
  let part = null;
  const load = task(async (signal) => {
    const { object } = JSON.parse(await api(app, 'objects/' + encodeURIComponent(id)));
    if (signal.aborted) return;
    pairs(facts, [['name', object.name || '–'], ['type', object.object_type], ['owner', object.owner_ref || '–'], ['URL', object.url || '–'], ['listed', object.public ? 'public' : 'private']]);
    part = PARTS[tab]({ app, id, object, task, pulse });
    body.append(part.root);
  }, fault);
  load();
  return { close () { part?.close?.(); } };
}

const base = (id) => 'objects/' + encodeURIComponent(id);

const PARTS = {
  channels ({ app, id, task }) {
    const fault = h('p', { class: 'fault', role: 'alert' });
    const input = h('input', { maxlength: 190, required: true, placeholder: 'chat', autocomplete: 'off', spellcheck: 'false' });
    const there = h('dl', { class: 'pairs' });
    const kinds = ['all_json', 'promoted_json', 'events', 'analytics', 'presence', 'stats/live', 'data/room', 'data/session'];
    const load = task(async (signal) => {
      const p = JSON.parse(await api(app, base(id) + '/presence'));
      if (signal.aborted) return;
      pairs(there, [['listen to it now, on all nodes', count(p.count)]]);
    }, fault);
    load();
    return {
      root: card('Channels', { note: 'of this object' }, fault, there, h('p', {}, 'Its own: '), h('ul', { class: 'chips' }, kinds.map((k) => h('li', {}, h('a', { href: href('channel', { app, object: id, channel: k }) }, k)))),
        h('form', { class: 'row', onsubmit: (e) => { e.preventDefault(); go('channel', { app, object: id, channel: input.value.trim().replace(/^\//, '') }); } }, field('Any other', input), h('button', {}, 'Open')),
        h('p', {}, h('a', { href: href('channels', { search: id + '/' }) }, 'Those that spoke in the last hour')))
    };
  },

  roots ({ app, id, task }) {
    const fault = h('p', { class: 'fault', role: 'alert' });
    const list = h('div', {});
    const show = h('button', { type: 'button', class: 'primary' }, 'Show the roots');
    const load = task(async () => {
      const { roots } = JSON.parse(await api(app, base(id) + '/roots'));
      const rows = new Rows({
        caption: 'Roots', key: (r) => r.class, columns: [
          { title: 'class', of: (r) => r.class }, { title: 'root', wide: true, of: (r) => h('code', { 'data-same': r.realtime_channel, class: 'root' }, r.realtime_channel) },
          { title: 'until', of: (r) => (r.expires_at ? clock(r.expires_at * 1000) : 'it is reset') }, { title: '', of: (r) => copier('Copy', () => r.realtime_channel) }]
      });
      rows.show(roots);
      list.replaceChildren(rows.root, h('p', {}, h('button', { type: 'button', class: 'small', onclick: hide }, 'Hide them')));
      show.hidden = true;
    }, fault);
    const hide = () => { list.replaceChildren(); show.hidden = false; show.focus(); };
    show.addEventListener('click', () => load());
    return { root: card('Roots', {}, h('p', {}, 'A root opens the object to whoever has it, as a key does: the control root to everything. They are shown when you ask for them, each time that is written to the audit log, and they are never logged.'), show, fault, list) };
  },

  accumulations ({ app, id, task }) {
    const fault = h('p', { class: 'fault', role: 'alert' });
    const name = select([]);
    const input = h('input', { maxlength: 64, required: true, autocomplete: 'off', spellcheck: 'false' });
    const said = h('p', { class: 'quiet', role: 'status' });
    const list = h('div', {});
    const rows = new Rows({
      caption: 'Entries', key: (e) => e.at, columns: [
        { title: 'observed', of: (e) => clock(e.observed, { fine: true }) }, { title: 'user', wide: true, of: (e) => e.user_id || '–' }, { title: 'opaque user', wide: true, of: (e) => e.opaque_user_id || '–' },
        { title: 'data', wide: true, of: (e) => h('details', { 'data-same': e.at }, h('summary', {}, h('code', { class: 'clip' }, e.text)), h('pre', {}, pretty(e.text))) }]
    });
    const more = h('button', { type: 'button', hidden: true }, 'Show the next entries');
    let chosen = '';
    let cursor = '';
    let all = [];
    const query = (extra) => 'e/accumulate?' + new URLSearchParams({ id: chosen, channel_id: id, ...extra });
    const load = task(async (signal, on) => {
      const answer = await api(app, query(on ? { after: cursor } : { start: 0 }));
      if (signal.aborted) return;
      const page = JSON.parse(answer);
      const fresh = elements(members(answer).get('data')).map((text, i) => ({ ...page.data[i], text: members(text).get('data'), at: `${chosen} ${(on ? all.length : 0) + i}` }));
      all = on ? [...all, ...fresh] : fresh;
      cursor = page.cursor;
      rows.show(all);
      more.hidden = !page.truncated;
      list.replaceChildren(all.length ? rows.root : empty('There is no entry.', 'They go a time after the last one came.'), more);
      text(said, `${count(all.length)} ${all.length === 1 ? 'entry' : 'entries'} of ${chosen}${page.truncated ? ', there are more' : ''}.`);
    }, fault);
    more.addEventListener('click', () => load(true));
    const choose = (n) => { chosen = n; cursor = ''; all = []; if (n) load(false); };
    const save = task(async (signal, format) => {
      if (!chosen) throw new Fault(0, 'Choose an accumulation first.');
      download(await blob(app, query({ start: 0, format })), `${chosen}-${day(Date.now())}.${format}`);
    }, fault);
    const clear = task(async () => {
      if (!chosen || !await confirm('Clear this accumulation?', `All entries of ${chosen} are removed, and nobody can bring them back.`, 'Clear it')) return;
      await api(app, 'e/accumulate?' + new URLSearchParams({ id: chosen, channel_id: id }), { method: 'DELETE' });
      await load(false);
    }, fault);
    const names = task(async (signal) => {
      const { accumulations } = await get('accumulations', { app, object: id }, { signal });
      name.replaceChildren(...accumulations.map((n) => h('option', { value: n }, n)));
      if (accumulations.length) choose(accumulations[0]);
      else list.replaceChildren(empty('This object has no accumulation.', 'One is there from its first entry on: POST /v1/e/accumulate?id=<name>, or a publish to accumulate/<name>.'));
    }, fault);
    name.addEventListener('change', () => choose(name.value));
    names();
    return {
      root: card('Accumulations', { tools: [['ndjson', 'Export NDJSON'], ['csv', 'Export CSV']].map(([f, label]) => h('button', { type: 'button', class: 'small', onclick: () => save(f) }, label)).concat(h('button', { type: 'button', class: 'small', onclick: () => clear() }, 'Clear')) },
        h('div', { class: 'row' }, field('Accumulation', name), h('form', { class: 'row', onsubmit: (e) => { e.preventDefault(); choose(input.value); } }, field('Another, by its name', input), h('button', {}, 'Open'))), fault, said, list)
    };
  },

  data ({ app, id, object, task }) { return documentsOf(app, id, object, task); },

  viewers ({ app, id, task }) {
    const v = viewersOf(app, id, task);
    return { root: h('div', {}, v.root), close: v.close };
  },

  settings ({ app, id, task }) {
    const fault = h('p', { class: 'fault', role: 'alert' });
    const said = h('p', { class: 'quiet', role: 'status' });
    const grace = h('input', { type: 'number', min: '0', max: '10080', value: '60' });
    const reset = task(async () => {
      if (!await confirm('Reset the roots of this object?', `All of its roots change. The ones that are known now work for ${grace.value || 0} minutes more; then who uses them is refused.`, 'Reset them')) return;
      await api(app, base(id) + '/reset-token', { method: 'POST', body: JSON.stringify({ grace_minutes: Number(grace.value) || 0 }) });
      text(said, 'The roots were reset.');
    }, fault);
    const remove = task(async () => {
      if (!await confirm('Delete this object?', `${id}: its roots lead nowhere from then on, and the data of its room and sessions is gone.`, 'Delete it')) return;
      await api(app, base(id), { method: 'DELETE' });
      go('objects', { app });
    }, fault);
    return {
      root: card('Settings', {}, h('div', { class: 'row' }, field('Old roots work for, in minutes', grace), h('button', { type: 'button', onclick: () => reset() }, 'Reset the roots'), h('button', { type: 'button', class: 'danger', onclick: () => remove() }, 'Delete the object')), said, fault)
    };
  }
};

// download saves what came as a file.
function download (what, name) {
  const url = URL.createObjectURL(what);
  const a = h('a', { href: url, download: name });
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
