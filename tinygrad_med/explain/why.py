"""Why is this gradient zero? From a tensor onward to the operation where its gradient stopped.

Every element in question starts with the same weight. Where a value is used several times, or an element enters several
elements of a result, its weight is shared among them; it moves on towards the loss as long as the upstream gradient is
zero, and stays at the first operation that had a gradient and passed none on: that one is a cause, and the weights that
ended there are its share.

How an element of an operand enters the result is known in three ways: element by element (with broadcasting); linearly
in each operand (matrix products, convolutions), where the operation itself, run on zeros and ones, counts the terms;
and for the rest by its rule, run on random upstream gradients, whose terms do not cancel.
"""

from __future__ import annotations

import heapq
import math
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.explain.local import flowing, spread
from tinygrad_med.explain.notes import at
from tinygrad_med.explain.nudge import element
from tinygrad_med.explain.tape import Back, Entry, Local, Ref
from tinygrad_med.explain.trace import Cause, Trace, Walk, Why

if TYPE_CHECKING:
    Key = tuple[str, int | None]

KINDS = {
    **dict.fromkeys(("relu", "leaky_relu"), "relu"),
    **dict.fromkeys(("sigmoid", "tanh", "softmax", "log_softmax", "logsigmoid", "softplus", "erf"), "saturated"),
    **dict.fromkeys(("maximum", "minimum", "amax", "amin", "max_pool"), "maximum"),
    **dict.fromkeys(("clamp_min", "clamp_max"), "clip"),
    **dict.fromkeys(("select", "keep"), "where"),
    **dict.fromkeys(("sign", "round", "floor", "ceil", "abs", "sin", "cos", "pow"), "flat"),
    **dict.fromkeys(("exp", "expm1", "logsumexp"), "underflow"),
    **dict.fromkeys(("mul", "div", "matmul", "linear", "conv", "conv_input", "conv_weight"), "zero operand"),
    **dict.fromkeys(("einsum", "scale_shift", "batch_norm", "remainder"), "zero operand"),
    **dict.fromkeys(("index", "pad", "resample", "unfold", "avg_pool"), "not read"),
}
"""What the cause is called, by the operation (as `family` has it) that passed nothing on; "flat" for all others."""


def family(primitive: str) -> str:
    """The name of an operation without the number of its dims: "conv" for "conv2d"."""
    return re.sub(r"\dd", "", primitive)


CHOOSERS = ("max", "min", "sort", "topk")
"""Functions that, like the max-poolings, read the elements which won: those that their `index` left out have lost."""

SENTENCES = {
    "relu": "was off for {n} of the {all} elements that reached it with a gradient",
    "dropout": "multiplied {n} of the {all} elements that reached it with a gradient by 0",
    "saturated": "is saturated at {n} of the {all} elements that reached it with a gradient: its slope is 0 there",
    "maximum": "chose other elements than these",
    "clip": "is at its bound for {n} of the {all} elements that reached it with a gradient",
    "where": "took the other side for {n} of the {all} elements that reached it with a gradient",
    "flat": "has a derivative of exactly 0 at {n} of the {all} elements that reached it with a gradient",
    "not read": "did not read these elements",
    "zero operand": "multiplied by 0",
    "underflow": "made numbers too small for {dtype}, which are 0",
    "cancellation": "adds contributions that are not 0, but whose sum is",
    "function": "has a backward of its own, which returned 0 for these elements",
    "hook": "has a hook that put 0 in the gradient's place",
    "seed": "was given a gradient of 0 to begin with",
    "detached": "was taken out of the graph: detached, or made into another tensor of the same memory",
    "no_grad": "ran under no_grad(), which records nothing",
    "not differentiable": "has no derivative: its result is a choice or a comparison",
    "independent": "The loss does not depend on it",
    "constant": "It requires no gradient",
    "not asked": "The walk was limited to other inputs",
    "before": "Its path to the loss leads through operations from before watch() began, which were not seen",
}


def why_zero(tensor: Tensor, trace: Trace, index: Any = None, walk: int | None = None) -> Why:
    """Why the gradient of a tensor is zero: the causes, the largest share first, with their evidence.

    The kinds of causes:

    - "relu", "dropout", "clip", "where": the operation blocked these elements.
    - "saturated": a sigmoid, tanh or softmax whose slope is 0 in this dtype.
    - "maximum": another element won; "not read": an index that left these elements out.
    - "flat": a derivative that is 0 at just this place, or, of a step function, everywhere.
    - "zero operand": the other factor is 0.
    - "cancellation": contributions, or the terms of one, that are not 0 but whose sum is.
    - "underflow": a product or power too small for the dtype.
    - "function": the backward of a `Function`, or of a checkpoint, returned 0.
    - "hook", "seed": a hook, or whoever started the walk, put 0 there.
    - "detached", "no_grad", "not differentiable": the loss is computed from it, but on no recorded path.
    - "constant": the tensor requires no gradient.
    - "independent": the loss is not computed from it; "not asked": the walk was limited to other inputs.
    - "before": the path leads through operations that ran before `watch()` began.

    Args:
        tensor: a leaf, or a result, of the watched block.
        trace: of the block.
        index: one element, as a tuple of ints; `None` for all zero elements.
        walk: which one; by default the last.

    Returns:
        The answer; `print(answer)` says it in words. For a gradient that is not zero it says so and has no causes.

    Raises:
        ValueError: for a tensor that the trace does not know, or a trace without a walk.
        IndexError: for an index that names no single element.
    """
    trace.require("why_zero")
    known = trace.find(tensor, "why_zero")
    chosen = trace.last_walk("why_zero")
    if walk is not None:
        if not 0 <= walk < len(trace.walks):
            raise ValueError(f"why_zero: there is no walk {walk}, only {len(trace.walks)} of them")
        chosen = trace.walks[walk]
    shape = tuple(trace.tensors[known].values.shape)
    place = None if index is None else int(numpy.ravel_multi_index(element(shape, index, "why_zero"), shape or (1,)))
    tensors = trace.tape.run(flowing(trace), walk=chosen.id)
    return Search(trace, chosen, tensors).answer(known, place if shape or index is None else 0)


def of_leaves(
    trace: Trace, again: Callable[[], dict[int, Tensor]], seconds: float = 3.0
) -> tuple[list[Why], list[str]]:
    """An answer per leaf in the last walk, and per zero element of small leaves; a note if there was no time for all.

    Args:
        trace: of the block.
        again: runs the tape, which is needed where a gradient is zero.
        seconds: after so long no more questions are asked: a page should not wait for the thousandth answer.
    """
    walk = trace.walked
    leaves = [t for t in trace.tensors if t.kind in ("leaf", "parameter")]
    if walk is None or not leaves:
        return [], []
    found: list[Why] = []
    questions: list[tuple[int, int | None]] = []
    of = {step.tensor: step.upstream for step in walk.steps}
    for leaf in leaves:
        gradient = of.get(leaf.id)
        if gradient is not None and not gradient.summary.zeros:
            found.append(Why(leaf.id, walk.id, None, 0, _not_zero(_called(trace, leaf.id), gradient), []))
            continue
        questions.append((leaf.id, None))
        if gradient is not None and gradient.numbers is not None and len(gradient.numbers) > 1:
            questions += [(leaf.id, i) for i, g in enumerate(gradient.numbers) if g == 0]
    if not questions:
        return found, []
    questions.sort(key=lambda question: question[1] is not None)  # the leaves first, then their elements
    begin, search = time.perf_counter(), Search(trace, walk, again())
    for asked, (known, place) in enumerate(questions):
        if time.perf_counter() - begin > seconds:
            left = f"{len(questions) - asked} of {len(questions)} questions are left"
            note = f"Why gradients are zero was asked for {seconds:g} s; {left}: ask explain.why_zero(tensor, trace)."
            return found, [note]
        found.append(search.answer(known, place))
    return found, []


def _called(trace: Trace, tensor: int) -> str:
    facts = trace.tensors[tensor]
    return facts.name or f"the {facts.kind} of shape {tuple(facts.values.shape)}"


def _not_zero(name: str, gradient: Any) -> str:
    s = gradient.summary
    if s.nonfinite:
        return f"The gradient of {name} is not zero: {s.nonfinite:.0%} of its elements are NaN or infinite."
    return f"The gradient of {name} is not zero: its elements lie between {s.min:.4g} and {s.max:.4g}."


class Search:
    """The causes of zeros in one walk, found by running it again.

    Args:
        trace: of the block.
        walk: which one.
        tensors: the tape's, run again for this walk; they are changed.
    """

    def __init__(self, trace: Trace, walk: Walk, tensors: dict[int, Tensor]) -> None:
        self.trace, self.walk, self.tensors = trace, walk, tensors
        self.back: Back = trace.tape.back(walk, self.tensors)
        self.step_of = {step.tensor: step for step in walk.steps}
        self.node_of = {step.id: step.node for step in walk.steps}
        self._locals: dict[int, Local] = {}
        self._random = numpy.random.default_rng(0)

    # One question -------------------------------------------------------------------------------------------------

    def answer(self, tensor: int, place: int | None) -> Why:
        """Why the gradient of a tensor, or of its element number `place`, is zero."""
        name = _called(self.trace, tensor)
        which = f"element {place} of {name}" if place is not None else name
        facts = self.trace.tensors[tensor]
        if tensor not in self.step_of:
            kind, node, text = self._without_step(tensor)
            none = f"{name} has no gradient from this walk (None, which counts as zero)"
            size = math.prod(facts.values.shape) if place is None else 1
            text = f"{none}. {text}"
            return Why(tensor, self.walk.id, place, size, text, [Cause(kind, 1.0, node, text)])
        g = backend.to_numpy(self.back.gradients[tensor])
        zero = numpy.asarray(g == 0)
        if place is not None:
            if not zero.reshape(-1)[place]:
                value = g.reshape(-1)[place]
                text = f"The gradient of {which} is not zero: it is {value:.6g}."
                return Why(tensor, self.walk.id, place, 0, text, [])
            only = numpy.zeros(zero.size, bool)
            only[place] = True
            zero = only.reshape(zero.shape)
        n = int(zero.sum())
        if not n:
            text = _not_zero(name, self.step_of[tensor].upstream)
            return Why(tensor, self.walk.id, place, 0, text, [])
        found = self._causes(tensor, zero / n)
        total = sum(weight for weight, _ in found.values()) or 1.0
        causes = [
            Cause(kind, weight / total, node, self._sentence(kind, node, evidence))
            for (kind, node), (weight, evidence) in sorted(found.items(), key=lambda item: -item[1][0])
        ]
        if place is not None:
            head = f"The gradient of {which} is zero"
        elif n == zero.size:
            head = f"The gradient of {name} is zero" + (f" in all {n} elements" if n > 1 else "")
        else:
            head = f"The gradient of {name} is zero in {n} of {zero.size} elements"
        if len(causes) == 1:
            text = f"{head}: {causes[0].text}."
        else:
            text = f"{head}. " + " ".join(f"{c.share:.0%}: {c.text}." for c in causes)
        return Why(tensor, self.walk.id, place, n, text, causes)

    def _sentence(self, kind: str, node: int | None, evidence: dict[str, Any]) -> str:
        said = SENTENCES[kind].format(**{"n": "?", "all": "?", "dtype": "its dtype", **evidence})
        if node is not None:
            n = self.trace.nodes[node]
            called = n.primitive if n.function in (None, n.primitive) else f"{n.primitive} in {n.function}"
            said = f"{called}{at(n.line)} {said}"
        return said + (f" ({evidence['example']})" if evidence.get("example") else "")

    # Without a gradient -------------------------------------------------------------------------------------------

    def _without_step(self, tensor: int) -> tuple[str, int | None, str]:
        """For a tensor that the walk did not reach: the first on its way to the loss that let no gradient through."""
        trace = self.trace
        if not trace.tensors[tensor].requires_grad:
            return "constant", None, SENTENCES["constant"] + "."
        ends = {step.tensor for step in self.walk.steps if step.seed}
        leads = self._leading_to(ends)
        if tensor not in leads:
            if trace.before:
                return "before", None, SENTENCES["before"] + "."
            return "independent", None, SENTENCES["independent"] + "."
        seen, queue = {tensor}, [tensor]
        for t in queue:
            facts = trace.tensors[t]
            for other in trace.tensors:
                if other.detached_from == t and other.id in leads:
                    what = _called(trace, t)
                    used = trace.nodes[other.dependents[0]] if other.dependents else None
                    text = f"{what} {SENTENCES['detached']}; it is used{at(used.line) if used else ''}"
                    return "detached", used.id if used else None, text + "."
            for number in facts.dependents:
                node = trace.nodes[number]
                if node.output not in leads or node.output in seen:
                    continue
                if not node.recorded:
                    kind = node.unrecorded or "no_grad"
                    return kind, number, f"{node.primitive}{at(node.line)} {SENTENCES[kind]}."
                seen.add(node.output)
                queue.append(node.output)
        return "not asked", None, SENTENCES["not asked"] + "."

    def _leading_to(self, ends: set[int]) -> set[int]:
        """The tensors whose numbers the tensors `ends` are computed from, on recorded paths and others."""
        found, queue = set(ends), list(ends)
        for t in queue:
            facts = self.trace.tensors[t]
            above = [] if facts.detached_from is None else [facts.detached_from]
            if facts.node is not None:
                above += [o.tensor for o in self.trace.nodes[facts.node].operands if o.tensor is not None]
                above += [r.tensor for r in _references(self.trace.tape.entries[facts.node].constants.values())]
            for other in above:
                if other not in found:
                    found.add(other)
                    queue.append(other)
        return found

    # With a gradient of zero ----------------------------------------------------------------------------------------

    def _causes(self, tensor: int, weights: Any) -> dict[Key, tuple[float, dict[str, Any]]]:
        """The causes by kind and node, with the weight and evidence of each."""
        found: dict[Key, tuple[float, dict[str, Any]]] = {}

        def blame(kind: str, node: int | None, weight: float, **evidence: Any) -> None:
            if weight > 0:
                before = found.get((kind, node), (0.0, {}))
                found[kind, node] = (before[0] + weight, {**evidence, **before[1]})

        pending: dict[int, Any] = {tensor: weights}
        queue = [(self._order(tensor), tensor)]
        while queue:
            _, t = heapq.heappop(queue)
            for onward, w in self._at(t, pending.pop(t), blame):
                if onward in pending:
                    pending[onward] = pending[onward] + w
                elif w.any():
                    pending[onward] = w
                    heapq.heappush(queue, (self._order(onward), onward))
        return found

    def _order(self, tensor: int) -> int:
        node = self.trace.tensors[tensor].node
        return -1 if node is None else node

    def _at(self, tensor: int, w: Any, blame: Callable[..., None]) -> Iterator[tuple[int, Any]]:
        """Weights at a tensor, to those of the results it entered; what ends here is blamed."""
        step = self.step_of[tensor]
        given = tensor in self.trace.tape.given[self.walk.id]
        if given:
            if not step.seed and not step.parts:
                blame("before", None, float(w.sum()))
            else:
                blame("hook" if step.hooks else "seed", self.trace.tensors[tensor].node, float(w.sum()))
            return
        uses = []
        for number in dict.fromkeys(self.node_of[p] for p in step.parts):
            assert number is not None
            node = self.trace.nodes[number]
            output = node.output
            for i, operand in enumerate(node.operands):
                d = self.back.contributions[output][i] if i < len(self.back.contributions[output]) else None
                if operand.tensor == tensor and d is not None:
                    uses.append((number, i, numpy.asarray(backend.to_numpy(d))))
        live = numpy.zeros(w.shape, bool)
        for *_, d in uses:
            live |= d != 0
        if live.any():
            example = " + ".join(f"{d[live][0]:.4g}" for *_, d in uses)
            whose = self._order(tensor) if self.trace.tensors[tensor].node is not None else uses[0][0]
            blame("cancellation", whose, float(w[live].sum()), example=f"for example {example} = 0")
            w = numpy.where(live, 0, w)
        for number, i, _ in uses:
            yield from self._through(number, i, w / len(uses), blame)

    def _through(self, number: int, i: int, w: Any, blame: Callable[..., None]) -> Iterator[tuple[int, Any]]:
        """Weights at an operand to which the operation contributes zeros, to those of its result."""
        if not w.any():
            return
        node, entry = self.trace.nodes[number], self.trace.tape.entries[number]
        if node.primitive == "gate":
            yield from self._out_of_gate(number, i, w, blame)
            return
        g = numpy.asarray(backend.to_numpy(self.back.gradients[node.output]))
        if node.primitive == "function":
            blame("function", number, float(w.sum()) if g.any() else 0.0)
            yield node.output, numpy.full(g.shape, 0.0 if g.any() else w.sum() / max(g.size, 1))
            return
        values = [given.value for given in entry.operands]
        operands = [self.tensors[v.tensor].array if isinstance(v, Ref) else v for v in values]
        constants = self.trace.tape.constants(entry, self.tensors)
        if entry.elementwise:
            yield from self._elementwise(number, i, w, g, operands, constants, blame)
        elif _linear_in(entry, i) is not None:
            yield from self._linear(number, i, w, g, operands, constants, blame)
        else:
            yield from self._probed(number, i, w, g, operands, constants, blame)

    def _out_of_gate(self, number: int, i: int, w: Any, blame: Callable[..., None]) -> Iterator[tuple[int, Any]]:
        token = self.trace.nodes[number].output
        for passage in self.trace.tensors[token].dependents:
            entry, output = self.trace.tape.entries[passage], self.trace.nodes[passage].output
            if entry.constants.get("slot") != i or output not in self.back.gradients:
                continue
            g = backend.to_numpy(self.back.gradients[output])
            blame("hook", number, float(w[g != 0].sum()))
            yield output, numpy.where(g == 0, w, 0)
            return
        blame("hook", number, float(w.sum()))

    def _elementwise(
        self, number: int, i: int, w: Any, g: Any, operands: list[Any], constants: Any, blame: Callable[..., None]
    ) -> Iterator[tuple[int, Any]]:
        node, entry = self.trace.nodes[number], self.trace.tape.entries[number]
        w_shape = w.shape
        copies = max(g.size // max(w.size, 1), 1)
        w = numpy.broadcast_to(w, g.shape) / copies
        if not g.any():
            yield node.output, w
            return
        slope = _host(Local(entry, spread(operands, g.shape), constants).contributions(numpy.ones_like(g))[i])
        asked, with_gradient = w > 0, g != 0
        blocked = asked & with_gradient & (slope == 0)
        lost = asked & with_gradient & (slope != 0)  # what is not 0 in real numbers and yet left nothing
        if lost.any():
            product = g.astype("float64") * slope.astype("float64")
            own = operands[i].dtype
            tiny = lost & (product.astype(own) == 0)
            example = f"{g[lost][0]:.4g} · {slope[lost][0]:.4g}"
            blame("underflow", number, float(w[tiny].sum()), dtype=str(own), example=f"for example {example}")
            blame("cancellation", number, float(w[lost & ~tiny].sum()), example="summed where it was broadcast")
            clash = _any_copy(lost, w_shape)
            blame("cancellation", number, float(w[asked & clash & ~lost].sum()))
            asked, blocked = asked & ~clash, blocked & ~clash
        if blocked.any():
            kind = "dropout" if node.function in ("dropout", "dropout2d") else KINDS.get(family(node.primitive), "flat")
            if node.primitive == "exp" and not _is_zero_power(_host(operands[0])):
                kind = "underflow"
            hopeless = asked & ~_any_copy(asked & (slope != 0), w_shape) & _any_copy(blocked, w_shape)
            evidence = {"n": int(blocked.sum()), "all": int((asked & with_gradient).sum()), "dtype": str(g.dtype)}
            evidence["example"] = self._example(node, operands, blocked, g.shape)
            blame(kind, number, float(w[blocked | hopeless].sum()), **evidence)
            asked &= ~hopeless
        yield node.output, numpy.where(asked & ~with_gradient, w, 0)

    def _example(self, node: Any, operands: list[Any], blocked: Any, shape: tuple[int, ...]) -> str:
        shown = []
        for operand, x in zip(node.operands, operands, strict=True):
            value = numpy.broadcast_to(_host(x), shape)[blocked][0]
            shown.append(f"{operand.name} = {value:.4g}")
        return "for example " + ", ".join(shown)

    def _linear(
        self, number: int, i: int, w: Any, g: Any, operands: list[Any], constants: Any, blame: Callable[..., None]
    ) -> Iterator[tuple[int, Any]]:
        node, entry = self.trace.nodes[number], self.trace.tape.entries[number]
        factors = _linear_in(entry, i) or ()

        def with_factors(f: Callable[[Any], Any]) -> list[Any]:
            return [f(x) if j in factors else (x if j == i else _ones(x) * 0) for j, x in enumerate(operands)]

        everything = Local(entry, with_factors(_ones), constants)
        nonzero = Local(entry, with_factors(lambda x: (x != 0).astype(x.dtype)), constants)
        dead = (g == 0).astype(g.dtype)
        terms = _count(everything.contributions(numpy.ones_like(g))[i])
        upstream = _count(everything.contributions(dead)[i])
        alive = _count(nonzero.contributions(1 - dead)[i])
        per_term = numpy.divide(w, terms, out=numpy.zeros_like(w), where=terms > 0)
        clash = (alive > 0) & (w > 0)
        if clash.any():
            self._cancelled(number, i, w, clash, g, operands, constants, blame)
            per_term = numpy.where(clash, 0, per_term)
        possible = _count(nonzero.contributions(numpy.ones_like(g))[i])  # terms that a gradient could come through
        local = per_term * numpy.where((possible == 0) & (upstream < terms), terms, terms - upstream)
        per_term = numpy.where(local == per_term * terms, 0, per_term)
        unread = (terms == 0) & (w > 0) & ~clash
        blame("not read", number, float(w[unread].sum()))
        if local.sum() > 0:
            others = [(node.operands[j].name, operands[j]) for j in sorted(factors)]
            shares = ", ".join(f"{float((x == 0).mean()):.0%} of {name} is 0" for name, x in others)
            kind = "dropout" if node.function in ("dropout", "dropout2d") else "zero operand"
            blame(kind, number, float(local.sum()), n="these", all=str(w.size), example=shares)
        onward = everything.forward_derivative(i, per_term) if upstream.any() else numpy.zeros_like(g)
        yield node.output, numpy.where(g == 0, numpy.maximum(_host(onward), 0), 0)

    def _cancelled(
        self,
        number: int,
        i: int,
        w: Any,
        clash: Any,
        g: Any,
        operands: list[Any],
        constants: Any,
        blame: Callable[..., None],
    ) -> None:
        """Terms that are not zero and leave a zero: too small for the dtype, or each other's opposite."""
        entry = self.trace.tape.entries[number]
        scaled = g.astype("float64") / (numpy.abs(g).max() or 1)
        wide = [x.astype("float64") if hasattr(x, "astype") and x.dtype.kind == "f" else x for x in operands]
        again = _host(Local(entry, wide, constants).contributions(scaled)[i])
        size = numpy.abs(_host(Local(entry, wide, constants).contributions(numpy.abs(scaled))[i])).max() or 1
        tiny = clash & (numpy.abs(again) > 1e-6 * size) & (numpy.abs(again) * numpy.abs(g).max() < _smallest(g.dtype))
        blame("underflow", number, float(w[tiny].sum()), dtype=str(g.dtype))
        blame("cancellation", number, float(w[clash & ~tiny].sum()), example="the terms of its own sum")

    def _probed(
        self, number: int, i: int, w: Any, g: Any, operands: list[Any], constants: Any, blame: Callable[..., None]
    ) -> Iterator[tuple[int, Any]]:
        node, entry = self.trace.nodes[number], self.trace.tape.entries[number]
        local = self._locals.get(number)
        if local is None:
            local = self._locals[number] = Local(entry, operands, constants)
        asked = w > 0
        random = 0.5 + self._random.random(g.shape)
        scale = numpy.abs(g[numpy.isfinite(g)]).max(initial=0) or 1
        live = _host(local.contributions(random * (g / scale))[i]) != 0
        enters = _host(local.contributions(random)[i]) != 0
        along = _along(node.primitive, constants, g, w.shape)
        clash = asked & live
        if clash.any():
            self._cancelled(number, i, w, clash, g, operands, constants, blame)
        stuck = asked & ~clash & (along if along is not None else ~enters & bool((g != 0).any()))
        if stuck.any():
            kind = KINDS.get(family(node.primitive), "flat")
            chooses = node.function in CHOOSERS or "max_pool" in (node.function or "")
            if node.primitive == "index" and chooses:
                kind = "maximum"
            blame(kind, number, float(w[stuck].sum()), n=int(stuck.sum()), all=int(asked.sum()), dtype=str(g.dtype))
        rest = numpy.where(clash | stuck, 0, w)
        if not rest.any():
            return
        onward = numpy.abs(_host(local.forward_derivative(i, (rest > 0) * (0.5 + self._random.random(w.shape)))))
        onward = numpy.where(g == 0, onward, 0) if enters[rest > 0].all() else (g == 0).astype("float64")
        total = onward.sum()
        if not total:
            onward, total = (g == 0).astype("float64"), max((g == 0).sum(), 1)
        yield node.output, onward * (rest.sum() / total)


def _references(constants: Any) -> Iterator[Ref]:
    for constant in constants:
        if isinstance(constant, Ref):
            yield constant
        elif type(constant) is tuple:
            yield from _references(constant)


def _host(x: Any) -> Any:
    return backend.to_numpy(x) if backend.is_array(x) else x


def _ones(x: Any) -> Any:
    return backend.array_module(x).ones_like(x)


def _count(d: Any) -> Any:
    return numpy.asarray(_host(d)).astype("float64").round()


def _smallest(dtype: Any) -> float:
    return float(numpy.finfo(dtype).smallest_subnormal)


def _is_zero_power(x: Any) -> bool:
    return bool(numpy.all(numpy.isneginf(x)))


def _any_copy(mask: Any, shape: tuple[int, ...]) -> Any:
    """Whether a mask holds at any of the elements that are broadcast from the same one of an array of this shape."""
    added = mask.ndim - len(shape)
    dims = (*range(added), *(added + j for j, n in enumerate(shape) if n == 1))
    return numpy.broadcast_to(mask.any(dims, keepdims=True), mask.shape)


def _linear_in(entry: Entry, i: int) -> tuple[int, ...] | None:
    """The operands that operand i is multiplied with, in an operation that is linear in each of them."""
    name = family(str(entry.primitive))
    if name in ("matmul", "linear", "conv", "conv_bias", "conv_input", "conv_weight", "scale_shift"):
        return (1 - i,) if i < 2 else ()
    if name == "einsum":
        return tuple(j for j in range(len(entry.operands)) if j != i)
    return None


def _along(primitive: str, constants: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """For an operation in which every element enters all results along some dims: where any of these has a gradient."""
    if primitive not in ("softmax", "log_softmax", "logsumexp", "amax", "amin"):
        return None
    dims = constants["dims"]
    if g.ndim < len(shape) or primitive in ("logsumexp", "amax", "amin"):
        g = g.reshape([1 if d in dims else n for d, n in enumerate(shape)])
    return numpy.broadcast_to((g != 0).any(dims, keepdims=True), shape)
