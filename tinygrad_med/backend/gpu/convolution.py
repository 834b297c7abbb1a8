"""Convolution: one matrix product over all columns, the numbers under each window (im2col).

A GPU wants few large operations. Nothing is added atomically, so the same inputs give the same bits.
"""

from __future__ import annotations

import math

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry
from tinygrad_med.backend.windows import add_back, read


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
