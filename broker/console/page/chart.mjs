// A chart over time in SVG: lines, and a band from least to most. It says the values under
// the pointer or, with the arrow keys, under a mark; it is told in a sentence to who does
// not see it, and is there as a table.
import { h, id, svg, text } from './element.mjs';
import { clock, day } from './figure.mjs';

const KINDS = ['one', 'two', 'three', 'four'];
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 24;
const ROWS = 12; // of the table

// ceiling returns the top of the axis and the step of its lines: 2 to 5 steps of 1, 2 or 5
// times a power of ten, of the largest unit of 1024 for bytes (base 1024), so that lines
// have round names. The top is at least least: what is only ever whole has no lines
// between.
export function ceiling (most, base = 10, least = 1) {
  const unit = base === 10 ? 1 : 1024 ** Math.max(0, Math.floor(Math.log(Math.max(1, most)) / Math.log(1024)));
  const want = Math.max(most / unit, base === 10 ? least : 4);
  const power = 10 ** Math.floor(Math.log10(want / 4));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => want / s <= 4.0001);
  return { top: Math.ceil(want / step - 1e-9) * step * unit, step: step * unit };
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY];

// ticks returns the times between from and to at which the axis has names: whole ones of
// the place where it is read, at most so many.
export function ticks (from, to, most) {
  const step = STEPS.find((s) => (to - from) / s <= most) ?? Math.ceil((to - from) / most / DAY) * DAY;
  const shift = new Date(from).getTimezoneOffset() * MINUTE;
  const all = [];
  for (let t = Math.ceil((from - shift) / step) * step + shift; t <= to; t += step) all.push(t);
  return { step, all };
}

// nameOf is what a tick is called.
export function nameOf (t, step) {
  if (step >= DAY) return day(t).slice(5);
  const c = clock(t, { now: t });
  return step >= MINUTE ? c.slice(0, 5) : c;
}

export class Chart {
  // series: {name, of: sample → number or null}; show makes text of a value; unit is said
  // behind the title; base and least are those of the axis (ceiling). With band, samples
  // have min, avg and max.
  constructor ({ title, unit, show, base = 10, least = 1, series, band = false, gap = 30_000, level = 2 }) {
    Object.assign(this, { title, unit, show, base, least, series, band, gap });
    this.samples = [];
    this.mark = null;
    const heading = h('h' + level, { id: id('chart') }, title, ' ', h('span', { class: 'quiet' }, unit));
    this.values = series.map(() => h('b', {}, '–'));
    this.when = h('span', { class: 'quiet when' }, 'now');
    this.legend = h('ul', { class: 'legend' }, series.map((s, i) => h('li', {},
      svg('svg', { viewBox: '0 0 26 10', 'aria-hidden': 'true' }, svg('path', { class: 'series ' + KINDS[i], d: 'M2 5H24' })), s.name + ' ', this.values[i])), h('li', {}, this.when));
    this.plot = svg('svg', { role: 'img' });
    this.spoken = h('p', { class: 'unseen', 'aria-live': 'polite' });
    this.stage = h('div', { class: 'plot', tabindex: '0', role: 'group', 'aria-roledescription': 'chart', 'aria-labelledby': heading.id, 'aria-description': 'Arrow keys read values, Home and End go to the ends, Escape to now.' }, this.plot, this.spoken);
    this.body = h('tbody');
    this.details = h('details', { ontoggle: () => this.fillTable() }, h('summary', {}, 'as a table'),
      h('div', { class: 'table narrow' }, h('table', {}, h('caption', { class: 'unseen' }, `${title}, ${unit}`),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'time'), series.map((s) => h('th', { scope: 'col', class: 'number' }, s.name)))), this.body)));
    this.root = h('section', { class: 'card chart', 'aria-labelledby': heading.id }, heading, this.legend, this.stage, this.details);
    this.stage.addEventListener('keydown', (e) => this.press(e));
    this.stage.addEventListener('pointermove', (e) => this.point(e));
    this.stage.addEventListener('pointerleave', () => this.read(null));
    this.stage.addEventListener('blur', () => this.read(null));
    this.watch = new ResizeObserver(() => this.paint());
    this.watch.observe(this.stage);
  }

  close () { this.watch.disconnect(); }

  // draw shows samples, oldest first, each with its time t, from and to the chart's ends.
  draw (samples, from, to) {
    Object.assign(this, { samples, from, to });
    if (this.mark !== null) this.mark = Math.min(this.mark, samples.length - 1);
    this.paint();
    this.tell();
    this.fillTable();
  }

  valuesAt (s) { return this.series.map((one) => { const v = s && one.of(s); return v === null || v === undefined || !Number.isFinite(v) ? null : v; }); }

  tell () {
    const s = this.mark === null ? this.samples.at(-1) : this.samples[this.mark];
    this.valuesAt(s).forEach((v, i) => text(this.values[i], v === null ? '–' : this.show(v)));
    text(this.when, !s ? 'nothing yet' : this.mark === null ? 'latest' : 'at ' + clock(s.t));
  }

  paint () {
    const width = this.stage.clientWidth;
    const height = this.stage.clientHeight;
    if (width < 120 || height < 60 || this.to === undefined) return;
    const left = this.left = 70;
    const all = this.samples.flatMap((s) => (this.band ? [s.max] : this.valuesAt(s))).filter((v) => v !== null);
    const { top, step } = ceiling(Math.max(0, ...all), this.base, this.least);
    const x = this.x = (t) => left + (t - this.from) / (this.to - this.from) * (width - left - RIGHT);
    const y = (v) => height - BOTTOM - v / top * (height - TOP - BOTTOM);
    this.plot.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.plot.setAttribute('aria-label', this.sentence());
    const parts = [];
    for (let v = 0; v <= top * 1.0001; v += step) {
      parts.push(svg('path', { class: 'grid', d: `M${left} ${y(v).toFixed(1)}H${width - RIGHT}` }), svg('text', { x: left - 8, y: y(v) + 4, 'text-anchor': 'end' }, this.show(v)));
    }
    const axis = ticks(this.from, this.to, Math.max(2, Math.floor((width - left) / 84)));
    for (const t of axis.all) {
      parts.push(svg('path', { class: 'grid', d: `M${x(t).toFixed(1)} ${height - BOTTOM}v4` }));
      const at = Math.min(x(t), width - RIGHT - 14);
      parts.push(svg('text', { x: at, y: height - 6, 'text-anchor': 'middle' }, nameOf(t, axis.step)));
    }
    if (this.band) parts.push(svg('path', { class: 'band', d: this.area(x, y) }));
    this.series.forEach((s, i) => { if (!(this.band && s.edge)) parts.push(svg('path', { class: 'series ' + KINDS[i], d: this.line(s, x, y) })); });
    if (this.mark !== null && this.samples[this.mark]) {
      const at = x(this.samples[this.mark].t).toFixed(1);
      parts.push(svg('path', { class: 'mark', d: `M${at} ${TOP}V${height - BOTTOM}` }));
      this.valuesAt(this.samples[this.mark]).forEach((v, i) => { if (v !== null) parts.push(svg('circle', { class: 'knob ' + KINDS[i], cx: at, cy: y(v).toFixed(1), r: 4 })); });
    }
    this.plot.replaceChildren(...parts);
  }

  // runs splits the samples where nothing was known: there a line has a hole.
  runs (known) {
    const all = [];
    let run = null;
    let last = 0;
    for (const s of this.samples) {
      if (!known(s)) { run = null; continue; }
      if (!run || s.t - last > this.gap) all.push(run = []);
      run.push(s);
      last = s.t;
    }
    return all;
  }

  // A lone sample is a dot, which round ends make of a line without length.
  line (series, x, y) {
    const of = (s) => this.valuesAt(s)[this.series.indexOf(series)];
    return this.runs((s) => of(s) !== null).map((run) => {
      const points = run.map((s) => `${x(s.t).toFixed(1)} ${y(of(s)).toFixed(1)}`);
      if (points.length === 1) points.push(points[0]);
      return 'M' + points.join('L');
    }).join('');
  }

  area (x, y) {
    return this.runs(() => true).map((run) => 'M' + run.map((s) => `${x(s.t).toFixed(1)} ${y(s.max).toFixed(1)}`).join('L') +
      'L' + run.toReversed().map((s) => `${x(s.t).toFixed(1)} ${y(s.min).toFixed(1)}`).join('L') + 'Z').join('');
  }

  // The chart in words.
  sentence () {
    const said = this.series.map((s, i) => {
      const all = this.samples.map((p) => this.valuesAt(p)[i]).filter((v) => v !== null);
      if (all.length === 0) return s.name + ': nothing yet';
      return `${s.name}: latest ${this.show(all.at(-1))}, least ${this.show(Math.min(...all))}, most ${this.show(Math.max(...all))}`;
    });
    return `${this.title}, ${this.unit}. ${said.join('; ')}.`;
  }

  // read moves the mark; null: to what is latest.
  read (at, aloud = false) {
    if (at === this.mark) return;
    this.mark = at;
    this.paint();
    this.tell();
    if (!aloud) return;
    const s = at === null ? this.samples.at(-1) : this.samples[at];
    text(this.spoken, s ? `${clock(s.t)}: ` + this.valuesAt(s).map((v, i) => `${this.series[i].name} ${v === null ? 'unknown' : this.show(v)}`).join(', ') : 'nothing yet');
  }

  press (e) {
    const last = this.samples.length - 1;
    const at = this.mark ?? last + 1;
    const far = e.shiftKey ? 10 : 1;
    const to = { ArrowLeft: at - far, ArrowRight: at + far, Home: 0, End: last }[e.key];
    if (e.key === 'Escape') this.read(null, true);
    if (to === undefined || last < 0) return;
    e.preventDefault();
    this.read(Math.max(0, Math.min(last, to)), true);
  }

  point (e) {
    if (!this.x || this.samples.length === 0) return;
    const at = e.clientX - this.stage.getBoundingClientRect().left;
    let best = 0;
    this.samples.forEach((s, i) => { if (Math.abs(this.x(s.t) - at) < Math.abs(this.x(this.samples[best].t) - at)) best = i; });
    this.read(best);
  }

  fillTable () {
    if (!this.details.open) return;
    const every = Math.max(1, Math.ceil(this.samples.length / ROWS));
    const some = this.samples.filter((_, i) => (this.samples.length - 1 - i) % every === 0).reverse();
    this.body.replaceChildren(...some.map((s) => h('tr', {}, h('th', { scope: 'row' }, clock(s.t)),
      this.valuesAt(s).map((v) => h('td', { class: 'number' }, v === null ? '–' : this.show(v))))));
  }
}
