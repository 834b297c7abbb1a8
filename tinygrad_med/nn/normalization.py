"""The layers that normalize, and how batch normalization disappears into the convolution before it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import ones, zeros
from tinygrad_med.engine.switches import no_grad
from tinygrad_med.nn import functional as F
from tinygrad_med.nn.module import Module, Parameter
from tinygrad_med.nn.spatial import Conv1d, Conv2d, Conv3d
from tinygrad_med.ops import rsqrt

C = TypeVar("C", Conv1d, Conv2d, Conv3d)


class _ChannelNorm(Module):
    """Each channel with mean 0 and variance 1, then scaled and shifted as learned.

    Args:
        num_features: the number of channels C.
        eps: added to the variance.
        momentum: the share of a new batch in the running statistics.
        affine: whether there are `weight` and, with `bias`, `bias`.
        track_running_stats: whether there are running statistics, which take the place of the batch's in evaluation.
        device, dtype: of the parameters and statistics.

    Attributes:
        weight, bias: (C,), at first 1 and 0, or `None`.
        running_mean, running_var: (C,), at first 0 and 1: buffers, or `None`.
        num_batches_tracked: how many batches they come from, an int64 buffer, or `None`.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    dims: tuple[int, ...]
    shapes: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        like = {"dtype": dtype, "device": device}
        self.weight = Parameter(ones(num_features, **like)) if affine else None
        self.bias = Parameter(zeros(num_features, **like)) if affine and bias else None
        self.register_buffer("running_mean", zeros(num_features, **like) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **like) if track_running_stats else None)
        count = zeros((), dtype="int64", device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"

    def _check_dims(self, x: Tensor) -> None:
        if x.ndim not in self.dims:
            raise ValueError(f"{type(self).__name__}: expects {self.shapes}, got shape {x.shape}")


class _BatchNorm(_ChannelNorm):
    """The statistics are those over the batch; with `momentum=None` the running ones are the mean over all batches."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …)"""
        self._check_dims(x)
        momentum, count = self.momentum, self.num_batches_tracked
        if momentum is None:
            momentum = 0.0 if count is None else 1 / (count.item() + 1)
        training = self.training or self.running_mean is None
        z = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training, momentum, self.eps)
        if self.training and count is not None:
            count += 1
        return z


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L)."""

    dims, shapes = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W)."""

    dims, shapes = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, C, D, H, W)."""

    dims, shapes = (5,), "(N, C, D, H, W)"


class _InstanceNorm(_ChannelNorm):
    """The statistics are those of each image alone; there are no parameters and no running statistics by default."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …), or without N"""
        self._check_dims(x)
        if x.ndim == self.dims[0]:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        if self.affine and x.shape[1] != self.num_features:
            raise ValueError(f"{type(self).__name__}: expects {self.num_features} channels, got shape {x.shape}")
        now = self.training or self.running_mean is None
        z: Tensor = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, now, self.momentum or 0.0, self.eps
        )
        return z


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (C, L) or (N, C, L)."""

    dims, shapes = (2, 3), "(C, L) or (N, C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (C, H, W) or (N, C, H, W)."""

    dims, shapes = (3, 4), "(C, H, W) or (N, C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (C, D, H, W) or (N, C, D, H, W)."""

    dims, shapes = (4, 5), "(C, D, H, W) or (N, C, D, H, W)"


for _layer in (BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d):
    _layer.__doc__ = f"{_layer.__doc__} {_layer.__bases__[0].__doc__}\n\n    {_ChannelNorm.__doc__}"


class LocalResponseNorm(Module):
    """x / (k + alpha · mean of x² over `size` neighbouring channels)^beta, as in AlexNet."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …)"""
        z: Tensor = F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)
        return z

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class LayerNorm(Module):
    """The last dims of each element of the batch with mean 0 and variance 1, then scaled and shifted as learned.

    Args:
        normalized_shape: the lengths of these dims.
        eps: added to the variance.
        elementwise_affine, bias: whether there is a `weight`, and then a `bias`.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        like = {"dtype": dtype, "device": device}
        self.weight = Parameter(ones(*shape, **like)) if elementwise_affine else None
        self.bias = Parameter(zeros(*shape, **like)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, *normalized_shape) -> the same"""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Each group of channels of each image with mean 0 and variance 1, then scaled and shifted per channel as learned.

    Args:
        num_groups: into how many groups the channels are cut.
        num_channels: C, a multiple of it.
        eps: added to the variance.
        affine: whether there are `weight` and, with `bias`, `bias`, (C,).
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        like = {"dtype": dtype, "device": device}
        self.weight = Parameter(ones(num_channels, **like)) if affine else None
        self.bias = Parameter(zeros(num_channels, **like)) if affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) -> (N, C, …)"""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


@no_grad()
def fuse_conv_bn_eval(conv: C, bn: _BatchNorm) -> C:
    """One convolution that does what `conv` and `bn` do in evaluation: affine maps per channel, as is their product.

    With s = γ / √(σ² + ε):  s · (w ∗ x + b − μ) + β = (s · w) ∗ x + (s · (b − μ) + β).

    Raises:
        ValueError: in training mode, where μ and σ² depend on the batch, or without running statistics.
    """
    if conv.training or bn.training or bn.running_mean is None or bn.running_var is None:
        raise ValueError("fuse_conv_bn_eval: only with fixed statistics are the two one convolution; call eval() first")
    scale = rsqrt(bn.running_var + bn.eps) * (1 if bn.weight is None else bn.weight)
    before = -bn.running_mean if conv.bias is None else conv.bias - bn.running_mean
    fused = copy.deepcopy(conv)
    fused.weight = Parameter(conv.weight * scale.reshape(-1, *(1,) * (conv.weight.ndim - 1)))
    fused.bias = Parameter(before * scale + (0 if bn.bias is None else bn.bias))
    return fused
