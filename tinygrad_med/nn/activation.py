"""The rarer activations as modules, and those of channels and pixels; the common ones are in `layers.py`.

The arguments are PyTorch's. `inplace=True` writes the result to the input.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import full
from tinygrad_med.nn import functional as F
from tinygrad_med.nn.module import Module, Parameter


class _Activation(Module):
    """A function of each element, with settings of its own.

    Attributes:
        settings: the names of the arguments, which are attributes too.
    """

    settings: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)


class ELU(_Activation):
    """x where x > 0, alpha · (eˣ − 1) elsewhere."""

    settings: tuple[str, ...] = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.elu(input, self.alpha, self.inplace)


class CELU(ELU):
    """x where x > 0, alpha · (e^(x/alpha) − 1) elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.celu(input, self.alpha, self.inplace)


class Hardtanh(_Activation):
    """x within [min_val, max_val], the bounds elsewhere."""

    settings: tuple[str, ...] = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if min_val >= max_val:
            raise ValueError(f"Hardtanh: min_val={min_val} must be below max_val={max_val}")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(Hardtanh):
    """min(max(x, 0), 6)"""

    settings: tuple[str, ...] = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)


class _OfNothing(_Activation):
    """An activation without settings."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class SELU(_OfNothing):
    """scale · elu(x, alpha), which keeps mean 0 and variance 1 from layer to layer."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.selu(input, self.inplace)


class Hardsigmoid(_OfNothing):
    """(x + 3) / 6 within [0, 1], the bounds elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_OfNothing):
    """x · hardsigmoid(x)"""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.hardswish(input, self.inplace)


class Mish(_OfNothing):
    """x · tanh(softplus(x))"""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.mish(input, self.inplace)


class LogSigmoid(Module):
    """log(1 / (1 + e⁻ˣ))"""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)"""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.softsign(input)


class Tanhshrink(Module):
    """x − tanh x"""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.tanhshrink(input)


class Hardshrink(_Activation):
    """x where |x| > lambd, 0 elsewhere."""

    settings: tuple[str, ...] = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.hardshrink(input, self.lambd)


class Softshrink(Hardshrink):
    """x − lambd above lambd, x + lambd below −lambd, 0 between."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.softshrink(input, self.lambd)


class Threshold(_Activation):
    """x where x > threshold, `value` elsewhere."""

    settings: tuple[str, ...] = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.threshold(input, self.threshold, self.value, self.inplace)


class PReLU(_Activation):
    """x where x > 0, weight · x elsewhere.

    Attributes:
        weight: (num_parameters,), learned: one number, or one per channel.
    """

    settings: tuple[str, ...] = ("num_parameters",)

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), float(init), dtype=dtype, device=device))

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …)"""
        return F.prelu(input, self.weight)


class GLU(_Activation):
    """The first half of x along `dim` times the sigmoid of the second."""

    settings: tuple[str, ...] = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """(…, 2 n, …) -> (…, n, …)"""
        return F.glu(input, self.dim)


class Softmin(_Activation):
    """e^−xᵢ / Σⱼ e^−xⱼ along `dim`."""

    settings: tuple[str, ...] = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = F.needs_dim("Softmin", dim)

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)"""
        return F.softmin(input, self.dim)


class PixelShuffle(_Activation):
    """Channels as pixels, (…, C r², H, W) -> (…, C, H r, W r)."""

    settings: tuple[str, ...] = ("upscale_factor",)

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """(…, C r², H, W) -> (…, C, H r, W r)"""
        return F.pixel_shuffle(input, self.upscale_factor)


class PixelUnshuffle(_Activation):
    """Pixels as channels, (…, C, H r, W r) -> (…, C r², H, W)."""

    settings: tuple[str, ...] = ("downscale_factor",)

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """(…, C, H r, W r) -> (…, C r², H, W)"""
        return F.pixel_unshuffle(input, self.downscale_factor)


class ChannelShuffle(_Activation):
    """Channels in `groups` rows, read by columns: (N, C, …) -> (N, C, …)."""

    settings: tuple[str, ...] = ("groups",)

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …)"""
        return F.channel_shuffle(input, self.groups)


class Softmax2d(Module):
    """The softmax over the channels at each place of images."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) or (C, H, W) -> the same shape"""
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expects (N, C, H, W) or (C, H, W), got shape {input.shape}")
        return F.softmax(input, -3)
