"use strict";
// sort: descending, ascending, then as it was
const order = new WeakMap();
function value(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = Number(text.replace(/,/g, "").replace(/[%x]$/, ""));
  return text !== "" && !Number.isNaN(number) ? number : text;
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? 1 : -1;
  return a.localeCompare(b, "en", { numeric: true });
}
function sort(table, head) {
  const body = table.tBodies[0];
  if (!order.has(body)) order.set(body, [...body.rows]);
  const steps = { none: "descending", descending: "ascending", ascending: "none" };
  const next = steps[head.getAttribute("aria-sort")];
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", next);
  let rows = [...order.get(body)];
  table.classList.toggle("sorted", next !== "none");
  if (next !== "none") {
    const sign = next === "ascending" ? 1 : -1;
    rows = rows.map(row => [value(row, head.cellIndex), row]);
    rows.sort((a, b) => sign * compare(a[0], b[0]));
    rows = rows.map(pair => pair[1]);
  }
  body.append(...rows);
  show(table);
}
// fold: a row is hidden if a group around it is closed; sorted, only layers are shown
function show(table) {
  if (!table.classList.contains("layers")) return;
  const sorted = table.classList.contains("sorted");
  const closed = new Set();
  for (const row of table.tBodies[0].querySelectorAll("tr.group")) {
    if (row.querySelector("button").getAttribute("aria-expanded") === "false") closed.add(path(row));
  }
  for (const row of table.tBodies[0].rows) {
    const names = path(row).split(".");
    const inside = names.some((_, i) => i > 0 && closed.has(names.slice(0, i).join(".")));
    row.hidden = sorted ? row.classList.contains("group") : inside;
  }
  // groups have no op, no settings: while all are folded, these columns hold nothing
  const shown = [...table.tBodies[0].rows].filter(row => !row.hidden);
  for (let i = 1; i < table.tHead.rows[0].cells.length; i++) {
    table.classList.toggle(`bare${i + 1}`, shown.every(row => row.cells[i].textContent.trim() === ""));
  }
}
function path(row) { return row.cells[0].textContent.trim(); }
function fold(table, open) {
  for (const button of table.querySelectorAll("tr.group button")) button.setAttribute("aria-expanded", String(open));
  show(table);
}
function tidy(part) {
  for (const table of part.querySelectorAll("table.layers")) {
    if (table.tBodies[0].rows.length > 60) fold(table, false);
  }
}
tidy(document);
// details of many models are packed: compressed JSON lists of HTML, opened when a model is
const packs = new Map();
async function unpacked(number) {
  const text = document.getElementById(`pack-${number}`).textContent;
  const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}
async function unpack(part) {
  const place = part.querySelector("[data-pack]");
  if (!place || place.textContent) return;
  const { pack, part: index } = place.dataset;
  place.textContent = "…";
  try {
    if (!packs.has(pack)) packs.set(pack, unpacked(pack));
    place.innerHTML = (await packs.get(pack))[index];
    tidy(place);
  } catch (error) {
    place.textContent = `This browser cannot open the details: ${error.message}`;
  }
}
document.addEventListener("toggle", event => {
  if (event.target.matches?.("details.model") && event.target.open) unpack(event.target);
}, true);
for (const part of document.querySelectorAll("details.model[open]")) unpack(part);
// only the models whose name or title holds what is typed
const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  const rest = text => !words.every(word => text.toLowerCase().includes(word));
  for (const part of document.querySelectorAll("details.model")) {
    part.hidden = rest(part.firstElementChild.textContent + part.children[1].textContent);
  }
  for (const row of document.querySelector("table.compare").tBodies[0].rows) {
    const link = row.cells[0].querySelector("a");
    row.hidden = document.getElementById(link.hash.slice(1)).hidden;
  }
});
document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  const head = button.closest("thead th");
  if (head) return sort(head.closest("table"), head);
  if (button.closest("tr.group")) {
    button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") === "false"));
    return show(button.closest("table"));
  }
  if (button.dataset.fold) fold(button.parentElement.nextElementSibling.querySelector("table"), button.dataset.fold === "open");
  if (button.dataset.all) for (const part of document.querySelectorAll("details.model")) part.open = button.dataset.all === "open";
});
// what is under the pointer
const tip = document.getElementById("tip");
document.addEventListener("pointermove", event => {
  const mark = event.target.closest ? event.target.closest("[data-tip], [data-tips]") : null;
  tip.hidden = !mark;
  if (!mark) return;
  let words = mark.dataset.tip;
  if (!words) {
    const box = mark.getBoundingClientRect(), tips = mark.dataset.tips.split("|");
    words = tips[Math.min(tips.length - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * tips.length)))];
  }
  tip.textContent = words;
  const right = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = event.clientY + 16 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 16;
  tip.style.left = `${Math.max(4, right)}px`;
  tip.style.top = `${below}px`;
});
document.addEventListener("pointerleave", () => { tip.hidden = true; });
// a link to a folded model opens it; paper shows all of them, of packed ones those that are open
function reveal() {
  const part = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (part && part.tagName === "DETAILS") { part.open = true; part.scrollIntoView(); }
}
addEventListener("hashchange", reveal);
reveal();
let opened = [];
addEventListener("beforeprint", () => {
  opened = document.querySelector("[data-pack]") ? [] : [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
