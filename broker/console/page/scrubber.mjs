// The scrubber: a stretch of time with how many messages came in each part of it, and two
// handles that cut an interval out. Handles are sliders: arrow keys move them by a part,
// with Shift or PageUp/PageDown by ten, Home and End to the ends.
import { h, svg, text } from './element.mjs';
import { clock, count, span } from './figure.mjs';
import { nameOf, ticks } from './chart.mjs';

export const PARTS = 120;
const BOTTOM = 20;

export class Scrubber {
  // changed hears of a new interval, moved by hand.
  constructor (changed) {
    this.changed = changed;
    this.counts = [];
    this.from = this.to = this.start = this.end = 0;
    this.plot = svg('svg', { 'aria-hidden': 'true' });
    this.handles = [['start', 'Begin of the interval'], ['end', 'End of the interval']].map(([which, label]) => {
      const handle = h('div', { class: 'handle ' + which, role: 'slider', tabindex: '0', 'aria-label': label, 'aria-orientation': 'horizontal' });
      handle.addEventListener('keydown', (e) => this.press(e, which));
      return handle;
    });
    this.playhead = h('div', { class: 'playhead', 'aria-hidden': 'true', hidden: true });
    this.stage = h('div', { class: 'scrubber' }, this.plot, this.handles, this.playhead);
    this.words = h('output', { class: 'interval' });
    this.root = h('div', {}, this.stage, h('p', {}, this.words));
    this.stage.addEventListener('pointerdown', (e) => this.grab(e));
    this.watch = new ResizeObserver(() => this.paint());
    this.watch.observe(this.stage);
  }

  close () { this.watch.disconnect(); }

  // show sets the stretch and its counts; the interval is kept if it is still inside.
  show (from, to, counts) {
    const fresh = this.to === 0 || to - from !== this.to - this.from;
    Object.assign(this, { from, to, counts });
    if (fresh || this.start < from || this.end > to || this.end <= this.start) [this.start, this.end] = [from, to];
    this.paint();
  }

  set (start, end) {
    this.start = Math.max(this.from, Math.min(start, this.to));
    this.end = Math.min(this.to, Math.max(end, this.start));
    this.paint();
  }

  // play shows how far a replay has come; null: none is under way.
  play (time) {
    this.playhead.hidden = time === null;
    if (time !== null) this.playhead.style.left = this.x(time) + 'px';
  }

  x (t) { return (t - this.from) / Math.max(1, this.to - this.from) * this.stage.clientWidth; }

  timeAt (clientX) {
    const box = this.stage.getBoundingClientRect();
    return Math.round(this.from + Math.max(0, Math.min(1, (clientX - box.left) / box.width)) * (this.to - this.from));
  }

  // grab takes the handle that is nearest, or draws a new interval from where it began.
  grab (e) {
    if (e.button !== 0) return;
    e.preventDefault();
    const at = this.timeAt(e.clientX);
    const near = (t) => Math.abs(this.x(t) - this.x(at)) < 14;
    let which = near(this.end) && !(near(this.start) && at < this.start) ? 'end' : near(this.start) ? 'start' : null;
    const anchor = at;
    const move = (ev) => {
      const t = this.timeAt(ev.clientX);
      if (which === 'start') this.set(Math.min(t, this.end), this.end);
      else if (which === 'end') this.set(this.start, Math.max(t, this.start));
      else this.set(Math.min(anchor, t), Math.max(anchor, t));
    };
    const drop = () => {
      this.stage.removeEventListener('pointermove', move);
      this.stage.removeEventListener('pointerup', drop);
      this.stage.removeEventListener('pointercancel', drop);
      this.changed();
    };
    if (which) this.handles[which === 'start' ? 0 : 1].focus();
    this.stage.setPointerCapture(e.pointerId);
    this.stage.addEventListener('pointermove', move);
    this.stage.addEventListener('pointerup', drop);
    this.stage.addEventListener('pointercancel', drop);
  }

  press (e, which) {
    const part = (this.to - this.from) / PARTS * (e.shiftKey ? 10 : 1);
    const step = { ArrowLeft: -part, ArrowDown: -part, ArrowRight: part, ArrowUp: part, PageDown: -10 * part, PageUp: 10 * part, Home: -Infinity, End: Infinity }[e.key];
    if (step === undefined) return;
    e.preventDefault();
    if (which === 'start') this.set(Math.round(Math.max(this.from, Math.min(this.start + step, this.end))), this.end);
    else this.set(this.start, Math.round(Math.min(this.to, Math.max(this.end + step, this.start))));
    this.changed();
  }

  // within is about how many messages the interval has: whole parts, and shares of those
  // at its ends.
  within () {
    const wide = (this.to - this.from) / Math.max(1, this.counts.length);
    return Math.round(this.counts.reduce((sum, n, i) => {
      const from = this.from + i * wide;
      return sum + n * Math.max(0, Math.min(this.end, from + wide) - Math.max(this.start, from)) / wide;
    }, 0));
  }

  paint () {
    const width = this.stage.clientWidth;
    const height = this.stage.clientHeight;
    if (width < 40 || this.to <= this.from) return;
    const high = Math.max(1, ...this.counts);
    const wide = width / Math.max(1, this.counts.length);
    const parts = [];
    this.counts.forEach((n, i) => {
      const tall = n === 0 ? 0 : Math.max(2, n / high * (height - BOTTOM - 8));
      const mid = this.from + (i + 0.5) * (this.to - this.from) / this.counts.length;
      parts.push(svg('rect', { class: mid >= this.start && mid <= this.end ? 'part in' : 'part', x: (i * wide).toFixed(2), y: (height - BOTTOM - tall).toFixed(2), width: Math.max(1, wide - 1).toFixed(2), height: tall.toFixed(2) }));
    });
    parts.push(svg('path', { class: 'grid', d: `M0 ${height - BOTTOM}H${width}` }));
    const axis = ticks(this.from, this.to, Math.max(2, Math.floor(width / 90)));
    for (const t of axis.all) parts.push(svg('text', { x: Math.max(20, Math.min(width - 20, this.x(t))), y: height - 5, 'text-anchor': 'middle' }, nameOf(t, axis.step)));
    const [a, b] = [this.x(this.start), this.x(this.end)];
    parts.push(svg('rect', { class: 'cut', x: a.toFixed(1), y: 0, width: Math.max(1, b - a).toFixed(1), height: height - BOTTOM }));
    this.plot.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.plot.replaceChildren(...parts);
    this.handles.forEach((handle, i) => {
      const t = i ? this.end : this.start;
      handle.style.left = this.x(t) + 'px';
      for (const [name, value] of Object.entries({ valuemin: this.from, valuemax: this.to, valuenow: t, valuetext: clock(t) })) handle.setAttribute('aria-' + name, value);
    });
    text(this.words, `${clock(this.start)} to ${clock(this.end)} · ${span((this.end - this.start) / 1000)} · about ${count(this.within())} messages`);
  }
}
