"""Elementwise work on large arrays: in blocks that fit the cache, on several threads.

NumPy's own loops use one core, and a formula of several operations goes through memory once for each of them. Here a
formula sees one block after the other, as flat vectors in the order in which the numbers lie in memory, which for
elementwise work may be any. Arrays that lie in different orders are left to NumPy.

This file knows arrays of any shape; it doesn't know channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .layout import spans
from .threads import parallel_for


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)"""
    return _in_blocks(_relu, x)


def relu_backward(g: np.ndarray, y: np.ndarray) -> np.ndarray:
    """g where y > 0, else 0; y is what relu gave, or what it got."""
    return _in_blocks(_relu_backward, g, y)


def _relu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.maximum(x, 0, out=out)


def _relu_backward(g: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.multiply(g, y > 0, out=out)


def _in_blocks(formula: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """formula(*arrays), where formula(*blocks, out=block) does a part of it; all arrays of one dtype."""
    first, *others = arrays
    blocks = spans(first.size, (len(arrays) + 1) * first.itemsize)
    order = _memory_order(first) if len(blocks) > 1 else None
    if order is None or any((a.shape, a.strides) != (first.shape, first.strides) for a in others):
        return formula(*arrays)
    result = np.empty_like(first)
    flat = [a.transpose(order).reshape(-1) for a in (*arrays, result)]

    def block(i: int) -> None:
        *parts, out = (a[blocks[i]] for a in flat)
        formula(*parts, out=out)

    parallel_for(block, len(blocks))
    return result


def _memory_order(x: np.ndarray) -> list[int] | None:
    """The dims from the slowest to the fastest in memory; None where there are gaps."""
    order = sorted(range(x.ndim), key=lambda dim: (-x.strides[dim], -x.shape[dim]))
    return order if x.transpose(order).flags.c_contiguous else None
