// What does not fit its box says so: a line above a box that goes on to the right, a button below a
// table that goes on downwards.
function columnsBeyond(box) {
  const edge = box.getBoundingClientRect().left + box.clientLeft + box.clientWidth;
  const row = [...box.querySelectorAll("tbody tr")].find((one) => !one.hidden);
  return row ? [...row.cells].filter((cell) => cell.getBoundingClientRect().right > edge + 2).length : 0;
}

function sidewaysCue(box) {
  const room = () => box.scrollWidth - box.clientWidth;
  const isAtEnd = () => box.scrollLeft >= room() - 2;
  const made = button("\u2192", "Scroll sideways", () => {
    if (isAtEnd()) box.scrollLeft = 0;
    else box.scrollLeft += box.clientWidth / 2;
  });
  made.classList.add("cue");
  made.tabIndex = -1; // the keyboard scrolls the box itself
  const update = () => {
    made.hidden = room() <= 1;
    box.classList.toggle("goes-on", room() > 1 && !isAtEnd());
    const n = made.hidden ? 0 : columnsBeyond(box);
    const beyond = box.querySelector("table") ? `${n} more column${n === 1 ? "" : "s"}` : "More to the right";
    made.textContent = isAtEnd() ? "\u2190 Back to the left" : `${beyond} \u2192`;
  };
  box.addEventListener("scroll", update, { passive: true });
  const resized = new ResizeObserver(update);
  for (const one of [box, box.firstElementChild]) resized.observe(one);
  const above = box.previousElementSibling;
  if (above && above.matches(".tools")) above.append(made);
  else box.before(toolbar(made));
}

// A long table scrolls in a window of its own; the button takes the window away.
function showAllButton(table) {
  const box = table.parentNode;
  const made = button("Show all rows", "", () => {
    box.classList.toggle("whole");
    update();
  });
  const update = () => {
    const whole = box.classList.contains("whole");
    box.classList.remove("whole");
    made.hidden = box.scrollHeight <= box.clientHeight + 1;
    box.classList.toggle("whole", whole);
    const left = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
    made.textContent = whole ? "Show fewer rows" : `Scroll, or show all ${left} rows`;
    made.setAttribute("aria-expanded", String(whole));
  };
  table.addEventListener("filtered", update);
  new ResizeObserver(update).observe(table);
  return made;
}

function startScrolling() {
  for (const table of document.querySelectorAll(".tall > table.sortable")) table.parentNode.after(toolbar(showAllButton(table)));
  for (const box of document.querySelectorAll(".scroll")) {
    const heading = box.closest("details, section, figure").querySelector("summary, h2, figcaption");
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", heading.textContent.trim());
    sidewaysCue(box);
    // Only what really scrolls, and has nothing else to stop at, is a tab stop.
    new ResizeObserver(() => {
      const stops = [...box.querySelectorAll("button, a[href]")].some((one) => one.tabIndex >= 0);
      const stop = box.scrollWidth > box.clientWidth && !stops;
      if (stop) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }).observe(box);
  }
}
