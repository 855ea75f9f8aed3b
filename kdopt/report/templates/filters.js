// A filter of a table: words that a row must have, and conditions such as "net gain > 1". Columns and
// values have the names that the page shows, and those that the store and the files have.
const COMPARE = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
};

// A pair's label is its teacher's and its student's number, such as t02-s00.
const PAIR_NUMBERS = { teacher: /t(\d+)/, student: /s(\d+)/ };

// What a cell sorts by: the value as the store has it, where another text is shown.
function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent.trim();
}

function headingsOf(table) {
  return [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
}

const plain = (text) => text.toLowerCase().replaceAll("_", " ").trim();
// Names in the store have underscores and hyphens where people read spaces and commas.
const squeezed = (text) => text.toLowerCase().replace(/[\s,_-]+/g, "");
const isNumber = (text) => text.trim() !== "" && !Number.isNaN(Number(text));

// Whether a text has these words; "draw 1" is no part of "draw 10".
function hasWords(text, wanted) {
  const end = /\d$/.test(wanted);
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) {
    if (!end || !/\d/.test(text[at + wanted.length] ?? "")) return true;
  }
  return false;
}

function cellHas(row, column, wanted) {
  return [row.cells[column].textContent, keyOf(row, column)].some((text) => hasWords(squeezed(text), squeezed(wanted)));
}

// The columns that a name may mean, the best first: of numbers or of words. A heading's part before
// "of" is a name of its own: "net gain" is the "Net gain of the verdict".
function columnsNamed(name, table, worded) {
  const withoutUnit = (text) => text.replace(/\(.*\)\s*$/, "");
  const wanted = squeezed(withoutUnit(name));
  if (!wanted) return [];
  const found = [...table.tHead.rows[0].cells].map((cell, index) => {
    const heading = withoutUnit(cell.textContent);
    const [title, head] = [squeezed(heading), squeezed(heading.replace(/ of .*$/, ""))];
    const stored = cell.dataset.name ?? ""; // its name in the files, with and without the unit
    const isStored = [stored, stored.replace(/_(pp|percent|share)$/, "")].some((one) => squeezed(one) === wanted);
    const fits = [title === wanted || isStored, head === wanted, head.endsWith(wanted), title.startsWith(wanted), title.includes(wanted)];
    return [cell.classList.contains("w") === worded ? fits.indexOf(true) : -1, index];
  }).filter(([fit]) => fit >= 0);
  const best = Math.min(...found.map(([fit]) => fit));
  const most = best === 0 ? 0 : Math.max(best, 2);
  return found.filter(([fit]) => fit <= most).sort(([a], [b]) => a - b).map(([, index]) => index);
}

// A number may be a word too: partition=2.
function columnsMeant({ name, sign, value }, table) {
  const numbers = isNumber(value) ? columnsNamed(name, table, false) : [];
  return numbers.length || sign !== "=" ? [numbers, false] : [columnsNamed(name, table, true), true];
}

function hasAnywhere(row, word) {
  const texts = [...row.cells].flatMap((cell) => [cell.textContent, cell.dataset.key ?? ""]);
  const link = row.querySelector("[data-pair]");
  if (link) texts.push(link.dataset.pair);
  if (isNumber(word)) return texts.some((text) => plain(text).includes(word));
  const wanted = squeezed(word);
  // A number that is typed may go on, but for one that stands apart: "t0" is in "t02", "draw 1" not in "draw 12".
  const has = /\s/.test(word) ? hasWords : (text, part) => text.includes(part);
  return texts.some((text) => has(plain(text), plain(word)) || (wanted && has(squeezed(text), wanted)));
}

// From a term to a test of a row, and what is said of it.
function condition(term, table) {
  if (term.word !== undefined) return { test: (row) => hasAnywhere(row, term.word) };
  const { name, sign, value } = term;
  const numberIn = PAIR_NUMBERS[plain(name)];
  if (numberIn && isNumber(value) && table.querySelector("[data-pair]")) {
    const read = (row) => Number(numberIn.exec(row.querySelector("[data-pair]").textContent)[1]);
    return { test: (row) => COMPARE[sign](read(row), Number(value)), said: `${plain(name)} ${sign} ${value}` };
  }
  const [columns, worded] = columnsMeant(term, table);
  if (!columns.length) {
    const kind = isNumber(value) ? "numbers" : "words";
    return { test: (row) => hasAnywhere(row, `${name}${sign}${value}`), said: `no column of ${kind} is called ${name}` };
  }
  const [title, ...others] = columns.map((index) => headingsOf(table)[index]);
  const hint = others.length ? ` (write more of the name for ${others.join(", ")})` : "";
  const said = `${title} ${sign} ${value}${hint}`;
  if (worded) return { test: (row) => cellHas(row, columns[0], value), said };
  return { test: (row) => keyOf(row, columns[0]) !== "" && COMPARE[sign](Number(keyOf(row, columns[0])), Number(value)), said };
}

// Whether a value of words goes on with the next one: "partition=quantity skew, draw 2".
function goesOn({ name, sign, value }, word, table) {
  if (sign !== "=" || !name) return false;
  const [columns, worded] = columnsMeant({ name, sign, value: `${value} ${word}` }, table);
  return worded && columns.length > 0 && [...table.tBodies[0].rows].some((row) => cellHas(row, columns[0], `${value} ${word}`));
}

// The names that cells of words have, such as "Quantity skew, draw 2", are put into quotes, and so is
// "draw 2": taken apart, its number would be found in nearly every row.
function quoteNames(text, table) {
  const worded = [...table.tHead.rows[0].cells].map((cell, index) => (cell.classList.contains("w") ? index : -1)).filter((index) => index >= 0);
  const names = new Set([...table.tBodies[0].rows].flatMap((row) => worded.map((index) => row.cells[index].textContent.trim())));
  const spaced = [...names].filter((name) => /\w[\s,]+\w/.test(name)).sort((a, b) => b.length - a.length)
    .map((name) => name.split(/[\s,]+/).map((part) => part.replace(/[^\w]/g, "\\$&")).join("[\\s,_-]+"));
  const any = new RegExp(`"[^"]*"?|\\b(?:${[...spaced, "draw\\s+\\d+"].join("|")})\\b`, "gi");
  return text.replace(any, (name) => (name.startsWith('"') ? name : `"${name}"`));
}

// Terms stand between commas or spaces; quotes hold words together. Before a sign as many words
// as name a column are its name: "dirichlet net gain > 5" is a word and a condition.
function termsOf(text, table) {
  // "teacher 2 student 0" means the numbers; so do spaces around a sign, and a unit changes nothing.
  const joined = quoteNames(text, table).replace(/\b(teacher|student)\s+(?=\d)/gi, "$1=").replace(/\s*([<>]=?|=)\s*/g, "$1")
    .replace(/([<>=]-?[\d.]+)\s*(pp|%)(?=[\s,;]|$)/gi, "$1");
  const terms = [];
  let before = []; // words since the last comma or condition
  let last = null; // the condition that the next word may go on with
  for (const [word] of joined.matchAll(/[,;]|(?:"[^"]*"?|[^\s,;"])+/g)) {
    const bare = word.replaceAll('"', "");
    const parts = /^(.+?)([<>]=?|=)(.+)$/.exec(bare);
    if (/^(?:[,;]?|and)$/i.test(bare.trim())) {
      before = [];
    } else if (!parts && last && goesOn(last, bare, table)) {
      last.value += ` ${bare}`;
    } else if (!parts) {
      before.push(bare);
      terms.push({ word: bare });
      last = null;
    } else {
      const [, end, sign, value] = parts;
      const isNamed = (name) => columnsMeant({ name, sign, value }, table)[0].length > 0;
      const from = before.findIndex((_, start) => isNamed([...before.slice(start), end].join(" ")));
      const name = from < 0 ? end : [...before.slice(from), end].join(" ");
      if (from >= 0) terms.splice(from - before.length);
      last = { name, sign, value };
      terms.push(last);
      before = [];
    }
  }
  return terms;
}

// Returns the pairs of the rows that are left, or null where the table has none or nothing is asked.
function filterRows(table, text, count) {
  const terms = termsOf(text, table);
  const conditions = terms.map((term) => condition(term, table));
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !conditions.every((one) => one.test(row));
  const left = rows.filter((row) => !row.hidden);
  const said = conditions.map((one) => one.said).filter(Boolean);
  count.textContent = terms.length ? [`${left.length} of ${rows.length} rows`, ...said].join("; ") : "";
  settle(table.tBodies[0], "a[data-pair]");
  table.dispatchEvent(new Event("filtered"));
  if (!table.querySelector("[data-pair]")) return null;
  return terms.length ? left.map((row) => row.querySelector("[data-pair]").dataset.pair) : [];
}

// By the address's key, a function that sets a filter.
const filters = {};

function filterOf(table, title) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter: words, net gain > 1, teacher=2";
  input.setAttribute("aria-label", `Filter ${title}`);
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  const key = `filter-${slug(title.replace(/\d+/g, ""))}`;
  const apply = () => {
    const pairs = filterRows(table, input.value, count);
    if (pairs) narrowPairs(pairs);
  };
  input.addEventListener("input", () => {
    remember(key, input.value.trim());
    apply();
  });
  filters[key] = (text) => {
    const folded = table.closest("details");
    if (folded) folded.open = true;
    input.value = text;
    apply();
  };
  return [input, count];
}
