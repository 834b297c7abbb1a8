"""Sums over any dims."""

from __future__ import annotations

from tinygrad_med.backend import Array


def sum(x: Array, dims: tuple[int, ...], keepdims: bool = False) -> Array:
    """As `cpu.sum`: Σ x over `dims`, float16 in float32. CuPy adds in pairs along any dim."""
    if x.dtype == "float16":
        return x.sum(dims, dtype="float32", keepdims=keepdims).astype(x.dtype)
    return x.sum(dims, keepdims=keepdims)
