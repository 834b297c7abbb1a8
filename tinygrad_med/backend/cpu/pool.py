"""Pooling: the maximum or the mean of each window, and their transposes.

Max-pooling *chooses, then gathers*: `max_pool` returns, beside the maxima, which tap of each window won. Given that
choice the rest is linear: `max_pool_gather` reads the chosen cells, `max_pool_scatter` adds to them, and the two
are each other's transpose. Mean-pooling (`avg_pool`, and `avg_pool_input`, its transpose) is linear from the start.

All of them walk over the taps of the kernel, not over the windows: the cells that one tap reads for all windows form
one strided view of x. Where a tap falls outside of x the windows concerned are left out, so nothing is ever padded: a
maximum behaves as if the padding were −∞, and ceil_mode's windows that hang over the end need no case of their own.

This file knows (N, C, *size) arrays in any memory order; it doesn't know convolution.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_med.backend import windows
from tinygrad_med.backend.geometry import Geometry

from .elementwise import keep
from .layout import Chunk, bands_by_images, chunks, to_channels_last, to_public
from .threads import parallel_for


def max_pool(x: np.ndarray, *, geometry: Geometry, choice: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """The maximum of each window, and the tap where it lies: its number in the kernel, row by row.

    x (N, C, *size) → y and taps, both (N, C, *out). Of equal maxima the first wins; NaN wins over numbers, and of
    several NaN the last: both as in PyTorch. `windows.positions` turns taps into PyTorch's indices. Without `choice`
    there are no taps, and the maxima are those along the rows of the maxima along the columns: a fraction of the work.
    """
    x = to_channels_last(x)
    y = np.empty((len(x), *geometry.out, x.shape[-1]), x.dtype)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    todo = _chunks(y)

    def largest(i: int) -> None:
        images, rows = todo[i]
        along = x[images]
        for axis, band in enumerate((rows, *(slice(0, out) for out in geometry.out[1:]))):  # one axis after the other
            best = np.full(
                (*along.shape[: 1 + axis], band.stop - band.start, *along.shape[2 + axis :]), lowest, x.dtype
            )
            for tap in range(geometry.kernel[axis]):
                served, cells = _one_axis(geometry, axis, tap, band)
                if served.start < served.stop:
                    to, of = ((*(slice(None),) * (1 + axis), s) for s in (served, cells))
                    np.maximum(best[to], along[of], out=best[to])
            along = best
        y[images, rows] = along

    if not choice:
        parallel_for(largest, len(todo))
        return to_public(y), None
    taps = np.empty(y.shape, np.min_scalar_type(math.prod(geometry.kernel) - 1))
    first = windows.first_taps(np, geometry).astype(taps.dtype)[..., None]

    def band(i: int) -> None:
        images, rows = todo[i]
        best, winner = y[images, rows], taps[images, rows]

        def choose(larger: Any) -> None:
            best[...] = lowest
            winner[...] = first[rows]
            for tap in _taps(geometry, rows):
                value, best_, winner_ = x[images][tap.cells], best[tap.windows], winner[tap.windows]
                wins = np.multiply(larger(value, best_), tap.number, dtype=taps.dtype)
                np.maximum(winner_, wins, out=winner_)  # the taps come in order, so a later winner has a larger number
                np.maximum(best_, value, out=best_)

        choose(np.greater)
        if np.isnan(best).any():
            choose(lambda value, best: (value > best) | np.isnan(value))

    parallel_for(band, len(todo))
    return to_public(y), to_public(taps)


def max_pool_gather(x: np.ndarray, taps: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """The cell of x that each window has chosen: x (N, C, *size), taps (N, C, *out) → (N, C, *out)."""
    x, taps = to_channels_last(x), to_channels_last(taps)
    y = np.empty(taps.shape, x.dtype)
    todo = _chunks(y)

    def band(i: int) -> None:
        images, rows = todo[i]
        part, winner = y[images, rows], taps[images, rows]
        part[...] = 0
        for tap in _taps(geometry, rows):
            np.copyto(part[tap.windows], x[images][tap.cells], where=winner[tap.windows] == tap.number)

    parallel_for(band, len(todo))
    return to_public(y)


def max_pool_scatter(g: np.ndarray, taps: np.ndarray, *, geometry: Geometry) -> np.ndarray:
    """The transpose of the gather: each g is added to the cell that its window has chosen.

    g, taps (N, C, *out) → (N, C, *size).
    """
    g, taps = to_channels_last(g), to_channels_last(taps)

    def chosen(chunk: Chunk, tap: Tap) -> np.ndarray:
        return keep(g[chunk][tap.windows], taps[chunk][tap.windows] == tap.number)

    return _scatter(g, geometry, chosen)


def avg_pool(
    x: np.ndarray, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None
) -> np.ndarray:
    """The mean of each window, x (N, C, *size) → (N, C, *out); padding counts as zeros, or not at all.

    With a divisor the sum of each window is divided by it, and not by how many cells there are.
    """
    x = to_channels_last(x)
    y = np.empty((len(x), *geometry.out, x.shape[-1]), x.dtype)
    counts = windows.counts(np, geometry, count_include_pad, divisor).astype(x.dtype)[..., None]
    todo = _chunks(y)

    def band(i: int) -> None:
        images, rows = todo[i]
        part = y[images, rows]
        part[...] = 0
        for tap in _taps(geometry, rows):
            part[tap.windows] += x[images][tap.cells]
        part /= counts[rows]

    parallel_for(band, len(todo))
    return to_public(y)


def avg_pool_input(
    g: np.ndarray, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None
) -> np.ndarray:
    """The transpose of avg_pool: each g, divided by its window's count, is added to the window's cells."""
    counts = windows.counts(np, geometry, count_include_pad, divisor).astype(g.dtype)[..., None]
    shares = to_channels_last(g) / counts
    return _scatter(shares, geometry, lambda chunk, tap: shares[chunk][tap.windows])


class Tap(NamedTuple):
    """One tap of the kernel: the windows of a band that it serves, and the cells of their images that those read."""

    number: int
    windows: tuple[slice, ...]  # (all images, rows of the band, the other axes)
    cells: tuple[slice, ...]  # (all images, rows, the other axes)


def _taps(geometry: Geometry, band: slice) -> Iterator[Tap]:
    """The taps in order; those that lie outside of x for all windows of the band are left out."""
    bands = (band, *(slice(0, out) for out in geometry.out[1:]))
    axes = [
        [_one_axis(geometry, axis, tap, bands[axis]) for tap in range(taps)]
        for axis, taps in enumerate(geometry.kernel)
    ]
    everything = slice(None)
    for number, place in enumerate(itertools.product(*axes)):
        if all(served.start < served.stop for served, _ in place):
            yield Tap(number, (everything, *(w for w, _ in place)), (everything, *(cells for _, cells in place)))


def _one_axis(geometry: Geometry, axis: int, tap: int, band: slice) -> tuple[slice, slice]:
    """Of the windows `band`: those whose cell o·stride + offset lies inside x, counted from the band's start."""
    stride, size = geometry.stride[axis], geometry.size[axis]
    offset = geometry.dilation[axis] * tap - geometry.padding[axis][0]
    start = max(band.start, -(offset // stride))
    stop = min(band.stop, (size - 1 - offset) // stride + 1)
    cells = slice(start * stride + offset, (stop - 1) * stride + offset + 1, stride)
    return slice(start - band.start, stop - band.start), cells


def _scatter(g: np.ndarray, geometry: Geometry, values: Any) -> np.ndarray:
    """Add values(chunk, tap) to the cells of the tap, for all chunks and taps: (N, *out, C) → public (N, C, *size)."""
    dx = np.empty((len(g), *geometry.size, g.shape[-1]), g.dtype)
    todo = bands_by_images(_chunks(g))

    def some_images(i: int) -> None:
        images, bands = todo[i]
        dx[images] = 0
        for rows in bands:  # one after the other: neighbouring bands add to the same cells
            for tap in _taps(geometry, rows):
                dx[images][tap.cells] += values(Chunk(images, rows), tap)

    parallel_for(some_images, len(todo))
    return to_public(dx)


def _chunks(y: np.ndarray) -> list[Chunk]:
    """Bands of windows; with the cells that they read, and scratch, they take several times their own memory."""
    return chunks(len(y), y.shape[1], 4 * y[:1, :1].nbytes)
