"""What undoes a max-pooling, as far as that can be, and the pooling between mean and maximum; both made of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.geometry import IMAGES, Ints, Sizes, per_axis
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.batch import batch_optional
from tinygrad_med.ops.elementwise import abs, relu, sign
from tinygrad_med.ops.pool import avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d
from tinygrad_med.ops.scattering import scatter
from tinygrad_med.ops.shape import _reshape

__all__ = ["lp_pool1d", "lp_pool2d", "lp_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d"]


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Zeros, with each number at the place that `max_pool2d(…, return_indices=True)` took it from.

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        indices: of the same shape, integers row · OW + column.
        kernel_size, stride, padding: those of the pooling.
        output_size: the size of the image that was pooled, where more than one gives the size of `input`: (OH, OW),
            or a whole shape. By default the smallest.

    Returns:
        (N, C, OH, OW). Where an index occurs twice, the last number counts.
    """
    return _unpooled("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """As `max_unpool2d` over one spatial dim: (N, C, L) or (C, L)."""
    return _unpooled("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """As `max_unpool2d` over three: (N, C, D, H, W) or (C, D, H, W)."""
    return _unpooled("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def _unpooled(name: str, axes: int, input: Tensor, indices: Tensor, *arguments: Any) -> Tensor:
    *window, output_size = arguments
    if input.ndim not in (axes + 1, axes + 2) or input.shape != indices.shape:
        raise ValueError(
            f"{name}: expects {IMAGES[axes]}, with or without the batch, and indices of the same shape, got "
            f"{tuple(input.shape)} and {tuple(indices.shape)}"
        )
    if indices.dtype != "int64":
        raise TypeError(f"{name}: the indices must be int64, got {indices.dtype}; pool with return_indices=True")
    size = _output_size(name, axes, tuple(input.shape[-axes:]), window, output_size)
    cells = math.prod(size)
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < cells:
        raise ValueError(f"{name}: an index lies outside of the {cells} cells of {size}; give output_size")
    before, count = tuple(input.shape[:-axes]), math.prod(input.shape[-axes:])
    empty = wrap(backend.array_module(input.array).zeros((*before, cells), input.dtype))
    z = scatter(empty, -1, _reshape(indices, shape=(*before, count)), _reshape(input, shape=(*before, count)))
    return _reshape(z, shape=(*before, *size))


def _output_size(name: str, axes: int, size: Sizes, window: Sequence[Any], wanted: Sequence[int] | None) -> Sizes:
    """The size of the image that was pooled."""
    kernel, stride, padding = (per_axis(w if w is not None else window[0], axes) for w in window)
    if min(*kernel, *stride) < 1:
        raise ValueError(f"{name}: kernel_size={window[0]} and stride={window[1]} must be positive")
    smallest = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(size, stride, padding, kernel, strict=True))
    if wanted is None:
        return smallest
    found = tuple(map(int, wanted))[-axes:]
    if len(wanted) not in (axes, axes + 2):
        raise ValueError(f"{name}: output_size={wanted} must have a number for each of {axes} dims")
    if any(not n - s < m < n + s for n, m, s in zip(smallest, found, stride, strict=True)):
        raise ValueError(f"{name}: output_size={found} does not give {size} when pooled; {smallest} does")
    return found


def _lp(axes: int, x: Tensor, p: float, kernel: Ints, stride: Ints | None, ceil_mode: bool) -> Tensor:
    if p == 0:
        raise ValueError(f"lp_pool{axes}d: norm_type must not be 0")
    if math.isinf(p):
        largest: Any = (max_pool1d, max_pool2d, max_pool3d)[axes - 1]
        sign_of = 1 if p > 0 else -1
        return sign_of * largest(sign_of * abs(x), kernel, stride, 0, 1, ceil_mode)
    pooled: Any = (avg_pool1d, avg_pool2d, avg_pool3d)[axes - 1]
    mean = pooled(x**p, kernel, stride, 0, ceil_mode)
    total = sign(mean) * relu(abs(mean)) * math.prod(per_axis(kernel, axes))
    return total ** (1 / p)


@batch_optional(2)
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) over each window: with p = 1 the sum, with a large p nearly the largest.

    Args:
        input: (N, C, H, W), or one image (C, H, W).
        norm_type: p, not 0; infinite for the largest |x|, −∞ for the smallest.
        kernel_size, stride, ceil_mode: as for `avg_pool2d`.

    Returns:
        (N, C, OH, OW). As in PyTorch, x itself is raised to the power, not |x|: with an odd p, a sum below 0 has no
        root and gives NaN. Where the sum is 0, so is the derivative.
    """
    return _lp(2, input, norm_type, kernel_size, stride, ceil_mode)


@batch_optional(1)
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """As `lp_pool2d` over one spatial dim: (N, C, L) or (C, L) → (N, C, OL)."""
    return _lp(1, input, norm_type, kernel_size, stride, ceil_mode)


@batch_optional(3)
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """As `lp_pool2d` over three: (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW)."""
    return _lp(3, input, norm_type, kernel_size, stride, ceil_mode)
