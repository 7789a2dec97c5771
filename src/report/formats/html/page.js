// Filters and sorts the call sites, and draws those that are in the page as data, a part at a time. The
// page can be read without it.
(() => {
  'use strict';
  const PART = 200;
  const list = document.getElementById('sites');
  if (!list) return;
  const rest = JSON.parse(document.getElementById('rest').textContent);
  const tools = document.getElementById('tools');
  const search = document.getElementById('search');
  const order = document.getElementById('order');
  const count = document.getElementById('count');
  const more = document.getElementById('more');
  const checks = [...tools.querySelectorAll('input[type=checkbox]')];
  const inPage = [...list.querySelectorAll('.site')].map((node, rank) => ({
    node, rank, verdict: node.dataset.verdict, rate: Number(node.dataset.rate),
    bytes: Number(node.dataset.bytes), text: node.dataset.name.toLowerCase(),
  }));
  // [verdict, bytes per cycle, bytes, bytes in words, phase, short name, location, function]: texts by
  // their index in `names`.
  const asData = rest.rows.map((r, i) => ({
    row: r, rank: inPage.length + i, verdict: rest.names[r[0]], rate: r[1] || 0, bytes: r[2],
    text: [5, 6, 7].map((n) => rest.names[r[n]]).join(' ').toLowerCase(),
  }));
  const all = inPage.concat(asData);
  const orders = {
    worst: (a, b) => a.rank - b.rank,
    bytes: (a, b) => b.bytes - a.bytes || a.rank - b.rank,
    name: (a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : a.rank - b.rank),
  };
  const noun = all.length === 1 ? 'call site' : 'call sites';
  let found = [];
  let shown = 0;

  function cell(name, text) {
    const node = document.createElement('span');
    node.className = name;
    node.textContent = text;
    return node;
  }
  function draw(site) {
    if (site.node) return site.node;
    const [, , , words, phase, name, location, whole] = site.row;
    const node = document.createElement('div');
    node.className = 'site ' + site.verdict;
    const line = document.createElement('div');
    line.className = 'row';
    const where = cell('name', rest.names[name]);
    where.title = rest.names[whole];
    where.append(cell('where', rest.names[location]));
    line.append(cell('verdict', site.verdict), cell('num', ''), cell('num', rest.names[words]),
      cell('', rest.names[phase]), where);
    node.append(line);
    site.node = node;
    return node;
  }
  function drawMore() {
    const part = document.createDocumentFragment();
    for (const site of found.slice(shown, shown + PART)) part.append(draw(site));
    list.append(part);
    shown = Math.min(shown + PART, found.length);
    more.hidden = shown === found.length;
    count.textContent = found.length === all.length
      ? all.length + ' ' + noun : found.length + ' of ' + all.length + ' ' + noun;
  }
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(checks.filter((c) => c.checked).map((c) => c.value));
    found = all.filter((s) => wanted.has(s.verdict) && words.every((w) => s.text.includes(w)));
    if (order.value !== 'worst') found.sort(orders[order.value]);
    list.replaceChildren();
    shown = 0;
    drawMore();
  }
  let wait;
  search.addEventListener('input', () => { clearTimeout(wait); wait = setTimeout(filter, 120); });
  order.addEventListener('change', filter);
  checks.forEach((c) => c.addEventListener('change', filter));
  more.addEventListener('click', drawMore);
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  tools.hidden = false;
  filter();
  // Opens the call site that the address refers to.
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === 'DETAILS') target.open = true;
})();
