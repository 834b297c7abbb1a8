"""Channels last: the one order in which the kernels read and write memory.

Callers see (N, C, *size). In memory the kernels keep rows, one for each pixel, of C channels: neighbouring threads then
read neighbouring numbers, and one thread stays with one channel. Results are (N, C, *size) views of such memory, so a
chain of kernels moves no number just to re-order it; only the first, given another order, copies.
"""

from __future__ import annotations

import math

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
