"""Losses: how far predictions are from what they should be, as one number to go downhill on."""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.elementwise import abs, clip, log, logsigmoid, where
from tinygrad_med.ops.indexing import check_range, gather
from tinygrad_med.ops.reduce import log_softmax, mean, sum
from tinygrad_med.ops.shape import squeeze, unsqueeze


def _reduce(losses: Tensor, reduction: str, operation: str) -> Tensor:
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f"{operation}: reduction={reduction!r} is unknown; give 'mean', 'sum' or 'none'")


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood −w_t · x_t of the true classes t, for log-probabilities x.

    Args:
        input: log-probabilities, (N, C), (C,), or (N, C, d₁, …).
        target: the true classes as integers 0 … C − 1, the shape of input without C.
        weight: a weight per class, (C,). The mean is then the weighted one: divided by the sum of the weights.
        ignore_index: targets of this value count for nothing.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Raises:
        IndexError: for a class outside 0 … C − 1.
    """
    dim = 0 if input.ndim == 1 else 1
    expected = (*input.shape[:dim], *input.shape[dim + 1 :])
    if not input.ndim or target.shape != expected:
        raise ValueError(f"nll_loss: input {input.shape} needs targets of shape {expected}, got {target.shape}")
    if target.dtype.kind not in "iu":
        raise TypeError(f"nll_loss: the targets are classes, integers, got {target.dtype}; use .long()")
    labels = target.array
    counted = labels != ignore_index
    xp = backend.array_module(labels)
    labels = xp.where(counted, labels, 0).astype("int64")
    check_range(labels, input.shape[dim], "nll_loss: target")
    losses = where(counted, -squeeze(gather(input, dim, unsqueeze(labels, dim)), dim), 0.0)
    if weight is None and counted.all():
        return _reduce(losses, reduction, "nll_loss")
    if weight is not None and weight.shape != (input.shape[dim],):
        raise ValueError(
            f"nll_loss: weight must have one value for each of {input.shape[dim]} classes, got {weight.shape}"
        )
    of_class = xp.ones(input.shape[dim], input.dtype) if weight is None else weight.array
    weights = wrap((of_class[labels] * counted).astype(input.dtype))
    losses = losses * weights
    return sum(losses) / sum(weights) if reduction == "mean" else _reduce(losses, reduction, "nll_loss")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """−log softmax(x)_t for logits x and true classes t.

    Args:
        input: logits, (N, C), (C,), or (N, C, d₁, …).
        target, weight, ignore_index, reduction: as for `nll_loss`.
        label_smoothing: the share ε of the target that is spread evenly over all classes
            (Szegedy et al. 2016, arXiv:1512.00567).
    """
    dim = 0 if input.ndim == 1 else 1
    z = log_softmax(input, dim)
    loss = nll_loss(z, target, weight, ignore_index, reduction)
    if not label_smoothing:
        return loss
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    # The target (1 − ε) · one-hot + ε / C splits the loss into two: the usual one, and the mean over all classes.
    xp = backend.array_module(target.array)
    counted = target.array != ignore_index
    by_class = z
    if weight is not None:
        by_class = z * weight.detach().reshape((-1,) + (1,) * (input.ndim - dim - 1))
    smooth = where(counted, -sum(by_class, dim), 0.0)
    if reduction == "mean":
        labels = xp.where(counted, target.array, 0)
        of_class = xp.ones(input.shape[dim], input.dtype) if weight is None else weight.array
        smooth = sum(smooth) / sum(wrap((of_class[labels] * counted).astype(input.dtype)))
    else:
        smooth = _reduce(smooth, reduction, "cross_entropy")
    return (1 - label_smoothing) * loss + label_smoothing / input.shape[dim] * smooth


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """−w · [p · y · log σ(x) + (1 − y) · log σ(−x)], finite for any logit x.

    With log σ(−x) = log σ(x) − x this is w · [(1 − y) · x − (1 + (p − 1) · y) · log σ(x)].

    Args:
        input: logits, any shape.
        target: probabilities y in [0, 1] of the same shape.
        weight: w, a factor per element, broadcast.
        pos_weight: p, how often a positive counts, broadcast; per label `(labels,)`.
        reduction: `"mean"`, `"sum"` or `"none"`.
    """
    name = "binary_cross_entropy_with_logits"
    if target.shape != input.shape:
        raise ValueError(
            f"{name}: target {target.shape} must have the shape of input {input.shape}; reshape it, a broadcast would "
            "compare every prediction with every label"
        )
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    losses = (1 - target) * input - positive * logsigmoid(input)
    if weight is not None:
        losses = losses * weight
    return _reduce(losses, reduction, name)


def _logarithm(x: Any) -> Any:
    """log x, but at least −100, also at x = 0."""
    inside = x > 0
    return where(inside, clip(log(where(inside, x, 1.0)), min=-100), -100.0)


@primitive
def _binary_cross_entropy(xp, x, y):
    """z = −y · max(log x, −100) − (1 − y) · max(log(1 − x), −100)

    ∂x: g · (x − y) / max(x · (1 − x), 10⁻¹²)
    ∂y: g · (max(log(1 − x), −100) − max(log x, −100))
    """
    return -y * _logarithm(x) - (1 - y) * _logarithm(1 - x)


_binary_cross_entropy.vjp(
    x=lambda g, x, y: g * (x - y) / clip(x * (1 - x), min=1e-12),
    y=lambda g, x: g * (_logarithm(1 - x) - _logarithm(x)),
)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """−w · [y · log x + (1 − y) · log(1 − x)], no logarithm below −100.

    Better give logits to `binary_cross_entropy_with_logits`, which is exact also for a sure mistake.

    Args:
        input: probabilities x in [0, 1], any shape.
        target: probabilities y in [0, 1] of the same shape.
        weight: w, a factor per element, broadcast.
        reduction: `"mean"`, `"sum"` or `"none"`.
    """
    name = "binary_cross_entropy"
    if input.numel() and not 0 <= input.min().item() <= input.max().item() <= 1:
        raise ValueError(f"{name}: input must be probabilities, between 0 and 1; for logits use {name}_with_logits")
    losses = _binary_cross_entropy(input, _same_shape(input, target, name))
    return _reduce(losses if weight is None else losses * weight, reduction, name)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x − y)² for predictions x and targets y of the same shape."""
    difference = input - _same_shape(input, target, "mse_loss")
    return _reduce(difference * difference, reduction, "mse_loss")


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x − y| for predictions x and targets y of the same shape."""
    return _reduce(abs(input - _same_shape(input, target, "l1_loss")), reduction, "l1_loss")


def _same_shape(input: Tensor, target: Tensor, operation: str) -> Any:
    if target.shape != input.shape:
        raise ValueError(f"{operation}: target {target.shape} must have the shape of input {input.shape}")
    return target
