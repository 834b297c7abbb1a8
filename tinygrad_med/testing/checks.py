"""What has to hold besides the numbers: one function per promise of an operation.

Each takes a problem and returns a `Finding` against it, or `None`. Those named `refuse_…` raise an error, with the
remedy, where the check itself can't be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.backward import grad
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.testing.diagnosis import Finding
from tinygrad_med.testing.precision import Arrays, random_like, same
from tinygrad_med.testing.problem import WALK_ERRORS, Problem


class UncheckableError(ValueError):
    """A check of this function at this point would say nothing; the text says why, and what to do."""


# Can it be checked? -------------------------------------------------------------------------------------------------


def refuse_bad_inputs(args: Sequence[Any], allow_float32: bool, caller: str) -> None:
    """The inputs must ask for a gradient, in float64 unless the user says otherwise."""
    operands = [x for x in args if isinstance(x, Tensor) and x.requires_grad]
    if not operands:
        raise ValueError(f"{caller}: no input requires a gradient; make one with requires_grad=True")
    for x in operands:
        if x.dtype != "float64" and not allow_float32:
            raise UncheckableError(
                f"{caller}: an input is {x.dtype}, in which a numerical derivative has no more than 3 digits; give "
                "float64 inputs (x.double()), or say allow_float32=True"
            )


def refuse_silent_function(problem: Problem, name: str, caller: str) -> None:
    """Some float result must require a gradient."""
    _, results = problem.run(problem.point)
    if not results:
        raise UncheckableError(f"{caller}: {name} returned no float tensor, so it has no derivative to check")
    if not any(z.requires_grad for z in results):
        raise UncheckableError(
            f"{caller}: no result of {name} requires a gradient: it left the graph, by detach(), no_grad(), .array or "
            ".numpy(), or its operations have no derivative"
        )


def refuse_random_function(problem: Problem, tolerance: float, name: str, caller: str) -> None:
    """Two runs on the same inputs must give the same."""
    upstream = [numpy.ones_like(z) for z in problem(problem.point)]
    runs: dict[str, Any] = {"results": lambda: problem(problem.point), "gradients": lambda: problem.pull_back(upstream)}
    for what, run in runs.items():
        try:
            once, again = run(), run()
        except WALK_ERRORS:
            if what == "results":
                raise
            return  # a rule that raises an error is for the comparison to report
        for a, b in zip(once, again, strict=True):
            same = a.shape == b.shape and (numpy.abs(a - b) <= tolerance).all()
            if not same and not numpy.array_equal(a, b, equal_nan=True):
                raise UncheckableError(
                    f"{caller}: {name} is not deterministic, two runs on the same inputs gave different {what}; "
                    "fix its seed inside the function, or allow the difference with nondet_tol"
                )


# What it must not touch ---------------------------------------------------------------------------------------------


def overwritten(problem: Problem, rng: numpy.random.Generator) -> Finding | None:
    """Neither the function nor its derivative may write to arrays that others hold."""
    operands, results = problem.run(problem.point)
    for name, x, before in (
        *zip(problem.names, operands, problem.point, strict=True),
        *((name, x, before) for name, (x, before) in problem.constants.items()),
    ):
        if not numpy.array_equal(backend.to_numpy(x.array), before, equal_nan=x.dtype.kind in "fc"):
            says = [f"the function writes to its argument {name}", "if it is meant to, close over that instead"]
            return Finding("overwritten", says)
    upstream = random_like([backend.to_numpy(z.array) for z in results], rng)
    seeds = [Tensor(u.copy(), device=problem.device) for u in upstream]
    flowing = [(z, u) for z, u in zip(results, seeds, strict=True) if z.requires_grad]
    values = [backend.to_numpy(z.array).copy() for z in results]
    grad([z for z, _ in flowing], operands, [u for _, u in flowing], allow_unused=True)
    for what, found, expected in (
        ("the upstream gradient", [u.array for u in seeds], upstream),
        ("an operand", [x.array for x in operands], problem.point),
        ("the result", [z.array for z in results], values),
    ):
        for a, b in zip(found, expected, strict=True):
            if not numpy.array_equal(backend.to_numpy(a), b, equal_nan=True):
                return Finding("overwritten", [f"the derivative rule writes to {what}, which is not its own"])
    return None


def aliased(problem: Problem) -> Finding | None:
    """A result must not be a view of an operand."""
    operands, results = problem.run(problem.point)
    for z_name, z in zip(problem.outputs, results, strict=True):
        for name, x in zip(problem.names, operands, strict=True):
            if problem.device == "cpu" and numpy.may_share_memory(z.array, x.array):
                return Finding(
                    "aliased", [f"{z_name} shares memory with {name}; copy it, or pass view=True if that is meant"]
                )
    return None


# What its gradients must be -----------------------------------------------------------------------------------------


def wrong_dtypes(problem: Problem, rng: numpy.random.Generator) -> Finding | None:
    """A gradient has the dtype of its operand."""
    gradients = problem.pull_back(random_like(problem(problem.point), rng))
    for name, x, g in zip(problem.names, problem.point, gradients, strict=True):
        if g.dtype != x.dtype:
            return Finding("dtype", [f"{name} is {x.dtype}, its gradient {g.dtype}"])
    return None


def not_in_float32(problem: Problem, rng: numpy.random.Generator) -> Finding | None:
    """For a problem in float32 everything is float32."""
    results = problem(problem.point)
    gradients = problem.pull_back(random_like(results, rng))
    names = [*problem.outputs, *(f"the gradient of {x}" for x in problem.names)]
    for name, a in zip(names, [*results, *gradients], strict=True):
        if a.dtype != "float32":
            says = "a float64 constant in it, or a NumPy scalar, may be why; if that is meant, pass check_float32=False"
            return Finding("dtype", [f"for float32 operands {name} is {a.dtype}", says])
    return None


def not_linear(
    problem: Problem, upstream: Arrays, gradients: Arrays, rng: numpy.random.Generator, nondet_tol: float = 0.0
) -> Finding | None:
    """The gradient for −2·g is −2 times that for g, the one for 0 is 0, and the one for a sum is the sum.

    A power of two rounds nothing but numbers that are next to 0, of less than the full precision; a sum does.
    """
    other = random_like(upstream, rng)
    mixed = [u - 3 * v for u, v in zip(upstream, other, strict=True)]
    runs = map(problem.pull_back, ([-2 * u for u in upstream], [0 * u for u in upstream], other, mixed))
    for name, x, g, scaled, zero, h, both in zip(problem.names, problem.point, gradients, *runs, strict=True):
        if not (numpy.isfinite(g).all() and numpy.isfinite(h).all()):
            continue
        bound = 1e-9 * float(numpy.abs(g).max(initial=0)) + float(numpy.finfo(x.dtype).tiny) + 3 * nondet_tol
        says = []
        if not (numpy.abs(scaled + 2 * g) <= bound).all():
            says.append(f"the gradient of {name} for −2·g is not −2 times that for g")
        elif not (numpy.abs(zero) <= nondet_tol).all():
            says.append(f"the gradient of {name} for an upstream gradient of 0 is not 0")
        elif not same(both, g - 3 * h, problem.eps, 4 * nondet_tol, rtol=1e-6):
            says.append(f"the gradient of {name} for g₁ − 3·g₂ is not (that for g₁) − 3 · (that for g₂)")
        if says and numpy.array_equal(scaled, g):
            says.append("it is the same: the rule forgets the upstream gradient")
        if says:
            return Finding("linearity", says)
    return None


def undefined_not_zero(problem: Problem, rng: numpy.random.Generator) -> Finding | None:
    """Leaving out the upstream gradient of one of several results means that it is 0."""
    _, results = problem.run(problem.point)
    if len(results) < 2:
        return None
    upstream = random_like([backend.to_numpy(z.array) for z in results], rng)
    for left_out, name in enumerate(problem.outputs):
        zeroed = [u * (k != left_out) for k, u in enumerate(upstream)]
        expected = problem.pull_back(zeroed)
        found = problem.pull_back(upstream, without=left_out)
        for x, a, b in zip(problem.names, found, expected, strict=True):
            if not same(a, b, problem.eps):
                return Finding(
                    "linearity", [f"without an upstream gradient for {name}, the gradient of {x} is not as for 0"]
                )
    return None


# Where the same numbers must give the same --------------------------------------------------------------------------


def differs(
    a: Problem, a_upstream: Sequence[numpy.ndarray], b: Problem, b_upstream: Sequence[numpy.ndarray]
) -> str | None:
    """In which result or gradient two problems of the same numbers differ by more than rounding."""
    for names, ours, theirs in (
        (a.outputs, a(a.point), b(b.point)),
        ([f"∂{x}" for x in a.names], a.pull_back(a_upstream), b.pull_back(b_upstream)),
    ):
        for name, x, y in zip(names, ours, theirs, strict=True):
            if not same(x, y, a.eps):
                return name
    return None
