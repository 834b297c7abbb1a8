// Numbers on the screen: text, tables of small arrays, heat maps of large ones.

/** An element with attributes (on… are listeners), and children that are elements or text. Text is never HTML. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same for drawings. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat(Infinity));
  return element;
}

/** Up to four significant digits, as one writes them: 0.3333, −2, 1.2×10⁻⁹. */
function format(x, digits = 4) {
  if (x === null || x === undefined) return "–";
  if (typeof x === "boolean") return x ? "true" : "false";
  if (Number.isNaN(x)) return "NaN";
  const sign = x < 0 || Object.is(x, -0) ? "−" : "";
  const size = Math.abs(x);
  if (size === Infinity) return `${sign}∞`;
  if (size === 0) return `${sign}0`;
  if (Number.isInteger(size) && size < 1e6) return sign + size;
  if (size >= 1e-4 && size < 1e6) return sign + String(Number(size.toPrecision(digits)));
  const [mantissa, power] = size.toExponential(digits - 2).split("e");
  const raised = [...String(Number(power))].map(c => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");
  return `${sign}${Number(mantissa)}×10${raised}`;
}

const formatShape = shape => (shape.length ? `(${shape.join(", ")}${shape.length === 1 ? "," : ""})` : "scalar");

const formatBytes = bytes =>
  bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${format(bytes / 1e3, 3)} kB` : `${format(bytes / 1e6, 3)} MB`;

const formatSeconds = seconds =>
  seconds < 1e-3
    ? `${format(seconds * 1e6, 3)} µs`
    : seconds < 1
      ? `${format(seconds * 1e3, 3)} ms`
      : `${format(seconds, 3)} s`;

/** "[1, 2]" for element 5 of a tensor of shape (2, 3). */
function place(element, shape) {
  const index = [];
  for (let dim = shape.length - 1, rest = element; dim >= 0; dim--) {
    index.unshift(rest % shape[dim]);
    rest = Math.floor(rest / shape[dim]);
  }
  return shape.length ? `[${index.join(", ")}]` : "";
}

// Colours -------------------------------------------------------------------------------------------------------------
// Both maps keep their order for every kind of colour vision: cividis, and blue–orange around a neutral 0.

const CIVIDIS = [
  "#00224e",
  "#123570",
  "#3b496c",
  "#575d6d",
  "#707173",
  "#8a8678",
  "#a59c74",
  "#c3b369",
  "#e1cc55",
  "#fee838",
];
const DIVERGING = {
  light: ["#0b4a8f", "#5b9bd5", "#f4f4f2", "#eb9c4d", "#9c4500"],
  dark: ["#8ec8ff", "#2f6fb3", "#23262b", "#b5661c", "#ffb366"],
};

const parseColour = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));

/** The colour at `t`, from 0 to 1, of a list of colours. */
function mix(colours, t) {
  const position = Math.min(Math.max(t, 0), 1) * (colours.length - 1);
  const i = Math.min(Math.floor(position), colours.length - 2);
  const [a, b] = [parseColour(colours[i]), parseColour(colours[i + 1])];
  return a.map((channel, c) => Math.round(channel + (b[c] - channel) * (position - i)));
}

const isDark = () =>
  document.documentElement.dataset.theme === "dark" ||
  (document.documentElement.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

/** Which colours numbers get, and which numbers are at the ends of the map. */
function scaleFor(numbers, { image = false, signed = false } = {}) {
  const finite = numbers.filter(Number.isFinite);
  const low = finite.reduce((a, b) => Math.min(a, b), Infinity);
  const high = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!finite.length) return { low: 0, high: 0, colours: CIVIDIS, name: "no finite numbers" };
  if (image) return { low, high, colours: ["#000000", "#ffffff"], name: "grey" };
  if (low < 0 || signed) {
    const end = Math.max(-low, high);
    return {
      low: -end,
      high: end,
      colours: DIVERGING[isDark() ? "dark" : "light"],
      name: "blue below 0, orange above",
    };
  }
  return { low, high, colours: CIVIDIS, name: "cividis" };
}

const NOT_FINITE = [214, 0, 140];

const colourOf = (x, scale) =>
  !Number.isFinite(x)
    ? NOT_FINITE
    : mix(scale.colours, scale.high > scale.low ? (x - scale.low) / (scale.high - scale.low) : 0.5);

// Arrays --------------------------------------------------------------------------------------------------------------

/** The numbers of a picture: float16, scaled, in base64 (page.py packs them). */
function unpack(picture) {
  if (picture.numbers) return picture.numbers.map(toNumber);
  const bytes = Uint8Array.from(atob(picture.half), c => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const numbers = [];
  for (let i = 0; i < bytes.length; i += 2) {
    const bits = view.getUint16(i, true);
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    const size =
      exponent === 31
        ? fraction
          ? NaN
          : Infinity
        : exponent
          ? 2 ** (exponent - 15) * (1 + fraction / 1024)
          : 2 ** -14 * (fraction / 1024);
    numbers.push(sign * size * picture.scale);
  }
  return numbers;
}

/** A heat map with its legend; the pointer reads the numbers. */
function heatMap(values) {
  const { picture } = values;
  const numbers = unpack(picture);
  const scale = scaleFor(numbers, { image: picture.image });
  const canvas = h("canvas", {
    width: picture.columns,
    height: picture.rows,
    class: "heat",
    role: "img",
    "aria-label":
      `${picture.image ? "Image" : "Heat map"}, ${picture.rows} by ${picture.columns}, ` +
      `from ${format(scale.low)} to ${format(scale.high)}`,
  });
  const size = Math.max(1, Math.min(8, Math.floor(224 / Math.max(picture.rows, picture.columns)))) || 1;
  canvas.style.width = `${Math.max(picture.columns * size, 24)}px`;
  canvas.style.aspectRatio = `${picture.columns} / ${picture.rows}`;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(picture.columns, picture.rows);
  numbers.forEach((x, i) => pixels.data.set([...colourOf(x, scale), 255], 4 * i));
  context.putImageData(pixels, 0, 0);
  const reading = h("span", { class: "reading" }, picture.of || " ");
  canvas.addEventListener("pointermove", event => {
    const box = canvas.getBoundingClientRect();
    const row = Math.min(Math.floor(((event.clientY - box.top) / box.height) * picture.rows), picture.rows - 1);
    const column = Math.min(
      Math.floor(((event.clientX - box.left) / box.width) * picture.columns),
      picture.columns - 1,
    );
    reading.textContent = `row ${row}, column ${column}: ${format(numbers[row * picture.columns + column], 3)}`;
  });
  canvas.addEventListener("pointerleave", () => (reading.textContent = picture.of || " "));
  return h("div", { class: "map" }, canvas, legend(scale), reading);
}

function legend(scale) {
  const stops = Array.from({ length: 9 }, (_, i) => `rgb(${mix(scale.colours, i / 8)})`);
  const middle = scale.low === -scale.high ? "0" : "";
  return h(
    "div",
    { class: "legend", title: scale.name },
    h("span", { class: "ramp", style: `background: linear-gradient(to right, ${stops})` }),
    h(
      "span",
      { class: "ends" },
      h("span", {}, format(scale.low, 3)),
      h("span", {}, middle),
      h("span", {}, format(scale.high, 3)),
    ),
  );
}

/**
 * A small array as a table of buttons, one for each element, on their colours.
 *
 * `choice` is {marked: Set of elements, chosen: element or null, choose: element => …}.
 */
function numberTable(values, name, choice) {
  const numbers = numbersOf(values);
  const { shape } = values;
  const columns = shape.length ? shape[shape.length - 1] : 1;
  const scale = scaleFor(numbers, { signed: true });
  const cell = (x, i) => {
    const colour = colourOf(x, scale);
    return h(
      "td",
      {},
      h(
        "button",
        {
          type: "button",
          class: `number${choice.marked.has(i) ? " lit" : ""}`,
          title: String(x),
          style: numbers.length > 1 ? `background: color-mix(in srgb, rgb(${colour}) 30%, var(--panel))` : null,
          "aria-pressed": String(choice.chosen === i),
          "aria-label": `${name}${place(i, shape)} = ${format(x)}`,
          "data-element": i,
          onclick: () => choice.choose(i),
        },
        format(x),
      ),
    );
  };
  const rows = [];
  for (let i = 0; i < numbers.length; i += columns) {
    rows.push(
      h(
        "tr",
        { class: shape.length > 2 && i && i % (columns * shape[shape.length - 2]) === 0 ? "gap" : null },
        numbers.slice(i, i + columns).map((x, j) => cell(x, i + j)),
      ),
    );
  }
  return h("div", { class: "scroll" }, h("table", { class: "numbers", "aria-label": name }, h("tbody", {}, rows)));
}

/** A named array: shape, then its numbers or a heat map with a summary. */
function card(title, values, { choice = null, kind = "value", note = null } = {}) {
  const { summary } = values;
  const facts = [formatShape(values.shape), values.dtype];
  const body = [];
  if (values.numbers && values.numbers.length) body.push(numberTable(values, title, choice ?? NO_CHOICE));
  else if (values.picture) {
    body.push(heatMap(values));
    const share = x => `${format(100 * x, 3)}%`;
    body.push(
      h(
        "p",
        { class: "summary" },
        `${format(toNumber(summary.min))} … ${format(toNumber(summary.max))}, mean ${format(toNumber(summary.mean))}`,
        summary.zeros ? `, ${share(summary.zeros)} zeros` : "",
        summary.nonfinite ? h("strong", {}, `, ${share(summary.nonfinite)} NaN or infinite`) : "",
      ),
    );
  } else body.push(h("p", { class: "summary" }, "no elements"));
  return h(
    "figure",
    { class: `card of-${kind}` },
    h("figcaption", {}, h("b", {}, title), " ", h("span", { class: "facts" }, facts.join(" · "))),
    body,
    note ? h("p", { class: "note" }, note) : null,
  );
}

const NO_CHOICE = { marked: new Set(), chosen: null, choose: () => {} };
