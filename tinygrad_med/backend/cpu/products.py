"""Products of matrices, cut and ordered so that BLAS computes them faster.

OpenBLAS copies ("packs") the operands of a product before it multiplies. With its kernels for AVX-512 it multiplies
small products, of up to a million pairs of numbers, where they lie, and that is up to 1.5 times faster. So a large
product is cut into small ones: `in_parts` cuts the right operand, once for many products, `product` the left one.

x · weightᵀ and (weight · xᵀ)ᵀ are the same numbers. OpenBLAS splits and packs the two operands in different ways, and
where the weights have far more rows than the batch, the second way takes half of the first one's time: for 16 images
and 1000 classes of a ResNet, 0.06 instead of 0.15 ms. Small products, and those of one row, have ways of their own.

This file knows matrices; it doesn't know layers.
"""

from __future__ import annotations

import numpy as np

from .threads import openblas_kernels

SMALL = 1 << 20
"""Up to so many products of two numbers, OpenBLAS multiplies without packing, and the order is no matter."""
MULTIPLIES_SMALL = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""OpenBLAS's kernels that multiply small products without packing."""
PAIRS = 1_000_000
"""How many pairs of numbers such a product has at most."""
WIDTHS, ROWS = (64, 32), 8
"""How many columns such a product has, fewer if it is deep, and how many rows it should have at least."""
THIN, THIN_ROWS = 64, 32
"""Up to how many columns a product is thin, or pieces it is cut into, and how many rows these have."""


def part_width(depth: int, width: int, dtype: np.dtype) -> int:
    """How many columns the parts have into which a right operand (depth, width) is best cut for `product`."""
    for some in WIDTHS if _multiplies_small(dtype) else ():
        if width % some == 0 and depth * some * ROWS <= PAIRS:
            return some
    return width


def in_parts(b: np.ndarray) -> np.ndarray:
    """A right operand (…, D, K) as `product` takes it, (…, parts, D, columns of a part), each part in one piece."""
    depth, width = b.shape[-2:]
    some = part_width(depth, width, b.dtype)
    return np.ascontiguousarray(np.moveaxis(b.reshape(*b.shape[:-1], -1, some), -2, -3))


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out[…] = a @ b, with b in parts: a (…, P, D), b (…, parts, D, some), out (…, P, parts · some)."""
    (rows, depth), (parts, _, some) = a.shape[-2:], b.shape[-3:]
    a, z = a[..., None, :, :], np.moveaxis(out.reshape(*out.shape[:-1], parts, some), -2, -3)
    most = PAIRS // max(1, depth * some)
    if rows <= most or most < ROWS or not _multiplies_small(a.dtype):
        np.matmul(a, b, out=z)
        return out
    group = -(-rows // -(-rows // most))  # even groups of rows
    whole = rows // group * group
    np.matmul(_groups(a[..., :whole, :], group), b[..., None, :, :], out=_groups(z[..., :whole, :], group))
    np.matmul(a[..., whole:, :], b, out=z[..., whole:, :])
    return out


def thin(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, (M, D) and (D, P), where b has few columns: a, which has many numbers, is read once, where it lies.

    The depth is cut as well, so that each product has rows enough, and what the pieces give is added.
    """
    (rows, depth), width = a.shape, b.shape[1]
    cuts = (n for n in range(1, THIN + 1) if depth % n == 0 and depth // n * width * THIN_ROWS <= PAIRS)
    pieces = next(cuts, 0)
    if not pieces or width > THIN or rows % THIN_ROWS or not (a.size and b.size and _multiplies_small(a.dtype)):
        return a @ b
    left = a.reshape(-1, THIN_ROWS, pieces, depth // pieces).swapaxes(1, 2)  # (groups of rows, pieces, rows, depth)
    z: np.ndarray = np.matmul(left, b.reshape(pieces, depth // pieces, width)).sum(1)
    return z.reshape(rows, width)


def _multiplies_small(dtype: np.dtype) -> bool:
    return dtype == np.float32 and openblas_kernels() in MULTIPLIES_SMALL


def _groups(a: np.ndarray, rows: int) -> np.ndarray:
    """(…, P, D) → a view (…, P / rows, rows, D)."""
    return a.reshape(*a.shape[:-2], -1, rows, a.shape[-1])


def matmul(x: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """x @ y for matrices, or stacks of them."""
    z: np.ndarray = np.matmul(x, y, out=out)
    return z


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
