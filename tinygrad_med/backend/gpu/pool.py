"""Pooling: the maximum or the mean of each window, and their transposes.

Array code walks over the taps of a window, whole arrays at a time, and moves ten times the image at each. In a kernel a
thread walks over the taps of its own window; the transposes let each cell of the image collect from the windows that
read it. So nothing is added atomically, and the same inputs give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry
from tinygrad_med.backend.windows import add_back, counts, crop, first_taps, pad, taps as taps_of

from .compiled import compiles
from .layout import channels_last, empty, pixels
from .places import OverWindows


def max_pool(x: Array, *, geometry: Geometry, choice: bool = True) -> tuple[Array, Array | None]:
    """As `cpu.max_pool`: the maxima, and the tap that won each window (of equal ones the first, of NaN the last)."""
    xp = array_module(x)
    if compiles(x):
        y = empty((*x.shape[:2], *geometry.out), x)
        if not choice:
            _over(_largest, geometry, y, x, y)
            return y, None
        taps = empty(y.shape, x, _tap_type(geometry))
        _over(_largest_and_taps, geometry, y, x, y, taps, TAP=_tap(geometry))
        return y, taps
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
    return best, winner.astype(_tap_type(geometry))


# A window without a cell in the image has chosen the tap that `first_taps` names.
LARGEST = """
__device__ int first_inside(int first, int dilation) { return first < 0 ? (dilation - 1 - first) / dilation : 0; }

extern "C" __global__ void max_pool(const T* x, T* y, PARAMETER long long pixels, long long channels, SIZES) {
  THREADS(pixels) WINDOW
  int nothing = (first_inside(first0, D0) * K1 + first_inside(first1, D1)) * K2 + first_inside(first2, D2);
  for (long long c = threadIdx.x; c < channels; c += blockDim.x) {
    A best = A(__int_as_float(0xff800000));  // -infinity
    int winner = nothing;
    EACH_TAP
      A value = A(x[cell * channels + c]);
      if (value > best || value != value) { best = value; winner = tap; }
    }
    y[pixel * channels + c] = T(best);
    NOTE
  }
}
"""
_largest = OverWindows("max_pool", LARGEST.replace("PARAMETER", "").replace("NOTE", ""))
_largest_and_taps = OverWindows(
    "max_pool",
    LARGEST.replace("PARAMETER", "TAP* taps,").replace("NOTE", "taps[pixel * channels + c] = (TAP)winner;"),
)


def max_pool_gather(x: Array, taps: Array, *, geometry: Geometry) -> Array:
    """As `cpu.max_pool_gather`: the cell of x that each window has chosen."""
    if compiles(x):
        y = empty(taps.shape, x)
        _over(_max_pool_gather, geometry, y, x, taps, y, TAP=_tap(geometry))
        return y
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros(taps.shape, x.dtype)
    for tap in taps_of(geometry):
        y = xp.where(taps == tap.number, padded[tap.cells], y)
    return y


_max_pool_gather = OverWindows(
    "max_pool_gather",
    """
extern "C" __global__ void max_pool_gather(
    const T* x, const TAP* taps, T* y, long long pixels, long long channels, SIZES) {
  THREADS(pixels) WINDOW
  for (long long c = threadIdx.x; c < channels; c += blockDim.x) {
    int tap = taps[pixel * channels + c];
    long long cell = read(first0, first1, first2, tap / (K1 * K2), tap / K2 % K1, tap % K2, n0, n1, n2);
    y[pixel * channels + c] = cell < 0 ? T(0) : x[(image + cell) * channels + c];
  }
}
""",
)


def max_pool_scatter(g: Array, taps: Array, *, geometry: Geometry) -> Array:
    """As `cpu.max_pool_scatter`: each g added to the cell that its window has chosen."""
    if compiles(g):
        dx = empty((*g.shape[:2], *geometry.size), g)
        _over(_max_pool_scatter, geometry, dx, g, taps, dx, TAP=_tap(geometry))
        return dx
    xp = array_module(g)
    padded = pad(xp, xp.zeros((*g.shape[:2], *geometry.size), g.dtype), geometry)
    for tap in taps_of(geometry):
        padded[tap.cells] += xp.where(taps == tap.number, g, 0)
    return crop(padded, geometry)


_max_pool_scatter = OverWindows(
    "max_pool_scatter",
    """
extern "C" __global__ void max_pool_scatter(
    const T* g, const TAP* taps, T* dx, long long pixels, long long channels, SIZES) {
  THREADS(pixels) CELL
  for (long long c = threadIdx.x; c < channels; c += blockDim.x) {
    A sum = 0;
    EACH_READER
      if (taps[window * channels + c] == tap) sum += A(g[window * channels + c]);
    }
    dx[pixel * channels + c] = T(sum);
  }
}
""",
)


TAP = {"uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned"}


def _tap_type(geometry: Geometry) -> str:
    """The smallest dtype for the numbers of a kernel's taps."""
    most = math.prod(geometry.kernel) - 1
    return "uint8" if most < 1 << 8 else "uint16" if most < 1 << 16 else "uint32"


def _tap(geometry: Geometry) -> str:
    return TAP[_tap_type(geometry)]


def _over(kernel: OverWindows, geometry: Geometry, result: Array, *arguments: Any, **defined: Any) -> None:
    """Have a kernel run with a thread for each number of the result; arrays are (N, C, …)."""
    counts = pixels(result), result.shape[1]
    last = [a if isinstance(a, int) else channels_last(a) for a in arguments]
    kernel.launch(geometry, *counts, *last, *counts, T=result.dtype.name, **defined)


def avg_pool(x: Array, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None) -> Array:
    """As `cpu.avg_pool`: the mean of each window."""
    if compiles(x):
        y = empty((*x.shape[:2], *geometry.out), x)
        _over(_avg_pool, geometry, y, x, y, int(count_include_pad), divisor or 0)
        return y
    xp = array_module(x)
    padded = pad(xp, x, geometry)
    y = xp.zeros((*x.shape[:2], *geometry.out), x.dtype)
    for tap in taps_of(geometry):
        y += padded[tap.cells]
    return y / counts(xp, geometry, count_include_pad, divisor).astype(x.dtype)


COUNT = """
// How many cells of a window count along one axis, as `windows.counts` says.
__device__ int count(int first, int kernel, int size, int after, bool padded) {
  int stop = min(first + kernel, size + after);
  return padded ? stop - first : min(stop, size) - max(first, 0);
}
#define DIVIDE(sum, o0, o1, o2) (sum) / (given ? A(given) : A(count((o0) * S0 - B0, K0, n0, E0, padded) \\
  * count((o1) * S1 - B1, K1, n1, E1, padded) * count((o2) * S2 - B2, K2, n2, E2, padded)))
"""
_avg_pool = OverWindows(
    "avg_pool",
    COUNT
    + """
extern "C" __global__ void avg_pool(
    const T* x, T* y, long long padded, long long given, long long pixels, long long channels, SIZES) {
  THREADS(pixels) WINDOW
  for (long long c = threadIdx.x; c < channels; c += blockDim.x) {
    A sum = 0;
    EACH_TAP
      sum += A(x[cell * channels + c]);
    }
    y[pixel * channels + c] = T(DIVIDE(sum, o.at0, o.at1, o.at2));
  }
}
""",
)


def avg_pool_input(
    g: Array, *, geometry: Geometry, count_include_pad: bool = True, divisor: int | None = None
) -> Array:
    """As `cpu.avg_pool_input`: each g, divided by its window's count, added to the window's cells."""
    if compiles(g):
        dx = empty((*g.shape[:2], *geometry.size), g)
        _over(_avg_pool_input, geometry, dx, g, dx, int(count_include_pad), divisor or 0)
        return dx
    xp = array_module(g)
    shares = g / counts(xp, geometry, count_include_pad, divisor).astype(g.dtype)
    return add_back(xp, xp.broadcast_to(shares, (*geometry.kernel, *shares.shape)), geometry)


_avg_pool_input = OverWindows(
    "avg_pool_input",
    COUNT
    + """
extern "C" __global__ void avg_pool_input(
    const T* g, T* dx, long long padded, long long given, long long pixels, long long channels, SIZES) {
  THREADS(pixels) CELL
  for (long long c = threadIdx.x; c < channels; c += blockDim.x) {
    A sum = 0;
    EACH_READER
      sum += DIVIDE(A(g[window * channels + c]), o0, o1, o2);
    }
    dx[pixel * channels + c] = T(sum);
  }
}
""",
)
