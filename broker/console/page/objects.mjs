// Objects: rooms, live events and videos of an application.
import { card, empty, field, h, select, text } from './element.mjs';
import { api } from './ask.mjs';
import { go, href } from './place.mjs';
import { Rows } from './rows.mjs';

export const title = 'Objects';

const PAGE = 100;

export function open (root, params, { pulse, task }) {
  const apps = pulse.latest?.applications ?? [];
  root.append(h('h1', {}, 'Objects'));
  if (apps.length === 0) {
    root.append(empty('There is no application.', 'Objects belong to one: add accounts with apps to the configuration and start the broker again.'));
    return { close () {} };
  }
  const app = apps.includes(params.app) ? params.app : apps[0];
  const choice = select(apps.map((a) => [a, a]), app, { onchange: (e) => go('objects', { app: e.target.value }) });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const rows = new Rows({
    caption: 'Objects', key: (o) => o.object_id, columns: [
      { title: 'object', wide: true, of: (o) => h('a', { href: href('object', { app, id: o.object_id }), 'data-same': o.object_id }, o.object_id) },
      { title: 'name', wide: true, of: (o) => o.name || '–' }, { title: 'type', of: (o) => o.object_type },
      { title: 'owner', of: (o) => o.owner_ref || '–' }, { title: 'listed', of: (o) => (o.public ? 'public' : 'private') }]
  });
  const none = empty('This application has no object yet.', 'Make one below, or by POST /v1/objects; one is also made when a token or the server key first names it.');
  const more = h('button', { type: 'button', hidden: true, onclick: () => load(cursor) }, 'Show more');
  let cursor = '';
  let all = [];
  const load = task(async (signal, after = '') => {
    const page = JSON.parse(await api(app, 'objects?' + new URLSearchParams({ limit: PAGE, ...(after ? { cursor: after } : {}) })));
    if (signal.aborted) return;
    all = after ? [...all, ...page.objects] : page.objects;
    cursor = page.cursor;
    rows.show(all);
    rows.root.hidden = all.length === 0;
    none.hidden = all.length > 0;
    more.hidden = !cursor;
  }, fault);
  const id = h('input', { maxlength: 200, required: true, autocomplete: 'off', spellcheck: 'false' });
  const find = (e) => { e.preventDefault(); go('object', { app, id: id.value }); };
  root.append(h('div', { class: 'bar' }, field('Application', choice), h('form', { class: 'row', onsubmit: find }, field('Open by its id', id), h('button', {}, 'Open'))),
    fault, card('Objects', { note: 'of ' + app }, rows.root, none, more), make(app, task, load));
  load();
  return { close () {} };
}

// make is the form for a new object.
function make (app, task, load) {
  const inputs = Object.fromEntries(['object_id', 'name', 'owner_ref', 'url'].map((n) => [n, h('input', { name: n, maxlength: n === 'object_id' ? 200 : 1024, autocomplete: 'off', spellcheck: 'false' })]));
  const type = select([['live', 'live'], ['video', 'video']]);
  const fault = h('p', { class: 'fault', role: 'alert' });
  const said = h('p', { class: 'quiet', role: 'status' });
  const send = task(async () => {
    const body = { type: type.value };
    for (const [name, input] of Object.entries(inputs)) if (input.value) body[name] = input.value;
    const { object } = JSON.parse(await api(app, 'objects', { method: 'POST', body: JSON.stringify(body) }));
    text(said, `Made ${object.object_id}.`);
    for (const input of Object.values(inputs)) input.value = '';
    await load();
  }, fault);
  inputs.object_id.placeholder = 'made up if empty';
  return card('New object', {}, h('form', { class: 'row', onsubmit: (e) => { e.preventDefault(); send(); } },
    field('Id', inputs.object_id), field('Name', inputs.name), field('Owner', inputs.owner_ref), field('URL', inputs.url), field('Type', type), h('button', { class: 'primary' }, 'Make')), said, fault);
}
