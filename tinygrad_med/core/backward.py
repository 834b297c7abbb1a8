"""The walk: from a result back to the leaves.

`steps` is the one place where gradients flow. It goes through the records from the newest to the oldest, which is an
order in which every record comes after all that used its output; so the gradient of its output is complete when its
turn comes, and nothing recurses. `backward` and `grad` loop over the same steps, and whoever wants to watch
backpropagation can loop over them too. (Both usually take them from `engine/walk.py`, which does the
same faster.) Functions named `errors.refuse_…` raise an error if something is wrong, and otherwise do nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.broadcast import sum_to
from tinygrad_med.core.primitive import Record
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine import errors
from tinygrad_med.engine.conversions import as_array, own_memory
from tinygrad_med.engine.hooks import run_hooks
from tinygrad_med.engine.switches import switched
from tinygrad_med.engine.writes import writes

Node = Record | Tensor
"""A place in the graph: the record of an operation, or a leaf."""

Steps = Iterator[tuple[Node, Any, Sequence[Any]]]
"""The walk, node by node: the node, the gradient of its output, and its contributions to the node's inputs."""


def backward(
    tensor: Tensor, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
) -> None:
    """Add to the `grad` of every leaf the derivative of this tensor, weighted by `gradient`.

    Args:
        tensor: the result, usually a loss of one element.
        gradient: the upstream gradient, of the tensor's shape; 1 for a tensor of one element.
        retain_graph: keep the saved values, so that the graph can be walked again; by default as `create_graph`.
        create_graph: record the computation of the gradients, so that they have derivatives too.
        inputs: leave gradients only here.

    Raises:
        RuntimeError: for a tensor of several elements without `gradient`, a tensor that requires no gradient, a graph
            that was freed by an earlier walk, or a saved value that was overwritten.
    """
    from tinygrad_med.engine.walk import walk

    receivers = None if inputs is None else {node_of(x, "backward"): x for x in as_list(inputs)}
    start = {node_of(tensor, "backward"): upstream(tensor, gradient, create_graph, "backward")}
    handed_out = set(map(id, start.values()))  # arrays that somebody holds: no leaf may get one of them uncopied
    with switched("grad", create_graph):
        for node, g, _ in walk(start, receivers, retain_graph, create_graph):
            receiver = node if receivers is None else receivers.get(node)
            if isinstance(receiver, Tensor):
                accumulate(receiver, g, handed_out)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The derivatives of the sum of `outputs`, weighted by `grad_outputs`, with respect to `inputs`.

    Leaves every `.grad` alone, and computes only what lies between outputs and inputs.

    Args:
        outputs: results, one tensor or several.
        inputs: tensors of the graph, leaves or not.
        grad_outputs: upstream gradients, one per output; may be left out for outputs of one element.
        retain_graph, create_graph: as for `backward`.
        allow_unused: give `None` for an input that no output depends on, instead of an error.

    Returns:
        One gradient per input, of its shape and dtype.
    """
    from tinygrad_med.engine.walk import walk

    outputs, inputs, seeds = as_list(outputs), as_list(inputs), as_list(grad_outputs)
    seeds = [None] * len(outputs) if grad_outputs is None else seeds
    errors.refuse_count(outputs, seeds)
    nodes = [node_of(x, "grad") for x in inputs]
    start: dict[Node, Any] = {}
    with switched("grad", create_graph):
        for output, seed in zip(outputs, seeds, strict=True):
            add_to(start, node_of(output, "grad"), upstream(output, seed, create_graph, "grad"))
        found = {node: g for node, g, _ in walk(start, set(nodes), retain_graph, create_graph) if node in set(nodes)}
    errors.refuse_unused([i for i, node in enumerate(nodes) if node not in found], allow_unused)
    return tuple(as_tensor(found[node]) if node in found else None for node in nodes)


def records(tensor: Tensor) -> list[Record]:
    """The operations that a tensor was computed from, the newest first."""
    return [] if tensor.origin is None else newest_first([tensor.origin])


# The steps ----------------------------------------------------------------------------------------------------------


def steps(
    start: Mapping[Node, Any] | Tensor,
    targets: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> Steps:
    """Walk back from the nodes in `start` and yield `(node, gradient, contributions)` for one node after the other.

    Args:
        start: the nodes to start from and their upstream gradients: arrays, or tensors if `create_graph`; or the
            result, a tensor of one element.
        targets: visit only what leads to these nodes; `None` for all.
        retain_graph: whether records keep their saved values; by default as `create_graph`.
        create_graph: run the rules on tensors, so that the gradients have a graph themselves.

    Yields:
        The node, the complete gradient of its output, and what that contributes to each of the node's inputs (of the
        input's shape, `None` where no gradient flows). Records come from the newest to the oldest, leaves last.
    """
    if isinstance(start, Tensor):
        start = {node_of(start, "steps"): upstream(start, None, create_graph, "steps")}
    retain_graph = create_graph if retain_graph is None else retain_graph
    pending, found = dict(start), newest_first(start)
    wanted = leading_to(targets, found)
    for record in found:
        if record not in pending or record not in wanted:
            continue
        g = run_hooks(record.hooks, pending.pop(record), create_graph)
        flows = [node is not None and node in wanted for node in record.inputs]
        if targets is None or any(flows):
            errors.refuse_freed(record)
        if not any(flows):  # the gradient of this output was asked for, and none behind it
            yield record, g, ()
            continue
        writes.check(record)  # an error if a saved array was overwritten since
        try:
            contributions = record.back(g, flows, in_graph(record) if create_graph else record.saved or {})
        except errors.RULE_FAILURES as error:
            errors.refuse_rule(record, error)
        for i, (node, d) in enumerate(zip(record.inputs, contributions, strict=True)):
            if node is not None and d is not None:
                if d.shape != node.shape:  # right if the operand was broadcast: sum over what was repeated
                    errors.refuse_shape(record, d.shape, node.shape)
                    contributions[i] = d = sum_to(d, shape=node.shape)
                add_to(pending, node, d)
        if not retain_graph:
            record.saved = None
        yield record, g, contributions
    for leaf, g in pending.items():
        if isinstance(leaf, Tensor) and leaf in wanted:
            yield leaf, run_hooks(leaf.hooks, g, create_graph), ()


def add_to(pending: dict[Node, Any], node: Node, d: Any) -> None:
    """Add a contribution to what a node has received so far: where a value was used twice, its gradients add up."""
    pending[node] = pending[node] + d if node in pending else d


def newest_first(start: Collection[Node]) -> list[Record]:
    """The records that the starting nodes were computed from (themselves included), from the newest to the oldest."""
    found = [node for node in start if not isinstance(node, Tensor)]
    seen = set(found)
    for record in found:
        for node in record.inputs:
            if node is not None and not isinstance(node, Tensor) and node not in seen:
                seen.add(node)
                found.append(node)
    return sorted(found, key=attrgetter("number"), reverse=True)


class Everything:
    """The set that has every node."""

    def __contains__(self, node: object) -> bool:
        return True


def leading_to(targets: Collection[Node] | None, found: list[Record]) -> set[Node] | Everything:
    """The targets, and the records through which they are reached."""
    if targets is None:
        return Everything()
    wanted = set(targets)
    for record in reversed(found):
        if any(node in wanted for node in record.inputs):
            wanted.add(record)
    return wanted


def in_graph(record: Record) -> dict[str, Any]:
    """The saved values of a record as tensors at their places in the graph: what rules run on under `create_graph`."""
    values = dict(record.saved or {})
    if "z" in values:
        values["z"] = wrap(values["z"], record)
    for i, name in enumerate(record.primitive.operands):
        if name in values and record.primitive.variadic:
            values[name] = tuple(
                [at_place(x, node, record) for x, node in zip(values[name], record.inputs, strict=True)]
            )
        elif name in values:
            values[name] = at_place(values[name], record.inputs[i], record)
    return values


def at_place(value: Any, node: Node | None, record: Record) -> Any:
    """A saved operand as the tensor that it was: a result, a leaf, or still an array if it needed no gradient."""
    if isinstance(node, Tensor):
        errors.refuse_exchanged(record, node, value)
        return node
    return value if node is None else wrap(value, node)


# Beginning and end --------------------------------------------------------------------------------------------------


def node_of(tensor: Tensor, caller: str) -> Node:
    """The place of a tensor in the graph."""
    errors.refuse_no_graph(tensor, caller)
    return tensor.origin or tensor


def upstream(tensor: Tensor, gradient: Any, create_graph: bool, caller: str) -> Any:
    """The upstream gradient to start with: an array, or a tensor if the graph of the gradient is wanted."""
    if gradient is None:
        errors.refuse_several(tensor, caller)
        # [()] makes a number of a 0-d array, as every operation without dims returns it
        gradient = wrap(backend.array_module(tensor.array).ones_like(tensor.array)[()])
    elif not (isinstance(gradient, Tensor) and (gradient.dtype, gradient.device) == (tensor.dtype, tensor.device)):
        gradient = wrap(as_array(gradient, tensor.dtype, tensor.device))
    errors.refuse_upstream(tensor, gradient, caller)
    return gradient if create_graph else gradient.array


def accumulate(leaf: Tensor, g: Any, handed_out: set[int]) -> None:
    """Add a gradient to `leaf.grad`, which has memory of its own: somebody will zero it in place.

    An array that is a view, or that went to another leaf already, is copied; every other was made for this leaf.
    """
    errors.refuse_dtype(leaf, g)
    if isinstance(g, Tensor):
        leaf.grad = g.clone() if leaf._grad is None else leaf._grad + g
    elif leaf._grad is None:
        # of a view, `base` is the array that it looks into
        shared = getattr(g, "base", None) is not None or id(g) in handed_out
        leaf.grad = wrap(own_memory(g.copy() if shared else g))
        handed_out.add(id(g))
    elif leaf._grad.requires_grad:  # it has a graph from an earlier walk, in which nothing may be overwritten
        leaf.grad = wrap(leaf._grad.array + g)
    else:
        leaf._grad.add_(g)


def as_tensor(g: Any) -> Tensor:
    """A gradient as a tensor."""
    return g if isinstance(g, Tensor) else wrap(g)


def as_list(x: Any) -> list[Any]:
    """One tensor, or several, as a list."""
    return list(x) if isinstance(x, (list, tuple)) else [x]
