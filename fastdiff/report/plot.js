"use strict";
/* The Pareto plot: quality with its whiskers against speed or cost, of the cells that the filters leave. Draws anew
   at every change of size, switch or filter; without this script the page shows a still figure in its place. */
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const place = document.getElementById("plot");
  if (!place) return;
  const SVG = "http://www.w3.org/2000/svg", MARGIN = { left: 56, right: 16, top: 14, bottom: 44 };
  const SHAPES = {  // matplotlib's letters, within 6 px of the centre
    o: "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z", s: "M-4.5,-4.5H4.5V4.5H-4.5Z", "^": "M0,-5.5L5.5,4.5H-5.5Z",
    v: "M0,5.5L5.5,-4.5H-5.5Z", D: "M0,-6L6,0L0,6L-6,0Z", X: "M-5,-5L5,5M5,-5L-5,5",
    P: "M-2,-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5V-2H-2Z",
  };
  let shown = new Set(facts.cells.map((cell) => cell.key)), current = null;

  const draw = (name, attributes, parent, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const add = (name, properties, parent) => parent.appendChild(Object.assign(document.createElement(name), properties));
  const digits = (value) => value === null ? "–" : String(Number(value.toPrecision(4)));

  /* A scale from values to pixels; logarithmic where they differ more than fivefold, as figures.py does. */
  const scale = (values, ends, from, to) => {
    let low = Math.min(...ends), high = Math.max(...ends);
    const smallest = Math.min(...values), log = smallest > 0 && Math.max(...values) > 5 * smallest;
    if (log) low = Math.max(low, 0.3 * smallest);
    const turn = log ? Math.log : (value) => value;
    const room = 0.05 * (turn(high) - turn(low)) || 0.1 * Math.abs(turn(high)) || 1;
    const [start, stop] = [turn(low) - room, turn(high) + room];
    const at = (value) => from + (to - from) * (turn(log ? Math.max(value, low) : value) - start) / (stop - start);
    return { at, log, ticks: log ? decades(Math.exp(start), Math.exp(stop)) : even(start, stop, Math.abs(to - from)) };
  };
  const decades = (low, high) => {
    const subs = high / low < 30 ? [1, 2, 3, 5] : high / low < 3000 ? [1, 3] : [1], ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const sub of subs) ticks.push(Number(`${sub}e${power}`));
    return ticks.filter((tick) => tick >= low && tick <= high);
  };
  const even = (low, high, size) => {
    const rough = (high - low) / Math.max(2, size / 80), power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((each) => each * power >= rough), ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(6)));
    return ticks;
  };

  /* Cells that no other beats in both, the best in x first. Of a clock no speed counts that its MACs do not promise, and
     no lead over a better cell with as few of them. */
  const front = (cells, x, metric) => {
    let least = Infinity;
    const clocked = x.name === "images_per_s";
    const believed = cells.filter((cell) => !(clocked && cell.far && cell.speedup > cell.promised));
    const beaten = (cell) => clocked
      && believed.some((other) => metric.sign * (other.y - cell.y) < 0 && other.macs <= cell.macs);
    return believed.filter((cell) => !beaten(cell)).sort((a, b) => x.sign * (a[x.name] - b[x.name]) || metric.sign * (a.y - b.y)).filter((cell) => {
      const better = metric.sign * cell.y < least;
      if (better) least = metric.sign * cell.y;
      return better;
    });
  };

  place.previousElementSibling.hidden = true;  // the still figure
  const controls = add("div", { className: "controls" }, place);
  const choose = (label, options) => {
    const holder = add("label", {}, controls);
    add("span", { textContent: label }, holder);
    const select = add("select", {}, holder);
    options.forEach((text, i) => add("option", { value: i, textContent: text }, select));
    select.addEventListener("change", render);
    return select;
  };
  const across = choose("against", facts.axes.map((axis) => axis.label));
  const quality = choose("quality", facts.metrics.map((metric) => metric.name));
  const plot = add("div", { className: "plot" }, place);
  const tip = add("div", { className: "tip", hidden: true, id: "tip" }, plot);
  tip.setAttribute("role", "status");
  const legend = add("ul", { className: "legend" }, place);

  function render() {
    const x = facts.axes[across.value], metric = facts.metrics[quality.value];
    const cells = facts.cells.filter((cell) => shown.has(cell.key) && cell[x.name] !== null && cell.values[metric.name])
      .map((cell) => ({ ...cell, ends: cell.values[metric.name], y: cell.values[metric.name][0] }));
    plot.querySelector("svg")?.remove();
    tip.hidden = true;
    const width = Math.max(280, plot.clientWidth), height = Math.round(Math.min(460, Math.max(320, 0.5 * width)));
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", height }, plot);
    svg.setAttribute("aria-label", `${metric.name} against ${x.label}, ${cells.length} cells; arrow keys go from mark to `
      + "mark, Enter leads to the row");
    legend.replaceChildren();
    if (!cells.length) return draw("text", { x: MARGIN.left, y: 40 }, svg, "No cell is left to draw: reset the filters.");
    const trusted = cells.filter((cell) => !cell.far || x.name !== "images_per_s");  // a clock that stood still squeezes nobody
    const xs = (trusted.length ? trusted : cells).map((cell) => cell[x.name] / x.unit);
    const h = scale(xs, xs, MARGIN.left, width - MARGIN.right);
    const v = scale(cells.map((c) => c.y), cells.flatMap((c) => c.ends.filter((e) => e !== null)), height - MARGIN.bottom, MARGIN.top);
    const inside = (left) => Math.min(Math.max(left, MARGIN.left), width - MARGIN.right);
    for (const cell of cells) [cell.left, cell.top] = [inside(h.at(cell[x.name] / x.unit)), v.at(cell.y)];
    axes(svg, width, height, h, v, x, metric);
    lines(svg, cells, x, metric);
    marks(svg, cells, v, x, metric);
    explain(cells);
  }

  function axes(svg, width, height, h, v, x, metric) {
    const bottom = height - MARGIN.bottom;
    let last = -99;
    for (const tick of h.ticks) {
      const at = h.at(tick), text = String(tick);
      draw("line", { class: "grid", x1: at, x2: at, y1: MARGIN.top, y2: bottom }, svg);
      if (at - last < 9 * text.length) continue;  // no number over another
      draw("text", { x: at, y: bottom + 16, "text-anchor": "middle" }, svg, text);
      last = at;
    }
    for (const tick of v.ticks) {
      draw("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: v.at(tick), y2: v.at(tick) }, svg);
      draw("text", { x: MARGIN.left - 6, y: v.at(tick) + 4, "text-anchor": "end" }, svg, String(tick));
    }
    const middle = (MARGIN.left + width - MARGIN.right) / 2, logs = (scaled) => scaled.log ? ", log" : "";
    draw("text", { x: middle, y: height - 6, "text-anchor": "middle" }, svg, `${x.label} (${x.hint}${logs(h)})`);
    const name = `${metric.name.split("[")[0]} (${metric.hint}${logs(v)})`, centre = (MARGIN.top + bottom) / 2;
    draw("text", { x: 12, y: centre, "text-anchor": "middle", transform: `rotate(-90 12 ${centre})` }, svg, name);
  }

  function lines(svg, cells, x, metric) {
    const best = front(cells, x, metric);
    draw("path", { class: "front", d: best.map((c, i) => i ? `H${c.left}V${c.top}` : `M${c.left},${c.top}`).join("") }, svg);
    const plain = cells.filter((cell) => cell.methods.includes("plain"));
    for (const sampler of new Set(plain.map((cell) => cell.sampler))) {
      const line = plain.filter((cell) => cell.sampler === sampler).sort((a, b) => a.steps - b.steps);
      draw("path", { fill: "none", stroke: line[0].colour, d: line.map((c, i) => `${i ? "L" : "M"}${c.left},${c.top}`).join("") }, svg);
    }
    for (const cell of plain)
      draw("text", { class: "faint", x: cell.left + 8, y: cell.top - 7 }, svg, cell.steps);
    for (const cell of cells.filter((each) => each.far))
      draw("text", { x: cell.left + 8, y: cell.top + 12 }, svg, "?");
  }

  function marks(svg, cells, v, x, metric) {
    const order = [...cells].sort((a, b) => a.left - b.left || a.top - b.top);
    const nodes = order.map((cell) => {
      const node = draw("g", { "data-key": cell.key, tabindex: -1, role: "link", "aria-label": said(cell, metric) }, svg);
      const [, low, high] = cell.ends;
      if (low !== null)
        draw("line", { x1: cell.left, x2: cell.left, y1: v.at(low), y2: v.at(high), stroke: cell.colour, opacity: 0.5 }, node);
      const at = { transform: `translate(${cell.left} ${cell.top})` };
      const ring = cell.key === facts.baseline ? { stroke: "currentColor" } : {};
      draw("circle", { ...at, class: "halo", r: 11, fill: "transparent", ...ring }, node);
      draw("path", { ...at, ...paint(cell), d: SHAPES[cell.marker] }, node);
      node.addEventListener("pointerenter", () => tell(cell, node, metric));
      node.addEventListener("pointerleave", hush);
      node.addEventListener("focus", () => tell(cell, node, metric));
      node.addEventListener("blur", hush);
      node.addEventListener("click", () => { location.hash = `cell-${cell.key}`; });
      return node;
    });
    nodes.forEach((node, i) => node.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Enter") location.hash = `cell-${order[i].key}`;
      else if (move) nodes[(i + move + nodes.length) % nodes.length].focus();
      else return;
      event.preventDefault();
    }));
    nodes[Math.max(0, order.findIndex((cell) => cell.key === current))].setAttribute("tabindex", 0);
  }

  const paint = (cell) => ({ stroke: cell.colour, "stroke-width": cell.marker === "X" ? 2.5 : 1.5,
    fill: cell.hollow ? "var(--paper)" : cell.colour });
  const interval = ([value, low, high]) => digits(value) + (low === null ? "" : ` [${digits(low)}, ${digits(high)}]`);
  const said = (cell, metric) => `${cell.name}: ${metric.name.split("[")[0]} ${interval(cell.ends)}`;

  function tell(cell, node, metric) {
    plot.querySelectorAll("[tabindex='0']").forEach((other) => other.setAttribute("tabindex", -1));
    node.setAttribute("tabindex", 0);
    current = cell.key;
    plot.querySelectorAll(".on").forEach((other) => other.classList.remove("on"));
    node.classList.add("on");
    const [change] = cell.change, words = { worse: "worse than", better: "better than", indistinguishable: "not told apart from" };
    const lines = [`${metric.name.split("[")[0]} ${interval(cell.ends)}`];
    if (metric === facts.metrics[0] && change !== null && cell.verdict in words)  // what cells are judged by
      lines.push(`${change > 0 ? "+" : ""}${interval(cell.change)}: ${words[cell.verdict]} its plain sampler`);
    lines.push(`${digits(cell.images_per_s)} images/s, ${digits(cell.macs / 1e6)} MMACs, ${cell.nfe} network calls`);
    if (cell.speedup !== null)
      lines.push(`${digits(cell.speedup)}x its uncached sampler, ${digits(cell.promised)}x promised by MACs`);
    if (cell.far) lines.push("The clock is not to be trusted here.");
    tip.replaceChildren();
    add("strong", { textContent: cell.name + (cell.key === facts.baseline ? " (baseline)" : "") }, tip);
    lines.forEach((textContent) => add("p", { textContent }, tip));
    tip.hidden = false;
    const left = Math.min(Math.max(0, cell.left - tip.offsetWidth / 2), plot.clientWidth - tip.offsetWidth);
    const above = cell.top - tip.offsetHeight - 14;
    Object.assign(tip.style, { left: `${left}px`, top: `${above > 0 ? above : cell.top + 16}px` });
  }
  function hush() {
    tip.hidden = true;
    plot.querySelectorAll(".on").forEach((other) => other.classList.remove("on"));
  }

  function explain(cells) {
    const entry = (text, attributes) => {
      const item = add("li", {}, legend), svg = draw("svg", { viewBox: "-9 -7 18 14", "aria-hidden": true }, item);
      draw("path", { stroke: "var(--muted)", fill: "var(--muted)", "stroke-width": 1.5, ...attributes }, svg);
      item.append(text);
    };
    const first = (values) => [...new Map(values)].sort((a, b) => a[0] < b[0] ? -1 : 1);
    for (const [sampler, colour] of first(cells.map((c) => [c.sampler, c.colour])))
      entry(sampler, { d: SHAPES.o, stroke: colour, fill: colour });
    const marked = new Map(cells.map((c) => [c.interval ?? Infinity, c.marker]));
    for (const [value, marker] of [...marked].sort((a, b) => a[0] - b[0]))
      entry(value === Infinity ? "listed full calls" : value === 1 ? "uncached" : `interval ${value}`, { d: SHAPES[marker] });
    if (cells.some((cell) => cell.hollow)) entry("rho other than 1", { d: SHAPES.o, fill: "var(--paper)" });
    entry("plain sampler; number: steps", { d: "M-9,0H9" });
    if (cells.some((cell) => cell.far)) entry("? clock not to be trusted: not on the front, at the edge if beyond the others", { d: "" });
    entry("Pareto front", { d: "M-9,0H9", "stroke-width": 6, opacity: 0.3 });
    if (cells.some((cell) => cell.key === facts.baseline)) entry("baseline", { d: SHAPES.o, fill: "none", stroke: "currentColor" });
  }

  document.addEventListener("filtered", (event) => { shown = event.detail; render(); });
  let drawn = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== drawn) render();  // not for a height of its own making
    drawn = place.clientWidth;
  }).observe(place);
})();
