"""Convolution of images with few channels, the first of a network: columns whose rows are taps.

With one or three channels the pixels that a window covers lie in runs of a few numbers, and copying them one after the
other into the columns of `im2col.py` takes as long as the product. Here the columns are laid the other way, a row for
each tap and channel with its numbers for all windows,

    y = columns(x)ᵀ · W,      ∂W = columns(x) · g        columns (kh·kw·C, pixels)

so runs are as long as a row of windows. They are laid in two steps: for the taps of one row of the kernel, which is a
copy with the stride of the windows; then each of the kernel's rows is a copy of whole rows of these. Any stride,
padding, dilation and layout of x, without groups.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_med.backend.geometry import Geometry

from .finish import NOTHING, Finish
from .layout import Chunk, chunks
from .products import in_parts, product
from .threads import parallel_for, parallel_sum

FEW = 7  # channels


def suits(x: np.ndarray, geometry: Geometry) -> bool:
    """Whether x (N, C, *size) has few channels, and windows more than a pixel."""
    return x.shape[1] <= FEW and geometry.groups == 1 and math.prod(geometry.kernel) > 1 and math.prod(geometry.out) > 0


def correlate(x: np.ndarray, w: np.ndarray, geometry: Geometry, finish: Finish = NOTHING) -> np.ndarray:
    """x (N, C, *size), w (K, C, *kernel) → y (N, *out, K), finished."""
    by_tap = w.transpose(*range(2, w.ndim), 1, 0)
    matrix = in_parts(np.ascontiguousarray(by_tap).reshape(-1, len(w)))  # of (kh·kw·C, K)
    y = np.empty((len(x), *geometry.out, len(w)), x.dtype)
    todo = _chunks(x, geometry)

    def band(i: int) -> None:
        product(_columns(x, todo[i], geometry).T, matrix, out=y[todo[i]].reshape(-1, len(w)))
        finish(y, todo[i])

    parallel_for(band, len(todo))
    return y


def weight_gradient(x: np.ndarray, g: np.ndarray, geometry: Geometry) -> np.ndarray:
    """x (N, C, *size), g (N, *out, K) → ∂w (K, C, *kernel)."""
    todo, out_channels = _chunks(x, geometry), g.shape[-1]
    if not todo:
        return np.zeros((out_channels, x.shape[1], *geometry.kernel), x.dtype)

    def band(i: int) -> np.ndarray:
        dw: np.ndarray = _columns(x, todo[i], geometry) @ g[todo[i]].reshape(-1, out_channels)
        return dw

    by_tap = parallel_sum(band, len(todo)).reshape(*geometry.kernel, x.shape[1], out_channels)
    return np.ascontiguousarray(by_tap.transpose(-1, -2, *range(len(geometry.kernel))))


def _chunks(x: np.ndarray, geometry: Geometry) -> list[Chunk]:
    """Bands of output rows whose columns fit the cache."""
    row_bytes = math.prod(geometry.out[1:]) * math.prod(geometry.kernel) * x.shape[1] * x.itemsize
    return chunks(len(x), geometry.out[0], row_bytes)


def _columns(x: np.ndarray, chunk: Chunk, geometry: Geometry) -> np.ndarray:
    """The columns (kh·kw·C, pixels) of a band of output rows."""
    (images, rows), (kernel, *other_taps) = chunk, geometry.kernel
    stride, step, outs = geometry.stride[0], geometry.dilation[0], geometry.out[1:]
    down, first = rows.stop - rows.start, rows.start * stride - geometry.padding[0][0]
    count = (down - 1) * stride + geometry.extent[0]
    inside = x[images, :, max(0, first) : max(0, first + count)].swapaxes(0, 1)
    band = np.zeros((*inside.shape[:2], count, *geometry.padded[1:]), x.dtype)
    above = max(0, -first)
    within = (slice(None), slice(None), slice(above, above + inside.shape[2]), *geometry.inside[1:])
    band[within] = inside

    axes = tuple(range(3, band.ndim))
    v = sliding_window_view(band, geometry.extent[1:], axis=axes) if axes else band  # (C, N, rows, *places, *taps)
    places = (slice(0, (o - 1) * s + 1, s) for o, s in zip(outs, geometry.stride[1:], strict=True))
    key = (*(slice(None),) * 3, *places, *(slice(None, None, d) for d in geometry.dilation[1:]))
    v = v[key]
    wide = np.ascontiguousarray(v.transpose(*range(3 + len(axes), v.ndim), *range(3 + len(axes))))  # (*taps, C, N, …)

    columns = np.empty((kernel, *wide.shape[: len(axes) + 2], down, *outs), x.dtype)
    for tap in range(kernel):
        key = (*(slice(None),) * (len(axes) + 2), slice(tap * step, tap * step + (down - 1) * stride + 1, stride))
        columns[tap] = wide[key]
    return columns.reshape(kernel * math.prod(other_taps) * x.shape[1], -1)
