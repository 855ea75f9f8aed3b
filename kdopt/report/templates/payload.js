// What the page shows: plain JSON, or gzipped where it is large.
async function readPayload() {
  const holder = document.getElementById("kdopt-data");
  if (holder.type === "application/json") return JSON.parse(holder.textContent);
  const bytes = Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).json();
}
const data = await readPayload();
