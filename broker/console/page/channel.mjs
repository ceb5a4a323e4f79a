// One channel: what it says now, its past to be replayed, who views it, and a way to say
// something.
import { card, empty, field, h, say, select, text } from './element.mjs';
import { api, Fault, get } from './ask.mjs';
import { ago, bytes, clock, count, rate, span } from './figure.mjs';
import { fault as jsonFault, members } from './json.mjs';
import { Live } from './live.mjs';
import { Messages } from './messages.mjs';
import { pairs } from './overview.mjs';
import { href } from './place.mjs';
import { PARTS, Scrubber } from './scrubber.mjs';
import { viewersOf } from './viewers.mjs';

export const title = 'Channel';

const EVERY = 3_000;
const SPANS = [[60, '1 min'], [300, '5 min'], [900, '15 min'], [3600, '1 h'], [6 * 3600, '6 h'], [24 * 3600, '24 h'], [7 * 24 * 3600, '7 d']];
const SPEEDS = [['0', 'all at once'], ['1', 'as it was'], ['10', '10 times as fast'], ['60', '60 times as fast']];
const MOST = 5_000;      // messages of a replay that are kept on the page

export function open (root, params, { pulse, task }) {
  const name = { app: params.app ?? '', object: params.object ?? '', channel: params.channel ?? '' };
  const shown = name.object ? `${name.object}/${name.channel}` : name.channel;
  const closing = [];
  const fault = h('p', { class: 'fault', role: 'alert' });
  const facts = h('dl', { class: 'pairs wide' });
  const place = { view: null, now: () => pulse.now() };
  root.append(h('p', { class: 'crumbs' }, h('a', { href: href('channels') }, 'Channels'), name.object ? [' / ', h('a', { href: href('object', { app: name.app, id: name.object }) }, name.object)] : null),
    h('h1', { class: 'name' }, shown || 'No channel'), fault);
  if (!name.channel) {
    root.append(empty('The address names no channel.', h('a', { href: href('channels') }, 'Choose one.')));
    return { close () {} };
  }
  const live = new Live((up) => text(state, up ? 'connected' : 'the endpoint cannot be reached; it is tried again'));
  closing.push(() => live.close());
  const state = h('span', { class: 'quiet', role: 'status' }, 'connecting');

  root.append(card('What is kept', {}, facts));
  const past = pastOf(name, place, live, task, closing);
  const tail = tailOf(name, live, state, task, closing);
  root.append(past.root, h('div', { class: 'columns' }, tail.root, publishOf(name, live, pulse, task)));
  if (name.object) {
    const viewers = viewersOf(name.app, name.object, task);
    closing.push(() => viewers.close());
    root.append(h('h2', { class: 'section' }, `Viewers of ${name.object}`), viewers.root);
  }

  const load = task(async (signal) => {
    const asked = performance.now();
    const v = await get('channel', name, { signal });
    const first = place.view === null;
    place.view = v;
    // The store's clock, as it goes on from here.
    place.now = () => v.now + (performance.now() - asked);
    pairs(facts, [
      ['kind', v.kind], ['messages kept', count(v.count)], ['about', bytes(v.bytes)],
      ['oldest', v.count ? `${clock(v.oldest)}, ${ago(v.oldest, v.now)}` : '–'], ['newest', v.count ? `${clock(v.newest)}, ${ago(v.newest, v.now)}` : '–'],
      ['rate', rate(v.minute / 60) + '/s over the last minute'], ['subscribers here', count(v.subscribers)],
      ['catch-up', v.catchup ? 'up to ' + span(v.catchup) : 'none']
    ]);
    if (first) past.begin();
  }, fault);
  load().then((ok) => { if (ok) tail.begin(); });
  const again = setInterval(load, EVERY);
  closing.push(() => clearInterval(again));
  return { close () { for (const f of closing.reverse()) f(); } };
}

// tailOf shows what comes from now on.
function tailOf (name, live, state, task, closing) {
  const list = new Messages('Live messages, newest first');
  const none = empty('Nothing was said since this page was opened.', 'It is shown here as soon as it is.');
  const number = h('b', {}, '0');
  const fault = h('p', { class: 'fault', role: 'alert' });
  let paused = null;
  const pause = h('button', { type: 'button', class: 'small', 'aria-pressed': 'false' }, 'Pause');
  pause.addEventListener('click', () => {
    const held = paused;
    paused = held ? null : [];
    pause.setAttribute('aria-pressed', String(!held));
    text(pause, held ? 'Pause' : 'Go on');
    for (const m of held ?? []) list.add(m);
  });
  const clear = h('button', { type: 'button', class: 'small', onclick: () => { list.clear(); none.hidden = false; number.textContent = '0'; } }, 'Clear');
  const begin = task(async (signal) => {
    let came = 0;
    const end = await live.tail(name, (m) => {
      came++;
      number.textContent = count(came);
      none.hidden = true;
      if (!paused) return list.add(m);
      paused.push(m);
      if (paused.length > list.most) paused.shift();
    });
    if (signal.aborted) return end();
    text(state, 'connected');
  }, fault);
  closing.push(() => { paused = null; });
  return { begin, root: card('Live', { tools: [state, pause, clear] }, fault, h('p', { class: 'quiet' }, number, ' came since this page was opened'), none, list.root) };
}

// pastOf is the scrubber with what it replays.
function pastOf (name, place, live, task, closing) {
  const fault = h('p', { class: 'fault', role: 'alert' });
  const said = h('p', { class: 'quiet', role: 'status' }, 'Choose an interval and replay it.');
  const list = new Messages('Replayed messages, oldest first', { newestFirst: false, most: MOST });
  const scrubber = new Scrubber(() => text(said, 'Choose an interval and replay it.'));
  closing.push(() => scrubber.close());
  const spans = h('div', { class: 'bar', role: 'group', 'aria-label': 'Stretch of time' });
  const speed = select(SPEEDS, '0');
  const play = h('button', { type: 'button', class: 'primary' }, 'Replay');
  const stop = h('button', { type: 'button', disabled: true }, 'Stop');
  const zoom = h('button', { type: 'button', class: 'small' }, 'Zoom to the interval');
  const inputs = [['from', 'start'], ['to', 'end']].map(([label, which]) => {
    const input = h('input', { type: 'datetime-local', step: '0.001' });
    input.addEventListener('change', () => {
      const t = new Date(input.value).getTime();
      if (!Number.isFinite(t)) return;
      if (which === 'start') scrubber.set(t, scrubber.end); else scrubber.set(scrubber.start, t);
    });
    return field(label, input);
  });
  let chosen = 300;
  let frozen = null; // a stretch that was zoomed to

  const load = task(async (signal) => {
    const now = Math.floor(place.now());
    const [from, to] = frozen ?? [now - chosen * 1000, now];
    const d = await get('density', { ...name, from, to, parts: PARTS }, { signal });
    scrubber.show(d.from, d.to, d.counts);
    inputs.forEach((f, i) => { f.querySelector('input').value = local(i ? scrubber.end : scrubber.start); });
  }, fault);

  const choose = (seconds) => {
    chosen = seconds;
    frozen = null;
    for (const b of spans.children) b.setAttribute('aria-pressed', String(Number(b.dataset.seconds) === seconds));
    load();
  };
  zoom.addEventListener('click', () => {
    if (scrubber.end - scrubber.start < 100) return say('the interval is too short');
    frozen = [scrubber.start, scrubber.end];
    for (const b of spans.children) b.setAttribute('aria-pressed', 'false');
    load();
  });

  let playing = null;
  const replay = task(async (signal) => {
    playing?.abort();
    const own = playing = new AbortController();
    const both = AbortSignal.any([signal, own.signal]);
    const { start, end } = scrubber;
    list.clear();
    play.disabled = true;
    stop.disabled = false;
    text(said, 'Replaying…');
    const pace = Number(speed.value);
    const began = performance.now();
    let full = false;
    try {
      const r = await live.replay(name, start, end, place.now(), place.view.catchup, async (m) => {
        if (pace) {
          const due = (m.time - start) / pace - (performance.now() - began);
          if (due > 4) await pauseFor(due, both, () => scrubber.play(Math.min(end, start + (performance.now() - began) * pace)));
          if (both.aborted) return false;
        }
        scrubber.play(m.time);
        list.add(m);
        full = list.total >= MOST;
        return !full;
      }, both);
      text(said, full ? `The first ${count(MOST)} messages of the interval; choose a shorter one for the rest.`
        : r.complete ? `${count(list.total)} ${list.total === 1 ? 'message' : 'messages'}, all that is kept of the interval${r.truncated ? '; older ones are not kept any more' : ''}.`
          : `Stopped after ${count(list.total)} messages.`);
    } catch (e) {
      text(said, '');
      throw e;
    } finally {
      if (playing === own) {
        play.disabled = false;
        stop.disabled = true;
        scrubber.play(null);
      }
    }
  }, fault);
  play.addEventListener('click', () => replay());
  stop.addEventListener('click', () => { playing?.abort(); play.focus(); });
  closing.push(() => playing?.abort());

  const body = h('div', {});
  const begin = () => {
    const longest = place.view.catchup;
    if (!longest) {
      body.replaceChildren(empty('This channel has no catch-up.', 'What is said on it is not kept, or is read elsewhere: the log of events by /api/live/log.'));
      return;
    }
    const choices = SPANS.filter(([s]) => s <= longest);
    if (choices.length === 0) choices.push([longest, span(longest)]);
    spans.replaceChildren(...choices.map(([s, label]) => h('button', { type: 'button', class: 'small', 'data-seconds': s, onclick: () => choose(s) }, label)), zoom);
    body.replaceChildren(spans, scrubber.root, h('div', { class: 'row' }, inputs, field('Speed', speed), play, stop), said, list.root);
    choose(choices.findLast(([s]) => s <= 300)?.[0] ?? choices[0][0]);
  };
  const again = setInterval(() => { if (place.view?.catchup && !frozen && !play.disabled && !body.contains(document.activeElement)) load(); }, 5_000);
  closing.push(() => clearInterval(again));
  body.append(h('p', { class: 'quiet' }, 'Loading…'));
  return { begin, root: card('The past', { note: 'replayed by an ordinary catch-up' }, fault, body) };
}

// pauseFor waits so many ms, or until the signal, and calls tick meanwhile.
function pauseFor (ms, signal, tick) {
  return new Promise((resolve) => {
    const step = setInterval(tick, 100);
    const done = () => { clearInterval(step); clearTimeout(end); resolve(); };
    const end = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}

// local is a time as an input of date and time takes it.
const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, -1);

// publishOf is the box to say something.
function publishOf (name, live, pulse, task) {
  const input = h('textarea', { rows: '5', spellcheck: 'false', value: '{"hello":"world"}' });
  const said = h('p', { class: 'quiet', role: 'status' });
  const fault = h('p', { class: 'fault', role: 'alert' });
  const send = task(async () => {
    const data = input.value.trim();
    const wrong = jsonFault(data);
    if (wrong) throw new Fault(0, 'Not JSON: ' + wrong);
    text(said, 'Publishing…');
    try {
      text(said, 'Published, id ' + await publish(name, data, live, pulse.latest));
    } catch (e) {
      text(said, '');
      throw e;
    }
  }, fault);
  input.addEventListener('keydown', (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { e.preventDefault(); send(); } });
  return card('Publish', {}, h('form', { onsubmit: (e) => { e.preventDefault(); send(); } },
    field('Data, as JSON', input, 'It is published as it stands here, byte for byte. Ctrl+Enter sends it.'), h('div', { class: 'row' }, h('button', { class: 'primary' }, 'Publish'))), said, fault);
}

// publish sends data, a JSON text, and returns the message's id.
async function publish (name, data, live, overview) {
  const as = name.app || overview?.applications[0];
  if (!as) { // nobody to publish as: as anybody may
    await live.publish(name.channel, JSON.parse(data));
    return 'unknown';
  }
  const channel = JSON.stringify(name.channel);
  if (name.object) {
    const answer = await api(name.app, `objects/${encodeURIComponent(name.object)}/publish`, { method: 'POST', body: `{"channel":${channel},"data":${data}}` });
    return JSON.parse(answer).id;
  }
  const answer = await api(as, 'publish', { method: 'POST', body: `{"messages":[{"channel":${channel},"data":${data}}]}` });
  const result = JSON.parse(members(answer).get('results'))[0];
  if (result.error) throw new Fault(0, result.error);
  return result.id;
}
