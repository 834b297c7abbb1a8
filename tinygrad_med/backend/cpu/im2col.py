"""Convolution as one matrix product: im2col, in bands that fit the cache.

Lay the pixels that a window covers into a row of a matrix, the *columns* (pixels, kh·kw·C). Then

    y = columns(x) · W,      W of shape (kh·kw·C, K)
    ∂W = columns(x)ᵀ · g
    ∂x = columnsᵀ(g · Wᵀ),   columnsᵀ adds every entry back to the pixel that it was copied from ("col2im")

The matrix repeats each pixel kh·kw/(sh·sw) times, too much to write and read in full; so it is made for a band of
output rows, multiplied while it is in the cache, and dropped. Any stride, padding, dilation, groups and float type.

It is written for two axes here, and works over one, two or three alike; "rows" are what lies across the first axis.

A window can be laid into its row in two orders. Pixel by pixel, (*kernel, C), is quick to copy, but the weights, which
callers keep as (K, C, kh, kw), have to be re-ordered to match. Where there are few pixels to many weights, as in the
deep layers of a network that looks at one image, that costs more than the product; then the columns are laid in the
weights' own order, (C, kh, kw), as rows and in a single band, so that the weights are read once and never moved.

This file knows arrays (N, *size, C), C-contiguous, and geometries that have been checked; it doesn't know what callers
see, nor when another algorithm is better.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_med.backend.geometry import Geometry

from .finish import NOTHING, Finish
from .layout import CHUNK_BYTES, Chunk, bands_by_images, chunks, padded_rows, shares, windows
from .products import in_parts, part_width, product, thin
from .threads import parallel_for, parallel_sum

FEW_PIXELS = 1 / 2  # per output channel of a group: up to there the columns are cheaper to re-order than the weights


def correlate(x: np.ndarray, w: np.ndarray, geometry: Geometry, finish: Finish = NOTHING) -> np.ndarray:
    """x (N, *size, C), w (K, C/groups, *kernel) → y (N, *out, K), finished."""
    (out_channels, group_channels, *kernel), groups = w.shape, geometry.groups
    y = np.empty((len(x), *geometry.out, out_channels), x.dtype)
    if _few_pixels(len(x), out_channels, geometry):
        rows = w.reshape(groups, -1, group_channels * math.prod(kernel))  # (groups, K', C'·kh·kw)
        columns, products = _columns_like_weights(x, geometry), _by_group(y, groups)
        parts = shares(out_channels // groups)

        def some_channels(i: int) -> None:
            for weights, group, result in zip(rows, columns, products, strict=True):
                result[:, parts[i]] = thin(weights[parts[i]], group).T
            if groups == 1:
                finish(y, (), parts[i])

        parallel_for(some_channels, len(parts))
        if groups > 1:  # of each group a part of its channels was computed
            finish(y, ())
        return y
    by_tap = w.reshape(groups, -1, group_channels, *kernel).transpose(0, *range(3, 3 + len(kernel)), 2, 1)
    some = part_width(math.prod(kernel) * group_channels, out_channels // groups, w.dtype)
    parts = by_tap.reshape(*by_tap.shape[:-1], -1, some)  # a view; (groups, *kernel, C', parts, some of K')
    matrix = np.ascontiguousarray(np.moveaxis(parts, -2, 1)).reshape(groups, parts.shape[-2], -1, some)
    todo = _chunks(x, w, geometry)

    def band(i: int) -> None:
        product(_columns(x, todo[i], geometry), matrix, out=_by_group(y[todo[i]], groups))
        finish(y, todo[i])

    parallel_for(band, len(todo))
    return y


def input_gradient(g: np.ndarray, w: np.ndarray, geometry: Geometry) -> np.ndarray:
    """g (N, *out, K), w (K, C/groups, *kernel) → ∂x (N, *size, C)."""
    (out_channels, group_channels, *kernel), groups = w.shape, geometry.groups
    matrix = in_parts(np.ascontiguousarray(np.moveaxis(w, 1, -1)).reshape(groups, out_channels // groups, -1))
    dx = np.empty((len(g), *geometry.size, groups * group_channels), g.dtype)
    todo = bands_by_images(_chunks(dx, w, geometry))
    other_axes, within = (slice(None),) * (len(kernel) - 1), (slice(None), *geometry.inside)

    def some_images(i: int) -> None:
        images, bands = todo[i]
        padded = np.zeros((images.stop - images.start, *geometry.padded, dx.shape[-1]), g.dtype)
        cells = _windows(padded, geometry)
        for rows in bands:  # one after the other: neighbouring bands add to the same pixels
            pixels = _by_group(g[images, rows], groups)  # (groups, pixels, K')
            columns = np.empty(cells[:, :, rows].shape, g.dtype)
            product(pixels, matrix, out=columns.reshape(*pixels.shape[:2], -1))  # (groups, pixels, kh·kw·C')
            for tap in np.ndindex(*kernel):
                read_by, from_tap = (slice(None), slice(None), rows, *other_axes, *tap), (..., *tap, slice(None))
                cells[read_by] += columns[from_tap]
        dx[images] = padded[within]

    parallel_for(some_images, len(todo))
    return dx


def weight_gradient(x: np.ndarray, g: np.ndarray, geometry: Geometry) -> np.ndarray:
    """x (N, *size, C), g (N, *out, K) → ∂w (K, C/groups, *kernel)."""
    groups, kernel = geometry.groups, geometry.kernel
    out_channels, group_channels = g.shape[-1], x.shape[-1] // groups
    w_shape = (out_channels, group_channels, *kernel)
    if _few_pixels(len(x), out_channels, geometry):
        columns = _columns_like_weights(x, geometry).transpose(0, 2, 1)
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
        dw: np.ndarray = g_.transpose(0, 2, 1) @ _columns(x, todo[i], geometry)  # (groups, K', kh·kw·C')
        return dw

    dw = parallel_sum(band, len(todo)).reshape(out_channels, *kernel, group_channels)
    return np.ascontiguousarray(np.moveaxis(dw, -1, 1))


def _chunks(x: np.ndarray, w: np.ndarray, geometry: Geometry) -> list[Chunk]:
    """Bands of output rows whose columns fit the cache, but outweigh the weights, which each product reads anew."""
    row_bytes = math.prod(geometry.out[1:]) * math.prod(geometry.kernel) * x.shape[-1] * x.itemsize
    return chunks(len(x), geometry.out[0], row_bytes, max(CHUNK_BYTES, 2 * w.nbytes))


def _few_pixels(images: int, out_channels: int, geometry: Geometry) -> bool:
    """Whether moving the weights would cost more than laying the columns in the weights' order."""
    return 0 < images * math.prod(geometry.out) <= FEW_PIXELS * (out_channels // geometry.groups)


def _windows(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A view (groups, N, rows, *out of the other axes, *kernel, C') of the pixels of (N, *size, C) that windows cover.

    There are as many rows as x has, which is a band or the whole padded image.
    """
    rows = (x.shape[1] - geometry.extent[0]) // geometry.stride[0] + 1
    v = windows(x, (rows, *geometry.out[1:]), geometry.kernel, geometry.stride, geometry.dilation)
    split = v.reshape(*v.shape[:-1], geometry.groups, x.shape[-1] // geometry.groups)
    groups, channels = v.ndim - 1, v.ndim
    return split.transpose(groups, *range(groups), channels)


def _columns(x: np.ndarray, chunk: Chunk, geometry: Geometry) -> np.ndarray:
    """The columns (groups, pixels, kh·kw·C') of a band of output rows."""
    (top, _), *sides = geometry.padding
    rows, stride = chunk.rows, geometry.stride[0]
    count = (rows.stop - rows.start - 1) * stride + geometry.extent[0]
    v = _windows(padded_rows(x, chunk.images, rows.start * stride - top, count, sides), geometry)
    return np.ascontiguousarray(v).reshape(geometry.groups, math.prod(v.shape[1 : 2 + len(geometry.kernel)]), -1)


def _columns_like_weights(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The columns (groups, C'·kh·kw, pixels) of all output rows, a row for each weight of an output channel."""
    (top, _), *sides = geometry.padding
    count = (geometry.out[0] - 1) * geometry.stride[0] + geometry.extent[0]
    v = _windows(padded_rows(x, slice(0, len(x)), -top, count, sides), geometry)
    pixels = v.shape[1 : 2 + len(geometry.kernel)]
    columns = np.empty((geometry.groups, v.shape[-1], *geometry.kernel, *pixels), x.dtype)
    for tap in np.ndindex(*geometry.kernel):
        there, here = (slice(None), slice(None), *tap), (..., *tap, slice(None))
        columns[there] = np.moveaxis(v[here], -1, 1)
    return columns.reshape(geometry.groups, -1, math.prod(pixels))


def _by_group(part: np.ndarray, groups: int) -> np.ndarray:
    """A contiguous band (…, K) → its view (groups, pixels, K/groups)."""
    view: np.ndarray = part.reshape(-1, groups, part.shape[-1] // groups).transpose(1, 0, 2)
    return view
