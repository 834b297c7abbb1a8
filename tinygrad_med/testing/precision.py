"""How exactly a check looks: its options, what counts as equal, and the random numbers that it takes.

There are two questions. Is a derivative the numerical one, which is known only so well? That is for `Tolerance`. And do
two ways of computing give the same numbers, up to rounding? That is for `same`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from tinygrad_med.testing.numeric import Estimate

Arrays = Sequence[numpy.ndarray]


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

    def exceeded(self, analytic: numpy.ndarray, numerical: Estimate) -> numpy.ndarray:
        """Where the two differ by more than is allowed."""
        size = numpy.abs(numerical.value)
        atol: Any = self.atol
        relative = self.rtol * size
        if self.strict:
            largest = float(size[numpy.isfinite(size)].max(initial=0))
            lowest = 0.0 if numerical.certain.any() else 1e-4 * atol  # else all may be what rounding leaves of 0
            atol = numpy.clip(numpy.maximum(largest * atol, 10 * numerical.error), lowest, atol)
            relative = numpy.minimum(relative, 1e-6 * size + 10 * numerical.error)
        return ~(numpy.abs(analytic - numerical.value) <= atol + relative)

    @property
    def quick_steps(self) -> tuple[float, ...]:
        """Two steps, enough where all is well."""
        return (100 * self.eps, 10 * self.eps)

    @property
    def all_steps(self) -> tuple[float, ...]:
        """The steps of a diagnosis."""
        return tuple(self.eps * 10.0**k for k in range(4, -2, -1))


@dataclass(frozen=True)
class Options:
    """What `gradcheck`, `gradgradcheck` and `check_op` are told about the comparison; their docstrings explain it."""

    order: int = 1
    eps: float | None = None
    atol: float | None = None
    rtol: float | None = None
    closer: bool = False
    """Whether to hold derivatives closer than PyTorch's tolerances, unless some are given."""
    nondet_tol: float = 0.0
    allow_float32: bool = False
    fast_mode: bool = False
    seed: int = 0

    def tolerance(self, coarse: bool) -> Tolerance:
        """PyTorch's tolerances in float64; in lower precision (`coarse`) what a numerical derivative can tell there."""
        defaults = Tolerance(1e-3, 1e-2, 1e-2) if coarse else Tolerance(1e-6, 1e-5, 1e-3)
        given: dict[str, Any] = {"eps": self.eps, "atol": self.atol, "rtol": self.rtol}
        strict = self.closer and not coarse and self.atol is None and self.rtol is None
        return defaults._replace(strict=strict, **{name: v for name, v in given.items() if v is not None})

    def sieve(self, coarse: bool) -> Tolerance:
        """The tolerance of a quick look, after which Jacobians decide: less of it than of the comparison of these."""
        strict = self.tolerance(coarse).strict
        return Tolerance(1e-3, 1e-3, 1e-2) if coarse else Tolerance(1e-6, 1e-6, 1e-6, strict)


def same(a: numpy.ndarray, b: numpy.ndarray, eps: float, nondet_tol: float = 0.0, rtol: float = 1e-9) -> bool:
    """Whether two ways to compute an array gave the same, up to the rounding of numbers of precision `eps`.

    They may differ by `rtol` of the largest number, and by as much of 1: what cancels may leave so little.
    """
    if a.shape != b.shape:
        return False
    largest = max(float(numpy.abs(x[numpy.isfinite(x)]).max(initial=1)) for x in (a, b))
    bound = max(rtol, 100 * eps) * largest + nondet_tol
    return numpy.allclose(a, b, rtol=0, atol=bound, equal_nan=True)


def random_like(arrays: Arrays, rng: numpy.random.Generator) -> list[numpy.ndarray]:
    """Random upstream gradients or directions: of both signs, and none near 0."""
    return [(rng.uniform(0.5, 1.5, a.shape) * rng.choice((-1.0, 1.0), a.shape)).astype(a.dtype) for a in arrays]
