"""Linear algebra: inverses, determinants and decompositions of the matrices in the last two dims.

A decomposition has several factors, a primitive one output: so `eigh`, `qr` and `svd` are computed as one matrix whose
rows are the factors below each other, and taken apart by `narrow`. Rules are written with matrix products and solves,
so their derivatives are there too. The formulas are those of M. B. Giles, "An extended collection of matrix derivative
results for forward and reverse mode algorithmic differentiation", 2008, where no other source is named.

Where a derivative does not exist it is infinite or NaN: for equal eigenvalues or singular values, as soon as the
vectors are used, and for singular matrices. Vectors are unique only up to their sign.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.dims import integer, one_dim
from tinygrad_med.ops.elementwise import abs, where
from tinygrad_med.ops.indexing import index
from tinygrad_med.ops.matmul import matmul
from tinygrad_med.ops.rearrange import (
    broadcast_shapes,
    broadcast_tensors,
    diag_embed,
    diagonal as _diagonal,
    roll,
)
from tinygrad_med.ops.reduce import prod, sum
from tinygrad_med.ops.shape import _reshape, cat, expand, narrow, permute, squeeze, transpose, tril, triu, unsqueeze

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "det",
    "inner",
    "kron",
    "logdet",
    "matrix_power",
    "qr",
    "slogdet",
    "tensordot",
    "vdot",
]


def _mT(x: Any) -> Any:
    return transpose(x, -1, -2)


def _matrices(operation: str, *found: Any, square: bool = False) -> None:
    """Raise an error unless these are matrices of floats, and square ones if asked."""
    for x in found:
        shape = tuple(x.shape)
        if len(shape) < 2:
            raise ValueError(f"{operation}: expects matrices in the last two dims, got shape {shape}")
        if square and shape[-1] != shape[-2]:
            raise ValueError(f"{operation}: expects square matrices in the last two dims, got shape {shape}")
        if x.dtype.kind != "f":
            raise TypeError(f"{operation}: needs a float tensor, got {x.dtype}; use .float()")


def _eye(x: Any, n: int) -> Any:
    return backend.array_module(x.array if isinstance(x, Tensor) else x).eye(n, dtype=x.dtype)


# Inverses and systems of equations ----------------------------------------------------------------------------------


@primitive
def _inv(xp, x):
    """z = x⁻¹

    ∂x: −zᵀ · g · zᵀ
    """
    return xp.linalg.inv(x)


@primitive
def _solve(xp, x, y):
    """z = x⁻¹ · y, matrices in the last two dims, the dims before them broadcast

    ∂x: −x⁻ᵀ · g · zᵀ
    ∂y: x⁻ᵀ · g
    """
    return xp.linalg.solve(x, y)


@primitive
def _pinv(xp, x, *, rcond):
    """z = the pseudoinverse of x, which takes singular values below rcond times the largest for 0

    ∂x: −zᵀ g zᵀ + (1 − x z) gᵀ z zᵀ + zᵀ z gᵀ (1 − z x) (Golub and Pereyra 1973)
    """
    return xp.linalg.pinv(x, rcond)


_inv.vjp(x=lambda g, z: -(_mT(z) @ g @ _mT(z)))
_solve.vjp(x=lambda g, x, z: -(_solve(_mT(x), g) @ _mT(z)), y=lambda g, x: _solve(_mT(x), g))


def _pinv_rule(g: Any, x: Any, z: Any) -> Any:
    zT, gT = _mT(z), _mT(g)
    first = -(zT @ g @ zT)
    rest = gT @ (z @ zT)
    last = (zT @ z) @ gT
    return first + (rest - x @ (z @ rest)) + (last - (last @ z) @ x)


_pinv.vjp(x=_pinv_rule)


def inv(A: Any) -> Any:
    """The inverse of square matrices, (…, n, n).

    Raises:
        ValueError: for a singular matrix, on the CPU.
    """
    _matrices("inv", A, square=True)
    return _inv(A)


def _from_lower(A: Any) -> Any:
    """The symmetric matrices of which A has the lower triangle."""
    return tril(A) + _mT(tril(A, -1))


def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The pseudoinverse (Moore 1920, Penrose 1955), (…, m, n) -> (…, n, m).

    Args:
        A: matrices.
        rcond, rtol: singular values up to so large a share of the largest count as 0; by default max(m, n) · ε.
        hermitian: take A for symmetric, and look at its lower triangle only.
        atol: only 0 is understood.
    """
    _matrices("pinv", A, square=bool(hermitian))
    A = _from_lower(A) if hermitian else A
    if isinstance(atol, float) and atol:
        raise NotImplementedError("pinv: atol is not supported; give rtol, a share of the largest singular value")
    share = rtol if rtol is not None else rcond
    if share is None:
        share = max(A.shape[-2:]) * _epsilon(A)
    if 0 in A.shape:
        return _mT(A) * 1
    return _pinv(A, rcond=share.array if isinstance(share, Tensor) else share)


def _epsilon(x: Any) -> float:
    return {2: 2.0**-10, 4: 2.0**-23, 8: 2.0**-52}[x.dtype.itemsize]


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X with A · X = B, or X · A = B unless `left`.

    Args:
        A: (…, n, n).
        B: (…, n, k), or vectors: (n,), or (…, n) where it has one dim less than A and the same dims before.
        left: on which side A stands.
    """
    _matrices("solve", A, square=True)
    vector = len(B.shape) == 1 or (len(A.shape) - 1 == len(B.shape) and tuple(A.shape[:-1]) == tuple(B.shape))
    y = unsqueeze(B, -1) if vector else B
    if vector and not left:
        raise ValueError("solve: left=False needs matrices on the right side, got vectors; use B.unsqueeze(-2)")
    if (y.shape[-2] if left else y.shape[-1]) != A.shape[-1]:
        raise ValueError(f"solve: A {tuple(A.shape)} and B {tuple(B.shape)} don't have the same number of equations")
    batch = broadcast_shapes(A.shape[:-2], y.shape[:-2])
    A, y = expand(A, (*batch, *A.shape[-2:])), expand(y, (*batch, *y.shape[-2:]))
    z = _solve(A, y) if left else _mT(_solve(_mT(A), _mT(y)))
    return squeeze(z, -1) if vector else z


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X with A · X = B (X · A = B unless `left`) for triangular A, of which only the triangle is looked at.

    Args:
        A: (…, n, n).
        B: (…, n, k).
        upper: which triangle.
        left: on which side A stands.
        unitriangular: take the diagonal as ones.
    """
    _matrices("solve_triangular", A, square=True)
    if len(B.shape) < 2:
        raise ValueError(f"solve_triangular: B must be matrices, got shape {tuple(B.shape)}")
    T = _triangle(A, upper, unitriangular)
    return solve(T, B, left=left) if len(B.shape) >= 2 else solve(T, unsqueeze(B, -1), left=left)


def _triangle(A: Any, upper: bool, unit: bool = False) -> Any:
    if not unit:
        return triu(A) if upper else tril(A)
    return (triu(A, 1) if upper else tril(A, -1)) + _eye(A, A.shape[-1])


@method
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """X with A · X = B, for the Cholesky factor L of A."""
    _matrices("cholesky_solve", B, L)
    T = _triangle(L, upper)
    return solve(_mT(T) @ T if upper else T @ _mT(T), B)


@method
def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A, for its Cholesky factor L."""
    _matrices("cholesky_inverse", L, square=True)
    T = _triangle(L, upper)
    return inv(_mT(T) @ T if upper else T @ _mT(T))


# Determinants -------------------------------------------------------------------------------------------------------


@primitive
def _det(xp, x):
    """z = det x

    ∂x: g · the cofactors of x: z x⁻ᵀ, or, of a singular x, the determinants of what is left without a row and a column
    """
    return xp.linalg.det(x)


@primitive
def _logabsdet(xp, x):
    """z = log |det x|

    ∂x: g · x⁻ᵀ
    """
    return xp.linalg.slogdet(x)[1]


@primitive(differentiable=False)
def _sign_of_det(xp, x):
    """The sign of det x"""
    return xp.linalg.slogdet(x)[0]


def _det_rule(g: Any, x: Any, z: Any) -> Any:
    g = unsqueeze(unsqueeze(g, -1), -1)
    scale = prod((x * x).sum(-1), -1) ** 0.5  # Hadamard's bound of |det x|
    if bool((abs(z) > 1e-12 * scale).all()):
        return g * unsqueeze(unsqueeze(z, -1), -1) * _mT(_inv(x))
    return g * _cofactors(x)


def _cofactors(x: Any) -> Any:
    n = x.shape[-1]
    if n == 1:
        return x * 0 + 1
    xp = backend.array_module(x.array if isinstance(x, Tensor) else x)
    other = xp.asarray([[j for j in range(n) if j != i] for i in range(n)])  # (n, n − 1)
    lead = (slice(None),) * (len(x.shape) - 2)
    minors = index(x, key=(*lead, other[:, None, :, None], other[None, :, None, :]))  # (…, n, n, n − 1, n − 1)
    signs = xp.asarray([[(-1.0) ** (i + j) for j in range(n)] for i in range(n)], dtype=x.dtype)
    return _det(minors) * signs


_det.vjp(x=_det_rule)
_logabsdet.vjp(x=lambda g, x: unsqueeze(unsqueeze(g, -1), -1) * _mT(_inv(x)))


@method
def det(A: Any) -> Any:
    """The determinant of square matrices, (…, n, n) -> (…)."""
    _matrices("det", A, square=True)
    return _det(A)


class SignAndLogabsdet(NamedTuple):
    """What `slogdet` returns."""

    sign: Any
    logabsdet: Any


@method
def slogdet(A: Any) -> SignAndLogabsdet:
    """The sign of the determinant, and the logarithm of its size, which does not overflow; (…, n, n) -> (…), (…)."""
    _matrices("slogdet", A, square=True)
    return SignAndLogabsdet(_sign_of_det(A), _logabsdet(A))


@method
def logdet(A: Any) -> Any:
    """log det A, NaN where the determinant is negative."""
    _matrices("logdet", A, square=True)
    sign, size = slogdet(A)
    return where(sign < 0, math.nan, size) if not isinstance(A, Tensor) or A.numel() else size


# Decompositions -----------------------------------------------------------------------------------------------------


@primitive
def _cholesky(xp, x):
    """z = the lower triangular matrix with z · zᵀ = x

    ∂x: z⁻ᵀ Φ z⁻¹ symmetrized, with Φ = the lower triangle of zᵀ g, its diagonal halved (Murray 2016, arXiv:1602.07527)
    """
    return xp.linalg.cholesky(x)


def _cholesky_rule(g: Any, z: Any) -> Any:
    phi = tril(_mT(z) @ g)
    phi = phi - 0.5 * diag_embed(_diagonal(phi, 0, -2, -1))
    s = _mT(_solve(_mT(z), _mT(_solve(_mT(z), phi))))
    return 0.5 * (s + _mT(s))


_cholesky.vjp(x=_cholesky_rule)


@method
def cholesky(A: Any, *, upper: bool = False) -> Any:
    """The lower triangular L with L · Lᵀ = A, or the upper Lᵀ, of symmetric positive definite matrices.

    Only the lower triangle of A is looked at, but the gradient goes to both, as in PyTorch.

    Raises:
        ValueError: for a matrix that is not positive definite, on the CPU.
    """
    _matrices("cholesky", A, square=True)
    L = _cholesky(A)
    return _mT(L) if upper else L


@primitive
def _eigh(xp, x, *, upper):
    """z = the eigenvectors of a symmetric matrix as columns, and below them a row of the eigenvalues w, ascending

    ∂x: v (F ∘ vᵀ gᵥ + diag g_w) vᵀ, with Fᵢⱼ = 1 / (wⱼ − wᵢ), 0 on the diagonal
    """
    w, v = xp.linalg.eigh(x, "U" if upper else "L")
    return xp.concatenate((v, w[..., None, :]), -2)


def _eigh_rule(g: Any, z: Any) -> Any:
    n = z.shape[-1]
    v, w = narrow(z, -2, 0, n), narrow(z, -2, n, 1)
    gv, gw = narrow(g, -2, 0, n), narrow(g, -2, n, 1)
    return v @ ((_mT(v) @ gv) * _inverse_differences(w, w) + _eye(z, n) * gw) @ _mT(v)


def _inverse_differences(w: Any, _: Any) -> Any:
    """1 / (wⱼ − wᵢ) of a row (…, 1, n), and 0 on the diagonal."""
    n = w.shape[-1]
    xp = backend.array_module(w.array if isinstance(w, Tensor) else w)
    main = xp.eye(n, dtype=bool)
    return where(main, 0.0, 1 / where(main, 1.0, w - _mT(w)))


_eigh.vjp(x=_eigh_rule)


class Eigh(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Any
    eigenvectors: Any


def eigh(A: Any, UPLO: str = "L") -> Eigh:
    """The eigenvalues (…, n), ascending, and the eigenvectors, the columns of (…, n, n), of symmetric matrices.

    Args:
        A: (…, n, n).
        UPLO: which triangle is looked at, `"L"` or `"U"`; the gradient goes to all of A.
    """
    _matrices("eigh", A, square=True)
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"eigh: UPLO={UPLO!r} is unknown; give 'L' or 'U'")
    z, n = _eigh(A, upper=UPLO.upper() == "U"), A.shape[-1]
    return Eigh(squeeze(narrow(z, -2, n, 1), -2), narrow(z, -2, 0, n))


def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of symmetric matrices, ascending, (…, n, n) -> (…, n)."""
    return eigh(A, UPLO)[0]


@primitive
def _qr(xp, x):
    """z = the orthonormal columns q of x = q · r, m ≥ n, and below them rᵀ, r being upper triangular

    ∂x: (g_q + q S) r⁻ᵀ, with S the symmetric matrix of the lower triangle of r g_rᵀ − g_qᵀ q
    """
    q, r = xp.linalg.qr(x)
    return xp.concatenate((q, r.swapaxes(-1, -2)), -2)


def _qr_rule(g: Any, z: Any, x_shape: tuple[int, ...]) -> Any:
    m, n = x_shape[-2:]
    q, rT = narrow(z, -2, 0, m), narrow(z, -2, m, n)
    gq, grT = narrow(g, -2, 0, m), narrow(g, -2, m, n)
    lower = tril(_mT(rT) @ grT - _mT(gq) @ q)
    symmetric = lower + _mT(tril(lower, -1))
    return _mT(_solve(_mT(rT), _mT(gq + q @ symmetric)))


_qr.vjp(x=_qr_rule)


class QR(NamedTuple):
    """What `qr` returns."""

    Q: Any
    R: Any


@method
def qr(A: Any, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and R upper triangular, A = Q · R.

    Args:
        A: (…, m, n); with k = min(m, n):
        mode: `"reduced"` for Q (…, m, k) and R (…, k, n); `"complete"` for (…, m, m) and (…, m, n), through which no
            gradient flows where m > n; `"r"` for an empty Q and the reduced R, likewise.
    """
    _matrices("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode={mode!r} is unknown; give 'reduced', 'complete' or 'r'")
    m, n = A.shape[-2:]
    if mode == "r":
        return QR(wrap(_eye(A, 0)[0]), qr(A.detach())[1])
    if mode == "complete" and m > n:
        if isinstance(A, Tensor) and A.requires_grad:
            raise NotImplementedError("qr: mode='complete' has no derivative for m > n; use 'reduced', or A.detach()")
        xp = backend.array_module(A.array)
        return QR(*map(wrap, xp.linalg.qr(A.array, "complete")))
    if m >= n:
        z = _qr(A)
        return QR(narrow(z, -2, 0, m), _mT(narrow(z, -2, m, n)))
    z = _qr(narrow(A, -1, 0, m))  # the first columns give Q, the others follow: R = Qᵀ A
    q = narrow(z, -2, 0, m)
    return QR(q, cat([_mT(narrow(z, -2, m, m)), _mT(q) @ narrow(A, -1, m, n - m)], -1))


@primitive
def _svd(xp, x):
    """z = the factors of x = u · diag(s) · vᵀ below each other: u (m, k), s (1, k), descending, v (n, k); k = min(m, n)

    ∂x: u ((F ∘ A) s + s (F ∘ B) + diag gₛ) vᵀ + (1 − u uᵀ) gᵤ s⁻¹ vᵀ + u s⁻¹ gᵥᵀ (1 − v vᵀ), with A = uᵀ gᵤ − gᵤᵀ u, \
B = vᵀ gᵥ − gᵥᵀ v, and Fᵢⱼ = 1 / (sⱼ² − sᵢ²), 0 on the diagonal
    """
    u, s, vT = xp.linalg.svd(x, full_matrices=False)
    return xp.concatenate((u, s[..., None, :], vT.swapaxes(-1, -2)), -2)


def _svd_parts(z: Any, m: int, n: int) -> tuple[Any, Any, Any]:
    return narrow(z, -2, 0, m), narrow(z, -2, m, 1), narrow(z, -2, m + 1, n)


def _svd_rule(g: Any, z: Any, x_shape: tuple[int, ...]) -> Any:
    m, n = x_shape[-2:]
    u, s, v = _svd_parts(z, m, n)
    gu, gs, gv = _svd_parts(g, m, n)
    F = _inverse_differences(s * s, s)
    a, b = _mT(u) @ gu, _mT(v) @ gv
    inner = (F * (a - _mT(a))) * s + _mT(s) * (F * (b - _mT(b))) + _eye(z, min(m, n)) * gs
    result = u @ inner @ _mT(v)
    if m > n:
        result = result + ((gu - u @ a) / s) @ _mT(v)
    if n > m:
        result = result + (u / s) @ _mT(gv - v @ b)
    return result


_svd.vjp(x=_svd_rule)


class SVD(NamedTuple):
    """What `linalg.svd` returns."""

    U: Any
    S: Any
    Vh: Any


def svd(A: Any, full_matrices: bool = True) -> SVD:
    """A = U · diag(S) · Vh with orthonormal columns of U and rows of Vh, and S descending.

    Args:
        A: (…, m, n); with k = min(m, n):
        full_matrices: U (…, m, m) and Vh (…, n, n) instead of (…, m, k) and (…, k, n). What is more in them is not
            determined by A, and no gradient flows through it.
    """
    _matrices("svd", A)
    m, n = A.shape[-2:]
    u, s, v = _svd_parts(_svd(A), m, n)
    if full_matrices and m != n:
        xp = backend.array_module(A.array)
        whole = xp.linalg.svd(A.array, full_matrices=True)
        k = min(m, n)
        if m > n:
            u = cat([u, wrap(whole[0][..., k:])], -1)
        else:
            v = cat([v, wrap(whole[2][..., k:, :].swapaxes(-1, -2))], -1)
    return SVD(u, squeeze(s, -2), _mT(v))


def svdvals(A: Any) -> Any:
    """The singular values, descending, (…, m, n) -> (…, min(m, n))."""
    return svd(A, full_matrices=False)[1]


# Products -----------------------------------------------------------------------------------------------------------


@method
def matrix_power(A: Any, n: int) -> Any:
    """The product of n times the square matrices A; of the inverse for negative n, the identity for 0."""
    _matrices("matrix_power", A, square=True)
    n = integer(n, "matrix_power", "n")
    if n < 0:
        A, n = inv(A), -n
    result = None
    while n:
        if n & 1:
            result = A if result is None else result @ A
        n >>= 1
        A = A @ A if n else A
    return A * 0 + _eye(A, A.shape[-1]) if result is None else result * 1


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices; the first and the last may be vectors."""
    if len(tensors) < 2:
        raise ValueError(f"multi_dot: expects at least two tensors, got {len(tensors)}")
    if any(len(x.shape) != 2 for x in tensors[1:-1]) or any(len(x.shape) not in (1, 2) for x in tensors):
        raise ValueError(f"multi_dot: expects matrices, got shapes {[tuple(x.shape) for x in tensors]}")
    if len(tensors[0].shape) == 1:  # from the left, so that it stays a vector
        result = tensors[0]
        for x in tensors[1:]:
            result = matmul(result, x)
        return result
    result = tensors[-1]
    for x in reversed(tensors[:-1]):
        result = matmul(x, result)
    return result


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """Σ x · y along `dim`, the other dims broadcast."""
    return sum(x * y, dim)


def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product of vectors of length 3 along `dim`, the other dims broadcast."""
    if len(input.shape) != len(other.shape):
        raise ValueError(f"cross: {tuple(input.shape)} and {tuple(other.shape)} must have as many dims")
    d = one_dim(dim, len(input.shape), "cross")
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise ValueError(f"cross: dim {dim} must have length 3, got {tuple(input.shape)} and {tuple(other.shape)}")
    x, y = broadcast_tensors(input, other)
    return roll(x, -1, d) * roll(y, -2, d) - roll(x, -2, d) * roll(y, -1, d)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of the matrices in two dims, by default the last two."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Any, N: int | None = None) -> Any:
    """Rows of the powers 0 … N − 1 of each element, (…, n) -> (…, n, N)."""
    x = x if len(x.shape) else _reshape(x, shape=(1,))
    n = x.shape[-1] if N is None else integer(N, "vander", "N")
    if n < 1:
        raise ValueError(f"vander: N must be positive, got {n}")
    powers = [x * 0 + 1]
    for _ in range(n - 1):
        powers.append(powers[-1] * x)
    return cat([unsqueeze(p, -1) for p in powers], -1)


def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse of A as a map from its last dims to its first `ind` ones."""
    if integer(ind, "tensorinv", "ind") < 1:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(first) != math.prod(last):
        raise ValueError(f"tensorinv: the dims {first} and {last} must have as many elements")
    return _reshape(inv(_reshape(A, shape=(math.prod(first), -1))), shape=(*last, *first))


def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """X with A · X = B, A being a map from its last dims to those of B; `dims` are first moved to the end."""
    if dims is not None:
        moved = [one_dim(d, len(A.shape), "tensorsolve") for d in dims]
        A = permute(A, [d for d in range(len(A.shape)) if d not in moved] + moved)
    result = tuple(A.shape[len(B.shape) :])
    n = math.prod(result)
    if math.prod(A.shape[: len(B.shape)]) != n:
        raise ValueError(f"tensorsolve: A {tuple(A.shape)} and B {tuple(B.shape)} don't make a square system")
    return _reshape(solve(_reshape(A, shape=(n, n)), _reshape(B, shape=(n,))), shape=result)


@method
def inner(input: Any, other: Any) -> Any:
    """Σ x · y over the last dim of both, for all pairs of their other dims; of numbers the product."""
    if not len(input.shape) or not len(other.shape):
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise ValueError(f"inner: the last dims of {tuple(input.shape)} and {tuple(other.shape)} differ")
    return tensordot(input, other, ([-1], [-1]))


@method
def vdot(input: Any, other: Any) -> Any:
    """The inner product of two vectors."""
    if len(input.shape) != 1 or len(other.shape) != 1:
        raise ValueError(f"vdot: expects two vectors, got {tuple(input.shape)} and {tuple(other.shape)}")
    return matmul(input, other)


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Σ a · b over several dims.

    Args:
        a, b: any shapes.
        dims: how many of the last dims of a and the first of b; or two lists, of dims of a and of dims of b.
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (tuple, list)):
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    else:
        n = integer(dims, "tensordot", "dims")
        if not 0 <= n <= min(len(a.shape), len(b.shape)):
            raise ValueError(f"tensordot: dims={n} for shapes {tuple(a.shape)} and {tuple(b.shape)}")
        left, right = list(range(len(a.shape) - n, len(a.shape))), list(range(n))
    left = [one_dim(d, len(a.shape), "tensordot") for d in left]
    right = [one_dim(d, len(b.shape), "tensordot") for d in right]
    a = _summed_beside_ones(a, left, b, right)
    b = _summed_beside_ones(b, right, a, left)
    if [a.shape[d] for d in left] != [b.shape[d] for d in right]:
        raise ValueError(f"tensordot: dims {left} of {tuple(a.shape)} and {right} of {tuple(b.shape)} differ in length")
    kept = [d for d in range(len(a.shape)) if d not in left], [d for d in range(len(b.shape)) if d not in right]
    lengths = [a.shape[d] for d in kept[0]], [b.shape[d] for d in kept[1]]
    common = math.prod(a.shape[d] for d in left)
    x = _reshape(permute(a, (*kept[0], *left)), shape=(math.prod(lengths[0]), common))
    y = _reshape(permute(b, (*right, *kept[1])), shape=(common, math.prod(lengths[1])))
    return _reshape(matmul(x, y), shape=(*lengths[0], *lengths[1]))


def _summed_beside_ones(a: Any, left: list[int], b: Any, right: list[int]) -> Any:
    """a with those dims added up that meet a dim of length 1 of b, with which they would be broadcast."""
    dims = [i for i, j in zip(left, right, strict=False) if b.shape[j] == 1 != a.shape[i]]
    return sum(a, dims, keepdim=True) if dims else a


@method
def kron(input: Any, other: Any) -> Any:
    """Kronecker's product: y times each element of x, in blocks."""
    n = max(len(input.shape), len(other.shape))
    sx, sy = ((1,) * (n - len(x.shape)) + tuple(x.shape) for x in (input, other))
    x = _reshape(input, shape=tuple(m for size in sx for m in (size, 1)))
    y = _reshape(other, shape=tuple(m for size in sy for m in (1, size)))
    return _reshape(x * y, shape=tuple(a * b for a, b in zip(sx, sy, strict=True)))
