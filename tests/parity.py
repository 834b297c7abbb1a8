"""Ours beside PyTorch's: value, gradient and gradient of the gradient of one function on the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

import tinygrad_med


def assert_parity(
    torch: ModuleType,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *arrays: np.ndarray,
    tolerance: float = 1e-10,
) -> None:
    """Compare the two in float64, with random upstream gradients; errors are relative to the largest value."""
    names = [
        "value",
        *(f"{order} of operand {i}" for order in ("gradient", "second gradient") for i in range(len(arrays))),
    ]
    found = (_derivatives(tinygrad_med, ours, arrays), _derivatives(torch, theirs, arrays))
    for name, a, b in zip([*names, "second gradient of the upstream one"], *found, strict=True):
        assert a.shape == b.shape, f"{name}: shape {a.shape}, PyTorch has {b.shape}"
        if b.size:
            error = np.abs(a - b).max() / max(1.0, np.abs(b).max())
            assert error <= tolerance, f"{name}: differs from PyTorch's by {error:.1e}"


def _derivatives(library: Any, function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    xs = [library.tensor(a, dtype=library.float64, requires_grad=True) for a in arrays]
    z = function(*xs)
    draw = np.random.default_rng(0).standard_normal  # the same upstream gradients for both libraries
    u = library.tensor(draw(tuple(z.shape)), dtype=library.float64, requires_grad=True)
    first = library.autograd.grad(z, xs, u, create_graph=True)
    weights = [library.tensor(draw(tuple(d.shape)), dtype=library.float64) for d in first]
    total = sum((d * w).sum() for d, w in zip(first, weights, strict=True))
    second = library.autograd.grad(total, [*xs, u], allow_unused=True)
    second = [np.zeros(tuple(x.shape)) if d is None else _numpy(d) for x, d in zip([*xs, u], second, strict=True)]
    return [_numpy(z), *map(_numpy, first), *second]


def _numpy(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy()
