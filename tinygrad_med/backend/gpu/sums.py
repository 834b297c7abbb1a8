"""Sums over any dims, and what undoes them in a gradient."""

from __future__ import annotations

from tinygrad_med.backend import Array, array_module


def sum(x: Array, dims: tuple[int, ...], keepdims: bool = False) -> Array:
    """As `cpu.sum`: Σ x over `dims`, float16 in float32. CuPy adds in pairs along any dim."""
    if x.dtype == "float16":
        return x.sum(dims, dtype="float32", keepdims=keepdims).astype(x.dtype)
    return x.sum(dims, keepdims=keepdims)


def broadcast_to(x: Array, shape: tuple[int, ...]) -> Array:
    """As `cpu.broadcast_to`: x broadcast to a shape."""
    return array_module(x).broadcast_to(x, shape)
