// Overview: what all nodes do now and did in the last hour.
import { card, empty, h, text } from './element.mjs';
import { ago, bytes, bytesPerSecond, clock, count, perSecond, rate, span, took } from './figure.mjs';
import { Chart } from './chart.mjs';
import { Rows } from './rows.mjs';

export const title = 'Overview';

const HOUR = 3_600_000;
const SHORTEST = 300_000; // ms that the charts show at least
const sum = (map) => Object.values(map ?? {}).reduce((a, v) => a + v, 0);
const all = (nodes, of) => nodes.reduce((a, n) => a + (of(n) ?? 0), 0);
const most = (nodes, of) => nodes.reduce((a, n) => Math.max(a, of(n) ?? -1), -1);

const TILES = [
  ['sessions', (n) => count(all(n, (x) => sum(x.figures?.sessions)))],
  ['subscriptions', (n) => count(all(n, (x) => x.figures?.subscriptions))],
  ['viewers', (n) => count(all(n, (x) => x.figures?.viewers))],
  ['messages in', (n) => perSecond(all(n, (x) => x.rates?.received))],
  ['publishes stored', (n) => perSecond(all(n, (x) => x.rates?.published))],
  ['deliveries', (n) => perSecond(all(n, (x) => x.rates?.delivered))],
  ['publish to write, p99', (n) => took(most(n, (x) => x.rates?.written_p99))],
  ['waiting in queues', (n) => bytes(all(n, (x) => x.figures?.queue_bytes))]
];

const NODES = [
  { title: 'node', of: (n) => h('span', { 'data-same': n.name + n.self + n.state + n.version }, h('b', {}, n.name || n.id), n.self ? h('span', { class: 'tag' }, 'this one') : null, n.advertise ? h('span', { class: 'quiet block' }, n.advertise) : null) },
  { title: 'state', of: (n) => h('span', { class: 'badge ' + n.state, 'data-same': n.state }, n.state) },
  { title: 'up', number: true, of: (n, o) => span((o.time - n.started) / 1000) },
  { title: 'version', of: (n) => n.version || '–' },
  { title: 'sessions', number: true, of: (n) => known(n, (f) => count(sum(f.sessions))) },
  { title: 'subscriptions', number: true, of: (n) => known(n, (f) => count(f.subscriptions)) },
  { title: 'in', number: true, of: (n) => rated(n, (r) => perSecond(r.received)) },
  { title: 'out', number: true, of: (n) => rated(n, (r) => perSecond(r.delivered)) },
  { title: 'p50 / p99', number: true, of: (n) => rated(n, (r) => `${took(r.written_p50)} / ${took(r.written_p99)}`) },
  { title: 'store p50 / p99', number: true, of: (n) => rated(n, (r) => `${took(r.stored_p50)} / ${took(r.stored_p99)}`) },
  { title: 'queues', number: true, of: (n) => known(n, (f) => bytes(f.queue_bytes)) },
  { title: 'dropped', number: true, of: (n) => known(n, (f) => count(sum(f.dropped))) },
  { title: 'memory', number: true, of: (n) => known(n, (f) => bytes(f.memory)) },
  { title: 'CPU', number: true, of: (n) => rated(n, (r) => Math.round(r.cpu * 100) + ' %') }
];
const known = (n, f) => (n.figures ? f(n.figures) : '–');
const rated = (n, f) => (n.rates ? f(n.rates) : '–');

// What has no tile, with the words for it.
const TRAFFIC = [
  ['messages received', 'received', count], ['publishes stored', 'published', count], ['deliveries', 'delivered', count],
  ['bytes received', 'received_bytes', bytes], ['bytes delivered', 'delivered_bytes', bytes], ['sessions made', 'handshakes', count],
  ['catch-ups begun', 'replays', count], ['messages replayed', 'replayed', count], ['times a session lagged', 'lagging', count],
  ['deliveries sent again', 'resent', count], ['messages that waited for a rate', 'throttled', count],
  ['connections that did not read', 'stalled', count], ['panics', 'panics', count]
];

const of = (column) => (s) => (s[column] < 0 ? null : s[column]);
const charts = () => [
  new Chart({ title: 'Messages', unit: 'per second, all nodes', show: perSecond, series: [{ name: 'delivered', of: of('delivered') }, { name: 'received', of: of('received') }, { name: 'stored', of: of('published') }] }),
  new Chart({ title: 'Sessions', unit: 'all nodes', show: count, least: 4, series: [{ name: 'sessions', of: of('sessions') }, { name: 'subscriptions', of: of('subscriptions') }, { name: 'viewers', of: of('viewers') }] }),
  new Chart({ title: 'Publish to write', unit: 'of what was written', show: took, series: [{ name: 'p99', of: of('written_p99') }, { name: 'p50', of: of('written_p50') }] }),
  new Chart({ title: 'Store', unit: 'time of an append', show: took, series: [{ name: 'p99', of: of('stored_p99') }, { name: 'p50', of: of('stored_p50') }] }),
  new Chart({ title: 'Dropped, refused, lagging', unit: 'per second', show: (v) => rate(v) + '/s', series: [{ name: 'dropped', of: of('dropped') }, { name: 'refused', of: of('refused') }, { name: 'lagging', of: of('lagging') }] }),
  new Chart({ title: 'Memory and queues', unit: 'bytes, all nodes', show: bytes, base: 1024, series: [{ name: 'memory', of: of('memory') }, { name: 'queues', of: of('queue_bytes') }] }),
  new Chart({ title: 'Bytes', unit: 'per second', show: bytesPerSecond, base: 1024, series: [{ name: 'delivered', of: of('delivered_bytes') }, { name: 'received', of: of('received_bytes') }] }),
  new Chart({ title: 'Processors', unit: 'in use, all nodes', show: (v) => rate(v), series: [{ name: 'CPU', of: of('cpu') }] })
];

export function open (root, params, { pulse }) {
  const tiles = TILES.map(([name, f]) => ({ f, value: h('dd', {}, '–'), name }));
  const note = h('p', { class: 'fault' });
  let latest = null;
  const nodes = new Rows({ caption: 'Nodes', key: (n) => n.id, columns: NODES.map((c) => ({ ...c, of: (n) => c.of(n, latest) })) });
  const plots = charts();
  const traffic = new Rows({
    caption: 'Totals of all nodes since their start', key: (r) => r.name, columns: [
      { title: 'what', of: (r) => r.name }, { title: 'total', number: true, of: (r) => r.total }]
  });
  const reasons = new Rows({
    caption: 'Dropped, refused and ended, by reason, since the start of each node', key: (r) => r.kind + r.name, columns: [
      { title: 'reason', of: (r) => `${r.kind}: ${r.name}` }, { title: 'total', number: true, of: (r) => count(r.n) }]
  });
  const quiet = empty('Nothing was dropped, refused or ended so far.');
  const facts = h('dl', { class: 'pairs' });
  const openTo = h('ul', { class: 'plain-list' });
  root.append(
    h('h1', {}, 'Overview'), note,
    h('dl', { class: 'tiles' }, tiles.map((t) => h('div', {}, h('dt', {}, t.name), t.value))),
    card('Nodes', { note: 'rates are means of about ten seconds' }, nodes.root),
    h('h2', { class: 'section' }, 'Last hour'), h('div', { class: 'charts' }, plots.map((p) => p.root)),
    h('div', { class: 'columns' },
      card('Store', {}, facts, h('h3', {}, 'Open without a signed root'), openTo),
      card('Traffic', { note: 'since the start of each node' }, traffic.root),
      card('Dropped, refused, ended', { note: 'by reason' }, reasons.root, quiet)));

  const draw = (o) => {
    latest = o;
    text(note, [o.store.fault && `The store is in trouble: ${o.store.fault}`, o.fault && `Not all nodes are shown: ${o.fault}.`].filter(Boolean).join(' '));
    for (const t of tiles) text(t.value, t.f(o.nodes));
    nodes.show(o.nodes);
    const samples = pulse.samples.map((s) => ({ ...s, t: s.time }));
    // A node that began lately is not shown as a dot at the end of an empty hour.
    const from = Math.max(o.time - HOUR, Math.min(o.time - SHORTEST, samples[0]?.t ?? o.time));
    plots.forEach((p) => p.draw(samples, from, o.time));
    traffic.show(TRAFFIC.map(([name, key, show]) => ({ name, total: show(all(o.nodes, (n) => n.figures?.[key])) })));
    const list = [];
    for (const kind of ['dropped', 'refused', 'ended']) {
      const total = {};
      for (const n of o.nodes) for (const [name, k] of Object.entries(n.figures?.[kind] ?? {})) total[name] = (total[name] ?? 0) + k;
      for (const name of Object.keys(total).sort()) list.push({ kind, name, n: total[name] });
    }
    for (const [name, n] of Object.entries(o.console)) if (n > 0) list.push({ kind: 'console', name: name.replaceAll('_', ' '), n });
    reasons.show(list);
    quiet.hidden = list.length > 0;
    reasons.root.hidden = list.length === 0;
    pairs(facts, [['kind', o.store.kind], ...o.store.facts.map((f) => [f.name, f.value]), ['state', o.store.fault || 'in order'], ['looked at', clock(o.time)]]);
    fill(openTo, o.open.length ? o.open : ['nothing: every channel needs a root']);
  };
  const end = pulse.listen(draw);
  return { close () { end(); plots.forEach((p) => p.close()); } };
}

// pairs shows names and values, changing only what changed.
export function pairs (list, items) {
  const key = items.map(([name]) => name).join('\n');
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...items.map(([name]) => h('div', {}, h('dt', {}, name), h('dd'))));
  }
  items.forEach(([, value], i) => text(list.children[i].lastChild, String(value)));
}

function fill (list, texts) {
  if (list.children.length === texts.length && texts.every((t, i) => list.children[i].textContent === t)) return;
  list.replaceChildren(...texts.map((t) => h('li', {}, t)));
}

// about says at the page's foot which broker this is.
export const about = (o) => {
  const self = o.nodes.find((n) => n.self);
  return `Gobelin ${o.version || 'without a version'}` + (self ? `, node ${self.name || self.id}, begun ${ago(self.started, o.time)}` : '') + `, store ${o.store.kind}.`;
};
