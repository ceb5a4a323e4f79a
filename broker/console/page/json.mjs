// JSON as text: laid out and taken apart without reading its numbers, which JavaScript
// would round.

// tokens yields the tokens of a JSON text: strings, numbers, words and signs.
function * tokens (text) {
  const token = /\s*("(?:[^"\\]|\\.)*"|[-+.\w]+|[{}[\]:,])/gy;
  for (;;) {
    const at = token.lastIndex;
    const m = token.exec(text);
    if (!m) return;
    yield { text: m[1], at: at + m[0].length - m[1].length, end: token.lastIndex };
  }
}

// pretty lays a JSON text out over lines; what is no JSON stays as it is.
export function pretty (text) {
  try { JSON.parse(text); } catch { return text; }
  let out = '';
  let depth = 0;
  let before = '';
  const line = () => { out += '\n' + '  '.repeat(depth); };
  for (const { text: t } of tokens(text)) {
    const opens = t === '{' || t === '[';
    const closes = t === '}' || t === ']';
    if (closes) {
      depth--;
      if (before !== '{' && before !== '[') line();
    } else if (before === '{' || before === '[') line();
    out += t;
    if (t === ',') line();
    if (t === ':') out += ' ';
    if (opens) depth++;
    before = t;
  }
  return out;
}

// parts yields what stands at the top of a JSON object or array: [name or null, text].
function * parts (text) {
  let depth = 0;
  let key = null;
  let from = -1;
  let last = 0;
  let keyed = false;
  for (const { text: t, at, end } of tokens(text)) {
    if (depth === 0) keyed = t === '{';
    else if (depth === 1 && (t === ',' || t === '}' || t === ']')) {
      if (from >= 0) yield [key, text.slice(from, last)];
      key = null;
      from = -1;
    } else if (depth === 1 && keyed && key === null) key = JSON.parse(t);
    else if (from < 0 && t !== ':') from = at;
    if (t === '{' || t === '[') depth++;
    if (t === '}' || t === ']') depth--;
    last = end;
  }
}

// members returns the members of a JSON object with their texts as they stand, elements
// those of an array.
export const members = (text) => new Map(parts(text));
export const elements = (text) => [...parts(text)].map(([, t]) => t);

// fault says what is wrong with a JSON text, '' when nothing is.
export function fault (text) {
  try {
    JSON.parse(text);
    return '';
  } catch (e) {
    return e.message;
  }
}
