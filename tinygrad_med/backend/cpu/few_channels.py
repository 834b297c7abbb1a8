"""Convolution of images with few channels, the first of a network: columns whose rows are taps.

With one or three channels the pixels that a window covers lie in runs of a few numbers, and copying them one after the
other into the columns of `im2col.py` takes as long as the product. Here the columns are laid the other way, a row for
each tap and channel with its numbers for all windows,

    y = columns(x)ᵀ · W,      ∂W = columns(x) · g        columns (kh·kw·C, pixels)

so runs are as long as a row of windows. And each number is copied for the taps of one row of the kernel only, kw/sw
times: laid down row after row of x, the columns of a row of windows are those of the kh rows that it covers, one behind
the other, and the next row's begin sh rows later. Any stride, padding, dilation and layout of x, without groups.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from tinygrad_med.backend.geometry import Geometry

from .finish import NOTHING, Finish
from .layout import Chunk, chunks
from .products import in_parts, product
from .threads import parallel_for, parallel_sum

FEW = 7  # channels


def suits(x: np.ndarray, geometry: Geometry) -> bool:
    """Whether x (N, C, *size) has few channels, two axes or three, and windows of more than a pixel."""
    several = len(geometry.kernel) > 1 and math.prod(geometry.kernel) > 1
    return x.shape[1] <= FEW and geometry.groups == 1 and several and math.prod(geometry.out) > 0


def correlate(x: np.ndarray, w: np.ndarray, geometry: Geometry, finish: Finish = NOTHING) -> np.ndarray:
    """x (N, C, *size), w (K, C, *kernel) → y (N, *out, K), finished."""
    by_tap = w.transpose(*range(2, w.ndim), 1, 0)
    matrix = in_parts(np.ascontiguousarray(by_tap).reshape(-1, len(w)))  # of (kh·kw·C, K)
    y = np.empty((len(x), *geometry.out, len(w)), x.dtype)
    todo = _chunks(x, geometry)

    def band(i: int) -> None:
        columns = _columns(x, todo[i], geometry)
        product(columns.swapaxes(-1, -2), matrix, out=_by_row(y[todo[i]]))
        finish(y, todo[i])

    parallel_for(band, len(todo))
    return y


def weight_gradient(x: np.ndarray, g: np.ndarray, geometry: Geometry) -> np.ndarray:
    """x (N, C, *size), g (N, *out, K) → ∂w (K, C, *kernel)."""
    todo, out_channels = _chunks(x, geometry), g.shape[-1]
    if not todo:
        return np.zeros((out_channels, x.shape[1], *geometry.kernel), x.dtype)

    def band(i: int) -> np.ndarray:
        columns = _columns(x, todo[i], geometry)  # (N, rows, kh·kw·C, windows of a row)
        dw = np.empty((*columns.shape[:3], out_channels), x.dtype)
        total: np.ndarray = product(columns, _by_row(g[todo[i]])[..., None, :, :], out=dw).sum((0, 1))
        return total

    by_tap = parallel_sum(band, len(todo)).reshape(*geometry.kernel, x.shape[1], out_channels)
    return np.ascontiguousarray(by_tap.transpose(-1, -2, *range(len(geometry.kernel))))


def _chunks(x: np.ndarray, geometry: Geometry) -> list[Chunk]:
    """Bands of output rows whose columns would fit the cache, if they were copied for every row of windows."""
    row_bytes = math.prod(geometry.out[1:]) * math.prod(geometry.kernel) * x.shape[1] * x.itemsize
    return chunks(len(x), geometry.out[0], row_bytes)


def _by_row(part: np.ndarray) -> np.ndarray:
    """(N, rows, *other axes, K) → its view (N, rows, windows of a row, K)."""
    return part.reshape(*part.shape[:2], math.prod(part.shape[2:-1]), part.shape[-1])


def _columns(x: np.ndarray, chunk: Chunk, geometry: Geometry) -> np.ndarray:
    """The columns (N, rows, kh·kw·C, windows of a row) of a band of output rows."""
    (images, rows), axes = chunk, tuple(range(3, x.ndim))  # of a band (N, rows, C, *others)
    stride, dilation = geometry.stride[0], geometry.dilation[0]
    down, first = rows.stop - rows.start, rows.start * stride - geometry.padding[0][0]
    count = (down - 1) * stride + geometry.extent[0]
    inside = x[images, :, max(0, first) : max(0, first + count)].swapaxes(1, 2)
    band = np.zeros((len(inside), count, x.shape[1], *geometry.padded[1:]), x.dtype)
    above = max(0, -first)
    within = (slice(None), slice(above, above + inside.shape[1]), slice(None), *geometry.inside[1:])
    band[within] = inside

    v = sliding_window_view(band, geometry.extent[1:], axis=axes)  # (N, rows, C, *places, *taps)
    places = (slice(0, (o - 1) * s + 1, s) for o, s in zip(geometry.out[1:], geometry.stride[1:], strict=True))
    key = (*(slice(None),) * 3, *places, *(slice(None, None, d) for d in geometry.dilation[1:]))
    by_tap = v[key].transpose(0, 1, *range(x.ndim, v.ndim), 2, *axes)
    laid = np.ascontiguousarray(by_tap).reshape(len(band), count, -1, math.prod(geometry.out[1:]))

    image, row, *within_row = laid.strides
    shape = (len(laid), down, geometry.kernel[0], *laid.shape[2:])
    covered = as_strided(laid, shape, (image, stride * row, dilation * row, *within_row), writeable=False)
    return covered.reshape(len(laid), down, -1, laid.shape[3])  # without dilation a view
