// The shared documents of an object: view, edit by version.
import { card, confirm, empty, field, h, select, text } from './element.mjs';
import { api, Fault } from './ask.mjs';
import { clock } from './figure.mjs';
import { fault as jsonFault, members, pretty } from './json.mjs';

const SCOPES = [['room', 'room'], ['session', 'session'], ['user', 'user'], ['app', 'application'], ['owner', 'owner']];

export function documentsOf (app, id, object, task) {
  const fault = h('p', { class: 'fault', role: 'alert' });
  const said = h('p', { class: 'quiet', role: 'status' });
  const scope = select(SCOPES.filter(([s]) => s !== 'owner' || object.owner_ref));
  const user = h('input', { maxlength: 200, autocomplete: 'off', spellcheck: 'false' });
  const userField = field('User', user, 'the user_ref');
  const conference = select([]);
  const conferenceField = field('Session', conference);
  const version = h('b', {}, '–');
  const editor = h('textarea', { rows: '14', spellcheck: 'false', class: 'code' });
  const body = h('div', {});
  let known = '0';

  // A session is named to be read; only the open one can be written.
  const query = (writes = false) => {
    const q = { object_id: id };
    if (scope.value === 'user') q.user_ref = user.value;
    if (scope.value === 'session' && conference.value && !writes) q.conf_num = conference.value;
    return `data/${scope.value}?` + new URLSearchParams(q);
  };
  const take = (answer) => {
    const all = members(answer);
    known = all.get('version') ?? '0';
    text(version, known);
    editor.value = pretty(all.get('data') ?? '{}');
  };
  const load = task(async (signal) => {
    let ended = false;
    userField.hidden = scope.value !== 'user';
    conferenceField.hidden = scope.value !== 'session';
    if (scope.value === 'user' && !user.value) {
      body.replaceChildren(empty('Whose document?', 'Name the user by its user_ref.'));
      return;
    }
    if (scope.value === 'session') {
      const { sessions } = JSON.parse(await api(app, `objects/${encodeURIComponent(id)}/sessions`));
      if (signal.aborted) return;
      const before = conference.value;
      conference.replaceChildren(...sessions.map((s) => h('option', { value: s.conf_num }, clock(s.started_at) + (s.ended_at ? ' to ' + clock(s.ended_at) : ', open'))));
      if (sessions.some((s) => s.conf_num === before)) conference.value = before;
      ended = sessions.find((s) => s.conf_num === conference.value)?.ended_at > 0;
      if (sessions.length === 0) {
        body.replaceChildren(empty('This object had no session lately.', 'One opens with the first use of session data, or by POST /v1/objects/<id>/sessions.'));
        return;
      }
    }
    take(await api(app, query()));
    body.replaceChildren(form);
    for (const b of form.querySelectorAll('.changes')) b.disabled = ended;
    text(said, ended ? 'This session has ended: its data can be read, and goes some days later.' : '');
  }, fault);

  const change = (method) => task(async () => {
    const data = editor.value.trim();
    const wrong = method === 'DELETE' ? '' : jsonFault(data);
    if (wrong) throw new Fault(0, 'Not JSON: ' + wrong);
    if (method === 'DELETE' && !await confirm('Clear this document?', 'It becomes {}; who listens to it hears so.', 'Clear it')) return;
    try {
      take(await api(app, query(true), { method, body: method === 'DELETE' ? undefined : data, headers: { 'If-Match': `"${known}"` } }));
    } catch (e) {
      if (e.status === 412) throw new Fault(412, `Somebody else changed it since version ${known}. Load it again, then make your change.`);
      throw e;
    }
    text(said, `Saved as version ${known}.`);
  }, fault);
  const [replace, clear] = [change('PUT'), change('DELETE')];
  const form = h('form', { onsubmit: (e) => { e.preventDefault(); replace(); } },
    h('p', { class: 'quiet' }, 'Version ', version), field('Document', editor, 'Saving replaces the whole document, if nobody changed it meanwhile.'),
    h('div', { class: 'row' }, h('button', { class: 'primary changes' }, 'Save'), h('button', { type: 'button', onclick: () => load() }, 'Load again'), h('button', { type: 'button', class: 'danger changes', onclick: () => clear() }, 'Clear')));

  scope.addEventListener('change', () => load());
  conference.addEventListener('change', () => load());
  user.addEventListener('change', () => load());
  load();
  return { root: card('Data', {}, h('div', { class: 'row' }, field('Scope', scope), userField, conferenceField), fault, said, body) };
}
