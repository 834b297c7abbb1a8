"""Per-channel sums and scaling, and batch normalization made of them, in few passes over memory.

    y = γ · (x − μ) / √(σ² + ε) + β,        μ, σ²: mean and (biased) variance of each channel over (N, H, W)

What costs time is reading x, not arithmetic. So x is cut into blocks that fit the cache, all that has to be done to a
block is done while it is there, and the formula is regrouped until one multiplication and one addition per number are
left: y = a·x + b with a = γ/√(σ² + ε) and b = β − a·μ; ∂x = A·g + B·x + C. Sums over a block are products with a row of
ones (BLAS adds faster than NumPy sums over a leading axis); the blocks' totals are taken in float64.

This file knows (N, C, *spatial) arrays in any memory order; it knows neither running statistics, nor ε, nor whether the
network is being trained.
"""

from __future__ import annotations

import numpy as np

from .elementwise import _relu_backward
from .layout import spans, to_channels_last, to_public
from .sums import column_sums
from .threads import parallel_for


def channel_sum(x: np.ndarray) -> np.ndarray:
    """Σ x over all dims but the channels: (N, C, *spatial) → (C,). The gradient of a bias."""
    last = to_channels_last(x)
    v = _folded(last)
    blocks = spans(len(v), v[:1].nbytes)
    sums = np.zeros((len(blocks), v.shape[1]))

    def block(i: int) -> None:
        sums[i] = column_sums(v[blocks[i]])

    parallel_for(block, len(blocks))
    return _per_channel(sums, last.shape[-1]).astype(x.dtype)


def scale_shift(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """x · scale + shift, with one scale and one shift per channel: x (N, C, *spatial), scale and shift (C,)."""
    last = to_channels_last(x)
    v, y = _folded(last), np.empty_like(last)
    out, scale, shift = _folded(y), _tiled(scale, v), _tiled(shift, v)
    blocks = spans(len(v), v[:1].nbytes)

    def block(i: int) -> None:
        part = np.multiply(v[blocks[i]], scale, out=out[blocks[i]])
        part += shift

    parallel_for(block, len(blocks))
    return to_public(y)


def batch_norm_stats(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each channel of x (N, C, *spatial), in float64 (C,).

    With d = x − s:  μ = s + ⟨d⟩ and σ² = ⟨d²⟩ − ⟨d⟩² for any s, but digits are lost unless s is near μ (Chan, Golub,
    LeVeque 1983). The first block's mean is near enough.

    Raises:
        ValueError: if x is empty.
    """
    if x.size == 0:
        raise ValueError(f"batch_norm_stats: x {x.shape} is empty, so it has no mean; give it at least one value")
    last = to_channels_last(x)
    v, channels = _folded(last), last.shape[-1]
    blocks = spans(len(v), v[:1].nbytes)
    shift = _per_channel(column_sums(v[blocks[0]]), channels) / (v[blocks[0]].size // channels)
    shift = shift.astype(v.dtype)
    row = _tiled(shift, v)
    sums, squares = np.empty((2, len(blocks), v.shape[1]))

    def block(i: int) -> None:
        d = v[blocks[i]] - row
        sums[i] = column_sums(d)
        squares[i] = column_sums(np.square(d, out=d))

    parallel_for(block, len(blocks))
    count = last.size // channels
    mean, square = _per_channel(sums, channels) / count, _per_channel(squares, channels) / count
    return shift + mean, square - mean**2


def batch_norm_update(
    x: np.ndarray,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    momentum: float,
    eps: float,
    batches: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1/√(σ² + ε) of each channel of x, in float64 (C,), and running statistics moved towards them in place.

    running ← running + momentum · (now − running), for the mean and for the variance as an unbiased estimate, and
    `batches` grows by 1; of those that are given.
    """
    mean, var = batch_norm_stats(x)
    count = x.size // x.shape[1]
    for running, now in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
        if running is not None:
            running += (momentum * (now - running)).astype(running.dtype)
    if batches is not None:
        batches += 1
    return mean, 1 / np.sqrt(var + eps)


def batch_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, invstd: np.ndarray) -> np.ndarray:
    """weight · (x − mean) · invstd + bias, with one of each per channel: x (N, C, *spatial), the others (C,)."""
    scale = weight * invstd
    return scale_shift(x, scale, bias - mean * scale)


def batch_norm_relu(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    invstd: np.ndarray,
    plus: np.ndarray | None = None,
) -> np.ndarray:
    """max(weight · (x − mean) · invstd + bias + plus, 0), with one of each per channel; plus is of the shape of x."""
    last, scale = to_channels_last(x), weight * invstd
    v, y = _folded(last), np.empty_like(last)
    out, shift, scale = _folded(y), _tiled(bias - mean * scale, v), _tiled(scale, v)
    more = None if plus is None else _folded(to_channels_last(plus))
    blocks, nothing = spans(len(v), v[:1].nbytes), np.zeros(v.shape[1], v.dtype)

    def block(i: int) -> None:
        part = np.multiply(v[blocks[i]], scale, out=out[blocks[i]])
        part += shift
        if more is not None:
            part += more[blocks[i]]
        np.maximum(part, nothing, out=part)  # with a row of zeros it takes half the time that the number 0 takes

    parallel_for(block, len(blocks))
    return to_public(y)


def batch_norm_relu_backward(
    g: np.ndarray, z: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, invstd: np.ndarray, plus: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """∂x, ∂γ, ∂β, and ∂plus if there was one, of z = `batch_norm_relu`(x, …)."""
    cut = np.empty(to_channels_last(x).shape, x.dtype)  # for g where z > 0, else 0
    dx = np.empty_like(cut) if plus else cut
    gradients = _backward(g, x, weight, mean, invstd, dx, (to_channels_last(z), cut))
    return (*gradients, to_public(cut) if plus else None)


def batch_norm_backward(
    g: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, invstd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """∂x, ∂γ, ∂β of y = γ·x̂ + β with x̂ = (x − μ)·invstd, where μ and invstd = 1/√(σ² + ε) are those of x itself.

    With means over all numbers of a channel written ⟨·⟩:  ∂β = Σ g,  ∂γ = Σ g·x̂,  ∂x = γ·invstd·(g − ⟨g⟩ − x̂·⟨g·x̂⟩).
    """
    return _backward(g, x, weight, mean, invstd, np.empty(to_channels_last(x).shape, x.dtype))


def _backward(
    g: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    invstd: np.ndarray,
    dx: np.ndarray,
    relu: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`batch_norm_backward`, into dx (N, *spatial, C); behind relu with its z, and an array for its ∂, perhaps dx."""
    last = to_channels_last(x)
    u, v, out = _folded(to_channels_last(g)), _folded(last), _folded(dx)
    blocks = spans(len(v), v[:1].nbytes)
    sums, products = np.zeros((2, len(blocks), v.shape[1]))
    center = _tiled(mean, v)
    upstream, u = u, u if relu is None else _folded(relu[1])

    def reduce(i: int) -> None:
        if relu is not None:
            _relu_backward(upstream[blocks[i]], _folded(relu[0])[blocks[i]], out=u[blocks[i]])
        product = v[blocks[i]] - center
        product *= u[blocks[i]]
        sums[i], products[i] = column_sums(u[blocks[i]]), column_sums(product)

    parallel_for(reduce, len(blocks))
    channels, count = last.shape[-1], last.size // last.shape[-1]
    d_bias, d_weight = _per_channel(sums, channels), _per_channel(products, channels) * invstd

    a = weight * invstd
    b = -a * invstd * d_weight / count
    c = -a * d_bias / count - b * mean
    a, b, c = _tiled(a, v), _tiled(b, v), _tiled(c, v)

    def combine(i: int) -> None:
        part = np.multiply(u[blocks[i]], a, out=out[blocks[i]])
        part += v[blocks[i]] * b
        part += c

    parallel_for(combine, len(blocks))
    return to_public(dx), d_weight.astype(weight.dtype), d_bias.astype(weight.dtype)


def _folded(last: np.ndarray) -> np.ndarray:
    """(…, C) → (rows, repeats · C): pixels side by side until a row is long enough for NumPy's inner loop."""
    channels = last.shape[-1]
    pixels = last.size // channels
    repeats = 1
    while repeats * channels < 1024 and pixels % (2 * repeats) == 0 and repeats < pixels:
        repeats *= 2
    return last.reshape(pixels // repeats, repeats * channels)


def _tiled(per_channel: np.ndarray, folded: np.ndarray) -> np.ndarray:
    """(C,) → the row that goes with `_folded`."""
    return np.tile(per_channel.astype(folded.dtype), folded.shape[1] // len(per_channel))


def _per_channel(sums: np.ndarray, channels: int) -> np.ndarray:
    """Sums of folded rows, (…, repeats · C) → their total per channel, (C,)."""
    total: np.ndarray = sums.reshape(-1, channels).sum(0, dtype=float)
    return total
