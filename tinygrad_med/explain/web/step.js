// One step, explained: its line of code, its formula, and the numbers that go in and come out.

class StepPane {
  /** `app` has moment, choose(tensor, element), go(moment), chosen, marked. */
  constructor(model, container, app) {
    Object.assign(this, { model, container, app });
  }

  show() {
    const { model, app } = this;
    const moment = model.moments[app.moment];
    const content = moment.node
      ? this.#forward(moment.node)
      : moment.step.node === null
        ? this.#leaf(moment)
        : this.#backward(moment);
    this.container.replaceChildren(...[this.#notes(), content, this.#element()].flat(Infinity).filter(Boolean));
  }

  // Three kinds of steps ----------------------------------------------------------------------------------------------

  #forward(node) {
    const { model } = this;
    const output = model.tensors[node.output];
    const where = node.walk === null ? "forward" : `walk ${node.walk + 1}, the gradient’s own graph`;
    const kept = node.saved.length
      ? `Kept for the walk back: ${node.saved.join(", ")}${node.saved_bytes ? ` (${formatBytes(node.saved_bytes)})` : ""}.`
      : node.recorded
        ? "Nothing needs to be kept for the walk back."
        : `Not recorded: ${UNRECORDED[node.unrecorded] ?? node.unrecorded}.`;
    return [
      this.#heading("forward", where, node, output.name ? `${output.name} = ${model.label(node)}` : model.label(node)),
      this.#code(node.line),
      this.#formula(node.formula, node),
      this.#constants(node),
      h("h3", {}, "In numbers"),
      h(
        "div",
        { class: "cards" },
        node.operands.map(operand =>
          operand.tensor === null
            ? h(
                "figure",
                { class: "card" },
                h("figcaption", {}, h("b", {}, operand.name), " ", h("span", { class: "facts" }, "a Python number")),
                h("p", { class: "plain" }, format(toNumber(operand.value))),
              )
            : this.#value(this.#operandTitle(operand), operand.tensor),
        ),
        this.#value(output.name ? `z = ${output.name}` : "z, the result", node.output, "result"),
      ),
      h("p", { class: "note" }, kept, ` Took ${formatSeconds(node.seconds)}.`),
      this.#forkAhead(node.output),
    ];
  }

  #backward({ walk, step }) {
    const { model } = this;
    const node = model.nodes[step.node];
    const output = model.tensors[step.tensor];
    return [
      this.#heading("backward", this.#walkName(walk), node, `back through ${model.label(node)}`),
      this.#code(node.line),
      this.#formula(node.formula, node),
      this.#upstream(walk, step, output.name ? `g = ${this.#derivative(walk, output.name)}` : "g"),
      node.operands.map((operand, i) => this.#contribution(walk, step, node, operand, step.contributions[i])),
      h(
        "p",
        { class: "note" },
        step.freed_bytes ? `Freed: the ${formatBytes(step.freed_bytes)} that this operation kept. ` : "",
        `Took ${formatSeconds(step.seconds)}.`,
      ),
    ];
  }

  #leaf({ walk, step }) {
    const { model } = this;
    const tensor = model.tensors[step.tensor];
    const name = model.nameOf(step.tensor);
    const into = walk.kind === "backward" ? `It goes into ${name}.grad.` : "grad() returns it.";
    return [
      h(
        "div",
        { class: "heading backward" },
        h("p", { class: "phase" }, this.#walkName(walk)),
        h("h2", {}, `${name}: the gradient has arrived`),
        h("p", { class: "facts" }, tensor.kind),
      ),
      h("p", {}, into, step.earlier_grad ? " There was one already, and the two are added." : ""),
      this.#upstream(walk, step, this.#derivative(walk, name)),
      step.earlier_grad
        ? h("div", { class: "cards" }, card(`${name}.grad before`, step.earlier_grad, { kind: "gradient" }))
        : null,
      h("h3", {}, "Beside its value"),
      h("div", { class: "cards" }, this.#value(name, step.tensor)),
      this.#why(step.tensor, null),
    ];
  }

  // Their parts -------------------------------------------------------------------------------------------------------

  #heading(phase, where, node, title) {
    const module = node.module === null ? null : this.model.modules[node.module];
    return h(
      "div",
      { class: `heading ${phase}` },
      h("p", { class: "phase" }, where),
      h("h2", {}, title),
      h(
        "p",
        { class: "facts" },
        [
          node.function && node.function !== this.model.label(node) ? `a part of ${node.function}` : null,
          module ? `in ${module.path || module.name}, a ${module.kind}` : null,
        ]
          .filter(Boolean)
          .join(", "),
      ),
    );
  }

  #walkName(walk) {
    const many = this.model.walks.length > 1 ? ` ${walk.id + 1}` : "";
    return `backward${many}${walk.kind === "grad" ? ", by grad()" : ""}${walk.create_graph ? ", with a graph of its own" : ""}`;
  }

  /** "∂loss/∂w" */
  #derivative(walk, name) {
    const seeds = walk.steps.filter(step => step.seed);
    return `∂${seeds.length === 1 ? this.model.nameOf(seeds[0].tensor) : "outputs"}/∂${name}`;
  }

  #code(line) {
    if (!line) return null;
    const { code } = this.model;
    const name = h("span", { class: "file" }, `${line.file}:${line.number}`);
    const inside =
      code && code.file === line.file && line.number >= code.first && line.number < code.first + code.lines.length;
    if (!inside) return h("pre", { class: "code" }, name, h("code", { class: "current" }, line.text || " "));
    const at = line.number - code.first;
    const first = Math.max(0, Math.min(at - 2, code.lines.length - 5));
    const shown = code.lines.slice(first, first + 5);
    const indent = Math.min(...shown.filter(text => text.trim()).map(text => text.length - text.trimStart().length));
    return h(
      "pre",
      { class: "code" },
      name,
      shown.map((text, i) => h("code", { class: first + i === at ? "current" : null }, text.slice(indent) || " ")),
    );
  }

  #formula(text, node) {
    const html = this.model.formulas[`${node.primitive}: ${text}`];
    const element = h("p", { class: "formula" });
    element.innerHTML = html ?? ""; // made and escaped by formulas.py
    if (html === undefined) element.textContent = text;
    return element;
  }

  #constants(node) {
    const constants = Object.entries(node.constants);
    return constants.length
      ? h(
          "p",
          { class: "facts" },
          "with ",
          constants.map(([name, text], i) => [i ? ", " : "", h("code", {}, `${name} = ${text}`)]),
        )
      : null;
  }

  /** "x", "weights (the x here)" or "x, from mul". */
  #operandTitle(operand) {
    const { name, node } = this.model.tensors[operand.tensor];
    if (name) return name === operand.name ? name : `${name} (the ${operand.name} here)`;
    return node === null ? operand.name : `${operand.name}, from ${this.model.label(this.model.nodes[node])}`;
  }

  /** The card of a tensor's numbers, whose elements can be chosen. */
  #value(title, tensor, kind = "value") {
    return card(title, this.model.tensors[tensor].values, { kind, choice: this.#choice(tensor) });
  }

  #choice(tensor) {
    const { app } = this;
    return {
      marked: app.marked.get(tensor) ?? new Set(),
      chosen: app.chosen?.tensor === tensor ? app.chosen.element : null,
      choose: element => app.choose(tensor, element),
    };
  }

  #gradientCard(title, values, tensor, note = null) {
    return card(title, values, { kind: "gradient", choice: this.#choice(tensor), note });
  }

  #link(moment, text) {
    return h("a", { href: `#step=${moment + 1}` }, text);
  }

  /** "step 7 (mul)", as a link. */
  #linkToStep(walk, id) {
    const moment = this.model.moments.findIndex(m => m.walk === walk && m.step.id === id);
    const step = walk.steps[id];
    const what = step.node === null ? this.model.nameOf(step.tensor) : this.model.label(this.model.nodes[step.node]);
    return this.#link(moment, `step ${moment + 1} (${what})`);
  }

  /** Where a result is used more than once, its gradient will be a sum. */
  #forkAhead(tensor) {
    const users = [...new Set(this.model.tensors[tensor].dependents)];
    if (users.length < 2) return null;
    return h(
      "p",
      { class: "aside" },
      `A fork: ${users.length} operations use this result (`,
      users
        .slice(0, 6)
        .map((id, i) => [
          i ? ", " : "",
          this.#link(this.model.momentOfNode.get(id), this.model.label(this.model.nodes[id])),
        ]),
      users.length > 6 ? ", …" : "",
      "). On the way back their contributions add up.",
    );
  }

  /** The upstream gradient, and how it came to be. */
  #upstream(walk, step, title) {
    const cards = [];
    const met = [...new Set(step.parts)].flatMap(id =>
      walk.steps[id].contributions
        .map((contribution, i) => ({
          id,
          contribution,
          operand: walk.steps[id].node === null ? null : this.model.nodes[walk.steps[id].node].operands[i],
        }))
        .filter(({ contribution }) => contribution && contribution.tensor === step.tensor),
    );
    const story = [];
    if (step.seed)
      story.push("The walk begins here, with the gradient that it was given: 1 for a loss, as ∂loss/∂loss = 1.");
    if (met.length === 1 && !step.seed)
      story.push("It is the contribution of ", this.#linkToStep(walk, met[0].id), ".");
    if (met.length + step.seed > 1) {
      story.push(`${met.length} contributions meet here, and add up:`);
      cards.push(
        ...met
          .slice(0, MET)
          .map(({ id, contribution }, i) => [
            i || step.seed ? h("span", { class: "sign" }, "+") : null,
            h(
              "div",
              { class: "from" },
              this.#gradientCard(
                `from ${this.model.label(this.model.nodes[walk.steps[id].node])}`,
                contribution.values,
                step.tensor,
              ),
              this.#linkToStep(walk, id),
            ),
          ]),
        met.length > MET ? h("span", {}, `+ … (${met.length - MET} more)`) : null,
        h("span", { class: "sign" }, "="),
      );
    }
    if (step.hooks)
      story.push(
        ` ${step.hooks === 1 ? "A hook" : `${step.hooks} hooks`} saw it${step.before_hooks ? " and changed it" : ""}.`,
      );
    return [
      h("h3", {}, step.node === null ? "Its gradient" : "The upstream gradient"),
      h("p", {}, story),
      h(
        "div",
        { class: "cards sum" },
        cards,
        step.before_hooks
          ? [this.#gradientCard("before the hook", step.before_hooks, step.tensor), h("span", { class: "sign" }, "→")]
          : null,
        this.#gradientCard(title, step.upstream, step.tensor),
      ),
    ];
  }

  #contribution(walk, step, node, operand, contribution) {
    if (operand.tensor === null) return null;
    const title = h("h3", {}, "To ", h("b", {}, this.#operandTitle(operand)));
    if (!contribution) {
      return [
        title,
        h(
          "p",
          {},
          operand.rule === null || !this.model.tensors[operand.tensor].requires_grad
            ? "No gradient flows here: it requires none."
            : "No gradient flows here in this walk.",
        ),
      ];
    }
    const rule = h("p", { class: "formula rule" }, h("span", { class: "rule-name" }, `∂${operand.name}: `));
    const html = this.model.formulas[`${node.primitive}: ${operand.rule}`];
    const span = h("span");
    if (html === undefined) span.textContent = operand.rule ?? "";
    else span.innerHTML = html; // made and escaped by formulas.py
    rule.append(span);
    const elements = operand.jacobian ? this.#equations(step, node, operand, contribution) : null;
    return [
      title,
      rule,
      contribution.summed.length ? h("p", { class: "aside" }, this.#broadcast(node, operand, contribution)) : null,
      elements,
      h(
        "div",
        { class: "cards" },
        elements && contribution.values.numbers?.length === 1
          ? null
          : this.#gradientCard(
              `contribution to ${this.model.nameOf(operand.tensor)}`,
              contribution.values,
              operand.tensor,
            ),
      ),
      this.#addedTo(walk, step, contribution),
    ];
  }

  /** Which contributions to the same tensor came earlier. */
  #addedTo(walk, step, contribution) {
    const complete = walk.steps.find(later => later.id > step.id && later.tensor === contribution.tensor);
    const earlier = [...new Set(complete?.parts)].filter(id => id < step.id);
    if (!earlier.length) return null;
    return h(
      "p",
      { class: "note" },
      "Added to what came from ",
      earlier.slice(-MET).map((id, i) => [i ? " and " : "", this.#linkToStep(walk, id)]),
      earlier.length > MET ? ` and ${earlier.length - MET} more` : "",
      ".",
    );
  }

  /** Why a contribution was summed over some dims. */
  #broadcast(node, operand, contribution) {
    const shape = this.model.tensors[operand.tensor].values.shape;
    const result = this.model.tensors[node.output].values.shape;
    const dims = contribution.summed.map(dim => `dim ${dim} (${result[dim]} times)`).join(" and ");
    return (
      `A broadcast, undone: ${operand.name} has the shape ${formatShape(shape)} and was repeated along ${dims} to ` +
      `${formatShape(result)}. Every copy gets a gradient of its own; ${operand.name} is all of them, so they are summed ` +
      `over dim ${contribution.summed.join(" and ")}.`
    );
  }

  /** upstream × local = contribution, element by element. */
  #equations(step, node, operand, contribution) {
    const upstream = numbersOf(step.upstream);
    const total = numbersOf(contribution.values);
    if (!upstream || !total) return null;
    const factors = Array.from(total, () => []);
    operand.jacobian.at.forEach(([output, input], i) =>
      factors[input].push([output, toNumber(operand.jacobian.numbers[i])]),
    );
    const outputShape = this.model.tensors[node.output].values.shape;
    const inputShape = contribution.values.shape;
    const chosen = this.app.chosen?.tensor === operand.tensor ? this.app.chosen.element : null;
    const first = chosen === null ? 0 : Math.max(0, Math.min(chosen - 3, total.length - 8));
    const rows = total.slice(first, first + 8).map((sum, k) => {
      const input = first + k;
      const terms = factors[input].filter(([output]) => upstream[output] !== 0 || factors[input].length <= 4);
      const shown = chosen === input || terms.length <= 3 ? terms : terms.slice(0, 2);
      const product = ([output, factor], j) => [
        j ? h("span", { class: "op" }, " + ") : null,
        h("span", { class: "up", title: `upstream${place(output, outputShape)}` }, format(upstream[output])),
        h("span", { class: "op" }, " × "),
        h("span", { class: "local", title: "local derivative" }, format(factor)),
      ];
      return h(
        "tr",
        { class: chosen === input ? "lit" : null },
        h("th", { scope: "row" }, (this.model.tensors[operand.tensor].name ?? operand.name) + place(input, inputShape)),
        h(
          "td",
          { class: chosen === input ? "all" : null },
          terms.length ? shown.map(product) : format(0),
          terms.length > shown.length ? h("span", { class: "op" }, ` + … (${terms.length} products)`) : null,
        ),
        h("td", { class: "result" }, "= ", h("span", { class: "down", title: String(sum) }, format(sum))),
      );
    });
    const name = h(
      "p",
      { class: "caption" },
      h("span", { class: "up" }, "upstream"),
      " × ",
      h("span", { class: "local" }, "local"),
      " = ",
      h("span", { class: "down" }, "contribution"),
      total.length > rows.length ? ` (${rows.length} of ${total.length} elements; choose one below)` : "",
    );
    return [
      name,
      h(
        "div",
        { class: "scroll" },
        h("table", { class: "equations", "aria-label": name.textContent }, h("tbody", {}, rows)),
      ),
    ];
  }

  // The chosen element ------------------------------------------------------------------------------------------------

  #element() {
    const { model, app } = this;
    if (!app.chosen) return null;
    const { tensor, element } = app.chosen;
    const facts = model.tensors[tensor];
    const name = model.nameOf(tensor) + place(element, facts.values.shape);
    const walk = model.walkAt(app.moment) ?? model.walks[model.walks.length - 1];
    const sources = [...model.reach(tensor, element, model.sources)].filter(([t]) => t !== tensor);
    const above = sources.filter(([t]) => model.tensors[t].node === null);
    return h(
      "section",
      { class: "element", id: "element", "aria-label": `The element ${name}` },
      h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => app.choose(null) }, "×"),
      h("h3", {}, `The element ${name} = ${format(toNumber(facts.values.numbers[element]))}`),
      above.length
        ? h(
            "p",
            {},
            "Computed from ",
            above
              .slice(0, 8)
              .map(([t, elements], i) => [
                i ? ", " : "",
                h("b", {}, model.nameOf(t)),
                elements.size < model.tensors[t].values.numbers?.length
                  ? ` (${elements.size} of ${model.tensors[t].values.numbers.length})`
                  : "",
              ]),
            above.length > 8 ? ` and ${above.length - 8} more` : "",
            ".",
          )
        : null,
      walk ? this.#pathsOf(tensor, element, name, walk) : h("p", {}, "There was no walk back."),
      this.#why(tensor, element),
    );
  }

  #pathsOf(tensor, element, name, walk) {
    const { model } = this;
    const { paths, count, sum, complete } = model.paths(tensor, element, walk);
    if (!complete && !count) {
      return h(
        "p",
        {},
        "Its way leads through arrays of more than 64 elements, of which the trace has no single numbers.",
      );
    }
    if (!count) return h("p", {}, `No way leads from ${name} to where the walk began: its gradient is 0.`);
    const last = walk.steps.filter(step => step.tensor === tensor).pop();
    const engine = last && last.upstream.numbers ? toNumber(last.upstream.numbers[element]) : null;
    const factor = link => [
      h("span", { class: "op" }, " × "),
      h(
        "a",
        {
          class: "local",
          href: `#step=${model.momentOfNode.get(link.node) + 1}`,
          title: `∂${model.label(model.nodes[link.node])}/∂${link.operand.name}`,
        },
        format(link.factor),
      ),
    ];
    return [
      h(
        "p",
        {},
        count === 1 ? "One path leads from it to the loss" : `${format(count)} paths lead from it to the loss`,
        count > paths.length ? `; here are ${paths.length}` : "",
        ". Along each, the local derivatives multiply; the paths add up:",
      ),
      h(
        "ol",
        { class: "paths" },
        paths.map(({ links, seed, product }) =>
          h(
            "li",
            {},
            h(
              "span",
              { class: "way" },
              [name, ...links.map(link => model.tensors[link.tensor].name ?? model.label(model.nodes[link.node]))].join(
                " → ",
              ),
            ),
            h(
              "span",
              { class: "product" },
              h("span", { class: "up" }, format(seed)),
              [...links].reverse().map(factor),
              " = ",
              h("b", { title: String(product) }, format(product)),
            ),
          ),
        ),
      ),
      h(
        "p",
        { class: "total" },
        complete ? "Sum" : "Sum of those through small arrays",
        `: `,
        h("b", { class: "down", title: String(sum) }, format(sum)),
        engine !== null
          ? [", and the walk gave ", h("b", { class: "down", title: String(engine) }, format(engine)), "."]
          : ".",
      ),
    ];
  }

  #why(tensor, element) {
    const { model } = this;
    const answer = model.whyZero(tensor, element);
    if (!answer || (!answer.zeros && element === null)) return null;
    const box = h("div", { class: "why", "aria-live": "polite" });
    const causes = answer.causes.map(cause =>
      h(
        "li",
        {},
        h("b", {}, cause.kind),
        ` (${format(100 * cause.share, 3)}%): ${cause.text} `,
        cause.node !== null && model.momentOfNode.has(cause.node)
          ? this.#link(model.momentOfNode.get(cause.node), "See the step")
          : null,
      ),
    );
    const ask = h(
      "button",
      {
        type: "button",
        class: "ask",
        "aria-expanded": "false",
        onclick: () => {
          const open = !box.childElementCount;
          ask.setAttribute("aria-expanded", String(open));
          box.replaceChildren(
            ...(open
              ? [
                  h("p", {}, answer.text),
                  causes.length > 1 || causes.some(c => c.textContent) ? h("ul", {}, causes) : "",
                ]
              : []),
          );
        },
      },
      element === null ? `Why are ${answer.zeros} of its elements zero?` : "Why is this gradient zero?",
    );
    return h("div", { class: "asking" }, ask, box);
  }

  #notes() {
    const notes = this.model.notes ?? [];
    const errors = this.model.walks.map(walk => walk.error).filter(Boolean);
    return notes.length + errors.length
      ? h(
          "div",
          { class: "warning" },
          [...notes, ...errors].map(text => h("p", {}, text)),
        )
      : null;
  }
}

const MET = 8; // so many of the contributions that meet are shown

const UNRECORDED = {
  no_grad: "it ran under no_grad()",
  constant: "no operand requires a gradient",
  "not differentiable": "the operation has no derivative",
};
