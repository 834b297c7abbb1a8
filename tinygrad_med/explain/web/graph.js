// The graph: boxes that fold, placed like the cells of a table, of which only what is in sight is drawn.

const SIZE = { n: [148, 46], t: [120, 40], b: [186, 54] }; // width and height of an operation, a leaf, a folded box
const GAP = { row: 34, column: 18, pad: 16, head: 30, bend: 14 };
const OPEN_AT_FIRST = 40; // graphs of up to so many operations are open when the page opens
const DRAWN = 1500; // more than so many in sight are drawn as one shape

class Graph {
  /** `onChoose(name)` is called with "n3" or "t5" when one is clicked. */
  constructor(model, container, onChoose) {
    Object.assign(this, { model, container, onChoose });
    this.zoom = 1;
    this.elements = new Map(); // what is drawn: name to element
    this.focused = null; // the one that Tab reaches
    this.open = new Set([0]);
    const all = model.nodes.length <= OPEN_AT_FIRST;
    model.boxes.forEach((box, i) => {
      const root = box.module !== null && model.modules[box.module].parent === null;
      if (all ? box.walk === null : root) this.open.add(i);
    });
    this.wires = svg("svg", { class: "wires", "aria-hidden": "true" });
    this.canvas = h("div", { class: "canvas" }, this.wires);
    this.extent = h("div", { class: "extent" }, this.canvas);
    container.append(this.extent);
    container.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(container);
    this.canvas.addEventListener("click", event => this.#click(event.target.closest("[data-name]")));
    this.canvas.addEventListener("keydown", event => this.#key(event));
    this.canvas.addEventListener("focusin", event => {
      const element = event.target.closest("[data-name]");
      if (element) this.#focusOn(element.dataset.name, false);
    });
    this.#drag();
    this.arrange();
  }

  // Where everything is -----------------------------------------------------------------------------------------------

  /** Place all that is visible, from the innermost boxes outwards; then the wires. */
  arrange() {
    const { model } = this;
    this.rectangles = new Map(); // name: {x, y, width, height}, of all that is visible
    this.ports = model.boxes.map(() => new Map()); // per open box: "i3": {x, y}
    const plans = model.boxes.map(() => null);
    for (let i = model.boxes.length - 1; i >= 0; i--) if (this.open.has(i)) plans[i] = this.#plan(i, plans);
    this.size = plans[0];
    this.wired = [];
    const put = (i, x, y) => {
      const plan = plans[i];
      for (const [name, cell] of plan.cells) {
        const rectangle = { x: x + cell.x, y: y + cell.y, width: cell.width, height: cell.height };
        if (name[0] === "i" || name[0] === "o") {
          // a port lies on the box's border
          this.ports[i].set(name, { x: rectangle.x, y: name[0] === "i" ? y + (i ? GAP.head : 0) : y + plan.height });
          continue;
        }
        this.rectangles.set(name, rectangle);
        const inner = name[0] === "b" ? Number(name.slice(1)) : null;
        if (inner !== null && this.open.has(inner)) put(inner, rectangle.x, rectangle.y);
      }
      for (const [from, to, tensor, bends] of model.boxes[i].edges) {
        const points = [
          this.#anchor(i, from, tensor, "o"),
          ...bends.map(bend => plan.bend(bend, x, y)),
          this.#anchor(i, to, tensor, "i"),
        ];
        this.wired.push({ box: i, from, to, tensor, ...curve(points) });
      }
    };
    put(0, 0, 0);
    this.order = [...this.rectangles.keys()]; // for the keyboard: by time, leaves before what uses them
    const time = name => {
      if (name[0] === "n") return Number(name.slice(1));
      if (name[0] === "t") return model.tensors[name.slice(1)].dependents[0] - 0.5;
      return this.#firstIn(Number(name.slice(1))) - 0.7;
    };
    const times = new Map(this.order.map(name => [name, time(name)]));
    this.order.sort((a, b) => times.get(a) - times.get(b));
    this.#resize();
  }

  #firstIn(box) {
    this.first ??= new Map();
    if (!this.first.has(box)) {
      const inside = Object.keys(this.model.boxes[box].places);
      this.first.set(
        box,
        Math.min(
          ...inside.map(name =>
            name[0] === "n" ? Number(name.slice(1)) : name[0] === "b" ? this.#firstIn(Number(name.slice(1))) : Infinity,
          ),
        ),
      );
    }
    return this.first.get(box);
  }

  /**
   * One open box as a table: columns as wide, and rows as high, as the largest in them. A column's members stand on one
   * line, a box with the port of its result, so that what runs through them runs straight.
   */
  #plan(i, plans) {
    const box = this.model.boxes[i];
    const sizes = new Map();
    const [lefts, rights, heights] = [[], [], []]; // per column, what reaches to either side of its middle; per row
    for (const [name, [row, column]] of Object.entries(box.places)) {
      const inner = name[0] === "b" ? plans[Number(name.slice(1))] : null;
      const port = name[0] === "i" || name[0] === "o";
      const [width, height] = inner ? [inner.width, inner.height] : port ? [GAP.bend, 0] : SIZE[name[0]];
      const middle = inner ? inner.middle : width / 2;
      sizes.set(name, { row, column, width, height, middle });
      lefts[column] = Math.max(lefts[column] ?? 0, middle);
      rights[column] = Math.max(rights[column] ?? 0, width - middle);
      heights[row] = Math.max(heights[row] ?? 0, height);
    }
    box.edges.forEach(edge =>
      edge[3].forEach(([row, column]) => {
        lefts[column] = Math.max(lefts[column] ?? 0, GAP.bend / 2);
        rights[column] = Math.max(rights[column] ?? 0, GAP.bend / 2);
        heights[row] ??= 0;
      }),
    );
    const along = (lengths, gap, start) => {
      const starts = [];
      let at = start;
      for (let k = 0; k < lengths.length; k++) {
        starts[k] = at;
        at += (lengths[k] ?? 0) + gap;
      }
      return [starts, at - gap];
    };
    const [starts, right] = along(
      Array.from(lefts, (left, k) => (left ?? 0) + (rights[k] ?? 0)),
      GAP.column,
      GAP.pad,
    );
    const [tops, bottom] = along(heights, GAP.row, i ? GAP.head + 6 : GAP.pad);
    const middleOf = column => starts[column] + (lefts[column] ?? 0);
    const cells = [...sizes].map(([name, { row, column, width, height, middle }]) => [
      name,
      {
        x: name[0] === "i" || name[0] === "o" ? middleOf(column) : middleOf(column) - middle,
        y: tops[row] + (heights[row] - height) / 2,
        width,
        height,
      },
    ]);
    const port = cells.find(([name]) => name[0] === "o") ?? cells.find(([name]) => name[0] === "i");
    const total = Math.max(right + GAP.pad, i ? SIZE.b[0] + GAP.pad : 0);
    return {
      cells,
      width: total,
      height: bottom + (i ? 10 : GAP.pad),
      middle: port ? port[1].x : total / 2,
      bend: ([row, column], x, y) => ({ x: x + middleOf(column), y: y + tops[row] + (heights[row] ?? 0) / 2 }),
    };
  }

  /** Where a wire leaves something (side "o", below) or reaches it (side "i", above). */
  #anchor(box, name, tensor, side) {
    if (name[0] === "i" || name[0] === "o") return this.ports[box].get(name);
    const inner = name[0] === "b" ? Number(name.slice(1)) : null;
    const { x, y, width, height } = this.rectangles.get(name);
    const port = inner !== null && this.open.has(inner) ? this.ports[inner].get(side + tensor) : null;
    return { x: port ? port.x : x + width / 2, y: side === "o" ? y + height : port ? port.y : y };
  }

  // Folding and moving ------------------------------------------------------------------------------------------------

  /** Open or fold a box, which stays where it is on the screen. */
  fold(box, open = !this.open.has(box)) {
    const before = this.rectangles.get(`b${box}`);
    this.open[open ? "add" : "delete"](box);
    this.arrange();
    const after = this.rectangles.get(`b${box}`);
    this.container.scrollLeft += (after.x - before.x) * this.zoom;
    this.container.scrollTop += (after.y - before.y) * this.zoom;
    this.draw();
  }

  foldAll(open) {
    this.model.boxes.forEach((_, i) => i && this.open[open ? "add" : "delete"](i));
    this.arrange();
    this.draw();
  }

  /** What is visible of an operation or leaf: itself, or the folded box around it. */
  visible(name) {
    let shown = name;
    for (let box = this.model.boxOf.get(name); box > 0; box = this.model.boxOf.get(`b${box}`)) {
      if (!this.open.has(box)) shown = `b${box}`;
    }
    return shown;
  }

  reveal(name) {
    const rectangle = this.rectangles.get(this.visible(name));
    if (!rectangle) return;
    const { container, zoom } = this;
    const [x, y] = [(rectangle.x + rectangle.width / 2) * zoom, (rectangle.y + rectangle.height / 2) * zoom];
    const outside = (at, start, length) => at < start + 0.15 * length || at > start + 0.85 * length;
    if (outside(x, container.scrollLeft, container.clientWidth)) container.scrollLeft = x - container.clientWidth / 2;
    if (outside(y, container.scrollTop, container.clientHeight)) container.scrollTop = y - container.clientHeight / 2;
  }

  setZoom(zoom) {
    const { container } = this;
    const middle = [
      (container.scrollLeft + container.clientWidth / 2) / this.zoom,
      (container.scrollTop + container.clientHeight / 2) / this.zoom,
    ];
    this.zoom = Math.min(Math.max(zoom, 0.02), 3);
    this.#resize();
    container.scrollLeft = middle[0] * this.zoom - container.clientWidth / 2;
    container.scrollTop = middle[1] * this.zoom - container.clientHeight / 2;
    this.draw();
  }

  fit() {
    const { container, size } = this;
    this.setZoom(Math.min(container.clientWidth / size.width, container.clientHeight / size.height, 1.25));
  }

  fitWidth() {
    const zoom = this.container.clientWidth / this.size.width;
    this.setZoom(Math.min(Math.max(zoom, 0.6), 1));
  }

  #resize() {
    const { zoom, size } = this;
    this.extent.style.width = `${size.width * zoom}px`;
    this.extent.style.height = `${size.height * zoom}px`;
    this.canvas.style.transform = `scale(${zoom})`;
    this.wires.setAttribute("width", size.width);
    this.wires.setAttribute("height", size.height);
    this.canvas.classList.toggle("far", zoom < 0.35);
  }

  #drag() {
    const { container } = this;
    let start = null;
    container.addEventListener("pointerdown", event => {
      if (event.pointerType !== "mouse" || event.button || event.target.closest("button")) return;
      start = [event.clientX + container.scrollLeft, event.clientY + container.scrollTop];
      container.setPointerCapture(event.pointerId);
    });
    container.addEventListener("pointermove", event => {
      if (!start) return;
      container.scrollLeft = start[0] - event.clientX;
      container.scrollTop = start[1] - event.clientY;
    });
    container.addEventListener("pointerup", () => (start = null));
    container.addEventListener(
      "wheel",
      event => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.setZoom(this.zoom * Math.exp(-event.deltaY / 300));
      },
      { passive: false },
    );
  }

  #click(element) {
    if (!element) return;
    const { name } = element.dataset;
    if (name[0] === "b") this.fold(Number(name.slice(1)));
    else this.onChoose(name);
    this.#focusOn(name, true);
  }

  #key(event) {
    const here = event.target.closest("[data-name]");
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!here || !way) return;
    event.preventDefault();
    const next = this.order[this.order.indexOf(here.dataset.name) + way];
    if (next) this.#focusOn(next, true);
  }

  #focusOn(name, move) {
    this.focused = name;
    if (move) {
      this.reveal(name);
      this.draw();
      this.#button(name)?.focus({ preventScroll: true });
    } else {
      for (const other of this.elements.keys()) this.#button(other).tabIndex = other === name ? 0 : -1;
    }
  }

  // Drawing -----------------------------------------------------------------------------------------------------------

  /**
   * Show a state: `facts(name)` gives {title, detail, gradient, classes, label} for "n3" and "t5", and `wire(tensor,
   * from, to)` the class of a wire.
   */
  show(state) {
    this.state = state;
    this.draw();
  }

  #soon() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  draw() {
    if (!this.state) return;
    const { container, zoom } = this;
    const margin = 200;
    const view = {
      left: container.scrollLeft / zoom - margin,
      top: container.scrollTop / zoom - margin,
      right: (container.scrollLeft + container.clientWidth) / zoom + margin,
      bottom: (container.scrollTop + container.clientHeight) / zoom + margin,
    };
    const inSight = ({ x, y, width, height }) =>
      x < view.right && x + width > view.left && y < view.bottom && y + height > view.top;
    const shown = [...this.rectangles].filter(([, rectangle]) => inSight(rectangle));
    this.#drawWires(this.wired.filter(inSight), shown.length > DRAWN ? shown : []);
    const keep = new Set(shown.length > DRAWN ? [] : shown.map(([name]) => name));
    if (!keep.has(this.focused)) this.focused = this.order.find(name => keep.has(name)) ?? null;
    for (const [name, element] of this.elements) {
      if (!keep.has(name)) {
        element.remove();
        this.elements.delete(name);
      }
    }
    if (shown.length > DRAWN) return;
    for (const [name, rectangle] of shown) {
      if (!this.elements.has(name)) {
        this.elements.set(name, this.#element(name));
        this.canvas.append(this.elements.get(name));
      }
      this.#update(name, this.elements.get(name), rectangle);
    }
  }

  /** What can be pressed: an operation or a leaf itself, and the head of a box. */
  #button(name) {
    const element = this.elements.get(name);
    return name[0] === "b" ? element?.firstChild : element;
  }

  #element(name) {
    const button = h(
      "button",
      { type: "button", "data-name": name },
      h("span", { class: "title" }),
      h("span", { class: "detail" }),
      h("span", { class: "arrived" }),
    );
    return name[0] === "b" ? h("div", { class: "box", "data-box": name }, button) : button;
  }

  #update(name, element, { x, y, width, height }) {
    const isBox = name[0] === "b";
    const isOpen = isBox && this.open.has(Number(name.slice(1)));
    const facts = this.state.facts(name, isOpen);
    const button = this.#button(name);
    Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
    element.className = `${isBox ? `box ${isOpen ? "open" : "folded"}` : name[0] === "n" ? "node" : "leaf"} ${facts.classes}`;
    const texts = [facts.title, facts.detail, facts.gradient];
    [...button.children].forEach((span, i) => {
      if (span.textContent !== texts[i]) span.textContent = texts[i];
    });
    button.setAttribute("aria-label", facts.label);
    button.tabIndex = name === this.focused ? 0 : -1;
    if (isBox) button.setAttribute("aria-expanded", String(isOpen));
    if (facts.current) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }

  /** One path for all wires that look the same; and, from far away, one for all nodes that do. */
  #drawWires(wires, nodes) {
    const groups = new Map();
    const add = (kind, path) => groups.set(kind, (groups.get(kind) ?? "") + path);
    for (const wire of wires) add(`wire ${this.state.wire(wire)}`, wire.path);
    for (const [name, { x, y, width, height }] of nodes) {
      const { classes } = this.state.facts(name, name[0] === "b" && this.open.has(Number(name.slice(1))));
      add(`dot ${classes}`, `M${x} ${y}h${width}v${height}h${-width}z`);
    }
    const order = kind => ["lit", "active"].findIndex(word => kind.includes(word)); // those on top come last
    this.wires.replaceChildren(
      ...[...groups]
        .sort(([a], [b]) => order(a) - order(b))
        .map(([kind, path]) => svg("path", { class: kind, d: path })),
    );
  }
}

/** A smooth line through points that go downwards, and the rectangle that it fills. */
function curve(points) {
  let path = `M${points[0].x} ${points[0].y}`;
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]];
    const bend = Math.max(Math.abs(b.y - a.y) / 2, 12);
    path += `C${a.x} ${a.y + bend} ${b.x} ${b.y - bend} ${b.x} ${b.y}`;
  }
  const [xs, ys] = [points.map(p => p.x), points.map(p => p.y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { path, x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}
