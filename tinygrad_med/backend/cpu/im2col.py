"""Convolution as one matrix product: im2col, in bands that fit the cache.

Lay the pixels that a window covers into a row of a matrix, the *columns* (pixels, kh·kw·C). Then

    y = columns(x) · W,      W of shape (kh·kw·C, K)
    ∂W = columns(x)ᵀ · g
    ∂x = columnsᵀ(g · Wᵀ),   columnsᵀ adds every entry back to the pixel that it was copied from ("col2im")

The matrix repeats each pixel kh·kw/(sh·sw) times, too much to write and read in full; so it is made for a band of
output rows, multiplied while it is in the cache, and dropped. Any stride, padding, dilation, groups and float type.

A window can be laid into its row in two orders. Pixel by pixel, (kh, kw, C), is quick to copy, but the weights, which
callers keep as (K, C, kh, kw), have to be re-ordered to match. Where there are few pixels to many weights, as in the
deep layers of a network that looks at one image, that costs more than the product; then the columns are laid in the
weights' own order, (C, kh, kw), and in a single band, so that the weights are read once and never moved.

This file knows arrays (N, H, W, C), C-contiguous, and geometries that have been checked; it doesn't know what callers
see, nor when another algorithm is better.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_med.backend.geometry import Geometry

from .layout import CHUNK_BYTES, Chunk, bands_by_images, chunks, padded_rows, shares
from .threads import parallel_for, parallel_sum

FEW_PIXELS = 2  # per output channel of a group: up to there the columns are cheaper to re-order than the weights


def correlate(
    x: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int = 1, bias: np.ndarray | None = None
) -> np.ndarray:
    """x (N, H, W, C), w (K, C/groups, kh, kw), bias (K,) → y (N, OH, OW, K)."""
    out_channels, group_channels, kh, kw = w.shape
    y = np.empty((len(x), *geometry.out, out_channels), x.dtype)
    if _few_pixels(len(x), out_channels // groups, geometry):
        matrix = w.reshape(groups, -1, group_channels * kh * kw).transpose(0, 2, 1)  # (groups, C'·kh·kw, K')
        columns, product = _columns_like_weights(x, geometry, groups), _by_group(y, groups)
        parts = shares(out_channels // groups)

        def some_channels(i: int) -> None:
            np.matmul(columns, matrix[..., parts[i]], out=product[..., parts[i]])

        parallel_for(some_channels, len(parts))
        if bias is not None:
            y += bias
        return y
    matrix = w.reshape(groups, -1, group_channels, kh, kw).transpose(0, 3, 4, 2, 1)
    matrix = np.ascontiguousarray(matrix).reshape(groups, kh * kw * group_channels, -1)  # (groups, kh·kw·C', K')
    todo = _chunks(x, w, geometry)

    def band(i: int) -> None:
        part = y[todo[i].images, todo[i].rows]
        np.matmul(_columns(x, todo[i], geometry, groups), matrix, out=_by_group(part, groups))
        if bias is not None:
            part += bias

    parallel_for(band, len(todo))
    return y


def input_gradient(g: np.ndarray, w: np.ndarray, geometry: Geometry, groups: int = 1) -> np.ndarray:
    """g (N, OH, OW, K), w (K, C/groups, kh, kw) → ∂x (N, H, W, C)."""
    out_channels, group_channels, kh, kw = w.shape
    matrix = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(groups, out_channels // groups, -1)
    (top, bottom), (left, right) = geometry.padding
    (height, width), channels = geometry.size, groups * group_channels
    dx = np.empty((len(g), height, width, channels), g.dtype)
    todo = bands_by_images(_chunks(dx, w, geometry))

    def some_images(i: int) -> None:
        images, bands = todo[i]
        padded = np.zeros((images.stop - images.start, top + height + bottom, left + width + right, channels), g.dtype)
        cells = _windows(padded, geometry, groups)
        for rows in bands:  # one after the other: neighbouring bands add to the same pixels
            columns = np.matmul(_by_group(g[images, rows], groups), matrix)  # (groups, pixels, kh·kw·C')
            columns = columns.reshape(cells[:, :, rows].shape)
            for p, q in np.ndindex(kh, kw):
                cells[:, :, rows, :, p, q] += columns[..., p, q, :]
        dx[images] = padded[:, top : top + height, left : left + width]

    parallel_for(some_images, len(todo))
    return dx


def weight_gradient(x: np.ndarray, g: np.ndarray, geometry: Geometry, groups: int = 1) -> np.ndarray:
    """x (N, H, W, C), g (N, OH, OW, K) → ∂w (K, C/groups, kh, kw)."""
    out_channels, group_channels, (kh, kw) = g.shape[3], x.shape[3] // groups, geometry.kernel
    w_shape = (out_channels, group_channels, kh, kw)
    if _few_pixels(len(x), out_channels // groups, geometry):
        columns = _columns_like_weights(x, geometry, groups)
        g_ = _by_group(g, groups).transpose(0, 2, 1)  # (groups, K', pixels)
        dw = np.empty((*g_.shape[:2], columns.shape[2]), x.dtype)
        parts = shares(g_.shape[1])
        parallel_for(lambda i: np.matmul(g_[:, parts[i]], columns, out=dw[:, parts[i]]), len(parts))
        return dw.reshape(w_shape)
    todo = _chunks(x, np.empty(w_shape, x.dtype), geometry)
    if not todo:
        return np.zeros(w_shape, x.dtype)

    def band(i: int) -> np.ndarray:
        g_ = _by_group(g[todo[i].images, todo[i].rows], groups)  # (groups, pixels, K')
        dw: np.ndarray = g_.transpose(0, 2, 1) @ _columns(x, todo[i], geometry, groups)  # (groups, K', kh·kw·C')
        return dw

    dw = parallel_sum(band, len(todo)).reshape(out_channels, kh, kw, group_channels)
    return np.ascontiguousarray(dw.transpose(0, 3, 1, 2))


def _chunks(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> list[Chunk]:
    """Bands of output rows whose columns fit the cache, but outweigh the weights, which each product reads anew."""
    row_bytes = geometry.out[1] * geometry.kernel[0] * geometry.kernel[1] * x.shape[3] * x.itemsize
    return chunks(len(x), geometry.out[0], row_bytes, max(CHUNK_BYTES, 2 * w.nbytes))


def _few_pixels(images: int, group_out_channels: int, geometry: Geometry) -> bool:
    """Whether moving the weights would cost more than laying the columns in the weights' order."""
    return 0 < images * geometry.out[0] * geometry.out[1] <= FEW_PIXELS * group_out_channels


def _windows(x: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """A view (groups, N, OH, OW, kh, kw, C') of the pixels of (N, H, W, C) images that each window covers."""
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    v: np.ndarray = sliding_window_view(x, geometry.extent, axis=(1, 2), writeable=True)
    v = v[:, ::sh, ::sw, :, ::dh, ::dw]  # (N, OH, OW, C, kh, kw)
    n, oh, ow, channels, kh, kw = v.shape
    by_group: np.ndarray = v.reshape(n, oh, ow, groups, channels // groups, kh, kw).transpose(3, 0, 1, 2, 5, 6, 4)
    return by_group


def _columns(x: np.ndarray, chunk: Chunk, geometry: Geometry, groups: int) -> np.ndarray:
    """The columns (groups, pixels, kh·kw·C') of a band of output rows."""
    (top, _), sides = geometry.padding
    rows, stride = chunk.rows, geometry.stride[0]
    count = (rows.stop - rows.start - 1) * stride + geometry.extent[0]
    v = _windows(padded_rows(x, chunk.images, rows.start * stride - top, count, sides), geometry, groups)
    return np.ascontiguousarray(v).reshape(groups, v.shape[1] * v.shape[2] * v.shape[3], -1)


def _columns_like_weights(x: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """The columns (groups, pixels, C'·kh·kw) of all output rows, tap by tap: faster than one copy in runs of kw."""
    ((top, _), sides), ((height, _), (kh, kw)) = geometry.padding, (geometry.extent, geometry.kernel)
    count = (geometry.out[0] - 1) * geometry.stride[0] + height
    v = _windows(padded_rows(x, slice(0, len(x)), -top, count, sides), geometry, groups)
    columns = np.empty((*v.shape[:4], v.shape[6], kh, kw), x.dtype)
    for p, q in np.ndindex(kh, kw):
        columns[..., p, q] = v[..., p, q, :]
    return columns.reshape(groups, v.shape[1] * v.shape[2] * v.shape[3], -1)


def _by_group(part: np.ndarray, groups: int) -> np.ndarray:
    """A contiguous band (…, K) → its view (groups, pixels, K/groups)."""
    view: np.ndarray = part.reshape(-1, groups, part.shape[-1] // groups).transpose(1, 0, 2)
    return view
