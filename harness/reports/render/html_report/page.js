// The charts of a report: SVG from the block of data in the page.  Loads nothing; what it is given it writes as text.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const arms = data.arms.map((arm, index) => ({ ...arm, index }));
  const hidden = new Set(arms.filter((arm) => !arm.shown)); // in all charts alike
  const shown = () => arms.filter((arm) => !hidden.has(arm));
  const redraws = []; // of every chart and legend
  const redraw = () => redraws.forEach((one) => one());

  // --- elements and numbers -----------------------------------------------------------------------------------------

  function filled(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children); // a string becomes a text node, never markup
    return node;
  }
  const html = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);
  const svg = (name, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const percent = (share) => (100 * share).toFixed(1);
  const measured = (mean, interval) => percent(mean) + (interval ? ` [${interval.map(percent).join(", ")}]` : "");
  const unitLabel = (name) => data.units.find((unit) => unit.name === name).label;

  function amount(x, unit) {
    const steps = ["", " k", " M", unit === "flops" ? " G" : " B", " T", " P", " E"];
    let place = 0;
    for (; Math.abs(x) >= 1000 && place < steps.length - 1; place++) x /= 1000;
    return Number(x.toPrecision(3)) + steps[place];
  }

  // Ticks at nice steps, at most `count` of them and one; the ends are steps, within `least` and `most`, or free.
  function axis(values, count, least, most) {
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 100];
    if (high - low < 1e-9) [low, high] = [Math.max(least ?? 0, low - 5), Math.min(most ?? Infinity, high + 5)];
    const power = 10 ** Math.floor(Math.log10((high - low) / count));
    const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power * count >= 0.999 * (high - low));
    if (least !== undefined) low = Math.max(least, Math.floor(low / step) * step);
    if (most !== undefined) high = Math.min(most, Math.ceil(high / step) * step);
    const first = Math.ceil(low / step - 1e-9);
    const ticks = Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
    return { low, high, ticks: ticks.map((x) => Number(x.toPrecision(12))) };
  }
  const accuracyAxis = (shares, count) => axis(shares.map((share) => clamp(100 * share, 0, 100)), count, 0, 100);
  const scale = ({ low, high }, from, to) => (x) => from + ((x - low) / (high - low)) * (to - from);

  // --- marks --------------------------------------------------------------------------------------------------------

  const SHAPES = [
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
    "M-3.6,-3.6h7.2v7.2h-7.2Z",
    "M0,-5L4.8,3.6H-4.8Z",
    "M0,-5.2L5.2,0L0,5.2L-5.2,0Z",
    "M0,5L4.8,-3.6H-4.8Z",
    "M-1.6,-5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4Z",
  ];
  const DASHES = ["none", "7 3.5", "2 3", "9 3 2 3"];
  const tone = (arm) => (arm ? `a${arm.index % 12}` : ""); // no arm: one of which only trials have run

  const line = (x1, y1, x2, y2, name) => svg("line", { x1, y1, x2, y2, class: name });
  const words = (x, y, text, name, anchor = "start") => svg("text", { x, y, class: name, "text-anchor": anchor }, text);
  const dot = (arm, cx, cy) => svg("circle", { class: `seed ${tone(arm)}`, cx, cy, r: 3.2 });
  const through = (points) => points.map((point, i) => (i ? "L" : "M") + point.join(",")).join("");
  const path = (points, name, dashes = "none") =>
    svg("path", { class: name, d: through(points), "stroke-dasharray": dashes });
  const curve = (arm, points) => path(points, `curve ${tone(arm)}`, DASHES[arm.index % DASHES.length]);
  const cross = (arm, x, y) =>
    svg("path", { class: `cross ${tone(arm)}`, d: "M-4,-4L4,4M-4,4L4,-4", transform: `translate(${x},${y})` });

  function marker(arm, x, y) {
    const fill = Math.floor(arm.index / SHAPES.length) % 2 ? "hollow" : "full";
    const d = SHAPES[arm.index % SHAPES.length];
    return svg("path", { class: `mark ${fill} ${tone(arm)}`, d, transform: `translate(${x},${y})` });
  }

  const canvas = (width, height, label) =>
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `${label} Arrow keys step.` });

  function drawX(root, x, at, top, bottom, title, format = String) {
    for (const tick of x.ticks) root.append(line(at(tick), top, at(tick), bottom, "grid"));
    for (const tick of x.ticks) root.append(words(at(tick), bottom + 18, format(tick), "tick", "middle"));
    root.append(words(at(x.high), bottom + 37, title, "title", "end"));
  }

  function drawY(root, y, at, left, right) {
    for (const tick of y.ticks) root.append(line(left, at(tick), right, at(tick), "grid"));
    for (const tick of y.ticks) root.append(words(left - 8, at(tick) + 4, `${tick}`, "tick", "end"));
  }

  // Accuracy over a budget: what the learning curves and the costs have in common.
  function plane(width, height, xs, shares, unit, set, said) {
    const [left, right, top, bottom] = [40, width - 14, 30, height - 42];
    const [x, y] = [axis([0, ...xs], Math.min(width / 80, 10)), accuracyAxis(shares, 6)];
    const [atX, atY] = [scale(x, left, right), scale(y, bottom, top)];
    const root = canvas(width, height, said);
    drawX(root, x, atX, top, bottom, unitLabel(unit), (tick) => amount(tick, unit));
    drawY(root, y, atY, left, right);
    root.append(words(0, 12, `accuracy on ${set}, %`, "title"));
    return { root, top, bottom, atX, atY: (share) => clamp(atY(100 * share), top, bottom) };
  }

  // Rows, one an arm: the names stand on the left, or above where there is little room.
  function rows(names, width, height) {
    const [narrow, top] = [width < 520, 8];
    const each = height + (narrow ? 14 : 0);
    const at = (i) => top + each * (i + 1) - height / 2;
    return {
      left: narrow ? 6 : 14 + 7 * Math.max(...names.map((name) => name.length), 4),
      bottom: top + each * names.length,
      at,
      labels: names.map((name, i) => words(0, narrow ? at(i) - height / 2 : at(i) + 4, name, "name")),
    };
  }

  // --- the charts: (width, choice) -> the picture, and the points that can be asked for their values ----------------

  function curves(width, { unit, set }) {
    const lines = shown().map((arm) => {
      const { mean, interval } = arm.curves[set];
      const spent = arm.spend[unit];
      return { arm, points: mean.map((y, i) => ({ x: spent[i], y, interval: interval[i], place: data.fractions[i] })) };
    });
    const points = lines.flatMap((one) => one.points);
    const shares = points.flatMap((p) => [p.y, ...(p.interval ?? [])]);
    const said = `Accuracy on ${set} against ${unitLabel(unit)}, one line an arm.`;
    const { root, atX, atY } = plane(width, 414, points.map((p) => p.x), shares, unit, set, said);
    for (const { arm, points } of lines) {
      const known = points.filter((p) => p.interval);
      const [low, high] = [0, 1].map((end) => known.map((p) => [atX(p.x), atY(p.interval[end])]));
      if (known.length > 1) root.append(path([...high, ...low.reverse()], `band ${tone(arm)}`));
    }
    const targets = [];
    for (const { arm, points } of lines) {
      root.append(curve(arm, points.map((p) => [atX(p.x), atY(p.y)])));
      for (const p of points) {
        const [x, y] = [atX(p.x), atY(p.y)];
        root.append(marker(arm, x, y));
        const spent = `${p.place}: ${amount(p.x, unit)} ${unitLabel(unit)}`;
        targets.push({ x, y, said: [arm.name, measured(p.y, p.interval), spent] });
      }
    }
    return { root, targets };
  }

  // Where a label stands: beside its point, or as near as is free.
  function place(atX, atY, wide, taken, width, top, bottom) {
    let box;
    for (let away = 0; away < 200; away += 7) {
      for (const [side, dy] of [[1, away], [-1, away], [1, -away], [-1, -away]]) {
        const [x, y] = [atX + side * (10 + away / 2), atY + dy];
        box = { left: Math.min(x, x + side * wide), right: Math.max(x, x + side * wide), top: y - 7, bottom: y + 7 };
        const apart = (b) => box.left > b.right || box.right < b.left || box.top > b.bottom || box.bottom < b.top;
        const inside = box.left > 0 && box.right < width && box.top > top && box.bottom < bottom;
        if (inside && taken.every(apart)) return { side, x, y, box };
      }
    }
    return { side: 1, x: atX + 10, y: atY, box };
  }

  function cost(width, { unit }) {
    const ends = shown().map((arm) => ({ arm, spent: arm.spend[unit].at(-1) }));
    const shares = ends.flatMap(({ arm }) => [arm.mean, ...(arm.interval ?? [])]);
    const said = `Accuracy on ${data.endpoint} at the end against ${unitLabel(unit)} spent.`;
    const xs = ends.map((end) => 1.08 * end.spent);
    const { root, top, bottom, atX, atY } = plane(width, 384, xs, shares, unit, data.endpoint, said);
    const targets = ends.map(({ arm, spent }) => {
      const text = [arm.name, measured(arm.mean, arm.interval), `${amount(spent, unit)} ${unitLabel(unit)}`];
      return { arm, x: atX(spent), y: atY(arm.mean), said: text };
    });
    for (const { arm, x } of targets.filter((t) => t.arm.interval)) {
      root.append(line(x, atY(arm.interval[0]), x, atY(arm.interval[1]), `whisker ${tone(arm)}`));
    }
    const taken = targets.map(({ x, y }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
    for (const { arm, x, y } of targets) {
      const label = place(x, y, 7 * arm.name.length, taken, width, top - 12, bottom);
      taken.push(label.box);
      if (Math.abs(label.y - y) > 8) root.append(line(x, y, label.x - 2 * label.side, label.y, `leader ${tone(arm)}`));
      root.append(marker(arm, x, y), words(label.x, label.y + 4, arm.name, "name", label.side > 0 ? "start" : "end"));
    }
    return { root, targets };
  }

  function seeds(width) {
    const { left, bottom, at, labels } = rows(shown().map((arm) => arm.name), width, 34);
    const shares = shown().flatMap((arm) => [...arm.seeds.map((s) => s.value ?? arm.mean), ...(arm.interval ?? [])]);
    const x = accuracyAxis(shares, Math.min(width / 80, 10));
    const lossless = shown().every((arm) => arm.seeds.every((seed) => seed.value !== null));
    const atX = scale(x, left + (lossless ? 6 : 30), width - 14);
    const atShare = (share) => atX(clamp(100 * share, x.low, x.high));
    const root = canvas(width, bottom + 42, `Accuracy on ${data.endpoint} of every run, one row an arm.`);
    drawX(root, x, atX, 8, bottom, `accuracy on ${data.endpoint}, %`);
    root.append(...labels);
    const targets = [];
    shown().forEach((arm, row) => {
      const [y, lost, lanes] = [at(row), arm.seeds.filter((s) => s.value === null), {}];
      if (lost.length) {
        root.append(cross(arm, left, y), words(left + 9, y + 4, `${lost.length}`, "tick"));
        const why = lost.map((s) => `seed ${s.seed}: ${s.status}`);
        targets.push({ x: left, y, said: [`${arm.name}, no result`, ...why] });
      }
      const [low, high] = (arm.interval ?? []).map(atShare);
      if (arm.interval) root.append(line(low, y, high, y, `span ${tone(arm)}`));
      for (const { seed, value } of arm.seeds.filter((s) => s.value !== null)) {
        const cx = atShare(value);
        const lane = (lanes[Math.round(cx / 6)] = (lanes[Math.round(cx / 6)] ?? -1) + 1); // equal runs are spread
        const cy = y + (lane % 2 ? 5 : -5) * Math.ceil(lane / 2);
        root.append(dot(arm, cx, cy));
        targets.push({ x: cx, y: cy, said: [`${arm.name}, seed ${seed}`, percent(value)] });
      }
      root.append(line(atShare(arm.mean), y - 12, atShare(arm.mean), y + 12, `mean ${tone(arm)}`));
    });
    return { root, targets };
  }

  const stacked = ({ parts, bars }) => (width) => {
    const { left, bottom, at, labels } = rows(bars.map((bar) => bar.arm), width, 32);
    const right = width - 10 - 7 * Math.max(...bars.map((bar) => bar.total.length));
    const atX = scale({ low: 0, high: Math.max(...bars.map((bar) => sum(bar.values))) || 1 }, left, right);
    const root = canvas(width, bottom + 6, "One bar an arm, stacked by part.");
    root.append(...labels);
    const targets = [];
    bars.forEach((bar, row) => {
      bar.values.forEach((value, i) => {
        const [from, to] = [i, i + 1].map((end) => atX(sum(bar.values.slice(0, end))));
        const [name, text] = [`part p${i % 8} ${parts[i].pale ? "pale" : ""}`, parts[i].label];
        root.append(svg("rect", { class: name, x: from, y: at(row) - 11, width: to - from, height: 22 }));
        if (to - from > 7 * text.length) root.append(words((from + to) / 2, at(row) + 4, text, "inside", "middle"));
        if (value) targets.push({ x: (from + to) / 2, y: at(row), said: [bar.arm, `${text}: ${bar.texts[i]}`] });
      });
      root.append(words(atX(sum(bar.values)) + 8, at(row) + 4, bar.total, "tick"));
    });
    return { root, targets };
  };

  // Small multiples: every arm's trials on one scale.
  function tuning(width) {
    const across = clamp(Math.floor(width / 270), 1, data.trials.length);
    const [wide, high, inner, down] = [width / across, 168, 96, Math.ceil(data.trials.length / across)];
    const values = data.trials.flatMap(({ trials }) => trials.flatMap((trial) => trial.values));
    const y = accuracyAxis(values.filter((value) => value !== null), 3);
    const root = canvas(width, high * down, "Accuracy of every trial, one panel an arm.");
    const targets = data.trials.flatMap(({ arm: name, trials }, panel) => {
      const arm = arms.find((one) => one.name === name);
      const [left, top] = [(panel % across) * wide + 34, Math.floor(panel / across) * high + 28];
      const right = left + wide - 54;
      const atX = (i) => left + ((i + 0.5) / trials.length) * (right - left);
      const [atY, floor] = [scale(y, top + inner, top), top + inner];
      drawY(root, y, atY, left, right);
      root.append(words(left, top - 12, name, "name"));
      const whole = trials.map(({ values }) => values.length && !values.includes(null));
      const mean = (values) => atY((100 * sum(values)) / values.length);
      const points = trials.map(({ values }, i) => [atX(i), whole[i] ? mean(values) : floor]);
      root.append(path(points.filter((_, i) => whole[i]), `curve ${tone(arm)}`));
      const roomy = trials.every((trial) => 7 * trial.label.length < (right - left) / trials.length);
      return trials.map(({ label, values, chosen }, i) => {
        const [cx, cy] = points[i];
        root.append(...values.map((x) => (x === null ? cross(arm, cx, floor) : dot(arm, cx, atY(100 * x)))));
        if (chosen) root.append(svg("circle", { class: "ring", cx, cy, r: 9 }));
        if (roomy || chosen) root.append(words(cx, floor + 18, label, chosen ? "tick chosen" : "tick", "middle"));
        const found = values.map((value) => (value === null ? "no result" : percent(value)));
        return { x: cx, y: cy, said: [`${name}, ${label}${chosen ? " (chosen)" : ""}`, found.join(", ")] };
      });
    });
    return { root, targets };
  }

  // --- what a reader can do -----------------------------------------------------------------------------------------

  // Pointer and arrow keys find the points; the tip says their values.
  function explorable({ root, targets }, tip, width) {
    const halo = root.appendChild(svg("circle", { class: "halo", r: 8, visibility: "hidden" }));
    let current = -1;
    function show(i) {
      current = i;
      const target = targets[i];
      tip.hidden = !target;
      halo.setAttribute("visibility", target ? "visible" : "hidden");
      if (!target) return;
      filled(halo, { cx: target.x, cy: target.y }, []);
      tip.replaceChildren(...target.said.map((text, row) => html(row ? "span" : "strong", {}, text)));
      const { clientWidth: wide } = root.parentNode;
      tip.style.left = `${clamp((target.x * wide) / width + 12, 0, wide - tip.offsetWidth)}px`;
      tip.style.top = `${(target.y * wide) / width + 14}px`;
    }
    function nearest(event) {
      const box = root.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top].map((at) => (at * width) / box.width);
      const away = targets.map((target) => Math.hypot(target.x - x, target.y - y));
      const best = Math.min(...away);
      show(best < 40 ? away.indexOf(best) : -1);
    }
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Escape: 0 };
    root.addEventListener("pointermove", nearest);
    root.addEventListener("pointerdown", nearest);
    root.addEventListener("pointerleave", () => show(-1));
    root.addEventListener("blur", () => show(-1));
    root.addEventListener("keydown", (event) => {
      if (!(event.key in steps) || !targets.length) return;
      event.preventDefault();
      show(steps[event.key] ? (Math.max(current + steps[event.key], -1) + targets.length) % targets.length : -1);
    });
  }

  function select(title, name, options, choice, change) {
    const box = html("select", { name }, ...options.map((one) => html("option", { value: one.name }, one.label)));
    box.value = choice[name];
    box.addEventListener("change", () => {
      choice[name] = box.value;
      change();
    });
    return html("label", {}, title, " ", box);
  }

  // Which arms are shown, in every chart alike.
  function legend() {
    const best = Math.max(...arms.map((arm) => arm.mean));
    const near = (arm) => arm.mean > best - 0.1;
    const wishes = { all: () => true, none: () => false, "within 10 points of the best": near };
    const only = (wanted) => () => arms.forEach((arm) => (wanted(arm) ? hidden.delete(arm) : hidden.add(arm)));
    function button(name, change, ...inside) {
      const made = html("button", { type: "button", class: name }, ...inside);
      made.addEventListener("click", () => (change(), redraw()));
      return made;
    }
    const toggles = arms.map((arm) => {
      const box = { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" };
      const sample = svg("svg", box, curve(arm, [[0, 6], [34, 6]]), marker(arm, 17, 6));
      return button("arm", () => hidden.delete(arm) || hidden.add(arm), sample, arm.name);
    });
    redraws.push(() => toggles.forEach((toggle, i) => toggle.setAttribute("aria-pressed", !hidden.has(arms[i]))));
    const sets = arms.length > 3 ? Object.entries(wishes).map(([text, wanted]) => button("all", only(wanted), text)) : [];
    return html("div", { class: "legend", role: "group", "aria-label": "Arms shown" }, ...toggles, ...sets);
  }
  const folded = () => (arms.length > 1 ? [html("details", {}, html("summary", {}, "arms"), legend())] : []);

  const key = ({ parts }) => {
    const block = (part, i) => html("i", { class: `block p${i % 8} ${part.pale ? "pale" : ""}` });
    return html("div", { class: "legend" }, ...parts.map((part, i) => html("span", {}, block(part, i), part.label)));
  };

  function chart(name, draw, controls = () => [], choice = {}) {
    const figure = document.querySelector(`[data-chart="${name}"]`);
    if (!figure) return;
    const [tip, plot] = [html("div", { class: "tip", role: "status" }), html("div", { class: "plot" })];
    let drawn = 0; // the width
    function update() {
      drawn = plot.clientWidth;
      const picture = draw(drawn, choice);
      tip.hidden = true;
      plot.replaceChildren(picture.root, tip);
      explorable(picture, tip, drawn);
    }
    figure.hidden = false;
    figure.prepend(html("div", { class: "controls" }, ...controls(choice, update)), plot);
    redraws.push(update);
    new ResizeObserver(() => plot.clientWidth && plot.clientWidth !== drawn && update()).observe(plot);
  }

  const unit = (choice, change) => select("against", "unit", data.units, choice, change);
  const set = (choice, change) => select("on", "set", data.sets, choice, change);
  const priced = { unit: data.budget === "flops" ? "device_seconds" : "flops" };
  chart("curves", curves, (...way) => [set(...way), unit(...way), legend()], { unit: data.budget, set: data.endpoint });
  chart("cost", cost, (...way) => [unit(...way), ...folded()], priced);
  chart("seeds", seeds, folded);
  chart("memory", stacked(data.memory), () => [key(data.memory)]);
  chart("phases", stacked(data.phases), () => [key(data.phases)]);
  chart("tuning", tuning);
  redraw();
})();
