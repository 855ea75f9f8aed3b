// All about one pair, drawn from bare numbers when it is chosen.
const picker = document.getElementById("pair");
const DIVERGING = [[0, "#D55E00"], [0.5, "#F2F2F2"], [1, "#0072B2"]];
const LEGEND = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
const LAYOUT = { height: 420, margin: { l: 60, r: 10, t: 50, b: 50 }, hovermode: "closest", legend: LEGEND };
const here = () => data.pairs[picker.value] || {};
const setShown = () => document.querySelector("input[name=set]:checked").value;
const difference = (after, before) => (after === null || before === null ? null : after - before);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Returns whether there is such a pair.
function choose(pair) {
  if (!Object.hasOwn(data.pairs, pair)) return false;
  picker.value = pair;
  remember("pair", pair, "");
  showPair();
  document.getElementById("one").scrollIntoView();
  document.getElementById("one").focus({ preventScroll: true });
  return true;
}

function step(by) {
  const n = picker.options.length;
  picker.selectedIndex = (picker.selectedIndex + by + n) % n;
  remember("pair", picker.value, "");
  showPair();
}

function tuningText({ gains, gap, selected }) {
  if (!gains) return 'No tuning: add "tune" to stages and run again to see its surface.';
  if (!selected) return "Of the search no cell of this pair is complete yet.";
  const [tuned, vanilla, oracle] = gains;
  return `Accuracy gap ${gap || "?"} pp. Test gain of the cell ${data.selection} (T=${selected[0]}, alpha=${selected[1]}): `
    + `${tuned} pp; vanilla ${vanilla ? `${vanilla} pp` : "not run"}; oracle ${oracle} pp.`;
}

function showPair() {
  const pair = here();
  const { scores, history, selected } = pair;
  document.getElementById("pair-verdict").textContent = `${picker.value}: ${pair.verdict || "undecided"}`;
  document.getElementById("pair-effect").textContent = pair.effect || "";
  document.getElementById("pair-tuning").textContent = tuningText(pair);
  document.getElementById("classes-text").textContent = scores ? classesText(scores) : "No trial of this pair is complete yet.";
  document.getElementById("surface-figure").hidden = !selected;
  document.getElementById("history-figure").hidden = !(history && history.length);
  for (const id of ["surface", "classes", "history"]) if (drawn.has(id)) draw(id, false);
}

sources.surface = () => {
  const surface = here();
  if (!surface.selected) return null;
  const grid = surface.temperatures.length > 0;
  const x = { title: { text: "Temperature T" + (grid ? "" : " (log scale)") }, automargin: true };
  const y = { title: { text: "alpha (weight of the teacher)" }, automargin: true };
  Object.assign(x, grid ? { type: "category", showgrid: false } : { type: "log" });
  Object.assign(y, grid ? { type: "category", showgrid: false } : { range: [-0.05, 1.05] });
  // The marks are black for the pale cells, so their legend is pale in the dark too.
  const legend = { ...LEGEND, bgcolor: "#f2f2f2", font: { color: "#1a1a1a" } };
  return {
    name: `surface-${picker.value}`,
    data: [grid ? heatMap(surface, setShown()) : cells(surface, setShown()), ...marks(surface, grid)],
    layout: { ...LAYOUT, xaxis: x, yaxis: y, legend },
    csv: csvText([["temperature", "alpha", "validation_gain", "test_gain"], ...measured(surface, grid)]),
  };
};

function measured(surface, grid) {
  if (!grid) return surface.points;
  return surface.temperatures.flatMap((t, i) => surface.alphas.map((a, j) => [t, a, surface.validation[i][j], surface.test[i][j]]))
    .filter((line) => line[2] !== null);
}

function scale(values, set) {
  const limit = Math.max(1, ...values.filter((value) => value !== null).map(Math.abs));
  const title = { text: `Accuracy gain on ${set} (pp)`, side: "right" };
  return [limit, { title, thickness: 12 }];
}

function heatMap(surface, set) {
  // Rows of the data are temperatures, rows of a heat map are alphas.
  const z = surface.alphas.map((_, a) => surface[set].map((row) => row[a]));
  const [limit, colorbar] = scale(z.flat(), set);
  return {
    type: "heatmap", x: surface.temperatures.map(String), y: surface.alphas.map(String), z,
    zmin: -limit, zmax: limit, colorscale: DIVERGING, colorbar, xgap: 1, ygap: 1,
    texttemplate: "%{z:.1f}", hoverongaps: false,
    hovertemplate: "T=%{x}, alpha=%{y}<br>%{z:.2f} pp<extra></extra>",
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

function marks(surface, grid) {
  // Three sizes, so that marks on one cell can be told apart; none wider than a column.
  const width = document.getElementById("surface").clientWidth - 160;
  const size = grid ? Math.max(14, Math.min(36, width / surface.temperatures.length)) : 22;
  const shown = [
    ["Selected", surface.selected, "square-open", size],
    ["Vanilla", data.vanilla, "circle-open", 0.75 * size],
    ["Oracle (selected on test)", surface.oracle, "diamond-open", 0.85 * size],
  ];
  // A cell outside the grid would add a row or column to the map, so it is not marked there.
  const placed = (cell) => !grid || (surface.temperatures.includes(cell[0]) && surface.alphas.includes(cell[1]));
  return shown.filter(([, cell]) => cell && placed(cell)).map(([name, cell, symbol, diameter]) => ({
    type: "scatter", mode: "markers", name, hoverinfo: "skip",
    x: [grid ? String(cell[0]) : cell[0]], y: [grid ? String(cell[1]) : cell[1]],
    marker: { symbol, size: diameter, color: "#1a1a1a", line: { width: 2.5 } },
  }));
}

function classesText({ before, after }) {
  const said = Object.entries(after).map(([method, values]) => {
    const changes = values.map((value, i) => difference(value, before[i])).filter((value) => value !== null);
    const part = (sign) => mean(changes.map((value) => Math.max(0, sign * value))).toFixed(2);
    return `${data.methods[method][0]} ${part(1)} / ${part(-1)}`;
  });
  return `Change of each class's accuracy on test, on the student's own data. Learning / forgetting, pp: ${said.join(", ")}.`;
}

sources.classes = () => {
  const { scores } = here();
  if (!scores) return null;
  const { before, after } = scores;
  const rows = Object.entries(after).flatMap(([method, values]) => values.map((value, i) => [data.classes[i], method, before[i], value, difference(value, before[i])]));
  return {
    name: `classes-${picker.value}`,
    data: Object.entries(after).map(([method, values]) => ({
      type: "bar", name: data.methods[method][0], marker: { color: data.methods[method][1] }, x: data.classes,
      y: values.map((value, i) => difference(value, before[i])), text: values.map((value, i) => `${before[i]} % to ${value} %`), textposition: "none",
      hovertemplate: "%{x}: %{y:.2f} pp<br>%{text}<extra>%{fullData.name}</extra>",
    })),
    layout: {
      ...LAYOUT, barmode: "group", bargap: 0.25, showlegend: true,
      xaxis: { type: "category", automargin: true, showgrid: false }, yaxis: { title: { text: "Change of accuracy (pp)" }, zeroline: true, automargin: true },
    },
    csv: csvText([["class", "method", "accuracy_before", "accuracy_after", "change_pp"], ...rows]),
  };
};

sources.history = () => {
  const { history } = here();
  if (!history || !history.length) return null;
  const done = history.filter((trial) => trial[3] !== null);
  const failed = history.filter((trial) => trial[3] === null);
  let best = -Infinity;
  const record = done.map((trial) => (best = Math.max(best, trial[3])));
  const floor = Math.min(0, ...done.map((trial) => Math.min(trial[3], trial[4])));
  const dots = (trials, name, column, marker) => ({
    type: "scatter", mode: "markers", name, marker, x: trials.map((trial) => trial[0]),
    y: trials.map((trial) => (column ? trial[column] : floor)), text: trials.map((trial) => `T=${trial[1]}, alpha=${trial[2]}`),
    hovertemplate: "#%{x}: %{text}<br>%{y:.2f} pp<extra>%{fullData.name}</extra>", cliponaxis: false,
  });
  return {
    name: `history-${picker.value}`,
    data: [
      { type: "scatter", mode: "lines", name: "Best so far, validation", x: done.map((trial) => trial[0]), y: record, line: { shape: "hv", width: 2, color: "#0072B2" }, hoverinfo: "skip" },
      dots(done, "Validation", 3, { color: "#0072B2", size: 7 }),
      dots(done, "Test", 4, { color: "#E69F00", size: 7, symbol: "circle-open" }),
      ...(failed.length ? [dots(failed, "Failed", 0, { color: "#1b1b1b", size: 9, symbol: "x" })] : []),
    ],
    layout: {
      ...LAYOUT, xaxis: { title: { text: "Trial" }, zeroline: false, automargin: true },
      yaxis: { title: { text: "Accuracy gain (pp)" }, zeroline: true, automargin: true },
    },
    csv: csvText([["trial", "temperature", "alpha", "validation_gain", "test_gain"], ...history]),
  };
};

function startPairs() {
  for (const link of document.querySelectorAll("[data-pair]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // to a window of its own
      if (choose(link.dataset.pair)) event.preventDefault();
    });
  }
  picker.addEventListener("change", () => step(0));
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  for (const radio of document.querySelectorAll("input[name=set]")) {
    radio.addEventListener("change", () => draw("surface", false));
  }
  if (picker.options.length) showPair();
}
