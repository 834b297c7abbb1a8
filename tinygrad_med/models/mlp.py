"""A small net: linear, ReLU, linear. The smallest that can come close to any function, given enough hidden units."""

from __future__ import annotations

from tinygrad_med import nn


def mlp(pixels: int = 64 * 64, hidden: int = 128, outputs: int = 6) -> nn.Sequential:
    """log_softmax(relu(x @ W₁ᵀ + b₁) @ W₂ᵀ + b₂): (N, pixels) -> (N, outputs)

    Each hidden unit is a linear model of its own, whose answer counts only where it is positive. Its weights can't
    start at zero: units that start equal would stay equal. They are drawn from `manual_seed`'s stream.
    """
    return nn.Sequential(
        nn.Linear(pixels, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
        nn.LogSoftmax(dim=-1),
    )
