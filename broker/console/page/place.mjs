// Places: a page and its parameters, in the fragment of the address.

// href is the address of a page; empty parameters are left out.
export function href (page, params = {}) {
  const q = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== '' && v !== null && v !== undefined));
  return '#/' + page + (q.size ? '?' + q : '');
}

// here returns {page, params} of a fragment, null for one that is no place.
export function here (hash) {
  const m = /^#\/([a-z]*)(?:\?(.*))?$/s.exec(hash);
  return m && { page: m[1] || 'overview', params: Object.fromEntries(new URLSearchParams(m[2] ?? '')) };
}

// go leads to a page; quiet: only the address changes, the page is there already.
export function go (page, params, { quiet = false } = {}) {
  if (quiet) history.replaceState(null, '', href(page, params));
  else location.hash = href(page, params);
}
