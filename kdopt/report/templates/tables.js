// Tables sort by a click on a heading, and show the rows that match all words of a filter.
// Text of cells is only ever read, and written as text.
const LEAST_ROWS = 8;
const COMPARE = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
};

function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent.trim();
}

function sortBy(header) {
  const body = header.closest("table").tBodies[0];
  const column = [...header.parentNode.children].indexOf(header);
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const keyed = [...body.rows].map((row) => [keyOf(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
    return direction * (numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1]);
  });
  body.append(...keyed.map(([, row]) => row));
}

function headingsOf(table) {
  return [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
}

// A term is a word that a row must have, or a column's name (or part of it), a sign and a number.
function condition(term, headings) {
  const parts = /^(.+?)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?)$/.exec(term);
  const column = parts ? headings.findIndex((text) => text.toLowerCase().replace(/\s+/g, "").includes(parts[1])) : -1;
  if (column < 0) return { test: (row) => row.textContent.toLowerCase().includes(term) };
  const holds = (key) => key !== "" && COMPARE[parts[2]](Number(key), Number(parts[3]));
  return { test: (row) => holds(keyOf(row, column)), said: `${headings[column]} ${parts[2]} ${parts[3]}` };
}

function filterRows(table, text, count) {
  const terms = text.toLowerCase().split(/\s+/).filter(Boolean);
  const conditions = terms.map((term) => condition(term, headingsOf(table)));
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !conditions.every((one) => one.test(row));
  const shown = rows.filter((row) => !row.hidden).length;
  const said = conditions.map((one) => one.said).filter(Boolean);
  count.textContent = terms.length ? [`${shown} of ${rows.length} rows`, ...said].join("; ") : "";
}

function tableCsv(table) {
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  return csvText([headingsOf(table), ...rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))]);
}

function startTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const title = table.closest("details")?.querySelector("summary").textContent.trim() ?? table.dataset.title;
    for (const heading of table.tHead.querySelectorAll("button")) {
      heading.addEventListener("click", () => sortBy(heading.parentNode));
    }
    const parts = [button("CSV", "Download the rows shown", () => save(fileName(title, "csv"), tableCsv(table), "text/csv"))];
    if (table.tBodies[0].rows.length >= LEAST_ROWS) {
      const input = document.createElement("input");
      input.type = "search";
      input.placeholder = "Filter: words, or gain>1";
      input.setAttribute("aria-label", `Filter ${title}`);
      const count = document.createElement("span");
      count.setAttribute("role", "status");
      input.addEventListener("input", () => filterRows(table, input.value, count));
      parts.unshift(input, count);
    }
    table.parentNode.before(toolbar(...parts));
  }
}
