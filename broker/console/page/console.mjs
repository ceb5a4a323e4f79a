// The console: the door, the pages and the way between them.
import * as channel from './channel.mjs';
import * as channels from './channels.mjs';
import * as object from './object.mjs';
import * as objects from './objects.mjs';
import * as overview from './overview.mjs';
import * as session from './session.mjs';
import * as sessions from './sessions.mjs';
import * as streams from './streams.mjs';
import * as tools from './tools.mjs';
import { empty, h, say, text } from './element.mjs';
import { whenLocked } from './ask.mjs';
import { here, href } from './place.mjs';
import { Pulse } from './pulse.mjs';
import * as token from './token.mjs';

const PAGES = { overview, channels, channel, objects, object, sessions, session, streams, tools };
const ABOVE = { channel: 'channels', object: 'objects', session: 'sessions' }; // what the way says of them
const $ = (id) => document.getElementById(id);

const pulse = new Pulse((state, words) => {
  $('state').dataset.state = state;
  text($('state-text'), words);
  document.body.classList.toggle('stale', state === 'down');
});

let shown = null;        // the page that is there: {close()}
let ending = null;       // AbortController of what it asks

// task makes an action of a page: it begins anew what is still under way, and says in an
// element what went wrong. It resolves to whether it succeeded.
const taskOf = (page) => (f, fault) => {
  let mine = null;
  return async (...args) => {
    mine?.abort();
    const own = mine = new AbortController();
    const signal = AbortSignal.any([page.signal, own.signal]);
    try {
      await f(signal, ...args);
      if (!signal.aborted) text(fault, '');
      return !signal.aborted;
    } catch (e) {
      if (!signal.aborted) text(fault, e.message || String(e));
      return false;
    }
  };
};

function close () {
  ending?.abort();
  shown?.close?.();
  shown = ending = null;
  $('page').replaceChildren();
}

// show opens the page of the address. Its heading gets the focus, unless it is the first:
// then the reader begins where the browser does.
function show (first = false) {
  const place = here(location.hash) ?? { page: 'overview', params: {} };
  close();
  const page = PAGES[place.page];
  for (const a of $('nav').children) {
    const is = a.getAttribute('href') === href(ABOVE[place.page] ?? place.page);
    if (is) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  }
  const root = $('page');
  root.dataset.page = place.page;
  if (!page) {
    root.append(h('h1', {}, 'No such page'), empty('There is nothing at this address.', h('a', { href: href('overview') }, 'Go to the overview')));
  } else {
    ending = new AbortController();
    shown = page.open(root, place.params, { pulse, task: taskOf(ending) });
  }
  const heading = root.querySelector('h1');
  document.title = `${heading?.textContent ?? 'Gobelin'} · Gobelin console`;
  if (first) return;
  scrollTo(0, 0);
  heading?.setAttribute('tabindex', '-1');
  heading?.focus({ preventScroll: true });
}

// lock asks for the token; the reason is said to screen readers, too.
function lock (reason) {
  close();
  pulse.forget();
  token.forget();
  $('state').dataset.state = 'locked';
  text($('state-text'), 'waiting for the token');
  $('nav').hidden = $('leave').hidden = true;
  text($('about'), '');
  $('door').hidden = false;
  text($('door-note'), reason);
  $('door-token').value = '';
  $('door-token').focus();
}

async function enter () {
  if (!token.kept()) return lock('');
  $('state').dataset.state = 'loading';
  text($('state-text'), 'loading');
  await pulse.again();
  if (!token.kept()) return; // it was not taken
  $('door').hidden = true;
  $('nav').hidden = $('leave').hidden = false;
  show(true);
}

whenLocked(lock);
pulse.listen((o) => text($('about'), overview.about(o)));

$('door-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = $('door-token').value.trim();
  if (!token.usable(given)) return lock('A token has no spaces and only plain letters, digits and signs.');
  token.keep(given);
  text($('door-note'), '');
  enter();
});

$('leave').addEventListener('click', () => lock('The token is forgotten.'));

$('skip').addEventListener('click', (event) => { // the fragment is the page's
  event.preventDefault();
  $('main').focus();
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) pulse.stop();
  else if ($('door').hidden && token.kept()) pulse.again();
});

for (const name of ['online', 'offline']) {
  addEventListener(name, () => {
    if (!$('door').hidden) return;
    say(name === 'online' ? 'this device is online again' : 'this device is offline');
    pulse.again();
  });
}

addEventListener('hashchange', () => {
  if (token.takeFromAddress()) return enter();
  if (!$('door').hidden) return;
  show();
});

token.takeFromAddress();
enter();
