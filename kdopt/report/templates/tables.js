// Tables sort by a click on a heading. Text of cells is only ever read, and written as text.
const LEAST_ROWS = 8; // fewer need no filter

function sortBy(header) {
  const body = header.closest("table").tBodies[0];
  const column = [...header.parentNode.children].indexOf(header);
  // Of numbers the greatest are asked for first, of words the first of the alphabet.
  const [first, second] = header.classList.contains("w") ? ["ascending", "descending"] : ["descending", "ascending"];
  const sorted = header.getAttribute("aria-sort") === first ? second : first;
  const direction = sorted === "ascending" ? 1 : -1;
  for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", sorted);
  const keyed = [...body.rows].map((row) => [keyOf(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
    return direction * (numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1]);
  });
  body.append(...keyed.map(([, row]) => row));
  settle(body, "a[data-pair]");
}

function tableCsv(table) {
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  return csvText([headingsOf(table), ...rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))]);
}

function startTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const title = table.dataset.title ?? table.closest("details").querySelector("summary").textContent.trim();
    for (const heading of table.tHead.querySelectorAll("button")) {
      heading.addEventListener("click", () => sortBy(heading.parentNode));
    }
    rove(table.tHead, "button");
    rove(table.tBodies[0], "a[data-pair]");
    const rows = table.tBodies[0].rows.length;
    const csv = button("CSV", "Download the rows shown", () => save(fileName(title, "csv"), tableCsv(table), "text/csv"));
    table.parentNode.before(toolbar(...(rows >= LEAST_ROWS ? filterOf(table, title) : []), csv));
  }
}
