// Tools: tokens made and checked, roots checked, the node drained.
import { card, confirm, copier, field, h, select, text } from './element.mjs';
import { post } from './ask.mjs';
import { href } from './place.mjs';

export const title = 'Tools';

const ROLES = ['viewer', 'participant', 'moderator', 'broadcaster', 'admin'].map((r) => [r, r]);
const LIVES = [['600', '10 minutes'], ['3600', '1 hour'], ['43200', '12 hours'], ['86400', '24 hours']];

export function open (root, params, { pulse, task }) {
  const apps = (pulse.latest?.applications ?? []).map((a) => [a, a]);
  root.append(h('h1', {}, 'Tools'), h('div', { class: 'columns two' }, maker(apps, task), checker(apps, task), roots(task), drain(pulse, task)));
  return { close () {} };
}

function maker (apps, task) {
  const app = select(apps);
  const role = select(ROLES);
  const life = select(LIVES, '3600');
  const inputs = { channel_id: 'Object', user_id: 'User id', opaque_user_id: 'Opaque user id', user_ref: 'User reference', name: 'Name', jti: 'Token id (jti)' };
  for (const [name, label] of Object.entries(inputs)) inputs[name] = field(label, h('input', { maxlength: 200, autocomplete: 'off', spellcheck: 'false', name }));
  const fault = h('p', { class: 'fault', role: 'alert' });
  const out = h('div', { role: 'status' });
  const make = task(async () => {
    out.replaceChildren();
    const claims = Object.fromEntries(Object.entries(inputs).map(([name, f]) => [name, f.querySelector('input').value]));
    const { token } = await post('token', { app: app.value, role: role.value, seconds: Number(life.value), ...claims });
    out.replaceChildren(h('p', {}, 'The token was made. It opens to its bearer what its role may do.'), h('pre', { class: 'secret', tabindex: '0' }, token), copier('Copy it', () => token));
  }, fault);
  return card('Make a token', { note: 'as the application’s own backend would' }, apps.length ? h('form', { onsubmit: (e) => { e.preventDefault(); make(); } },
    h('div', { class: 'fields' }, field('Application', app), field('Role', role), field('Good for', life), Object.values(inputs)), h('button', { class: 'primary' }, 'Make it')) : h('p', {}, 'There is no application: add accounts with apps to the configuration.'), fault, out);
}

// verdict says what something is.
function verdict (out, v) {
  out.replaceChildren(h('p', { class: v.good ? 'badge serving' : 'badge silent' }, v.good ? 'good' : 'refused' + (v.check ? ': ' + v.check : '')), h('p', { class: 'lines' }, v.text),
    ...(v.object ? [h('p', {}, 'It leads to ', h('a', { href: href('object', { app: v.app, id: v.object }) }, v.object), ` of ${v.app}.`)] : []));
}

function checker (apps, task) {
  const input = h('textarea', { rows: '4', required: true, spellcheck: 'false', maxlength: 9000 });
  const app = select([['', 'whichever it names'], ...apps]);
  const fault = h('p', { class: 'fault', role: 'alert' });
  const out = h('div', { role: 'status' });
  const check = task(async () => verdict(out, await post('token/check', { token: input.value.trim(), app: app.value })), fault);
  return card('Check a token', {}, h('form', { onsubmit: (e) => { e.preventDefault(); check(); } }, field('Token', input), h('div', { class: 'row' }, field('Application', app), h('button', { class: 'primary' }, 'Check it'))), fault, out);
}

function roots (task) {
  const input = h('input', { required: true, maxlength: 400, spellcheck: 'false', autocomplete: 'off' });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const out = h('div', { role: 'status' });
  const check = task(async () => verdict(out, await post('root/check', { root: input.value })), fault);
  return card('Check a root', {}, h('form', { onsubmit: (e) => { e.preventDefault(); check(); } }, field('Root, or a channel that begins with one', input), h('div', { class: 'row' }, h('button', { class: 'primary' }, 'Check it'))), fault, out);
}

function drain (pulse, task) {
  const fault = h('p', { class: 'fault', role: 'alert' });
  const said = h('p', { class: 'quiet', role: 'status' });
  const self = pulse.latest?.nodes.find((n) => n.self);
  const begin = task(async () => {
    const others = pulse.latest.nodes.filter((n) => !n.self && n.state === 'serving').length;
    if (!await confirm('Drain this node?', `${self?.name ?? 'It'} hands its clients over and stops. ${others ? `${others} other ${others === 1 ? 'node takes' : 'nodes take'} them.` : 'There is no other node: nobody is served until it is started again.'}`, 'Drain it')) return;
    await post('drain');
    text(said, 'The node is handing its clients over and stops. This console ends with it.');
  }, fault);
  return card('Drain this node', {}, h('p', {}, 'It takes no more clients, gives those it has to other nodes over drain.time, and the process ends. Nothing that was acknowledged is lost.'), h('button', { type: 'button', class: 'danger', onclick: () => begin() }, 'Drain'), said, fault);
}
