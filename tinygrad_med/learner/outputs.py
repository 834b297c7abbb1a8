"""What a model's outputs mean: that follows from its loss, as in fastai.

| loss | activation | decoded |
|---|---|---|
| cross-entropy | softmax over the classes | the most probable class |
| negative log-likelihood | exp | the most probable class |
| binary cross-entropy with logits | sigmoid | whether it is above ½, number by number |
| binary cross-entropy | none | whether it is above ½, number by number |
| squared, absolute, Huber … | none | the number itself |

Each as a function of `F`, as a module of `nn` (with weights, label smoothing …), or within `functools.partial`. To
another loss give attributes `activation` and `decodes`, functions of the outputs and of the activated outputs.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_med import nn
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.nn import Module, functional as F
from tinygrad_med.ops import cat, exp, sigmoid, softmax, stack


class Reading(NamedTuple):
    """How outputs are read.

    Attributes:
        activation: from outputs to probabilities, or numbers.
        decodes: from these to answers.
        kind: "class", one of several; "labels", yes or no for each; "numbers".
    """

    activation: Callable[[Tensor], Tensor]
    decodes: Callable[[Tensor], Tensor]
    kind: str


def _same(x: Tensor) -> Tensor:
    return x


def _most_probable(x: Tensor) -> Tensor:
    return x.argmax(1)


def _above_half(x: Tensor) -> Tensor:
    return x > 0.5


# The names of the losses, as a function of `F` and as a module of `nn`, and how their outputs are read.
_LOSSES = {
    ("cross_entropy", "CrossEntropyLoss"): Reading(lambda x: softmax(x, 1), _most_probable, "class"),
    ("nll_loss", "NLLLoss"): Reading(exp, _most_probable, "class"),
    ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"): Reading(sigmoid, _above_half, "labels"),
    ("binary_cross_entropy", "BCELoss"): Reading(_same, _above_half, "labels"),
    ("mse_loss", "MSELoss"): Reading(_same, _same, "numbers"),
    ("l1_loss", "L1Loss"): Reading(_same, _same, "numbers"),
    ("smooth_l1_loss", "SmoothL1Loss"): Reading(_same, _same, "numbers"),
    ("huber_loss", "HuberLoss"): Reading(_same, _same, "numbers"),
}


def reading_of(loss_func: Any) -> Reading:
    """How the outputs of a model that was trained with this loss are read.

    Raises:
        ValueError: for a loss that is not in the table above, and doesn't say it itself.
    """
    if hasattr(loss_func, "activation") and hasattr(loss_func, "decodes"):
        return Reading(loss_func.activation, loss_func.decodes, getattr(loss_func, "kind", "class"))
    while isinstance(loss_func, functools.partial):
        loss_func = loss_func.func
    for (function, module), reading in _LOSSES.items():
        kind = vars(nn).get(module)
        if loss_func is vars(F).get(function, ()) or (kind and isinstance(loss_func, kind)):
            return reading
    name = getattr(loss_func, "__name__", type(loss_func).__name__)
    known = ", ".join(function for function, _ in _LOSSES)
    raise ValueError(
        f"get_preds: what outputs mean follows from the loss, and {name} is none of {known}; "
        "give it two attributes, activation (outputs to probabilities) and decodes (probabilities to answers)"
    )


def name_of_loss(loss_func: Any) -> str:
    """The name of the loss as a function of `F`; a module's weights and smoothing don't change what outputs mean."""
    reading = reading_of(loss_func)
    for (function, _), known in _LOSSES.items():
        if known is reading:
            return function
    raise ValueError("export: the loss is one of your own, which a file can't hold")


def loss_named(name: str) -> Callable[..., Tensor]:
    """The loss with this name in the table above."""
    if name not in {function for function, _ in _LOSSES}:
        raise ValueError(f"the loss {name!r} is not known here")
    loss: Callable[..., Tensor] = vars(F)[name]
    return loss


def loss_of_each(loss_func: Any, output: Any, target: Tensor) -> Tensor:
    """The loss of each image (N,): the mean over what there is of it, such as several labels."""
    if isinstance(loss_func, Module) and hasattr(loss_func, "reduction"):
        each = copy.copy(loss_func)
        each.reduction = "none"
        found = each(output, target)
    elif _takes_reduction(loss_func):
        found = loss_func(output, target, reduction="none")
    else:  # any loss of a batch is that of its image, where there is one
        found = stack([loss_func(at(output, slice(i, i + 1)), target[i : i + 1]) for i in range(len(target))])
    return found if found.ndim == 1 else found.reshape(len(found), -1).mean(1)


def _takes_reduction(loss_func: Any) -> bool:
    try:
        parameters = inspect.signature(loss_func).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "reduction" or p.kind is p.VAR_KEYWORD for p in parameters)


def names_of(kind: str, decoded: Any, vocab: Sequence[Any] | None) -> list[str]:
    """A word for each of some answers, or labels: (N, …) -> N texts."""
    rows = np.asarray(decoded)
    if kind == "numbers":
        return [", ".join(f"{value:.4g}" for value in np.ravel(row)) for row in rows]
    if kind == "labels" and rows.ndim > 1 and rows.shape[1] > 1:
        names = [str(i) for i in range(rows.shape[1])] if vocab is None else list(map(str, vocab))
        return ["; ".join(names[i] for i in np.flatnonzero(row)) or "none" for row in rows]
    numbers = [int(np.ravel(row)[0]) for row in rows]
    return [str(number if vocab is None else vocab[number]) for number in numbers]


def sureness(kind: str, probabilities: Any) -> Any:
    """How probable the answer is: (N, …) -> (N,); NaN for numbers, which have no probability."""
    p = np.asarray(probabilities)
    if kind == "numbers":
        return np.full(len(p), np.nan)
    if kind == "labels":
        p = np.maximum(p, 1 - p).reshape(len(p), -1)
        return p.min(1)
    return p.reshape(*p.shape[:2], -1).max(1).mean(1)


# Batches and outputs of any nesting ----------------------------------------------------------------------------------


def in_order(dl: Any) -> Any:
    """A loader of the same images, all of them, unchanged, in the order of the data set; `dl` doesn't notice."""
    if not getattr(dl, "shuffle", False):
        return dl
    dl = copy.copy(dl)
    dl.shuffle = dl.drop_last = False
    return dl


def at(value: Any, rows: Any) -> Any:
    """The rows of a tensor, or of all tensors in a tuple, list or dict."""
    if isinstance(value, dict):
        return {name: at(part, rows) for name, part in value.items()}
    return type(value)(at(part, rows) for part in value) if isinstance(value, (tuple, list)) else value[rows]


def joined(parts: Sequence[Any]) -> Any:
    """Outputs of some batches as those of one: tensors, or tuples, lists and dicts of such."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, (tuple, list)):
        return type(first)(joined(part) for part in zip(*parts, strict=True))
    if not first.ndim:
        raise ValueError("the model gives one number for a whole batch; it must give one, or more, for each image")
    return cat(list(parts))
