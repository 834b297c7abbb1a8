"""log softmax and its derivative."""

from __future__ import annotations

import numpy as np

from .sums import sum


def log_softmax(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """xᵢ − log Σⱼ eˣⱼ over `dims`, with the maximum taken out so that nothing overflows; of what is not empty."""
    shifted = x - x.max(dims, keepdims=True)
    z: np.ndarray = shifted - np.log(sum(np.exp(shifted), dims, keepdims=True))
    return z


def log_softmax_backward(g: np.ndarray, z: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """g − eᶻ Σ g over `dims`, for z = log_softmax(x)."""
    return g - np.exp(z) * sum(g, dims, keepdims=True)
