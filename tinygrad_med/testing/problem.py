"""What is checked: a function of arrays, and the derivative that the engine gives it.

The gradient of a function is a function again, of its operands and of the upstream gradient. So one check, applied to a
`Problem` and then to its `derivative()`, is a check of order 1 and then of order 2.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.autograd.function import Function
from tinygrad_med.core.backward import grad
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.testing.layouts import copied
from tinygrad_med.testing.precision import Arrays

PROJECTION = "Σ g·z"
"""What reports call the sum of all results, each weighted by its upstream gradient."""

WALK_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What a derivative rule with a mistake may raise."""


class Problem:
    """A function of float operands at one point, and its derivative by the engine.

    Arrays come and go as NumPy's, wherever the function computes.

    Attributes:
        function: takes a list of tensors, and returns one.
        point: the operands where the derivative is checked.
        names: what reports call the operands.
        outputs: what reports call the results.
        order: of the derivative that is checked.
        device: where the function computes.
        constants: the tensors that the function takes besides its operands, by name, with what they held at first.
    """

    def __init__(
        self,
        function: Callable[[list[Tensor]], list[Tensor]],
        point: Arrays,
        names: Sequence[str],
        outputs: Sequence[str],
        order: int = 1,
        device: str | backend.Device = "cpu",
        constants: dict[str, tuple[Tensor, numpy.ndarray]] | None = None,
    ) -> None:
        self.function = function
        self.point = list(point)
        self.names = list(names)
        self.outputs = list(outputs)
        self.order = order
        self.device = device
        self.constants = constants or {}

    def run(self, point: Arrays) -> tuple[list[Tensor], list[Tensor]]:
        """Fresh tensors of the operands, and the results."""
        operands = [self._leaf(x) for x in point]
        return operands, self.function(operands)

    def __call__(self, point: Arrays) -> list[numpy.ndarray]:
        """The results as arrays, complex ones for a complex point."""
        return [backend.to_numpy(z.array) for z in self.run(point)[1]]

    def pull_back(
        self, upstream: Arrays, create_graph: bool = False, without: int | None = None
    ) -> list[numpy.ndarray]:
        """The gradients at the point: for each operand, what the engine makes of these upstream gradients.

        `without` is the number of a result that gets no upstream gradient at all.
        """
        operands, results = self.run(self.point)
        pairs = [(z, self._leaf(u)) for k, (z, u) in enumerate(zip(results, upstream, strict=True)) if k != without]
        gradients = _gradients([z for z, _ in pairs], operands, [u for _, u in pairs], create_graph)
        return [backend.to_numpy(g.array) for g in gradients]

    def derivative(self, upstream: Arrays) -> Problem:
        """The gradients as a function of the operands and of the upstream gradients."""
        count = len(self.point)

        def function(tensors: list[Tensor]) -> list[Tensor]:
            operands, seeds = tensors[:count], tensors[count:]
            return _gradients(self.function(operands), operands, seeds, create_graph=True)

        names = [*self.names, *(f"g_{z}" for z in self.outputs)]
        outputs = [f"∂{x}" for x in self.names]
        return Problem(function, [*self.point, *upstream], names, outputs, self.order + 1, self.device)

    @property
    def eps(self) -> float:
        """The rounding of the coarsest operand."""
        return max((float(numpy.finfo(x.dtype).eps) for x in self.point), default=0.0)

    @property
    def coarse(self) -> bool:
        """Whether an operand is float32 or float16, in which a numerical derivative has few digits."""
        return self.eps > 1e-10

    def at(self, point: Arrays) -> Problem:
        """The same function at another point."""
        return Problem(self.function, point, self.names, self.outputs, self.order, self.device, self.constants)

    def _leaf(self, x: numpy.ndarray) -> Tensor:
        tensor = wrap(backend.to_device(copied(x), self.device))
        tensor.requires_grad = True
        return tensor


def _gradients(results: list[Tensor], operands: list[Tensor], seeds: list[Tensor], create_graph: bool) -> list[Tensor]:
    """The gradients of the results, zeros where a result does not depend on an operand."""
    flowing = [(z, u) for z, u in zip(results, seeds, strict=True) if z.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(operands)
    if flowing:
        zs, us = [z for z, _ in flowing], [u for _, u in flowing]
        found = grad(zs, operands, us, create_graph=create_graph, allow_unused=True)
    return [wrap(x.array * 0) if g is None else g for x, g in zip(operands, found, strict=True)]


# From a call to a problem -------------------------------------------------------------------------------------------


def problem_of(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Problem:
    """The problem of `fn(*args, **kwargs)` for those of its arguments that require a gradient, on their device.

    Results that are not float tensors (indices, masks) are left out, as they have no derivative; so are, beside others,
    those that require no gradient.
    """
    arguments: dict[Any, Any] = {**dict(enumerate(args)), **(kwargs or {})}  # by place or name
    tensors = {place: x for place, x in arguments.items() if isinstance(x, Tensor)}
    operands = {place: x for place, x in tensors.items() if x.requires_grad}
    constants = {place: x for place, x in tensors.items() if not x.requires_grad}
    call = called(fn)
    modules = _modules_in(fn)
    flowing: list[int] = []  # which of the results require a gradient

    def function(given: list[Tensor]) -> list[Tensor]:
        device = given[0].device
        moved = {place: x.to(device) for place, x in constants.items()}
        values = {**arguments, **moved, **dict(zip(operands, given, strict=True))}
        positional = [values.pop(i) for i in range(len(args))]
        with _kept(modules) if any(x.dtype.kind == "c" for x in given) else contextlib.nullcontext():
            results = float_results(call(*positional, **values))
        return [results[k] for k in flowing] if flowing else results

    names: dict[Any, str] = dict(enumerate(argument_names(fn, args)))
    point = [copied(backend.to_numpy(x.array)) for x in operands.values()]
    problem = Problem(
        function,
        point,
        [names.get(place, str(place)) for place in operands],
        [],
        device=next(iter(operands.values())).device,
        constants={
            names.get(place, str(place)): (x, backend.to_numpy(x.array).copy()) for place, x in constants.items()
        },
    )
    _, results = problem.run(point)
    flowing += [k for k, z in enumerate(results) if z.requires_grad]
    numbers = flowing or range(len(results))
    problem.outputs = ["z"] if len(numbers) == 1 else [f"z{k}" for k in numbers]
    return problem


def _modules_in(fn: Callable[..., Any]) -> list[Any]:
    """The modules that a function is, belongs to, or names."""
    named: list[Any] = [fn, getattr(fn, "__self__", None)]
    if inspect.isfunction(fn):
        seen = inspect.getclosurevars(fn)
        named += [*seen.nonlocals.values(), *seen.globals.values()]
    return list({id(m): m for x in named if hasattr(x, "named_modules") for m in x.modules()}.values())


@contextlib.contextmanager
def _kept(modules: list[Any]) -> Iterator[None]:
    """What the modules hold stays as it is: a complex operand would leave complex numbers in their buffers."""
    held = [vars(module) for module in modules]
    held += [x for attributes in held for x in attributes.values() if isinstance(x, dict)]
    before = [dict(x) for x in held]
    try:
        yield
    finally:
        for x, content in zip(held, before, strict=True):
            x.clear()
            x.update(content)


def float_results(result: Any) -> list[Tensor]:
    """The float tensors among what a function returned.

    Raises:
        TypeError: if it returned something else than a tensor or a sequence of tensors.
    """
    results = [result] if isinstance(result, Tensor) else result
    if not isinstance(results, (tuple, list)) or not all(isinstance(z, Tensor) for z in results):
        raise TypeError(f"the function must return a tensor or a tuple of tensors, got {type(result).__name__}")
    return [z for z in results if z.dtype.kind in "fc"]


def function_of(fn: Callable[..., Any]) -> type[Function] | None:
    """The `autograd.Function` that `fn` is, or whose `apply` it is."""
    owner = getattr(fn, "__self__", fn)
    return owner if isinstance(owner, type) and issubclass(owner, Function) else None


def called(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`; for an `autograd.Function` its `apply`."""
    function = function_of(fn)
    return fn if function is None else function.apply


def argument_names(fn: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """The names of the positional arguments, `x0`, `x1` … where the function doesn't say."""
    if isinstance(fn, Primitive):
        if fn.variadic:
            return [f"{fn.operands[0]}[{i}]" for i in range(len(args))]
        return [*fn.operands, *fn.constants][: len(args)]
    try:
        function = function_of(fn)
        parameters = list(inspect.signature(function.forward if function else fn).parameters.values())
        if function and function.setup_context is Function.setup_context:
            del parameters[:1]  # ctx
    except (TypeError, ValueError):
        parameters = []
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*known[: len(args)], *(f"x{i}" for i in range(len(known), len(args)))]


def operation_name(fn: Callable[..., Any]) -> str:
    """What reports call a function."""
    named = function_of(fn) or fn
    return str(fn) if isinstance(fn, Primitive) else getattr(named, "__name__", None) or type(fn).__name__
