"""Operations that work on each element by itself. The first file of mathematics to read.

Two operands of different shapes are broadcast as NumPy does it. The walk sums the gradient back to each operand's
shape, so no rule here mentions it.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.kernels import LARGE, kernels
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.compiled import on_gpu
from tinygrad_med.engine.conversions import as_array
from tinygrad_med.ops.half import half_in_single
from tinygrad_med.ops.special import erf_array

__all__ = [
    "abs",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "cos",
    "eq",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floordiv",
    "ge",
    "gelu",
    "gt",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "leaky_relu",
    "log",
    "log1p",
    "log2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsigmoid",
    "lt",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "ne",
    "neg",
    "pow",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "tanh",
    "to_device",
    "where",
]


# Copies: z = x, somewhere else --------------------------------------------------------------------------------------


@method
@primitive
def clone(xp, x):
    """z = x in memory of its own

    ∂x: g
    """
    return x.copy()


@primitive
def to_device(xp, x, *, device, source):
    """z = x on another device

    ∂x: g on the device of x
    """
    return backend.to_device(x, device)


clone.vjp(x=lambda g: g)
to_device.vjp(x=lambda g, device, source: to_device(g, device=source, source=device))


# Arithmetic ---------------------------------------------------------------------------------------------------------


@primitive
def add(xp, x, y):
    """z = x + y

    ∂x: g
    ∂y: g
    """
    return x + y


add.vjp(x=lambda g: g, y=lambda g: g)


@primitive
def sub(xp, x, y):
    """z = x − y

    ∂x: g
    ∂y: −g
    """
    return x - y


sub.vjp(x=lambda g: g, y=lambda g: -g)


@method
@primitive
def mul(xp, x, y):
    """z = x · y

    ∂x: g · y
    ∂y: g · x
    """
    return x * y


mul.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)


@primitive
def div(xp, x, y):
    """z = x / y

    ∂x: g / y
    ∂y: −g · z / y
    """
    return x / y


div.vjp(x=lambda g, y: g / y, y=lambda g, y, z: -g * z / y)


@method
@primitive
def neg(xp, x):
    """z = −x

    ∂x: −g
    """
    return -x


neg.vjp(x=lambda g: -g)


@method
@primitive
def pow(xp, x, y):
    """z = xʸ

    ∂x: g · y · xʸ⁻¹ (0 for y = 0, also at x = 0)
    ∂y: g · z · log x (0 at x = 0 for y ≥ 0, where z does not change with y)
    """
    return x**y


pow.vjp(
    x=lambda g, x, y: g * (y * x ** (y - (y != 0))),
    y=lambda g, x, y, z: where((x == 0) & (y >= 0), 0.0, g * (z * _log_of_base(x))),
)


def _log_of_base(x: Any) -> Any:
    """log x, and 0 at x = 0; a Python number gives a Python number, which promotes nothing."""
    if isinstance(x, (int, float)):
        return (math.log(x) if x > 0 else math.nan) if x else 0.0
    return log(where(x == 0, 1.0, x))


# Exponentials and roots ---------------------------------------------------------------------------------------------


@method
@primitive
def exp(xp, x):
    """z = eˣ

    ∂x: g · z
    """
    return xp.exp(x)


exp.vjp(x=lambda g, z: g * z)


@method
@primitive
def expm1(xp, x):
    """z = eˣ − 1, exact near x = 0

    ∂x: g · (z + 1)
    """
    return xp.expm1(x)


expm1.vjp(x=lambda g, z: g * (z + 1))


@method
@primitive
def log(xp, x):
    """z = log x

    ∂x: g / x
    """
    return xp.log(x)


log.vjp(x=lambda g, x: g / x)


@method
@primitive
def log1p(xp, x):
    """z = log(1 + x), exact near x = 0

    ∂x: g / (1 + x)
    """
    return xp.log1p(x)


log1p.vjp(x=lambda g, x: g / (1 + x))


@method
@primitive
def sqrt(xp, x):
    """z = √x

    ∂x: g / 2z
    """
    return xp.sqrt(x)


sqrt.vjp(x=lambda g, z: g / (2 * z))


@method
@primitive
def sin(xp, x):
    """z = sin x

    ∂x: g · cos x
    """
    return xp.sin(x)


@method
@primitive
def cos(xp, x):
    """z = cos x

    ∂x: −g · sin x
    """
    return xp.cos(x)


sin.vjp(x=lambda g, x: g * cos(x))
cos.vjp(x=lambda g, x: -g * sin(x))


@method
def rsqrt(x: Any) -> Any:
    """1 / √x"""
    return 1 / sqrt(x)


@method
def log2(x: Any) -> Any:
    """The logarithm to base 2"""
    return log(x) / math.log(2)


@method
def square(x: Any) -> Any:
    """x²"""
    return x * x


@method
def reciprocal(x: Any) -> Any:
    """1 / x"""
    return 1 / x


# With a kink or a choice: the choice is constant, and what follows it is linear ---------------------------------------
#
# Where the choice fell on another operand the gradient is 0: chosen, not multiplied, for ∞ · 0 would be NaN.


@primitive(differentiable=False)
def _zeros_like(xp, x):
    """0 for every element of x, also where that is infinite"""
    return xp.zeros_like(x)


@method
@primitive
def abs(xp, x):
    """z = |x|

    ∂x: g · sign x (0 at x = 0)
    """
    return xp.abs(x)


@method
@primitive
def sign(xp, x):
    """z = −1, 0 or 1 as x is negative, zero or positive; NaN for NaN, where PyTorch gives 0

    ∂x: 0
    """
    return xp.sign(x)


abs.vjp(x=lambda g, x: g * sign(x))
sign.vjp(x=lambda g: _zeros_like(g))


@method
@primitive
def round(xp, x, *, decimals=0):
    """z = the nearest number with so many decimals, the even one of two

    ∂x: 0
    """
    return xp.round(x, decimals)


@method
@primitive
def floor(xp, x):
    """z = ⌊x⌋

    ∂x: 0
    """
    return xp.floor(x)


@method
@primitive
def ceil(xp, x):
    """z = ⌈x⌉

    ∂x: 0
    """
    return xp.ceil(x)


round.vjp(x=lambda g: _zeros_like(g))
floor.vjp(x=lambda g: _zeros_like(g))
ceil.vjp(x=lambda g: _zeros_like(g))


@method
@primitive(differentiable=False)
def floordiv(xp, x, y):
    """⌊x / y⌋; of integers by 0 a ZeroDivisionError, on a GPU 0, where looking for it would be a wait"""
    return kernels(xp).floor_divide(x, y)


@method
@primitive
def remainder(xp, x, y):
    """z = x − y ⌊x / y⌋, with the sign of y

    ∂x: g
    ∂y: −g · ⌊x / y⌋
    """
    return kernels(xp).remainder(x, y)


remainder.vjp(x=lambda g: g, y=lambda g, x, y: -g * floordiv(x, y))


@method
@primitive
def clamp_min(xp, x, min):
    """z = x where x ≥ min, min elsewhere

    ∂x: g where x ≥ min, else 0
    ∂min: g where x < min, else 0
    """
    return xp.maximum(x, min)


@method
@primitive
def clamp_max(xp, x, max):
    """z = x where x ≤ max, max elsewhere

    ∂x: g where x ≤ max, else 0
    ∂max: g where x > max, else 0
    """
    return xp.minimum(x, max)


clamp_min.vjp(x=lambda g, x, min: _keep(g, mask=x >= min), min=lambda g, x, min: _keep(g, mask=x < min))
clamp_max.vjp(x=lambda g, x, max: _keep(g, mask=x <= max), max=lambda g, x, max: _keep(g, mask=x > max))


@method
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x within [min, max], the bounds elsewhere; at a bound the gradient is that of x.

    Below two equal bounds the gradient is that of min. (In PyTorch it is lost there.)

    Args:
        x: any shape.
        min, max: numbers or tensors that broadcast, through which gradients flow too; one of them may be `None`.
    """
    if min is None and max is None:
        raise ValueError("clip: give min, max or both")
    z = x if min is None else clamp_min(x, min)
    return z if max is None else clamp_max(z, max)


@method
def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    """PyTorch's name for `clip`."""
    return clip(x, min, max)


@method
@primitive
def maximum(xp, x, y):
    """z = the larger of x and y

    ∂x: 0 where x < y, g / 2 where x = y, else g
    ∂y: 0 where y < x, g / 2 where x = y, else g
    """
    return xp.maximum(x, y)


@method
@primitive
def minimum(xp, x, y):
    """z = the smaller of x and y

    ∂x: 0 where x > y, g / 2 where x = y, else g
    ∂y: 0 where y > x, g / 2 where x = y, else g
    """
    return xp.minimum(x, y)


def _unless_less(g: Any, x: Any, y: Any) -> Any:
    half = 0.5 * g
    return _keep(half, mask=~(x < y)) + _keep(half, mask=~(x <= y))


maximum.vjp(x=lambda g, x, y: _unless_less(g, x, y), y=lambda g, x, y: _unless_less(g, y, x))
minimum.vjp(x=lambda g, x, y: _unless_less(g, y, x), y=lambda g, x, y: _unless_less(g, x, y))


@primitive
def _select(xp, x, y, *, condition):
    """z = x where the condition holds, y elsewhere

    ∂x: g where the condition holds, else 0
    ∂y: g where it does not, else 0
    """
    return xp.where(condition, x, y)


@primitive
def _keep(xp, x, *, mask):
    """z = x where the mask holds, 0 elsewhere: a product with 0 and 1 in which 0 · ∞ = 0

    ∂x: g where the mask holds, else 0
    """
    return kernels(xp).keep(x, mask)


_select.vjp(x=lambda g, condition: _keep(g, mask=condition), y=lambda g, condition: _keep(g, mask=~condition))
_keep.vjp(x=lambda g, mask: _keep(g, mask=mask))


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """x where the condition holds, y elsewhere, all broadcast; `where(condition)` is where it holds, as a key.

    The condition is a bool tensor or array, through which no gradient flows; x and y are tensors, arrays or numbers.
    """
    if x is None and y is None:
        return condition.nonzero(as_tuple=True)
    if x is None or y is None:
        missing, other = ("x", "y") if x is None else ("y", "x")
        raise TypeError(f"where: {missing} is None, but {other} is not; give both, or the condition alone")
    array = as_array(condition)
    if array.dtype != bool:
        raise TypeError(f"where: the condition must be a bool tensor, got {array.dtype}; compare first, as in x > 0")
    if isinstance(condition, Tensor) and not (isinstance(x, Tensor) or isinstance(y, Tensor)):
        x = wrap(as_array(x, device=condition.device))
    return _select(x, y, condition=array)


@method
def masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """x with `value`, a number or a 0-d tensor, where the mask is true; in the dtype of x, which cuts 1.5 to 1."""
    if getattr(value, "ndim", 0) or isinstance(value, complex):
        raise TypeError(f"masked_fill: value must be one real number, got {value!r}; use where(mask, value, x)")
    if x.dtype.kind != "f":
        try:
            value = as_array(int(value), x.dtype, x.device)
        except (OverflowError, ValueError) as error:
            raise ValueError(f"masked_fill: {value!r} is no {x.dtype}; use x.float()") from error
    return where(mask, value, x)


# Activations --------------------------------------------------------------------------------------------------------


@method
@primitive
def tanh(xp, x):
    """z = tanh x

    ∂x: g · (1 − z²)
    """
    return xp.tanh(x)


tanh.vjp(x=lambda g, z: g * (1 - z * z))


@method
@primitive
def sigmoid(xp, x):
    """z = 1 / (1 + e⁻ˣ), computed from e^−|x| so that nothing overflows

    ∂x: g · z · (1 − z)
    """
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, 1) / (1 + e)


sigmoid.vjp(x=lambda g, z: g * (z * (1 - z)))


@method
@primitive
def logsigmoid(xp, x):
    """z = log(1 / (1 + e⁻ˣ)) = min(x, 0) − log(1 + e^−|x|)

    ∂x: g · sigmoid(−x)
    """
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x)))


logsigmoid.vjp(x=lambda g, x: g * sigmoid(-x))


@method
@primitive
def softplus(xp, x, *, beta=1, threshold=20):
    """z = log(1 + e^βx) / β; x itself where βx > threshold

    ∂x: g · sigmoid(βx); g itself where βx > threshold
    """
    bx = beta * x
    return xp.where(bx > threshold, x, (xp.log1p(xp.exp(-xp.abs(bx))) + xp.maximum(bx, 0)) / beta)


softplus.vjp(x=lambda g, x, beta, threshold: g * where(beta * x > threshold, 1.0, sigmoid(beta * x)))


@method
@primitive
def relu(xp, x):
    """z = max(x, 0)

    ∂x: g where x > 0, else 0 (0 at x = 0)
    """
    return xp.maximum(x, 0) if x.size < LARGE else kernels(xp).relu(x)


@primitive
def _relu_input(xp, x, *, output):
    """z = x where the output of relu is > 0, else 0: the gradient of relu's operand

    ∂x: g where the output of relu is > 0, else 0
    """
    return kernels(xp).relu_backward(x, output)


relu.vjp(x=lambda g, z: _relu_input(g, output=z))
_relu_input.vjp(x=lambda g, output: _relu_input(g, output=output))


@method
@primitive
def leaky_relu(xp, x, *, negative_slope=0.01):
    """z = x where x > 0, negative_slope · x elsewhere

    ∂x: g where x > 0, negative_slope · g elsewhere (also at x = 0)
    """
    return xp.where(x > 0, x, negative_slope * x)


leaky_relu.vjp(x=lambda g, x, negative_slope: where(x > 0, g, negative_slope * g))


@method
@primitive(single=True)
def erf(xp, x):
    """z = 2/√π ∫₀ˣ e^−t² dt

    ∂x: g · 2/√π · e^−x²
    """
    return erf_array(xp, x)


erf.vjp(x=lambda g, x: g * (2 / math.sqrt(math.pi) * exp(-x * x)))


@method
@half_in_single
def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x · Φ(x) with the normal distribution function Φ (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Args:
        x: any shape.
        approximate: `"none"`, or `"tanh"` for the paper's approximation of Φ.
    """
    if approximate == "none":
        return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))
    if approximate != "tanh":
        raise ValueError(f"gelu: approximate={approximate!r} is unknown; give 'none' or 'tanh'")
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# Comparisons and logic: without a derivative --------------------------------------------------------------------------


@method
@primitive(differentiable=False)
def lt(xp, x, y):
    """x < y, a bool per element"""
    return xp.less(x, y)


@method
@primitive(differentiable=False)
def le(xp, x, y):
    """x ≤ y, a bool per element"""
    return xp.less_equal(x, y)


@method
@primitive(differentiable=False)
def gt(xp, x, y):
    """x > y, a bool per element"""
    return xp.greater(x, y)


@method
@primitive(differentiable=False)
def ge(xp, x, y):
    """x ≥ y, a bool per element"""
    return xp.greater_equal(x, y)


@method
@primitive(differentiable=False)
def eq(xp, x, y):
    """x = y, a bool per element"""
    return xp.equal(x, y)


@method
@primitive(differentiable=False)
def ne(xp, x, y):
    """x ≠ y, a bool per element"""
    return xp.not_equal(x, y)


@method
@primitive(differentiable=False)
def logical_and(xp, x, y):
    """x ∧ y, a bool per element; a number is true unless it is 0"""
    return xp.logical_and(x, y)


@method
@primitive(differentiable=False)
def logical_or(xp, x, y):
    """x ∨ y, a bool per element; a number is true unless it is 0"""
    return xp.logical_or(x, y)


@method
@primitive(differentiable=False)
def logical_xor(xp, x, y):
    """x ⊕ y, a bool per element; a number is true unless it is 0"""
    return xp.logical_xor(x, y)


@method
@primitive(differentiable=False)
def logical_not(xp, x):
    """¬x, a bool per element; a number is true unless it is 0"""
    return xp.logical_not(x)


@method
@primitive(differentiable=False)
def bitwise_and(xp, x, y):
    """x & y, bit by bit, for integers and bools"""
    return xp.bitwise_and(x, y)


@method
@primitive(differentiable=False)
def bitwise_or(xp, x, y):
    """x | y, bit by bit, for integers and bools"""
    return xp.bitwise_or(x, y)


@method
@primitive(differentiable=False)
def bitwise_xor(xp, x, y):
    """x ^ y, bit by bit, for integers and bools"""
    return xp.bitwise_xor(x, y)


@method
@primitive(differentiable=False)
def bitwise_not(xp, x):
    """~x, bit by bit, for integers and bools"""
    return xp.bitwise_not(x)


@method
@primitive(differentiable=False)
def isnan(xp, x):
    """Whether an element is not a number"""
    return xp.isnan(x)


@method
@primitive(differentiable=False)
def isinf(xp, x):
    """Whether an element is infinite"""
    return xp.isinf(x)


@method
@primitive(differentiable=False)
def isfinite(xp, x):
    """Whether an element is neither infinite nor NaN"""
    return xp.isfinite(x)


# Of images that lie channels last the sum does, too ----------------------------------------------------------------


@on_gpu(add)
def _add_on_gpu(xp, x, y):
    return kernels(xp).plus(x, y)
