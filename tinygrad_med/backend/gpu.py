"""The kernels of `cpu`, by the same names, for CuPy: plain array code without loops over pixels.

A GPU wants few large operations. So a convolution is one matrix product over all columns (im2col, channels last, so
that neighbouring threads read neighbouring channels), and pooling and col2im loop over the taps of the kernel, whole
arrays at a time. Nothing is added atomically, so the same inputs give the same bits.

The functions find the array library of what they are given; with NumPy arrays they run too, which is how they are
tested where there is no GPU.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry, IntOrPair, Padding, Pair, conv_geometry, pool_geometry
from tinygrad_med.backend.windows import add_back, crop, pad, read, taps

# Convolution --------------------------------------------------------------------------------------------------------


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """As `cpu.conv2d`: columns (pixels, kh·kw·C) times weights (kh·kw·C, K)."""
    geometry = conv_geometry(x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    y = _product(_columns(x, geometry, groups), _matrix(w, groups))
    y = y.transpose(1, 0, 2).reshape(len(x), *geometry.out, len(w))
    if bias is not None:
        y += bias
    return y.transpose(0, 3, 1, 2)


def conv2d_input(
    g: Array,
    w: Array,
    *,
    input_size: Pair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """As `cpu.conv2d_input`: g (pixels, K) times weights (K, kh·kw·C), added back to where the columns came from."""
    x_shape = (len(g), w.shape[1] * groups, *input_size)
    geometry = conv_geometry(x_shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    _expect("conv2d_input", g, (len(g), len(w), *geometry.out))
    xp = array_module(g)
    columns = _product(_by_group(g, groups), _matrix(w, groups).transpose(0, 2, 1))  # (groups, pixels, kh·kw·C')
    columns = columns.reshape(groups, len(g), *geometry.out, *geometry.kernel, w.shape[1])
    columns = columns.transpose(4, 5, 1, 0, 6, 2, 3).reshape(*geometry.kernel, *x_shape[:2], *geometry.out)
    return add_back(xp, columns, geometry)


def conv2d_weight(
    x: Array,
    g: Array,
    *,
    kernel_size: Pair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """As `cpu.conv2d_weight`: g (K, pixels) times columns (pixels, kh·kw·C)."""
    w_shape = (g.shape[1], x.shape[1] // groups, *kernel_size)
    geometry = conv_geometry(x.shape, w_shape, stride=stride, padding=padding, dilation=dilation, groups=groups)
    _expect("conv2d_weight", g, (len(x), g.shape[1], *geometry.out))
    dw = _product(_by_group(g, groups).transpose(0, 2, 1), _columns(x, geometry, groups))  # (groups, K', kh·kw·C')
    return dw.reshape(len(dw) * dw.shape[1], *geometry.kernel, w_shape[1]).transpose(0, 3, 1, 2).copy()


def _columns(x: Array, geometry: Geometry, groups: int) -> Array:
    """(groups, pixels, kh·kw·C'): for each output pixel the numbers under its window."""
    n, channels, *_ = x.shape
    xp = array_module(x)
    columns = xp.empty((groups, n, *geometry.out, *geometry.kernel, channels // groups), x.dtype)
    for i in range(groups):
        part = x[:, i * (channels // groups) : (i + 1) * (channels // groups)]
        read(xp, part, geometry, columns[i].transpose(3, 4, 0, 5, 1, 2))
    return columns.reshape(groups, n * math.prod(geometry.out), math.prod(columns.shape[4:]))


def _matrix(w: Array, groups: int) -> Array:
    """Weights (K, C', kh, kw) → (groups, kh·kw·C', K')."""
    matrix = w.reshape(groups, -1, *w.shape[1:]).transpose(0, 3, 4, 2, 1)
    return matrix.reshape(groups, math.prod(w.shape[1:]), len(w) // groups)


def _by_group(g: Array, groups: int) -> Array:
    """(N, K, OH, OW) → (groups, pixels, K')."""
    n, channels, *out = g.shape
    parts = g.transpose(0, 2, 3, 1).reshape(n * math.prod(out), groups, channels // groups)
    return parts.transpose(1, 0, 2)


def _product(a: Array, b: Array) -> Array:
    """Products of stacks of matrices; of a single one as a plain product, to which the TF32 setting applies."""
    return (a[0] @ b[0])[None] if len(a) == 1 else a @ b


def _expect(name: str, g: Array, shape: tuple[int, ...]) -> None:
    if g.shape != shape:
        raise ValueError(f"{name}: g has shape {g.shape}, but the convolution's output has {shape}; pass what it gave")


# Pooling ------------------------------------------------------------------------------------------------------------


def max_pool2d(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    choice: bool = True,
) -> tuple[Array, Array | None]:
    """As `cpu.max_pool2d`: the maxima, and the tap that won each window (of equal ones the first, of NaN the last)."""
    geometry = pool_geometry(x.shape, kernel_size, stride, padding, dilation, ceil_mode, name="max_pool2d")
    xp = array_module(x)
    lowest = -math.inf if x.dtype.kind == "f" else int(xp.iinfo(x.dtype).min)
    padded = pad(xp, x, geometry, lowest)
    best = xp.full((*x.shape[:2], *geometry.out), lowest, x.dtype)
    if not choice:
        for tap in taps(geometry):
            best = xp.maximum(best, padded[tap.cells])
        return best, None
    winner = xp.broadcast_to(_first_taps(xp, geometry), best.shape).astype(xp.int32)
    for tap in taps(geometry):
        value = padded[tap.cells]
        wins = (value > best) | (value != value)
        best = xp.where(wins, value, best)
        winner = xp.where(wins, tap.row * geometry.kernel[1] + tap.column, winner)
    return best, winner.astype(xp.min_scalar_type(math.prod(geometry.kernel) - 1))


def max_pool2d_gather(
    x: Array,
    taps: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """As `cpu.max_pool2d_gather`: the cell of x that each window has chosen."""
    geometry = pool_geometry(x.shape, kernel_size, stride, padding, dilation, ceil_mode, name="max_pool2d_gather")
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros(taps.shape, x.dtype)
    for tap, chosen in _choices(taps, geometry):
        y = xp.where(chosen, padded[tap.cells], y)
    return y


def max_pool2d_scatter(
    g: Array,
    taps: Array,
    kernel_size: IntOrPair,
    *,
    input_size: Pair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """As `cpu.max_pool2d_scatter`: each g added to the cell that its window has chosen."""
    x_shape = (*g.shape[:2], *input_size)
    geometry = pool_geometry(x_shape, kernel_size, stride, padding, dilation, ceil_mode, name="max_pool2d_scatter")
    xp = array_module(g)
    padded = pad(xp, xp.zeros(x_shape, g.dtype), geometry)
    for tap, chosen in _choices(taps, geometry):
        padded[tap.cells] += xp.where(chosen, g, 0)
    return crop(padded, geometry)


def avg_pool2d(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """As `cpu.avg_pool2d`: the mean of each window."""
    geometry = pool_geometry(x.shape, kernel_size, stride, padding, 1, ceil_mode, name="avg_pool2d")
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros((*x.shape[:2], *geometry.out), x.dtype)
    for tap in taps(geometry):
        y += padded[tap.cells]
    return y / _counts(xp, geometry, count_include_pad).astype(x.dtype)


def avg_pool2d_input(
    g: Array,
    kernel_size: IntOrPair,
    *,
    input_size: Pair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """As `cpu.avg_pool2d_input`: each g, divided by its window's count, added to the window's cells."""
    x_shape = (*g.shape[:2], *input_size)
    geometry = pool_geometry(x_shape, kernel_size, stride, padding, 1, ceil_mode, name="avg_pool2d_input")
    xp = array_module(g)
    shares = g / _counts(xp, geometry, count_include_pad).astype(g.dtype)
    return add_back(xp, xp.broadcast_to(shares, (*geometry.kernel, *shares.shape)), geometry)


def _choices(winner: Array, geometry: Geometry) -> Any:
    """Each tap, and for which windows it won."""
    for tap in taps(geometry):
        yield tap, winner == tap.row * geometry.kernel[1] + tap.column


def _first_taps(xp: Any, geometry: Geometry) -> Array:
    """(OH, OW): each window's first tap inside x; it is chosen where no cell is above −∞."""

    def one_axis(axis: int) -> Array:
        start = xp.arange(geometry.out[axis]) * geometry.stride[axis] - geometry.padding[axis][0]
        return xp.maximum(0, -(start // geometry.dilation[axis]))

    return one_axis(0)[:, None] * geometry.kernel[1] + one_axis(1)


def _counts(xp: Any, geometry: Geometry, include_pad: bool) -> Array:
    """(OH, OW): by how many cells a window's sum is divided. What hangs over the padding's end never counts."""

    def one_axis(axis: int) -> Array:
        (before, after), size = geometry.padding[axis], geometry.size[axis]
        start = xp.arange(geometry.out[axis]) * geometry.stride[axis] - before
        stop = xp.minimum(start + geometry.kernel[axis], size + after)
        return stop - start if include_pad else xp.minimum(stop, size) - xp.maximum(start, 0)

    return one_axis(0)[:, None] * one_axis(1)


# Sums and batch normalization ---------------------------------------------------------------------------------------


def sum(x: Array, dims: tuple[int, ...], keepdims: bool = False) -> Array:
    """As `cpu.sum`: Σ x over `dims`, float16 in float32. CuPy adds in pairs along any dim."""
    if x.dtype == "float16":
        return x.sum(dims, dtype="float32", keepdims=keepdims).astype(x.dtype)
    return x.sum(dims, keepdims=keepdims)


def channel_sum(x: Array) -> Array:
    """As `cpu.channel_sum`: Σ x over all dims but the channels."""
    return sum(x, _all_but_channels(x))


def scale_shift(x: Array, scale: Array, shift: Array) -> Array:
    """As `cpu.scale_shift`: x · scale + shift, with one scale and one shift per channel."""
    return x * _per_channel(scale, x) + _per_channel(shift, x)


def batch_norm_stats(x: Array) -> tuple[Array, Array]:
    """As `cpu.batch_norm_stats`: mean and biased variance of each channel in float64."""
    dims = _all_but_channels(x)
    mean = x.mean(dims, dtype="float64")
    deviation = x - _per_channel(mean, x)
    return mean, (deviation * deviation).mean(dims, dtype="float64")


def batch_norm_backward(g: Array, x: Array, weight: Array, mean: Array, invstd: Array) -> tuple[Array, Array, Array]:
    """As `cpu.batch_norm_backward`: ∂x, ∂γ, ∂β of y = γ·x̂ + β with x̂ = (x − μ)·invstd."""
    dims, count = _all_but_channels(x), x.size // x.shape[1]
    normalized = (x - _per_channel(mean, x)) * _per_channel(invstd, x)
    d_bias, d_weight = sum(g, dims), sum(g * normalized, dims)
    dx = g - _per_channel(d_bias / count, x) - normalized * _per_channel(d_weight / count, x)
    return dx * _per_channel(weight * invstd, x), d_weight, d_bias


def relu(x: Array) -> Array:
    """As `cpu.relu`: max(x, 0)"""
    return array_module(x).maximum(x, 0)


def relu_backward(g: Array, y: Array) -> Array:
    """As `cpu.relu_backward`: g where y > 0, else 0."""
    return array_module(g).where(y > 0, g, 0)


def keep(x: Array, mask: Array) -> Array:
    """As `cpu.keep`: x where the mask holds, else 0."""
    return array_module(x).where(mask, x, x.dtype.type(0))


def _all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _per_channel(v: Array, x: Array) -> Array:
    """(C,) in the dtype of x, with dims that broadcast against it."""
    return v.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 2))
