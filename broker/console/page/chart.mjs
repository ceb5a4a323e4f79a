// A chart: lines over the last five minutes in SVG, with a legend that says the
// values of now, a sentence for who does not see it, and the figures as a table.
import { SPAN, table } from './history.mjs';

const NS = 'http://www.w3.org/2000/svg';
const KINDS = ['one', 'two', 'three'];
const LEFT = 76, RIGHT = 14, TOP = 10, BOTTOM = 24; // px around the plot
const ROWS = 10;                                    // of the table: 30 s each

// el makes an element; text is only ever text.
export function el (name, attributes = {}, text = null) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== null) e.textContent = text;
  return e;
}

function svg (name, attributes = {}, text = null) {
  const e = document.createElementNS(NS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== null) e.textContent = text;
  return e;
}

// ceiling returns the top of the axis and the step of its lines: 2 to 5 steps of 1,
// 2 or 5 times a power of ten, of the largest unit of 1024 for bytes (base 1024), so
// that lines have round names. The top is at least least: what is only ever whole
// has no lines between.
export function ceiling (most, base = 10, least = 1) {
  const unit = base === 10 ? 1 : 1024 ** Math.max(0, Math.floor(Math.log(Math.max(1, most)) / Math.log(1024)));
  const want = Math.max(most / unit, base === 10 ? least : 4);
  const power = 10 ** Math.floor(Math.log10(want / 4));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => want / s <= 4.0001);
  return { top: Math.ceil(want / step - 1e-9) * step * unit, step: step * unit };
}

export class Chart {
  // series: {name, of: history => stretches}; show makes text of a value; unit is
  // said behind the title; base and least are those of the axis (ceiling).
  constructor ({ title, unit, show, base = 10, least = 1, series }) {
    Object.assign(this, { title, unit, show, base, least, series });
    this.root = el('section', { class: 'chart' });
    const heading = el('h2', {}, title + ' ');
    heading.append(el('span', { class: 'quiet' }, unit));
    this.legend = el('ul', { class: 'legend' });
    this.now = series.map((s, i) => this.addLegend(s.name, KINDS[i]));
    this.plot = svg('svg', { role: 'img' });
    this.details = el('details');
    this.body = el('tbody');
    this.details.append(el('summary', {}, 'as a table'), this.makeTable());
    this.details.addEventListener('toggle', () => this.fillTable());
    this.root.append(heading, this.legend, this.plot, this.details);
    this.lines = [];
  }

  addLegend (name, kind) {
    const sample = svg('svg', { viewBox: '0 0 26 10', 'aria-hidden': 'true' });
    sample.append(svg('path', { class: 'series ' + kind, d: 'M2 5H24' }));
    const value = el('b', {}, '–');
    const item = el('li');
    item.append(sample, name + ' ', value);
    this.legend.append(item);
    return value;
  }

  makeTable () {
    const t = el('table');
    const row = el('tr');
    row.append(el('th', { scope: 'col' }, 'when'), ...this.series.map((s) => el('th', { scope: 'col' }, s.name)));
    const head = el('thead');
    head.append(row);
    t.append(el('caption', { class: 'unseen' }, `${this.title}, ${this.unit}: means of 30 seconds, newest first`), head, this.body);
    return t;
  }

  draw (history) {
    this.lines = this.series.map((s) => s.of(history));
    this.lines.forEach((line, i) => {
      const v = line.at(-1)?.at(-1)?.v;
      this.now[i].textContent = v === undefined ? '–' : this.show(v);
    });
    this.paint();
    this.fillTable();
  }

  paint () {
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (width < LEFT + RIGHT + 10 || height < TOP + BOTTOM + 10) return;
    const all = this.lines.flat(2).filter((p) => p.t >= -SPAN).map((p) => p.v);
    const { top, step } = ceiling(Math.max(0, ...all), this.base, this.least);
    const x = (t) => LEFT + (1 + Math.max(t, -SPAN) / SPAN) * (width - LEFT - RIGHT);
    const y = (v) => height - BOTTOM - v / top * (height - TOP - BOTTOM);
    this.plot.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.plot.setAttribute('aria-label', this.sentence());
    const parts = [];
    for (let v = 0; v <= top * 1.0001; v += step) {
      parts.push(svg('path', { class: 'grid', d: `M${LEFT} ${y(v)}H${width - RIGHT}` }),
        svg('text', { x: LEFT - 8, y: y(v) + 4, 'text-anchor': 'end' }, this.show(v)));
    }
    for (let minute = 0; minute <= 5; minute++) {
      const at = x(-minute * 60_000);
      parts.push(svg('path', { class: 'grid', d: `M${at} ${height - BOTTOM}v4` }));
      if (width < 420 && minute % 5 !== 0) continue; // no room for its name
      parts.push(svg('text', { x: at, y: height - 4, 'text-anchor': minute ? 'middle' : 'end' }, minute ? `−${minute} min` : 'now'));
    }
    this.lines.forEach((line, i) => parts.push(svg('path', { class: 'series ' + KINDS[i], d: path(line, x, y) })));
    this.plot.replaceChildren(...parts);
  }

  // The chart in words.
  sentence () {
    const said = this.lines.map((line, i) => {
      const all = line.flat().map((p) => p.v);
      if (all.length === 0) return this.series[i].name + ': nothing yet';
      return `${this.series[i].name}: now ${this.show(all.at(-1))}, least ${this.show(Math.min(...all))}, most ${this.show(Math.max(...all))}`;
    });
    return `${this.title}, ${this.unit}, last five minutes. ${said.join('; ')}.`;
  }

  fillTable () {
    if (!this.details.open) return;
    const columns = this.lines.map((line) => table(line, ROWS));
    const rows = [];
    for (let at = ROWS - 1; at >= 0; at--) {
      const ago = (ROWS - 1 - at) * SPAN / ROWS / 1000;
      const row = el('tr');
      row.append(el('th', { scope: 'row' }, `${ago} to ${ago + 30} s ago`),
        ...columns.map((c) => el('td', {}, c[at] === null ? '–' : this.show(c[at]))));
      rows.push(row);
    }
    this.body.replaceChildren(...rows);
  }
}

// path draws each stretch; a lone sample is a dot, which round ends make of a line
// without length.
function path (stretches, x, y) {
  return stretches.map((run) => {
    const points = run.map((p) => `${x(p.t).toFixed(1)} ${y(p.v).toFixed(1)}`);
    if (points.length === 1) points.push(points[0]);
    return 'M' + points.join('L');
  }).join('');
}
