"""More functions of each element by itself: trigonometric, hyperbolic, logarithms, roundings, special cases.

They follow the pattern of `elementwise.py`; nobody needs to read both.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.elementwise import (
    _zeros_like,
    abs,
    clamp,
    clone,
    exp,
    ge,
    gt,
    isinf,
    isnan,
    le,
    log,
    log1p,
    lt,
    ne,
    neg,
    sigmoid,
    sign,
    sin,
    where,
)

__all__ = [
    "absolute",
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "copysign",
    "cosh",
    "deg2rad",
    "exp2",
    "fix",
    "fmax",
    "fmin",
    "fmod",
    "frac",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "isclose",
    "isneginf",
    "isposinf",
    "ldexp",
    "less",
    "less_equal",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logit",
    "nan_to_num",
    "negative",
    "not_equal",
    "positive",
    "rad2deg",
    "sgn",
    "signbit",
    "sinc",
    "sinh",
    "tan",
    "trunc",
]


# Trigonometric and hyperbolic ---------------------------------------------------------------------------------------


@method
@primitive
def tan(xp, x):
    """z = tan x

    ∂x: g · (1 + z²)
    """
    return xp.tan(x)


@method
@primitive
def asin(xp, x):
    """z = arcsin x

    ∂x: g / √(1 − x²)
    """
    return xp.arcsin(x)


@method
@primitive
def acos(xp, x):
    """z = arccos x

    ∂x: −g / √(1 − x²)
    """
    return xp.arccos(x)


@method
@primitive
def atan(xp, x):
    """z = arctan x

    ∂x: g / (1 + x²)
    """
    return xp.arctan(x)


@method
@primitive
def atan2(xp, x, y):
    """z = the angle of the point (y, x), in (−π, π]

    ∂x: g · y / (x² + y²), 0 at the origin
    ∂y: −g · x / (x² + y²), 0 at the origin
    """
    return xp.arctan2(x, y)


def _by_square_of_radius(a: Any, x: Any, y: Any) -> Any:
    square = x * x + y * y
    return a / where(square == 0, math.inf, square)


@method
@primitive
def sinh(xp, x):
    """z = (eˣ − e⁻ˣ) / 2

    ∂x: g · cosh x
    """
    return xp.sinh(x)


@method
@primitive
def cosh(xp, x):
    """z = (eˣ + e⁻ˣ) / 2

    ∂x: g · sinh x
    """
    return xp.cosh(x)


@method
@primitive
def asinh(xp, x):
    """z = log(x + √(x² + 1))

    ∂x: g / √(x² + 1)
    """
    return xp.arcsinh(x)


@method
@primitive
def acosh(xp, x):
    """z = log(x + √(x² − 1))

    ∂x: g / √(x² − 1)
    """
    return xp.arccosh(x)


@method
@primitive
def atanh(xp, x):
    """z = log((1 + x) / (1 − x)) / 2

    ∂x: g / (1 − x²)
    """
    return xp.arctanh(x)


tan.vjp(x=lambda g, z: g * (1 + z * z))
asin.vjp(x=lambda g, x: g * (1 - x * x) ** -0.5)
acos.vjp(x=lambda g, x: -g * (1 - x * x) ** -0.5)
atan.vjp(x=lambda g, x: g / (1 + x * x))
atan2.vjp(
    x=lambda g, x, y: g * _by_square_of_radius(y, x, y),
    y=lambda g, x, y: g * _by_square_of_radius(-x, x, y),
)
sinh.vjp(x=lambda g, x: g * cosh(x))
cosh.vjp(x=lambda g, x: g * sinh(x))
asinh.vjp(x=lambda g, x: g * (x * x + 1) ** -0.5)
acosh.vjp(x=lambda g, x: g * (x * x - 1) ** -0.5)
atanh.vjp(x=lambda g, x: g / (1 - x * x))

arcsin = method(asin, "arcsin")
arccos = method(acos, "arccos")
arctan = method(atan, "arctan")
arctan2 = method(atan2, "arctan2")
arcsinh = method(asinh, "arcsinh")
arccosh = method(acosh, "arccosh")
arctanh = method(atanh, "arctanh")


@method
def deg2rad(input: Any) -> Any:
    """Degrees as radians."""
    return input * (math.pi / 180)


@method
def rad2deg(input: Any) -> Any:
    """Radians as degrees."""
    return input * (180 / math.pi)


@method
def sinc(input: Any) -> Any:
    """sin(πx) / πx, and 1 at x = 0."""
    near = abs(input) < 1e-3  # where the quotient's derivatives lose their digits, its Taylor polynomial has them
    angle = math.pi * where(near, 1.0, input)
    squared = (math.pi * where(near, input, 0.0)) ** 2
    return where(near, 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42)), sin(angle) / angle)


# Exponentials and logarithms ----------------------------------------------------------------------------------------


@method
@primitive
def log10(xp, x):
    """z = the logarithm of x to base 10

    ∂x: g / (x log 10)
    """
    return xp.log10(x)


@method
@primitive
def logaddexp(xp, x, y):
    """z = log(eˣ + eʸ), finite wherever the result is

    ∂x: g / (1 + eʸ⁻ˣ)
    ∂y: g / (1 + eˣ⁻ʸ)
    """
    equal = x == y  # also two infinities, whose difference would be NaN
    return xp.maximum(x, y) + xp.log1p(xp.exp(-xp.abs(xp.where(equal, 0, x) - xp.where(equal, 0, y))))


@method
@primitive
def hypot(xp, x, y):
    """z = √(x² + y²), without overflow

    ∂x: g · x / z (0 at the origin, where PyTorch has NaN)
    ∂y: g · y / z (0 at the origin, likewise)
    """
    return xp.hypot(x, y)


def _share(x: Any, y: Any) -> Any:
    """The part of eˣ in eˣ + eʸ; a half also of two infinities."""
    infinite = isinf(x) & (x == y)
    return sigmoid(where(infinite, 0.0, x) - where(infinite, 0.0, y))


log10.vjp(x=lambda g, x: g / (x * math.log(10)))
logaddexp.vjp(x=lambda g, x, y: g * _share(x, y), y=lambda g, x, y: g * _share(y, x))
hypot.vjp(x=lambda g, x, z: g * (x / where(z == 0, 1.0, z)), y=lambda g, y, z: g * (y / where(z == 0, 1.0, z)))


@method
def exp2(input: Any) -> Any:
    """2ˣ"""
    return 2**input if input.dtype.kind == "f" else exp(input * math.log(2))


@method
def logaddexp2(input: Any, other: Any) -> Any:
    """log₂(2ˣ + 2ʸ), finite wherever the result is."""
    return logaddexp(input * math.log(2), other * math.log(2)) / math.log(2)


@method
def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 − x)), the inverse of the sigmoid; with `eps`, of x clipped to [eps, 1 − eps]."""
    x = input if eps is None else clamp(input, eps, 1 - eps)
    x = x * where((x < 0) | (x > 1), math.nan, _zeros_like(x) + 1)  # else the derivative is a number where log is NaN
    return log(x) - log1p(-x)


# Roundings ----------------------------------------------------------------------------------------------------------


@method
@primitive
def trunc(xp, x):
    """z = x without its fraction, rounded towards 0

    ∂x: 0
    """
    return x.copy() if x.dtype.kind in "iub" else xp.trunc(x)


@method
@primitive
def fmod(xp, x, y):
    """z = x − y · trunc(x / y), with the sign of x

    ∂x: g
    ∂y: −g · trunc(x / y)
    """
    return kernels(xp).fmod(x, y)


trunc.vjp(x=lambda g: _zeros_like(g))
fmod.vjp(x=lambda g: g, y=lambda g, x, y: -g * trunc(x / y))

fix = method(trunc, "fix")


@method
def frac(input: Any) -> Any:
    """The fraction, with the sign of x."""
    return input - trunc(input)


# Chosen by a condition ----------------------------------------------------------------------------------------------


@method
@primitive(differentiable=False)
def signbit(xp, x):
    """Whether the sign is a minus, also that of −0"""
    return xp.signbit(x) if x.dtype.kind == "f" else x < 0


@method
@primitive(differentiable=False)
def isclose(xp, x, y, *, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether |x − y| ≤ atol + rtol · |y|, a bool per element"""
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if tolerance < 0:
            raise ValueError(f"isclose: {name} must not be negative, got {tolerance}")
    return xp.isclose(x, y, rtol, atol, equal_nan)


@method
@primitive(differentiable=False)
def heaviside(xp, x, y):
    """0 where x < 0, 1 where x > 0, y where x = 0"""
    return xp.where(x == 0, y, (x > 0).astype(x.dtype))


@method
@primitive(differentiable=False)
def bitwise_left_shift(xp, x, y):
    """x · 2ʸ, the bits of integers moved up by y places"""
    return xp.left_shift(x, y)


@method
@primitive(differentiable=False)
def bitwise_right_shift(xp, x, y):
    """⌊x / 2ʸ⌋, the bits of integers moved down by y places"""
    return xp.right_shift(x, y)


@method
def copysign(input: Any, other: Any) -> Any:
    """|x| with the sign of y, also that of −0; at x = 0 the gradient is 0."""
    minus = signbit(other) if hasattr(other, "dtype") else math.copysign(1.0, other) < 0
    size = abs(input) * 1.0
    if isinstance(minus, bool):
        return -size if minus else size
    return where(minus, -size, size)


@method
def fmax(input: Any, other: Any) -> Any:
    """The larger of the two, where one is NaN the other."""
    return where(isnan(input), other, where(isnan(other), input, where(input >= other, input, other)))


@method
def fmin(input: Any, other: Any) -> Any:
    """The smaller of the two, where one is NaN the other."""
    return where(isnan(input), other, where(isnan(other), input, where(input <= other, input, other)))


@method
def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with numbers in the place of NaN and infinities.

    Args:
        input: any shape.
        nan: the number for NaN.
        posinf, neginf: the numbers for ∞ and −∞; by default the largest and the smallest of the dtype.
    """
    if input.dtype.kind != "f":
        return clone(input)
    largest = _largest(input)
    x = where(isnan(input), 0.0 if nan is None else nan, input)
    x = where(isinf(x) & (x > 0), largest if posinf is None else posinf, x)
    return where(isinf(x) & (x < 0), -largest if neginf is None else neginf, x)


def _largest(x: Any) -> float:
    return {2: 65504.0, 4: 3.4028234663852886e38, 8: 1.7976931348623157e308}[x.dtype.itemsize]


@method
def ldexp(input: Any, other: Any) -> Any:
    """x · 2ʸ"""
    return input * 2.0**other


@method
def positive(input: Tensor) -> Tensor:
    """+x: x itself."""
    if input.dtype.kind == "b":
        raise TypeError("positive: a bool has no sign; convert it first, with .long()")
    return input


@method
def isposinf(input: Any) -> Any:
    """Whether an element is +∞."""
    return isinf(input) & (input > 0)


@method
def isneginf(input: Any) -> Any:
    """Whether an element is −∞."""
    return isinf(input) & (input < 0)


absolute = method(abs, "absolute")
negative = method(neg, "negative")
sgn = method(sign, "sgn")
greater = method(gt, "greater")
greater_equal = method(ge, "greater_equal")
less = method(lt, "less")
less_equal = method(le, "less_equal")
not_equal = method(ne, "not_equal")
