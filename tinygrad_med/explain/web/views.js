// The whole at a glance: the gradient of each parameter, the memory that is kept, the time of each operation.

/** Horizontal bars with a label and a number each; `value` may be on a logarithmic scale. */
function bars(rows, { logarithmic = false, text, label }) {
  const positive = rows.flatMap(row => row.parts.map(part => part.value)).filter(x => x > 0 && Number.isFinite(x));
  const totals = rows.map(row => row.parts.reduce((sum, part) => sum + part.value, 0)).filter(Number.isFinite);
  const high = Math.max(...(logarithmic ? positive : totals), Number.MIN_VALUE);
  const low = logarithmic ? Math.min(...positive, high / 10) / 2 : 0;
  const share = x =>
    x > low ? (logarithmic ? Math.log(x / low) / Math.log(high / low) : (x - low) / (high - low)) : 0;
  return h(
    "div",
    { class: "bars", role: "list", "aria-label": label },
    rows.map(row =>
      h(
        "button",
        { type: "button", role: "listitem", class: "bar-row", onclick: row.go, title: row.title ?? null },
        h("span", { class: "name" }, row.name),
        h(
          "span",
          { class: "line" },
          row.parts.map(part => h("span", { class: `fill ${part.kind}`, style: `width: ${100 * share(part.value)}%` })),
        ),
        h(
          "span",
          { class: `amount${row.alarm ? " alarm" : ""}` },
          row.text ?? text(row.parts.reduce((sum, part) => sum + part.value, 0)),
        ),
      ),
    ),
  );
}

/** √(mean of g²), the share of zeros, and whether there is a NaN or an infinity; a small array has no summary. */
function sizeOf(values) {
  const numbers = numbersOf(values);
  const size = values.shape.reduce((a, b) => a * b, 1) || 1;
  if (!numbers) {
    const { norm, zeros, nonfinite } = values.summary;
    return { norm: norm / Math.sqrt(size), zeros, broken: nonfinite > 0 };
  }
  return {
    norm: Math.hypot(...numbers) / Math.sqrt(size),
    zeros: numbers.filter(x => x === 0).length / size,
    broken: !numbers.every(Number.isFinite),
  };
}

function gradientsView(model, app) {
  const walk = [...model.walks].reverse().find(w => w.steps.some(step => step.node === null));
  if (!walk) return [h("p", {}, "No walk brought a gradient to a leaf.")];
  const rows = walk.steps
    .filter(step => step.node === null)
    .map(step => {
      const { norm, zeros, broken } = sizeOf(step.upstream);
      const moment = model.moments.findIndex(m => m.step === step);
      return {
        name: model.nameOf(step.tensor),
        go: () => app.go(moment),
        order: model.tensors[step.tensor].dependents[0] ?? 0,
        parts: [{ value: norm, kind: "backward" }],
        alarm: broken || norm === 0,
        text: broken ? "NaN or ∞" : norm === 0 ? "0" : undefined,
        title: `${formatShape(step.upstream.shape)}, ${format(100 * zeros, 3)}% zeros`,
      };
    })
    .sort((a, b) => a.order - b.order);
  return [
    h(
      "p",
      {},
      "The size of each leaf’s gradient, √(mean of g²), on a logarithmic scale, in the order of the forward pass. Bars that " +
        "shrink towards the top are a vanishing gradient, bars that grow an exploding one.",
    ),
    bars(rows, { logarithmic: true, text: x => format(x, 3), label: "Gradient size per leaf" }),
  ];
}

function memoryView(model, app) {
  let kept = 0;
  const levels = model.moments.map(
    ({ node, step }) => (kept += node ? (node.recorded ? node.saved_bytes : 0) : -step.freed_bytes),
  );
  const high = Math.max(...levels, 1);
  const peak = levels.indexOf(high);
  const [width, height] = [600, 220];
  const x = i => (levels.length > 1 ? (i / (levels.length - 1)) * width : width / 2);
  const y = bytes => height - (bytes / high) * (height - 20);
  const line = levels.map((bytes, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(bytes).toFixed(1)}`).join("");
  const boundary = model.moments.findIndex(moment => moment.step);
  const chart = svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height + 4}`,
      class: "chart",
      role: "img",
      preserveAspectRatio: "none",
      "aria-label": `Bytes kept for the walk back: at most ${formatBytes(high)}, at step ${peak + 1}`,
    },
    svg("path", { class: "area", d: `${line}L${x(levels.length - 1)} ${height}L${x(0)} ${height}Z` }),
    svg("path", { class: "line", d: line }),
    boundary > 0 ? svg("line", { class: "boundary", x1: x(boundary), x2: x(boundary), y1: 0, y2: height }) : [],
    svg("line", { class: "now", x1: x(app.moment), x2: x(app.moment), y1: 0, y2: height }),
  );
  chart.addEventListener("click", event => {
    const box = chart.getBoundingClientRect();
    app.go(Math.round(((event.clientX - box.left) / box.width) * (levels.length - 1)));
  });
  return [
    h(
      "p",
      {},
      "What the operations keep for the walk back: it grows forward, and the walk frees it. Inputs and parameters that someone " +
        "else holds count too.",
    ),
    chart,
    h(
      "div",
      { class: "axis" },
      h("span", {}, "step 1"),
      h("span", {}, boundary > 0 ? `the walk back begins at step ${boundary + 1}` : ""),
      h("span", {}, `step ${levels.length}`),
    ),
    h(
      "p",
      {},
      "Most, ",
      h("b", {}, formatBytes(levels[peak])),
      ", is kept at ",
      h("a", { href: `#step=${peak + 1}` }, `step ${peak + 1}`),
      "; now, at step ",
      String(app.moment + 1),
      ", ",
      h("b", {}, formatBytes(levels[app.moment])),
      ".",
    ),
  ];
}

function timeView(model, app) {
  const groups = new Map();
  model.moments.forEach(({ node, step }, i) => {
    const of = node ?? (step.node === null ? null : model.nodes[step.node]);
    if (!of) return;
    const name = model.label(of);
    if (!groups.has(name)) groups.set(name, { forward: 0, backward: 0, count: 0, slowest: i, most: 0 });
    const found = groups.get(name);
    const seconds = node ? node.seconds : step.seconds;
    found[node ? "forward" : "backward"] += seconds;
    found.count += node ? 1 : 0;
    if (seconds > found.most) [found.most, found.slowest] = [seconds, i];
  });
  const rows = [...groups]
    .map(([name, { forward, backward, count, slowest }]) => ({
      name: `${name} × ${count}`,
      go: () => app.go(slowest),
      total: forward + backward,
      title: `forward ${formatSeconds(forward)}, back ${formatSeconds(backward)}; goes to the slowest`,
      parts: [
        { value: forward, kind: "forward" },
        { value: backward, kind: "backward" },
      ],
    }))
    .sort((a, b) => b.total - a.total);
  const sum = rows.reduce((total, row) => total + row.total, 0);
  return [
    h(
      "p",
      {},
      `Time per operation, `,
      h("span", { class: "forward-word" }, "forward"),
      " and ",
      h("span", { class: "gradient-word" }, "back"),
      `: ${formatSeconds(sum)} in all, under watch (watching itself takes time that is not counted here).`,
    ),
    bars(rows, { text: formatSeconds, label: "Time per operation" }),
  ];
}
