// Puts the page together: theme, printing, and what each control does.
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
const theme = document.getElementById("theme");

function nameTheme() {
  theme.textContent = isDark() ? "Light" : "Dark";
}

theme.hidden = false;
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
  redraw(false);
});
systemDark.addEventListener("change", () => {
  nameTheme();
  redraw(false);
});
// What was run belongs on paper too; other tables that are closed stay so.
const folded = [...document.querySelectorAll("#run details:not([open])")];
addEventListener("beforeprint", () => {
  for (const one of folded) one.open = true;
  redraw(true);
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
  redraw(false);
});

nameTheme();
startTables();
startPairs();
startFigures();
document.body.dataset.drawn = "yes";
