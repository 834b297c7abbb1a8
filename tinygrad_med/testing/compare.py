"""The derivative by the engine beside the one by numbers: the comparison, and on a mismatch the evidence.

A function of few elements is compared Jacobian by Jacobian, one of many in random projections: the derivative along a
random direction, weighted by a random upstream gradient. (Never by a plain sum: a softmax with a missing term passes
one.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.errors import ProductShapeError, RuleShapeError
from tinygrad_med.testing.checks import not_linear
from tinygrad_med.testing.diagnosis import Evidence, diagnose
from tinygrad_med.testing.numeric import Estimate, differentiate, flat, unit
from tinygrad_med.testing.precision import Arrays, Options, Tolerance, random_like, same
from tinygrad_med.testing.problem import PROJECTION, WALK_ERRORS, Problem
from tinygrad_med.testing.report import Report

SMALL = 128
"""Up to so many elements of all operands together, and of all results, the full Jacobians are compared."""

_SAMPLE = 256  # elements of a large operand that a diagnosis looks at


def check_orders(problem: Problem, options: Options, rng: numpy.random.Generator, operation: str) -> Report:
    """Compare the derivatives from the problem's own order up to that of the options; the first mismatch ends it."""
    report = Report(operation)
    while True:
        mismatch, upstream = compare(problem, options, rng, operation)
        if mismatch is not None:
            mismatch.passed = report.passed
            return mismatch
        report.passed.append(f"order {problem.order}")
        if problem.order >= options.order:
            report.passed.append("linear in g")
            return report
        problem = problem.derivative(upstream)


def compare(
    problem: Problem, options: Options, rng: numpy.random.Generator, operation: str
) -> tuple[Report | None, list[numpy.ndarray]]:
    """Check one order of derivative.

    If a higher order comes next, that starts from the gradient under `create_graph`, which then has to be the same.

    Args:
        problem: the function and the point.
        options: how exactly to look.
        rng: where upstream gradients and directions come from.
        operation: what the report calls the function.

    Returns:
        The report of what is wrong (`None` if nothing is), and the upstream gradients for the next order.
    """
    upstream: list[numpy.ndarray] = []
    try:
        upstream = random_like(problem(problem.point), rng)
        gradients = problem.pull_back(upstream)
        with_graph = problem.pull_back(upstream, create_graph=True) if problem.order < options.order else gradients
    except WALK_ERRORS as error:
        return _failed(problem, error, operation, upstream), upstream
    for name, x, g in zip(problem.names, problem.point, gradients, strict=True):
        if g.shape != x.shape:
            says = f"{name} has shape {x.shape}, its gradient {g.shape}"
            return Report(operation, verdict="shape", evidence=[says], order=problem.order, operand=name), upstream

    if found := not_linear(problem, upstream, gradients, rng, options.nondet_tol):
        return Report(operation, verdict=found.verdict, evidence=found.evidence, order=problem.order), upstream
    mismatch = _mismatch(problem, upstream, gradients, options, rng, operation)
    if mismatch is None and _rules_disagree(problem, upstream, gradients, with_graph, options, rng):
        says = "create_graph=True gives another gradient: the rule for tensors, or the one for arrays alone, is wrong"
        mismatch = Report(operation, verdict="rules disagree", evidence=[says], order=problem.order)
    return mismatch, upstream


def _mismatch(
    problem: Problem,
    upstream: Arrays,
    gradients: Arrays,
    options: Options,
    rng: numpy.random.Generator,
    operation: str,
) -> Report | None:
    """Compare the gradients with numerical ones: by a projection, by Jacobians, or by the one before the other."""
    results = problem(problem.point)
    small = max(sum(x.size for x in problem.point), sum(z.size for z in results)) <= SMALL
    everything = list(range(len(problem.point)))
    sieve, tolerance = options.sieve(problem.coarse), options.tolerance(problem.coarse)
    if not (small and not options.fast_mode) and not _projection_fails(
        problem, upstream, gradients, everything, rng, sieve
    ):
        return None
    if small:
        analytic = _analytic_jacobians(problem)
        samples = [numpy.arange(x.size) for x in problem.point]
    else:
        samples = [_sample(problem, upstream, gradients, i, rng, sieve) for i in everything]
        analytic = [g.reshape(-1, 1) for g in gradients]
        problem = _projected(problem, upstream)
    for i in everything:
        found = _by_jacobian(problem, i, samples[i], analytic[i], tolerance)
        if found is not None:
            return _report(found, tolerance, operation)
    return None


def _rules_disagree(
    problem: Problem,
    upstream: Arrays,
    gradients: Arrays,
    with_graph: Arrays,
    options: Options,
    rng: numpy.random.Generator,
) -> bool:
    """Whether the gradient with a graph is another one than that without, which is right."""
    if all(same(g, h, problem.eps, rtol=1e-6) for g, h in zip(gradients, with_graph, strict=True)):
        tiny = [g.size and 0 < numpy.abs(g).max() < 1e-6 for g in gradients]
        if not options.closer or not any(tiny) or all(map(numpy.array_equal, gradients, with_graph)):
            return False
        sieve, everything = options.sieve(problem.coarse), list(range(len(gradients)))
        fails = (_projection_fails(problem, upstream, g, everything, rng, sieve) for g in (with_graph, gradients))
        return next(fails) and not next(fails)
    return True


def _projection_fails(
    problem: Problem,
    upstream: Arrays,
    gradients: Arrays,
    operands: Sequence[int],
    rng: numpy.random.Generator,
    sieve: Tolerance,
    within: slice = slice(None),
) -> bool:
    """Whether the gradients don't tell how the weighted results change along a random direction of some operands."""
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
    estimate = differentiate(weighted, problem.point, directions, sieve.quick_steps)
    return bool(sieve.exceeded(numpy.array([claimed]), estimate).any())


def _sample(
    problem: Problem, upstream: Arrays, gradients: Arrays, i: int, rng: numpy.random.Generator, sieve: Tolerance
) -> numpy.ndarray:
    """Some elements of an operand, among them, if its gradient is wrong, one that is: found by halving."""
    size = problem.point[i].size
    if size <= _SAMPLE:
        return numpy.arange(size)
    chosen = rng.choice(size, _SAMPLE, replace=False)
    start, stop = 0, size
    if _projection_fails(problem, upstream, gradients, [i], rng, sieve):
        while stop - start > 1:
            middle = (start + stop) // 2
            if _projection_fails(problem, upstream, gradients, [i], rng, sieve, slice(start, middle)):
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
    """The derivatives with respect to elements of operand i, an estimate of all results for each."""
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
        value, error, certain = (
            numpy.array([getattr(row, name) for row in rows]).reshape(analytic.shape)
            for name in ("value", "error", "certain")
        )
        numerical = Estimate(value, error, certain, {}, None)
        wrong = tolerance.exceeded(analytic, numerical)
        if not wrong.any():
            return None

    def jacobian_of(k: int) -> numpy.ndarray:
        others = _numerical_rows(problem, k, range(problem.point[k].size), tolerance.quick_steps)
        return numpy.array([row.value for row in others])

    results = problem(problem.point)
    shape = results[0].shape if len(results) == 1 else None
    return Evidence(problem, i, elements, analytic, value, error, wrong, jacobian_of, shape)


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


def _failed(problem: Problem, error: Exception, operation: str, upstream: Arrays) -> Report:
    """The report of a walk that raised an error; wrong shapes have a verdict of their own."""
    verdict = "error"
    if isinstance(error, RuleShapeError):
        verdict = "transposed" if sorted(error.got) == sorted(error.expected) else "shape"
    elif _is_of_a_product(error) or (upstream and _fails_in_a_product(problem, upstream)):
        verdict = "transposed"
    return Report(operation, verdict=verdict, evidence=[f"{type(error).__name__}: {error}"], order=problem.order)


def _is_of_a_product(error: BaseException | None) -> bool:
    """Whether what was raised first is that two matrices don't fit."""
    return error is not None and (isinstance(error, ProductShapeError) or _is_of_a_product(error.__cause__))


def _fails_in_a_product(problem: Problem, upstream: Arrays) -> bool:
    """The same on tensors, whose `@` says by its type what failed, where that of arrays says it in words."""
    try:
        problem.pull_back(upstream, create_graph=True)
    except WALK_ERRORS as error:
        return _is_of_a_product(error)
    return False
