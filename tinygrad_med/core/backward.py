"""The walk: from a result back to the leaves.

`steps` is the one place where gradients flow. It goes through the records from the newest to the oldest, which is an
order in which every record comes after all that used its output; so the gradient of its output is complete when its
turn comes, and nothing recurses. `backward` and `grad` drain the same steps, and whoever wants to watch
backpropagation can drain them too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.broadcast import sum_to
from tinygrad_med.core.modes import AnomalyError, enable_grad, mode, set_grad_enabled, writes
from tinygrad_med.core.primitive import Record
from tinygrad_med.core.tensor import Tensor, as_array, wrap
from tinygrad_med.engine.errors import RuleShapeError, describe_nonfinite

Node = Record | Tensor
"""A place in the graph: the record of an operation, or a leaf."""

Steps = Iterator[tuple[Node, Any, Sequence[Any]]]
"""What `steps` yields."""


def backward(
    tensor: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[Tensor] | None = None,
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
    receivers = None if inputs is None else {_node(x, "backward"): x for x in inputs}
    seed = _seed(tensor, gradient, create_graph, "backward")
    handed_out = {id(seed)}
    walk = watched(steps({_node(tensor, "backward"): seed}, receivers, retain_graph, create_graph))
    for node, g, _ in walk:
        receiver = node if receivers is None else receivers.get(node)
        if isinstance(receiver, Tensor):
            _accumulate(receiver, g, create_graph, handed_out)


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
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    seeds = [grad_outputs] if not isinstance(grad_outputs, (list, tuple)) else grad_outputs
    seeds = [None] * len(outputs) if grad_outputs is None else seeds
    if len(seeds) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs, but {len(seeds)} grad_outputs; give one for each")
    nodes = [_node(x, "grad") for x in inputs]
    pending: dict[Node, Any] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        node, g = _node(output, "grad"), _seed(output, seed, create_graph, "grad")
        if node in pending:
            g = _add(pending[node], g) if create_graph else pending[node] + g
        pending[node] = g

    targets = set(nodes)
    walk = watched(steps(pending, targets, retain_graph, create_graph))
    found = {node: g for node, g, _ in walk if node in targets}
    missing = [i for i, node in enumerate(nodes) if node not in found]
    if missing and not allow_unused:
        raise RuntimeError(f"grad: no output depends on input {missing[0]}; pass allow_unused=True to get None for it")
    return tuple(_as_tensor(found[node]) if node in found else None for node in nodes)


def watched(walk: Steps) -> Steps:
    """The steps, past the eyes of this thread's watchers."""
    for watcher in mode.watchers:
        walk = watcher.walk(walk)
    return walk


def records(tensor: Tensor) -> list[Record]:
    """The operations that a tensor was computed from, the newest first."""
    return [] if tensor.origin is None else _newest_first({tensor.origin: None})


# The steps ----------------------------------------------------------------------------------------------------------


def steps(
    pending: dict[Node, Any],
    targets: Collection[Node] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> Steps:
    """Walk back from the nodes in `pending` and yield `(node, gradient, contributions)` for one node after the other.

    Args:
        pending: the nodes to start from and their upstream gradients: arrays, or tensors if `create_graph`.
        targets: visit only what leads to these nodes; `None` for all.
        retain_graph: whether records keep their saved values; by default as `create_graph`.
        create_graph: run the rules on tensors, so that the gradients have a graph themselves.

    Yields:
        The node, the complete gradient of its output, and what that contributes to each of the node's inputs (of the
        input's shape, `None` where no gradient flows). Records come from the newest to the oldest, leaves last.
    """
    retain_graph = create_graph if retain_graph is None else retain_graph
    records = _newest_first(pending)
    wanted = None if targets is None else _leading_to(targets, records)
    overwritten = bool(records) and writes.last > records[-1].number
    anomaly = mode.anomaly
    for record in records:
        if wanted is not None and record not in wanted:
            continue
        g = pending.pop(record, None)
        if g is None:
            continue
        if record.hooks:
            g = _run_hooks(record.hooks, g, create_graph)
        plan, inputs = record.plan, record.inputs
        if wanted is not None:
            plan = plan.only(tuple(edge in wanted for edge in inputs))
            if not any(plan.needed):  # an inner tensor that was asked for: nothing behind it is
                yield record, g, ()
                continue
        if record.saved is None:
            raise RuntimeError(
                f"{plan.primitive}: the graph was walked before, which freed its saved values; "
                "pass retain_graph=True to the earlier backward() or grad()"
            )
        if overwritten:
            _check_writes(record)
        try:
            if create_graph:
                with enable_grad():
                    contributions = plan.back(g, *_as_tensors(record))
            else:
                contributions = (plan.joint or plan.back)(g, *record.saved)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise RuntimeError(
                f"backward of {plan.primitive}: its derivative rule failed: {error}{_hint(error)}"
            ) from error
        for i, edge in enumerate(inputs):
            d = contributions[i]
            if d is None or edge is None:
                continue
            if d.shape != edge.shape:
                d = _undo_broadcast(d, edge.shape, record)
                contributions = (*contributions[:i], d, *contributions[i + 1 :])
            if anomaly:
                _check_finite(d, i, record)
            earlier = pending.get(edge)
            if earlier is not None:
                d = _add(earlier, d) if create_graph else earlier + d
            pending[edge] = d
        if not retain_graph:
            record.saved = None
            record.inputs = ()
        yield record, g, contributions
    for leaf, g in list(pending.items()):
        if isinstance(leaf, Tensor) and (wanted is None or leaf in wanted):
            yield leaf, _run_hooks(leaf.hooks, g, create_graph) if leaf.hooks else g, ()


def _newest_first(starts: dict[Node, Any]) -> list[Record]:
    """The records that the starting nodes were computed from (themselves included), from the newest to the oldest."""
    found = [node for node in starts if not isinstance(node, Tensor)]
    seen = set(found)
    for record in found:
        for edge in record.inputs:
            if edge is not None and edge not in seen and not isinstance(edge, Tensor):
                seen.add(edge)
                found.append(edge)
    found.sort(key=_number, reverse=True)
    return found


_number = attrgetter("number")


def _leading_to(targets: Collection[Node], records: list[Record]) -> set[Node]:
    """The targets, and the records through which they are reached."""
    wanted = set(targets)
    for record in reversed(records):
        if any(edge in wanted for edge in record.inputs):
            wanted.add(record)
    return wanted


def _as_tensors(record: Record) -> list[Any]:
    """The saved values of a record with their places in the graph: what rules run on under `create_graph`."""
    primitive = record.primitive
    values: list[Any] = []
    for slot, value in zip(record.plan.slots, record.saved or (), strict=True):
        if slot == "z":
            values.append(wrap(value, record))
        elif slot not in primitive.operands:
            values.append(value)
        elif primitive.variadic:
            values.append(tuple(_as_operand(v, edge, record) for v, edge in zip(value, record.inputs, strict=True)))
        else:
            values.append(_as_operand(value, record.inputs[primitive.operands.index(slot)], record))
    return values


def _as_operand(value: Any, edge: Node | None, record: Record) -> Any:
    if edge is None:
        return value
    if not isinstance(edge, Tensor):
        return wrap(value, edge)
    if edge.array is not value:  # a number, or other memory, has taken its place: the leaf can't stand for the old one
        raise RuntimeError(
            f"backward of {record.primitive}: the numbers of its operand of shape {edge.shape} were exchanged since, "
            "which create_graph can't follow; clone() it first"
        )
    return edge


def _add(earlier: Tensor, d: Tensor) -> Tensor:
    with enable_grad():
        return earlier + d


def _hint(error: Exception) -> str:
    """What to do about a rule that knows only one of the two that it gets, arrays and tensors."""
    if not isinstance(error, (AttributeError, TypeError)):
        return ""
    return (
        "; a rule gets arrays, and tensors under create_graph: write it with operators and functions that take both, "
        "tinygrad_med.sum(g, 1), not with methods or NumPy's functions"
    )


def _undo_broadcast(d: Any, shape: tuple[int, ...], record: Record) -> Any:
    """Sum a gradient over the dims that broadcasting added to its operand."""
    added = len(d.shape) - len(shape)
    if added < 0 or any(n not in (1, m) for n, m in zip(shape, d.shape[added:], strict=True)):
        raise RuleShapeError(record.primitive, d.shape, shape)
    with set_grad_enabled(isinstance(d, Tensor)):
        return sum_to(d, shape=shape)


def _run_hooks(hooks: list[Any], g: Any, create_graph: bool) -> Any:
    """The gradient after the hooks have seen, and perhaps replaced it."""
    tensor = g if create_graph else wrap(g.copy())
    with set_grad_enabled(create_graph):
        for hook in list(hooks):
            replaced = hook(tensor)
            if replaced is not None:
                if replaced.shape != tensor.shape:
                    raise RuntimeError(
                        f"gradient hook: returned shape {replaced.shape}, the gradient has {tensor.shape}"
                    )
                tensor = replaced
    return tensor if create_graph else tensor.array.copy()  # a hook may keep what it got, and what it returned


def _check_writes(record: Record) -> None:
    """Raise an error if a value that the record saved was overwritten since."""
    for slot, value in zip(record.plan.slots, record.saved or (), strict=True):
        for array in value if isinstance(value, tuple) else (value,):
            if backend.is_array(array) and (line := writes.since(array, record.number)):
                what = (
                    "its result"
                    if slot == "z"
                    else f"its operand {slot}"
                    if slot in record.primitive.operands
                    else slot
                )
                raise RuntimeError(
                    f"{record.primitive}: {what}, which the derivative needs, was overwritten in place at {line}; "
                    "clone() it first, or use an operation that makes a new tensor"
                )


def _check_finite(d: Any, i: int, record: Record) -> None:
    """In anomaly mode: raise an error if a gradient has a NaN or an infinity."""
    array = d.array if isinstance(d, Tensor) else d
    if not backend.array_module(array).isfinite(array).all():
        raise AnomalyError(
            f"backward of {record.primitive}: the gradient for its operand {i} has {describe_nonfinite(array)}; "
            f"the operation ran at {record.line or 'a line before detect_anomaly was on'}"
        )


# Beginning and end --------------------------------------------------------------------------------------------------


def _node(tensor: Tensor, caller: str) -> Node:
    """The place of a tensor in the graph."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{caller}: expected a tensor, got {type(tensor).__name__}")
    if not tensor.requires_grad:
        raise RuntimeError(
            f"{caller}: the tensor of shape {tensor.shape} requires no gradient; "
            "set requires_grad=True on a leaf that it is computed from, outside no_grad()"
        )
    return tensor.origin or tensor


def _seed(tensor: Tensor, gradient: Any, create_graph: bool, caller: str) -> Any:
    """The upstream gradient to start with: an array, or a tensor if the graph of the gradient is wanted."""
    if gradient is None:
        if tensor.array.size != 1:
            raise RuntimeError(
                f"{caller}: the gradient of a tensor of shape {tensor.shape} needs an upstream gradient of that shape; "
                "reduce it to one element first (.sum(), .mean()), or pass one"
            )
        array = backend.array_module(tensor.array).ones_like(tensor.array)[()]
        return wrap(array) if create_graph else array
    if not (isinstance(gradient, Tensor) and gradient.dtype == tensor.dtype and gradient.device == tensor.device):
        gradient = wrap(as_array(gradient, tensor.dtype, tensor.device))
    if gradient.shape != tensor.shape:
        raise RuntimeError(f"{caller}: the upstream gradient has shape {gradient.shape}, the tensor {tensor.shape}")
    return gradient if create_graph else gradient.array


def _accumulate(leaf: Tensor, g: Any, create_graph: bool, handed_out: set[int]) -> None:
    """Add a gradient to `leaf.grad`, which must own its memory: somebody will zero it in place.

    An array that is a view, or that went to another leaf already, is copied; every other was made for this leaf.
    """
    if g.dtype != leaf.dtype:
        raise RuntimeError(f"backward: a rule gave a {g.dtype} gradient for a {leaf.dtype} leaf of shape {leaf.shape}")
    if create_graph:
        with enable_grad():
            leaf.grad = g.clone() if leaf.grad is None else leaf.grad + g
        return
    if leaf.grad is None:
        if getattr(g, "base", None) is not None or id(g) in handed_out:
            g = g.copy()
        handed_out.add(id(g))
        leaf.grad = wrap(g)
    elif leaf.grad.requires_grad or not leaf.grad.ndim:
        leaf.grad = wrap(leaf.grad.array + g)
    else:
        writes.note(leaf.grad.array)
        leaf.grad.array += g


def _as_tensor(g: Any) -> Tensor:
    return g if isinstance(g, Tensor) else wrap(g)
