// Tables sort by a click on a heading, and show the rows that match all words of a filter.
// Text of cells is only ever read, and written as text.
const LEAST_ROWS = 8;
const MOST_ROWS = 14; // more do not fit the window of a table
const COMPARE = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
};

// A pair's label is its teacher's and its student's number, such as t02-s00.
const PAIR_NUMBERS = { teacher: /t(\d+)/, student: /s(\d+)/ };

function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent.trim();
}

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

function headingsOf(table) {
  return [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
}

// Names in the store have underscores where people read spaces.
const plain = (text) => text.toLowerCase().replaceAll("_", " ").trim();
const squeezed = (text) => plain(text).replace(/\s+/g, "");

// The columns that a name may mean, the best first: of numbers or of words. A heading's part before
// "of" is a name of its own: "net gain" is the "Net gain of the verdict".
function columnsNamed(name, table, worded) {
  const wanted = squeezed(name);
  const found = [...table.tHead.rows[0].cells].map((cell, index) => {
    const heading = cell.textContent.replace(/\(.*\)\s*$/, "");
    const [title, head] = [squeezed(heading), squeezed(heading.replace(/ of .*$/, ""))];
    const fits = [title === wanted, head === wanted, head.endsWith(wanted), title.startsWith(wanted), title.includes(wanted)];
    return [cell.classList.contains("w") === worded ? fits.indexOf(true) : -1, index];
  }).filter(([fit]) => fit >= 0);
  const best = Math.min(...found.map(([fit]) => fit));
  const most = best === 0 ? 0 : Math.max(best, 2);
  return found.filter(([fit]) => fit <= most).sort(([a], [b]) => a - b).map(([, index]) => index);
}

// A term is a word that a row must have, or a column's name (or part of it), a sign and a value.
function condition(term, table) {
  const anywhere = { test: (row) => plain(row.textContent).includes(plain(term)) };
  const parts = /^(.+?)(<=|>=|<|>|=)(.+)$/.exec(term);
  if (!parts) return anywhere;
  const [, name, sign, value] = parts;
  const number = Number(value);
  const numberIn = PAIR_NUMBERS[plain(name)];
  if (numberIn && !Number.isNaN(number) && table.querySelector("[data-pair]")) {
    const read = (row) => Number(numberIn.exec(row.querySelector("[data-pair]").textContent)[1]);
    return { test: (row) => COMPARE[sign](read(row), number), said: `${plain(name)} ${sign} ${value}` };
  }
  const worded = Number.isNaN(number);
  const columns = worded && sign !== "=" ? [] : columnsNamed(name, table, worded);
  if (!columns.length) return { ...anywhere, said: `no column of ${worded ? "words" : "numbers"} is called ${name}` };
  const [title, ...others] = columns.map((index) => headingsOf(table)[index]);
  const holds = (key) => (worded ? plain(key).includes(plain(value)) : key !== "" && COMPARE[sign](Number(key), number));
  const hint = others.length ? ` (write more of the name for ${others.join(", ")})` : "";
  return { test: (row) => holds(keyOf(row, columns[0])), said: `${title} ${sign} ${value}${hint}` };
}

// Terms stand between commas or spaces; quotes hold words together. Before a sign as many words
// as name a column are its name: "dirichlet net gain > 5" is a word and a condition.
function termsOf(text, table) {
  // "teacher 2 student 0" means the numbers; so do spaces around a sign.
  const joined = text.replace(/\b(teacher|student)\s+(?=\d)/gi, "$1=").replace(/\s*([<>]=?|=)\s*/g, "$1");
  const terms = [];
  let before = []; // words since the last comma or condition
  for (const [word] of joined.matchAll(/[,;]|(?:"[^"]*"?|[^\s,;"])+/g)) {
    const bare = word.replaceAll('"', "");
    const parts = /^(.+?)([<>]=?|=)(.+)$/.exec(bare);
    if (!parts) {
      before = /^[,;]?$/.test(bare.trim()) ? [] : [...before, bare];
      if (before.length) terms.push(bare);
      continue;
    }
    const [, last, sign, value] = parts;
    const isNamed = (name) => columnsNamed(name, table, Number.isNaN(Number(value))).length > 0;
    const from = before.findIndex((_, start) => isNamed([...before.slice(start), last].join(" ")));
    const name = from < 0 ? last : [...before.slice(from), last].join(" ");
    if (from >= 0) terms.splice(from - before.length);
    terms.push(`${name}${sign}${value}`);
    before = [];
  }
  return terms;
}

function filterRows(table, text, count) {
  const terms = termsOf(text, table);
  const conditions = terms.map((term) => condition(term, table));
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !conditions.every((one) => one.test(row));
  const shown = rows.filter((row) => !row.hidden).length;
  const said = conditions.map((one) => one.said).filter(Boolean);
  count.textContent = terms.length ? [`${shown} of ${rows.length} rows`, ...said].join("; ") : "";
  settle(table.tBodies[0], "a[data-pair]");
  table.dispatchEvent(new Event("filtered"));
  return rows.filter((row) => !row.hidden);
}

function tableCsv(table) {
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  return csvText([headingsOf(table), ...rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))]);
}

// A filter with what it shows; by the address's key, a function that sets it.
const filters = {};

function filterOf(table, title) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter: words, net gain > 1, teacher=2";
  input.setAttribute("aria-label", `Filter ${title}`);
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  const key = `filter-${slug(title.replace(/\d+/g, ""))}`;
  input.addEventListener("input", () => {
    const left = filterRows(table, input.value, count);
    remember(key, input.value.trim());
    // Where one pair is left, it is the one below too.
    const link = left.length === 1 && left[0].querySelector("[data-pair]");
    if (link) showChosen(link.dataset.pair, sectionChosen);
  });
  filters[key] = (text) => {
    const folded = table.closest("details");
    if (folded) folded.open = true;
    input.value = text;
    filterRows(table, text, count);
  };
  return [input, count];
}

// A long table scrolls in a window of its own; the button says so, and takes the window away.
function windowOf(table) {
  const said = (whole) => (whole ? "Show fewer rows" : `Scroll, or show all ${table.tBodies[0].rows.length} rows`);
  const made = button(said(false), "", () => {
    const whole = table.parentNode.classList.toggle("whole");
    made.textContent = said(whole);
    made.setAttribute("aria-expanded", String(whole));
  });
  made.setAttribute("aria-expanded", "false");
  table.addEventListener("filtered", () => {
    const left = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
    made.hidden = left <= MOST_ROWS && left < table.tBodies[0].rows.length;
  });
  return made;
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
    if (rows > MOST_ROWS && table.parentNode.classList.contains("tall")) table.parentNode.after(toolbar(windowOf(table)));
  }
  for (const box of document.querySelectorAll(".scroll")) {
    const heading = box.closest("details, section, figure").querySelector("summary, h2, figcaption");
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", heading.textContent.trim());
    // Only what really scrolls, and has nothing else to stop at, is a tab stop.
    new ResizeObserver(() => {
      const stop = box.scrollWidth > box.clientWidth && !box.querySelector("button, a");
      if (stop) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }).observe(box);
  }
}
