"""The walk as `backward()` and `grad()` run it: `steps`, or the same faster where nothing is asked besides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.backward import Node, steps
from tinygrad_med.core.broadcast import sum_to
from tinygrad_med.core.modes import mode
from tinygrad_med.core.primitive import Record
from tinygrad_med.engine import autocast, errors
from tinygrad_med.engine.compiled import QuickRecord, back
from tinygrad_med.engine.hooks import run_hooks
from tinygrad_med.engine.writes import writes

Step = tuple[Node, Any, Sequence[Any]]


def walk(
    start: Mapping[Node, Any], targets: Collection[Node] | None, retain_graph: bool | None, create_graph: bool
) -> Iterator[Step]:
    """The steps that leave gradients somewhere, and all others too where somebody watches."""
    if targets is None and not (create_graph or mode.watchers or mode.definition):
        return leaves(start, bool(retain_graph))
    walked = steps(start, targets, retain_graph, create_graph)
    if autocast.casting.dtypes:
        walked = autocast.unconverted(walked)
    for watcher in mode.watchers:
        walked = watcher.walk(walked)
    return walked


def leaves(start: Mapping[Node, Any], retain_graph: bool) -> Iterator[Step]:
    """The last steps of `steps(start)`, those of the leaves.

    The records wait in a heap, the newest on top, from when the first gradient arrives; so nothing needs to know the
    graph before. Each hands its contributions on by the way back that was generated for it.
    """
    pending: dict[Any, Any] = dict(start)
    heap = [(-node.number, node) for node in start if isinstance(node, Record)]
    while heap:
        record = heappop(heap)[1]
        g = pending.pop(record)
        if record.hooks:
            g = run_hooks(record.hooks, g, False)
        if writes.last > record.number:
            writes.check(record)
        try:
            if isinstance(record, QuickRecord):
                if record.values is None:
                    errors.refuse_freed(record)
                record.plan.push(record, g, pending, heap)
                if not retain_graph:
                    record.values = None
                    record.inputs = ()
            else:
                push(record, g, pending, heap)
                if not retain_graph:
                    record.saved, record.inputs = None, ()
        except errors.RULE_FAILURES as error:
            errors.refuse_rule(record, error)
        except MemoryError as error:
            raise backend.out_of_memory(f"backward of {record.primitive}", error) from error
    for leaf, g in pending.items():
        yield leaf, run_hooks(leaf.hooks, g, False), ()


def push(record: Record, g: Any, pending: dict[Any, Any], heap: list[tuple[int, Record]]) -> None:
    """Hand each input of a record that `Primitive.apply` made its contribution."""
    errors.refuse_freed(record)
    for node, d in zip(record.inputs, back(record, g), strict=True):
        if node is None or d is None:
            continue
        if d.shape != node.shape:
            d = undo_broadcast(record, d, node.shape)
        if node in pending:
            pending[node] = kernels(backend.array_module(d)).plus(pending[node], d)
        else:
            pending[node] = d
            if isinstance(node, Record):
                heappush(heap, (-node.number, node))


def undo_broadcast(record: Record, d: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the dims that broadcasting added to its operand."""
    errors.refuse_shape(record, d.shape, shape)
    return sum_to(d, shape=shape)
