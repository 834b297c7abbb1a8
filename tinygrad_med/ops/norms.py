"""Norms of vectors and matrices, and distances."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_med.core.methods import method
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.dims import bools_are_bools, one_dim
from tinygrad_med.ops.elementwise import abs, sign, where
from tinygrad_med.ops.half import half_in_single
from tinygrad_med.ops.linear_algebra import _epsilon, _from_lower, _matrices, inv, svdvals
from tinygrad_med.ops.rearrange import movedim
from tinygrad_med.ops.reduce import _root, amax, amin, in_dtype, sum
from tinygrad_med.ops.shape import _reshape, narrow, squeeze, unsqueeze

__all__ = ["cdist", "dist", "norm"]


@half_in_single
def p_norm(x: Any, p: float, dim: Any, keepdim: bool) -> Any:
    """(Σ |x|ᵖ)^(1/p) over `dim`; what `norm` and `vector_norm` share."""
    if p in (math.inf, -math.inf):
        return (amax if p > 0 else amin)(abs(x), dim, keepdim)
    if p == 0:
        return sum(abs(sign(x)), dim, keepdim)
    if p == 1:
        return sum(abs(x), dim, keepdim)
    if p == 2:
        return _root(sum(x * x, dim, keepdim), 2)
    powers = where(x == 0, 0.0 if p > 0 else math.inf, abs(where(x == 0, 1.0, x)) ** p)
    return _root(sum(powers, dim, keepdim), p)


@method
@bools_are_bools
def norm(x: Any, p: float | str | None = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """(Σ |x|ᵖ)^(1/p) over `dim`; the largest |x| for p = ∞, the smallest for −∞, how many x ≠ 0 for p = 0.

    Where it has a kink, at x = 0, the gradient is 0, and so is the gradient's own, where PyTorch's is NaN.

    Args:
        x: any shape.
        p: a number, `"fro"` or `None` for 2, or `"nuc"` for the sum of a matrix's singular values.
        dim: an int, several, or `None` for all.
        keepdim: leave the reduced dims with length 1.
        dtype: compute in it.
    """
    if p == "nuc":
        return matrix_norm(x, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if p in ("fro", None):
        p = 2
    if isinstance(p, str):
        raise ValueError(f"norm: p={p!r} is unknown; give a number, 'fro' or 'nuc'")
    return p_norm(in_dtype(x, dtype), p, dim, keepdim)


def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """(Σ |x|ᵖ)^(1/p) over `dim`, of all elements by default; the largest |x| for p = ∞, how many x ≠ 0 for p = 0."""
    if isinstance(ord, (str, bool)):
        raise TypeError(f"vector_norm: ord must be a number, got {ord!r}; use matrix_norm")
    x = in_dtype(x, dtype)
    if x.dtype.kind != "f":
        raise TypeError(f"vector_norm: needs a float tensor, got {x.dtype}; use .float()")
    if isinstance(dim, (tuple, list)) and not dim:
        dim = None
    return p_norm(x, ord, dim, keepdim)


def matrix_norm(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of matrices in two dims.

    Args:
        A: at least two dims.
        ord: `"fro"` for (Σ x²)^½, `"nuc"` for the sum of the singular values, 2 and −2 for the largest and smallest of
            them, 1 and −1 for the largest and smallest sum of |x| of a column, ∞ and −∞ of a row.
        dim: the dims of the rows and the columns.
        keepdim: leave them with length 1.
        dtype: compute in it.
    """
    _matrices("matrix_norm", A)
    A = in_dtype(A, dtype)
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise ValueError(f"matrix_norm: dim must name two dims, got {dim!r}")
    rows, columns = (one_dim(d, len(A.shape), "matrix_norm") for d in dim)
    if rows == columns:
        raise ValueError(f"matrix_norm: dim={tuple(dim)} names one dim twice")
    if ord == "fro":
        return p_norm(A, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        s = svdvals(movedim(A, (rows, columns), (-2, -1)))
        z = s.sum(-1) if ord == "nuc" else (amax if ord == 2 else amin)(s, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        over, then = (rows, columns) if ord in (1, -1) else (columns, rows)
        z = (amax if ord > 0 else amin)(sum(abs(A), over), then - (then > over))
    else:
        raise ValueError(f"matrix_norm: ord={ord!r} is unknown; give 'fro', 'nuc', ±1, ±2, ±inf")
    if not keepdim:
        return z
    return _reshape(z, shape=tuple(1 if i in (rows, columns) else n for i, n in enumerate(A.shape)))


def linalg_norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """`vector_norm` or `matrix_norm`: matrices where `dim` names two dims, or where `ord` is given and A has two.

    Without `ord` it is the root of the sum of squares, over all elements without `dim`.
    """
    if dim is None and ord is not None:
        if len(A.shape) > 2:
            raise ValueError(f"norm: say by dim which dims of shape {tuple(A.shape)} ord={ord!r} is for")
        dim = (0, 1) if len(A.shape) == 2 else None
    if isinstance(ord, str) or (ord is not None and isinstance(dim, (tuple, list)) and len(dim) == 2):
        if not isinstance(dim, (tuple, list)) or len(dim) != 2:
            raise ValueError(f"norm: ord={ord!r} is for matrices; name their two dims by dim")
        return matrix_norm(A, ord, dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def cond(A: Any, p: Any = None) -> Any:
    """The condition number ‖A‖ · ‖A⁻¹‖; by the singular values where p is `None`, 2 or −2."""
    _matrices("cond", A)
    if p in (None, 2, -2):
        s = svdvals(A)
        first, last = squeeze(narrow(s, -1, 0, 1), -1), squeeze(narrow(s, -1, s.shape[-1] - 1, 1), -1)
        return last / first if p == -2 else first / last
    _matrices("cond", A, square=True)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """How many singular values are larger than max(atol, rtol · the largest); rtol is max(m, n) · ε by default."""
    _matrices("matrix_rank", A, square=bool(hermitian))
    s = svdvals(_from_lower(A.detach()) if hermitian else A.detach())
    atol = tol if atol is None else atol
    if rtol is None:
        rtol = 0.0 if atol is not None else max(A.shape[-2:]) * _epsilon(A)
    largest = amax(s, -1, keepdim=True) if s.shape[-1] else sum(s, -1, keepdim=True)
    bound = largest * _column(rtol)
    if atol is not None:
        bound = bound.maximum(bound * 0 + _column(atol))
    return sum((s > bound).long(), -1)


def _column(x: Any) -> Any:
    return unsqueeze(x, -1) if isinstance(x, Tensor) and x.ndim else x


@method
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """‖x − y‖ₚ; the operands are broadcast."""
    return p_norm(input - other, p, None, False)


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Any:
    """‖x − y‖ₚ of all pairs of rows, (…, m, d) and (…, n, d) -> (…, m, n); `compute_mode` is accepted."""
    del compute_mode
    if len(x1.shape) < 2 or len(x2.shape) < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"cdist: expects (…, m, d) and (…, n, d), got {tuple(x1.shape)} and {tuple(x2.shape)}")
    return p_norm(unsqueeze(x1, -2) - unsqueeze(x2, -3), p, -1, False)
