"use strict";
// Draws the figures, sorts the tables, shows the surface of the chosen pair.
const data = JSON.parse(document.getElementById("kdopt-data").textContent);
// Only these buttons: plotly's default bar has one that uploads the chart to a server.
const options = {
  responsive: true, displaylogo: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const DIVERGING = [[0, "#D55E00"], [0.5, "#F2F2F2"], [1, "#0072B2"]];

// Ink follows the page's own colours, so one set of figures serves light, dark and print.
function inked(layout, printing, paperWidth) {
  const style = getComputedStyle(document.documentElement);
  const ink = printing ? "#1b1b1b" : style.getPropertyValue("--ink").trim();
  const line = printing ? "#d5d5d5" : style.getPropertyValue("--line").trim();
  const soft = printing ? "#5b5b5b" : style.getPropertyValue("--soft").trim();
  const axis = (given) => ({ ...given, gridcolor: line, zerolinecolor: soft, zerolinewidth: 2, linecolor: line });
  return {
    ...layout,
    ...Object.fromEntries(Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key)).map((key) => [key, axis(layout[key])])),
    // Paper is narrower than most screens, and figures do not shrink by themselves in print.
    autosize: !printing, width: printing ? paperWidth : undefined,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: "system-ui, sans-serif", size: 12 },
  };
}

function drawAll(printing) {
  for (const [id, figure] of Object.entries(data.figures)) {
    const element = document.getElementById(id);
    const paperWidth = element.classList.contains("wide") ? 680 : 340;
    Plotly.react(element, figure.data, inked(figure.layout, printing, paperWidth), options);
    if (!element.dataset.linked) {
      element.dataset.linked = "yes";
      element.on("plotly_click", (event) => choose(event.points[0].customdata));
    }
  }
  drawSurface(printing);
}

const picker = document.getElementById("pair");
function choose(pair) {
  if (!data.surfaces[pair]) return;
  picker.value = pair;
  drawSurface(false);
  document.getElementById("surface-section").scrollIntoView({ behavior: "smooth" });
}

function drawSurface(printing) {
  const surface = data.surfaces[picker.value];
  if (!surface) return;
  const set = document.querySelector("input[name=set]:checked").value;
  const text = document.getElementById("surface-text");
  const element = document.getElementById("surface");
  if (!surface.selected) {
    text.textContent = "No cell of this pair is complete yet.";
    Plotly.purge(element);
    return;
  }
  const [tuned, vanilla, oracle] = surface.gains;
  text.textContent = `${picker.value}: ${surface.advice}. Test gain of the cell ${data.selection}: ${tuned} pp; `
    + `vanilla ${vanilla || "not run"}${vanilla ? " pp" : ""}; oracle ${oracle} pp.`;
  const grid = surface.temperatures.length > 0;
  const traces = [grid ? heatMap(surface, set) : points(surface, set), ...marks(surface, grid)];
  const x = { title: { text: "Temperature T" + (grid ? "" : " (log scale)") }, automargin: true };
  const y = { title: { text: "alpha (weight of the teacher)" }, automargin: true };
  Object.assign(x, grid ? { type: "category", showgrid: false } : { type: "log" });
  Object.assign(y, grid ? { type: "category", showgrid: false } : { range: [-0.05, 1.05] });
  const layout = {
    xaxis: x, yaxis: y, height: 440, margin: { l: 60, r: 10, t: 50, b: 50 },
    // The marks are black for the pale cells, so their legend is pale in the dark too.
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "#f2f2f2", font: { color: "#1b1b1b" } },
  };
  Plotly.react(element, traces, inked(layout, printing, 680), options);
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

function points(surface, set) {
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
    marker: { symbol, size: diameter, color: "#000000", line: { width: 2.5 } },
  }));
}

function sortBy(header) {
  const table = header.closest("table");
  const column = [...header.parentNode.children].indexOf(header);
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const keyed = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.key, row]);
  keyed.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
    return direction * (numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1]);
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => sortBy(button.parentNode));
}
picker.addEventListener("change", () => drawSurface(false));
for (const radio of document.querySelectorAll("input[name=set]")) {
  radio.addEventListener("change", () => drawSurface(false));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(false));
addEventListener("beforeprint", () => drawAll(true));
addEventListener("afterprint", () => drawAll(false));
drawAll(false);
document.body.dataset.drawn = "yes";
