"""Windows over images, one tap at a time, in any array library.

The cells that one tap (i, j) of a kernel reads, for all windows together, are one strided view of the padded image. So
a loop over the few taps does for all windows at once what would otherwise be a loop over the windows.

Knows arrays (N, C, H, W) and geometries that have been checked; used where no array library has a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from tinygrad_med.backend.geometry import Geometry

Array = Any


class Tap(NamedTuple):
    """One tap of the kernel, and the cells of the padded image that it reads."""

    row: int
    column: int
    cells: tuple[Any, slice, slice]


def taps(geometry: Geometry) -> Iterator[Tap]:
    """The taps in order, row by row."""
    for i in range(geometry.kernel[0]):
        for j in range(geometry.kernel[1]):
            rows, columns = (
                slice(tap * dilation, tap * dilation + (out - 1) * stride + 1, stride)
                for tap, dilation, out, stride in zip(
                    (i, j), geometry.dilation, geometry.out, geometry.stride, strict=True
                )
            )
            yield Tap(i, j, (..., rows, columns))


def pad(xp: ModuleType, x: Array, geometry: Geometry, value: float = 0) -> Array:
    """x within its padding, and as many more cells at the ends as ceil_mode's last windows hang over."""
    return xp.pad(x, [(0, 0), (0, 0), *_margins(geometry)], constant_values=value)


def crop(padded: Array, geometry: Geometry) -> Array:
    """What `pad` surrounded with a margin; also its transpose. A view."""
    (top, _), (left, _) = _margins(geometry)
    height, width = geometry.size
    return padded[:, :, top : top + height, left : left + width]


def _margins(geometry: Geometry) -> list[tuple[int, int]]:
    margins = []
    for axis in (0, 1):
        before, after = geometry.padding[axis]
        reach = (geometry.out[axis] - 1) * geometry.stride[axis] + geometry.extent[axis]
        margins.append((before, max(after, reach - before - geometry.size[axis])))
    return margins


def positions(xp: ModuleType, chosen: Array, geometry: Geometry) -> Array:
    """Where chosen taps, row · kw + column in the kernel, lie in the image: row · W + column, int64 (N, C, OH, OW)."""
    i, j = chosen.astype(xp.int64) // geometry.kernel[1], chosen.astype(xp.int64) % geometry.kernel[1]
    (sh, sw), (dh, dw), ((top, _), (left, _)) = geometry.stride, geometry.dilation, geometry.padding
    o, p = xp.arange(geometry.out[0])[:, None], xp.arange(geometry.out[1])
    return (o * sh - top + i * dh) * geometry.size[1] + (p * sw - left + j * dw)


def read(xp: ModuleType, x: Array, geometry: Geometry, out: Array) -> Array:
    """im2col: fill `out` (kh, kw, N, C, OH, OW), a view of any memory order, with what each tap reads; padding is 0."""
    padded = pad(xp, x, geometry)
    for tap in taps(geometry):
        out[tap.row, tap.column] = padded[tap.cells]
    return out


def add_back(xp: ModuleType, columns: Array, geometry: Geometry) -> Array:
    """col2im, the transpose of `read`: add columns (kh, kw, N, C, OH, OW) to the cells that they came from.

    For one tap all cells differ, so plain slices do, without atomic additions: the same bits every time.
    """
    n, channels = columns.shape[2:4]
    size = [before + n + after for (before, after), n in zip(_margins(geometry), geometry.size, strict=True)]
    padded = xp.zeros((n, channels, *size), columns.dtype)
    for tap in taps(geometry):
        padded[tap.cells] += columns[tap.row, tap.column]
    return crop(padded, geometry)
