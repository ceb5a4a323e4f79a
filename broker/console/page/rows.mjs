// A table whose rows stay what they are while their cells change: what is being read, or
// has the focus, does not jump.
import { h, text } from './element.mjs';

export class Rows {
  // columns: {title, of(item) → text or element, number?, wide?}; caption is for screen
  // readers; key(item) tells rows apart.
  constructor ({ caption, columns, key }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = h('tbody');
    this.root = h('div', { class: columns.length > 2 ? 'table' : 'table narrow' }, h('table', {}, h('caption', { class: 'unseen' }, caption),
      h('thead', {}, h('tr', {}, columns.map((c) => h('th', { scope: 'col', class: c.number && 'number' }, c.title)))), this.body));
  }

  show (items) {
    const there = new Set();
    items.forEach((item, at) => {
      const key = this.key(item);
      there.add(key);
      let row = this.rows.get(key);
      if (!row) {
        row = { cells: this.columns.map((c, i) => h(i ? 'td' : 'th', { 'data-label': c.title, class: [c.number && 'number', c.wide && 'wide'].filter(Boolean).join(' ') || null, scope: i ? null : 'row' })) };
        row.root = h('tr', {}, row.cells);
        row.shown = [];
        this.rows.set(key, row);
      }
      this.columns.forEach((c, i) => this.fill(row, i, c.of(item)));
      if (this.body.children[at] !== row.root) this.body.insertBefore(row.root, this.body.children[at] ?? null);
    });
    for (const [key, row] of this.rows) {
      if (there.has(key)) continue;
      row.root.remove();
      this.rows.delete(key);
    }
  }

  // An element is put in once; a column that makes one anew each time says by its
  // dataset.same that it is the one that is there.
  fill (row, i, value) {
    if (!(value instanceof Node)) {
      row.shown[i] = undefined;
      return text(row.cells[i], String(value));
    }
    const same = value.dataset?.same;
    if (same !== undefined && row.shown[i] === same) return;
    row.shown[i] = same;
    row.cells[i].replaceChildren(value);
  }
}

// link is an element for a cell: one that stays while it leads to the same place.
export function link (label, target, attributes = {}) {
  return h('a', { href: target, 'data-same': target + ' ' + label, ...attributes }, label);
}
