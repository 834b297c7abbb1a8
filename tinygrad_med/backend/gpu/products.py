"""The product of a batch with a weight matrix."""

from __future__ import annotations

from tinygrad_med.backend import Array


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """As `cpu.linear`."""
    z = x @ weight.T
    z += bias
    return z
