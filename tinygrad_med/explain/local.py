"""The local derivatives of small operations, element by element: their rules on unit vectors as upstream gradient."""

from __future__ import annotations

from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.explain.tape import OPAQUE, Entry, Local, Ref
from tinygrad_med.explain.trace import SMALL, Jacobian, Trace
from tinygrad_med.explain.values import shortest


def flowing(trace: Trace) -> set[int]:
    """The tensors without a recorded operation that a gradient flows to."""
    return {t.id for t in trace.tensors if t.node is None and t.requires_grad}


def add_jacobians(trace: Trace) -> None:
    """Enter them where output and operand are small."""
    missing = [
        (number, i)
        for number, node in enumerate(trace.nodes)
        for i, operand in enumerate(node.operands)
        if trace.tape.entries[number].operands[i].needed
        and node.primitive not in OPAQUE
        and operand.jacobian is None
        and operand.tensor is not None
        and _size(trace, node.output) <= SMALL
        and _size(trace, operand.tensor) <= SMALL
    ]
    if not missing:
        return
    tensors = trace.tape.run(flowing(trace))
    for number, i in missing:
        entry = trace.tape.entries[number]
        operands = [_number(given.value, tensors) for given in entry.operands]
        constants = trace.tape.constants(entry, tensors)
        trace.nodes[number].operands[i].jacobian = _jacobian(entry, operands, constants, i, tensors[entry.output].shape)


def _size(trace: Trace, tensor: int) -> int:
    return int(numpy.prod(trace.tensors[tensor].values.shape))


def _number(value: Any, tensors: Any) -> Any:
    return tensors[value.tensor].array if isinstance(value, Ref) else value


def spread(operands: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The operands of an operation that works element by element, broadcast to the shape of its output."""
    return [backend.array_module(x).broadcast_to(x, shape) if backend.is_array(x) else x for x in operands]


def _jacobian(entry: Entry, operands: list[Any], constants: Any, i: int, shape: tuple[int, ...]) -> Jacobian:
    own = operands[i].shape
    outputs, inputs = int(numpy.prod(shape)), operands[i].size
    if entry.elementwise:
        positions = numpy.broadcast_to(numpy.arange(inputs).reshape(own), shape).reshape(-1)
        diagonal = Local(entry, spread(operands, shape), constants).contributions(numpy.ones(shape))[i]
        at = [[o, int(p)] for o, p in enumerate(positions)]
        return Jacobian([outputs, inputs], at, shortest(backend.to_numpy(diagonal)))
    local = Local(entry, operands, constants)
    at, numbers = [], []
    for o in range(outputs):
        unit = numpy.zeros(outputs)
        unit[o] = 1
        row = numpy.asarray(backend.to_numpy(local.contributions(unit.reshape(shape))[i])).reshape(-1)
        found = numpy.flatnonzero(row)
        at += [[o, int(p)] for p in found]
        numbers += shortest(row[found])
    return Jacobian([outputs, inputs], at, numbers)
