// All about one pair, drawn from bare numbers when it is chosen.
const picker = document.getElementById("pair");
// Black numbers can be read on all of these colours.
const DIVERGING = [[0, "#D55E00"], [0.5, "#F2F2F2"], [1, "#1A86C7"]];
const NUMBER_INK = "#111111";
const LEGEND = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
const LAYOUT = { height: 420, margin: { l: 60, r: 10, t: 50, b: 50 }, hovermode: "closest", legend: LEGEND };
const here = () => ({ ...data.grid, ...data.pairs[picker.value] });
const setShown = () => document.querySelector("input[name=set]:checked").value;
const difference = (after, before) => (after === null || before === null ? null : after - before);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// A value that someone wrote stays as it is; one that a search drew has three digits.
function settingText(value) {
  const written = Number(value.toPrecision(6));
  if (Math.abs(written - value) <= 1e-12 * Math.abs(value)) return String(written);
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

const cellText = (temperature, alpha) => `T=${settingText(temperature)}, alpha=${settingText(alpha)}`;

// Figures read some tags, and names of folders are not ours to trust.
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

// Each returns whether there is such a pair; to choose one also leads there.
function showChosen(pair, section) {
  if (!Object.hasOwn(data.pairs, pair)) return false;
  picker.value = pair;
  remember("pair", pair, section);
  showPair();
  return true;
}

function choose(pair) {
  if (!showChosen(pair, "")) return false;
  document.getElementById("one").scrollIntoView();
  document.getElementById("one").focus({ preventScroll: true });
  return true;
}

// A filter of the table leaves these pairs to step through; none stands for all of them.
function narrowPairs(pairs) {
  const left = new Set(pairs);
  for (const option of picker.options) option.hidden = left.size > 0 && !left.has(option.value);
  if (left.size && !left.has(picker.value)) showChosen(pairs.find((pair) => Object.hasOwn(data.pairs, pair)), sectionChosen);
  sayWhetherLeft();
}

// A figure or a link may still choose a pair that the filter leaves out.
function sayWhetherLeft() {
  document.getElementById("pair-outside").hidden = !picker.selectedOptions[0]?.hidden;
}

function step(by) {
  const n = picker.options.length;
  let next = picker.selectedIndex;
  do next = (next + by + n) % n; while (by && picker.options[next].hidden);
  picker.selectedIndex = next;
  remember("pair", picker.value, "");
  showPair();
}

// The best setting of each method on each set of images: what the verdict chose from.
function showTried({ tried, chosen }) {
  const body = document.getElementById("tried-rows");
  const { methods, sets } = data.tried;
  body.replaceChildren(...(tried || []).map(([method, set, setting, validation, test], place) => {
    const row = document.createElement("tr");
    const isChosen = place === chosen;
    row.className = isChosen ? "chosen" : "";
    const done = `${methods[method]}${setting && `, ${setting}`}${isChosen ? " (the verdict)" : ""}`;
    row.append(...[done, sets[set], validation, test].map((text, column) => {
      const cell = document.createElement(column ? "td" : "th");
      if (!column) cell.scope = "row";
      if (column < 2) cell.className = "w";
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
  document.getElementById("tried").hidden = !(tried && tried.length > 1);
}

function showPair() {
  const pair = here();
  const { scores, history, selected } = pair;
  const name = picker.selectedOptions[0].textContent.trim();
  document.getElementById("pair-verdict").textContent = `${name}: ${pair.verdict || "undecided"}`;
  document.getElementById("pair-effect").textContent = pair.effect || "";
  document.getElementById("pair-tuning").textContent = pair.tuning || 'No tuning: add "tune" to stages and run again to see its surface.';
  document.getElementById("pair-key").textContent = `${data.campaign}/${picker.value}`;
  showTried(pair);
  document.getElementById("classes-text").textContent = scores ? classesText(scores) : "No trial of this pair is complete yet.";
  document.getElementById("surface-figure").hidden = !selected;
  document.getElementById("history-figure").hidden = !(history && history.length);
  sayWhetherLeft();
  settle(document.querySelector("#one .figures"), TOOLS);
  for (const id of ["surface", "classes", "history"]) if (drawn.has(id)) draw(id, false);
}

// The grid is turned where its columns would be too narrow for numbers that can be read.
const LEAST_CELL = 40;
const LEAST_NUMBERED = 30; // a number such as -12.34
const LEAST_ROW = 35; // a number, and above it marks
const cellWidth = (columns, printing) => {
  const width = printing ? 340 : document.getElementById("surface").clientWidth;
  return (width - 160) / columns.length;
};

sources.surface = (printing) => {
  const surface = here();
  if (!surface.selected) return null;
  const grid = surface.temperatures.length > 0;
  const T = { title: { text: "Temperature T" + (grid ? "" : " (log scale)") }, automargin: true };
  const alpha = { title: { text: "alpha (weight of the teacher)" }, automargin: true };
  // Places, not names: marks stand beside the numbers.
  const places = (values) => ({ tickvals: values.map((_, i) => i), ticktext: values.map(settingText), range: [-0.5, values.length - 0.5], showgrid: false, zeroline: false });
  Object.assign(T, grid ? places(surface.temperatures) : { type: "log" });
  Object.assign(alpha, grid ? places(surface.alphas) : { range: [-0.05, 1.05] });
  const turned = grid && cellWidth(surface.temperatures, printing) < LEAST_CELL;
  const [columns, rows] = turned ? [surface.alphas, surface.temperatures] : [surface.temperatures, surface.alphas];
  const numbered = cellWidth(columns, printing) >= LEAST_NUMBERED;
  return {
    name: `surface-${picker.value}`,
    data: [
      grid ? heatMap(surface, setShown(), turned, numbered) : cells(surface, setShown()),
      ...marks(surface, grid, turned, numbered),
    ],
    layout: {
      ...LAYOUT, height: Math.max(turned ? 520 : LAYOUT.height, 150 + LEAST_ROW * rows.length),
      xaxis: turned ? alpha : T, yaxis: turned ? T : alpha, legend: { ...LEGEND, itemsizing: "constant" },
    },
    csv: csvText([["temperature", "alpha", "validation_gain_pp", "test_gain_pp"], ...measured(surface, grid)]),
  };
};

function measured(surface, grid) {
  if (!grid) return surface.points;
  return surface.temperatures.flatMap((t, i) => surface.alphas.map((a, j) => [t, a, surface.validation[i][j], surface.test[i][j]]))
    .filter((line) => line[2] !== null);
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

// Tukey's fences: what lies outside is an outlier, such as a diverged trial.
function fences(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [quantile(sorted, 0.25), quantile(sorted, 0.75)];
  return [low - 1.5 * (high - low), high + 1.5 * (high - low)];
}

// The least symmetric scale that holds all values but outliers; a clipped end is marked.
function scale(values, set) {
  const known = values.filter((value) => value !== null);
  const sizes = known.map(Math.abs);
  const limit = Math.max(1, Math.min(Math.max(...sizes), fences(sizes)[1]));
  const title = { text: `Accuracy gain on ${set} (pp)`, side: "right" };
  const [below, above] = [known.some((value) => value < -limit), known.some((value) => value > limit)];
  if (!below && !above) return [limit, { title, thickness: 12 }];
  const tickvals = [-1, -0.5, 0, 0.5, 1].map((share) => share * limit);
  const ticktext = tickvals.map((value) => Number(value.toPrecision(3)).toString());
  if (below) ticktext[0] = `\u2264 ${ticktext[0]}`;
  if (above) ticktext[4] = `\u2265 ${ticktext[4]}`;
  return [limit, { title, thickness: 12, tickvals, ticktext }];
}

function heatMap(surface, set, turned, numbered) {
  const { temperatures, alphas } = surface;
  const byAlpha = (cell) => alphas.map((_, a) => temperatures.map((_, t) => cell(t, a)));
  const byTemperature = (cell) => temperatures.map((_, t) => alphas.map((_, a) => cell(t, a)));
  const laidOut = turned ? byTemperature : byAlpha;
  const z = laidOut((t, a) => surface[set][t][a]);
  const [limit, colorbar] = scale(z.flat(), set);
  return {
    type: "heatmap", z, text: laidOut((t, a) => cellText(temperatures[t], alphas[a])),
    zmin: -limit, zmax: limit, colorscale: DIVERGING, colorbar, xgap: 1, ygap: 1,
    texttemplate: numbered ? "%{z:.2f}" : "", textfont: { size: 10, color: NUMBER_INK }, hoverongaps: false,
    hovertemplate: "%{text}<br>%{z:.2f} pp<extra></extra>",
  };
}

function cells(surface, set) {
  const values = surface.points.map((point) => point[set === "test" ? 3 : 2]);
  const [limit, colorbar] = scale(values, set);
  return {
    type: "scatter", mode: "markers", showlegend: false,
    x: surface.points.map((point) => point[0]), y: surface.points.map((point) => point[1]), text: values,
    marker: { size: 11, color: values, cmin: -limit, cmax: limit, colorscale: DIVERGING, colorbar, line: { width: 1, color: "#555555" } },
    hovertemplate: "T=%{x:.3g}, alpha=%{y:.3g}<br>%{text:.2f} pp<extra></extra>",
  };
}

// Marks of a map stand in the upper part of their cell, side by side, so that the number below and
// all of them are seen. Without numbers, where cells are narrow, they stand below each other.
function marks(surface, grid, turned, numbered) {
  const verdict = (method) => (surface.cell === method ? ", the verdict" : "");
  const shown = [
    [`Tuned: ${data.selection}${verdict("tuned")}`, surface.selected, "square", 26],
    [`Vanilla${verdict("vanilla")}`, data.vanilla, "circle", 18],
    ["Oracle: selected on test", surface.oracle, "diamond", 22],
  ];
  const place = (cell, side) => {
    const at = [surface.temperatures.indexOf(cell[0]), surface.alphas.indexOf(cell[1])];
    const [x, y] = turned ? [at[1], at[0]] : at;
    return numbered ? [x + 0.3 * side, y + 0.33] : [x, y - 0.3 * side];
  };
  // A cell outside the grid has no place in the map, so it is not marked there.
  const placed = (cell) => !grid || (surface.temperatures.includes(cell[0]) && surface.alphas.includes(cell[1]));
  return shown.map((mark, i) => [...mark, i - 1]).filter(([, cell]) => cell && placed(cell)).map(([name, cell, symbol, diameter, side]) => {
    const [x, y] = grid ? place(cell, side) : cell;
    const small = { symbol, size: symbol === "diamond" ? 7 : 8, color: "#ffffff", line: { width: 1.5, color: "#1a1a1a" } };
    const around = { symbol: `${symbol}-open`, size: diameter, color: LIGHT.ink, line: { width: 2.5 } };
    return { type: "scatter", mode: "markers", name, hoverinfo: "skip", x: [x], y: [y], marker: grid ? small : around, cliponaxis: false };
  });
}

function classesText({ before, after }) {
  const said = Object.entries(after).map(([method, values]) => {
    const changes = values.map((value, i) => difference(value, before[i])).filter((value) => value !== null);
    const part = (sign) => mean(changes.map((value) => Math.max(0, sign * value))).toFixed(2);
    return `${data.methods[method][0]} ${part(1)} / ${part(-1)}`;
  });
  const still = data.classes.filter((_, i) => Object.values(after).every((values) => difference(values[i], before[i]) === 0));
  const none = still.length ? `No change by any method: ${still.join(", ")}. ` : "";
  const unseen = data.classes.filter((_, i) => before[i] === null);
  return "Change of each class's accuracy on test, by method, distilled on the student's own data. A missing bar is a change of 0. "
    + none + (unseen.length ? `No test images: ${unseen.join(", ")}. ` : "")
    + `Mean rise (learning) / mean fall (forgetting) over classes, pp: ${said.join(", ")}.`;
}

sources.classes = () => {
  const { scores } = here();
  if (!scores) return null;
  const { before, after } = scores;
  const changesOf = (values) => values.map((value, i) => difference(value, before[i]));
  const rows = Object.entries(after).flatMap(([method, values]) => values.map((value, i) => [data.classes[i], method, before[i], value, difference(value, before[i])]));
  return {
    name: `classes-${picker.value}`,
    data: Object.entries(after).map(([method, values]) => ({
      type: "bar", name: data.methods[method][0], marker: { color: data.methods[method][1] }, x: data.classes.map(escaped),
      y: changesOf(values), customdata: values.map((value, i) => `${before[i]} % to ${value} %`),
      hovertemplate: "%{x}: %{y:.2f} pp<br>%{customdata}<extra>%{fullData.name}</extra>",
    })),
    layout: {
      ...LAYOUT, barmode: "group", bargap: 0.25, showlegend: true,
      xaxis: { title: { text: "Class" }, type: "category", automargin: true, showgrid: false }, yaxis: { title: { text: "Change of accuracy (pp)" }, zeroline: true, automargin: true },
    },
    csv: csvText([["class", "method", "accuracy_before_percent", "accuracy_after_percent", "change_pp"], ...rows]),
  };
};

sources.history = () => {
  const { history } = here();
  if (!history || !history.length) return null;
  const done = history.filter((trial) => trial[3] !== null);
  const failed = history.filter((trial) => trial[3] === null);
  let best = -Infinity;
  const record = done.map((trial) => (best = Math.max(best, trial[3])));
  const gains = done.flatMap((trial) => [trial[3], trial[4]]).filter((gain) => gain !== null);
  // A diverged trial stands on the floor with a mark of its own, or all others would be one line.
  const floor = gains.length ? Math.min(0, Math.max(Math.min(...gains), fences(gains)[0])) : 0;
  const isLow = (trial, column) => Boolean(column) && trial[column] !== null && trial[column] < floor;
  const heightOf = (trial, column) => (column && trial[column] !== null ? Math.max(floor, trial[column]) : column ? null : floor);
  const dots = (trials, name, column, marker) => ({
    type: "scatter", mode: "markers", name,
    marker: { ...marker, symbol: trials.map((trial) => (isLow(trial, column) ? "triangle-down" : marker.symbol)) },
    x: trials.map((trial) => trial[0]), y: trials.map((trial) => heightOf(trial, column)),
    text: trials.map((trial) => `${cellText(trial[1], trial[2])}${column ? `<br>${trial[column]} pp` : ""}`),
    hovertemplate: "#%{x}: %{text}<extra>%{fullData.name}</extra>", cliponaxis: false,
  });
  const low = done.some((trial) => isLow(trial, 3) || isLow(trial, 4));
  return {
    name: `history-${picker.value}`,
    data: [
      { type: "scatter", mode: "lines", name: "Best so far, validation", x: done.map((trial) => trial[0]), y: record.map((gain) => Math.max(floor, gain)), line: { shape: "hv", width: 2, color: "#0072B2" }, hoverinfo: "skip" },
      dots(done, "Validation", 3, { color: "#0072B2", size: 7, symbol: "circle" }),
      dots(done, "Test", 4, { color: "#E69F00", size: 7, symbol: "circle-open" }),
      ...(failed.length ? [dots(failed, "Failed", 0, { color: "#1b1b1b", size: 9, symbol: "x" })] : []),
    ],
    layout: {
      ...LAYOUT, xaxis: { title: { text: "Trial" }, zeroline: false, automargin: true },
      yaxis: { title: { text: `Accuracy gain (pp)${low ? "; \u25BC lies lower" : ""}` }, zeroline: true, automargin: true },
    },
    csv: csvText([["number", "temperature", "alpha", "validation_gain_pp", "test_gain_pp"], ...history]),
  };
};

function startPairs() {
  for (const link of document.querySelectorAll("[data-pair]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // to a window of its own
      if (choose(link.dataset.pair)) event.preventDefault();
    });
  }
  document.getElementById("skip-to-pairs").addEventListener("click", (event) => {
    const [first] = shownIn(document.getElementById("pairs"), "a[data-pair]");
    if (!first) return;
    event.preventDefault();
    first.focus();
  });
  picker.addEventListener("change", () => step(0));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  for (const radio of document.querySelectorAll("input[name=set]")) {
    radio.addEventListener("change", () => draw("surface", false));
  }
  const first = document.querySelector("#pairs [data-pair]"); // what the table shows first is asked about first
  if (first) picker.value = first.dataset.pair;
  if (picker.options.length) showPair();
}
