"""The derivative by the engine beside the one by numbers: the comparison, and on a mismatch the evidence.

A function of few elements is compared Jacobian by Jacobian, one of many in random projections: the derivative along a
random direction, weighted by a random upstream gradient. (Never by a plain sum: a softmax with a missing term passes
one.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.testing.diagnosis import Evidence, diagnose
from tinygrad_med.testing.numeric import Estimate, differentiate, flat, unit
from tinygrad_med.testing.problem import PROJECTION, WALK_ERRORS, Arrays, Problem
from tinygrad_med.testing.report import Report

SMALL = 128
"""Up to so many elements of all operands together, and of all results, the full Jacobians are compared."""

_SAMPLE = 256  # elements of a large operand that a diagnosis looks at


class Tolerance(NamedTuple):
    """|analytic − numerical| ≤ atol + rtol · |numerical|, and the step of the central differences.

    If it is `strict`, that is the most it allows: atol is for derivatives of size 1 and shrinks with a function whose
    largest one is smaller, rtol shrinks to 1e-6, both as far as the numerical ones can tell. So a tiny derivative
    counts, and so does a constant with only four right digits.
    """

    eps: float
    atol: float
    rtol: float
    strict: bool = False

    def exceeded(
        self, analytic: numpy.ndarray, numerical: numpy.ndarray, error: numpy.ndarray | float = 0.0
    ) -> numpy.ndarray:
        """Where the two differ by more than is allowed; `error` is how far the numerical one is from certain."""
        size = numpy.abs(numerical)
        atol: Any = self.atol
        relative = self.rtol * size
        if self.strict:
            largest = float(size[numpy.isfinite(size)].max(initial=0))
            lowest = 1e-4 * atol  # below it, what the function loses on its way may decide
            atol = numpy.clip(numpy.maximum(largest * atol, 10 * error), lowest, atol)
            relative = numpy.minimum(relative, 1e-6 * size + 10 * error)
        return ~(numpy.abs(analytic - numerical) <= atol + relative)

    @property
    def quick_steps(self) -> tuple[float, ...]:
        """Two steps, enough where all is well."""
        return (100 * self.eps, 10 * self.eps)

    @property
    def all_steps(self) -> tuple[float, ...]:
        """The steps of a diagnosis."""
        return tuple(self.eps * 10.0**k for k in range(4, -2, -1))


def random_like(arrays: Arrays, rng: numpy.random.Generator) -> list[numpy.ndarray]:
    """Random upstream gradients or directions: of both signs, and none near 0."""
    return [(rng.uniform(0.5, 1.5, a.shape) * rng.choice((-1.0, 1.0), a.shape)).astype(a.dtype) for a in arrays]


def compare(
    problem: Problem,
    tolerance: Tolerance,
    rng: numpy.random.Generator,
    fast: bool = False,
    operation: str = "function",
    goes_on: bool = False,
    nondet_tol: float = 0.0,
) -> tuple[Report | None, list[numpy.ndarray]]:
    """Check one order of derivative.

    Args:
        problem: the function and the point.
        tolerance: what counts as equal.
        rng: where upstream gradients and directions come from.
        fast: compare projections also for small problems.
        operation: what the report calls the function.
        nondet_tol: by how much two runs may differ.
        goes_on: whether a higher order comes next. It starts from the gradient under `create_graph`, which then has to
            be the same.

    Returns:
        The report of what is wrong (`None` if nothing is), and the upstream gradients for the next order.
    """
    upstream: list[numpy.ndarray] = []
    try:
        upstream = random_like(problem(problem.point), rng)
        gradients = problem.pull_back(upstream)
        with_graph = problem.pull_back(upstream, create_graph=True) if goes_on else gradients
    except WALK_ERRORS as error:
        return _failed(problem, error, operation), upstream
    for name, x, g in zip(problem.names, problem.point, gradients, strict=True):
        if g.shape != x.shape:
            says = f"{name} has shape {x.shape}, its gradient {g.shape}"
            return Report(operation, verdict="shape", evidence=[says], order=problem.order, operand=name), upstream

    mismatch = _not_linear(problem, upstream, gradients, nondet_tol, operation)
    if mismatch is None:
        mismatch = _mismatch(problem, upstream, gradients, tolerance, rng, fast, operation)
    if mismatch is None and _differ(gradients, with_graph):
        says = "create_graph=True gives another gradient: the rule for tensors, or the one for arrays alone, is wrong"
        mismatch = Report(operation, verdict="rules disagree", evidence=[says], order=problem.order)
    return mismatch, upstream


def _mismatch(
    problem: Problem,
    upstream: Arrays,
    gradients: Arrays,
    tolerance: Tolerance,
    rng: numpy.random.Generator,
    fast: bool,
    operation: str,
) -> Report | None:
    """Compare the gradients with numerical ones: by a projection, by Jacobians, or by the one before the other."""
    results = problem(problem.point)
    small = max(sum(x.size for x in problem.point), sum(z.size for z in results)) <= SMALL
    everything = list(range(len(problem.point)))
    if small and (not fast or _projection_fails(problem, upstream, gradients, everything, rng, tolerance.strict)):
        analytic = _analytic_jacobians(problem)
        samples = [numpy.arange(x.size) for x in problem.point]
    elif not small and _projection_fails(problem, upstream, gradients, everything, rng, tolerance.strict):
        samples = [_sample(problem, upstream, gradients, i, rng, tolerance.strict) for i in everything]
        analytic = [g.reshape(-1, 1) for g in gradients]
        problem = _projected(problem, upstream)
    else:
        return None
    for i in everything:
        found = _by_jacobian(problem, i, samples[i], analytic[i], tolerance)
        if found is not None:
            return _report(found, tolerance, operation)
    return None


def _not_linear(
    problem: Problem, upstream: Arrays, gradients: Arrays, nondet_tol: float, operation: str
) -> Report | None:
    """Whether −2 times the upstream gradient doesn't give −2 times the gradient.

    A power of two rounds nothing but numbers that are next to 0, of less than the full precision.
    """
    others = problem.pull_back([-2 * u for u in upstream])
    for name, x, g, other in zip(problem.names, problem.point, gradients, others, strict=True):
        largest = float(numpy.abs(g[numpy.isfinite(g)]).max(initial=0))
        bound = 1e-9 * largest + float(numpy.finfo(x.dtype).tiny) + 3 * nondet_tol
        if numpy.isfinite(g).all() and not (numpy.abs(other + 2 * g) <= bound).all():
            says = [f"the gradient of {name} for −2·g is not −2 times that for g"]
            if numpy.array_equal(other, g):
                says.append("it is the same: the rule forgets the upstream gradient")
            return Report(operation, verdict="linearity", evidence=says, order=problem.order, operand=name)
    return None


def _projection_fails(
    problem: Problem,
    upstream: Arrays,
    gradients: Arrays,
    operands: Sequence[int],
    rng: numpy.random.Generator,
    strict: bool,
    within: slice = slice(None),
) -> bool:
    """Whether the gradients don't tell how the weighted results change along a random direction of some operands.

    A sieve, stricter than the comparison of the Jacobians that follows it.
    """
    weights = flat(upstream)

    def weighted(point: Sequence[numpy.ndarray]) -> list[numpy.ndarray]:
        return [(flat(problem(point)) * weights).sum(keepdims=True)]

    directions: list[Any] = [None] * len(problem.point)
    claimed = 0.0
    for i in operands:
        v = numpy.zeros(problem.point[i].size)
        v[within] = random_like([v], rng)[0][within]
        directions[i] = v.reshape(problem.point[i].shape)
        claimed += float((gradients[i] * directions[i]).sum())
    sieve = Tolerance(1e-3, 1e-3, 1e-2) if problem.coarse else Tolerance(1e-6, 1e-6, 1e-6, strict)
    estimate = differentiate(weighted, problem.point, directions, sieve.quick_steps)
    return bool(sieve.exceeded(numpy.array([claimed]), estimate.value, estimate.error).any())


def _sample(
    problem: Problem, upstream: Arrays, gradients: Arrays, i: int, rng: numpy.random.Generator, strict: bool
) -> numpy.ndarray:
    """Some elements of an operand, among them, if its gradient is wrong, one that is: found by halving."""
    size = problem.point[i].size
    if size <= _SAMPLE:
        return numpy.arange(size)
    chosen = rng.choice(size, _SAMPLE, replace=False)
    start, stop = 0, size
    if _projection_fails(problem, upstream, gradients, [i], rng, strict):
        while stop - start > 1:
            middle = (start + stop) // 2
            if _projection_fails(problem, upstream, gradients, [i], rng, strict, slice(start, middle)):
                stop = middle
            else:
                start = middle
    return numpy.union1d(chosen, [start])


def _projected(problem: Problem, upstream: Arrays) -> Problem:
    """The problem whose one result is the sum of all results, weighted by the upstream gradients."""

    def function(operands: list[Tensor]) -> list[Tensor]:
        weighted = [
            (z * Tensor(u, device=problem.device)).sum()
            for z, u in zip(problem.function(operands), upstream, strict=True)
        ]
        total = weighted[0]
        for term in weighted[1:]:
            total = total + term
        return [total]

    return Problem(function, problem.point, problem.names, [PROJECTION], problem.order, problem.device)


def _analytic_jacobians(problem: Problem) -> list[numpy.ndarray]:
    """Per operand the Jacobian (elements, results), a column for each upstream gradient of a single 1."""
    results = problem(problem.point)
    columns = []
    for k, z in enumerate(results):
        for element in range(z.size):
            upstream = [unit(z, element) if n == k else numpy.zeros(a.shape) for n, a in enumerate(results)]
            seeds = [u.astype(z.dtype) for u in upstream]
            columns.append(problem.pull_back(seeds))
    return [
        numpy.array([column[i].ravel() for column in columns], "float64").reshape(len(columns), x.size).T
        for i, x in enumerate(problem.point)
    ]


def _numerical_rows(problem: Problem, i: int, elements: Iterable[int], steps: Sequence[float]) -> list[Estimate]:
    x = problem.point[i]
    rows = []
    for element in elements:
        directions = [unit(x, element) if k == i else None for k in range(len(problem.point))]
        size = abs(float(x.flat[element]))
        scaled = [h * max(1.0, size) for h in steps]
        fine = [h for h in steps if size > 1000 and len(steps) > 2 and 1e-10 * size < h < min(scaled)]  # for sin(1e6)
        rows.append(differentiate(problem, problem.point, directions, [*scaled, *fine]))
    return rows


def _by_jacobian(
    problem: Problem, i: int, elements: numpy.ndarray, analytic: numpy.ndarray, tolerance: Tolerance
) -> Evidence | None:
    """The evidence against the derivative with respect to some elements of operand i; `None` if there is none."""
    analytic = analytic[elements]
    for steps in (tolerance.quick_steps, tolerance.all_steps):
        rows = _numerical_rows(problem, i, elements, steps)
        numerical, error = (
            numpy.array([getattr(row, name) for row in rows]).reshape(analytic.shape) for name in ("value", "error")
        )
        wrong = tolerance.exceeded(analytic, numerical, error)
        if not wrong.any():
            return None

    def jacobian_of(k: int) -> numpy.ndarray:
        others = _numerical_rows(problem, k, range(problem.point[k].size), tolerance.quick_steps)
        return numpy.array([row.value for row in others])

    results = problem(problem.point)
    shape = results[0].shape if len(results) == 1 else None
    return Evidence(problem, i, elements, analytic, numerical, error, wrong, jacobian_of, shape)


def _report(e: Evidence, tolerance: Tolerance, operation: str) -> Report:
    """The diagnosis, and the curve of the worst derivative."""
    finding = diagnose(e)
    badness = numpy.where(e.wrong, numpy.abs(e.analytic - e.numerical), -1.0)
    badness = numpy.where(numpy.isnan(badness), numpy.inf, badness)
    row, column = (int(n) for n in numpy.unravel_index(badness.argmax(), badness.shape))
    element = int(e.elements[row])
    (estimate,) = _numerical_rows(e.problem, e.operand, [element], tolerance.all_steps)
    analytic = float(e.analytic[row, column])
    imaginary = estimate.complex_step
    return Report(
        operation,
        verdict=finding.verdict,
        evidence=finding.evidence,
        order=e.problem.order,
        operand=e.name,
        element=f"{_place(e.name, e.x.shape, element)} → {_result_place(e.problem, column)}",
        analytic=analytic,
        numerical=float(estimate.value[column]),
        uncertainty=float(estimate.error[column]),
        complex_step=None if imaginary is None else float(imaginary[column]),
        curve={h: abs(analytic - float(d[column])) for h, d in estimate.by_step.items()},
    )


def _place(name: str, shape: tuple[int, ...], element: int) -> str:
    return f"{name}[{', '.join(map(str, numpy.unravel_index(element, shape)))}]" if shape else name


def _result_place(problem: Problem, column: int) -> str:
    for name, z in zip(problem.outputs, problem(problem.point), strict=True):
        if column < z.size:
            return _place(name, z.shape, column)
        column -= z.size
    raise IndexError(column)


def _failed(problem: Problem, error: Exception, operation: str) -> Report:
    """The report of a walk that raised an error; wrong shapes have a verdict of their own."""
    text = f"{type(error).__name__}: {error}"
    verdict = "error"
    shapes = re.search(r"gave a gradient of shape \(([\d, ]*)\) for an operand of shape \(([\d, ]*)\)", str(error))
    if shapes:
        got, expected = ([int(n) for n in re.findall(r"\d+", part)] for part in shapes.groups())
        verdict = "transposed" if sorted(got) == sorted(expected) else "shape"
    elif "matmul" in text and ("must have the same length" in text or "core dimension" in text):
        verdict = "transposed"
    return Report(operation, verdict=verdict, evidence=[text], order=problem.order)


def _differ(a: Arrays, b: Arrays) -> bool:
    return any(not numpy.allclose(x, y, rtol=1e-6, atol=1e-9) for x, y in zip(a, b, strict=True))
