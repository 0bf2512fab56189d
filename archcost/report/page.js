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
}
function path(row) { return row.cells[0].textContent.trim(); }
function fold(table, open) {
  for (const button of table.querySelectorAll("tr.group button")) button.setAttribute("aria-expanded", String(open));
  show(table);
}
for (const table of document.querySelectorAll("table.layers")) {
  if (table.tBodies[0].rows.length > 60) fold(table, false);
}
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
// a link to a folded model opens it; paper shows all of them
function reveal() {
  const part = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (part && part.tagName === "DETAILS") { part.open = true; part.scrollIntoView(); }
}
addEventListener("hashchange", reveal);
reveal();
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
