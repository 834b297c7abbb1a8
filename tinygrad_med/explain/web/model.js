// What a trace means: the moments that the scrubber goes through, and the way of one number through the graph.
// The fields of the trace are documented in tinygrad_med/explain/trace.py.

/** A number of the JSON, which has no NaN and no infinity. */
const toNumber = value => (typeof value === "string" ? Number(value) : value);

/** The numbers of a small array, or null for a large one. */
const numbersOf = values => (values && values.numbers ? values.numbers.map(toNumber) : null);

class Model {
  constructor(trace) {
    Object.assign(this, trace); // nodes, tensors, walks, modules, why, notes, code, boxes, formulas
    this.moments = this.#moments();
    this.momentOfNode = new Map(); // operation: the moment at which it ran
    this.gradientMoments = new Map(); // tensor: the moments at which its gradient was complete
    this.moments.forEach((moment, i) => {
      if (moment.node) {
        this.momentOfNode.set(moment.node.id, i);
      } else {
        const { tensor } = moment.step;
        if (!this.gradientMoments.has(tensor)) this.gradientMoments.set(tensor, []);
        this.gradientMoments.get(tensor).push(i);
      }
    });
    this.boxOf = new Map(); // "n3", "t5", "b2": the box in which it stands
    this.boxes.forEach((box, i) => Object.keys(box.places).forEach(name => this.boxOf.set(name, i)));
  }

  /** Forward and backward in the order of time: {node} or {walk, step}. */
  #moments() {
    const moments = [];
    const waiting = [...this.walks];
    const walkBack = walk => {
      const inner = this.nodes.filter(node => node.walk === walk.id);
      for (const step of walk.steps) {
        while (inner.length && inner[0].step <= step.id) moments.push({ node: inner.shift() });
        moments.push({ walk, step });
      }
      inner.forEach(node => moments.push({ node }));
    };
    for (const node of this.nodes) {
      while (waiting.length && waiting[0].after <= node.id) walkBack(waiting.shift());
      if (node.walk === null) moments.push({ node });
    }
    waiting.forEach(walkBack);
    return moments;
  }

  /** Where a tensor is drawn: "n3", the operation that made it, or "t5". */
  place(tensor) {
    const { node } = this.tensors[tensor];
    return node === null ? `t${tensor}` : `n${node}`;
  }

  /** A tensor in a word: its name, or the operation that made it. */
  nameOf(tensor) {
    const facts = this.tensors[tensor];
    if (facts.name) return facts.name;
    if (facts.node !== null) return this.label(this.nodes[facts.node]);
    if (facts.detached_from !== null) return `${this.nameOf(facts.detached_from)}, detached`;
    return facts.values.shape.length === 0 && facts.values.numbers
      ? format(toNumber(facts.values.numbers[0]))
      : facts.kind;
  }

  /** An operation in a word, without the underscore of those that a function of the same name calls. */
  label(node) {
    return node.primitive.replace(/^_/, "");
  }

  /** The step of a moment's walk, or of the last walk until then, at which a tensor's gradient was complete. */
  gradientAt(tensor, moment) {
    const known = this.gradientMoments.get(tensor) ?? [];
    let found = null;
    for (const m of known) if (m <= moment) found = this.moments[m];
    return found;
  }

  /** The walk that a moment belongs to: its own, or the last one before it, or null. */
  walkAt(moment) {
    for (let i = moment; i >= 0; i--) if (this.moments[i].walk) return this.moments[i].walk;
    return null;
  }

  /** The elements that were computed from an element, with the local derivative of each. */
  links(tensor, element) {
    const found = [];
    for (const id of new Set(this.tensors[tensor].dependents)) {
      for (const operand of this.nodes[id].operands) {
        if (operand.tensor !== tensor || !operand.jacobian) continue;
        for (const [output, factor] of this.#columns(operand.jacobian).get(element) ?? []) {
          found.push({ node: id, operand, tensor: this.nodes[id].output, element: output, factor });
        }
      }
    }
    return found;
  }

  /** The elements from which an element was computed. */
  sources(tensor, element) {
    const { node } = this.tensors[tensor];
    if (node === null) return [];
    return this.nodes[node].operands
      .filter(operand => operand.jacobian)
      .flatMap(operand =>
        (this.#rows(operand.jacobian).get(element) ?? []).map(([input, factor]) => ({
          tensor: operand.tensor,
          element: input,
          factor,
        })),
      );
  }

  #columns(jacobian) {
    return (jacobian.columns ??= group(jacobian, 1, 0));
  }

  #rows(jacobian) {
    return (jacobian.rows ??= group(jacobian, 0, 1));
  }

  /** All elements that can be reached from one: Map from tensor to Set of elements, the start included. */
  reach(tensor, element, next) {
    const reached = new Map();
    const waiting = [[tensor, element]];
    while (waiting.length) {
      const [t, e] = waiting.pop();
      if (!reached.has(t)) reached.set(t, new Set());
      if (reached.get(t).has(e)) continue;
      reached.get(t).add(e);
      next.call(this, t, e).forEach(link => waiting.push([link.tensor, link.element]));
    }
    return reached;
  }

  /**
   * The ways of an element to where a walk began, and the product of the local derivatives along each.
   *
   * Returns {paths: [{links, product}], count, sum, complete}: the first `limit` paths, the ones with the largest
   * share first at each fork; how many there are; the sum over all of them; and whether the trace has every number.
   */
  paths(tensor, element, walk, limit = 12) {
    const seeds = new Map(walk.steps.filter(step => step.seed).map(step => [step.tensor, numbersOf(step.upstream)]));
    const visited = new Set(walk.steps.filter(step => step.node !== null).map(step => step.node));
    const reached = this.reach(tensor, element, (t, e) => this.links(t, e).filter(link => visited.has(link.node)));
    const total = new Map(); // "tensor:element": [the sum over all paths from here, how many there are]
    let complete = true;
    const order = [...reached.keys()].sort((a, b) => (this.tensors[b].node ?? -1) - (this.tensors[a].node ?? -1));
    for (const t of order) {
      const used = this.tensors[t].dependents.filter(id => visited.has(id));
      complete &&= used.every(id =>
        this.nodes[id].operands.every(o => o.tensor !== t || o.rule === null || o.jacobian),
      );
      complete &&= !seeds.has(t) || seeds.get(t) !== null;
      for (const e of reached.get(t)) {
        let [sum, count] = seeds.get(t) ? [seeds.get(t)[e], 1] : [0, 0];
        for (const link of this.links(t, e)) {
          const [further, ways] = total.get(`${link.tensor}:${link.element}`) ?? [0, 0];
          if (ways) [sum, count] = [sum + link.factor * further, count + ways];
        }
        total.set(`${t}:${e}`, [sum, count]);
      }
    }
    const paths = [];
    const waiting = [{ tensor, element, links: [], product: 1 }];
    while (waiting.length && paths.length < limit) {
      const here = waiting.pop();
      if (seeds.get(here.tensor)) {
        paths.push({
          links: here.links,
          seed: seeds.get(here.tensor)[here.element],
          product: here.product * seeds.get(here.tensor)[here.element],
        });
      }
      const weight = link => Math.abs(link.factor * total.get(`${link.tensor}:${link.element}`)[0]);
      this.links(here.tensor, here.element)
        .filter(link => (total.get(`${link.tensor}:${link.element}`) ?? [0, 0])[1])
        .sort((a, b) => weight(a) - weight(b))
        .forEach(link =>
          waiting.push({
            tensor: link.tensor,
            element: link.element,
            links: [...here.links, link],
            product: here.product * link.factor,
          }),
        );
    }
    const [sum, count] = total.get(`${tensor}:${element}`);
    return { paths, count, sum, complete };
  }

  /** What the trace says about the zeros of a leaf's gradient: the answer for an element, or for the whole. */
  whyZero(tensor, element = null) {
    const answers = this.why.filter(why => why.tensor === tensor);
    return answers.find(why => why.element === element) ?? null;
  }
}

/** A Jacobian's entries by one of their two elements: Map to [the other one, factor]. */
function group(jacobian, key, other) {
  const groups = new Map();
  jacobian.at.forEach((pair, i) => {
    if (!groups.has(pair[key])) groups.set(pair[key], []);
    groups.get(pair[key]).push([pair[other], toNumber(jacobian.numbers[i])]);
  });
  return groups;
}
