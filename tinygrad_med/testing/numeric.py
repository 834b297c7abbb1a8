"""Derivatives without rules: central differences at several step sizes, and the complex step.

A central difference (f(x + hv) − f(x − hv)) / 2h is wrong by about h² f‴ / 6, which a smaller h mends, and by about
ε f / h from rounding, which a smaller h makes worse. Between neighbouring steps that agree lies the truth, and their
disagreement says how well it is known.

A complex step Im f(x + ihv) / h (Squire and Trapp 1998, doi:10.1137/S003614459631241X) takes no difference, so h can be
1e-20 and nothing is lost. It is right only where f is analytic: abs, comparisons and rounding are not. So it counts
only where it agrees with the central difference.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

Function = Callable[[Sequence[numpy.ndarray]], Sequence[numpy.ndarray]]

COMPLEX_STEP = 1e-20


class Estimate(NamedTuple):
    """A numerical derivative, element by element of the (flat) results.

    Attributes:
        value: the best estimate.
        error: how far the central differences of neighbouring steps disagree there.
        by_step: per step size, the central difference.
        complex_step: the complex step's value, `None` where the function does not take complex numbers.
    """

    value: numpy.ndarray
    error: numpy.ndarray
    by_step: dict[float, numpy.ndarray]
    complex_step: numpy.ndarray | None


def flat(arrays: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """All elements of several arrays, one after the other."""
    return numpy.concatenate([numpy.ravel(a) for a in arrays]) if arrays else numpy.zeros(0)


def moved(point: Sequence[numpy.ndarray], directions: Sequence[Any], h: float | complex) -> list[numpy.ndarray]:
    """x + h · v for each operand x and its direction v (`None` stands still), in the dtype of x or complex."""
    steps = []
    for x, v in zip(point, directions, strict=True):
        if isinstance(h, complex):
            steps.append(x + h * (0.0 if v is None else v) if x.dtype.kind == "f" else x)
        else:
            steps.append(x if v is None else (x + h * v).astype(x.dtype))
    return steps


def central(f: Function, point: Sequence[numpy.ndarray], directions: Sequence[Any], h: float) -> numpy.ndarray:
    """(f(x + hv) − f(x − hv)) / 2h, flat."""
    after, before = (flat(f(moved(point, directions, step))).astype("float64") for step in (h, -h))
    return (after - before) / (2 * h)


def one_sided(f: Function, point: Sequence[numpy.ndarray], directions: Sequence[Any], h: float) -> Any:
    """The slopes to the left and to the right, (f(x) − f(x − hv)) / h and (f(x + hv) − f(x)) / h, flat."""
    before, here, after = (flat(f(moved(point, directions, step))).astype("float64") for step in (-h, 0.0, h))
    return (here - before) / h, (after - here) / h


def complex_step(f: Function, point: Sequence[numpy.ndarray], directions: Sequence[Any]) -> numpy.ndarray | None:
    """Im f(x + ihv) / h, flat; `None` if the function refuses complex numbers or turns them into real ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", numpy.exceptions.ComplexWarning)
        try:
            results = f(moved(point, directions, 1j * COMPLEX_STEP))
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, numpy.exceptions.ComplexWarning):
            return None  # says nothing about the function: it may use what has no complex meaning
    if not results or any(z.dtype.kind != "c" for z in results):
        return None
    return flat(results).imag / COMPLEX_STEP


def differentiate(
    f: Function, point: Sequence[numpy.ndarray], directions: Sequence[Any], steps: Sequence[float]
) -> Estimate:
    """The derivative of f along `directions`, from central differences at `steps` (the largest first) and complex."""
    with numpy.errstate(all="ignore"):
        by_step = {h: central(f, point, directions, h) for h in steps}
        imaginary = complex_step(f, point, directions)
        value, error = _best(by_step)
        if imaginary is not None:
            agrees = numpy.abs(imaginary - value) <= 10 * error + 1e-6 * (1 + numpy.abs(value))
            value = numpy.where(agrees, imaginary, value)
    return Estimate(value, error, by_step, imaginary)


def _best(by_step: dict[float, numpy.ndarray]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Per element the difference at the smaller of the two neighbouring steps that agree best, and how well."""
    differences = list(by_step.values())
    if len(differences) == 1:
        return differences[0], numpy.zeros_like(differences[0])
    disagreement = numpy.array([numpy.abs(a - b) for a, b in itertools.pairwise(differences)])
    disagreement = numpy.where(numpy.isfinite(disagreement), disagreement, numpy.inf)
    chosen = disagreement.argmin(0)
    columns = numpy.arange(chosen.size)
    return numpy.array(differences[1:])[chosen, columns], disagreement[chosen, columns]


def unit(x: numpy.ndarray, element: int) -> numpy.ndarray:
    """The direction of one element of x."""
    v = numpy.zeros(x.shape)
    v.flat[element] = 1.0
    return v
