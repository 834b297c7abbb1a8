// The page: one moment at a time, chosen by the scrubber, the keys, the graph or a link; all else follows from it.

const byId = id => document.getElementById(id);

class App {
  constructor(trace) {
    this.model = new Model(trace);
    this.moment = 0;
    this.chosen = null; // {tensor, element}
    this.marked = new Map(); // tensor: the elements that the chosen one depends on, or that depend on it
    this.view = "step";
    this.graph = new Graph(this.model, byId("graph"), name => this.#visit(name));
    this.pane = new StepPane(this.model, byId("step-pane"), this);
    this.#controls();
    this.#tabs();
    addEventListener("hashchange", () => this.#fromHash());
    addEventListener("click", event => {
      // inside a notebook's frame such a link would leave the page
      const link = event.target.closest?.('a[href^="#step="]');
      if (!link) return;
      event.preventDefault();
      this.#tab("step");
      this.go(Number(link.hash.slice(6)) - 1);
    });
    addEventListener("resize", () => this.#phases());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.render());
    this.graph.fitWidth();
    if (!this.#fromHash()) this.go(0, false);
  }

  // The moment --------------------------------------------------------------------------------------------------------

  /** Go to a moment. A link to it stands in the address. */
  go(moment, remember = true) {
    this.moment = Math.min(Math.max(moment, 0), this.model.moments.length - 1);
    if (remember && location.protocol !== "about:") history.replaceState(null, "", `#step=${this.moment + 1}`);
    this.render();
    this.graph.reveal(this.#current());
  }

  #fromHash() {
    const found = /^#step=(\d+)$/.exec(location.hash);
    if (found) {
      this.#tab("step");
      this.go(Number(found[1]) - 1, false);
    }
    return found !== null;
  }

  #current() {
    const { node, step } = this.model.moments[this.moment];
    return node ? `n${node.id}` : step.node === null ? `t${step.tensor}` : `n${step.node}`;
  }

  /** A click in the graph: its step in the phase that is on show; or an element, if it has but one. */
  #visit(name) {
    const { model } = this;
    const tensor = name[0] === "n" ? model.nodes[name.slice(1)].output : Number(name.slice(1));
    const walk = model.moments[this.moment].walk;
    const backward = model.moments.findIndex(m => m.step?.tensor === tensor && (!walk || m.walk === walk));
    const target = name[0] === "n" && !walk ? model.momentOfNode.get(Number(name.slice(1))) : backward;
    this.#tab("step");
    if (target >= 0) this.go(target);
    if (model.tensors[tensor].values.numbers?.length === 1) this.choose(tensor, 0);
    else if (target < 0 && model.tensors[tensor].values.numbers) this.choose(tensor, 0);
  }

  /** Choose an element, or none: `choose(null)`. */
  choose(tensor, element = 0) {
    const same = this.chosen?.tensor === tensor && this.chosen.element === element;
    this.chosen = tensor === null || same ? null : { tensor, element };
    this.marked = new Map();
    if (this.chosen) {
      for (const next of [this.model.links, this.model.sources]) {
        for (const [t, elements] of this.model.reach(tensor, element, next)) {
          this.marked.set(t, new Set([...(this.marked.get(t) ?? []), ...elements]));
        }
      }
    }
    const focus = document.activeElement;
    const place =
      focus?.dataset?.element !== undefined
        ? [focus.closest("table").getAttribute("aria-label"), focus.dataset.element]
        : null;
    this.render();
    if (place) {
      // the table was drawn anew
      const tables = [...document.querySelectorAll("#step-pane table.numbers")];
      tables
        .find(table => table.getAttribute("aria-label") === place[0])
        ?.querySelector(`[data-element="${place[1]}"]`)
        ?.focus({ preventScroll: true });
    }
  }

  // What is on show ---------------------------------------------------------------------------------------------------

  render() {
    const { model } = this;
    const moment = model.moments[this.moment];
    byId("position").value = this.moment;
    const what = this.#describe(moment);
    byId("where").textContent = `${this.moment + 1} / ${model.moments.length}`;
    byId("position").setAttribute("aria-valuetext", `step ${this.moment + 1} of ${model.moments.length}: ${what}`);
    if (!this.playing) byId("announcer").textContent = `Step ${this.moment + 1}: ${what}`;
    byId("back").disabled = byId("first").disabled = this.moment === 0;
    byId("forward").disabled = byId("last").disabled = this.moment === model.moments.length - 1;
    if (this.view === "step") this.pane.show();
    if (this.view === "gradients") byId("gradients-pane").replaceChildren(...gradientsView(model, this));
    if (this.view === "memory") byId("memory-pane").replaceChildren(...memoryView(model, this));
    if (this.view === "time") byId("time-pane").replaceChildren(...timeView(model, this));
    this.#showGraph();
    this.#phases();
  }

  #describe({ node, step }) {
    if (node) return `forward, ${this.model.label(node)}`;
    return step.node === null
      ? `the gradient of ${this.model.nameOf(step.tensor)}`
      : `backward, ${this.model.label(this.model.nodes[step.node])}`;
  }

  #showGraph() {
    const { model } = this;
    const moment = model.moments[this.moment];
    const walk = model.walkAt(this.moment);
    const currentName = this.graph.visible(this.#current());
    const computed = tensor => {
      const { node } = model.tensors[tensor];
      return node === null || (model.momentOfNode.get(node) ?? Infinity) <= this.moment;
    };
    const gradient = tensor => {
      const found = model.gradientAt(tensor, this.moment);
      return found && found.walk === walk ? found.step : null;
    };
    const receivers = new Set(); // tensors that the current step contributes to
    if (moment.step) moment.step.contributions.forEach(c => c && receivers.add(c.tensor));
    const used = new Set(moment.node ? moment.node.operands.map(operand => operand.tensor) : []);

    const facts = (name, isOpen) => {
      const id = Number(name.slice(1));
      const current = name === currentName;
      if (name[0] === "b")
        return {
          ...this.#boxFacts(id, isOpen, computed, gradient),
          current: current && !isOpen,
          ...(current && !isOpen
            ? { classes: `${this.#boxFacts(id, isOpen, computed, gradient).classes} current` }
            : {}),
        };
      const tensor = name[0] === "n" ? model.nodes[id].output : id;
      const { values, kind } = model.tensors[tensor];
      const step = gradient(tensor);
      const done = computed(tensor);
      const single = values.numbers?.length === 1;
      const inModule = name[0] === "t" && model.boxes[model.boxOf.get(name)].module !== null; // whose box says the rest
      const title = inModule
        ? model.nameOf(tensor).split(".").pop()
        : name[0] === "t"
          ? model.nameOf(tensor)
          : this.#nodeTitle(id);
      const detail = single ? (done ? format(toNumber(values.numbers[0])) : "…") : formatShape(values.shape);
      const g = !step
        ? ""
        : single && step.upstream.numbers
          ? `∂ ${format(toNumber(step.upstream.numbers[0]))}`
          : "∂ ✓";
      const classes = [
        kind,
        done ? "done" : "future",
        step ? "has-gradient" : "",
        current ? "current" : "",
        moment.step && current ? "walking" : "",
        this.marked.has(tensor) ? "lit" : "",
      ].join(" ");
      return {
        title,
        detail,
        gradient: g,
        classes,
        current,
        label: `${inModule ? model.nameOf(tensor) : title}, ${detail}${step ? `, gradient ${g.slice(2)}` : ""}${current ? ", this step" : ""}`,
      };
    };
    const wire = ({ from, to, tensor }) => {
      const lit = this.marked.has(tensor) && this.#wireIsLit(tensor, from, to) ? "lit" : "";
      const active =
        receivers.has(tensor) && this.#touches(to, currentName, moment)
          ? "active"
          : used.has(tensor) && this.#touches(to, currentName, moment)
            ? "flowing"
            : "";
      const dead = model.tensors[tensor].requires_grad ? "" : "dead";
      return `${computed(tensor) ? "done" : "future"} ${gradient(tensor) ? "has-gradient" : ""} ${dead} ${active} ${lit}`;
    };
    this.graph.show({ facts, wire });
  }

  /** Whether a wire's end belongs to the operation on show: it, a folded box with it, or the way into a box with it. */
  #touches(to, currentName, moment) {
    const node = moment.node ?? (moment.step.node === null ? null : this.model.nodes[moment.step.node]);
    if (!node) return false;
    if (to === `n${node.id}` || to === currentName) return true;
    for (let box = this.model.boxOf.get(`n${node.id}`); box > 0; box = this.model.boxOf.get(`b${box}`))
      if (to === `b${box}`) return true;
    return false;
  }

  #wireIsLit(tensor, from, to) {
    if (to[0] === "n") return this.marked.has(this.model.nodes[to.slice(1)].output);
    if (to[0] === "b")
      return this.#inside(Number(to.slice(1))).some(
        id =>
          this.marked.has(this.model.nodes[id].output) &&
          this.model.nodes[id].operands.some(operand => operand.tensor === tensor),
      );
    return true;
  }

  #nodeTitle(id) {
    const node = this.model.nodes[id];
    const name = this.model.tensors[node.output].name;
    return name ? `${name} = ${this.model.label(node)}` : this.model.label(node);
  }

  /** The operations in a box, in the boxes in it too. */
  #inside(box) {
    this.operations ??= new Map();
    if (!this.operations.has(box)) {
      this.operations.set(
        box,
        Object.keys(this.model.boxes[box].places).flatMap(name =>
          name[0] === "n" ? [Number(name.slice(1))] : name[0] === "b" ? this.#inside(Number(name.slice(1))) : [],
        ),
      );
    }
    return this.operations.get(box);
  }

  #boxFacts(id, isOpen, computed, gradient) {
    const { model } = this;
    const box = model.boxes[id];
    const module = box.module === null ? null : model.modules[box.module];
    const title = module ? module.name : `walk ${box.walk + 1}`;
    const kind = module ? module.kind : "the gradient’s own graph";
    const inside = this.#inside(id);
    const outputs = inside.map(node => model.nodes[node].output);
    const detail = isOpen ? kind : `${kind} · ${inside.length} ${inside.length === 1 ? "op" : "ops"}`;
    const arrived = outputs.filter(gradient).length;
    const needed = outputs.filter(tensor => model.tensors[tensor].requires_grad).length;
    const classes = [
      outputs.every(computed) ? "done" : outputs.some(computed) ? "partly" : "future",
      arrived && arrived >= needed ? "has-gradient" : arrived ? "some-gradient" : "",
      !isOpen && outputs.some(tensor => this.marked.has(tensor)) ? "lit" : "",
    ].join(" ");
    return {
      title: `${isOpen ? "▾" : "▸"} ${title}`,
      detail,
      gradient: isOpen || !arrived ? "" : arrived >= needed ? "∂ ✓" : "∂ …",
      classes,
      label: `module ${title}, ${kind}, ${inside.length} operations`,
    };
  }

  // The controls ------------------------------------------------------------------------------------------------------

  #controls() {
    const slider = byId("position");
    slider.max = this.model.moments.length - 1;
    slider.addEventListener("input", () => this.go(Number(slider.value)));
    const actions = {
      first: () => this.go(0),
      back: () => this.go(this.moment - 1),
      forward: () => this.go(this.moment + 1),
      last: () => this.go(this.model.moments.length - 1),
      play: () => this.#play(),
      fold: () => this.graph.foldAll(false),
      unfold: () => this.graph.foldAll(true),
      smaller: () => this.graph.setZoom(this.graph.zoom / 1.25),
      larger: () => this.graph.setZoom(this.graph.zoom * 1.25),
      fit: () => this.graph.fit(),
    };
    for (const [id, action] of Object.entries(actions)) {
      byId(id).addEventListener("click", () => {
        if (["first", "back", "forward", "last"].includes(id)) this.#stop();
        action();
        if (["fold", "unfold"].includes(id)) {
          this.render();
          this.graph.reveal(this.#current());
        }
      });
    }
    byId("speed").addEventListener("change", () => this.playing && (this.#stop(), this.#play()));
    const keys = { ArrowLeft: "back", ArrowRight: "forward", Home: "first", End: "last", " ": "play" };
    addEventListener("keydown", event => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const { target } = event;
      if (target.matches("input, select, [role=tab]") || (event.key === " " && target.matches("button, summary, a")))
        return;
      if (event.key === "Escape") this.choose(null);
      if (!keys[event.key]) return;
      event.preventDefault();
      byId(keys[event.key]).click();
    });
  }

  #play() {
    if (this.playing) {
      this.#stop();
      return;
    }
    if (this.moment === this.model.moments.length - 1) this.go(0);
    this.playing = setInterval(
      () => {
        this.go(this.moment + 1);
        if (this.moment === this.model.moments.length - 1) this.#stop();
      },
      1000 / Number(byId("speed").value),
    );
    byId("play").textContent = "Pause";
    byId("play").setAttribute("aria-pressed", "true");
  }

  #stop() {
    clearInterval(this.playing);
    this.playing = null;
    byId("play").textContent = "Play";
    byId("play").setAttribute("aria-pressed", "false");
  }

  #tabs() {
    const tabs = [...document.querySelectorAll("[role=tab]")];
    for (const tab of tabs) {
      tab.addEventListener("click", () => {
        this.#tab(tab.id.slice(4));
        this.render();
      });
      tab.addEventListener("keydown", event => {
        const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!way) return;
        const next = tabs[(tabs.indexOf(tab) + way + tabs.length) % tabs.length];
        next.focus();
        next.click();
      });
    }
    this.#tab("step");
  }

  #tab(view) {
    this.view = view;
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const chosen = tab.id === `tab-${view}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (view === "step" && this.pane) this.pane.show();
  }

  /** The ribbon under the scrubber: which moments are forward, and which backward. */
  #phases() {
    const canvas = byId("phases");
    const width = canvas.clientWidth || 600;
    if (canvas.width === width && this.dark === isDark()) return;
    canvas.width = width;
    this.dark = isDark();
    const context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const { moments } = this.model;
    context.clearRect(0, 0, width, 6);
    for (let i = 0; i < moments.length;) {
      let end = i;
      while (end < moments.length && Boolean(moments[end].node) === Boolean(moments[i].node)) end++;
      context.fillStyle = style.getPropertyValue(moments[i].node ? "--forward" : "--backward");
      context.fillRect((i / moments.length) * width, 0, ((end - i) / moments.length) * width, 6);
      i = end;
    }
  }
}

window.app = new App(JSON.parse(byId("trace").textContent));
