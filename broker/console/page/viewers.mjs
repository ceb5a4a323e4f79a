// How many viewers an object had: least, average and most of each minute, hour or day.
import { empty, h } from './element.mjs';
import { get } from './ask.mjs';
import { count } from './figure.mjs';
import { Chart } from './chart.mjs';

const GRAPHS = [['1', '6 hours by minute'], ['2', '24 hours by minute'], ['3', '7 days by hour'], ['4', '30 days by day']];
const EVERY = 30_000;

export function viewersOf (app, object, task) {
  const chart = new Chart({
    title: 'Viewers', unit: 'least, average and most', show: count, least: 4, band: true, level: 3, gap: Infinity,
    series: [{ name: 'average', of: (s) => s.avg }, { name: 'most', of: (s) => s.max, edge: true }, { name: 'least', of: (s) => s.min, edge: true }]
  });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const none = empty('Nobody was counted yet.', 'Viewers are sessions that listen by the view root; they are counted every few seconds, and the first row is there when its minute is over.');
  none.hidden = true;
  let graph = '1';
  const buttons = GRAPHS.map(([value, label]) => h('button', { type: 'button', class: 'small', 'aria-pressed': String(value === graph), onclick: () => choose(value) }, label));
  const load = task(async (signal) => {
    const v = await get('viewers', { app, object, graph }, { signal });
    chart.gap = v.step * 1.5;
    const rows = v.rows.map(([t, min, avg, max]) => ({ t, min, avg, max }));
    none.hidden = rows.length > 0;
    chart.draw(rows, v.from, v.to);
  }, fault);
  const choose = (value) => {
    graph = value;
    GRAPHS.forEach(([v], i) => buttons[i].setAttribute('aria-pressed', String(v === value)));
    load();
  };
  const root = h('div', {}, h('div', { class: 'bar', role: 'group', 'aria-label': 'Time of the chart' }, buttons), fault, chart.root, none);
  load();
  const again = setInterval(load, EVERY);
  return { root, close () { clearInterval(again); chart.close(); } };
}
