"""Where windows lie: the sizes of convolution and pooling, and every error about them.

This file knows shapes only: no array, no device. The CPU kernels, the GPU kernels and the operations all ask it, so a
rule about sizes (padding="same", ceil_mode, what counts as too small) and the text of its error stand here once.

One axis of length `size` with `before` and `after` cells of padding, a kernel of `k` taps that lie `dilation` apart,
and a step of `stride` has

    out = ⌊(before + size + after − dilation·(k − 1) − 1) / stride⌋ + 1

windows; output cell o reads the input cells o·stride − before + dilation·i for the taps i = 0 … k−1.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Pair: TypeAlias = tuple[int, int]
IntOrPair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]


class Geometry(NamedTuple):
    """Windows over the two spatial axes; every field holds the value for the rows and the value for the columns."""

    size: Pair  # (H, W) of the input
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]  # ((top, bottom), (left, right))
    dilation: Pair
    out: Pair  # (OH, OW)

    @property
    def extent(self) -> Pair:
        """How many input cells one window spans, holes of the dilation included."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1


def conv_geometry(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    name: str = "conv2d",
) -> Geometry:
    """Check the operands of a convolution and say where its windows lie.

    Args:
        x_shape: (N, C, H, W); N may be 0.
        w_shape: (K, C / groups, kh, kw).
        padding: cells on every side, a pair (rows, columns), a pair of pairs ((top, bottom), (left, right)), "valid"
            (none) or "same" (as many as keep H and W; the odd cell goes to the end, as PyTorch does).
        name: the operation that the errors name.

    Raises:
        ValueError: with the shapes and the remedy.
    """
    x_shape, w_shape = tuple(x_shape), tuple(w_shape)
    if len(x_shape) != 4:
        raise ValueError(
            f"{name}: x has {len(x_shape)} dims {x_shape}, expected 4: (N, C, H, W); "
            + ("add the batch dim with x.unsqueeze(0)" if len(x_shape) == 3 else "reshape x")
        )
    if len(w_shape) != 4:
        raise ValueError(f"{name}: weight has {len(w_shape)} dims {w_shape}, expected 4: (out, in / groups, kh, kw)")
    groups = _positive(name, "groups", groups)
    (_, channels, height, width), (out_channels, group_channels, *kernel) = x_shape, w_shape
    if out_channels % groups:
        raise ValueError(
            f"{name}: groups={groups} doesn't divide the {out_channels} output channels of weight {w_shape}; "
            f"choose a divisor of {out_channels}"
        )
    if channels != group_channels * groups:
        expected = group_channels * groups
        expects = f"{expected}" if groups == 1 else f"{group_channels} in each of {groups} groups, {expected}"
        remedy = f"give x {expected} channel" + "s" * (expected != 1)
        if group_channels and channels % group_channels == 0 and out_channels % (channels // group_channels) == 0:
            remedy += f" or pass groups={channels // group_channels}"
        raise ValueError(f"{name}: x has {channels} channels {x_shape}, weight expects {expects} {w_shape}; {remedy}")
    return _geometry(name, (height, width), (kernel[0], kernel[1]), stride, padding, dilation)


def pool_geometry(
    x_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    *,
    name: str = "max_pool2d",
) -> Geometry:
    """Check the operand of a pooling and say where its windows lie; stride=None means the kernel size.

    With `ceil_mode` a last window may hang over the end, provided that it starts inside the input or the padding
    before it. Padding is at most half the kernel, as in PyTorch, so that no window lies in padding alone.
    """
    x_shape = tuple(x_shape)
    if len(x_shape) != 4:
        raise ValueError(
            f"{name}: x has {len(x_shape)} dims {x_shape}, expected 4: (N, C, H, W); "
            + ("add the batch dim with x.unsqueeze(0)" if len(x_shape) == 3 else "reshape x")
        )
    kernel = _pair(name, "kernel_size", kernel_size, minimum=1)
    pads = _pair(name, "padding", padding, minimum=0)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise ValueError(f"{name}: padding={pads} is more than half of kernel_size={kernel}; use at most half")
    return _geometry(
        name, (x_shape[2], x_shape[3]), kernel, kernel if stride is None else stride, pads, dilation, ceil_mode
    )


def conv_transpose_size(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Pair:
    """(H, W) of conv_transpose2d's output: the input size of the convolution whose input gradient it is.

    x_shape (N, K, OH, OW), w_shape (K, C / groups, kh, kw): K channels in, C out. Several input sizes of a strided
    convolution give the same output size; `output_padding` says by how much ours exceeds the smallest.
    """
    name = "conv_transpose2d"
    x_shape, w_shape = tuple(x_shape), tuple(w_shape)
    if len(x_shape) != 4 or len(w_shape) != 4:
        raise ValueError(f"{name}: x {x_shape} and weight {w_shape} must have 4 dims: (N, in, H, W), (in, out, kh, kw)")
    if x_shape[1] != w_shape[0]:
        raise ValueError(
            f"{name}: x has {x_shape[1]} channels {x_shape}, weight expects {w_shape[0]} {w_shape}; "
            "its weight is (in, out / groups, kh, kw)"
        )
    groups = _positive(name, "groups", groups)
    if w_shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} doesn't divide the {w_shape[0]} input channels of weight {w_shape}")
    strides, dilations = _pair(name, "stride", stride, 1), _pair(name, "dilation", dilation, 1)
    pads, extra = _pair(name, "padding", padding, 0), _pair(name, "output_padding", output_padding, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ValueError(f"{name}: output_padding={extra} must be less than stride={strides} or dilation={dilations}")
    height, width = (
        (o - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for o, s, p, d, k, e in zip(x_shape[2:], strides, pads, dilations, w_shape[2:], extra, strict=True)
    )
    if height < 1 or width < 1:
        raise ValueError(f"{name}: x {x_shape} with padding={pads} gives an output of {height}×{width}; pad less")
    return height, width


def _geometry(
    name: str,
    size: Pair,
    kernel: Pair,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    ceil_mode: bool = False,
) -> Geometry:
    strides, dilations = _pair(name, "stride", stride, 1), _pair(name, "dilation", dilation, 1)
    if min(kernel) < 1:
        raise ValueError(f"{name}: the kernel is {kernel[0]}×{kernel[1]}; it needs at least one tap on both axes")
    pads = _pads(name, padding, kernel, strides, dilations)
    extent = (dilations[0] * (kernel[0] - 1) + 1, dilations[1] * (kernel[1] - 1) + 1)
    padded = (size[0] + sum(pads[0]), size[1] + sum(pads[1]))
    if min(size) < 1 or extent[0] > padded[0] or extent[1] > padded[1]:
        raise ValueError(
            f"{name}: the kernel covers {extent[0]}×{extent[1]}, more than the padded input {padded[0]}×{padded[1]} "
            f"(input {size[0]}×{size[1]}, padding {pads}); use a smaller kernel or dilation, or a larger input"
        )
    rows, columns = (
        _out(n, e, s, before, after, ceil_mode)
        for n, e, s, (before, after) in zip(size, extent, strides, pads, strict=True)
    )
    return Geometry(size, kernel, strides, pads, dilations, (rows, columns))


def _out(size: int, extent: int, stride: int, before: int, after: int, ceil_mode: bool) -> int:
    room = before + size + after - extent
    if not ceil_mode:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= size + before else out  # the last window must start inside


def _pads(name: str, padding: Padding, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"{name}: padding='same' needs stride 1, got stride={stride}; give the padding in numbers")
        (top, bottom), (left, right) = (
            (d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for d, k in zip(dilation, kernel, strict=True)
        )
        return (top, bottom), (left, right)
    if isinstance(padding, str):
        raise ValueError(f"{name}: padding={padding!r} is unknown; use 'same', 'valid', a number or a pair")
    if isinstance(padding, Sequence) and len(padding) == 2 and all(isinstance(side, Sequence) for side in padding):
        rows, columns = (_pair(name, "padding", side, 0) for side in padding)  # type: ignore[arg-type]
        return rows, columns
    rows_pad, columns_pad = _pair(name, "padding", padding, 0)  # type: ignore[arg-type]
    return (rows_pad, rows_pad), (columns_pad, columns_pad)


def _pair(name: str, what: str, value: IntOrPair, minimum: int) -> Pair:
    try:
        first, second = value if isinstance(value, Sequence) else (value, value)
        pair = operator.index(first), operator.index(second)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {what}={value!r} is neither an integer nor a pair of integers") from None
    if min(pair) < minimum:
        raise ValueError(f"{name}: {what}={value!r} must be at least {minimum} on both axes")
    return pair


def _positive(name: str, what: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: {what}={value!r} is not an integer") from None
    if number < 1:
        raise ValueError(f"{name}: {what}={value!r} must be at least 1")
    return number
