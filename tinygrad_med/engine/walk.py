"""The walk as `backward()` and `grad()` run it: `steps`, or the same faster where nothing is asked besides.

A watcher is told everything: of each operation, and each step of the walk with its contributions. So it gets `steps`,
and the slower way of all that is faster unwatched. A collector wants nothing but gradients of leaves, each as early as
it is complete (`parallel` sends them away while the walk goes on); for it operations and walk run as if nobody looked.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any, Protocol

from tinygrad_med import backend
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.backward import Node, newest_first, steps
from tinygrad_med.core.broadcast import sum_to
from tinygrad_med.core.modes import mode
from tinygrad_med.core.primitive import Record
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine import autocast, errors
from tinygrad_med.engine.compiled import QuickRecord, back
from tinygrad_med.engine.hooks import run_hooks
from tinygrad_med.engine.writes import writes

Step = tuple[Node, Any, Sequence[Any]]


class Collector(Protocol):
    """What takes leaves' gradients out of a walk, and may put others in their place.

    Attributes:
        leaves: the leaves that it wants early.
    """

    leaves: Collection[Tensor]

    def walk(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The steps to go on with. Those of leaves come in, with or without records; their arrays stay the walk's."""


class _Collectors(threading.local):
    """The collectors of the calling thread's walks."""

    present: tuple[Collector, ...] = ()


_collectors = _Collectors()


@contextmanager
def collected(collector: Collector) -> Iterator[None]:
    """Let all walks of this thread within the block go through a collector."""
    before = _collectors.present
    _collectors.present = (*before, collector)
    try:
        yield
    finally:
        _collectors.present = before


def walk(
    start: Mapping[Node, Any], targets: Collection[Node] | None, retain_graph: bool | None, create_graph: bool
) -> Iterator[Step]:
    """The steps that leave gradients somewhere, and all others too where somebody watches."""
    collectors = _collectors.present
    if targets is None and not (create_graph or mode.watchers or mode.definition):
        walked = leaves(start, bool(retain_graph), {leaf for collector in collectors for leaf in collector.leaves})
    else:
        walked = steps(start, targets, retain_graph, create_graph)
        if autocast.casting.dtypes:
            walked = autocast.unconverted(walked)
        for watcher in mode.watchers:
            walked = watcher.walk(walked)
    for collector in collectors:
        walked = collector.walk(walked)
    return walked


def leaves(start: Mapping[Node, Any], retain_graph: bool, early: Collection[Tensor] = ()) -> Iterator[Step]:
    """The last steps of `steps(start)`, those of the leaves.

    The records wait in a heap, the newest on top, from when the first gradient arrives; so nothing needs to know the
    graph before. Each hands its contributions on by the way back that was generated for it.

    Args:
        start, retain_graph: as for `steps`.
        early: leaves that come as soon as the records that are left are all older than those that use the leaf. One
            that has a hook comes last all the same, when its hook is to run.
    """
    pending: dict[Any, Any] = dict(start)
    heap = [(-node.number, node) for node in start if isinstance(node, Record)]
    waiting = oldest_uses(start, early) if early else []
    while heap:
        record = heappop(heap)[1]
        while waiting and waiting[-1][0] > record.number:
            leaf = waiting.pop()[1]
            if leaf in pending and not leaf.hooks:
                yield leaf, pending.pop(leaf), ()
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
            else:
                push(record, g, pending, heap)
                if not retain_graph:
                    record.saved = None
        except errors.RULE_FAILURES as error:
            errors.refuse_rule(record, error)
        except MemoryError as error:
            raise backend.out_of_memory(f"backward of {record.primitive}", error) from error
    for leaf, g in pending.items():
        yield leaf, run_hooks(leaf.hooks, g, False), ()


def oldest_uses(start: Collection[Node], wanted: Collection[Tensor]) -> list[tuple[int, Tensor]]:
    """The number of the oldest operation that uses a leaf, which the walk passes last, and the leaf; in this order."""
    oldest: dict[Any, int] = {}
    for record in reversed(newest_first(start)):
        for node in record.inputs:
            if node in wanted:
                oldest.setdefault(node, record.number)
    return [(number, leaf) for leaf, number in oldest.items()]


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
