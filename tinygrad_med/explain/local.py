"""The local derivatives of small operations, element by element: their rules on unit vectors as upstream gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.explain.tape import OPAQUE, Entry, Local, Ref
from tinygrad_med.explain.trace import SMALL, Jacobian, Trace
from tinygrad_med.explain.values import shortest

if TYPE_CHECKING:
    from tinygrad_med.core.tensor import Tensor


def flowing(trace: Trace) -> set[int]:
    """The tensors without a recorded operation that a gradient flows to."""
    return {t.id for t in trace.tensors if t.node is None and t.requires_grad}


def add_jacobians(trace: Trace, again: Callable[[], dict[int, Tensor]]) -> None:
    """Enter them where output and operand are small; `again` runs the tape, if it must."""
    small = [math.prod(facts.values.shape) <= SMALL for facts in trace.tensors]
    for node, entry in zip(trace.nodes, trace.tape.entries, strict=True):
        if node.primitive in OPAQUE or not small[node.output]:
            continue
        missing = [
            i
            for i, operand in enumerate(node.operands)
            if entry.operands[i].needed
            and operand.jacobian is None
            and operand.tensor is not None
            and small[operand.tensor]
        ]
        if missing:
            tensors = again()
            operands = [_number(given.value, tensors) for given in entry.operands]
            found = _jacobians(entry, operands, trace.tape.constants(entry, tensors), tensors[node.output].shape)
            for i in missing:
                node.operands[i].jacobian = found(i)


def _number(value: Any, tensors: Any) -> Any:
    return tensors[value.tensor].array if isinstance(value, Ref) else value


def spread(operands: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The operands of an operation that works element by element, broadcast to the shape of its output."""
    return [backend.array_module(x).broadcast_to(x, shape) if backend.is_array(x) else x for x in operands]


def _jacobians(entry: Entry, operands: list[Any], constants: Any, shape: tuple[int, ...]) -> Callable[[int], Jacobian]:
    """The Jacobian of an operation by its operand: the rules give those of all operands at once."""
    outputs = math.prod(shape)
    if entry.elementwise:
        diagonals = Local(entry, spread(operands, shape), constants).contributions(numpy.ones(shape))

        def diagonal(i: int) -> Jacobian:
            inputs = operands[i].size
            positions = numpy.broadcast_to(numpy.arange(inputs).reshape(operands[i].shape), shape).reshape(-1)
            at = [[o, p] for o, p in enumerate(positions.tolist())]
            return Jacobian([outputs, inputs], at, shortest(backend.to_numpy(diagonals[i])))

        return diagonal

    local = Local(entry, operands, constants)
    rows = [local.contributions(unit.reshape(shape)) for unit in numpy.eye(outputs)]

    def matrix(i: int) -> Jacobian:
        at, numbers = [], []
        for o, contributions in enumerate(rows):
            row = numpy.asarray(backend.to_numpy(contributions[i])).reshape(-1)
            found = numpy.flatnonzero(row)
            at += [[o, p] for p in found.tolist()]
            numbers += shortest(row[found])
        return Jacobian([outputs, operands[i].size], at, numbers)

    return matrix
