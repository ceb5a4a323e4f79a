// Tests of the page's scripts that need no browser; TestScripts runs them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { bytes, count, number, rate, span } from '../page/figure.mjs';
import { History, SPAN, table } from '../page/history.mjs';
import { ceiling } from '../page/chart.mjs';
import { fromFragment, usable } from '../page/token.mjs';

test('figures have units and few digits', () => {
  const f = (got, want) => assert.equal(got, want);
  f(count(1234567), '1,234,567');
  f(rate(0), '0');
  f(rate(0.034), '0.03');
  f(rate(12.345), '12.3');
  f(rate(1234.5), '1,235');
  f(bytes(0), '0 B');
  f(bytes(1023), '1,023 B');
  f(bytes(1024), '1 KiB');
  f(bytes(1536), '1.5 KiB');
  f(bytes(1024 ** 2 - 1), '1 MiB');
  f(bytes(5 * 1024 ** 6), '5,120 PiB');
  f(span(0), '0 s');
  f(span(59.9), '59 s');
  f(span(3600), '1 h');
  f(span(5400), '1 h 30 min');
  f(span(86400 + 5), '1 d');
  f(span(90061), '1 d 1 h');
});

test('what is no figure is nought', () => {
  for (const v of [undefined, null, NaN, Infinity, -1, '7', {}, []]) assert.equal(number(v), 0);
});

const at = (time, n, started = 1) => ({ time, started, n });
const n = (o) => o.n;

test('a rate is the mean of the last five seconds of the server', () => {
  const h = new History();
  assert.equal(h.rate(n), 0);
  h.take(at(0, 100));
  assert.equal(h.rate(n), 0);
  h.take(at(1000, 110));
  assert.equal(h.rate(n), 10);
  for (let i = 2; i <= 10; i++) h.take(at(i * 1000, 110 + (i - 1) * 20));
  assert.equal(h.rate(n), 20);
});

test('after a long look away the rate is the mean over it', () => {
  const h = new History();
  h.take(at(0, 0));
  h.take(at(100_000, 1000));
  assert.equal(h.rate(n), 10);
});

test('another process, or a clock gone back, begins anew', () => {
  const h = new History();
  h.take(at(1000, 500));
  h.take(at(2000, 600));
  h.take(at(3000, 5, 2));
  assert.equal(h.samples.length, 1);
  assert.equal(h.rate(n), 0);
  h.take(at(2500, 6, 2));
  assert.equal(h.samples.length, 1);
});

test('a total that falls is no negative rate', () => {
  const h = new History();
  h.take(at(1000, 500));
  h.take(at(2000, 400));
  assert.equal(h.rate(n), 0);
  assert.deepEqual(h.rates(n), [[{ t: 0, v: 0 }]]);
});

test('the same moment twice is one sample', () => {
  const h = new History();
  h.take(at(1000, 1));
  h.take(at(1000, 2));
  assert.deepEqual(h.gauge(n), [[{ t: 0, v: 2 }]]);
});

test('a line is broken where the page did not look', () => {
  const h = new History();
  for (const t of [0, 1000, 2000, 60_000, 61_000]) h.take(at(t, t));
  assert.deepEqual(h.gauge(n).map((r) => r.map((p) => p.t)), [[-61_000, -60_000, -59_000], [-1000, 0]]);
  assert.deepEqual(h.rates(n).map((r) => r.map((p) => p.v)), [[1000, 1000], [1000]]);
});

test('no more than five minutes are kept, however fast or slow time goes', () => {
  const h = new History();
  for (let t = 0; t <= 2 * SPAN; t += 1000) h.take(at(t, t));
  assert.equal(h.samples.length, 301);
  const fast = new History();
  for (let t = 0; t <= 5000; t++) fast.take(at(t, t));
  assert.equal(fast.samples.length, 1000);
});

test('the table has means, and null where nothing was', () => {
  const rows = table([[{ t: -SPAN, v: 1 }, { t: -SPAN + 1000, v: 3 }], [{ t: 0, v: 7 }]], 10);
  assert.deepEqual(rows, [2, null, null, null, null, null, null, null, null, 7]);
});

test('axes end above the most, in two to five round steps', () => {
  const f = (most, base, top, step) => assert.deepEqual(ceiling(most, base), { top, step });
  f(0, 10, 1, 0.5);
  f(4, 10, 4, 1);
  f(1234, 10, 1500, 500);
  f(7, 10, 8, 2);
  assert.deepEqual(ceiling(0, 10, 4), { top: 4, step: 1 });
  f(0, 1024, 4, 1);
  f(3 * 1024, 1024, 4 * 1024, 1024);
  f(100 * 1024 ** 2, 1024, 100 * 1024 ** 2, 50 * 1024 ** 2);
  for (const base of [10, 1024]) {
    for (let most = 1; most < 1e15; most *= 1.37) {
      const { top, step } = ceiling(most, base);
      const steps = top / step;
      assert.ok(top >= most * 0.9999 && steps > 0.99 && steps < 5.01, `${most} ${base}: ${top} ${step}`);
    }
  }
});

test('the fragment gives a token that can be sent, or none', () => {
  const f = (hash, want) => assert.equal(fromFragment(hash), want);
  f('', '');
  f('#now', '');
  f('#token=', '');
  f('#token=abc', 'abc');
  f('#x=1&token=a%2Bb+c/d', 'a+b+c/d');
  f('#token=a%0d%0aX:%20y', '');
  f('#token=%F0%9F%94%91', '');
  f('#token=' + 'x'.repeat(1025), '');
  assert.ok(!usable('a b') && !usable('') && usable('~!'));
});
