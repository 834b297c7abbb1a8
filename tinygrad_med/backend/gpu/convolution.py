"""Convolution: one matrix product over all columns, the numbers under each window (im2col).

A GPU wants few large operations. The columns are in the order of the weights, (channel, *tap), so these are a matrix
as they lie in memory, and so is their gradient. Nothing is added atomically, so the same inputs give the same bits.

Large convolutions in plain float32 are made without columns, by kernels of our own: `implicit`.
"""

from __future__ import annotations

import math

from tinygrad_med.backend import Array, array_module
from tinygrad_med.backend.geometry import Geometry
from tinygrad_med.backend.windows import add_back as add_taps_back, read

from . import implicit
from .compiled import compiles
from .layout import channels_first, channels_last, empty, pixels, rows
from .places import OverWindows
from .products import matmul


def conv(x: Array, w: Array, bias: Array | None = None, *, geometry: Geometry) -> Array:
    """As `cpu.conv`: columns (pixels, C·kh·kw) times weights (C·kh·kw, K)."""
    if implicit.suits(x, w, geometry, len(w)):
        y = channels_last(implicit.conv(x, w, geometry=geometry))
    else:
        y = _product(columns(x, geometry), _matrix(w, geometry.groups).transpose(0, 2, 1))
        y = y.transpose(1, 0, 2).reshape(len(x), *geometry.out, len(w))
    if bias is not None:
        y += bias
    return channels_first(y)


def conv_input(g: Array, w: Array, *, geometry: Geometry) -> Array:
    """As `cpu.conv_input`: g (pixels, K) times weights (K, C·kh·kw), added back to where the columns came from."""
    turned = geometry.turned
    if turned is not None and implicit.suits(g, w, turned, w.shape[1]):
        around = (..., *(slice(None, None, -1) for _ in geometry.kernel))
        return implicit.conv(g, w.swapaxes(0, 1)[around], geometry=turned)
    of_columns = _product(_by_group(g, geometry.groups), _matrix(w, geometry.groups))
    return add_back(of_columns, (len(g), geometry.groups * w.shape[1]), geometry)


def conv_weight(x: Array, g: Array, *, geometry: Geometry) -> Array:
    """As `cpu.conv_weight`: g (K, pixels) times columns (pixels, C·kh·kw)."""
    if implicit.suits(x, g, geometry, g.shape[1]):
        return implicit.conv_weight(x, g, geometry=geometry)
    groups, left, right = geometry.groups, _by_group(g, geometry.groups).transpose(0, 2, 1), columns(x, geometry)
    dw = array_module(x).empty(
        (g.shape[1], x.shape[1] // groups, *geometry.kernel), x.dtype
    )  # no view: nobody copies it
    matrix = _matrix(dw, groups)
    if groups == 1:
        matmul(left[0], right[0], out=matrix[0])
    else:
        matrix[...] = matmul(left, right)
    return dw


def _matrix(w: Array, groups: int) -> Array:
    """Weights (K, C', *kernel) → (groups, K', C'·kh·kw): as they lie in memory."""
    return w.reshape(groups, len(w) // groups, math.prod(w.shape[1:]))


def _by_group(g: Array, groups: int) -> Array:
    """(N, K, *out) → (groups, pixels, K')."""
    return rows(g).reshape(pixels(g), groups, g.shape[1] // groups).transpose(1, 0, 2)


def _product(a: Array, b: Array) -> Array:
    """Products of stacks of matrices; of a single one as a plain product, to which the TF32 setting applies."""
    return matmul(a[0], b[0])[None] if len(a) == 1 else matmul(a, b)


# The columns --------------------------------------------------------------------------------------------------------


def columns(x: Array, geometry: Geometry) -> Array:
    """(groups, pixels, C'·kh·kw): for each window the numbers that it sees, those of a channel side by side."""
    (n, channels), groups, axes = x.shape[:2], geometry.groups, len(geometry.kernel)
    shape = groups, n * math.prod(geometry.out), channels // groups * math.prod(geometry.kernel)
    if _is_itself(geometry):
        return _by_group(x, groups)
    xp = array_module(x)
    if compiles(x):
        z = xp.empty(shape, x.dtype)
        first = x.flags.c_contiguous  # such images are read as they are, all others channels last
        steps = (1, math.prod(geometry.size)) if first else (channels, 1)  # to the next pixel, to the next channel
        counts = shape[1], channels, channels // groups
        given = x if first else channels_last(x)
        _columns.launch(geometry, *shape[1:], given, z, *counts, *steps, T=x.dtype.name, groups=groups)
        return z
    z = xp.empty((groups, n, *geometry.out, channels // groups, *geometry.kernel), x.dtype)
    out, kernel = range(1, 1 + axes), range(2 + axes, 2 + 2 * axes)
    for i in range(groups):
        part = x[:, i * (channels // groups) : (i + 1) * (channels // groups)]
        read(xp, part, geometry, z[i].transpose(*(k for k in kernel), 0, 1 + axes, *out))
    return z.reshape(shape)


_columns = OverWindows(
    "columns",
    """
// One thread for each number of a column, which neighbours write side by side.
extern "C" __global__ void columns(
    const T* x, T* columns, long long pixels, long long channels, long long channels_of_group,
    long long next_pixel, long long next_channel, SIZES) {
  THREADS(pixels) WINDOW
  const int taps = K0 * K1 * K2;
  long long length = channels_of_group * taps;
  x += image * channels + blockIdx.y * channels_of_group * next_channel;
  columns += (blockIdx.y * pixels + pixel) * length;
  for (int i = threadIdx.x; i < length; i += blockDim.x) {
    int c = i / taps, tap = i % taps;
    long long cell = read(first0, first1, first2, tap / (K1 * K2), tap / K2 % K1, tap % K2, n0, n1, n2);
    columns[i] = cell < 0 ? T(0) : x[cell * next_pixel + c * next_channel];
  }
}
""",
)


def add_back(of_columns: Array, images: tuple[int, int], geometry: Geometry) -> Array:
    """The transpose of `columns`: each number added to the cell that it came from, of images (N, C, *size)."""
    (n, channels), groups, axes = images, geometry.groups, len(geometry.kernel)
    if _is_itself(geometry):
        return channels_first(of_columns.transpose(1, 0, 2).reshape(n, *geometry.size, channels))
    if compiles(of_columns):
        dx = empty((n, channels, *geometry.size), of_columns)
        of_columns = array_module(of_columns).ascontiguousarray(of_columns)
        counts = pixels(dx), channels, channels // groups, of_columns.shape[1]
        _add_back.launch(geometry, *counts[:2], of_columns, channels_last(dx), *counts, T=dx.dtype.name)
        return dx
    taps = of_columns.reshape(groups, n, *geometry.out, channels // groups, *geometry.kernel)
    kernel, out = range(3 + axes, 3 + 2 * axes), range(2, 2 + axes)
    taps = taps.transpose(*kernel, 1, 0, 2 + axes, *out)  # (*kernel, N, groups, C', *out)
    taps = taps.reshape(*geometry.kernel, n, channels, *geometry.out)
    return add_taps_back(array_module(of_columns), taps, geometry)


_add_back = OverWindows(
    "add_back",
    """
// Each cell of the images collects from the windows that read it.
extern "C" __global__ void add_back(
    const T* columns, T* dx, long long pixels, long long channels, long long channels_of_group, long long windows,
    SIZES) {
  THREADS(pixels) CELL
  const int taps = K0 * K1 * K2;
  long long length = channels_of_group * taps;
  for (long long c = threadIdx.x; c < channels; c += blockDim.x) {
    const T* column = columns + (c / channels_of_group * windows) * length + c % channels_of_group * taps;
    A sum = 0;
    EACH_READER
      sum += A(column[window * length + tap]);
    }
    dx[pixel * channels + c] = T(sum);
  }
}
""",
)


def _is_itself(geometry: Geometry) -> bool:
    """Whether each window is one pixel: then the columns are the rows of x."""
    ones = (1,) * len(geometry.kernel)
    return geometry.kernel == geometry.stride == ones and geometry.out == geometry.size
