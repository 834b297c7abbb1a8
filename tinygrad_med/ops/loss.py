"""Losses: how far predictions are from what they should be, as one number to go downhill on."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.errors import refuse_foreign
from tinygrad_med.ops.elementwise import abs, clip, exp, log, logsigmoid, where
from tinygrad_med.ops.indexing import check_range, gather
from tinygrad_med.ops.reduce import log_softmax, mean, sum
from tinygrad_med.ops.shape import squeeze, unsqueeze

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]


def reduced(losses: Any, reduction: str, operation: str, weights: Any = None) -> Any:
    """The losses as they are, their sum, or their mean: a weighted one where there are weights."""
    if reduction == "mean":
        return mean(losses) if weights is None else sum(losses) / sum(weights)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f"{operation}: reduction={reduction!r} is unknown; give 'mean', 'sum' or 'none'")


class _Targets(NamedTuple):
    """True classes: which count, the classes of those (0 for the others), and their weights if not all weigh 1."""

    counted: Any
    labels: Any
    weights: Tensor | None


def _true_classes(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, operation: str
) -> tuple[int, _Targets]:
    """The dim of the classes, and the targets, as `nll_loss` describes them."""
    refuse_foreign(operation, (target,))
    dim = 0 if input.ndim == 1 else 1
    expected = (*input.shape[:dim], *input.shape[dim + 1 :])
    if not input.ndim or target.shape != expected:
        raise ValueError(f"{operation}: input {input.shape} needs targets of shape {expected}, got {target.shape}")
    if target.dtype.kind not in "iu":
        raise TypeError(f"{operation}: the targets are classes, integers, got {target.dtype}; use .long()")
    backend.same_device(operation, [x.array for x in (input, target, weight) if x is not None])
    xp = backend.array_module(target.array)
    counted = target.array != ignore_index
    labels = xp.where(counted, target.array, 0).astype("int64")
    check_range(labels, input.shape[dim], f"{operation}: target", reads=True)
    if weight is None:
        if not input.is_cuda and counted.all():  # a GPU would have to be waited for
            return dim, _Targets(counted, labels, None)
        return dim, _Targets(counted, labels, wrap(counted.astype(input.dtype)))
    _check_weight(weight, input.shape[dim], operation)
    return dim, _Targets(counted, labels, wrap((weight.array[labels] * counted).astype(input.dtype)))


def _check_weight(weight: Tensor | None, classes: int, operation: str) -> None:
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{operation}: weight must have one value for each of {classes} classes, got {weight.shape}")


def _of_true_classes(log_probabilities: Tensor, dim: int, targets: _Targets) -> Any:
    """The weighted negative log-likelihood of each target."""
    losses = -squeeze(gather(log_probabilities, dim, unsqueeze(targets.labels, dim)), dim)
    return losses if targets.weights is None else where(targets.counted, losses, 0.0) * targets.weights


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
        IndexError: for a class outside 0 … C − 1; on a GPU not before numbers next come back from it.
    """
    dim, targets = _true_classes(input, target, weight, ignore_index, "nll_loss")
    losses = _of_true_classes(input, dim, targets)
    return reduced(losses, reduction, "nll_loss", targets.weights)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """−log softmax(x)_t for logits x and true classes t, or −Σ_c w_c · p_c · log softmax(x)_c for probabilities p.

    Args:
        input: logits, (N, C), (C,), or (N, C, d₁, …).
        target: the true classes, as for `nll_loss`; or a probability for each class, floats of the shape of input. The
            mean over probabilities is that over the targets, with weights too, as in PyTorch.
        weight, ignore_index, reduction: as for `nll_loss`; probabilities are never ignored.
        label_smoothing: the share ε of the target that is spread evenly over all classes
            (Szegedy et al. 2016, arXiv:1512.00567).
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing}")
    name, dim = "cross_entropy", 0 if input.ndim == 1 else 1
    if target.is_floating_point() and target.shape == input.shape:
        return _of_probabilities(input, target, weight, reduction, label_smoothing, dim)
    dim, targets = _true_classes(input, target, weight, ignore_index, name)
    z = log_softmax(input, dim)
    loss: Tensor = reduced(_of_true_classes(z, dim, targets), reduction, name, targets.weights)
    if not label_smoothing:
        return loss
    # The target (1 − ε) · one-hot + ε / C splits the loss into two: the usual one, and the mean over all classes.
    smooth = where(targets.counted, -sum(_by_class(z, weight, dim), dim), 0.0)
    smooth = reduced(smooth, reduction, name, targets.weights)
    return (1 - label_smoothing) * loss + label_smoothing / input.shape[dim] * smooth


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float, dim: int
) -> Tensor:
    _check_weight(weight, input.shape[dim], "cross_entropy")
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    losses = -sum(_by_class(log_softmax(input, dim) * target, weight, dim), dim)
    return reduced(losses, reduction, "cross_entropy")


def _by_class(x: Tensor, weight: Tensor | None, dim: int) -> Tensor:
    """x times the weights of the classes, which lie along `dim`."""
    return x if weight is None else x * weight.detach().reshape((-1,) + (1,) * (x.ndim - dim - 1))


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
    return reduced(losses, reduction, name)


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
    return reduced(losses if weight is None else losses * weight, reduction, name)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(x − y)² for predictions x and targets y of the same shape."""
    difference = input - _same_shape(input, target, "mse_loss")
    return reduced(difference * difference, reduction, "mse_loss")


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x − y| for predictions x and targets y of the same shape."""
    return reduced(abs(input - _same_shape(input, target, "l1_loss")), reduction, "l1_loss")


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """(x − y)² / 2β where |x − y| < β, else |x − y| − β/2; for β = 0 that is |x − y|."""
    distance = abs(input - _same_shape(input, target, "smooth_l1_loss"))
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta={beta} must not be negative")
    if beta:
        distance = where(distance < beta, distance * distance / (2 * beta), distance - beta / 2)
    return reduced(distance, reduction, "smooth_l1_loss")


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """(x − y)² / 2 where |x − y| ≤ δ, else δ · (|x − y| − δ/2); times the weight of each element, if there is one."""
    if delta <= 0:
        raise ValueError(f"huber_loss: delta={delta} must be greater than 0")
    distance = abs(input - _same_shape(input, target, "huber_loss"))
    losses = where(distance <= delta, distance * distance / 2, delta * (distance - delta / 2))
    if weight is not None:
        losses = losses * _same_shape(input, weight, "huber_loss: weight as")
    return reduced(losses, reduction, "huber_loss")


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """y · (log y − x), the Kullback-Leibler divergence of probabilities y from those whose logarithms are x.

    Args:
        input: log-probabilities x, any shape.
        target: probabilities y, which may be 0, of the same shape; their logarithms if `log_target`. NaN where y < 0.
        reduction: `"mean"` over all elements, `"batchmean"`: the sum divided by the length of the first dim, which is
            the divergence itself; `"sum"` or `"none"`.
        log_target: whether the target holds logarithms.
    """
    target = _same_shape(input, target, "kl_div")
    if log_target:
        losses = exp(target) * (target - input)
    else:
        inside = where(target != 0, target, 1.0)
        losses = where(target != 0, inside * log(inside), 0.0) - target * input
    if reduction == "batchmean":
        return sum(losses) / input.shape[0] if input.ndim else sum(losses)
    return reduced(losses, reduction, "kl_div")


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log v + (x − y)² / v) / 2, the negative log-likelihood of y under a normal distribution of mean x, variance v.

    Args:
        input: the means x.
        target: y, of the same shape, or one that broadcasts with it.
        var: v, a number or a tensor of input's shape, of which one dim may be 1 or the last may be missing; below `eps`
            it counts as `eps`.
        full: add log(2π) / 2.
        eps, reduction: as said; `"mean"`, `"sum"` or `"none"`.
    """
    number = isinstance(var, int | float)
    if not number:
        var = _variances(input, var)
    if var < 0 if number else (var < 0).any():
        raise ValueError("gaussian_nll_loss: a variance must not be negative")
    least = eps - (var.detach() if isinstance(var, Tensor) else var)
    v = var + (max(least, 0.0) if number else clip(least, min=0.0))  # its gradient is 1 also below eps
    difference = input - target
    losses = (difference * difference / v + (math.log(v) if number else log(v))) / 2
    losses = losses + math.log(2 * math.pi) / 2 if full else losses
    return reduced(losses, reduction, "gaussian_nll_loss")


def _variances(input: Any, var: Any) -> Any:
    expected, given = tuple(input.shape), tuple(var.shape)
    if given == expected[:-1] != expected:  # one for each row, also where that would broadcast as one for each column
        return unsqueeze(var, -1)
    different = [n for n, m in zip(given, expected, strict=False) if n != m]
    if len(given) != len(expected) or different not in ([], [1]):
        raise ValueError(
            f"gaussian_nll_loss: var {given} must be of input's shape {expected}; one dim may be 1, the last missing"
        )
    return var


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + e^(−y · x)) for scores x and targets y of 1 or −1."""
    losses = -logsigmoid(_same_shape(input, target, "soft_margin_loss") * input)
    return reduced(losses, reduction, "soft_margin_loss")


def _same_shape(input: Tensor, target: Tensor, operation: str) -> Any:
    if target.shape != input.shape:
        raise ValueError(f"{operation}: target {target.shape} must have the shape of input {input.shape}")
    return target
