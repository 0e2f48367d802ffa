'use strict';
// Search, filter, order and pages of the table of workloads. Without it the table is all there.
(() => {
  const table = document.getElementById('workloads');
  if (!table) return;
  const pageSize = 50;
  const find = (id) => document.getElementById(id);
  const search = find('search'), show = find('show'), status = find('status');
  const previous = find('previous'), next = find('next');
  let rows = Array.from(table.tBodies, (body) => ({ body, matches: true, text: undefined }));
  let page = 0;

  const write = (n) => n.toLocaleString('en');

  function draw() {
    const matching = rows.filter((row) => row.matches);
    const last = Math.max(0, Math.ceil(matching.length / pageSize) - 1);
    page = Math.min(page, last);
    const from = page * pageSize, to = Math.min(from + pageSize, matching.length);
    for (const row of rows) row.body.hidden = !row.matches;
    matching.forEach((row, i) => row.body.classList.toggle('off-page', i < from || i >= to));
    const all = matching.length === rows.length ? '' : ' (of ' + write(rows.length) + ')';
    status.textContent = matching.length === 0 ? 'No workload matches'
      : write(from + 1) + '–' + write(to) + ' of ' + write(matching.length) + all;
    previous.disabled = page === 0;
    next.disabled = page === last;
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const { result, risks } = row.body.dataset;
      row.matches = show.value === '' || show.value === result || (show.value === 'risks' && risks !== '0');
      if (row.matches && words.length > 0) {
        row.text ??= row.body.textContent.toLowerCase();
        row.matches = words.every((word) => row.text.includes(word));
      }
    }
    page = 0;
    draw();
  }

  const collator = new Intl.Collator('en', { numeric: true });

  // sort orders by a column; what has no value comes last in both directions.
  function sort(column, descending) {
    const keyed = rows.map((row) => {
      const cell = row.body.rows[0].cells[column];
      return { row, key: column === 0 ? cell.textContent : cell.dataset.v === undefined ? null : Number(cell.dataset.v) };
    });
    const sign = descending ? -1 : 1;
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * (column === 0 ? collator.compare(a.key, b.key) : a.key - b.key);
    });
    rows = keyed.map(({ row }) => row);
    table.append(...rows.map((row) => row.body));
    page = 0;
    draw();
  }

  const headers = Array.from(table.tHead.rows[0].cells);
  headers.forEach((header, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener('click', () => {
      const before = header.getAttribute('aria-sort');
      const descending = before ? before === 'ascending' : column > 0;
      for (const other of headers) other.removeAttribute('aria-sort');
      header.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      sort(column, descending);
    });
  });
  search.addEventListener('input', filter);
  show.addEventListener('change', filter);
  previous.addEventListener('click', () => { page--; draw(); });
  next.addEventListener('click', () => { page++; draw(); });
  find('controls').hidden = false;
  draw();
})();
