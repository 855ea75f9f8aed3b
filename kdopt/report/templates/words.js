// Each term of the list is marked where it first stands in prose, with what it means.
const UNMARKED = "a, abbr, button, code, h1, h2, h3, label, option, select, summary, th, [aria-live], #words, .plot, .tools";

function markTerms() {
  const wanted = [...document.querySelectorAll("#words dt")].map((term) => ({
    regex: new RegExp(term.dataset.pattern, term.dataset.flags), meaning: term.nextElementSibling.textContent,
  }));
  // Most texts have none of them, which one look tells.
  const anyOf = () => new RegExp(wanted.map((term) => term.regex.source).join("|"), "i");
  let any = anyOf();
  const take = (node) => (node.nodeType === Node.ELEMENT_NODE && node.matches(UNMARKED) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  const walker = document.createTreeWalker(document.getElementById("main"), NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, take);
  while (wanted.length && walker.nextNode()) {
    let rest = walker.currentNode;
    while (rest && rest.nodeType === Node.TEXT_NODE && any.test(rest.data)) {
      const found = wanted.map((term) => [term.regex.exec(rest.data), term]).filter(([match]) => match);
      if (!found.length) break;
      // The first, and of two that begin there the longer one.
      found.sort(([a], [b]) => a.index - b.index || b[0].length - a[0].length);
      const [match, term] = found[0];
      wanted.splice(wanted.indexOf(term), 1);
      any = anyOf();
      const marked = match.index ? rest.splitText(match.index) : rest;
      const after = marked.data.length > match[0].length ? marked.splitText(match[0].length) : null;
      const abbr = document.createElement("abbr");
      abbr.title = term.meaning;
      abbr.addEventListener("click", () => sayMeaning(abbr));
      marked.replaceWith(abbr);
      abbr.append(marked);
      walker.currentNode = after || marked;
      rest = after;
    }
  }
}

// A finger cannot rest on a word: a tap says what it means, and another one no more.
function sayMeaning(abbr) {
  const said = abbr.nextElementSibling;
  if (said?.className === "meaning") return said.remove();
  const meaning = document.createElement("small");
  meaning.className = "meaning";
  meaning.setAttribute("role", "note");
  meaning.textContent = ` (${abbr.title.replace(/\.$/, "")})`;
  abbr.after(meaning);
  return undefined;
}
