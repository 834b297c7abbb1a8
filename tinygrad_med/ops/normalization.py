"""Normalization: numbers of mean 0 and variance 1, over a batch, a layer or a group of channels, then γ · x̂ + β.

`standardize` says what normalization is; layers and groups are normalized by it as it stands. Batch normalization,
which runs after every convolution, has a kernel of its own with few passes over memory; its rules, written with
`standardize`, are the specification of that kernel's backward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.compiled import all_at_once
from tinygrad_med.engine.writes import writes
from tinygrad_med.ops.conv import channel_sum, per_channel
from tinygrad_med.ops.elementwise import _relu_input, clone, rsqrt
from tinygrad_med.ops.half import half_in_single
from tinygrad_med.ops.reduce import mean
from tinygrad_med.ops.shape import _reshape

__all__ = ["batch_norm", "group_norm", "layer_norm"]


def standardize(x: Any, dims: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    """x̂ = (x − μ) / √(σ² + ε) with the mean μ and the biased variance σ² over `dims`, and the factor 1 / √(σ² + ε)."""
    centred = x - mean(x, dims, keepdim=True)
    invstd = rsqrt(mean(centred * centred, dims, keepdim=True) + eps)
    return centred * invstd, invstd


# Batch normalization ------------------------------------------------------------------------------------------------


@primitive
def _batch_norm(xp, x, weight, bias, *, mean, invstd, eps):
    """z = weight · x̂ + bias per channel, x̂ = (x − mean) · invstd with the mean and 1/√(σ² + ε) that x itself has

    ∂x: weight · invstd · (g − ⟨g⟩ − x̂ · ⟨g · x̂⟩), where ⟨·⟩ is the mean over all dims but the channels
    ∂weight: Σ g · x̂
    ∂bias: Σ g
    """
    return kernels(xp).batch_norm(x, weight, bias, mean, invstd)


def _batch_norm_rule(g: Any, x: Any, weight: Any, eps: float) -> Any:
    dims = _all_but_channels(x)
    x_hat, invstd = standardize(x, dims, eps)
    inner = g - mean(g, dims, keepdim=True) - x_hat * mean(g * x_hat, dims, keepdim=True)
    return per_channel(weight, len(x.shape)) * invstd * inner


_batch_norm.vjp(
    x=_batch_norm_rule,
    weight=lambda g, x, eps: channel_sum(g * standardize(x, _all_but_channels(x), eps)[0]),
    bias=lambda g: channel_sum(g),
)


@all_at_once(_batch_norm)
def _batch_norm_joint(g, x, weight, mean, invstd, needed):
    gradients = kernels(backend.array_module(g)).batch_norm_backward(g, x, weight, mean, invstd)
    return _of_needed(gradients, needed)


@primitive
def _batch_norm_relu(xp, x, weight, bias, *, mean, invstd, eps):
    """z = max(batch_norm(x, weight, bias), 0)

    ∂x: that of batch_norm, of g where z > 0, else 0
    ∂weight: likewise
    ∂bias: likewise
    """
    return kernels(xp).batch_norm_relu(x, weight, bias, mean, invstd)


@primitive
def _batch_norm_plus_relu(xp, x, weight, bias, plus, *, mean, invstd, eps):
    """z = max(batch_norm(x, weight, bias) + plus, 0)

    ∂x: that of batch_norm, of g where z > 0, else 0
    ∂weight: likewise
    ∂bias: likewise
    ∂plus: g where z > 0, else 0
    """
    return kernels(xp).batch_norm_relu(x, weight, bias, mean, invstd, plus)


_behind_relu: dict[str, Any] = {
    "x": lambda g, z, x, weight, eps: _batch_norm_rule(_relu_input(g, output=z), x, weight, eps),
    "weight": lambda g, z, x, eps: channel_sum(_relu_input(g, output=z) * standardize(x, _all_but_channels(x), eps)[0]),
    "bias": lambda g, z: channel_sum(_relu_input(g, output=z)),
}
_batch_norm_relu.vjp(**_behind_relu)
_batch_norm_plus_relu.vjp(**_behind_relu, plus=lambda g, z: _relu_input(g, output=z))


@all_at_once(_batch_norm_relu)
def _batch_norm_relu_joint(g, z, x, weight, mean, invstd, needed):
    back = kernels(backend.array_module(g)).batch_norm_relu_backward
    return _of_needed(back(g, z, x, weight, mean, invstd, False)[:3], needed)


@all_at_once(_batch_norm_plus_relu)
def _batch_norm_plus_relu_joint(g, z, x, weight, mean, invstd, needed):
    back = kernels(backend.array_module(g)).batch_norm_relu_backward
    return _of_needed(back(g, z, x, weight, mean, invstd, needed[3]), needed)


def _of_needed(gradients, needed):
    return tuple(d if need else None for d, need in zip(gradients, needed, strict=True))


@primitive
def _scale_shift(xp, x, scale, shift):
    """z = x · scale + shift, with one scale and one shift per channel

    ∂x: g · scale
    ∂scale: Σ g · x
    ∂shift: Σ g
    """
    return kernels(xp).scale_shift(x, scale, shift)


_scale_shift.vjp(
    x=lambda g, scale: _scale_shift(g, scale, scale * 0),
    scale=lambda g, x: channel_sum(g * x),
    shift=lambda g: channel_sum(g),
)


@half_in_single
def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """weight · (x − μ) / √(σ² + eps) + bias for each channel (Ioffe and Szegedy 2015, arXiv:1502.03167).

    In training μ and σ² are the mean and the biased variance of the batch, and the running statistics, if given, move
    towards them (the variance as an unbiased estimate): running ← running + momentum · (batch − running). Otherwise μ
    and σ² are the running statistics.

    Args:
        x: (N, C, …).
        running_mean, running_var: (C,), written in place in training.
        weight, bias: (C,), or none for 1 and 0.

    Raises:
        ValueError: in training with one value per channel, which has no variance.
    """
    if x.shape == (0,):
        return clone(x)  # PyTorch takes nothing at all, too
    _check("batch_norm", x, weight, bias, running_mean, running_var)
    xp = backend.array_module(x.array)
    if weight is None:
        weight = wrap(xp.ones(x.shape[1], x.dtype))
    if bias is None:
        bias = wrap(xp.zeros(x.shape[1], x.dtype))
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(
                "batch_norm: outside of training it needs running_mean and running_var; or pass training=True"
            )
        scale = weight * rsqrt(running_var + eps)
        return _scale_shift(x, scale, bias - running_mean * scale)
    count = math.prod(x.shape) // x.shape[1]
    if count == 1:
        raise ValueError(
            f"batch_norm: x {x.shape} has one value per channel, whose variance says nothing; train on batches of at "
            "least two, drop the last batch (drop_last=True), or call eval()"
        )
    if count == 0:
        return _scale_shift(x, weight, bias)  # of no images; there is nothing to learn from either
    of_batch = _statistics(x, momentum, eps, running_mean, running_var)
    return _batch_norm(x, weight, bias, **of_batch)


def batch_norm_relu(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
    plus: Tensor | None = None,
) -> Any:
    """relu(batch_norm(x, …) + plus) in training, where `batches` counts how often, in two passes over memory.

    Every operand must be there, and be of one dtype and device; plus is of the shape of x.
    """
    of_batch = _statistics(x, momentum, eps, running_mean, running_var, batches)
    if plus is None:
        return _batch_norm_relu(x, weight, bias, **of_batch)
    return _batch_norm_plus_relu(x, weight, bias, plus, **of_batch)


def _statistics(x: Tensor, momentum: float, eps: float, *running: Tensor | None) -> dict[str, Any]:
    """Those of the batch, as the primitives take them; the running ones (mean, variance, batches) are overwritten."""
    for v in running:
        if v is not None:
            writes.note(v.array)
    mean_, var, *batches = (None if v is None else v.array for v in running)
    update = kernels(backend.array_module(x.array)).batch_norm_update
    mean, invstd = update(x.array, mean_, var, momentum, eps, *batches)
    return {"mean": mean, "invstd": invstd, "eps": eps}


# Layer and group normalization --------------------------------------------------------------------------------------


@half_in_single
def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """weight · x̂ + bias, where x̂ is x standardized over its last dims (Ba, Kiros and Hinton 2016, arXiv:1607.06450).

    Args:
        x: (…, *normalized_shape).
        normalized_shape: the lengths of the last dims, over which mean and (biased) variance are taken.
        weight, bias: of that shape, or none for 1 and 0.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: x {x.shape} must end with normalized_shape={shape}")
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != shape:
            raise ValueError(f"layer_norm: {name} {parameter.shape} must have the shape normalized_shape={shape}")
    z, _ = standardize(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
    z = z if weight is None else z * weight
    return z if bias is None else z + bias


@half_in_single
def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """weight · x̂ + bias per channel, where x̂ is x standardized in each group of channels of each image.

    Args:
        x: (N, C, …).
        num_groups: into how many groups the channels are cut; it divides C.
        weight, bias: (C,), or none for 1 and 0.

    Source: Wu and He 2018, arXiv:1803.08494.
    """
    _check("group_norm", x, weight, bias)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups} must divide the {x.shape[1]} channels of x {x.shape}")
    groups = _reshape(x, shape=(len(x), num_groups, math.prod(x.shape[1:]) // num_groups))
    z = _reshape(standardize(groups, (2,), eps)[0], shape=x.shape)
    z = z if weight is None else z * per_channel(weight, x.ndim)
    return z if bias is None else z + per_channel(bias, x.ndim)


def _all_but_channels(x: Any) -> tuple[int, ...]:
    return (0, *range(2, len(x.shape)))


def _check(name: str, x: Tensor, *per_channel: Tensor | None) -> None:
    if x.ndim < 2:
        raise ValueError(f"{name}: expects (N, C, …), got shape {x.shape}")
    backend.same_device(name, [getattr(v, "array", v) for v in (x, *per_channel) if v is not None])
    for v in per_channel:
        if v is not None and v.shape != x.shape[1:2]:
            raise ValueError(
                f"{name}: x {x.shape} has {x.shape[1]} channels; weights and statistics must be of shape "
                f"{x.shape[1:2]}, got {v.shape}"
            )
