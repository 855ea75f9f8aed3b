// Files made in the page: nothing is sent anywhere.
function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function csvText(lines) {
  const quoted = (value) => {
    const plain = value === null || value === undefined ? "" : String(value);
    // A spreadsheet would compute what begins so; an apostrophe makes it text.
    const formula = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]./s.test(plain) && isNaN(plain);
    const text = formula ? `'${plain}` : plain;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
}

function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}

function fileName(name, ending) {
  return `${slug(data.campaign)}-${slug(name)}.${ending}`;
}

function button(text, title, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.title = title;
  made.addEventListener("click", act);
  return made;
}

function toolbar(...parts) {
  const made = document.createElement("p");
  made.className = "tools";
  made.append(...parts);
  return made;
}
