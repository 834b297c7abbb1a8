"""How good are predictions? Functions of all outputs and labels of a data set, as `Learner` calls them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops import sigmoid


def accuracy(output: Tensor, target: Tensor) -> float:
    """The share of right answers.

    Args:
        output: (N, classes, …), a score for each of at least two classes.
        target: (N, …), or (N, 1), as some data sets have them: the numbers of the classes.

    Raises:
        ValueError: for shapes that don't belong together, or one score per image.
    """
    if output.ndim < 2 or output.shape[1] < 2:
        raise ValueError(
            f"accuracy: the outputs have shape {output.shape}, needs (N, classes) with two classes at least; for one "
            "logit, or several yes-or-no labels, use accuracy_multi"
        )
    answers = output.argmax(1)
    if target.shape == (*answers.shape, 1) or (target.ndim == 2 and target.shape == (len(answers), 1)):
        target = target.reshape(answers.shape)
    _demand_shape("accuracy", answers, target)
    return float((answers == target).float().mean().item())


def error_rate(output: Tensor, target: Tensor) -> float:
    """The share of wrong answers; the arguments are those of `accuracy`."""
    return 1 - accuracy(output, target)


def accuracy_multi(output: Tensor, target: Tensor, thresh: float = 0.5, sigmoid: bool = True) -> float:
    """The share of right answers where each is yes or no: one logit per image, or several labels.

    Args:
        output: (N, labels), (N, 1) or (N,).
        target: 0 or 1, in the same shape; where there is one answer per image, (N,) and (N, 1) are the same.
        thresh: yes is more than this.
        sigmoid: outputs are logits; `False`: they are probabilities.
    """
    if output.numel() == len(output) == target.numel():
        output, target = output.reshape(-1), target.reshape(-1)
    _demand_shape("accuracy_multi", output, target)
    probabilities = _sigmoid(output) if sigmoid else output
    return float(((probabilities > thresh) == (target > 0.5)).float().mean().item())


_sigmoid = sigmoid


def _demand_shape(name: str, answers: Tensor, target: Tensor) -> None:
    if answers.shape != target.shape:
        raise ValueError(f"{name}: {answers.shape} answers to labels {target.shape}; give as many of both")


def names(metrics: Sequence[Callable[..., Any]]) -> list[str]:
    """What the columns of metrics are called: by their functions, the second of one name with a 2."""
    found: list[str] = []
    for metric in metrics:
        name = called = _name(metric)
        number = 1
        while called in found:
            number += 1
            called = f"{name}_{number}"
        found.append(called)
    return found


def _name(metric: Any) -> str:
    while isinstance(metric, functools.partial):
        metric = metric.func
    return str(getattr(metric, "__name__", None) or type(metric).__name__)
