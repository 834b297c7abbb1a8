"""Operations that make many elements one: sums, extremes, and what is built from them.

`dim` is an int, several, or `None` for all; `keepdim=True` leaves a reduced dim with length 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.broadcast import cast, expand
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.dtypes import float16, float32, float64
from tinygrad_med.engine.compiled import all_at_once
from tinygrad_med.ops.dims import all_dims, bools_are_bools, integer, one_dim
from tinygrad_med.ops.elementwise import _keep, exp, maximum, minimum, sqrt, where
from tinygrad_med.ops.half import half_in_single
from tinygrad_med.ops.indexing import gather
from tinygrad_med.ops.shape import _reshape, cat, flip, narrow, squeeze

__all__ = [
    "ValuesAndIndices",
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "cumsum",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "softmax",
    "sort",
    "std",
    "sum",
    "topk",
    "var",
]


def restore(g: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """g, whose `dims` were reduced away or to length 1, with these dims back at length 1."""
    return _reshape(g, shape=tuple(1 if i in dims else n for i, n in enumerate(shape)))


def in_dtype(x: Any, dtype: Any) -> Any:
    """x in `dtype`, if one is given."""
    return x if dtype is None else x.to(dtype=dtype)


def summed_in(x: Any, dtype: Any) -> Any:
    """x in `dtype`, if one is given, else in int64 where it holds integers or bools."""
    return in_dtype(x, "int64" if dtype is None and isinstance(x, Tensor) and x.dtype.kind not in "fc" else dtype)


def reduced_dims(x: Any, dim: Any, operation: str) -> tuple[int, ...]:
    """The dims of x that `dim` names, in order; all of them for `None` and, as in PyTorch, for ()."""
    none = dim is None or (isinstance(dim, (tuple, list)) and not dim)
    return all_dims(None if none else dim, len(x.shape), operation)


# Sums ---------------------------------------------------------------------------------------------------------------


@primitive
def _sum(xp, x, *, dims, keepdim):
    """z = Σ x over `dims`

    ∂x: g broadcast to the shape of x
    """
    return kernels(xp).sum(x, dims, keepdim)


_sum.vjp(x=lambda g, x_shape, dims: expand(restore(g, x_shape, dims), shape=x_shape))


@method
@bools_are_bools
def sum(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """Σ x over `dim`, in `dtype` if one is given; integers and bools are otherwise summed in int64."""
    x = summed_in(x, dtype)
    return _sum(x, dims=reduced_dims(x, dim, "sum"), keepdim=keepdim)


@primitive(single=True)
def _mean(xp, x, *, dims, keepdim):
    """z = Σ x / n over `dims`

    ∂x: g / n broadcast to the shape of x
    """
    n = math.prod(x.shape[d] for d in dims)
    total = kernels(xp).sum(x, dims, keepdim)
    return total / n if n else total * math.nan


_mean.vjp(
    x=lambda g, x_shape, dims: expand(
        restore(g, x_shape, dims) / (math.prod(x_shape[d] for d in dims) or 1), shape=x_shape
    )
)


@method
@bools_are_bools
def mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The mean over `dim`, in `dtype` if one is given; NaN over no elements."""
    x = in_dtype(x, dtype)
    if isinstance(x, Tensor) and x.dtype.kind not in "fc":
        raise TypeError(f"mean: needs a float tensor, got {x.dtype}; use x.float().mean()")
    return _mean(x, dims=reduced_dims(x, dim, "mean"), keepdim=keepdim)


@method
@bools_are_bools
@half_in_single
def var(
    x: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> Tensor:
    """Σ (x − mean)² / (n − correction) over `dim`.

    Args:
        x: any shape.
        dim: an int, several, or `None` for all.
        unbiased: PyTorch's older argument, `True` for a correction of 1 and `False` for 0; also in the place of `dim`,
            as in `x.var(False)`.
        keepdim: leave the reduced dims with length 1.
        correction: what to subtract from the number of elements; `None` is 1.
    """
    if isinstance(dim, bool) and unbiased is None:
        dim, unbiased = None, dim
    if unbiased is not None and not isinstance(unbiased, bool):
        raise TypeError(f"var: unbiased must be True or False, got {unbiased!r}; give several dims as a tuple")
    if unbiased is not None or correction is None:
        correction = int(unbiased is not False)
    dims = reduced_dims(x, dim, "var")
    n = math.prod(x.shape[d] for d in dims)
    centred = x - mean(x, dims, keepdim=True)
    total = sum(centred * centred, dims, keepdim)
    return total / (n - correction) if n > correction else total * math.nan


@method
@bools_are_bools
def std(
    x: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> Tensor:
    """The square root of `var`, of the same arguments; where that is 0 its gradient is 0.

    Computed in float64: in float32 the squares of 1e20 are infinite and those of 1e-30 are 0.
    """
    if x.dtype in (float16, float32):
        wide = std(cast(x, dtype=float64), dim, unbiased, keepdim, correction=correction)
        return cast(wide, dtype=x.dtype)
    return _root(var(x, dim, unbiased, keepdim, correction=correction), 2)


def _root(x: Any, p: float) -> Any:
    """The p-th root of a sum of powers, with a gradient of 0 at 0, where it has its kink."""
    inside = where(x == 0, 1.0, x)
    return where(x == 0, 0.0, sqrt(inside) if p == 2 else inside ** (1 / p))


@primitive
def _cumsum(xp, x, *, dim):
    """zᵢ = Σ xⱼ over j ≤ i

    ∂x: Σ gⱼ over j ≥ i
    """
    wide = float64 if x.dtype in (float16, float32) else x.dtype  # it adds one number after the other
    return xp.cumsum(x, dim, dtype=wide).astype(x.dtype)


_cumsum.vjp(x=lambda g, dim: flip(_cumsum(flip(g, dim), dim=dim), dim))


@method
@bools_are_bools
def cumsum(x: Any, dim: int, dtype: Any = None) -> Any:
    """The running sum along `dim`, in `dtype` if one is given; integers and bools are otherwise summed in int64."""
    x = summed_in(x, dtype)
    return _cumsum(x, dim=one_dim(dim, len(x.shape), "cumsum")) if x.shape else x * 1


@method
@bools_are_bools
def prod(x: Any, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The product of all elements or of those along `dim`, in `dtype` if one is given; that of integers in int64."""
    x = summed_in(x, dtype)
    if dim is None:
        x, dim = _reshape(x, shape=(-1,)), 0
    d = one_dim(dim, len(x.shape), "prod")
    if not x.shape:
        return x * 1
    z = _product(x, d)
    return z if keepdim else squeeze(z, d)


@half_in_single
def _product(x: Any, dim: int) -> Any:
    """The product along `dim`, which stays with length 1.

    Halves are multiplied with each other until one is left: log₂ n multiplications of tensors, whose rules give every
    derivative, also where factors are zero.
    """
    if x.shape[dim] == 0:
        return sum(x, dim, keepdim=True) + 1
    z = x * 1
    while (n := z.shape[dim]) > 1:
        product = narrow(z, dim, 0, n // 2) * narrow(z, dim, n // 2, n // 2)
        z = cat([product, narrow(z, dim, n - 1, 1)], dim) if n % 2 else product
    return z


# Extremes -----------------------------------------------------------------------------------------------------------


@method
@primitive(differentiable=False)
def argmax(xp, x, *, dim=None, keepdim=False):
    """The position of the largest element (the first of several), in the flattened x or along `dim`"""
    return xp.argmax(x, dim, keepdims=keepdim)


@method
@primitive(differentiable=False)
def argmin(xp, x, *, dim=None, keepdim=False):
    """The position of the smallest element (the first of several), in the flattened x or along `dim`"""
    return xp.argmin(x, dim, keepdims=keepdim)


@primitive(differentiable=False)
def _argsort(xp, x, *, dim, descending):
    """The positions of the elements along `dim` in order of size; equal ones stay in their order"""
    if not descending:
        return xp.argsort(x, dim, kind="stable")
    backwards = xp.argsort(xp.flip(x, dim), dim, kind="stable")
    return xp.flip(x.shape[dim] - 1 - backwards, dim)


@method
@bools_are_bools
def argsort(x: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The positions of the elements along `dim` in order of size; equal ones stay in their order, `stable` or not."""
    d = one_dim(dim, len(x.shape), "argsort")
    return _argsort(x, dim=d, descending=descending) if len(x.shape) else argmax(x)


class ValuesAndIndices(NamedTuple):
    """What `max` and `min` along a dim, `sort` and `topk` return: the elements, and where they were."""

    values: Any
    indices: Any


@primitive
def _amax(xp, x, *, dims, keepdim):
    """z = the largest x over `dims`

    ∂x: g at the maximum; where several are equal, g in equal parts
    """
    return x.max(dims, keepdims=keepdim)


@primitive
def _amin(xp, x, *, dims, keepdim):
    """z = the smallest x over `dims`

    ∂x: g at the minimum; where several are equal, g in equal parts
    """
    return x.min(dims, keepdims=keepdim)


def _share_among_equals(g: Any, z: Any, x: Any, dims: tuple[int, ...]) -> Any:
    shape = tuple(x.shape)
    chosen = x == restore(z, shape, dims)
    count = _sum(g.dtype.type(1) * chosen, dims=dims, keepdim=True)
    return _keep(restore(g, shape, dims) / count, mask=chosen)


for _extreme in (_amax, _amin):
    _extreme.vjp(x=lambda g, z, x, dims: _share_among_equals(g, z, x, dims))


@method
@bools_are_bools
def amax(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element over `dim`. The gradient is shared evenly among equal ones."""
    return _amax(x, dims=_nonempty(x, dim, "amax"), keepdim=keepdim)


@method
@bools_are_bools
def amin(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element over `dim`. The gradient is shared evenly among equal ones."""
    return _amin(x, dims=_nonempty(x, dim, "amin"), keepdim=keepdim)


@method
@bools_are_bools
def max(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element of x; or along `dim` the largest and its index; or, of two tensors, the larger one.

    Without `dim` the gradient is shared evenly among equal maxima, along a dim the first one gets all of it: first the
    position is chosen, then the element is read.
    """
    return _extreme_of(x, dim if other is None else other, keepdim, "max")


@method
@bools_are_bools
def min(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element of x; the rest as for `max`."""
    return _extreme_of(x, dim if other is None else other, keepdim, "min")


def _extreme_of(x: Any, dim: Any, keepdim: bool, name: str) -> Any:
    if not hasattr(x, "shape"):
        raise TypeError(f"{name}: expects a tensor, got {x!r}")
    if isinstance(dim, Tensor):
        return (maximum if name == "max" else minimum)(x, dim)
    if dim is None:
        return (amax if name == "max" else amin)(x, None, keepdim)
    (d,) = _nonempty(x, dim, name) or (0,)
    if not x.shape:
        return ValuesAndIndices(x * 1, (x != x).long())
    positions = (argmax if name == "max" else argmin)(x, dim=d, keepdim=True)
    values = gather(x, d, positions)
    if keepdim:
        return ValuesAndIndices(values, positions)
    return ValuesAndIndices(squeeze(values, d), squeeze(positions, d))


def _nonempty(x: Any, dim: Any, operation: str) -> tuple[int, ...]:
    dims = reduced_dims(x, dim, operation)
    if 0 in [x.shape[d] for d in dims]:
        raise ValueError(f"{operation}: there is no extreme of no elements, in dim {dims} of shape {tuple(x.shape)}")
    return dims


@method
@bools_are_bools
def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> ValuesAndIndices:
    """The elements along `dim` in order of size, and where they were; equal ones stay in order, `stable` or not."""
    positions = argsort(x, one_dim(dim, x.ndim, "sort"), descending, stable)
    return ValuesAndIndices(gather(x, dim, positions), positions)


@method
@bools_are_bools
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """The k largest (or smallest) elements along `dim` in order of size, `sorted` or not, and where they were."""
    d, k = one_dim(dim, x.ndim, "topk"), integer(k, "topk", "k")
    length = x.shape[d] if x.ndim else 1
    if not 0 <= k <= length:
        raise ValueError(f"topk: k={k} is not between 0 and the length {length} of dim {dim}")
    positions = argsort(x, d, largest)
    positions = narrow(positions, d, 0, k) if x.ndim else positions
    return ValuesAndIndices(gather(x, d, positions), positions)


@method
@primitive(differentiable=False)
def any(xp, x, *, dim=None, keepdim=False):
    """Whether an element is true, of all or along `dim`"""
    return xp.any(x, tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim)


@method
@primitive(differentiable=False)
def all(xp, x, *, dim=None, keepdim=False):
    """Whether every element is true, of all or along `dim`"""
    return xp.all(x, tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim)


# Sums of exponentials -----------------------------------------------------------------------------------------------


@primitive(single=True)
def _logsumexp(xp, x, *, dims, keepdim):
    """z = log Σ eˣ over `dims`, with the maximum taken out so that nothing overflows

    ∂x: g · eˣ⁻ᶻ
    """
    largest = x.max(dims, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, 0)
    z = xp.log(kernels(xp).sum(xp.exp(x - largest), dims, keepdims=True)) + largest
    return z if keepdim else z.reshape([n for i, n in enumerate(x.shape) if i not in dims])


def _logsumexp_rule(g: Any, z: Any, x: Any, dims: tuple[int, ...]) -> Any:
    shape = tuple(x.shape)
    return restore(g, shape, dims) * exp(x - restore(z, shape, dims))


_logsumexp.vjp(x=_logsumexp_rule)


@method
@bools_are_bools
def logsumexp(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """log Σ eˣ over `dim`, finite wherever the result is; −∞ over no elements."""
    dims = reduced_dims(x, dim, "logsumexp")
    if 0 in [x.shape[d] for d in dims]:
        return sum(x, dims, keepdim) - math.inf
    return _logsumexp(x, dims=dims, keepdim=keepdim)


@primitive(single=True)
def _softmax(xp, x, *, dims):
    """zᵢ = eˣᵢ / Σⱼ eˣⱼ over `dims`

    ∂x: z · (g − Σ g · z)
    """
    e = xp.exp(x - x.max(dims, keepdims=True))
    return e / kernels(xp).sum(e, dims, keepdims=True)


_softmax.vjp(x=lambda g, z, dims: z * (g - _sum(g * z, dims=dims, keepdim=True)))


@method
@bools_are_bools
def softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    """eˣᵢ / Σⱼ eˣⱼ along `dim`, in `dtype` if one is given."""
    x, dims = in_dtype(x, dtype), all_dims((dim,), len(x.shape), "softmax")
    return x * 1 if 0 in x.shape else _softmax(x, dims=dims)


@primitive(single=True)
def _log_softmax(xp, x, *, dims):
    """zᵢ = xᵢ − log Σⱼ eˣⱼ over `dims`

    ∂x: g − eᶻ · Σ g
    """
    return kernels(xp).log_softmax(x, dims)


_log_softmax.vjp(x=lambda g, z, dims: g - exp(z) * _sum(g, dims=dims, keepdim=True))


@all_at_once(_log_softmax)
def _log_softmax_joint(g, z, dims, needed):
    return (kernels(backend.array_module(g)).log_softmax_backward(g, z, dims),)


@method
@bools_are_bools
def log_softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    """xᵢ − log Σⱼ eˣⱼ along `dim`, in `dtype` if one is given."""
    x, dims = in_dtype(x, dtype), all_dims((dim,), len(x.shape), "log_softmax")
    return x * 1 if 0 in x.shape else _log_softmax(x, dims=dims)
