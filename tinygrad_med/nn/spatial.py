"""The layers of images: convolution, pooling, resizing. Tensors are (N, C, H, W); the arguments are PyTorch's.

Sizes that don't fit are refused where the images arrive, by the operation, which knows both shapes; what can be known
without an image is refused when the layer is made.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.backend.geometry import IntOrPair, Padding
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import zeros
from tinygrad_med.nn import functional as F, init
from tinygrad_med.nn.module import Module, Parameter
from tinygrad_med.random import Generator

# Convolution ----------------------------------------------------------------------------------------------------------


class _Convolution(Module):
    """What a convolution and a transposed one share: settings, parameters and their first numbers."""

    weight: Parameter
    bias: Parameter | None
    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair,
        padding: Padding,
        dilation: IntOrPair,
        groups: int,
        transposed: bool,
        bias: bool,
        device: str | None,
        dtype: Any,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = _pair(kernel_size), _pair(stride), _pair(dilation)
        self.padding = padding if isinstance(padding, str) else _pair(padding)
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight = Parameter(zeros(first, second // groups, *self.kernel_size, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_channels, dtype=dtype, device=device)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw new first numbers, as PyTorch does: Kaiming with a = √5, whose bound is 1/√fan_in."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(max(1, init.fans(self.weight)[0]))
            init.uniform_(self.bias, -bound, bound, generator=generator)

    def extra_repr(self) -> str:
        """The settings."""
        facts = [
            str(self.in_channels),
            str(self.out_channels),
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        usual = {"padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
        facts += [f"{name}={v}" for name, default in usual.items() if (v := getattr(self, name, default)) != default]
        return ", ".join(facts + ["bias=False"] * (self.bias is None))


class Conv2d(_Convolution):
    """The cross-correlation of images with learned kernels.

    Args:
        in_channels, out_channels: of the images before and after.
        kernel_size, stride, dilation: a number, or one for rows and one for columns.
        padding: likewise, or `"same"`, or `"valid"`.
        groups: into how many groups, which don't mix, the channels are cut.
        bias: whether each output channel has one.
        padding_mode: only `"zeros"`.
        device, dtype: of the parameters; float32 on the CPU by default.
        generator: where the first numbers come from.

    Attributes:
        weight: (out_channels, in_channels / groups, kh, kw), at first uniform within ±1/√fan_in.
        bias: (out_channels,), likewise, or `None`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        if padding_mode != "zeros":
            raise NotImplementedError(f"Conv2d: padding_mode={padding_mode!r} is not supported, only 'zeros'")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            False,
            bias,
            device,
            dtype,
            generator,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, OH, OW)"""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Convolution):
    """The transpose of a convolution: every number spreads a learned kernel over the output.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, groups, bias, dilation: as for `Conv2d`.
        output_padding: by how much the output exceeds the smallest that the stride allows.
        padding_mode, device, dtype, generator: as for `Conv2d`.

    Attributes:
        weight: (in_channels, out_channels / groups, kh, kw).
        bias: (out_channels,), or `None`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        if padding_mode != "zeros":
            raise NotImplementedError(f"ConvTranspose2d: padding_mode={padding_mode!r} is not supported, only 'zeros'")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            True,
            bias,
            device,
            dtype,
            generator,
        )
        self.output_padding = _pair(output_padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, OH, OW)"""
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


def _pair(value: Any) -> tuple[Any, Any]:
    return (value, value) if isinstance(value, int) else tuple(value)


# Pooling --------------------------------------------------------------------------------------------------------------


class MaxPool2d(Module):
    """The largest number of each window; the arguments are those of `F.max_pool2d`."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        """(N, C, H, W) -> (N, C, OH, OW), or two of them"""
        return F.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """The settings."""
        stride = self.kernel_size if self.stride is None else self.stride
        settings = f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding}"
        return f"{settings}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class AvgPool2d(Module):
    """The mean of each window; the arguments are those of `F.avg_pool2d`."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, OH, OW)"""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """The settings."""
        stride = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The means of so many windows that cover the image evenly."""

    def __init__(self, output_size: int | tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, *output_size)"""
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """The largest numbers of so many windows that cover the image evenly."""

    def __init__(self, output_size: int | tuple[int | None, int | None], return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Tensor) -> Any:
        """(N, C, H, W) -> (N, C, *output_size), or two of them"""
        return F.adaptive_max_pool2d(x, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}"


# Resizing and cutting -------------------------------------------------------------------------------------------------


class Upsample(Module):
    """Images in another size; the arguments are those of `F.interpolate`."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, *size)"""
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """The settings."""
        how = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{how}, mode={self.mode!r}"


class Unfold(Module):
    """The numbers under each window as a column."""

    def __init__(
        self, kernel_size: IntOrPair, dilation: IntOrPair = 1, padding: IntOrPair = 0, stride: IntOrPair = 1
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C · kh · kw, windows)"""
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        settings = f"kernel_size={self.kernel_size}, dilation={self.dilation}"
        return f"{settings}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """The transpose of `Unfold`: columns added back to images."""

    def __init__(
        self,
        output_size: IntOrPair,
        kernel_size: IntOrPair,
        dilation: IntOrPair = 1,
        padding: IntOrPair = 0,
        stride: IntOrPair = 1,
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C · kh · kw, windows) -> (N, C, *output_size)"""
        return F.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        settings = f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}"
        return f"{settings}, padding={self.padding}, stride={self.stride}"


class Dropout2d(Module):
    """In training, each channel of each image 0 with probability p, the others divided by 1 − p; nothing in use."""

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout2d: p={p} is no probability; give the share of channels to drop, between 0 and 1")
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)"""
        return F.dropout2d(x, self.p, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        """The settings."""
        return f"p={self.p}"
