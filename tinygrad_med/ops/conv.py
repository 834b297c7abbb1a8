"""Convolution: one trilinear form with three faces, which are each other's derivatives.

With images x, weights w and anything y of the output's shape, all that convolution is stands in one number,

    ⟨conv2d(x, w), y⟩ = ⟨x, conv2d_input(y, w)⟩ = ⟨w, conv2d_weight(x, y)⟩

linear in each of the three. A face is that number without one factor; the derivative of a face with respect to one of
its operands is the face without that operand. So three functions hold their own six rules, and every derivative of
convolution, of any order, is a convolution again.

A transposed convolution is the face `conv2d_input`, used forward. `unfold` and `fold` cut out the windows and add them
back: the other adjoint pair by which convolution can be written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinygrad_med.backend import windows
from tinygrad_med.backend.geometry import (
    Geometry,
    IntOrPair,
    Padding,
    Pair,
    conv_geometry,
    conv_transpose_size,
)
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.shape import _reshape, expand, pad


class Windows(NamedTuple):
    """Where the windows of a convolution lie; `backend/geometry.py` says what each means."""

    stride: IntOrPair
    padding: Padding
    dilation: IntOrPair
    groups: int


# The three faces ----------------------------------------------------------------------------------------------------


@primitive
def _conv2d(xp, x, weight, *, at):
    """z[n,k,o,p] = Σ x̄[n,c, o·s + i·d, p·s + j·d] · weight[k,c,i,j] over c, i, j, where x̄ is x with its padding

    ∂x: conv2d_input(g, weight)
    ∂weight: conv2d_weight(x, g)
    """
    return kernels(xp).conv2d(x, weight, **at._asdict())


@primitive
def _conv2d_input(xp, y, weight, *, input_size, at):
    """z[n,c,r,q] = Σ y[n,k,o,p] · weight[k,c,i,j] over all windows (o, p) that read x[n,c,r,q] at their tap (i, j)

    ∂y: conv2d(g, weight)
    ∂weight: conv2d_weight(g, y)
    """
    return kernels(xp).conv2d_input(y, weight, input_size=input_size, **at._asdict())


@primitive
def _conv2d_weight(xp, x, y, *, kernel_size, at):
    """z[k,c,i,j] = Σ x̄[n,c, o·s + i·d, p·s + j·d] · y[n,k,o,p] over n, o, p

    ∂x: conv2d_input(y, g)
    ∂y: conv2d(x, g)
    """
    return kernels(xp).conv2d_weight(x, y, kernel_size=kernel_size, **at._asdict())


_conv2d.vjp(
    x=lambda g, weight, x_shape, at: _conv2d_input(g, weight, input_size=x_shape[2:], at=at),
    weight=lambda g, x, weight_shape, at: _conv2d_weight(x, g, kernel_size=weight_shape[2:], at=at),
)
_conv2d_input.vjp(
    y=lambda g, weight, at: _conv2d(g, weight, at=at),
    weight=lambda g, y, weight_shape, at: _conv2d_weight(g, y, kernel_size=weight_shape[2:], at=at),
)
_conv2d_weight.vjp(
    x=lambda g, y, x_shape, at: _conv2d_input(y, g, input_size=x_shape[2:], at=at),
    y=lambda g, x, at: _conv2d(x, g, at=at),
)


# With a bias, which the kernel adds while its result is in the cache --------------------------------------------------


@primitive
def _conv2d_bias(xp, x, weight, bias, *, at):
    """z[n,k,o,p] = conv2d(x, weight)[n,k,o,p] + bias[k]

    ∂x: conv2d_input(g, weight)
    ∂weight: conv2d_weight(x, g)
    ∂bias: Σ g over all but the channels
    """
    return kernels(xp).conv2d(x, weight, bias, **at._asdict())


@primitive
def channel_sum(xp, x):
    """z[c] = Σ x[n,c,…] over all dims but the channels

    ∂x: g broadcast to the shape of x
    """
    return kernels(xp).channel_sum(x)


_conv2d_bias.vjp(
    **{operand: rule.function for operand, rule in _conv2d.rules.items()},
    bias=lambda g: channel_sum(g),
)
_conv2d_bias.__name__ = _conv2d.__name__  # for those who use it there is one operation
channel_sum.vjp(x=lambda g, x_shape: expand(per_channel(g, len(x_shape)), x_shape))


def per_channel(v: Any, ndim: int) -> Any:
    """v (C,) as (C, 1, …), which broadcasts over the dims of a tensor (N, C, …) of `ndim` dims."""
    return _reshape(v, shape=(-1,) + (1,) * (ndim - 2))


# The public functions -----------------------------------------------------------------------------------------------


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation of images with kernels, plus a bias per output channel.

    Args:
        x: images, (N, C, H, W).
        weight: kernels, (K, C / groups, kh, kw).
        bias: (K,), or none.
        stride: how far a window is from the next one: a number, or one for rows and one for columns.
        padding: rows and columns of zeros on each side; `"valid"` for none, `"same"` for as many as keep H and W (the
            odd one goes to the end).
        dilation: how far the taps of a window are from each other.
        groups: the channels in, and those out, are cut into so many groups, which don't mix.

    Returns:
        (N, K, OH, OW), channels last in memory.

    Raises:
        ValueError: for shapes that don't fit, with the shapes and the remedy.
    """
    at = Windows(stride, padding, dilation, groups)
    if bias is None:
        return _conv2d(x, weight, at=at)
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"conv2d: bias {bias.shape} must have one value for each output channel of weight {weight.shape}"
        )
    return _conv2d_bias(x, weight, bias, at=at)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Tensor:
    """The transpose of `conv2d` as a linear map: every number of x spreads a kernel over the output.

    Args:
        x: (N, C, H, W).
        weight: (C, K / groups, kh, kw); that of the convolution, from K to C channels, of which this is the transpose.
        bias: (K,), or none.
        stride, padding, groups, dilation: those of that convolution.
        output_padding: several heights (widths) become H (W) under a strided convolution; by how much this one is
            above the smallest.

    Returns:
        (N, K, (H − 1) · stride − 2 · padding + dilation · (kh − 1) + 1 + output_padding, likewise for the columns).
    """
    options: Any = {"stride": stride, "dilation": dilation, "groups": groups}
    size = conv_transpose_size(x.shape, weight.shape, padding=padding, output_padding=output_padding, **options)
    if all(extra < step for extra, step in zip(_pair(output_padding), _pair(stride), strict=True)):
        z = _conv2d_input(x, weight, input_size=size, at=Windows(stride, padding, dilation, groups))
    else:  # lines that no window reaches: by the definition, take all that the kernels reach, then crop or pad
        whole = conv_transpose_size(x.shape, weight.shape, **options)
        z = _conv2d_input(x, weight, input_size=whole, at=Windows(stride, 0, dilation, groups))
        (ph, pw), (eh, ew) = _pair(padding), _pair(output_padding)
        z = pad(z, (-pw, ew - pw, -ph, eh - ph))
    if bias is None:
        return z
    if bias.shape != z.shape[1:2]:
        raise ValueError(
            f"conv_transpose2d: bias {bias.shape} must have one value for each of the {z.shape[1]} output channels "
            f"of weight {weight.shape} with groups={groups}"
        )
    return z + per_channel(bias, 4)


# Windows, cut out and added back --------------------------------------------------------------------------------------


@primitive
def _unfold(xp, x, *, geometry):
    """z[n, (c,i,j), (o,p)] = x̄[n,c, o·s + i·d, p·s + j·d], where x̄ is x with its padding

    ∂x: fold(g)
    """
    n, channels = x.shape[:2]
    (kh, kw), (oh, ow) = geometry.kernel, geometry.out
    columns = xp.empty((n, channels, kh, kw, oh, ow), x.dtype)
    windows.read(xp, x, geometry, out=columns.transpose(2, 3, 0, 1, 4, 5))
    return columns.reshape(n, channels * kh * kw, oh * ow)


@primitive
def _fold(xp, x, *, geometry):
    """z[n,c,r,q] = Σ x[n, (c,i,j), (o,p)] over all windows (o, p) and taps (i, j) that lie on the cell (r, q)

    ∂x: unfold(g)
    """
    n, rows = x.shape[:2]
    (kh, kw), (oh, ow) = geometry.kernel, geometry.out
    columns = x.reshape(n, rows // (kh * kw), kh, kw, oh, ow)
    return windows.add_back(xp, columns.transpose(2, 3, 0, 1, 4, 5), geometry)


_unfold.vjp(x=lambda g, geometry: _fold(g, geometry=geometry))
_fold.vjp(x=lambda g, geometry: _unfold(g, geometry=geometry))


def unfold(
    x: Tensor, kernel_size: IntOrPair, dilation: IntOrPair = 1, padding: IntOrPair = 0, stride: IntOrPair = 1
) -> Tensor:
    """The numbers under each window as a column: (N, C, H, W) → (N, C · kh · kw, windows)."""
    if x.ndim != 4:
        raise ValueError(f"unfold: expects (N, C, H, W), got shape {x.shape}")
    return _unfold(x, geometry=_window_geometry("unfold", x.shape[2:], kernel_size, dilation, padding, stride))


def fold(
    x: Tensor,
    output_size: IntOrPair,
    kernel_size: IntOrPair,
    dilation: IntOrPair = 1,
    padding: IntOrPair = 0,
    stride: IntOrPair = 1,
) -> Tensor:
    """The transpose of `unfold`: columns (N, C · kh · kw, windows) added back to images (N, C, *output_size)."""
    size = _pair(output_size)
    geometry = _window_geometry("fold", size, kernel_size, dilation, padding, stride)
    taps, count = geometry.kernel[0] * geometry.kernel[1], geometry.out[0] * geometry.out[1]
    if x.ndim != 3 or x.shape[1] % taps or x.shape[2] != count:
        raise ValueError(
            f"fold: expects (N, C · {geometry.kernel[0]} · {geometry.kernel[1]}, {count}) for an output of "
            f"{size[0]}×{size[1]}, got shape {x.shape}"
        )
    return _fold(x, geometry=geometry)


def _window_geometry(
    name: str, size: Pair, kernel_size: IntOrPair, dilation: IntOrPair, padding: IntOrPair, stride: IntOrPair
) -> Geometry:
    shapes = (0, 1, *size), (1, 1, *_pair(kernel_size))
    return conv_geometry(*shapes, stride=stride, padding=padding, dilation=dilation, name=name)


def _pair(value: IntOrPair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
