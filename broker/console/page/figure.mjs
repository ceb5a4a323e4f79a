// Figures as people read them: with units, never more digits than they need.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const hundredth = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });

// number makes a finite number ≥ 0 of whatever came.
export const number = (v) => (typeof v === 'number' && Number.isFinite(v) && v > 0 ? v : 0);

export const count = (v) => whole.format(number(v));

// rate shows one decimal below 100, two below 1: "0.03" is not nothing.
export function rate (v) {
  v = number(v);
  if (v >= 100) return whole.format(v);
  return (v >= 1 ? tenth : hundredth).format(v);
}

export const perSecond = (v) => rate(v) + '/s';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes (v) {
  v = number(v);
  let at = 0;
  while (v >= 1023.95 && at < UNITS.length - 1) { v /= 1024; at++; }
  return (at === 0 || v >= 100 ? whole : tenth).format(v) + ' ' + UNITS[at];
}

export const bytesPerSecond = (v) => bytes(v) + '/s';

// span shows seconds by their two largest units: "3 d 4 h".
export function span (seconds) {
  let left = Math.floor(number(seconds));
  const parts = [];
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n > 0 || (unit === 's' && parts.length === 0)) parts.push(n + ' ' + unit);
    else if (parts.length === 1) break; // "3 d", not "3 d 5 s"
    if (parts.length === 2) break;
  }
  return parts.join(' ');
}

// took shows a time in ms; less than 0 is none.
export function took (ms) {
  if (!(ms >= 0)) return '–';
  if (ms >= 1000) return tenth.format(ms / 1000) + ' s';
  if (ms >= 10) return whole.format(ms) + ' ms';
  return (ms >= 1 ? tenth : hundredth).format(ms) + ' ms';
}

const pad = (n, digits = 2) => String(n).padStart(digits, '0');

// clock shows a time of today as hours, minutes and seconds, of another day with that.
export function clock (ms, { fine = false, now = Date.now() } = {}) {
  const d = new Date(ms);
  const time = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}` + (fine ? '.' + pad(d.getMilliseconds(), 3) : '');
  return d.toDateString() === new Date(now).toDateString() ? time : `${day(ms)} ${time}`;
}

// day is a date as it sorts.
export function day (ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`;
}

// ago says how long before now a time was; both in ms.
export function ago (ms, now) {
  if (!(ms > 0)) return 'never';
  const s = Math.max(0, Math.round((now - ms) / 1000));
  return s < 2 ? 'just now' : span(s) + ' ago';
}
