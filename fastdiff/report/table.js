"use strict";
/* Filters, sorting and copying: for the page's tables of cells, and through the event `filtered` for the plot. */
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const add = (name, properties, parent) => parent.appendChild(Object.assign(document.createElement(name), properties));
  const news = add("p", { className: "note" }, document.createElement("div"));
  news.setAttribute("role", "status");

  /* A cell is shown where all its methods, its sampler, its steps and its environment are ticked. */
  const groups = [
    ["methods", "method", (cell) => cell.methods], ["sampler", "sampler", (cell) => [cell.sampler]],
    ["steps", "steps", (cell) => [String(cell.steps)]],
    ["environment", "environment", (cell) => [cell.environment]],
  ];
  const form = document.getElementById("filters");
  const boxes = [];
  for (const [name, label, values] of groups) {
    const found = [...new Set(facts.cells.flatMap(values))];
    if (found.length < 2) continue;
    if (name === "steps") found.sort((a, b) => a - b);
    const set = add("fieldset", {}, form);
    add("legend", { textContent: label }, set);
    for (const value of found) {
      const chip = add("label", { className: "chip" }, set);
      const box = add("input", { type: "checkbox", defaultChecked: true, name, value }, chip);
      chip.append(value);
      boxes.push([box, values]);
    }
  }
  if (boxes.length) {
    add("button", { type: "reset", textContent: "show all" }, form);
    form.hidden = false;
  }
  form.after(news);
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());

  function filter() {
    const kept = (cell) => boxes.every(([box, values]) => box.checked || !values(cell).includes(box.value));
    const shown = new Set(facts.cells.filter(kept).map((cell) => cell.key));
    for (const row of document.querySelectorAll("tr[data-cell]")) row.hidden = !shown.has(row.dataset.cell);
    news.textContent = `${shown.size} of ${facts.cells.length} cells are shown, here and in the tables of cells.`;
    document.dispatchEvent(new CustomEvent("filtered", { detail: shown }));
  }

  /* Numbers by the first one in a cell, or by what `data-order` says; words by their letters; nothing known comes last. */
  const value = (row, column, numeric) => {
    const cell = row.cells[column], text = cell.dataset.order ?? cell.textContent.trim();
    if (!numeric) return text;
    return parseFloat(text.replace(/,/g, ""));
  };
  function sort(head, rows) {
    const column = head.cellIndex, numeric = head.classList.contains("number");
    const up = head.getAttribute("aria-sort") !== "ascending";
    head.closest("tr").querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = [...rows.rows].map((row) => [value(row, column, numeric), row]);
    const unknown = ([key]) => Number.isNaN(key) || key === "–" || key === "";
    keyed.sort((a, b) => unknown(a) - unknown(b) || (unknown(a) ? 0 : (up ? 1 : -1) *
      (numeric ? a[0] - b[0] : a[0].localeCompare(b[0], undefined, { numeric: true }))));
    rows.append(...keyed.map(([, row]) => row));
  }
  for (const table of document.querySelectorAll("table.cells")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(head, table.tBodies[0]));
      head.append(button);
    }
  }

  /* The clipboard needs a page that counts as secure; where it does not, the old way does. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = add("textarea", { value: text }, document.body);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  for (const code of document.querySelectorAll("code.command")) {
    const row = code.closest("tr[data-cell]");
    const cell = row && facts.cells.find((each) => each.key === row.dataset.cell);
    const label = code.closest("td") ? "copy" : "copy command";
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: label });
    if (cell) button.setAttribute("aria-label", `copy command of ${cell.name}`);
    button.addEventListener("click", async () => {
      await copy(code.textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
    (code.closest("td details") ?? code).after(button);
  }

  const arms = document.querySelector(".arms");
  if (arms?.querySelector(".difference")) {
    const label = document.createElement("label");
    label.className = "chip";
    const box = add("input", { type: "checkbox", checked: true, id: "differences" }, label);
    label.append("show differences");
    box.addEventListener("change", () => arms.classList.toggle("no-differences", !box.checked));
    arms.before(label);
  }

  /* A link to a row that a filter hides shows it; the plot's marks never lead to one. */
  addEventListener("hashchange", () => {
    const row = document.getElementById(location.hash.slice(1));
    if (row?.hidden) form.reset();
  });
})();
