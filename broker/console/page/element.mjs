// Elements of the page. Whatever is given as text is set as text: nothing here, nor
// anywhere else in the console, takes a text for markup.

// h makes an element. Attributes that are null, undefined or false are left out, true is
// empty; those that begin with "on" are listeners. Children are elements, texts, numbers
// or lists of them; null is left out.
export function h (name, attributes = {}, ...children) {
  const e = document.createElement(name);
  dress(e, attributes);
  e.append(...flat(children));
  return e;
}

const NS = 'http://www.w3.org/2000/svg';

// svg is h for a picture's elements.
export function svg (name, attributes = {}, ...children) {
  const e = document.createElementNS(NS, name);
  dress(e, attributes);
  e.append(...flat(children));
  return e;
}

function dress (e, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (name === 'value') e.value = value;
    else e.setAttribute(name, value === true ? '' : String(value));
  }
}

const flat = (children) => children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false)
  .map((c) => (c instanceof Node ? c : String(c)));

// text sets a text only if it is another one, so that a screen reader is not told again.
export function text (e, t) {
  if (e.textContent !== t) e.textContent = t;
}

let serial = 0;

// id is one that no other element has.
export const id = (stem) => `${stem}-${++serial}`;

// say tells a screen reader what happened.
export function say (what) {
  const e = document.getElementById('said');
  e.textContent = '';
  requestAnimationFrame(() => { e.textContent = what; });
}

// field is a labelled control; hint is said below it and to screen readers.
export function field (label, control, hint = null) {
  const note = hint && h('small', { class: 'quiet', id: id('hint') }, hint);
  if (note) control.setAttribute('aria-describedby', note.id);
  return h('label', { class: 'field' }, h('span', {}, label), control, note);
}

export const select = (choices, chosen, attributes = {}) => {
  const e = h('select', attributes, choices.map(([value, label]) => h('option', { value }, label)));
  if (chosen !== undefined) e.value = chosen;
  return e;
};

// card is a section with a heading; tools stand beside that.
export function card (title, { note = null, tools = [], level = 2, ...attributes } = {}, ...children) {
  const heading = h('h' + level, { id: id('card') }, title, note && h('span', { class: 'quiet' }, ' ', note));
  return h('section', { class: 'card', 'aria-labelledby': heading.id, ...attributes },
    h('div', { class: 'card-head' }, heading, tools.length ? h('div', { class: 'tools' }, tools) : null), children);
}

// empty says that there is nothing, and what to do about it.
export const empty = (title, ...what) => h('div', { class: 'empty' }, h('p', {}, h('b', {}, title)), what.length ? h('p', { class: 'quiet' }, what) : null);

// copier is a button that copies a text, which is never shown in it.
export function copier (label, of) {
  const b = h('button', { type: 'button', class: 'small' }, label);
  b.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(of());
      b.textContent = 'Copied';
      say('copied');
    } catch {
      b.textContent = 'Not allowed: select and copy it';
    }
    setTimeout(() => { b.textContent = label; }, 2000);
  });
  return b;
}

// ask asks whether something is to be done; it resolves to true or false.
export function confirm (title, what, action) {
  return new Promise((resolve) => {
    const heading = h('h2', { id: id('ask') }, title);
    const d = h('dialog', { 'aria-labelledby': heading.id }, heading, h('p', {}, what),
      h('form', { method: 'dialog', class: 'row end' }, h('button', { value: 'no' }, 'Cancel'), h('button', { value: 'yes', class: 'danger' }, action)));
    d.addEventListener('close', () => { d.remove(); resolve(d.returnValue === 'yes'); });
    document.body.append(d);
    d.showModal();
  });
}
