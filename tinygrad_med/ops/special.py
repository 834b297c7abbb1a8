"""The error function on arrays, which NumPy lacks."""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), 631-637: numerators and
# denominators, the highest power first, of erf(x)/x in x² for |x| ≤ 0.46875, of eˣ² erfc(x) in x for |x| ≤ 4, and of
# its difference from 1/(x√π) in 1/x² beyond.
_NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_MIDDLE = (
    (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
        2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
    ),
)  # fmt: skip
_FAR = (
    (
        1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
        1.60837851487422766e-2, 6.58749161529837803e-4,
    ),
    (
        1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)  # fmt: skip
_ONE_OVER_SQRT_PI = 5.6418958354775628695e-1


def erf_array(xp: Any, x: Any) -> Any:
    """erf(x) for an array x, in float64 within two units in the last place; of integers in float64."""
    if x.dtype.kind != "f":
        x = x.astype("float64")
    if (builtin := backend.builtin_erf(xp)) is not None:
        return builtin(x).astype(x.dtype, copy=False)  # CuPy's gives float64 for float16
    y = xp.abs(x)
    near = x * _ratio(_NEAR, xp.minimum(y, 0.46875) ** 2)
    middle = 1 - xp.exp(-y * y) * _ratio(_MIDDLE, xp.clip(y, 0.46875, 4))
    inverse = 1 / xp.maximum(y, 4) ** 2
    far = 1 - xp.exp(-y * y) / xp.maximum(y, 4) * (_ONE_OVER_SQRT_PI - inverse * _ratio(_FAR, inverse))
    tail = xp.where(y <= 4, middle, far)
    z = xp.where(y <= 0.46875, near, xp.where(x < 0, -tail, tail))
    return z.astype(x.dtype)


def _ratio(polynomials: Any, t: Any) -> Any:
    """numerator(t) / denominator(t) by Horner's rule."""
    numerator, denominator = (0 * t + p[0] for p in polynomials)
    for a, b in zip(polynomials[0][1:], polynomials[1][1:], strict=True):
        numerator, denominator = numerator * t + a, denominator * t + b
    return numerator / denominator
