"""Convolution: one trilinear form and the three functions in it, which are each other's derivatives.

With images x, weights w and anything y of the output's shape, all that convolution is stands in one number,

    ⟨conv(x, w), y⟩ = ⟨x, conv_input(y, w)⟩ = ⟨w, conv_weight(x, y)⟩

linear in each of the three. Each function is that number without one factor; the derivative of a function with respect
to one of its operands is the function without that operand. So three functions hold their own six rules, and every
derivative of convolution, of any order, is a convolution again.

A transposed convolution is `conv_input`, used forward. `unfold` and `fold` cut out the windows and add them back: the
other adjoint pair by which convolution can be written. All of them work over one, two or three spatial dims; where the
windows lie says a `Geometry`, made and checked once, where a public function is called.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.backend import windows
from tinygrad_med.backend.geometry import (
    Geometry,
    Ints,
    Padding,
    Sizes,
    by,
    conv_geometry,
    conv_transpose_geometry,
    per_axis,
)
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.batch import batch_optional
from tinygrad_med.ops.shape import _reshape, expand

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "fold", "unfold"]


# The three functions ------------------------------------------------------------------------------------------------


@primitive
def _conv(xp, x, weight, *, geometry):
    """z[n,k,o,p] = Σ x̄[n,c, o·s + i·d, p·s + j·d] · weight[k,c,i,j] over c, i, j, where x̄ is x with its padding

    ∂x: conv_input(g, weight)
    ∂weight: conv_weight(x, g)
    """
    return kernels(xp).conv(x, weight, geometry=geometry)


@primitive
def _conv_input(xp, y, weight, *, geometry):
    """z[n,c,r,q] = Σ y[n,k,o,p] · weight[k,c,i,j] over all windows (o, p) that read x[n,c,r,q] at their tap (i, j)

    ∂y: conv(g, weight)
    ∂weight: conv_weight(g, y)
    """
    return kernels(xp).conv_input(y, weight, geometry=geometry)


@primitive
def _conv_weight(xp, x, y, *, geometry):
    """z[k,c,i,j] = Σ x̄[n,c, o·s + i·d, p·s + j·d] · y[n,k,o,p] over n, o, p

    ∂x: conv_input(y, g)
    ∂y: conv(x, g)
    """
    return kernels(xp).conv_weight(x, y, geometry=geometry)


_conv.vjp(
    x=lambda g, weight, geometry: _conv_input(g, weight, geometry=geometry),
    weight=lambda g, x, geometry: _conv_weight(x, g, geometry=geometry),
)
_conv_input.vjp(
    y=lambda g, weight, geometry: _conv(g, weight, geometry=geometry),
    weight=lambda g, y, geometry: _conv_weight(g, y, geometry=geometry),
)
_conv_weight.vjp(
    x=lambda g, y, geometry: _conv_input(y, g, geometry=geometry),
    y=lambda g, x, geometry: _conv(x, g, geometry=geometry),
)


# With a bias, which the kernel adds while its result is in the cache --------------------------------------------------


@primitive
def _conv_bias(xp, x, weight, bias, *, geometry):
    """z[n,k,o,p] = conv(x, weight)[n,k,o,p] + bias[k]

    ∂x: conv_input(g, weight)
    ∂weight: conv_weight(x, g)
    ∂bias: Σ g over all but the channels
    """
    return kernels(xp).conv(x, weight, bias, geometry=geometry)


@primitive
def channel_sum(xp, x):
    """z[c] = Σ x[n,c,…] over all dims but the channels

    ∂x: g broadcast to the shape of x
    """
    return kernels(xp).channel_sum(x)


_conv_bias.vjp(
    **{operand: rule.function for operand, rule in _conv.rules.items()},
    bias=lambda g: channel_sum(g),
)
_conv_bias.__name__ = _conv.__name__  # for those who use it there is one operation
channel_sum.vjp(x=lambda g, x_shape: expand(per_channel(g, len(x_shape)), x_shape))


def per_channel(v: Any, ndim: int) -> Any:
    """v (C,) as (C, 1, …), which broadcasts over the dims of a tensor (N, C, …) of `ndim` dims."""
    return _reshape(v, shape=(-1,) + (1,) * (ndim - 2))


# The public functions -----------------------------------------------------------------------------------------------


@batch_optional(2)
def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of images with kernels, plus a bias per output channel.

    Args:
        x: images, (N, C, H, W), or one image, (C, H, W).
        weight: kernels, (K, C / groups, kh, kw).
        bias: (K,), or none.
        stride: how far a window is from the next one: a number, or one for rows and one for columns.
        padding: rows and columns of zeros on each side; `"valid"` for none, `"same"` for as many as keep H and W (the
            odd one goes to the end).
        dilation: how far the taps of a window are from each other.
        groups: the channels in, and those out, are cut into so many groups, which don't mix.

    Returns:
        (N, K, OH, OW), or (K, OH, OW); channels last in memory.

        In float32 a kernel of 3×3 or 5×5 with stride 1 is computed by Winograd's algorithm on the CPU, unless
        `backend.cpu.set_winograd(False)` (or TINYGRAD_MED_WINOGRAD=0) forbids it.

    Raises:
        ValueError: for shapes that don't fit, with the shapes and the remedy.
    """
    return _convolved("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


@batch_optional(1)
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """As `conv2d` over one spatial dim: x (N, C, L) or (C, L), weight (K, C / groups, kl) → (N, K, OL)."""
    return _convolved("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


@batch_optional(3)
def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """As `conv2d` over three: x (N, C, D, H, W) or (C, D, H, W), weight (K, C / groups, kd, kh, kw)."""
    return _convolved("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


def _convolved(name: str, axes: int, x: Tensor, weight: Tensor, bias: Tensor | None, *where: Any) -> Tensor:
    stride, padding, dilation, groups = where
    options: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    geometry = conv_geometry(x.shape, weight.shape, **options, name=name, axes=axes)
    if bias is None:
        return _conv(x, weight, geometry=geometry)
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"{name}: bias {bias.shape} must have one value for each output channel of weight {weight.shape}"
        )
    return _conv_bias(x, weight, bias, geometry=geometry)


@batch_optional(2)
def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The transpose of `conv2d` as a linear map: every number of x spreads a kernel over the output.

    Args:
        x: (N, C, H, W), or (C, H, W).
        weight: (C, K / groups, kh, kw); that of the convolution, from K to C channels, of which this is the transpose.
        bias: (K,), or none.
        stride, padding, groups, dilation: those of that convolution.
        output_padding: several heights (widths) become H (W) under a strided convolution; by how much this one is
            above the smallest.

    Returns:
        (N, K, (H − 1) · stride − 2 · padding + dilation · (kh − 1) + 1 + output_padding, likewise for the columns).
    """
    where = stride, padding, output_padding, groups, dilation
    return _transposed("conv_transpose2d", 2, x, weight, bias, *where)


@batch_optional(1)
def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """As `conv_transpose2d` over one spatial dim: x (N, C, L) or (C, L), weight (C, K / groups, kl)."""
    where = stride, padding, output_padding, groups, dilation
    return _transposed("conv_transpose1d", 1, x, weight, bias, *where)


@batch_optional(3)
def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """As `conv_transpose2d` over three: x (N, C, D, H, W) or (C, D, H, W), weight (C, K / groups, kd, kh, kw)."""
    where = stride, padding, output_padding, groups, dilation
    return _transposed("conv_transpose3d", 3, x, weight, bias, *where)


def _transposed(name: str, axes: int, x: Tensor, weight: Tensor, bias: Tensor | None, *where: Any) -> Tensor:
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    options: Any = dict(zip(names, where, strict=True))
    geometry = conv_transpose_geometry(x.shape, weight.shape, **options, name=name, axes=axes)
    z = _conv_input(x, weight, geometry=geometry)
    if bias is None:
        return z
    if bias.shape != z.shape[1:2]:
        raise ValueError(
            f"{name}: bias {bias.shape} must have one value for each of the {z.shape[1]} output channels "
            f"of weight {weight.shape} with groups={geometry.groups}"
        )
    return z + per_channel(bias, axes + 2)


# Windows, cut out and added back --------------------------------------------------------------------------------------


@primitive
def _unfold(xp, x, *, geometry):
    """z[n, (c,i,j), (o,p)] = x̄[n,c, o·s + i·d, p·s + j·d], where x̄ is x with its padding

    ∂x: fold(g)
    """
    (n, channels), axes = x.shape[:2], len(geometry.kernel)
    columns = xp.empty((n, channels, *geometry.kernel, *geometry.out), x.dtype)
    kernel_first = (*range(2, 2 + axes), 0, 1, *range(2 + axes, 2 + 2 * axes))
    windows.read(xp, x, geometry, out=columns.transpose(kernel_first))
    return columns.reshape(n, channels * math.prod(geometry.kernel), math.prod(geometry.out))


@primitive
def _fold(xp, x, *, geometry):
    """z[n,c,r,q] = Σ x[n, (c,i,j), (o,p)] over all windows (o, p) and taps (i, j) that lie on the cell (r, q)

    ∂x: unfold(g)
    """
    (n, rows), axes = x.shape[:2], len(geometry.kernel)
    columns = x.reshape(n, rows // math.prod(geometry.kernel), *geometry.kernel, *geometry.out)
    kernel_first = (*range(2, 2 + axes), 0, 1, *range(2 + axes, 2 + 2 * axes))
    return windows.add_back(xp, columns.transpose(kernel_first), geometry)


_unfold.vjp(x=lambda g, geometry: _fold(g, geometry=geometry))
_fold.vjp(x=lambda g, geometry: _unfold(g, geometry=geometry))


@batch_optional(2)
def unfold(x: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """The numbers under each window as a column: (N, C, H, W) → (N, C · kh · kw, windows), or without N."""
    if x.ndim != 4:
        raise ValueError(f"unfold: expects (N, C, H, W) or (C, H, W), got shape {x.shape}")
    return _unfold(x, geometry=_window_geometry("unfold", x.shape[2:], kernel_size, dilation, padding, stride))


@batch_optional(1)
def fold(
    x: Tensor,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Tensor:
    """The transpose of `unfold`: columns (N, C · kh · kw, windows) added back to images (N, C, *output_size)."""
    size = per_axis(output_size, 2)
    geometry = _window_geometry("fold", size, kernel_size, dilation, padding, stride)
    taps, count = math.prod(geometry.kernel), math.prod(geometry.out)
    if x.ndim != 3 or x.shape[1] % taps or x.shape[2] != count:
        raise ValueError(
            f"fold: expects (N, C · {geometry.kernel[0]} · {geometry.kernel[1]}, {count}) for an output of "
            f"{by(size)}, got shape {x.shape}"
        )
    return _fold(x, geometry=geometry)


def _window_geometry(
    name: str, size: Sizes, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints
) -> Geometry:
    shapes = (0, 1, *size), (1, 1, *per_axis(kernel_size, len(size)))
    return conv_geometry(*shapes, stride=stride, padding=padding, dilation=dilation, name=name, axes=len(size))
