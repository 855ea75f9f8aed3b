// Figures are drawn when they come near the window: a page with dozens of them opens at once.
// plotly.js itself takes half a second to compile, so it waits as text for the first figure.
function startPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("plotly-js").textContent;
  document.head.append(script); // runs it before the next line
}

// Only these buttons: plotly's default bar has one that uploads the chart to a server.
const options = {
  responsive: true, displaylogo: false, plotlyServerURL: "",
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]],
};
const LIGHT = { ink: "#1b1b1b", line: "#d5d5d5", soft: "#5b5b5b" };

// By element id, the part of a figure that a reader chose; without one all of it is shown.
const parts = {};

function tracesOf(id, traces) {
  if (!parts[id]) return traces;
  const named = new Set();
  return traces.filter((trace) => trace.meta === parts[id]).map((trace) => {
    // The trace that stood in the legend may be one of those left out.
    const showlegend = Boolean(trace.legendgroup) && !named.has(trace.legendgroup);
    named.add(trace.legendgroup);
    return { ...trace, showlegend };
  });
}

// By element id, a function that gives {name, data, layout, csv}, or null when there is nothing.
const sources = {};
for (const [id, figure] of Object.entries(data.figures)) {
  const [name, sheet] = data.files[id];
  sources[id] = () => ({ ...figure, data: tracesOf(id, figure.data), name, csv: data.sheets[sheet] });
}
const drawn = new Set();

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(Object.keys(LIGHT).map((key) => [key, style.getPropertyValue(`--${key}`).trim()]));
}

// Ink follows the page's own colours, so one set of figures serves light, dark and print.
function inked(figure, { ink, line, soft }) {
  const axis = (given) => ({ ...given, gridcolor: line, zerolinecolor: soft, zerolinewidth: 2, linecolor: line });
  const axes = Object.keys(figure.layout).filter((key) => /^[xy]axis\d*$/.test(key));
  return {
    data: JSON.parse(JSON.stringify(figure.data).replaceAll(`"${LIGHT.ink}"`, `"${ink}"`)),
    layout: {
      ...figure.layout,
      ...Object.fromEntries(axes.map((key) => [key, axis(figure.layout[key])])),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    },
  };
}

// Together with its heading and its notes a figure fits a sheet, A4 or Letter, where it can be read so.
const SHEET = 820;
const printedHeight = (height) => Math.max(Math.min(height, SHEET), height / 2);

function draw(id, printing) {
  const element = document.getElementById(id);
  const figure = sources[id](printing);
  drawn.add(id);
  startPlotly();
  if (!figure) {
    Plotly.purge(element);
    return;
  }
  const shown = inked(figure, printing ? LIGHT : colours());
  // Paper is narrower than most screens, and figures do not shrink by themselves in print.
  const size = printing ? { autosize: false, width: element.classList.contains("wide") ? 680 : 340 } : { autosize: true };
  size.height = printing ? printedHeight(shown.layout.height) : shown.layout.height;
  element.style.minHeight = `${size.height}px`;
  Plotly.react(element, shown.data, { ...shown.layout, ...size }, options);
  // Zoom and pan are the mouse's; the keyboard stops once per figure, at its data.
  for (const one of element.querySelectorAll(".modebar-btn")) one.tabIndex = -1;
  if (!element.dataset.linked) {
    element.dataset.linked = "yes";
    element.on("plotly_click", (event) => choose(event.points[0].customdata));
  }
}

function saveImage(id, format) {
  const figure = sources[id]();
  if (!figure) return;
  startPlotly();
  const { data: traces, layout } = inked(figure, LIGHT);
  const width = document.getElementById(id).clientWidth;
  const white = { paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" };
  const size = { format, width, height: layout.height, scale: format === "png" ? 2 : 1 };
  Plotly.toImage({ data: traces, layout: { ...layout, ...white } }, size).then((url) => {
    const link = document.createElement("a");
    link.href = url;
    link.download = fileName(figure.name, format);
    link.click();
  });
}

function saveData(id) {
  const figure = sources[id]();
  if (figure) save(fileName(figure.name, "csv"), figure.csv, "text/csv");
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    seen.unobserve(entry.target);
    draw(entry.target.id, false);
  }
}, { rootMargin: "500px" });

const TOOLS = "[role=toolbar] button";

function startFigures() {
  for (const element of document.querySelectorAll(".plot")) {
    const figure = sources[element.id]();
    element.style.minHeight = `${figure ? figure.layout.height : 0}px`;
    const tools = toolbar(
      button("CSV", "Download the data of this figure", () => saveData(element.id)),
      button("SVG", "Download this figure", () => saveImage(element.id, "svg")),
      button("PNG", "Download this figure", () => saveImage(element.id, "png")),
    );
    tools.setAttribute("role", "toolbar");
    tools.setAttribute("aria-label", `Download: ${element.getAttribute("aria-label")}`);
    (element.closest(".scroll") || element).after(tools);
    seen.observe(element);
  }
  // One tab stop for all tools of figures that stand beside each other.
  for (const row of document.querySelectorAll(".figures")) rove(row, TOOLS);
  for (const tools of document.querySelectorAll("[role=toolbar]")) if (!tools.closest(".figures")) rove(tools, "button");
  for (const select of document.querySelectorAll("select[data-figure]")) {
    select.addEventListener("change", () => {
      parts[select.dataset.figure] = select.value;
      draw(select.dataset.figure, false);
    });
  }
}

const whenIdle = window.requestIdleCallback || ((act) => setTimeout(act, 500));

// Once the page is there and the reader idle, so that the first figure need not wait.
function prepareFigures() {
  if (document.querySelector(".plot")) whenIdle(startPlotly);
}

function redraw(printing) {
  for (const id of printing ? Object.keys(sources) : drawn) draw(id, printing);
}
