"""How near vectors are: their cosine and their distance, and the losses that draw alike ones together."""

from __future__ import annotations

from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.elementwise import clip, minimum, sqrt, where
from tinygrad_med.ops.loss import reduced
from tinygrad_med.ops.norms import norm
from tinygrad_med.ops.reduce import sum
from tinygrad_med.ops.shape import expand

__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "margin_ranking_loss",
    "pairwise_distance",
    "triplet_margin_loss",
]


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x₁ · x₂ / (|x₁| · |x₂|) along `dim` of the two, which are broadcast; a length below `eps` counts as `eps`."""
    shape = (x1 * x2).shape
    x1, x2 = expand(x1, shape), expand(x2, shape)
    lengths = [clip(norm(x, 2, dim, keepdim=True), min=eps) for x in (x1, x2)]
    return sum((x1 / lengths[0]) * (x2 / lengths[1]), dim)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """(Σ |x₁ − x₂ + ε|ᵖ)^(1/p) over the last dim, the other dims broadcast."""
    return norm(x1 - x2 + eps, p, -1, keepdim)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 − cos(x₁, x₂) for pairs that are alike, target 1; max(0, cos(x₁, x₂) − margin) for others, target −1.

    Args:
        input1, input2: vectors, (N, D) and targets (N,); or (D,) and a target ().
        target: 1 or −1 for each pair.
        margin: how alike others may be.
        reduction: `"mean"`, `"sum"` or `"none"`.
    """
    if input1.ndim != target.ndim + 1 or input1.shape != input2.shape:
        raise ValueError(
            f"cosine_embedding_loss: needs (N, D), (N, D) and (N,), or (D,), (D,) and (); "
            f"got {input1.shape}, {input2.shape} and {target.shape}"
        )
    product, squares1, squares2 = (sum(a * b, -1) for a, b in ((input1, input2), (input1, input1), (input2, input2)))
    cosine = product / sqrt((squares1 + 1e-12) * (squares2 + 1e-12))
    losses = where(target == 1, 1 - cosine, where(target == -1, clip(cosine - margin, min=0.0), 0.0))
    return reduced(losses, reduction, "cosine_embedding_loss")


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |a − p| − |a − n| + margin) for an anchor a, a positive p of its kind and a negative n of another.

    Args:
        anchor, positive, negative: (N, D) or (D,).
        margin: how much nearer the positive shall be than the negative; greater than 0.
        p, eps: of `pairwise_distance`.
        swap: take |p − n| in place of |a − n| where it is smaller (Balntas et al. 2016).
        reduction: `"mean"`, `"sum"` or `"none"`.
    """
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin={margin} must be greater than 0")
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clip(near - far + margin, min=0.0), reduction, "triplet_margin_loss")


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin − y · (x₁ − x₂)): x₁ shall be above x₂ where y is 1, and below where it is −1."""
    losses = clip(margin - target * (input1 - input2), min=0.0)
    return reduced(losses, reduction, "margin_ranking_loss")
