"""What a layer's numbers are before training; every function writes into its tensor and returns it.

The variance of the numbers decides whether signals keep their size through many layers. A layer that sums over
`fan_in` inputs multiplies the variance of a signal by fan_in · Var(w), and on the way back that of a gradient by
fan_out · Var(w).

- Xavier makes both about 1: Var(w) = 2 / (fan_in + fan_out). Glorot and Bengio 2010, "Understanding the difficulty of
  training deep feedforward neural networks", AISTATS, equations 12 and 16.
- Kaiming makes one of them 1 and allows for what the activation takes away, half of the variance for a relu:
  Var(w) = gain² / fan. He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852, equations 10 and 14.
"""

from __future__ import annotations

import math
import re
from typing import TypeVar

import numpy

from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.errors import answers
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.random import Generator, rand, randn

T = TypeVar("T", bound=Tensor)


@no_grad()
def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> T:
    """Uniform numbers in [a, b)."""
    tensor.uniform_(a, b, generator=generator)
    return tensor


@no_grad()
def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> T:
    """Normal numbers."""
    tensor.normal_(mean, std, generator=generator)
    return tensor


@no_grad()
def constant_(tensor: T, val: float) -> T:
    """`val` everywhere."""
    tensor.fill_(val)
    return tensor


def zeros_(tensor: T) -> T:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights must be larger because of the activation after them; PyTorch's table.

    Args:
        nonlinearity: `"linear"`, `"sigmoid"`, `"tanh"`, `"relu"`, `"leaky_relu"`, `"selu"`, or a convolution's name (as
            linear).
        param: the negative slope of leaky_relu, 0.01 by default.
    """
    if nonlinearity in ("linear", "sigmoid") or re.fullmatch(r"conv(_transpose)?[123]d", nonlinearity):
        return 1.0
    if nonlinearity == "selu":
        return 3 / 4
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    raise ValueError(
        f"calculate_gain: {nonlinearity!r} is unknown; give linear, sigmoid, tanh, relu, leaky_relu or selu"
    )


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in) or (out, in / groups, kh, kw): how many inputs each output sums, and the
    other way round."""
    if tensor.ndim < 2:
        raise ValueError(
            f"fan_in and fan_out need a weight of at least 2 dims (out, in, …), got shape {tensor.shape}; "
            "for a bias use uniform_, normal_ or zeros_"
        )
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Uniform numbers of variance gain² · 2 / (fan_in + fan_out)."""
    bound = math.sqrt(3) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """Normal numbers of variance gain² · 2 / (fan_in + fan_out)."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def kaiming_uniform_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:
    """Uniform numbers of variance gain² / fan.

    Args:
        tensor: the weight.
        a: the negative slope of the leaky_relu after the layer; 0 for a relu.
        mode: `"fan_in"` keeps the size of signals, `"fan_out"` that of gradients.
        nonlinearity: the activation after the layer, see `calculate_gain`.
        generator: where the numbers come from.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> T:
    """Normal numbers of variance gain² / fan; the arguments are those of `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> T:
    """Normal numbers, drawn again where they are not in [a, b]."""
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: needs std > 0 and a < b, got {std=}, {a=} and {b=}")
    low, high = (a - mean) / std, (b - mean) / std
    densest = min(max(0.0, low), high)
    inside = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    rare = inside * math.sqrt(2 * math.pi) < (high - low) * math.exp(-(densest**2) / 2)  # if fewer of normal ones fit
    numbers = numpy.empty(0)
    while len(numbers) < tensor.numel():
        n = 2 * (tensor.numel() - len(numbers)) + 16
        if rare:
            numbers = numpy.append(numbers, _uniform_accepted(n, low, high, densest, generator))
        else:
            x = randn(n, dtype="float64", generator=generator).numpy()
            numbers = numpy.append(numbers, x[(x >= low) & (x <= high)])
    return _write(tensor, mean + std * numbers[: tensor.numel()])


def _uniform_accepted(n: int, low: float, high: float, densest: float, generator: Generator | None) -> numpy.ndarray:
    """Those of n uniform numbers in [low, high] that the density of normal ones accepts, whose maximum is known."""
    x, chance = rand(2, n, dtype="float64", generator=generator).numpy()
    x = low + (high - low) * x
    return x[chance < numpy.exp((densest**2 - x**2) / 2)]


def orthogonal_(tensor: T, gain: float = 1.0, generator: Generator | None = None) -> T:
    """A random matrix (n, all others) whose rows, or, if they are the fewer, columns are orthogonal and of length
    `gain`, for at least 2 dims. Saxe et al. 2014, arXiv:1312.6120."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: needs at least 2 dims, got shape {tensor.shape}")
    rows = tensor.shape[0]
    x = randn(rows, tensor.numel() // max(rows, 1), dtype="float64", generator=generator).numpy()
    q, r = numpy.linalg.qr(x if x.shape[0] >= x.shape[1] else x.T)
    q = q * numpy.sign(numpy.diagonal(r))  # then all such matrices are as likely
    return _write(tensor, gain * (q if x.shape[0] >= x.shape[1] else q.T))


def eye_(tensor: T) -> T:
    """1 on the diagonal of a matrix, 0 elsewhere: as the weight of a linear layer, what comes in goes out."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: needs 2 dims, got shape {tensor.shape}")
    return _write(tensor, numpy.eye(*tensor.shape))


def dirac_(tensor: T, groups: int = 1) -> T:
    """As the weight of a convolution over 1, 2 or 3 dims, what lets the channels of each group through as they are."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: needs 3, 4 or 5 dims, got shape {tensor.shape}")
    if groups < 1 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: {tensor.shape[0]} outputs don't divide into {groups} groups")
    array, outputs = numpy.zeros(tensor.shape), tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for channel in range(min(outputs, tensor.shape[1])):
        place = (slice(channel, None, outputs), channel, *middle)
        array[place] = 1
    return _write(tensor, array)


@no_grad()
def _write(tensor: T, array: numpy.ndarray) -> T:
    tensor.copy_(wrap(array.reshape(tensor.shape)))
    return tensor


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / max(1, sum(fans(tensor))))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode={mode!r} is unknown; give 'fan_in' or 'fan_out'")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))


__getattr__ = answers(globals(), "write the numbers under no_grad(): w.copy_(…)")
