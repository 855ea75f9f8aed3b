// Puts the page together: theme, printing, and what each control does.
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
const theme = document.getElementById("theme");

function nameTheme() {
  theme.textContent = isDark() ? "Light" : "Dark";
}

theme.hidden = false;
function setTheme(name) {
  root.dataset.theme = name;
  nameTheme();
  redraw(false);
}

theme.addEventListener("click", () => {
  setTheme(isDark() ? "light" : "dark");
  remember("theme", root.dataset.theme);
});
systemDark.addEventListener("change", () => {
  nameTheme();
  redraw(false);
});
// Every section and figure belongs on paper; other tables that are closed are left out.
const PRINTED = "#short details, #run details, details.folded, details:has(.plot), #pairs details:has([data-pair])";
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(PRINTED)].filter((one) => !one.open);
  for (const one of opened) one.open = true;
  redraw(true);
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
  redraw(false);
});

// A phone has no room for the contents, so a button unfolds them.
const menu = document.getElementById("menu");
function unfoldMenu(open) {
  menu.setAttribute("aria-expanded", String(open));
  menu.parentNode.classList.toggle("open", open);
}

function startMenu() {
  menu.hidden = false;
  menu.parentNode.classList.add("foldable");
  menu.addEventListener("click", () => unfoldMenu(menu.getAttribute("aria-expanded") === "false"));
  document.getElementById("contents").addEventListener("click", () => unfoldMenu(false));
  menu.parentNode.addEventListener("keydown", (event) => {
    if (event.key === "Escape") unfoldMenu(false);
  });
}

function showAddress() {
  readAddress();
  if (["light", "dark"].includes(chosen.get("theme"))) setTheme(chosen.get("theme"));
  for (const [key, set] of Object.entries(filters)) if (chosen.has(key)) set(chosen.get(key));
  const section = sectionChosen;
  if (chosen.has("pair")) choose(chosen.get("pair"));
  // A link to a section goes there, whatever pair it shows.
  const target = section && document.getElementById(section);
  if (!target) return;
  const folded = target.querySelector(":scope > details.folded");
  if (folded) folded.open = true;
  target.scrollIntoView();
  sectionChosen = section;
  writeAddress();
}
addEventListener("hashchange", showAddress);

nameTheme();
startMenu();
startTables();
startScrolling();
startPairs();
startFigures();
showAddress();
document.body.dataset.drawn = "yes";
addEventListener("load", () => {
  whenIdle(markTerms);
  prepareFigures();
});
