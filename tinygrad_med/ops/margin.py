"""Losses with a margin, for several right answers, and for counts; all are made of other operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.distance import pairwise_distance
from tinygrad_med.ops.elementwise import clip, exp, log, logsigmoid, minimum, where
from tinygrad_med.ops.indexing import check_range, gather
from tinygrad_med.ops.loss import reduced
from tinygrad_med.ops.reduce import mean, sum
from tinygrad_med.ops.shape import unsqueeze

__all__ = [
    "hinge_embedding_loss",
    "multi_margin_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "triplet_margin_with_distance_loss",
]


def _fit(operation: str, *operands: Any) -> None:
    """Refuse operands that don't broadcast, or have not as many dims as each other."""
    shapes = [tuple(x.shape) for x in operands]
    lengths = zip(*shapes, strict=True) if len({len(s) for s in shapes}) == 1 else [(0, 2)]
    if any(len({n for n in of_dim if n != 1}) > 1 for of_dim in lengths):
        raise ValueError(f"{operation}: the shapes {' and '.join(map(str, shapes))} don't fit each other")


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where the target is 1, max(0, margin − x) where it is −1: a distance that shall be small, or large.

    As in PyTorch, both count where the target is neither.
    """
    losses = where(target != -1, input, 0.0) + where(target != 1, clip(margin - input, min=0.0), 0.0)
    return reduced(losses, reduction, "hinge_embedding_loss")


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Σⱼ max(0, w_y · (margin − x_y + xⱼ))ᵖ / C over the classes j other than the right one, y.

    Args:
        input: scores (N, C), or (C,).
        target: the right classes, integers (N,), or ().
        p: 1 or 2.
        margin: how far the right score shall be above the others.
        weight: w, of each class, (C,); for p = 2 outside of the square.
        reduction: "mean", "sum", or "none": (N,).
    """
    if not input.ndim and not target.ndim:
        input = unsqueeze(input, 0)
    if input.ndim == 1 and tuple(target.shape) == (1,):
        target = target[0]
    if p not in (1, 2) or input.ndim not in (1, 2) or tuple(target.shape) != tuple(input.shape[:-1]):
        raise ValueError(
            f"multi_margin_loss: expects scores (N, C), classes (N,) and p of 1 or 2, got {tuple(input.shape)}, "
            f"{tuple(target.shape)} and p={p}"
        )
    classes = input.shape[-1]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"multi_margin_loss: weight must have a number for each of {classes} classes")
    check_range(target.array, classes, "multi_margin_loss")
    index = unsqueeze(target.long(), -1)
    away = clip(margin - gather(input, -1, index) + input, min=0.0)
    away = away if p == 1 else away * away
    if weight is not None:
        away = away * unsqueeze(weight[target.long()], -1)
    right = wrap(backend.array_module(input.array).arange(classes)) == index
    return reduced(sum(where(right, 0.0, away), -1) / classes, reduction, "multi_margin_loss")


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """−Σ (y · log σ(x) + (1 − y) · log σ(−x)) / C: each of C answers right or wrong by itself.

    Args:
        input: scores (…, C).
        target: 1 or 0 for each, of the same shape.
        weight: of each class, (C,).
        reduction: "mean", "sum", or "none": (…).
    """
    if input.shape != target.shape:
        raise ValueError(
            f"multilabel_soft_margin_loss: input and target must have one shape, got {tuple(input.shape)} and "
            f"{tuple(target.shape)}"
        )
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    return reduced(mean(losses if weight is None else losses * weight, -1), reduction, "multilabel_soft_margin_loss")


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """λ − y · log λ, for counts y that are expected to be λ.

    Args:
        input: log λ, or λ itself without `log_input`.
        target: the counts.
        log_input: see above; without it, eps is added within the logarithm.
        full: add what does not depend on λ, log y!, by Stirling's formula where y > 1.
        eps: see above.
        reduction: "mean", "sum" or "none".
    """
    _fit("poisson_nll_loss", input, target)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        many = where(target > 1, target, 1.0) * 1.0
        losses = losses + where(target > 1, many * log(many) - many + 0.5 * log(2 * math.pi * many), 0.0)
    return reduced(losses, reduction, "poisson_nll_loss")


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own; by default that of `pairwise_distance`."""
    if margin <= 0:
        raise ValueError(f"triplet_margin_with_distance_loss: margin={margin} must be more than 0")
    _fit("triplet_margin_with_distance_loss", anchor, positive, negative)
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    far = minimum(far, distance(positive, negative)) if swap else far
    return reduced(clip(near - far + margin, min=0.0), reduction, "triplet_margin_with_distance_loss")
