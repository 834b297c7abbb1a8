"""Pooling: windows of an image become single numbers.

Max-pooling *chooses, then gathers*. Which cell of a window is the largest is a constant choice, without a derivative;
reading the chosen cells is linear, and its transpose adds back to them. The kernel does both in one pass; its rule
needs the choice alone. Mean-pooling is linear from the start.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.backend import windows
from tinygrad_med.backend.geometry import IntOrPair, Pair, pool_geometry
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.modes import is_grad_enabled
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.indexing import gather
from tinygrad_med.ops.reduce import ValuesAndIndices, half_in_single, mean
from tinygrad_med.ops.resize import mean_matrix, resample, spans
from tinygrad_med.ops.shape import _reshape

# The largest of each window -----------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """The windows of a max-pooling; `backend/geometry.py` says what each means."""

    kernel_size: IntOrPair
    stride: IntOrPair | None
    padding: IntOrPair
    dilation: IntOrPair
    ceil_mode: bool


@primitive
def _max_pool2d(xp, x, *, at, taps=None, largest=None):
    """z = the x that each window has chosen: the one at its tap; without `taps` (nobody will ask) the largest

    ∂x: g added at the chosen cells
    """
    if taps is None:
        return kernels(xp).max_pool2d(x, **at._asdict(), choice=False)[0]
    if largest is not None:  # whoever made the choice has seen them
        return largest
    return kernels(xp).max_pool2d_gather(x, taps, **at._asdict())


@primitive
def _max_pool2d_scatter(xp, y, *, taps, input_size, at):
    """z = zeros, with each y added at the cell that its window has chosen

    ∂y: g at the chosen cells
    """
    return kernels(xp).max_pool2d_scatter(y, taps, input_size=input_size, **at._asdict())


_max_pool2d.vjp(x=lambda g, taps, x_shape, at: _max_pool2d_scatter(g, taps=taps, input_size=x_shape[2:], at=at))
_max_pool2d_scatter.vjp(y=lambda g, taps, at: _max_pool2d(g, taps=taps, at=at))


def max_pool2d(
    x: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest number of each window; padding never wins. Of equal ones the first gets the whole gradient.

    Args:
        x: (N, C, H, W).
        kernel_size, stride, padding, dilation: a number, or one for rows and one for columns; the stride is that of
            the kernel if it is not given. Padding is at most half the kernel.
        ceil_mode: also take a last window that hangs over the end.
        return_indices: also return where the chosen cells are, row · W + column, as an int64 tensor.

    Returns:
        (N, C, OH, OW), or two of them.
    """
    at = Windows(kernel_size, stride, padding, dilation, ceil_mode)
    if not (return_indices or (is_grad_enabled() and getattr(x, "requires_grad", False))):
        return _max_pool2d(x, at=at)  # nobody will ask which cell won
    xp = backend.array_module(x.array)
    largest, taps = kernels(xp).max_pool2d(x.array, **at._asdict(), choice=True)
    z = _max_pool2d(x, at=at, taps=taps, largest=largest)
    if not return_indices:
        return z
    return ValuesAndIndices(z, wrap(windows.positions(xp, taps, pool_geometry(x.shape, **at._asdict()))))


# The mean of each window --------------------------------------------------------------------------------------------


class MeanWindows(NamedTuple):
    """The windows of a mean-pooling, and whether padding counts as zeros."""

    kernel_size: IntOrPair
    stride: IntOrPair | None
    padding: IntOrPair
    ceil_mode: bool
    count_include_pad: bool


@half_in_single
@primitive
def _avg_pool2d(xp, x, *, at):
    """z = Σ x / n over each window of n cells

    ∂x: Σ g / n over the windows that a cell lies in
    """
    return kernels(xp).avg_pool2d(x, **at._asdict())


@half_in_single
@primitive
def _avg_pool2d_input(xp, y, *, input_size, at):
    """z = Σ y / n over the windows, of n cells each, that a cell lies in

    ∂y: Σ g / n over each window
    """
    return kernels(xp).avg_pool2d_input(y, input_size=input_size, **at._asdict())


_avg_pool2d.vjp(x=lambda g, x_shape, at: _avg_pool2d_input(g, input_size=x_shape[2:], at=at))
_avg_pool2d_input.vjp(y=lambda g, at: _avg_pool2d(g, at=at))


def avg_pool2d(
    x: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window; padding counts as zeros, or, without `count_include_pad`, not at all.

    Args:
        x: (N, C, H, W).
        kernel_size, stride, padding, ceil_mode: as for `max_pool2d`.

    Returns:
        (N, C, OH, OW).
    """
    return _avg_pool2d(x, at=MeanWindows(kernel_size, stride, padding, ceil_mode, count_include_pad))


# Adaptive: as many windows as asked for -----------------------------------------------------------------------------


def adaptive_avg_pool2d(x: Tensor, output_size: int | tuple[int | None, int | None]) -> Tensor:
    """The means of so many windows that cover x (N, C, H, W) evenly; a size of `None` keeps that of x.

    Window i of n goes from ⌊i · H / n⌋ to ⌈(i + 1) · H / n⌉. So the means along an axis are a matrix times x.
    """
    size = _adaptive_size("adaptive_avg_pool2d", x, output_size)
    if size == (1, 1):
        return mean(x, (2, 3), keepdim=True)
    if kernel := _even_windows(x, size):
        return avg_pool2d(x, kernel)
    xp = backend.array_module(x.array)
    return resample(x, matrices=tuple(mean_matrix(xp, n, out) for n, out in zip(x.shape[2:], size, strict=True)))


def adaptive_max_pool2d(
    x: Tensor, output_size: int | tuple[int | None, int | None], return_indices: bool = False
) -> Any:
    """The largest numbers of so many windows that cover x (N, C, H, W) evenly, as for `adaptive_avg_pool2d`."""
    size = _adaptive_size("adaptive_max_pool2d", x, output_size)
    if kernel := _even_windows(x, size):
        return max_pool2d(x, kernel, return_indices=return_indices)
    indices = _argmax_of_windows(x, size=size)
    n, channels, height, width = x.shape
    cells = _reshape(x, shape=(n, channels, height * width))
    chosen = _reshape(indices, shape=(n, channels, size[0] * size[1]))
    z = _reshape(gather(cells, 2, chosen), shape=(n, channels, *size))
    return ValuesAndIndices(z, indices) if return_indices else z


@primitive(differentiable=False)
def _argmax_of_windows(xp, x, *, size):
    """Where the largest x of each adaptive window lies: row · W + column"""
    height, width = x.shape[2:]
    indices = xp.empty((*x.shape[:2], *size), "int64")
    for o, (top, bottom) in enumerate(spans(height, size[0])):
        for p, (left, right) in enumerate(spans(width, size[1])):
            window = x[:, :, top:bottom, left:right]
            best = window.reshape(*x.shape[:2], (bottom - top) * (right - left)).argmax(2)
            indices[:, :, o, p] = (top + best // (right - left)) * width + left + best % (right - left)
    return indices


def _even_windows(x: Tensor, size: Pair) -> Pair | None:
    """The kernel size, where the windows are all of one size and don't overlap."""
    height, width = x.shape[2:]
    return None if height % size[0] or width % size[1] else (height // size[0], width // size[1])


def _adaptive_size(name: str, x: Tensor, size: Any) -> Pair:
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(f"{name}: expects (N, C, H, W) with pixels, got shape {x.shape}")
    height, width = (size, size) if size is None or isinstance(size, int) else size
    height, width = height or (x.shape[2] if height is None else 0), width or (x.shape[3] if width is None else 0)
    if height < 1 or width < 1:
        raise ValueError(f"{name}: output_size={size!r} must be at least 1 on both axes")
    return height, width
