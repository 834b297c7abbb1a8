"""Pooling: the maximum or the mean of each window, and their transposes.

Array code walks over the taps of the kernel, whole arrays at a time. Nothing is added atomically, so the same inputs
give the same bits.
"""

from __future__ import annotations

import math

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry
from tinygrad_med.backend.windows import add_back, counts, crop, first_taps, pad, taps as taps_of


def max_pool(x: Array, *, geometry: Geometry, choice: bool = True) -> tuple[Array, Array | None]:
    """As `cpu.max_pool`: the maxima, and the tap that won each window (of equal ones the first, of NaN the last)."""
    xp = array_module(x)
    lowest = -math.inf if x.dtype.kind == "f" else int(xp.iinfo(x.dtype).min)
    padded = pad(xp, x, geometry, lowest)
    best = xp.full((*x.shape[:2], *geometry.out), lowest, x.dtype)
    if not choice:
        for tap in taps_of(geometry):
            best = xp.maximum(best, padded[tap.cells])
        return best, None
    winner = xp.broadcast_to(first_taps(xp, geometry), best.shape).astype(xp.int32)
    for tap in taps_of(geometry):
        value = padded[tap.cells]
        wins = (value > best) | (value != value)
        best = xp.where(wins, value, best)
        winner = xp.where(wins, tap.number, winner)
    return best, winner.astype(xp.min_scalar_type(math.prod(geometry.kernel) - 1))


def max_pool_gather(x: Array, taps: Array, *, geometry: Geometry) -> Array:
    """As `cpu.max_pool_gather`: the cell of x that each window has chosen."""
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros(taps.shape, x.dtype)
    for tap in taps_of(geometry):
        y = xp.where(taps == tap.number, padded[tap.cells], y)
    return y


def max_pool_scatter(g: Array, taps: Array, *, geometry: Geometry) -> Array:
    """As `cpu.max_pool_scatter`: each g added to the cell that its window has chosen."""
    xp = array_module(g)
    padded = pad(xp, xp.zeros((*g.shape[:2], *geometry.size), g.dtype), geometry)
    for tap in taps_of(geometry):
        padded[tap.cells] += xp.where(taps == tap.number, g, 0)
    return crop(padded, geometry)


def avg_pool(x: Array, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None) -> Array:
    """As `cpu.avg_pool`: the mean of each window."""
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros((*x.shape[:2], *geometry.out), x.dtype)
    for tap in taps_of(geometry):
        y += padded[tap.cells]
    return y / counts(xp, geometry, count_include_pad, divisor).astype(x.dtype)


def avg_pool_input(
    g: Array, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None
) -> Array:
    """As `cpu.avg_pool_input`: each g, divided by its window's count, added to the window's cells."""
    xp = array_module(g)
    shares = g / counts(xp, geometry, count_include_pad, divisor).astype(g.dtype)
    return add_back(xp, xp.broadcast_to(shares, (*geometry.kernel, *shares.shape)), geometry)
