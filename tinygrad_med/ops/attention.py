"""Embedding and attention, and the norms that go with them: what transformers are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend, random
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.elementwise import where
from tinygrad_med.ops.half import half_in_single
from tinygrad_med.ops.indexing import check_range, index
from tinygrad_med.ops.norms import norm
from tinygrad_med.ops.rearrange import repeat_interleave, windows_along
from tinygrad_med.ops.reduce import mean, softmax
from tinygrad_med.ops.shape import _reshape, pad, transpose, tril

__all__ = ["embedding", "instance_norm", "local_response_norm", "rms_norm", "scaled_dot_product_attention"]


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """The rows of `weight` that the integers of `input` name, (…) and (n, d) -> (…, d).

    Args:
        input: integers 0 … n − 1.
        weight: (n, d).
        padding_idx: a row that gets no gradient.
        max_norm: rows longer than this are shortened to it, in place, as in PyTorch, before they are read.
        norm_type: the p of that length ‖·‖ₚ.
        scale_grad_by_freq: divide a row's gradient by how often it occurs in `input`.
        sparse: must be false: gradients are dense here.
    """
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not supported; use sparse=False")
    positions = input.array if isinstance(input, Tensor) else input
    if len(weight.shape) != 2:
        raise ValueError(f"embedding: weight must be a matrix, got shape {tuple(weight.shape)}")
    n = weight.shape[0]
    check_range(positions, n, "embedding", reads=max_norm is None)
    if padding_idx is not None and not -n <= padding_idx < n:
        raise ValueError(f"embedding: padding_idx={padding_idx} is no row of the {n} of weight")
    if max_norm is not None:
        rows = backend.array_module(positions).unique(positions)
        lengths = norm(index(weight.detach(), key=rows), norm_type, 1, keepdim=True)
        short = where(lengths > max_norm, max_norm / (lengths + 1e-7), 1.0)
        weight.data[wrap(rows)] = index(weight.detach(), key=rows) * short
    z = index(weight, key=positions)
    factors = None
    if scale_grad_by_freq:
        xp = backend.array_module(positions)
        counts = xp.bincount(positions.reshape(-1), minlength=n)
        factors = 1 / counts[positions]
    if padding_idx is not None:
        kept = positions != padding_idx % n
        factors = kept * (1.0 if factors is None else factors)
    if factors is None:
        return z
    factors = wrap(factors.astype(z.dtype)[..., None])
    return z * factors + z.detach() * (1 - factors)


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: random.Generator | None = None,
) -> Any:
    """softmax(query · keyᵀ · scale + mask) · value (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        query: (…, L, E).
        key, value: (…, S, E) and (…, S, F).
        attn_mask: (…, L, S) that broadcasts: a bool mask, true where a key is seen, or numbers to be added.
        dropout_p: the share of weights set to 0.
        is_causal: let each query see the keys up to its own place only.
        scale: a factor; 1/√E by default.
        enable_gqa: let groups of query heads share a head of key and value.
        generator: where the choices of dropout come from.
    """
    if len(query.shape) < 2 or len(key.shape) < 2 or len(value.shape) < 2:
        raise ValueError("scaled_dot_product_attention: query, key and value need two dims at least")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"scaled_dot_product_attention: query {tuple(query.shape)}, key {tuple(key.shape)} and value "
            f"{tuple(value.shape)} must be (…, L, E), (…, S, E) and (…, S, F)"
        )
    if is_causal and attn_mask is not None:
        raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal, not both")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (repeat_interleave(x, groups, -3) if groups > 1 else x for x in (key, value))
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ transpose(key, -2, -1)
    xp = backend.array_module(query.array)
    if is_causal:
        attn_mask = wrap(tril(xp.ones(scores.shape[-2:], bool)))
    weights = _masked_softmax(scores, attn_mask)
    if dropout_p:
        kept = random.coins(1 - dropout_p, weights.shape, generator=generator).astype(weights.dtype)
        weights = weights * wrap(backend.to_device(kept / (1 - dropout_p), weights.device))
    return weights @ value


def _masked_softmax(scores: Any, mask: Any) -> Any:
    if mask is None:
        return softmax(scores, -1)
    if mask.dtype != bool:
        return softmax(scores + mask, -1)
    seen = mask.any(-1, keepdim=True)
    weights = softmax(where(mask, scores, where(seen, -math.inf, 0.0)), -1)
    return where(seen, weights, 0.0)  # a query that sees no key gets zeros


# Norms --------------------------------------------------------------------------------------------------------------


@half_in_single
def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x − mean) / √(variance + eps) of each channel of each image (Ulyanov et al. 2016, arXiv:1607.08022).

    Args:
        input: (N, C, …).
        running_mean, running_var: (C,) or none; written in place, with the means over the batch, or used instead.
        weight, bias: (C,) or none: what the result is multiplied by, and what is added.
        use_input_stats: whether to compute mean and variance, or use the running ones.
        momentum: how much of a running number is exchanged at once.
        eps: so that nothing is divided by 0.
    """
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise ValueError(f"instance_norm: expects (N, C, …), got shape {shape}")
    dims, n = tuple(range(2, len(shape))), math.prod(shape[2:])
    if use_input_stats and n < 2:
        raise ValueError(f"instance_norm: needs more than one element per channel, got shape {shape}")
    if not use_input_stats and (running_mean is None or running_var is None):
        raise ValueError("instance_norm: use_input_stats=False needs running_mean and running_var")
    columns = (1, -1, *[1] * len(dims))
    if use_input_stats:
        centre = mean(input, dims, keepdim=True)
        spread = mean((input - centre) ** 2, dims, keepdim=True)
        for running, now, factor in ((running_mean, centre, 1.0), (running_var, spread, n / (n - 1))):
            if running is not None:
                mixed = running.detach() * (1 - momentum) + momentum * factor * mean(now.detach(), 0).reshape(-1)
                running.data.copy_(mixed)
    else:
        centre, spread = (_reshape(s, shape=columns) for s in (running_mean, running_var))
    z = (input - centre) * (spread + eps) ** -0.5
    z = z if weight is None else z * _reshape(weight, shape=columns)
    return z if bias is None else z + _reshape(bias, shape=columns)


@half_in_single
def rms_norm(input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    """x / √(mean of x² + eps) over the last dims, times weight (Zhang and Sennrich 2019, arXiv:1910.07467).

    Args:
        input: (…, *normalized_shape).
        normalized_shape: the lengths of the last dims.
        weight: of that shape, or none.
        eps: so that nothing is divided by 0; by default the dtype's ε.
    """
    lengths = tuple(normalized_shape)
    if not lengths or tuple(input.shape[-len(lengths) :]) != lengths:
        raise ValueError(f"rms_norm: x {tuple(input.shape)} must end with normalized_shape={lengths}")
    if weight is not None and tuple(weight.shape) != lengths:
        raise ValueError(f"rms_norm: weight {tuple(weight.shape)} must have the shape {lengths}")
    if eps is None:
        eps = {4: 2.0**-23, 8: 2.0**-52}[input.dtype.itemsize]
    dims = tuple(range(-len(lengths), 0))
    z = input * (mean(input * input, dims, keepdim=True) + eps) ** -0.5
    return z if weight is None else z * weight


@half_in_single
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """x / (k + alpha · mean of x² over `size` neighbouring channels)^beta, as in AlexNet (Krizhevsky et al. 2012)."""
    if len(input.shape) < 3:
        raise ValueError(f"local_response_norm: expects (N, C, …), got shape {tuple(input.shape)}")
    if not math.prod(input.shape):
        return input * 1
    widths = (0, 0) * (len(input.shape) - 2) + (size // 2, (size - 1) // 2)
    squares = windows_along(pad(input * input, widths), 1, size, 1)
    return input / (k + alpha * mean(squares, -1)) ** beta
