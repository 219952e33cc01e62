"use strict";
// Tables sort by a click on a column's head and show the rows that hold a text. No library, nothing is fetched.
function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
}
function sortBy(table, column, falling) {
  const rows = Array.from(table.tBodies[0].rows);
  const numeric = table.tHead.rows[0].cells[column].classList.contains("number");
  rows.sort((one, other) => {
    const a = valueOf(one, column), b = valueOf(other, column);
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last, either way
    const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
    return falling ? -order : order;
  });
  table.tBodies[0].append(...rows);
}
function makeSortable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    // Of numbers, the highest is looked for first.
    const before = head.getAttribute("aria-sort");
    const falling = before ? before === "ascending" : head.classList.contains("number");
    heads.forEach(each => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    sortBy(table, column, falling);
  }));
}
function makeFilter(form) {
  const rows = Array.from(document.getElementById(form.dataset.table).tBodies[0].rows);
  const texts = rows.map(row => row.textContent.toLowerCase());
  const input = form.querySelector("input"), count = form.querySelector("output");
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every(word => texts[index].includes(word));
      shown += !row.hidden;
    });
    count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  input.addEventListener("input", show);
  show();
}
// Within Snakemake's report a page has no address, so that its links cannot lead anywhere: the report, which has one,
// is asked to open them. Where nobody answers, it is said where the file lies.
function askToOpen(event) {
  const link = event.target.closest("a[data-run]");
  if (!link) return;
  event.preventDefault();
  const path = link.dataset.run;
  const timer = setTimeout(() => sayWhere(path), 500);
  addEventListener("message", answer => { if (answer.data && answer.data.opened === path) clearTimeout(timer); });
  parent.postMessage({ open: path }, "*");
}
function sayWhere(path) {
  const note = document.getElementById("elsewhere");
  note.querySelector("code").textContent = `${document.body.dataset.root}/${path}`;
  note.hidden = false;
}
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll("form.filter").forEach(form => {
  form.addEventListener("submit", event => event.preventDefault());
  makeFilter(form);
});
if (location.protocol === "data:") document.addEventListener("click", askToOpen);
