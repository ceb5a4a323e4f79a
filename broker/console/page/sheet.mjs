// The sheet: puts an overview and its history on the page. Everything is set as
// textContent; names and reasons come from outside.
import { bytes, count, number, rate, span } from './figure.mjs';
import { Chart, el } from './chart.mjs';

const $ = (id) => document.getElementById(id);
const perSecond = (v) => rate(v) + '/s';
const bytesPerSecond = (v) => bytes(v) + '/s';
const sum = (map) => Object.values(map ?? {}).reduce((a, v) => a + number(v), 0);
const total = (key) => (o) => o[key];
const sessions = (o) => sum(o.sessions);

const TILES = [
  ['sessions', (o) => count(sessions(o))],
  ['WebSockets', (o) => count(o.sockets)],
  ['polls and streams held', (o) => count(o.held)],
  ['viewers', (o) => count(o.viewers)],
  ['messages received', (o, h) => perSecond(h.rate(total('received')))],
  ['publishes stored', (o, h) => perSecond(h.rate(total('published')))],
  ['deliveries', (o, h) => perSecond(h.rate(total('delivered')))],
  ['bytes received', (o, h) => bytesPerSecond(h.rate(total('received_bytes')))],
  ['bytes delivered', (o, h) => bytesPerSecond(h.rate(total('delivered_bytes')))],
];

// What rises, with the words for it and how its total is shown.
const TRAFFIC = [
  ['messages received', 'received', count],
  ['publishes stored', 'published', count],
  ['deliveries', 'delivered', count],
  ['bytes received', 'received_bytes', bytes],
  ['bytes delivered', 'delivered_bytes', bytes],
  ['sessions made', 'handshakes', count],
  ['catch-ups begun', 'replays', count],
  ['messages replayed', 'replayed', count],
  ['times a session lagged', 'lagging', count],
  ['deliveries sent again', 'resent', count],
  ['messages that waited for a rate', 'throttled', count],
  ['connections that did not read', 'stalled', count],
  ['panics', 'panics', count],
];

const rates = (key) => (history) => history.rates(total(key));

const charts = () => [
  new Chart({ title: 'Sessions', unit: 'number', show: count, least: 4, series: [{ name: 'sessions', of: (h) => h.gauge(sessions) }, { name: 'WebSockets', of: (h) => h.gauge(total('sockets')) }, { name: 'held', of: (h) => h.gauge(total('held')) }] }),
  new Chart({ title: 'Messages', unit: 'per second', show: perSecond, series: [{ name: 'delivered', of: rates('delivered') }, { name: 'received', of: rates('received') }, { name: 'published', of: rates('published') }] }),
  new Chart({ title: 'Bytes', unit: 'per second', show: bytesPerSecond, base: 1024, series: [{ name: 'delivered', of: rates('delivered_bytes') }, { name: 'received', of: rates('received_bytes') }] }),
  new Chart({ title: 'Memory', unit: 'heap in use', show: bytes, base: 1024, series: [{ name: 'heap', of: (h) => h.gauge((o) => o.process?.heap_bytes) }] }),
];

export class Sheet {
  constructor () {
    this.rows = new Map(); // by table and key: so that what is being read does not jump
    this.charts = charts();
    $('charts').append(...this.charts.map((c) => c.root));
    new ResizeObserver(() => this.charts.forEach((c) => c.paint())).observe($('charts'));
  }

  show (o, history) {
    $('about').textContent = `version ${o.version || 'unknown'} · up ${span(o.uptime)} · store ${o.store?.kind || 'unknown'}: ${o.store?.fault ? 'in trouble' : 'in order'}`;
    for (const [name, of] of TILES) this.pair('tiles', name, of(o, history));
    this.charts.forEach((c) => c.draw(history));
    for (const [name, key, show] of TRAFFIC) {
      const perS = history.rate(total(key));
      const cells = this.row('traffic', key, name, [show(o[key]), show === bytes ? bytesPerSecond(perS) : perSecond(perS)]);
      if (key === 'panics') cells[0].classList.toggle('bad', number(o.panics) > 0);
    }
    this.trouble(o, history);
    for (const name of Object.keys(o.sessions).sort()) this.row('sessions', name, name, [count(o.sessions[name])]);
    this.node(o);
  }

  // The reasons that have happened at all; a row once shown stays, also when a
  // process begins again from zero.
  trouble (o, history) {
    let any = false;
    const kinds = [['dropped', (m) => m.dropped], ['refused', (m) => m.refused], ['ended', (m) => m.ended],
      ['console', (m) => m.console]];
    for (const [kind, of] of kinds) {
      const map = of(o) ?? {};
      for (const reason of Object.keys(map).sort()) {
        const key = kind + ' ' + reason;
        if (number(map[reason]) === 0 && !this.rows.has('trouble\n' + key)) continue;
        any = true;
        this.row('trouble', key, `${kind}: ${reason.replaceAll('_', ' ')}`,
          [count(map[reason]), perSecond(history.rate((s) => of(s)?.[reason]))]);
      }
    }
    $('trouble-none').hidden = any;
  }

  node (o) {
    this.pair('node', 'version', o.version || 'unknown');
    this.pair('node', 'up for', span(o.uptime));
    this.pair('node', 'store', o.store?.kind || 'unknown');
    this.pair('node', 'store health', o.store?.fault || 'in order', Boolean(o.store?.fault));
    this.pair('node', 'goroutines', count(o.process?.goroutines));
    this.pair('node', 'heap', bytes(o.process?.heap_bytes));
    const open = o.open?.length ? o.open : ['nothing'];
    if (this.open !== open.join('\n')) {
      this.open = open.join('\n');
      $('open').replaceChildren(...open.map((text) => el('li', {}, text)));
    }
  }

  // pair sets one line of a list of names and values.
  pair (list, name, value, bad = false) {
    const key = list + '\n' + name;
    let dd = this.rows.get(key);
    if (!dd) {
      const div = el('div');
      dd = el('dd');
      div.append(el('dt', {}, name), dd);
      $(list).append(div);
      this.rows.set(key, dd);
    }
    set(dd, value);
    dd.classList.toggle('bad', bad);
  }

  // row sets one line of a table and returns its cells but the first.
  row (body, key, name, values) {
    key = body + '\n' + key;
    let cells = this.rows.get(key);
    if (!cells) {
      const tr = el('tr');
      cells = values.map(() => el('td'));
      tr.append(el('th', { scope: 'row' }, name), ...cells);
      $(body).append(tr);
      this.rows.set(key, cells);
    }
    cells.forEach((c, i) => set(c, values[i]));
    return cells;
  }
}

// set leaves a text that did not change alone: a selection in it stays.
function set (e, text) {
  if (e.textContent !== text) e.textContent = text;
}
