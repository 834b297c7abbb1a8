"""Windows over images, one tap at a time, in any array library.

The cells that one tap of a kernel reads, for all windows together, are one strided view of the padded image. So a loop
over the few taps does for all windows at once what would otherwise be a loop over the windows.

Knows arrays (N, C, *size) and geometries that have been checked; used where no array library has a kernel of its own.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from tinygrad_med.backend.geometry import Geometry

Array = Any


class Tap(NamedTuple):
    """One tap of the kernel, its number in their order, and the cells of the padded image that it reads."""

    place: tuple[int, ...]
    number: int
    cells: tuple[Any, ...]


def taps(geometry: Geometry) -> Iterator[Tap]:
    """The taps in order, row by row."""
    for number, place in enumerate(itertools.product(*map(range, geometry.kernel))):
        axes = zip(place, geometry.dilation, geometry.out, geometry.stride, strict=True)
        cells = (slice(tap * d, tap * d + (out - 1) * stride + 1, stride) for tap, d, out, stride in axes)
        yield Tap(place, number, (..., *cells))


def pad(xp: ModuleType, x: Array, geometry: Geometry, value: float = 0) -> Array:
    """x within its padding, and as many more cells at the ends as ceil_mode's last windows hang over."""
    return xp.pad(x, [(0, 0), (0, 0), *_margins(geometry)], constant_values=value)


def crop(padded: Array, geometry: Geometry) -> Array:
    """What `pad` surrounded with a margin; also its transpose. A view."""
    within = (..., *geometry.inside)
    return padded[within]


def _margins(geometry: Geometry) -> list[tuple[int, int]]:
    axes = zip(geometry.padding, geometry.out, geometry.stride, geometry.extent, geometry.size, strict=True)
    return [(b, max(a, (out - 1) * stride + extent - b - n)) for (b, a), out, stride, extent, n in axes]


def positions(xp: ModuleType, chosen: Array, geometry: Geometry) -> Array:
    """Where chosen taps lie in the image, as a number that counts its cells row by row: int64 (N, C, *out)."""
    rest, place = chosen.astype(xp.int64), 0
    steps = _products(geometry.size)
    for axis in reversed(range(len(geometry.kernel))):
        tap, rest = rest % geometry.kernel[axis], rest // geometry.kernel[axis]
        cell = _starts(xp, geometry, axis) + tap * geometry.dilation[axis]
        place = place + cell * steps[axis]
    return place


def first_taps(xp: ModuleType, geometry: Geometry) -> Array:
    """(*out): the number of each window's first tap inside x; it is chosen where no cell is above −∞."""
    steps = _products(geometry.kernel)
    axes = range(len(geometry.kernel))
    first = (xp.maximum(0, -(_starts(xp, geometry, a) // geometry.dilation[a])) * steps[a] for a in axes)
    return functools.reduce(lambda a, b: a + b, first)


def counts(xp: ModuleType, geometry: Geometry, include_pad: bool, divisor: int | None = None) -> Array:
    """(*out): by how much a window's sum is divided: `divisor`, or how many cells it has.

    What hangs over the padding's end never counts.
    """
    if divisor is not None:
        return xp.full(geometry.out, divisor)

    def one_axis(axis: int) -> Array:
        size, start = geometry.size[axis], _starts(xp, geometry, axis)
        stop = xp.minimum(start + geometry.kernel[axis], size + geometry.padding[axis][1])
        return stop - start if include_pad else xp.minimum(stop, size) - xp.maximum(start, 0)

    return functools.reduce(lambda a, b: a * b, map(one_axis, range(len(geometry.kernel))))


def _starts(xp: ModuleType, geometry: Geometry, axis: int) -> Array:
    """Where the windows begin along an axis, with dims that broadcast over the axes behind it."""
    start = xp.arange(geometry.out[axis]) * geometry.stride[axis] - geometry.padding[axis][0]
    return start.reshape((-1,) + (1,) * (len(geometry.out) - 1 - axis))


def _products(lengths: tuple[int, ...]) -> list[int]:
    """For each axis the product of the lengths behind it: by how much a number grows per step along the axis."""
    return [functools.reduce(lambda a, b: a * b, lengths[axis + 1 :], 1) for axis in range(len(lengths))]


def read(xp: ModuleType, x: Array, geometry: Geometry, out: Array) -> Array:
    """im2col: fill `out` (*kernel, N, C, *out), a view of any memory order, with what each tap reads; padding is 0."""
    padded = pad(xp, x, geometry)
    for tap in taps(geometry):
        out[tap.place] = padded[tap.cells]
    return out


def add_back(xp: ModuleType, columns: Array, geometry: Geometry) -> Array:
    """col2im, the transpose of `read`: add columns (*kernel, N, C, *out) to the cells that they came from.

    For one tap all cells differ, so plain slices do, without atomic additions: the same bits every time.
    """
    axes = len(geometry.kernel)
    n, channels = columns.shape[axes : axes + 2]
    margins = zip(_margins(geometry), geometry.size, strict=True)
    padded = xp.zeros((n, channels, *(before + n + after for (before, after), n in margins)), columns.dtype)
    for tap in taps(geometry):
        padded[tap.cells] += columns[tap.place]
    return crop(padded, geometry)
