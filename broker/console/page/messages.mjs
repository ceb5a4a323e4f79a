// A list of messages, newest first: each is a line that opens to its whole.
import { h } from './element.mjs';
import { bytes, clock } from './figure.mjs';
import { pretty } from './json.mjs';

const SHOWN = 300;   // characters of a line
const MOST = 200;    // messages on the page

export class Messages {
  constructor (label, { newestFirst = true, most = MOST } = {}) {
    this.most = most;
    this.newestFirst = newestFirst;
    this.total = 0;
    this.root = h('ol', { class: 'messages', 'aria-label': label });
  }

  clear () {
    this.total = 0;
    this.root.replaceChildren();
  }

  add ({ id, time, data }) {
    this.total++;
    const text = JSON.stringify(data);
    const whole = h('pre', { tabindex: '0' });
    const line = h('details', { ontoggle: () => { if (line.open && !whole.textContent) whole.textContent = pretty(text); } },
      h('summary', {}, h('time', { datetime: new Date(time).toISOString() }, clock(time, { fine: true })), h('code', {}, text.length > SHOWN ? text.slice(0, SHOWN) + '…' : text)),
      h('p', { class: 'quiet' }, `id ${id || 'none'} · ${bytes(new TextEncoder().encode(text).length)}`), whole);
    const item = h('li', {}, line);
    if (this.newestFirst) this.root.prepend(item); else this.root.append(item);
    while (this.root.children.length > this.most) (this.newestFirst ? this.root.lastChild : this.root.firstChild).remove();
  }
}
