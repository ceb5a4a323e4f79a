// The last five minutes, as the page saw them. All times are the server's, so that
// neither a slow link nor the reader's clock bends a rate.
import { number } from './figure.mjs';

export const SPAN = 300_000;  // ms kept
const HOLE = 5_000;           // ms: farther apart, two samples are not joined by a line
const MEAN = 5_000;           // ms: over what a rate is a mean
const MOST = 1_000;           // samples kept, whatever the server's clock says

export class History {
  constructor () { this.samples = []; }

  get last () { return this.samples.at(-1); }

  // Takes an overview. Another process, or a clock that went back, begins anew: its
  // totals have nothing to do with those before.
  take (overview) {
    const last = this.last;
    if (last && (overview.started !== last.started || overview.time < last.time)) this.samples = [];
    if (last && overview.time === last.time) this.samples.pop();
    this.samples.push(overview);
    const oldest = overview.time - SPAN;
    // One sample before the span is kept: the line begins at the axis.
    while (this.samples.length > 2 && this.samples[1].time <= oldest) this.samples.shift();
    if (this.samples.length > MOST) this.samples.shift();
  }

  // The rate per second now of what of(overview) counts, over the last MEAN ms.
  rate (of) {
    const last = this.last;
    if (!last) return 0;
    const from = this.samples.find((s) => s.time >= last.time - MEAN && s.time < last.time) ?? this.samples.at(-2);
    return from ? between(from, last, of) : 0;
  }

  // The stretches of a gauge: lists of {t, v}, t in ms before now (≤ 0), broken where
  // the page did not look.
  gauge (of) { return this.stretches((from, to) => number(of(to)), of); }

  // The stretches of a counter's rate per second.
  rates (of) { return this.stretches((from, to) => between(from, to, of)); }

  stretches (value, first) {
    const all = [];
    let run = null;
    const now = this.last?.time ?? 0;
    this.samples.forEach((s, i) => {
      const before = this.samples[i - 1];
      if (!before || s.time - before.time > HOLE) {
        run = [];
        all.push(run);
        if (first) run.push({ t: s.time - now, v: number(first(s)) });
        return;
      }
      run.push({ t: s.time - now, v: value(before, s) });
    });
    return all.filter((r) => r.length > 0);
  }
}

function between (from, to, of) {
  const took = (to.time - from.time) / 1000;
  return took > 0 ? Math.max(0, number(of(to)) - number(of(from))) / took : 0;
}

// table makes of stretches one value for each of the last n parts of the span, oldest
// first: the mean of what fell in it, null where nothing did.
export function table (stretches, n) {
  const sums = Array.from({ length: n }, () => [0, 0]);
  for (const { t, v } of stretches.flat()) {
    const at = Math.min(n - 1, Math.floor((t + SPAN) / SPAN * n));
    if (at < 0) continue;
    sums[at][0] += v;
    sums[at][1]++;
  }
  return sums.map(([sum, times]) => (times ? sum / times : null));
}
