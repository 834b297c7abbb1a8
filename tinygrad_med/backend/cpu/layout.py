"""Channels last: how arrays lie in memory, and how work on them is cut into chunks.

Callers see (N, C, H, W). In memory the kernels keep (N, H, W, C): the channels of a pixel lie together, so a window's
columns are copied in long runs, a product yields the pixels in place, and one row of numbers per channel (bias, scale)
multiplies pixels without being spread. The results are (N, C, H, W) views of such memory, so a chain of kernels never
moves a number just to re-order it; only the first kernel, given some other layout, copies.

This file knows memory order and sizes; it knows no operation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .threads import parallel_for

BLOCK_BYTES = 1 << 20  # of elementwise work, what one thread does at a time: about its share of the cache
CHUNK_BYTES = 4 << 20  # of windows, whose work has more steps: in small chunks, threads wait for the interpreter
PARTS = 8  # chunks at least, where the work is large enough: what so many threads can share


class Chunk(NamedTuple):
    """Some images, and of each the same band of rows: either many images or a part of one. Volumes have slabs of it."""

    images: slice
    rows: slice


def to_channels_last(x: np.ndarray) -> np.ndarray:
    """(N, C, *spatial) in any layout → C-contiguous (N, *spatial, C); a view where the memory lies so already."""
    x = x.transpose(0, *range(2, x.ndim), 1)
    if x.flags.c_contiguous:
        return x
    y = np.empty(x.shape, x.dtype)

    def copy(i: int) -> None:
        y[i] = x[i]

    parallel_for(copy, len(x))
    return y


def to_public(x: np.ndarray) -> np.ndarray:
    """(N, *spatial, C) → its (N, C, *spatial) view."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def memory_order(x: np.ndarray) -> list[int] | None:
    """The dims from the slowest to the fastest in memory; None where there are gaps."""
    order = sorted(range(x.ndim), key=lambda dim: (-x.strides[dim], -x.shape[dim]))
    return order if x.transpose(order).flags.c_contiguous else None


def chunks(images: int, rows: int, row_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> list[Chunk]:
    """Cut images × rows, each row of `row_bytes`, into chunks of about `chunk_bytes`, or of less where they are few.

    The cut depends on the work, and never on the number of threads: what is summed over chunks is rounded by it. There
    are two chunks at least, and four or eight while they don't fall below a quarter of `chunk_bytes`.
    """
    if images == 0:
        return []
    parts = 2
    while parts < PARTS and images * rows * row_bytes >= 2 * parts * chunk_bytes // 4:
        parts *= 2
    per_chunk = max(1, min(-(-images * rows // parts), chunk_bytes // max(1, row_bytes)))
    if per_chunk >= rows:
        return [Chunk(images_, slice(0, rows)) for images_ in _split(images, -(-images // (per_chunk // rows)))]
    bands = _split(rows, -(-rows // per_chunk))
    return [Chunk(slice(n, n + 1), band) for n, band in itertools.product(range(images), bands)]


def bands_by_images(todo: list[Chunk]) -> list[tuple[slice, list[slice]]]:
    """Chunks, the bands of the same images together: for kernels where neighbouring bands write to the same rows."""
    return [(images, [c.rows for c in same]) for images, same in itertools.groupby(todo, lambda c: c.images)]


def spans(length: int, item_bytes: int) -> list[slice]:
    """Cut a length of items into even spans of about BLOCK_BYTES."""
    return _split(length, -(-length * item_bytes // BLOCK_BYTES)) if length else []


def shares(length: int) -> list[slice]:
    """Cut a length of channels into two even spans, or up to `PARTS` while they have 128 or more."""
    return _split(length, min(length, max(2, min(PARTS, length // 128))))


def _split(length: int, parts: int) -> list[slice]:
    return [slice(length * i // parts, length * (i + 1) // parts) for i in range(parts)]


def windows(
    x: np.ndarray, places: Sequence[int], taps: Sequence[int], steps: Sequence[int], dilation: Sequence[int]
) -> np.ndarray:
    """A view (N, *places, *taps, C) of x (N, *size, C): along each axis, the cell place · step + tap · dilation.

    As NumPy's `sliding_window_view` with steps, in half of its time (5 for 11 µs), which counts for one small image; it
    doesn't look whether the cells are there.
    """
    image, *along, channel = x.strides
    by_place, by_tap = (tuple(s * n for s, n in zip(along, each, strict=True)) for each in (steps, dilation))
    shape = (len(x), *places, *taps, x.shape[-1])
    return as_strided(x, shape, (image, *by_place, *by_tap, channel))


def padded_rows(x: np.ndarray, images: slice, first: int, count: int, sides: Sequence[tuple[int, int]]) -> np.ndarray:
    """Rows first … first+count of (N, *size, C) images, zeros where they lie outside; a row lies across the first axis.

    `sides`: the zeros before and after, along the axes but the first. A view where nothing has to be padded.
    """
    size, top, bottom = x.shape[1:-1], max(0, -first), max(0, first + count - x.shape[1])
    inside = x[images, max(0, first) : max(0, first + count - bottom)]
    if not (top or bottom or any(before or after for before, after in sides)):
        return inside
    padded = (before + n + after for n, (before, after) in zip(size[1:], sides, strict=True))
    band = np.empty((len(inside), count, *padded, x.shape[-1]), x.dtype)
    place: tuple[slice, ...] = (slice(None),)
    for n, before in zip(inside.shape[1:-1], (top, *(before for before, _ in sides)), strict=True):
        for outside in (slice(0, before), slice(before + n, None)):
            margin = (*(slice(None),) * len(place), outside)
            band[margin] = 0
        place = (*place, slice(before, before + n))
    band[place] = inside
    return band
