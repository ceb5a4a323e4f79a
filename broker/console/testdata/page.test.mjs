// Tests of the page's scripts that need no browser; TestScripts runs them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ago, bytes, clock, count, number, rate, span, took } from '../page/figure.mjs';
import { ceiling, nameOf, ticks } from '../page/chart.mjs';
import { elements, fault, members, pretty } from '../page/json.mjs';
import { here, href } from '../page/place.mjs';
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

test('times have the digits that matter', () => {
  const f = (got, want) => assert.equal(got, want);
  f(took(-1), '–');
  f(took(0.05), '0.05 ms');
  f(took(12.3), '12 ms');
  f(took(1500), '1.5 s');
  const noon = new Date(2026, 10, 21, 12, 0, 5, 7).getTime();
  f(clock(noon, { now: noon }), '12:00:05');
  f(clock(noon, { now: noon, fine: true }), '12:00:05.007');
  f(clock(noon, { now: noon + 86_400_000 }), '2026-11-21 12:00:05');
  f(ago(0, noon), 'never');
  f(ago(noon - 90_000, noon), '1 min 30 s ago');
});

test('the time axis has whole names, at most as many as fit', () => {
  const from = new Date(2026, 10, 21, 11, 58, 30).getTime();
  const { step, all } = ticks(from, from + 3_600_000, 4);
  assert.equal(step, 900_000);
  assert.deepEqual(all.map((t) => nameOf(t, step)), ['12:00', '12:15', '12:30', '12:45']);
  for (let wide = 1000; wide < 1e11; wide *= 3.7) assert.ok(ticks(from, from + wide, 5).all.length <= 6, String(wide));
});

test('JSON is laid out and taken apart as it was written', () => {
  const text = '{"big":9007199254740993,"e":1e400,"s":"a,}\\\"\u2028","list":[1.10,{"x":null},[]],"o":{}}';
  assert.equal(pretty('{"a":1.10,"b":[],"c":[1,{"d":1e400}]}'), '{\n  "a": 1.10,\n  "b": [],\n  "c": [\n    1,\n    {\n      "d": 1e400\n    }\n  ]\n}');
  assert.equal(pretty('no JSON'), 'no JSON');
  assert.deepEqual(Object.fromEntries(members(text)), { big: '9007199254740993', e: '1e400', s: '"a,}\\\"\u2028"', list: '[1.10,{"x":null},[]]', o: '{}' });
  assert.deepEqual(elements('[1, "]", {"a":[2]}, []]'), ['1', '"]"', '{"a":[2]}', '[]']);
  assert.deepEqual(elements('[]'), []);
  assert.equal(members('{}').size, 0);
  assert.equal(fault('{"a":1}'), '');
  assert.ok(fault('{a:1}'));
});

test('places come back from the address as they were', () => {
  const params = { app: 'a b', object: 'x/y?&#<img>', channel: 'é' };
  assert.deepEqual(here(href('channel', params)), { page: 'channel', params });
  assert.deepEqual(here('#/'), { page: 'overview', params: {} });
  assert.equal(here('#token=x'), null);
  assert.equal(href('channels', { search: '' }), '#/channels');
});
