"use strict";
/* Draws the figures, and sorts, filters and copies from the tables. */
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const make = (name, properties, parent) => parent.appendChild(Object.assign(document.createElement(name), properties));
  const find = (id) => document.getElementById(id);
  let shown = new Set(facts.cells.map((cell) => cell.key));

  /* The Pareto figure is drawn by plotly.js from figures that the report made for each axis and quality value. */
  const options = { responsive: true, displaylogo: false };
  const choose = (label, entries) => {
    const holder = make("label", {}, find("switches"));
    make("span", { textContent: label }, holder);
    const select = make("select", {}, holder);
    for (const [value, textContent] of entries) make("option", { value, textContent }, select);
    select.addEventListener("change", draw);
    return select;
  };
  const axis = choose("against", Object.entries(facts.axes));
  const metric = choose("quality", facts.metrics.map((name) => [name, name]));
  function draw() {
    const { data, layout } = structuredClone(facts.pareto[axis.value][metric.value]);
    for (const trace of data)
      trace.customdata?.forEach((key, i) => { if (!shown.has(key)) trace.x[i] = trace.y[i] = null; });
    Plotly.react("plot", data, layout, options);
  }
  draw();
  find("plot").on("plotly_click", ({ points: [{ customdata }] }) => { location.hash = `cell-${customdata}`; });
  for (const [id, { data, layout }] of Object.entries(facts.heat)) Plotly.newPlot(id, data, layout, options);

  /* A cell is shown where its sampler, steps, environment and all its accelerators are ticked. */
  const form = find("filters"), boxes = [];
  for (const name of ["accelerator", "sampler", "steps", "environment"]) {
    const found = [...new Set(facts.cells.flatMap((cell) => cell[name]))];
    if (found.length < 2) continue;
    if (name === "steps") found.sort((a, b) => a - b);
    const set = make("fieldset", {}, form);
    make("legend", { textContent: name }, set);
    for (const value of found) {
      const chip = make("label", { className: "chip" }, set);
      boxes.push(make("input", { type: "checkbox", defaultChecked: true, name, value }, chip));
      chip.append(value);
    }
  }
  if (boxes.length) make("button", { type: "reset", textContent: "show all" }, form);
  form.hidden = !boxes.length;
  const news = make("p", { className: "note" }, make("div", {}, form));
  news.setAttribute("role", "status");
  const filter = () => {
    const off = boxes.filter((box) => !box.checked);
    shown = new Set(facts.cells.filter((cell) => !off.some((box) => cell[box.name].includes(box.value))).map((cell) => cell.key));
    for (const row of document.querySelectorAll("tr[data-cell]")) row.hidden = !shown.has(row.dataset.cell);
    news.textContent = `${shown.size} of ${facts.cells.length} cells are shown, here and in the tables of cells.`;
    draw();
  };
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { if (find(location.hash.slice(1))?.hidden) form.reset(); });

  /* Numbers by the first one in a field, or by `data-order`; words by their letters; unknown ones come last. */
  function sort(head, body) {
    const column = head.cellIndex, numeric = head.classList.contains("number");
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => {
      const field = row.cells[column], text = field.dataset.order ?? field.textContent.trim();
      return numeric ? parseFloat(text.replace(/,/g, "")) : text;
    };
    const unknown = (key) => Number.isNaN(key) || key === "–" || key === "";
    const keyed = [...body.rows].map((row) => [value(row), row]);
    keyed.sort(([a], [b]) => unknown(a) - unknown(b) || (unknown(a) ? 0 : (up ? 1 : -1)
      * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }))));
    body.append(...keyed.map(([, row]) => row));
  }
  for (const table of document.querySelectorAll("table.cells"))
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(head, table.tBodies[0]));
      head.append(button);
    }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page that does not count as secure has no clipboard
      const area = make("textarea", { value: text }, document.body);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  const names = new Map(facts.cells.map((cell) => [cell.key, cell.name]));
  for (const code of document.querySelectorAll("code.command")) {
    const label = code.closest("td") ? "copy" : "copy command";
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: label });
    const name = names.get(code.closest("tr[data-cell]")?.dataset.cell);
    if (name) button.setAttribute("aria-label", `copy command of ${name}`);
    button.addEventListener("click", async () => {
      await copy(code.textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
    (code.closest("td details") ?? code).after(button);
  }

  const arms = document.querySelector(".arms");
  if (arms?.querySelector(".difference")) {
    const chip = Object.assign(document.createElement("label"), { className: "chip" });
    const box = make("input", { type: "checkbox", checked: true }, chip);
    chip.append("show differences");
    box.addEventListener("change", () => arms.classList.toggle("no-differences", !box.checked));
    arms.before(chip);
  }
})();
