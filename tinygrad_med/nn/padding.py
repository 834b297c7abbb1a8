"""Margins around images as layers: zeros, a constant, the reflected, the repeated or the opposite edge.

Each comes for one, two and three spatial dims; `padding` is one width for all sides, or (left, right) of the last dim,
then (top, bottom) of the dim before it, and so on. The batch dim may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_med.backend.geometry import Ints
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.nn import functional as F
from tinygrad_med.nn.module import Module


class _Padding(Module):
    axes: int
    mode: str

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        self.padding = tuple(padding) if isinstance(padding, Sequence) else (padding,) * (2 * self.axes)
        if len(self.padding) != 2 * self.axes:
            raise ValueError(
                f"{type(self).__name__}: padding={padding!r} must be one width, or {2 * self.axes}, two for each dim"
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *padded size)"""
        if x.ndim not in (self.axes + 1, self.axes + 2):
            dims = f"{self.axes + 2} dims, or {self.axes + 1} without the batch"
            raise ValueError(f"{type(self).__name__}: expects {dims}, got shape {x.shape}")
        return F.pad(x, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        """The settings."""
        return str(self.padding)


class _ConstantPad(_Padding):
    mode = "constant"

    def __init__(self, padding: Ints, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *padded size); of any number of dims, of which the last are padded"""
        return F.pad(x, self.padding, value=self.value)

    def extra_repr(self) -> str:
        """The settings."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Ints) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The settings."""
        return str(self.padding)


class ZeroPad1d(_ZeroPad):
    """Zeros around a signal (N, C, L); the arguments are PyTorch's."""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around an image (N, C, H, W); the arguments are PyTorch's."""

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around a volume (N, C, D, H, W); the arguments are PyTorch's."""

    axes = 3


class ConstantPad1d(_ConstantPad):
    """A constant around a signal (N, C, L); the arguments are PyTorch's."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """A constant around an image (N, C, H, W); the arguments are PyTorch's."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """A constant around a volume (N, C, D, H, W); the arguments are PyTorch's."""

    axes = 3


class ReflectionPad1d(_Padding):
    """Its reflection around a signal (N, C, L); the arguments are PyTorch's."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Padding):
    """Its reflection around an image (N, C, H, W); the arguments are PyTorch's."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Padding):
    """Its reflection around a volume (N, C, D, H, W); the arguments are PyTorch's."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Padding):
    """Its outermost numbers, repeated, around a signal (N, C, L); the arguments are PyTorch's."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Padding):
    """Its outermost numbers, repeated, around an image (N, C, H, W); the arguments are PyTorch's."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Padding):
    """Its outermost numbers, repeated, around a volume (N, C, D, H, W); the arguments are PyTorch's."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Padding):
    """At each end what stands at the other end of a signal (N, C, L); the arguments are PyTorch's."""

    axes, mode = 1, "circular"


class CircularPad2d(_Padding):
    """At each end what stands at the other end of an image (N, C, H, W); the arguments are PyTorch's."""

    axes, mode = 2, "circular"


class CircularPad3d(_Padding):
    """At each end what stands at the other end of a volume (N, C, D, H, W); the arguments are PyTorch's."""

    axes, mode = 3, "circular"
