"""The tape: what is needed to run the recorded operations again, and nothing that they can compute themselves.

A trace of a large network keeps summaries; its questions (why is this zero? what if this number moved?) need numbers.
They come from running the same operations on the same leaves again, with the engine itself, and walking back from where
the recorded walk began. So the tape holds copies of the leaves and constants, and of the gradients that a walk was
given: where it began, and where a hook put another in place.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy

from tinygrad_med import backend
from tinygrad_med.core.backward import steps
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.switches import enable_grad, set_grad_enabled, switched
from tinygrad_med.explain.trace import Walk


class Ref(NamedTuple):
    """Stands on the tape for a tensor of the trace."""

    tensor: int


class Given(NamedTuple):
    """One operand: a `Ref` or a number; whether it was a tensor, and whether a gradient flows to it."""

    value: Any
    is_tensor: bool
    needed: bool


@dataclass
class Entry:
    """One operation on the tape."""

    primitive: Any
    operands: list[Given]
    constants: dict[str, Any]
    output: int
    recorded: bool

    @property
    def elementwise(self) -> bool:
        """Whether it works on each element by itself, with operands broadcast."""
        name = str(self.primitive)
        module = self.primitive.forward.__module__
        return module.endswith((".elementwise", ".elementary")) or name in ("cast", "expand", "binary_cross_entropy")


OPAQUE = ("gate", "pass_through", "function")
"""Operations whose rules are the user's code (a hook of a module, a `Function`): they are not run again."""


@primitive
def _as_recorded(xp: Any, *xs: Any, value: Any, contributions: list[Any]) -> Any:  # noqa: ARG001 - the rule asks for it
    """z = what it was

    ∂xs: what it was
    """
    return value


_as_recorded.vjp(xs=lambda g, i, contributions: contributions[i] if contributions else None)  # noqa: ARG005


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Run operations that no watcher of this thread sees, and that raise no alarm."""
    with switched("watchers", ()), numpy.errstate(all="ignore"):
        yield


class Local:
    """One operation by itself: its rules, on the numbers that it ran with.

    Args:
        entry: the operation.
        operands: arrays and numbers to run it with.
        constants: likewise.
    """

    def __init__(self, entry: Entry, operands: list[Any], constants: dict[str, Any]) -> None:
        self.operands: list[Any] = []
        for given, value in zip(entry.operands, operands, strict=True):
            x = wrap(value) if given.is_tensor else value
            if given.needed:
                x.requires_grad = True
            self.operands.append(x)
        with unwatched(), enable_grad():
            self.output = entry.primitive(*self.operands, **constants)

    def contributions(self, g: Any) -> list[Any]:
        """What an upstream gradient, an array of the output's shape, contributes to each operand; `None` for none."""
        assert self.output.origin is not None
        g = backend.array_module(self.output.array).asarray(g, dtype=self.output.dtype)
        with unwatched():
            _, _, found = next(iter(steps({self.output.origin: g}, retain_graph=True)))
        return list(found)

    def forward_derivative(self, i: int, v: Any) -> Any:
        """∂output/∂operand i, times v, by transposing the rule: it is linear in g, so its own derivative says how."""
        assert self.output.origin is not None
        x = self.operands[i]
        g = wrap(backend.array_module(x.array).ones_like(self.output.array))
        g.requires_grad = True
        with unwatched(), enable_grad():
            _, _, found = next(iter(steps({self.output.origin: g}, retain_graph=True, create_graph=True)))
            d = found[i]
            if not d.requires_grad:  # a rule that is 0 whatever g is
                return backend.array_module(x.array).zeros_like(self.output.array)
            node = d.origin or d
            seed = backend.array_module(x.array).asarray(v, dtype=d.dtype)
            for place, upstream, _ in steps({node: seed}, {g}):
                if place is g:
                    return upstream
        return backend.array_module(x.array).zeros_like(self.output.array)


class Back(NamedTuple):
    """A walk that was run again.

    Attributes:
        gradients: by tensor, its complete gradient.
        contributions: by node, what it contributes to each of its operands.
    """

    gradients: dict[int, Any]
    contributions: dict[int, list[Any]]


@dataclass
class Tape:
    """The recorded operations.

    Attributes:
        entries: one per node.
        leaves: by tensor, a copy of its numbers; of every tensor that no recorded operation made.
        given: per walk, by tensor: the gradients that did not come out of the walk itself.
        changed: where a result was written to in place, if one was: then it can't be run again.
        outputs: by node: what an operation of `OPAQUE` made.
        contributed: by walk and node: what its rule gave.
    """

    entries: list[Entry] = field(default_factory=list)
    leaves: dict[int, Any] = field(default_factory=dict)
    given: list[dict[int, Any]] = field(default_factory=list)
    changed: str | None = None
    outputs: dict[int, Any] = field(default_factory=dict)
    contributed: dict[tuple[int, int], list[Any]] = field(default_factory=dict)

    def nbytes(self) -> int:
        """The memory that it holds."""
        arrays = [*self.leaves.values(), *(g for given in self.given for g in given.values())]
        arrays += [*self.outputs.values(), *(d for ds in self.contributed.values() for d in ds if d is not None)]
        arrays += [c for entry in self.entries for c in entry.constants.values() if backend.is_array(c)]
        return sum(a.nbytes for a in arrays)

    def run(
        self,
        requires_grad: set[int],
        change: dict[int, Any] | None = None,
        double: bool = False,
        walk: int | None = None,
    ) -> dict[int, Tensor]:
        """All tensors, by their ids: the recorded operations, run again.

        Args:
            requires_grad: the leaves that a gradient flows to.
            change: other numbers for some of the leaves.
            double: compute in float64 what was in a smaller float type.
            walk: the walk that is to be run again afterwards.
        """
        if self.changed:
            raise RuntimeError(
                f"a result was written to in place at {self.changed}: what came after it can't be run again"
            )
        tensors: dict[int, Tensor] = {}
        for i, array in {**self.leaves, **(change or {})}.items():
            tensors[i] = wrap(_double(array) if double else array)
            tensors[i].requires_grad = i in requires_grad
        with unwatched():
            for number, entry in enumerate(self.entries):
                constants = self.constants(entry, tensors)
                operands = [self._operand(given, tensors, double) for given in entry.operands]
                if number in self.outputs and not (change or double):
                    contributions = [] if walk is None else self.contributed.get((walk, number), [])
                    again = {"value": self.outputs[number], "contributions": contributions}
                    with set_grad_enabled(entry.recorded):
                        tensors[entry.output] = _as_recorded(*operands, **again)
                    continue
                if double:
                    constants = {k: _double(c) for k, c in constants.items()}
                if change or double:
                    constants = _recomputed(operands, constants)
                with set_grad_enabled(entry.recorded):
                    tensors[entry.output] = entry.primitive(*operands, **constants)
        return tensors

    def constants(self, entry: Entry, tensors: dict[int, Tensor]) -> dict[str, Any]:
        """The constants of an operation, with arrays in place of references."""
        return {name: _resolved(c, tensors) for name, c in entry.constants.items()}

    def _operand(self, given: Given, tensors: dict[int, Tensor], double: bool) -> Any:
        if not isinstance(given.value, Ref):
            return _double(given.value) if double else given.value
        tensor = tensors[given.value.tensor]
        return tensor if given.is_tensor else tensor.array

    def back(self, walk: Walk, tensors: dict[int, Tensor]) -> Back:
        """A walk again, through tensors that `run` made."""
        given = self.given[walk.id]
        starts: dict[Any, Any] = {}
        for step in walk.steps:
            if step.tensor in given:
                g = given[step.tensor]
                if step.seed:
                    t = tensors[step.tensor]
                    starts[t.origin or t] = wrap(g) if walk.create_graph else g
                if step.parts:
                    tensors[step.tensor].register_hook(functools.partial(_instead, g))
        known = {id(t.origin or t): i for i, t in tensors.items() if t.requires_grad}
        back = Back({}, {})
        with unwatched():
            for place, g, contributions in steps(starts, create_graph=walk.create_graph):
                i = known.get(id(place))
                if i is None:
                    continue
                back.gradients[i] = _array(g)
                if not isinstance(place, Tensor):
                    back.contributions[i] = [_array(d) for d in contributions]
        for i, g in given.items():  # what came out of operations that are not on the tape
            back.gradients.setdefault(i, g)
        return back


def _instead(g: Any, _: Tensor) -> Tensor:
    return wrap(g)


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _resolved(constant: Any, tensors: dict[int, Tensor]) -> Any:
    if isinstance(constant, Ref):
        return tensors[constant.tensor].array
    if type(constant) is tuple:
        return tuple(_resolved(c, tensors) for c in constant)
    return constant


def _double(x: Any) -> Any:
    """In float64: an array, or a dtype itself."""
    if isinstance(x, numpy.dtype) and x.kind == "f":
        return numpy.dtype("float64")
    return x.astype("float64") if backend.is_array(x) and x.dtype.kind == "f" else x


def _recomputed(operands: list[Any], constants: dict[str, Any]) -> dict[str, Any]:
    """The constants of an operation whose function computed them from its operands, for other operands."""
    if "invstd" in constants:
        x = _array(operands[0])
        dims = (0, *range(2, x.ndim))
        mean, var = x.mean(dims), x.var(dims)
        return {**constants, "mean": mean, "invstd": 1 / backend.array_module(x).sqrt(var + constants["eps"])}
    if "largest" in constants:
        return {**constants, "largest": None, "taps": None}
    return constants
