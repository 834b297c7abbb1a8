"""Channels last: the one order in which the kernels read and write memory.

Callers see (N, C, *size). In memory the kernels keep rows, one for each pixel, of C channels: neighbouring threads then
read neighbouring numbers, and one thread stays with one channel. Results are (N, C, *size) views of such memory, so a
chain of kernels moves no number just to re-order it; only the first, given another order, copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tinygrad_med.backend import Array, array_module


def channels_last(x: Array) -> Array:
    """(N, C, *size) in any order → contiguous (N, *size, C); a view where memory lies so already."""
    return array_module(x).ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1))


def rows(x: Array) -> Array:
    """(N, C, *size) in any order → contiguous (pixels, C); a view where memory lies so already."""
    return channels_last(x).reshape(x.size // x.shape[1] if x.size else 0, x.shape[1])


def empty_like(x: Array) -> Array:
    """New memory for (N, C, *size), channels last."""
    return empty(x.shape, x)


def empty(shape: tuple[int, ...], x: Array, dtype: str | None = None) -> Array:
    """New memory beside x for a (N, C, *size) of this shape, channels last; of the dtype of x where none is given."""
    n, channels, *size = shape
    return channels_first(array_module(x).empty((n, *size, channels), dtype or x.dtype))


def channels_first(y: Array) -> Array:
    """(N, *size, C) → its (N, C, *size) view."""
    return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))


def pixels(x: Array) -> int:
    """How many numbers each channel of (N, C, *size) has."""
    return len(x) * math.prod(x.shape[2:])


def in_memory_order(function: Callable[..., Array], *arrays: Array) -> Array:
    """An elementwise function of arrays of one shape that lie in memory alike: its result lies so, too.

    CuPy would re-order it, and read with strides. Other arrays are given to the function as they are.
    """
    first = arrays[0]
    if first.ndim < 3 or first.flags.c_contiguous or any(a.shape != first.shape for a in arrays):
        return function(*arrays)
    order = sorted(range(first.ndim), key=lambda dim: (-first.strides[dim], -first.shape[dim]))
    turned = [a.transpose(order) for a in arrays]
    if not all(a.flags.c_contiguous for a in turned):
        return function(*arrays)
    return function(*turned).transpose([order.index(dim) for dim in range(first.ndim)])


def as_it_lies(x: Array, y: Array) -> Array:
    """x, if y of its shape lies channels last, likewise; a copy where it has to be."""
    if x.shape != y.shape or x.ndim < 3 or not y.transpose(0, *range(2, y.ndim), 1).flags.c_contiguous:
        return x
    return channels_first(channels_last(x))
