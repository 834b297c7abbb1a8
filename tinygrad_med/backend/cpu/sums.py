"""Sums whose error does not grow with their length.

NumPy adds in pairs along the dim that is fastest in memory: a sum of n numbers then loses about log n roundings. Along
any other dim it adds one after the other, and loses up to n of them: the mean of 200,000 rows has four digits left in
float32. Here such sums are taken over blocks of rows, each a product with a row of ones (which BLAS does faster than
NumPy adds), and the blocks' totals are added in float64. float16, which ends at 65,504, is added in float32.

And what undoes them in a gradient: numbers that are spread over dims again.

This file knows arrays of any shape and memory order; it doesn't know channels.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from .layout import memory_order

SMALL = 1 << 12
"""Fewer numbers than this are left to NumPy: their sum loses a digit at most."""
ROWS = 256
"""How many rows are added one after the other."""


def sum(x: np.ndarray, dims: tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    """Σ x over `dims`, in the dtype of x."""
    if x.dtype == np.float16:
        return x.sum(dims, dtype=np.float32, keepdims=keepdims).astype(x.dtype)
    if not dims or x.size < SMALL or x.dtype != np.float32:
        return x.sum(dims, keepdims=keepdims)
    kept = x.shape[len(dims) :]
    if x.flags.c_contiguous and dims == tuple(range(len(dims))) and math.prod(kept) > 1:  # of rows, as of a bias
        z = _sum_rows(x.reshape(math.prod(x.shape[: len(dims)]), -1))
        return z.reshape((1,) * len(dims) + kept if keepdims else kept)
    order = memory_order(x)
    if order is None:
        return x.sum(dims, dtype=np.float64, keepdims=keepdims).astype(x.dtype)
    runs = [(gone, list(run)) for gone, run in itertools.groupby(order, key=lambda dim: dim in dims)]
    lengths = [math.prod(x.shape[dim] for dim in run) for _, run in runs]
    z = x.transpose(order)
    for i, (gone, _) in reversed(list(enumerate(runs))):  # the fastest in memory first
        if gone:
            z = _sum_rows(z.reshape(math.prod(lengths[:i]), lengths[i], -1))
    z = z.reshape([1 if dim in dims else x.shape[dim] for dim in order]).transpose(np.argsort(order))
    return z if keepdims else z.squeeze(dims)[()]


def _sum_rows(x: np.ndarray) -> np.ndarray:
    """Σ over the rows, (…, rows, width) → (…, width)."""
    if x.shape[-1] == 1:
        return x[..., 0].sum(-1)[..., None]
    return column_sums(x).astype(x.dtype)


def column_sums(x: np.ndarray) -> np.ndarray:
    """Σ over the rows, (…, rows, width) → (…, width), of more than `ROWS` rows in float64."""
    rows, width = x.shape[-2:]
    ones = np.ones(min(rows, ROWS), np.result_type(x.dtype, np.float32))
    if rows <= ROWS:
        return ones @ x
    whole = rows // ROWS * ROWS
    blocks = x[..., :whole, :].reshape(*x.shape[:-2], -1, ROWS, width)
    return (ones @ blocks).sum(-2, dtype=np.float64) + ones[: rows - whole] @ x[..., whole:, :]


def broadcast_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """x broadcast to a shape, a view that can't be written; of one number several times as fast as NumPy's."""
    if getattr(x, "size", 0) != 1 or len(shape) < x.ndim or min(shape, default=0) < 0:
        return np.broadcast_to(x, shape)
    z: np.ndarray = np.ndarray(shape, x.dtype, x, strides=(0,) * len(shape))
    z.flags.writeable = False
    return z
