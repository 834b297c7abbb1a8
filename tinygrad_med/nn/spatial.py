"""The layers of images: convolution, pooling, resizing. Tensors are (N, C, *size); the arguments are PyTorch's.

Each comes for one, two and three spatial dims: signals (N, C, L), images (N, C, H, W) and volumes (N, C, D, H, W); the
batch dim N may be missing. Sizes that don't fit are refused where the images arrive, by the operation, which knows both
shapes; what can be known without an image is refused when the layer is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.backend.geometry import Ints, Padding, per_axis
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import zeros
from tinygrad_med.nn import functional as F, init
from tinygrad_med.nn.module import Module, Parameter
from tinygrad_med.ops.dims import one_dim
from tinygrad_med.random import Generator

# Convolution ----------------------------------------------------------------------------------------------------------

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What a convolution and a transposed one share: settings, parameters and their first numbers."""

    axes: int
    """How many spatial dims there are."""
    transposed = False
    function: Callable[..., Tensor]
    """What the layer computes with its parameters."""

    weight: Parameter
    bias: Parameter | None
    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding={padding!r} is unknown; give numbers, 'same' or 'valid'")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"{name}: padding_mode={padding_mode!r} is unknown; give one of {PADDING_MODES}")
        if self.transposed and padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode={padding_mode!r} is not supported, only 'zeros', as in PyTorch")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = per_axis(kernel_size, self.axes), per_axis(stride, self.axes)
        self.dilation, self.padding_mode = per_axis(dilation, self.axes), padding_mode
        as_given = isinstance(padding, str) or _in_pairs(padding)
        self.padding = padding if as_given else per_axis(padding, self.axes)  # type: ignore[arg-type]
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(zeros(first, second // groups, *self.kernel_size, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_channels, dtype=dtype, device=device)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw new first numbers, as PyTorch does: Kaiming with a = √5, whose bound is 1/√fan_in."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(max(1, init.fans(self.weight)[0]))
            init.uniform_(self.bias, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, *size) -> (N, out_channels, *out)"""
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._margins(), mode=self.padding_mode), 0
        return self.function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _margins(self) -> list[int]:
        """The padding as `F.pad` takes it: before and after in the last dim, then in the one before it."""
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(n // 2, n - n // 2) for n in total]
        elif _in_pairs(self.padding):
            sides = list(self.padding)
        else:
            sides = [(p, p) for p in per_axis(0 if self.padding == "valid" else self.padding, self.axes)]
        return [width for side in reversed(sides) for width in side]

    def extra_repr(self) -> str:
        """The settings."""
        facts = [
            str(self.in_channels),
            str(self.out_channels),
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        none, one = (0,) * self.axes, (1,) * self.axes
        usual = {"padding": none, "output_padding": none, "dilation": one, "groups": 1, "padding_mode": "zeros"}
        for name, default in usual.items():
            if (value := getattr(self, name, default)) != default:
                facts.append(f"{name}={value!r}")
        return ", ".join(facts + ["bias=False"] * (self.bias is None))


def _in_pairs(padding: Padding) -> bool:
    """Whether the padding has a pair (before, after) for each axis."""
    return isinstance(padding, Sequence) and any(isinstance(side, Sequence) for side in padding)


class Conv2d(_Convolution):
    """The cross-correlation of images with learned kernels.

    Args:
        in_channels, out_channels: of the images before and after.
        kernel_size, stride, dilation: a number, or one for rows and one for columns.
        padding: likewise, or a pair (before, after) for each, or `"same"`, or `"valid"`.
        groups: into how many groups, which don't mix, the channels are cut.
        bias: whether each output channel has one.
        padding_mode: with what the image is padded: `"zeros"`, or `"reflect"`, `"replicate"` or `"circular"` as in
            `F.pad`.
        device, dtype: of the parameters; float32 on the CPU by default.
        generator: where the first numbers come from.

    Attributes:
        weight: (out_channels, in_channels / groups, kh, kw), at first uniform within ±1/√fan_in.
        bias: (out_channels,), likewise, or `None`.
    """

    axes, function = 2, staticmethod(F.conv2d)


class Conv1d(_Convolution):
    """As `Conv2d` over one spatial dim: (N, C, L) or (C, L)."""

    axes, function = 1, staticmethod(F.conv1d)


class Conv3d(_Convolution):
    """As `Conv2d` over three spatial dims: (N, C, D, H, W) or (C, D, H, W)."""

    axes, function = 3, staticmethod(F.conv3d)


class _TransposedConvolution(_Convolution):
    """A transposed convolution; PyTorch has its arguments in another order."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
            generator=generator,
        )
        self.output_padding = per_axis(output_padding, self.axes)

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        """(N, in_channels, *size) -> (N, out_channels, *out), of `output_size` if that is given"""
        output_padding = self.output_padding if output_size is None else self._missing(x, output_size)
        where = self.stride, self.padding, output_padding, self.groups, self.dilation
        return self.function(x, self.weight, self.bias, *where)

    def _missing(self, x: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives this output size."""
        smallest = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                *(x.shape[-self.axes :], self.stride, self.padding, self.dilation, self.kernel_size), strict=True
            )
        ]
        wanted = tuple(output_size)[-self.axes :]
        missing = tuple(n - low for n, low in zip(wanted, smallest, strict=True))
        if any(not 0 <= m < max(s, d) for m, s, d in zip(missing, self.stride, self.dilation, strict=True)):
            raise ValueError(
                f"{type(self).__name__}: output_size={wanted} is not possible; the smallest is {tuple(smallest)}, and "
                f"with stride={self.stride} the largest is less than a stride above it"
            )
        return missing


class ConvTranspose2d(_TransposedConvolution):
    """The transpose of a convolution: every number spreads a learned kernel over the output.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, groups, bias, dilation: as for `Conv2d`.
        output_padding: by how much the output exceeds the smallest that the stride allows.
        padding_mode: only `"zeros"`, as in PyTorch.
        device, dtype, generator: as for `Conv2d`.

    Attributes:
        weight: (in_channels, out_channels / groups, kh, kw).
        bias: (out_channels,), or `None`.
    """

    axes, function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose1d(_TransposedConvolution):
    """As `ConvTranspose2d` over one spatial dim: (N, C, L) or (C, L)."""

    axes, function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose3d(_TransposedConvolution):
    """As `ConvTranspose2d` over three spatial dims: (N, C, D, H, W) or (C, D, H, W)."""

    axes, function = 3, staticmethod(F.conv_transpose3d)


# Pooling --------------------------------------------------------------------------------------------------------------


class _MaxPool(Module):
    function: Callable[..., Any]

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        """(N, C, *size) -> (N, C, *out), or two of them"""
        where = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        return self.function(x, *where, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        """The settings."""
        settings = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{settings}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class MaxPool2d(_MaxPool):
    """The largest number of each window; the arguments are those of `F.max_pool2d`."""

    function = staticmethod(F.max_pool2d)


class MaxPool1d(_MaxPool):
    """The largest number of each window of a signal; the arguments are those of `F.max_pool1d`."""

    function = staticmethod(F.max_pool1d)


class MaxPool3d(_MaxPool):
    """The largest number of each window of a volume; the arguments are those of `F.max_pool3d`."""

    function = staticmethod(F.max_pool3d)


class _MaxUnpool(Module):
    function: Callable[..., Tensor]

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """(N, C, *out) and indices of the same shape -> (N, C, *size)"""
        return self.function(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool2d(_MaxUnpool):
    """Puts numbers back where `MaxPool2d(…, return_indices=True)` took them from; see `F.max_unpool2d`."""

    function = staticmethod(F.max_unpool2d)


class MaxUnpool1d(_MaxUnpool):
    """As `MaxUnpool2d`, of a signal."""

    function = staticmethod(F.max_unpool1d)


class MaxUnpool3d(_MaxUnpool):
    """As `MaxUnpool2d`, of a volume."""

    function = staticmethod(F.max_unpool3d)


class _LPPool(Module):
    function: Callable[..., Tensor]

    def __init__(
        self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *out)"""
        return self.function(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """The settings."""
        settings = f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{settings}, ceil_mode={self.ceil_mode}"


class LPPool2d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window; the arguments are those of `F.lp_pool2d`."""

    function = staticmethod(F.lp_pool2d)


class LPPool1d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of a signal; the arguments are those of `F.lp_pool1d`."""

    function = staticmethod(F.lp_pool1d)


class LPPool3d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of a volume; the arguments are those of `F.lp_pool3d`."""

    function = staticmethod(F.lp_pool3d)


class _AvgPool(Module):
    function: Callable[..., Tensor]

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *out)"""
        divisor = {} if self.divisor_override is None else {"divisor_override": self.divisor_override}
        where = self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return self.function(x, *where, **divisor)

    def extra_repr(self) -> str:
        """The settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window; the arguments are those of `F.avg_pool2d`."""

    function = staticmethod(F.avg_pool2d)


class AvgPool1d(_AvgPool):
    """The mean of each window of a signal; the arguments are those of `F.avg_pool1d`."""

    function = staticmethod(F.avg_pool1d)

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume; the arguments are those of `F.avg_pool3d`."""

    function = staticmethod(F.avg_pool3d)


class _AdaptiveAvgPool(Module):
    function: Callable[..., Tensor]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *output_size)"""
        return self.function(x, self.output_size)

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of so many windows that cover the image evenly; `None` keeps a size."""

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of so many windows that cover the signal evenly."""

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of so many windows that cover the volume evenly; `None` keeps a size."""

    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(Module):
    function: Callable[..., Any]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Tensor) -> Any:
        """(N, C, *size) -> (N, C, *output_size), or two of them"""
        return self.function(x, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest numbers of so many windows that cover the image evenly; `None` keeps a size."""

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest numbers of so many windows that cover the signal evenly."""

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest numbers of so many windows that cover the volume evenly; `None` keeps a size."""

    function = staticmethod(F.adaptive_max_pool3d)


# Resizing and cutting -------------------------------------------------------------------------------------------------


class Upsample(Module):
    """Images in another size; the arguments are those of `F.interpolate`."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *old size) -> (N, C, *size)"""
        how = self.mode, self.align_corners, self.recompute_scale_factor
        return F.interpolate(x, self.size, self.scale_factor, *how)

    def extra_repr(self) -> str:
        """The settings."""
        how = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{how}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images in another size, each pixel the nearest one of the old image."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images in another size by bilinear interpolation, the centres of the corner pixels keeping their place."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class Unfold(Module):
    """The numbers under each window as a column."""

    def __init__(self, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> None:
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
        output_size: Ints,
        kernel_size: Ints,
        dilation: Ints = 1,
        padding: Ints = 0,
        stride: Ints = 1,
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


class Unflatten(Module):
    """One dim cut into several, the reverse of `Flatten`.

    Args:
        dim: which one.
        unflattened_size: the lengths of the new dims; one may be −1 and follows from the others.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError(f"Unflatten: dim must be an integer, got {dim!r}; dims have no names here")
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """(…, n, …) -> (…, *unflattened_size, …)"""
        dim = one_dim(self.dim, x.ndim, "Unflatten")
        length, wanted = x.shape[dim], self.unflattened_size
        known = math.prod(n for n in wanted if n != -1)
        if wanted.count(-1) > 1 or (length % max(known, 1) if -1 in wanted else length != known):
            raise ValueError(f"Unflatten: {wanted} does not hold the {length} elements of dim {self.dim}, {x.shape}")
        return x.reshape(*x.shape[:dim], *wanted, *x.shape[dim + 1 :])

    def extra_repr(self) -> str:
        """The settings."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Dropout2d(Module):
    """In training, each channel of each image 0 with probability p, the others divided by 1 − p; else x itself."""

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            name = type(self).__name__
            raise ValueError(f"{name}: p={p} is not a probability; give the share of channels to drop, between 0 and 1")
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *size)"""
        return F.dropout2d(x, self.p, self.training, self.inplace, generator=self.generator)

    def extra_repr(self) -> str:
        """The settings."""
        return f"p={self.p}"


class Dropout1d(Dropout2d):
    """As `Dropout2d`, of signals (N, C, L)."""


class Dropout3d(Dropout2d):
    """As `Dropout2d`, of volumes (N, C, D, H, W)."""
