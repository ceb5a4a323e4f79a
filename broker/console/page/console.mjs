// The page of /console/: asks the broker what it does, once a second while somebody
// looks, and says so when it cannot.
import { History } from './history.mjs';
import { Sheet } from './sheet.mjs';
import * as token from './token.mjs';

const EVERY = 1_000;         // ms between two questions
const PATIENCE = 10_000;     // ms: an answer that takes longer is none
const LONGEST = 10_000;      // ms between two attempts when it is unreachable
const $ = (id) => document.getElementById(id);

let history = new History();
let sheet = null;
let timer = 0;               // the next question
let asking = null;           // AbortController of the one under way
let failures = 0;            // in a row

function setState (state, text) {
  $('state').dataset.state = state;
  if ($('state-text').textContent !== text) $('state-text').textContent = text;
  $('figures').classList.toggle('stale', state !== 'up');
}

function next (after) {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, after);
}

function stop () {
  clearTimeout(timer);
  asking?.abort();
  asking = null;
}

// Asks for the token; reason is said to screen readers too.
function lock (reason) {
  stop();
  token.forget();
  setState('locked', 'waiting for the token');
  $('figures').hidden = true;
  $('leave').hidden = true;
  $('about').textContent = '';
  $('door').hidden = false;
  $('door-note').textContent = reason;
  $('door-token').value = '';
  $('door-token').focus();
}

function show (overview) {
  $('door').hidden = true;
  $('leave').hidden = false;
  $('figures').hidden = false; // before drawing: hidden charts have no width
  sheet ??= new Sheet();
  history.take(overview);
  sheet.show(overview, history);
  setState('up', 'live');
}

// The answer was none: says so, and when it will ask again.
function fail (what, least = 0) {
  failures++;
  const pause = Math.max(least, Math.min(LONGEST, EVERY * 2 ** Math.min(failures - 1, 10)));
  setState('down', `${what}, asking again every ${Math.round(pause / 1000)} s`);
  next(pause);
}

async function ask () {
  const secret = token.kept();
  if (!secret) return lock('');
  if (asking) return;
  const began = performance.now();
  const mine = asking = new AbortController();
  const late = setTimeout(() => mine.abort(), PATIENCE);
  let answer, overview;
  try {
    answer = await fetch('/console/overview', { headers: { Authorization: 'Bearer ' + secret }, cache: 'no-store', credentials: 'omit', redirect: 'error', signal: mine.signal });
    if (answer.ok) overview = await answer.json();
  } catch {
    overview = undefined;
  } finally {
    clearTimeout(late);
  }
  if (asking !== mine) return; // locked, hidden or asked anew meanwhile
  asking = null;
  if (answer?.status === 401) return lock('That is not this broker’s token.');
  if (answer?.status === 429) return fail('too many wrong tokens from here', (Number(answer.headers.get('Retry-After')) || 10) * 1000);
  if (answer?.status === 503) return fail('the broker is busy');
  if (!valid(overview)) return fail(answer && !answer.ok ? `the broker answers ${answer.status}` : 'unreachable');
  failures = 0;
  show(overview);
  next(Math.max(EVERY / 4, EVERY - (performance.now() - began)));
}

// valid tells an overview from whatever else may live at the address.
function valid (o) {
  return o !== null && typeof o === 'object' && Number.isFinite(o.time) && o.sessions !== null && typeof o.sessions === 'object';
}

// askAnew forgets what was before: another token, or somebody looks again.
function askAnew () {
  stop();
  failures = 0;
  ask();
}

$('door-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = $('door-token').value.trim();
  if (!token.usable(given)) return lock('A token has no spaces and only plain letters, digits and signs.');
  token.keep(given);
  $('door-note').textContent = '';
  setState('loading', 'loading');
  askAnew();
});

$('leave').addEventListener('click', () => {
  history = new History();
  lock('The token is forgotten.');
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) stop();
  else if ($('door').hidden) askAnew();
});

addEventListener('hashchange', () => { if (token.takeFromAddress()) askAnew(); });

token.takeFromAddress();
ask();
