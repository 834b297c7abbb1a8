"""More activations. The common ones (relu, sigmoid, tanh, gelu, softplus) are in `elementwise.py`.

At a kink the gradient is that of PyTorch, which each docstring states where it is not that of the side named first.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.core.methods import method
from tinygrad_med.ops.dims import one_dim
from tinygrad_med.ops.elementwise import abs, clamp, expm1, relu, sigmoid, sign, softplus, tanh, where
from tinygrad_med.ops.reduce import softmax
from tinygrad_med.ops.shape import _reshape, narrow

__all__ = [
    "celu",
    "elu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "mish",
    "prelu",
    "relu6",
    "selu",
    "silu",
    "softmin",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]


def _bend(x: Any, inside: Any, below: Any) -> Any:
    """x where `inside` is true, else `below(x)`, which is not computed of the other x, where it might overflow."""
    return where(inside, x, below(where(inside, 0.0, x)))


def elu(input: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, alpha · (eˣ − 1) elsewhere (Clevert et al. 2015, arXiv:1511.07289)."""
    return _bend(input, input > 0, lambda x: alpha * expm1(x))


def celu(input: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, alpha · (e^(x/alpha) − 1) elsewhere (Barron 2017, arXiv:1704.07483)."""
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return _bend(input, input > 0, lambda x: alpha * expm1(x / alpha))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
"""With these, activations keep mean 0 and variance 1 from layer to layer."""


def selu(input: Any) -> Any:
    """scale · elu(x, alpha) with the two constants of Klambauer et al. 2017, arXiv:1706.02515."""
    return SELU_SCALE * elu(input, SELU_ALPHA)


@method
def prelu(input: Any, weight: Any) -> Any:
    """x where x > 0, weight · x elsewhere (He et al. 2015, arXiv:1502.01852).

    Args:
        input: (N, C, …), or any shape.
        weight: one number, or (C,), one per channel.
    """
    n = math.prod(weight.shape)
    channels = input.shape[1] if len(input.shape) > 1 else 1
    if len(weight.shape) > 1 or (n != 1 and n != channels):
        raise ValueError(f"prelu: weight {tuple(weight.shape)} must have 1 number or {channels}, one per channel of x")
    if input.dtype != weight.dtype:
        raise TypeError(f"prelu: x is {input.dtype}, weight {weight.dtype}; convert one of them")
    if len(input.shape) > 1:
        weight = _reshape(weight, shape=(1, n, *[1] * (len(input.shape) - 2)))
    elif not len(input.shape):
        weight = _reshape(weight, shape=())
    return where(input > 0, input, weight * input)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """x within [min_val, max_val], the bounds elsewhere; at a bound the gradient is 0."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val={min_val} is above max_val={max_val}")
    inside = (input > min_val) & (input < max_val)
    return where(inside, input, clamp(input.detach() if hasattr(input, "detach") else input, min_val, max_val))


def relu6(input: Any) -> Any:
    """min(max(x, 0), 6), with gradient 0 at both."""
    return hardtanh(input, 0.0, 6.0)


def hardsigmoid(input: Any) -> Any:
    """(x + 3) / 6 within [0, 1], the bounds elsewhere, with gradient 0 at them."""
    return hardtanh(input + 3, 0.0, 6.0) / 6


def hardswish(input: Any) -> Any:
    """x · hardsigmoid(x) (Howard et al. 2019, arXiv:1905.02244)."""
    middle = (input > -3) & (input < 3)
    x = where(middle, input, 0.0)
    return where(middle, x * (x + 3) / 6, relu(input))


def softsign(input: Any) -> Any:
    """x / (1 + |x|)"""
    return input / (1 + abs(input))


def silu(input: Any) -> Any:
    """x · sigmoid(x), also called swish (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return input * sigmoid(input)


def mish(input: Any) -> Any:
    """x · tanh(softplus(x)) (Misra 2019, arXiv:1908.08681)."""
    return input * tanh(softplus(input))


def glu(input: Any, dim: int = -1) -> Any:
    """The first half of x along `dim` times the sigmoid of the second (Dauphin et al. 2016, arXiv:1612.08083)."""
    d = one_dim(dim, len(input.shape), "glu")
    if not len(input.shape):
        raise ValueError("glu: a 0-d tensor has no halves")
    n = input.shape[d]
    if n % 2:
        raise ValueError(f"glu: dim {dim} of length {n} can't be halved")
    return narrow(input, d, 0, n // 2) * sigmoid(narrow(input, d, n // 2, n // 2))


@method
def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x where |x| > lambd, 0 elsewhere."""
    return where((input >= -lambd) & (input <= lambd), 0.0, input)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x − lambd above lambd, x + lambd below −lambd, 0 between."""
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    return where((input > lambd) | (input < -lambd), input - lambd * sign(input), 0.0 * input)


def tanhshrink(input: Any) -> Any:
    """x − tanh x"""
    return input - tanh(input)


def threshold(input: Any, threshold: float, value: float) -> Any:
    """x where x > threshold, `value` elsewhere."""
    return where(input <= threshold, value, input)


def softmin(input: Any, dim: int, dtype: Any = None) -> Any:
    """e^−xᵢ / Σⱼ e^−xⱼ along `dim`."""
    return softmax(-input, dim, dtype=dtype)
