// The page of /try: joins /demo/ticks late, lists what comes and counts what
// should never happen. All text from outside is shown by textContent.
'use strict';

const CHANNEL = '/demo/ticks';
const ENDPOINT = location.origin + '/faye';
const SHOWN = 300;      // rows kept in the list
const MISSING = 10000;  // numbers remembered as missing, per run
const RUNS = 50;        // runs remembered; anybody may publish, so it is bounded

const $ = (id) => document.getElementById(id);

// Ledger finds duplicates, gaps and disorder in a stream of numbered messages.
// A run is a stretch of numbers that belong together: the ticker begins a new
// one whenever it starts, so numbers of different runs are never compared.
class Ledger {
  constructor () {
    this.runs = new Map();
    this.duplicates = 0;
    this.gaps = 0;
    this.disorder = 0;
  }

  // Takes one message; returns whether it was where it should be.
  take (run, n) {
    const r = this.runs.get(run);
    if (!r) {
      if (this.runs.size >= RUNS) this.runs.delete(this.runs.keys().next().value);
      this.runs.set(run, { first: n, last: n, missing: new Set() });
      return true;
    }
    if (n === r.last + 1) { r.last = n; return true; }
    if (n > r.last) {
      this.lack(r, r.last + 1, n);
      r.last = n;
      return false;
    }
    if (n < r.first) {
      this.lack(r, n + 1, r.first);
      r.first = n;
      this.disorder++;
    } else if (r.missing.delete(n)) {
      this.gaps--;
      this.disorder++;
    } else {
      this.duplicates++;
    }
    return false;
  }

  // Notes that the numbers of [from, to) have not come.
  lack (r, from, to) {
    this.gaps += to - from;
    for (let n = from; n < to && r.missing.size < MISSING; n++) r.missing.add(n);
  }
}

let client = null;   // the client that is joined now
let ledger = new Ledger();
let past = 0;
let live = 0;
let interval = '5m';
let later = 0;       // rows that fell off the list
let paint = 0;       // pending animation frame
let rows = [];       // not yet in the list

const isTick = (d) => d !== null && typeof d === 'object' && Number.isSafeInteger(d.n) && typeof d.run === 'string';

const clock = (data) => {
  const t = data !== null && typeof data === 'object' ? new Date(data.time ?? data.at ?? NaN) : new Date(NaN);
  return Number.isNaN(t.getTime()) ? '' : t.toLocaleTimeString();
};

const note = (text, bad = false) => {
  $('note').textContent = text;
  $('note').classList.toggle('bad', bad);
};

const setState = (state, text) => {
  $('state').dataset.state = state;
  $('state-text').textContent = text;
};

const chosenTransport = () => document.querySelector('input[name="transport"]:checked').value;

const row = (kind, data, good) => {
  const li = document.createElement('li');
  const tag = document.createElement('span');
  tag.className = 'tag ' + kind;
  tag.textContent = kind;
  const body = document.createElement('span');
  body.className = 'data';
  body.textContent = body.title = JSON.stringify(data);
  li.append(tag, body);
  const at = clock(data);
  if (at) {
    const time = document.createElement('time');
    time.textContent = at;
    li.append(time);
  }
  if (!good) li.className = 'wrong';
  return li;
};

const show = () => {
  paint = 0;
  const list = $('messages');
  later += Math.max(0, rows.length - SHOWN);
  for (const args of rows.slice(-SHOWN)) list.prepend(row(...args));
  rows = [];
  while (list.children.length > SHOWN) { list.lastChild.remove(); later++; }
  $('older').hidden = later === 0;
  $('older').textContent = `${later} older ones are counted, but not shown`;
  $('past').textContent = past;
  $('live').textContent = live;
  for (const name of ['duplicates', 'gaps', 'disorder']) {
    $(name).textContent = ledger[name];
    $(name).classList.toggle('bad', ledger[name] !== 0);
  }
};

// A hidden tab has no animation frames; a timer keeps its list short too.
const soon = () => {
  if (paint) return;
  paint = 1;
  const once = () => { if (paint) show(); };
  requestAnimationFrame(once);
  setTimeout(once, 250);
};

const receive = (channel, data) => {
  const kind = channel === CHANNEL ? 'live' : 'past';
  if (kind === 'live') live++; else past++;
  const good = isTick(data) ? ledger.take(data.run, data.n) : true;
  rows.push([kind, data, good]);
  soon();
};

const refused = (e) => note('refused: ' + (e && e.message ? e.message : String(e)), true);

// Ends what was joined and joins anew, as a page that has just been opened.
const join = () => {
  if (client) client.disconnect();
  ledger = new Ledger();
  past = live = later = 0;
  rows = [];
  $('messages').textContent = '';
  show();

  const transport = chosenTransport();
  const c = client = new Faye.Client(ENDPOINT, { retry: 1 });
  if (transport !== 'websocket') {
    c.disable('websocket');
    c.disable('eventsource');
  }
  const mine = (f) => (...args) => { if (c === client) f(...args); };
  setState('connecting', 'connecting');
  c.on('transport:down', mine(() => setState('down', 'connection lost, trying again')));
  const up = mine(() => setState('up', 'connected, ' + (c.transport || transport)));
  c.on('transport:up', up);
  const subscriptions = c.subscribe([CHANNEL, `${CHANNEL}/catchup/${interval}`], () => {});
  for (const s of subscriptions) {
    s.withChannel(mine(receive));
    s.then(up, mine(refused));
  }
  note(`Joining late, catching up ${interval}.`);
  subscriptions[1].complete.then(mine(({ messages, truncated }) => {
    note(`Joined late, catching up ${interval}: all ${messages} messages of the past have come.` +
      (truncated ? ' Older ones are no longer kept.' : ''));
  }), () => {});
};

const publish = (event) => {
  event.preventDefault();
  const text = $('text').value;
  let data = text;
  try { data = JSON.parse(text); } catch { /* plain text it is */ }
  client.publish(CHANNEL, data).then(() => note('published: the broker has stored it'), refused);
};

const page = () => [
  '<!doctype html>',
  '<meta charset="utf-8">',
  '<title>late</title>',
  '<ol id="list"></ol>',
  `<script src="${ENDPOINT}/client.js"></script>`,
  '<script>',
  `const client = new Faye.Client('${ENDPOINT}');`,
  `client.subscribe(['${CHANNEL}', '${CHANNEL}/catchup/5m'], (data) => {`,
  "  const li = document.createElement('li');",
  '  li.textContent = JSON.stringify(data);',
  "  document.getElementById('list').prepend(li);",
  '});',
  '</script>',
  ''
].join('\n');

const explain = () => {
  $('three').textContent = [
    `<script src="${ENDPOINT}/client.js"></script>`,
    `const client = new Faye.Client('${ENDPOINT}');`,
    `client.subscribe(['${CHANNEL}', '${CHANNEL}/catchup/5m'], show);`
  ].join('\n');
  $('snippet').textContent = page();
  $('curl').textContent = `curl -d 'message={"channel":"${CHANNEL}","data":{"hello":"curl"}}' ${ENDPOINT}`;
};

const copy = () => {
  navigator.clipboard.writeText(page()).then(
    () => note('copied'),
    () => {
      getSelection().selectAllChildren($('snippet'));
      note('selected: press Ctrl+C to copy');
    });
};

const start = () => {
  explain();
  $('copy').addEventListener('click', copy);
  if (typeof Faye === 'undefined') {
    setState('down', 'no client');
    note(`The client could not be loaded from ${ENDPOINT}/client.js.`, true);
    return;
  }
  for (const b of document.querySelectorAll('button[data-catchup]')) {
    b.addEventListener('click', () => {
      interval = b.dataset.catchup;
      for (const other of document.querySelectorAll('button[data-catchup]')) other.setAttribute('aria-pressed', String(other === b));
      join();
    });
  }
  for (const r of document.querySelectorAll('input[name="transport"]')) r.addEventListener('change', join);
  $('publish').addEventListener('submit', publish);
  join();
};

start();
