"""What if this one number moved? The recorded operations, run again, beside what the gradient foretold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.explain.local import flowing

if TYPE_CHECKING:
    from tinygrad_med.core.tensor import Tensor
    from tinygrad_med.explain.trace import Trace


@dataclass(frozen=True)
class Nudge:
    """What one number's move did.

    Attributes:
        name, index, by: what was moved, and by how much.
        before, after: the loss; where the walk began at several numbers, their sum, weighted by the gradient it began
            with.
        change: after − before.
        gradient: of the moved number, as the walk computed it.
        foretold: gradient · by.
    """

    name: str
    index: tuple[int, ...]
    by: float
    before: float
    after: float
    change: float
    gradient: float
    foretold: float

    def __str__(self) -> str:
        place = "" if not self.index else str(list(self.index))
        return (
            f"{self.name}{place} moved by {self.by:g}: the loss went from {self.before:.8g} to {self.after:.8g}, "
            f"a change of {self.change:.6g}; the gradient {self.gradient:.6g} foretold {self.foretold:.6g}"
        )


def nudge(trace: Trace, tensor: Tensor, index: Any = (), by: float = 1e-3) -> Nudge:
    """Move one number of a leaf and see what becomes of the loss, the tensor where the last walk began.

    The operations run again on float64, so that rounding does not hide a small change; comparisons and maxima decide
    anew. Random choices (dropout) and numbers that the code took out of the graph stay as they were.

    Args:
        trace: of operations and at least one walk.
        tensor: a leaf that they used.
        index: which element: an int or a tuple; () for a tensor of one element.
        by: how far.

    Raises:
        ValueError: for a tensor that was not used, a result, or a trace without a walk.
        IndexError: for an index that names no single element.
    """
    trace.require("nudge")
    known = trace.find(tensor, "nudge")
    if known not in trace.tape.leaves:
        raise ValueError(
            "nudge: this tensor is the result of an operation; move one of the leaves it was computed from"
        )
    walk = trace.last_walk("nudge")
    array = trace.tape.leaves[known]
    place = element(array.shape, index, "nudge")
    moved = numpy.array(backend.to_numpy(array), "float64")
    moved[place] += by
    gradient = trace.tape.back(walk, trace.tape.run(flowing(trace), walk=walk.id)).gradients.get(known)
    seeds = {step.tensor: trace.tape.given[walk.id][step.tensor] for step in walk.steps if step.seed}

    def loss(change: dict[int, Any]) -> float:
        found = trace.tape.run(set(), change, double=True)
        return sum(float((found[t].array * g).sum()) for t, g in seeds.items())

    xp = backend.array_module(array)
    try:
        before, after = loss({}), loss({known: xp.asarray(moved)[()]})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"nudge: the operations can't be run again with another number: {error}") from error
    slope = 0.0 if gradient is None else float(gradient[place])
    name = trace.tensors[known].name or f"t{known}"
    return Nudge(name, place, by, before, after, after - before, slope, slope * by)


def element(shape: tuple[int, ...], index: Any, caller: str) -> tuple[int, ...]:
    """An index as a tuple of non-negative ints that names one element of an array of this shape."""
    place = tuple(index) if isinstance(index, (tuple, list)) else (index,)
    if not place and all(n == 1 for n in shape):
        place = (0,) * len(shape)
    if len(place) != len(shape) or not all(isinstance(i, int) for i in place):
        raise IndexError(f"{caller}: an element of a tensor of shape {shape} needs {len(shape)} ints, got {index!r}")
    if not all(-n <= i < n for i, n in zip(place, shape, strict=True)):
        raise IndexError(f"{caller}: there is no element {index!r} in a tensor of shape {shape}")
    return tuple(i % n for i, n in zip(place, shape, strict=True))
