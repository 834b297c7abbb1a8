"""Derivatives without rules: central differences at several step sizes, and the complex step.

A central difference (f(x + hv) − f(x − hv)) / 2h is wrong by about h² f‴ / 6, which a smaller h mends, and by about
ε f / h from rounding, which a smaller h makes worse. Between neighbouring steps that agree lies the truth, and their
disagreement says how well it is known.

A complex step Im f(x + ihv) / h (Squire and Trapp 1998, doi:10.1137/S003614459631241X) takes no difference, so h can be
1e-20 and nothing is lost. It is right only where f is analytic: abs, comparisons and rounding are not. So it counts
only where it is what the central differences leave open, or where there are none: at the end of f's domain.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

Function = Callable[[Sequence[numpy.ndarray]], Sequence[numpy.ndarray]]

COMPLEX_STEP = 1e-20

DISAGREEMENT = 0.3
"""Two differences that disagree by more than this share of them (or this much, if they are smaller than 1) say nothing.
Beside a jump, they only grow."""


class Estimate(NamedTuple):
    """A numerical derivative, element by element of the (flat) results.

    Attributes:
        value: the best estimate.
        error: how far it is from certain: by how much the central differences of neighbouring steps disagree there,
            and what rounding adds; next to nothing where the complex step agrees with them.
        certain: where the central differences of neighbouring steps agree to 1%, so that they can't be rounding alone.
        by_step: per step size, the central difference.
        complex_step: the complex step's value, `None` where the function does not take complex numbers.
    """

    value: numpy.ndarray
    error: numpy.ndarray
    certain: numpy.ndarray
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
    """Two rows: (f(x + hv) − f(x − hv)) / 2h, flat; and how far the rounding of f may take it."""
    after, before = (flat(f(moved(point, directions, step))) for step in (h, -h))
    rounding = 2 * float(numpy.finfo(after.dtype).eps)
    after, before = after.astype("float64"), before.astype("float64")
    return numpy.array([(after - before) / (2 * h), rounding * (numpy.abs(after) + numpy.abs(before)) / h])


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
    found = {h: central(f, point, directions, h) for h in steps}
    value, error = _best(found)
    certain = numpy.isfinite(value) & (100 * error <= numpy.abs(value)) & (value != 0)
    imaginary = complex_step(f, point, directions)
    if imaginary is not None:
        known = error <= DISAGREEMENT * (1 + numpy.abs(value))  # else the differences leave everything open
        agrees = known & (numpy.abs(imaginary - value) <= 10 * error)
        alone = numpy.isfinite(imaginary) & ~numpy.isfinite(value)
        if alone.any():
            alone &= numpy.isfinite(flat(f(point)))  # log(−1) has a complex value, but no real one
        error = numpy.where(agrees, 1e-12 * numpy.abs(imaginary), error)
        error = numpy.where(alone, 1e-6 * numpy.abs(imaginary), error)
        value = numpy.where(agrees | alone, imaginary, value)
    return Estimate(value, error, certain, {h: difference for h, (difference, _) in found.items()}, imaginary)


def _best(found: dict[float, numpy.ndarray]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Per element the best of the differences, each compared with that at the next larger step, and its error.

    Large steps may pass over all that a steep function does, and agree on nothing. So the smallest steps that agree at
    all come first; larger ones may only say more exactly what these leave open.
    """
    steps, (differences, roundings) = list(found), numpy.array(list(found.values())).swapaxes(0, 1)
    if len(steps) == 1:
        return differences[0], roundings[0]
    values, errors = differences[1:], numpy.abs(differences[1:] - differences[:-1]) + roundings[1:]
    errors = numpy.where(numpy.isfinite(errors), errors, numpy.inf)
    relative = errors / (1 + numpy.abs(numpy.nan_to_num(values)))
    columns = numpy.arange(values.shape[1])
    finest = len(values) - 1 - (relative <= DISAGREEMENT)[::-1].argmax(0)
    open_still = numpy.abs(values - values[finest, columns]) <= 3 * errors[finest, columns]
    chosen = numpy.where(open_still, relative, numpy.inf).argmin(0)
    return values[chosen, columns], errors[chosen, columns]


def unit(x: numpy.ndarray, element: int) -> numpy.ndarray:
    """The direction of one element of x."""
    v = numpy.zeros(x.shape)
    v.flat[element] = 1.0
    return v
