// What a reader chose lives in the address, as #SECTION&pair=...&filter-TABLE=...&theme=dark:
// a link leads another reader to the same view.
const chosen = new Map();
let sectionChosen = "";

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a broken escape is a reader's own typing
  }
}

function readAddress() {
  sectionChosen = "";
  for (const part of location.hash.slice(1).split("&").filter(Boolean)) {
    const at = part.indexOf("=");
    if (at < 0) sectionChosen = decoded(part);
    else chosen.set(decoded(part.slice(0, at)), decoded(part.slice(at + 1)));
  }
}

function writeAddress() {
  const encoded = (text) => encodeURIComponent(text).replaceAll("%2F", "/");
  const parts = [...chosen].map(([key, value]) => `${encoded(key)}=${encoded(value)}`);
  const hash = [...(sectionChosen ? [encoded(sectionChosen)] : []), ...parts].join("&");
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

// An empty value forgets the choice.
function remember(key, value, section = sectionChosen) {
  if (value) chosen.set(key, value);
  else chosen.delete(key);
  sectionChosen = section;
  writeAddress();
}

// One tab stop for many that are alike; arrows lead from one to the next.
function shownIn(container, selector) {
  return [...container.querySelectorAll(selector)].filter((one) => !container.contains(one.closest("[hidden]")));
}

function settle(container, selector) {
  const all = container.querySelectorAll(selector);
  const [first] = shownIn(container, selector);
  for (const one of all) one.tabIndex = one === first ? 0 : -1;
}

function rove(container, selector) {
  settle(container, selector);
  container.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = shownIn(container, selector);
    const at = all.indexOf(event.target);
    if (!by || at < 0) return;
    event.preventDefault();
    const next = all[(at + by + all.length) % all.length];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
