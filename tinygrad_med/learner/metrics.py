"""How good are predictions? Functions of the model's outputs (N, classes) and the labels (N,)."""

from __future__ import annotations

from tinygrad_med.core.tensor import Tensor


def accuracy(output: Tensor, target: Tensor) -> float:
    """The share of right answers."""
    return float((output.argmax(-1) == target).float().mean().item())


def error_rate(output: Tensor, target: Tensor) -> float:
    """The share of wrong answers."""
    return 1 - accuracy(output, target)
