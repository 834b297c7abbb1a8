"""Where windows lie: the sizes of convolution and pooling, and every error about them.

This file knows shapes only: no array, no device. The operations ask it once and hand the answer, a `Geometry`, to the
kernels; so a rule about sizes (padding="same", ceil_mode, what counts as too small) and the text of its error stand
here once. It holds for one, two or three spatial axes alike.

One axis of length `size` with `before` and `after` cells of padding, a kernel of `k` taps that lie `dilation` apart,
and a step of `stride` has

    out = ⌊(before + size + after − dilation·(k − 1) − 1) / stride⌋ + 1

windows; output cell o reads the input cells o·stride − before + dilation·i for the taps i = 0 … k−1.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Sizes: TypeAlias = tuple[int, ...]
Ints: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]

IMAGES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
KERNELS = {1: "kl", 2: "kh, kw", 3: "kd, kh, kw"}


class Geometry(NamedTuple):
    """Windows over the spatial axes; every field but `groups` holds a value for each of them."""

    size: Sizes  # the input's, for two axes (H, W)
    kernel: Sizes
    stride: Sizes
    padding: tuple[tuple[int, int], ...]  # (before, after)
    dilation: Sizes
    out: Sizes  # how many windows
    groups: int = 1  # into which a convolution cuts the channels

    @property
    def extent(self) -> Sizes:
        """How many input cells one window spans, holes of the dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def padded(self) -> Sizes:
        """The size of the input with its padding."""
        return tuple(before + n + after for n, (before, after) in zip(self.size, self.padding, strict=True))

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the input lies in the padded input."""
        return tuple(slice(before, before + n) for n, (before, _) in zip(self.size, self.padding, strict=True))

    @property
    def turned(self) -> Geometry | None:
        """Of the convolution that takes a result's gradient to the input's, with the kernel turned around.

        None where there is none: a stride, or excessive padding.
        """
        if set(self.stride) != {1}:
            return None
        padding = []
        for n, out, extent, (before, _) in zip(self.size, self.out, self.extent, self.padding, strict=True):
            padding.append((extent - 1 - before, n + before - out))  # as many behind as make `size` windows
        if min(min(sides) for sides in padding) < 0:
            return None
        return self._replace(size=self.out, padding=tuple(padding), out=self.size)


def conv_geometry(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    name: str = "conv2d",
    axes: int = 2,
) -> Geometry:
    """Check the operands of a convolution and say where its windows lie.

    Args:
        x_shape: (N, C, *size); N may be 0.
        w_shape: (K, C / groups, *kernel).
        padding: cells on every side, a number for each axis, a pair (before, after) for each axis, "valid" (none) or
            "same" (as many as keep the size; the odd cell goes to the end, as PyTorch does).
        name: the operation that the errors name.
        axes: how many spatial axes there are.

    Raises:
        ValueError: with the shapes and the remedy.
    """
    x_shape, w_shape = tuple(x_shape), tuple(w_shape)
    _expect_images(name, x_shape, axes)
    if len(w_shape) != axes + 2:
        raise ValueError(
            f"{name}: weight has {len(w_shape)} dims {w_shape}, expected {axes + 2}: "
            f"(out, in / groups, {KERNELS[axes]})"
        )
    groups = _positive(name, "groups", groups)
    (_, channels, *size), (out_channels, group_channels, *kernel) = x_shape, w_shape
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
    return _geometry(name, tuple(size), tuple(kernel), stride, padding, dilation)._replace(groups=groups)


def pool_geometry(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    *,
    name: str = "max_pool2d",
    axes: int = 2,
) -> Geometry:
    """Check the operand of a pooling and say where its windows lie; no stride, `None` or (), means the kernel size.

    With `ceil_mode` a last window may hang over the end, provided that it starts inside the input or the padding
    before it. Padding is at most half the kernel, as in PyTorch, so that no window lies in padding alone.
    """
    x_shape = tuple(x_shape)
    _expect_images(name, x_shape, axes)
    kernel = _per_axis(name, "kernel_size", kernel_size, axes, minimum=1)
    pads = _per_axis(name, "padding", padding, axes, minimum=0)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise ValueError(f"{name}: padding={pads} is more than half of kernel_size={kernel}; use at most half")
    given = kernel if stride is None or (isinstance(stride, Sequence) and not stride) else stride
    return _geometry(name, x_shape[2:], kernel, given, pads, dilation, ceil_mode)


def conv_transpose_geometry(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    name: str = "conv_transpose2d",
    axes: int = 2,
) -> Geometry:
    """The convolution whose input gradient a transposed convolution is; `size` is the size of the output.

    x_shape (N, K, *out), w_shape (K, C / groups, *kernel): K channels in, C out. Several input sizes of a strided
    convolution give the same output size; `output_padding` says by how much ours exceeds the smallest. Where it makes
    lines that no window reaches, `out` is still the size of x: the windows are fewer than would fit.
    """
    x_shape, w_shape = tuple(x_shape), tuple(w_shape)
    if len(x_shape) != axes + 2 or len(w_shape) != axes + 2:
        expected = f"{IMAGES[axes].replace('C', 'in')}, (in, out, {KERNELS[axes]})"
        raise ValueError(f"{name}: x {x_shape} and weight {w_shape} must have {axes + 2} dims: {expected}")
    if x_shape[1] != w_shape[0]:
        raise ValueError(
            f"{name}: x has {x_shape[1]} channels {x_shape}, weight expects {w_shape[0]} {w_shape}; "
            f"its weight is (in, out / groups, {KERNELS[axes]})"
        )
    groups = _positive(name, "groups", groups)
    if w_shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} doesn't divide the {w_shape[0]} input channels of weight {w_shape}")
    kernel, out = w_shape[2:], x_shape[2:]
    strides, dilations = _per_axis(name, "stride", stride, axes, 1), _per_axis(name, "dilation", dilation, axes, 1)
    pads = _per_axis(name, "padding", padding, axes, 0)
    extra = _per_axis(name, "output_padding", output_padding, axes, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ValueError(f"{name}: output_padding={extra} must be less than stride={strides} or dilation={dilations}")
    size = tuple(
        (o - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for o, s, p, d, k, e in zip(out, strides, pads, dilations, kernel, extra, strict=True)
    )
    if min(size) < 1 or min(out) < 1:
        raise ValueError(f"{name}: x {x_shape} with padding={pads} gives an output of {by(size)}; pad less")
    if min(kernel) < 1:
        raise ValueError(f"{name}: the kernel is {by(kernel)}; it needs at least one tap on every axis")
    return Geometry(size, kernel, strides, tuple((p, p) for p in pads), dilations, out, groups)


def per_axis(value: Ints, axes: int) -> Sizes:
    """A number for all axes, or one for each, as one for each."""
    if not isinstance(value, Sequence):
        return (operator.index(value),) * axes
    return tuple(operator.index(v) for v in value) * (axes if len(value) == 1 else 1)


def by(size: Sequence[int]) -> str:
    """(3, 4) as people write it: 3×4."""
    return "×".join(map(str, size))


def _expect_images(name: str, shape: Sizes, axes: int) -> None:
    if len(shape) != axes + 2:
        raise ValueError(
            f"{name}: x has {len(shape)} dims {shape}, expected {axes + 2}: {IMAGES[axes]}, or {axes + 1} without the "
            "batch; reshape x"
        )


def _geometry(
    name: str,
    size: Sizes,
    kernel: Sizes,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool = False,
) -> Geometry:
    axes = len(size)
    strides, dilations = _per_axis(name, "stride", stride, axes, 1), _per_axis(name, "dilation", dilation, axes, 1)
    if min(kernel) < 1:
        raise ValueError(f"{name}: the kernel is {by(kernel)}; it needs at least one tap on every axis")
    pads = _pads(name, padding, kernel, strides, dilations)
    geometry = Geometry(size, kernel, strides, pads, dilations, ())
    if min(size) < 1 or any(e > n for e, n in zip(geometry.extent, geometry.padded, strict=True)):
        raise ValueError(
            f"{name}: the kernel covers {by(geometry.extent)}, more than the padded input {by(geometry.padded)} "
            f"(input {by(size)}, padding {pads}); use a smaller kernel or dilation, or a larger input"
        )
    out = (
        _out(n, e, s, before, after, ceil_mode)
        for n, e, s, (before, after) in zip(size, geometry.extent, strides, pads, strict=True)
    )
    return geometry._replace(out=tuple(out))


def _out(size: int, extent: int, stride: int, before: int, after: int, ceil_mode: bool) -> int:
    left = before + size + after - extent
    if not ceil_mode:
        return left // stride + 1
    out = -(-left // stride) + 1
    return out - 1 if (out - 1) * stride >= size + before else out  # the last window must start inside


def _pads(name: str, padding: Padding, kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[tuple[int, int], ...]:
    axes = len(kernel)
    if padding == "valid":
        return ((0, 0),) * axes
    if padding == "same":
        if set(stride) != {1}:
            raise ValueError(f"{name}: padding='same' needs stride 1, got stride={stride}; give the padding in numbers")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    if isinstance(padding, str):
        raise ValueError(f"{name}: padding={padding!r} is unknown; use 'same', 'valid', a number or one for each axis")
    if isinstance(padding, Sequence) and len(padding) == axes and all(isinstance(side, Sequence) for side in padding):
        sides = [_per_axis(name, "padding", side, 2, 0) for side in padding]  # type: ignore[arg-type]
        return tuple((before, after) for before, after in sides)
    return tuple((p, p) for p in _per_axis(name, "padding", padding, axes, 0))  # type: ignore[arg-type]


def _per_axis(name: str, what: str, value: Ints, axes: int, minimum: int) -> Sizes:
    try:
        values = per_axis(value, axes)
    except TypeError:
        values = ()
    if len(values) != axes:
        several = {1: "an integer", 2: "an integer nor a pair of integers", 3: "an integer nor three integers"}[axes]
        raise ValueError(f"{name}: {what}={value!r} is {'not' if axes == 1 else 'neither'} {several}")
    if min(values) < minimum:
        where = {1: "", 2: " on both axes", 3: " on all axes"}[axes]
        raise ValueError(f"{name}: {what}={value!r} must be at least {minimum}{where}")
    return values


def _positive(name: str, what: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: {what}={value!r} is not an integer") from None
    if number < 1:
        raise ValueError(f"{name}: {what}={value!r} must be at least 1")
    return number
