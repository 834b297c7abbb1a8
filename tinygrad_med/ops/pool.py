"""Pooling: windows of an image become single numbers, over one, two or three spatial dims.

Max-pooling *chooses, then gathers*. Which cell of a window is the largest is a constant choice, without a derivative;
reading the chosen cells is linear, and its transpose adds back to them. The kernel does both in one pass; its rule
needs the choice alone. Mean-pooling is linear from the start.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend import windows
from tinygrad_med.backend.geometry import IMAGES, Ints, Sizes, pool_geometry
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.switches import is_grad_enabled
from tinygrad_med.ops.batch import batch_optional
from tinygrad_med.ops.indexing import gather
from tinygrad_med.ops.reduce import ValuesAndIndices, mean
from tinygrad_med.ops.resize import mean_matrix, resample, spans
from tinygrad_med.ops.shape import _reshape

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


# The largest of each window -----------------------------------------------------------------------------------------


@primitive
def _max_pool(xp, x, *, geometry, taps=None, largest=None):
    """z = the x that each window has chosen: the one at its tap; without `taps` (nobody will ask) the largest

    ∂x: g added at the chosen cells
    """
    if taps is None:
        return kernels(xp).max_pool(x, geometry=geometry, choice=False)[0]
    if largest is not None:  # whoever made the choice has seen them
        return largest
    return kernels(xp).max_pool_gather(x, taps, geometry=geometry)


@primitive
def _max_pool_scatter(xp, y, *, taps, geometry):
    """z = zeros, with each y added at the cell that its window has chosen

    ∂y: g at the chosen cells
    """
    return kernels(xp).max_pool_scatter(y, taps, geometry=geometry)


_max_pool.vjp(x=lambda g, taps, geometry: _max_pool_scatter(g, taps=taps, geometry=geometry))
_max_pool_scatter.vjp(y=lambda g, taps, geometry: _max_pool(g, taps=taps, geometry=geometry))


@batch_optional(2)
def max_pool2d(
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest number of each window; padding never wins. Of equal ones the first gets the whole gradient.

    Args:
        x: (N, C, H, W), or one image (C, H, W).
        kernel_size, stride, padding, dilation: a number, or one for rows and one for columns; the stride is that of
            the kernel if it is not given. Padding is at most half the kernel.
        ceil_mode: also take a last window that hangs over the end.
        return_indices: also return where the chosen cells are, row · W + column, as an int64 tensor.

    Returns:
        (N, C, OH, OW), or two of them.
    """
    return _largest("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@batch_optional(1)
def max_pool1d(
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `max_pool2d` over one spatial dim: (N, C, L) or (C, L) → (N, C, OL)."""
    return _largest("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@batch_optional(3)
def max_pool3d(
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `max_pool2d` over three: (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW)."""
    return _largest("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _largest(name: str, axes: int, x: Tensor, *arguments: Any) -> Any:
    *where, return_indices = arguments
    if 0 in x.shape[1:]:
        raise ValueError(f"{name}: there is no largest of nothing; x {tuple(x.shape)} has a dim of length 0")
    geometry = pool_geometry(x.shape, *where, name=name, axes=axes)
    if not (return_indices or (is_grad_enabled() and getattr(x, "requires_grad", False))):
        return _max_pool(x, geometry=geometry)  # nobody will ask which cell won
    xp = backend.array_module(x.array)
    largest, taps = kernels(xp).max_pool(x.array, geometry=geometry, choice=True)
    z = _max_pool(x, geometry=geometry, taps=taps, largest=largest)
    return ValuesAndIndices(z, wrap(windows.positions(xp, taps, geometry))) if return_indices else z


# The mean of each window --------------------------------------------------------------------------------------------


@primitive(single=True)
def _avg_pool(xp, x, *, geometry, count_include_pad=True, divisor=None):
    """z = Σ x / n over each window of n cells

    ∂x: Σ g / n over the windows that a cell lies in
    """
    return kernels(xp).avg_pool(x, geometry=geometry, count_include_pad=count_include_pad, divisor=divisor)


@primitive(single=True)
def _avg_pool_input(xp, y, *, geometry, count_include_pad=True, divisor=None):
    """z = Σ y / n over the windows, of n cells each, that a cell lies in

    ∂y: Σ g / n over each window
    """
    return kernels(xp).avg_pool_input(y, geometry=geometry, count_include_pad=count_include_pad, divisor=divisor)


_avg_pool.vjp(
    x=lambda g, geometry, count_include_pad, divisor: _avg_pool_input(
        g, geometry=geometry, count_include_pad=count_include_pad, divisor=divisor
    )
)
_avg_pool_input.vjp(
    y=lambda g, geometry, count_include_pad, divisor: _avg_pool(
        g, geometry=geometry, count_include_pad=count_include_pad, divisor=divisor
    )
)


@batch_optional(2)
def avg_pool2d(
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window; padding counts as zeros, or, without `count_include_pad`, not at all.

    Args:
        x: (N, C, H, W), or one image (C, H, W).
        kernel_size, stride, padding, ceil_mode: as for `max_pool2d`.
        divisor_override: by what the sum of each window is divided, if not by how many cells it has.

    Returns:
        (N, C, OH, OW).
    """
    where = kernel_size, stride, padding, ceil_mode
    return _averaged("avg_pool2d", 2, x, *where, count_include_pad, divisor_override)


@batch_optional(1)
def avg_pool1d(
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """As `avg_pool2d` over one spatial dim: (N, C, L) or (C, L) → (N, C, OL)."""
    return _averaged("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@batch_optional(3)
def avg_pool3d(
    x: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """As `avg_pool2d` over three: (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW)."""
    where = kernel_size, stride, padding, ceil_mode
    return _averaged("avg_pool3d", 3, x, *where, count_include_pad, divisor_override)


def _averaged(name: str, axes: int, x: Tensor, *arguments: Any) -> Tensor:
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor = arguments
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override must not be 0")
    geometry = pool_geometry(x.shape, kernel_size, stride, padding, 1, ceil_mode, name=name, axes=axes)
    return _avg_pool(x, geometry=geometry, count_include_pad=bool(count_include_pad), divisor=divisor)


# Adaptive: as many windows as asked for -----------------------------------------------------------------------------

AdaptiveSize = int | None | Sequence[int | None]


@batch_optional(2)
def adaptive_avg_pool2d(x: Tensor, output_size: AdaptiveSize) -> Tensor:
    """The means of so many windows that cover x (N, C, H, W) evenly; a size of `None` keeps that of x.

    Window i of n goes from ⌊i · H / n⌋ to ⌈(i + 1) · H / n⌉. So the means along an axis are a matrix times x.
    """
    return _adaptive_mean("adaptive_avg_pool2d", 2, x, output_size)


@batch_optional(1)
def adaptive_avg_pool1d(x: Tensor, output_size: AdaptiveSize) -> Tensor:
    """As `adaptive_avg_pool2d` over one spatial dim: (N, C, L) or (C, L)."""
    return _adaptive_mean("adaptive_avg_pool1d", 1, x, output_size)


@batch_optional(3)
def adaptive_avg_pool3d(x: Tensor, output_size: AdaptiveSize) -> Tensor:
    """As `adaptive_avg_pool2d` over three: (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_mean("adaptive_avg_pool3d", 3, x, output_size)


def _adaptive_mean(name: str, axes: int, x: Tensor, output_size: AdaptiveSize) -> Tensor:
    size = _adaptive_size(name, axes, x, output_size)
    if set(size) == {1}:
        return mean(x, tuple(range(2, 2 + axes)), keepdim=True)
    if kernel := _even_windows(x, size):
        return _averaged(name, axes, x, kernel, None, 0, False, True, None)
    xp = backend.array_module(x.array)
    return resample(x, matrices=tuple(mean_matrix(xp, n, out) for n, out in zip(x.shape[2:], size, strict=True)))


@batch_optional(2)
def adaptive_max_pool2d(x: Tensor, output_size: AdaptiveSize, return_indices: bool = False) -> Any:
    """The largest numbers of so many windows that cover x (N, C, H, W) evenly, as for `adaptive_avg_pool2d`."""
    return _adaptive_largest("adaptive_max_pool2d", 2, x, output_size, return_indices)


@batch_optional(1)
def adaptive_max_pool1d(x: Tensor, output_size: AdaptiveSize, return_indices: bool = False) -> Any:
    """As `adaptive_max_pool2d` over one spatial dim: (N, C, L) or (C, L)."""
    return _adaptive_largest("adaptive_max_pool1d", 1, x, output_size, return_indices)


@batch_optional(3)
def adaptive_max_pool3d(x: Tensor, output_size: AdaptiveSize, return_indices: bool = False) -> Any:
    """As `adaptive_max_pool2d` over three: (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_largest("adaptive_max_pool3d", 3, x, output_size, return_indices)


def _adaptive_largest(name: str, axes: int, x: Tensor, output_size: AdaptiveSize, return_indices: bool) -> Any:
    size = _adaptive_size(name, axes, x, output_size)
    if kernel := _even_windows(x, size):
        return _largest(name, axes, x, kernel, None, 0, 1, False, return_indices)
    indices = _argmax_of_windows(x, size=size)
    n, channels, *spatial = x.shape
    cells = _reshape(x, shape=(n, channels, math.prod(spatial)))
    chosen = _reshape(indices, shape=(n, channels, math.prod(size)))
    z = _reshape(gather(cells, 2, chosen), shape=(n, channels, *size))
    return ValuesAndIndices(z, indices) if return_indices else z


@primitive(differentiable=False)
def _argmax_of_windows(xp, x, *, size):
    """Where the largest x of each adaptive window lies, its cells counted row by row"""
    (n, channels), spatial = x.shape[:2], x.shape[2:]
    places = xp.arange(math.prod(spatial)).reshape(spatial)
    indices = xp.empty((n, channels, *size), "int64")
    cuts = [spans(length, count) for length, count in zip(spatial, size, strict=True)]
    for o in itertools.product(*map(range, size)):
        window = tuple(slice(*cuts[axis][i]) for axis, i in enumerate(o))
        cells, under, here = places[window].reshape(-1), (..., *window), (..., *o)
        indices[here] = cells[x[under].reshape(n, channels, len(cells)).argmax(2)]
    return indices


def _even_windows(x: Tensor, size: Sizes) -> Sizes | None:
    """The kernel size, where the windows are all of one size and don't overlap."""
    spatial = x.shape[2:]
    if any(n % out for n, out in zip(spatial, size, strict=True)):
        return None
    return tuple(n // out for n, out in zip(spatial, size, strict=True))


def _adaptive_size(name: str, axes: int, x: Tensor, size: AdaptiveSize) -> Sizes:
    if len(x.shape) != axes + 2 or 0 in x.shape[2:]:
        raise ValueError(f"{name}: expects {IMAGES[axes]}, with or without the batch, and pixels, got shape {x.shape}")
    wanted = tuple(size) if isinstance(size, Sequence) else (size,) * axes
    wanted = wanted * axes if len(wanted) == 1 else wanted
    if len(wanted) != axes:
        raise ValueError(f"{name}: output_size={size!r} must be one number, or one for each of {axes} dims")
    found = tuple(n if out is None else out for n, out in zip(x.shape[2:], wanted, strict=True))
    if min(found) < 1:
        where = {1: "", 2: " on both axes", 3: " on all axes"}[axes]
        raise ValueError(f"{name}: output_size={size!r} must be at least 1{where}")
    return found
