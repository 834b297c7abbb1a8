"""The product of a batch with a weight matrix, taken in the order in which BLAS computes it faster.

x · weightᵀ and (weight · xᵀ)ᵀ are the same numbers. OpenBLAS splits and packs the two operands in different ways, and
where the weights have far more rows than the batch, the second way takes half of the first one's time: for 16 images
and 1000 classes of a ResNet, 0.06 instead of 0.15 ms. Small products, and those of one row, have ways of their own.

This file knows matrices; it doesn't know layers.
"""

from __future__ import annotations

import numpy as np

SMALL = 1 << 20
"""Up to so many products of two numbers, OpenBLAS multiplies without packing, and the order is no matter."""


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x · weightᵀ + bias, (N, in), (out, in), (out,) → (N, out) in the order of the dims."""
    rows, columns = len(x), len(weight)
    in_order = x.flags.c_contiguous and weight.flags.c_contiguous
    if 1 < rows <= columns // 2 and x.size * columns > SMALL and in_order:
        turned = (weight @ x.T).T
        return np.add(turned, bias, out=np.empty(turned.shape, turned.dtype))
    z: np.ndarray = x @ weight.T
    z += bias
    return z
