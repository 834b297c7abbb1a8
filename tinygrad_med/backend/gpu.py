"""The kernels of `cpu`, by the same names, for CuPy: plain array code without loops over pixels.

A GPU wants few large operations. So a convolution is one matrix product over all columns (im2col, channels last, so
that neighbouring threads read neighbouring channels), and pooling and col2im loop over the taps of the kernel, whole
arrays at a time. Nothing is added atomically, so the same inputs give the same bits.

The functions find the array library of what they are given; with NumPy arrays they run too, which is how they are
tested where there is no GPU.
"""

from __future__ import annotations

import math
from types import ModuleType

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry
from tinygrad_med.backend.windows import add_back, counts, crop, first_taps, pad, read, taps as taps_of

# Convolution --------------------------------------------------------------------------------------------------------


def conv(x: Array, w: Array, bias: Array | None = None, *, geometry: Geometry) -> Array:
    """As `cpu.conv`: columns (pixels, kh·kw·C) times weights (kh·kw·C, K)."""
    y = _product(_columns(x, geometry), _matrix(w, geometry.groups))
    y = y.transpose(1, 0, 2).reshape(len(x), *geometry.out, len(w))
    if bias is not None:
        y += bias
    return _channels_first(y)


def conv_input(g: Array, w: Array, *, geometry: Geometry) -> Array:
    """As `cpu.conv_input`: g (pixels, K) times weights (K, kh·kw·C), added back to where the columns came from."""
    groups, axes = geometry.groups, len(geometry.kernel)
    columns = _product(_by_group(g, groups), _matrix(w, groups).transpose(0, 2, 1))  # (groups, pixels, kh·kw·C')
    columns = columns.reshape(groups, len(g), *geometry.out, *geometry.kernel, w.shape[1])
    kernel, out = range(2 + axes, 2 + 2 * axes), range(2, 2 + axes)
    columns = columns.transpose(*kernel, 1, 0, 2 + 2 * axes, *out)  # (*kernel, N, groups, C', *out)
    columns = columns.reshape(*geometry.kernel, len(g), groups * w.shape[1], *geometry.out)
    return add_back(array_module(g), columns, geometry)


def conv_weight(x: Array, g: Array, *, geometry: Geometry) -> Array:
    """As `cpu.conv_weight`: g (K, pixels) times columns (pixels, kh·kw·C)."""
    groups = geometry.groups
    dw = _product(_by_group(g, groups).transpose(0, 2, 1), _columns(x, geometry))  # (groups, K', kh·kw·C')
    return _channels_first(dw.reshape(g.shape[1], *geometry.kernel, x.shape[1] // groups)).copy()


def _columns(x: Array, geometry: Geometry) -> Array:
    """(groups, pixels, kh·kw·C'): for each output pixel the numbers under its window."""
    (n, channels), groups, axes = x.shape[:2], geometry.groups, len(geometry.kernel)
    xp = array_module(x)
    columns = xp.empty((groups, n, *geometry.out, *geometry.kernel, channels // groups), x.dtype)
    kernel, out = range(1 + axes, 1 + 2 * axes), range(1, 1 + axes)
    for i in range(groups):
        part = x[:, i * (channels // groups) : (i + 1) * (channels // groups)]
        read(xp, part, geometry, columns[i].transpose(*kernel, 0, 1 + 2 * axes, *out))
    return columns.reshape(groups, n * math.prod(geometry.out), math.prod(columns.shape[2 + axes :]))


def _matrix(w: Array, groups: int) -> Array:
    """Weights (K, C', kh, kw) → (groups, kh·kw·C', K')."""
    matrix = w.reshape(groups, -1, *w.shape[1:])
    matrix = matrix.transpose(0, *range(3, matrix.ndim), 2, 1)
    return matrix.reshape(groups, math.prod(w.shape[1:]), len(w) // groups)


def _by_group(g: Array, groups: int) -> Array:
    """(N, K, *out) → (groups, pixels, K')."""
    n, channels, *out = g.shape
    parts = g.transpose(0, *range(2, g.ndim), 1).reshape(n * math.prod(out), groups, channels // groups)
    return parts.transpose(1, 0, 2)


def _channels_first(y: Array) -> Array:
    return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))


def _product(a: Array, b: Array) -> Array:
    """Products of stacks of matrices; of a single one as a plain product, to which the TF32 setting applies."""
    return (a[0] @ b[0])[None] if len(a) == 1 else a @ b


# Pooling ------------------------------------------------------------------------------------------------------------


def max_pool(x: Array, *, geometry: Geometry, choice: bool = True) -> tuple[Array, Array | None]:
    """As `cpu.max_pool`: the maxima, and the tap that won each window (of equal ones the first, of NaN the last)."""
    xp = array_module(x)
    lowest = -math.inf if x.dtype.kind == "f" else int(xp.iinfo(x.dtype).min)
    padded = pad(xp, x, geometry, lowest)
    best = xp.full((*x.shape[:2], *geometry.out), lowest, x.dtype)
    if not choice:
        for tap in taps_of(geometry):
            best = xp.maximum(best, padded[tap.cells])
        return best, None
    winner = xp.broadcast_to(first_taps(xp, geometry), best.shape).astype(xp.int32)
    for tap in taps_of(geometry):
        value = padded[tap.cells]
        wins = (value > best) | (value != value)
        best = xp.where(wins, value, best)
        winner = xp.where(wins, tap.number, winner)
    return best, winner.astype(xp.min_scalar_type(math.prod(geometry.kernel) - 1))


def max_pool_gather(x: Array, taps: Array, *, geometry: Geometry) -> Array:
    """As `cpu.max_pool_gather`: the cell of x that each window has chosen."""
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros(taps.shape, x.dtype)
    for tap in taps_of(geometry):
        y = xp.where(taps == tap.number, padded[tap.cells], y)
    return y


def max_pool_scatter(g: Array, taps: Array, *, geometry: Geometry) -> Array:
    """As `cpu.max_pool_scatter`: each g added to the cell that its window has chosen."""
    xp = array_module(g)
    padded = pad(xp, xp.zeros((*g.shape[:2], *geometry.size), g.dtype), geometry)
    for tap in taps_of(geometry):
        padded[tap.cells] += xp.where(taps == tap.number, g, 0)
    return crop(padded, geometry)


def avg_pool(x: Array, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None) -> Array:
    """As `cpu.avg_pool`: the mean of each window."""
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros((*x.shape[:2], *geometry.out), x.dtype)
    for tap in taps_of(geometry):
        y += padded[tap.cells]
    return y / counts(xp, geometry, count_include_pad, divisor).astype(x.dtype)


def avg_pool_input(
    g: Array, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None
) -> Array:
    """As `cpu.avg_pool_input`: each g, divided by its window's count, added to the window's cells."""
    xp = array_module(g)
    shares = g / counts(xp, geometry, count_include_pad, divisor).astype(g.dtype)
    return add_back(xp, xp.broadcast_to(shares, (*geometry.kernel, *shares.shape)), geometry)


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


def floor_divide(x: Array, y: Array) -> Array:
    """As `cpu.floor_divide`: ⌊x / y⌋, exact. CuPy's `//` rounds the quotient first: 1 // 0.1 is 10."""
    xp = array_module(x, y)
    if _integral(xp, x, y):
        return x // y
    rest = xp.fmod(x, y)  # exact
    y = y if hasattr(y, "dtype") else rest.dtype.type(y)
    quotient = xp.subtract(x, rest, dtype="float32" if rest.dtype == "float16" else rest.dtype) / y
    quotient = quotient - ((rest != 0) & ((rest < 0) != (y < 0)))
    z = xp.floor(quotient)
    z = (z + (quotient - z > 0.5)).astype(rest.dtype)
    return xp.where(xp.equal(y, 0), x / y, xp.where(z == 0, xp.copysign(z, x / y), z))


def remainder(x: Array, y: Array) -> Array:
    """As `cpu.remainder`: x − y ⌊x / y⌋ with the sign of y, exact. CuPy's `%` has the error of its `//`."""
    xp = array_module(x, y)
    if _integral(xp, x, y):
        return x % y
    rest = xp.fmod(x, y)
    moved = xp.where((rest < 0) != (y < 0), rest + y, rest)
    return xp.where(rest == 0, xp.copysign(rest, y), moved)


def _integral(xp: ModuleType, x: Array, y: Array) -> bool:
    return bool(xp.result_type(x, y).kind != "f")


def _all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _per_channel(v: Array, x: Array) -> Array:
    """(C,) in the dtype of x, with dims that broadcast against it."""
    return v.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 2))
