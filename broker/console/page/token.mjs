// The token: comes in the fragment or by the form, stays in this tab.

const KEY = 'gobelin.console.token';
let inMemory = ''; // where storage is forbidden

// usable tells whether a text can be sent as a header; anything else is no token.
export const usable = (text) => /^[\x21-\x7e]{1,1024}$/.test(text);

// fromFragment returns the token of "#token=…", '' when there is none or it cannot
// be one. A plus is a plus: this is no form.
export function fromFragment (hash) {
  const given = new URLSearchParams(hash.replace(/^#/, '').replaceAll('+', '%2B')).get('token') ?? '';
  return usable(given) ? given : '';
}

// takeFromAddress keeps the token of the address bar, if one is there, and takes it
// out of the bar and the tab's history; returns whether there was one.
export function takeFromAddress () {
  if (!/(^#|&)token=/.test(location.hash)) return false;
  const token = fromFragment(location.hash);
  history.replaceState(null, '', location.pathname + location.search);
  if (token) keep(token);
  return token !== '';
}

export function keep (token) {
  inMemory = token;
  try { sessionStorage.setItem(KEY, token); } catch { /* memory has it */ }
}

export function kept () {
  try { return sessionStorage.getItem(KEY) || inMemory; } catch { return inMemory; }
}

export function forget () {
  inMemory = '';
  try { sessionStorage.removeItem(KEY); } catch { /* memory had it */ }
}
