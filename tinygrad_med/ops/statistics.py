"""More reductions and running ones: medians, quantiles, products so far, counts, differences.

`dim` and `keepdim` mean what they mean in `reduce.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from tinygrad_med import backend
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import get_default_dtype
from tinygrad_med.engine.conversions import as_array
from tinygrad_med.ops.dims import bools_are_bools, integer, one_dim
from tinygrad_med.ops.elementary import logaddexp
from tinygrad_med.ops.elementwise import clone, isnan, where
from tinygrad_med.ops.half import half_in_single
from tinygrad_med.ops.indexing import gather
from tinygrad_med.ops.rearrange import diagonal
from tinygrad_med.ops.reduce import (
    ValuesAndIndices,
    _nonempty,
    amax,
    amin,
    argsort,
    cumsum,
    in_dtype,
    mean,
    sort,
    std,
    sum,
    summed_in,
    var,
)
from tinygrad_med.ops.shape import _reshape, cat, flatten, narrow, permute, squeeze, transpose, unbind, unsqueeze

__all__ = [
    "aminmax",
    "bincount",
    "bucketize",
    "corrcoef",
    "count_nonzero",
    "cov",
    "cummax",
    "cummin",
    "cumprod",
    "cumulative_trapezoid",
    "diff",
    "histc",
    "isin",
    "kthvalue",
    "logcumsumexp",
    "median",
    "mode",
    "msort",
    "nanmean",
    "nanmedian",
    "nanquantile",
    "nansum",
    "quantile",
    "searchsorted",
    "std_mean",
    "trapezoid",
    "trapz",
    "var_mean",
]


# Running reductions -------------------------------------------------------------------------------------------------


def _scan(parts: tuple[Any, ...], dim: int, combine: Callable[..., tuple[Any, ...]]) -> tuple[Any, ...]:
    """What an associative `combine(earlier, later)` makes of the elements up to each one, in log₂ n steps."""
    n, step = parts[0].shape[dim], 1
    while step < n:
        combined = combine(
            tuple(narrow(p, dim, 0, n - step) for p in parts), tuple(narrow(p, dim, step, n - step) for p in parts)
        )
        parts = tuple(cat([narrow(p, dim, 0, step), c], dim) for p, c in zip(parts, combined, strict=True))
        step *= 2
    return parts


def _running(x: Any, dim: int, operation: str, combine: Callable[[Any, Any], Any]) -> Any:
    d = one_dim(dim, len(x.shape), operation)
    return _scan((x,), d, lambda a, b: (combine(a[0], b[0]),))[0] * 1 if len(x.shape) else x * 1


@method
@bools_are_bools
def cumprod(input: Any, dim: int, dtype: Any = None) -> Any:
    """The running product along `dim`, in `dtype` if one is given; that of integers and bools in int64.

    Made of products of tensors, whose rules give every derivative, also where factors are zero.
    """
    return _running(summed_in(input, dtype), dim, "cumprod", lambda a, b: a * b)


@method
@bools_are_bools
def logcumsumexp(input: Any, dim: int) -> Any:
    """log Σ eˣ of the elements so far along `dim`, finite wherever the result is."""
    return _running(input, dim, "logcumsumexp", logaddexp)


@method
@bools_are_bools
def cummax(input: Any, dim: int) -> ValuesAndIndices:
    """The largest element so far along `dim`, and its index, the last of several equal ones."""
    return _running_extreme(input, dim, "cummax", lambda a, b: b >= a)


@method
@bools_are_bools
def cummin(input: Any, dim: int) -> ValuesAndIndices:
    """The smallest element so far along `dim`, and its index, the last of several equal ones."""
    return _running_extreme(input, dim, "cummin", lambda a, b: b <= a)


def _running_extreme(x: Any, dim: int, operation: str, takes_over: Callable[[Any, Any], Any]) -> ValuesAndIndices:
    d = one_dim(dim, len(x.shape), operation)
    if not len(x.shape):
        return ValuesAndIndices(x * 1, (x != x).long() * 0)

    def combine(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        later = (takes_over(a[0], b[0]) & ~isnan(a[0])) | isnan(b[0])
        return where(later, b[0], a[0]), where(later, b[1], a[1])

    xp = backend.array_module(x.array)
    places = xp.arange(x.shape[d]).reshape([-1 if i == d else 1 for i in range(x.ndim)])
    places = wrap(xp.ascontiguousarray(xp.broadcast_to(places, x.shape)))
    _, positions = _scan((x.detach(), places), d, combine)
    return ValuesAndIndices(gather(x, d, positions), positions)


# By rank ------------------------------------------------------------------------------------------------------------


def _shared_among(x: Any, value: Any) -> Any:
    """`value`, an element of x, whose gradient goes in equal parts to the elements that equal it."""
    if x.dtype.kind != "f":
        return value
    chosen = (x == value) | (isnan(x) & isnan(value))
    apart = where(chosen, x - where(chosen, x, 0.0).detach(), 0.0)
    return value + where(isnan(apart), 0.0, apart).sum() / max(1, int(chosen.sum()))


def _ranked(x: Any, dim: int, keepdim: bool, rank: Any) -> ValuesAndIndices:
    """The element of rank `rank(sorted, d)` along `dim`, and its position."""
    d = one_dim(dim, x.ndim, "median")
    if not x.ndim:
        return ValuesAndIndices(x * 1, argsort(x))
    positions = argsort(x.detach(), d)
    chosen = gather(positions, d, rank(gather(x.detach(), d, positions), d))
    values = gather(x, d, chosen)
    return ValuesAndIndices(*((values, chosen) if keepdim else (squeeze(values, d), squeeze(chosen, d))))


def _median(input: Any, dim: Any, keepdim: bool, operation: str, ignore_nan: bool) -> Any:
    def rank(ordered: Any, d: int) -> Any:  # NaN is last
        n, nans = ordered.shape[d], isnan(ordered).long().sum(d, keepdim=True)
        if ignore_nan:
            return ((n - nans - 1) // 2).clamp(min=0)
        return where(nans > 0, n - 1, (n - 1) // 2 + nans * 0)

    if dim is None:
        flat = flatten(input)
        if not flat.shape[0]:
            return sum(flat) * math.nan if flat.dtype.kind == "f" else sum(flat)
        return _shared_among(input, _ranked(flat.detach(), 0, False, rank).values)
    _nonempty(input, dim, operation)
    return _ranked(input, dim, keepdim, rank)


@method
@bools_are_bools
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element of x, the lower one of two; or along `dim` it and its index. NaN if one is NaN.

    Without `dim` the gradient is shared evenly among equal ones, along a dim the chosen one gets all of it.
    """
    return _median(input, dim, keepdim, "median", ignore_nan=False)


@method
@bools_are_bools
def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle one of the elements that are not NaN; the rest as for `median`."""
    return _median(input, dim, keepdim, "nanmedian", ignore_nan=True)


@method
@bools_are_bools
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The k-th smallest element along `dim`, counted from 1, and its index."""
    d, k = one_dim(dim, input.ndim, "kthvalue"), integer(k, "kthvalue", "k")
    if not 1 <= k <= (input.shape[d] if input.ndim else 1):
        raise ValueError(f"kthvalue: k={k} is not within the length of dim {dim} of shape {tuple(input.shape)}")
    return _ranked(input, d, keepdim, lambda x, d: (narrow(x, d, 0, 1) != 0).long() * 0 + (k - 1))


@method
def msort(input: Any) -> Any:
    """The elements along the first dim in order of size."""
    return sort(input, 0).values


@method
@bools_are_bools
def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """The number below which a share q of the elements lie.

    Args:
        input: float, any shape.
        q: a number in [0, 1], or a vector of them, whose results are the first dim.
        dim: along which; `None` for all elements.
        keepdim: leave the reduced dim with length 1.
        interpolation: between two elements `"linear"`, `"lower"`, `"higher"`, `"midpoint"` or `"nearest"`.
    """
    return _quantile(input, q, dim, keepdim, interpolation, "quantile")


@method
@bools_are_bools
def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """As `quantile`, of the elements that are not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, "nanquantile")


def _quantile(input: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str, operation: str) -> Any:
    if input.dtype.kind != "f":
        raise TypeError(f"{operation}: needs a float tensor, got {input.dtype}; use .float()")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise ValueError(
            f"{operation}: interpolation={interpolation!r} is unknown; give 'linear', 'lower', 'higher', 'midpoint' or "
            "'nearest'"
        )
    if isinstance(q, Tensor) and q.dtype != input.dtype:
        raise TypeError(f"{operation}: q must have the dtype {input.dtype} of x, got {q.dtype}")
    return _quantile_at(input, q, dim, keepdim, interpolation, operation)


@half_in_single
def _quantile_at(input: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str, operation: str) -> Any:
    shares = q if isinstance(q, Tensor) else wrap(as_array(q, input.dtype, input.device))
    if shares.ndim > 1 or not bool(((shares >= 0) & (shares <= 1)).all()):
        raise ValueError(f"{operation}: q must be numbers in [0, 1], one or a vector of them, got {q!r}")
    shape = tuple(input.shape)
    x = flatten(input) if dim is None else (input if input.ndim else _reshape(input, shape=(1,)))
    d = 0 if dim is None else one_dim(dim, len(shape), operation)
    if not x.shape[d]:
        raise ValueError(f"{operation}: there is no quantile of no elements, in dim {dim} of shape {shape}")
    kept = tuple(1 for _ in shape) if dim is None else tuple(1 if i == d else n for i, n in enumerate(shape))
    ordered, _ = sort(x, d)
    n = x.shape[d]
    nans = isnan(ordered.detach()).long().sum(d, keepdim=True)
    last = (n - 1 - nans).clamp(min=0) if operation == "nanquantile" else nans * 0 + (n - 1)
    results = []
    for share in unbind(shares.reshape(-1)):
        place = last.to(input.dtype) * share
        if operation == "quantile":
            place = where(nans > 0, float(n - 1), place)  # a NaN, which is last
        if interpolation == "nearest":
            place = place.round()
        fixed = place.detach()
        low = fixed.floor().long() if interpolation != "higher" else fixed.ceil().long()
        high = fixed.ceil().long() if interpolation in ("linear", "midpoint") else low
        below, above = gather(ordered, d, low), gather(ordered, d, high)
        weight = 0.5 if interpolation == "midpoint" else place - low.to(input.dtype)
        z = below + where(below == above, 0.0, (above - below) * weight)
        results.append(_reshape(z, shape=kept if keepdim else tuple(m for i, m in enumerate(z.shape) if i != d)))
    if shares.ndim:
        return cat([unsqueeze(z, 0) for z in results], 0)
    return results[0]


# Without NaN, and counted -------------------------------------------------------------------------------------------


@method
@bools_are_bools
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Σ of the elements that are not NaN over `dim`."""
    x = in_dtype(input, dtype)
    return sum(where(isnan(x), 0.0, x) if x.dtype.kind == "f" else x, dim, keepdim)


@method
@bools_are_bools
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean of the elements that are not NaN over `dim`."""
    x = in_dtype(input, dtype)
    if x.dtype.kind != "f":
        raise TypeError(f"nanmean: needs a float tensor, got {x.dtype}; use x.float()")
    return _nanmean(x, dim, keepdim)


@half_in_single
def _nanmean(x: Any, dim: Any, keepdim: bool) -> Any:
    return nansum(x, dim, keepdim) / sum((~isnan(x)).to(x.dtype), dim, keepdim)


@method
@bools_are_bools
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are not 0, in all or over `dim`."""
    return sum((input != 0).long(), dim)


class StdAndMean(NamedTuple):
    """What `std_mean` returns."""

    std: Any
    mean: Any


class VarAndMean(NamedTuple):
    """What `var_mean` returns."""

    var: Any
    mean: Any


@bools_are_bools
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> StdAndMean:
    """The standard deviation and the mean; the arguments are those of `var`."""
    spread = std(input, dim, unbiased, keepdim, correction=correction)
    return StdAndMean(spread, mean(input, None if isinstance(dim, bool) else dim, keepdim))


@bools_are_bools
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> VarAndMean:
    """The variance and the mean; the arguments are those of `var`."""
    spread = var(input, dim, unbiased, keepdim, correction=correction)
    return VarAndMean(spread, mean(input, None if isinstance(dim, bool) else dim, keepdim))


class MinAndMax(NamedTuple):
    """What `aminmax` returns."""

    min: Any
    max: Any


@method
@bools_are_bools
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> MinAndMax:
    """The smallest and the largest element over `dim`, the gradient shared evenly among equal ones."""
    return MinAndMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


# Differences and integrals ------------------------------------------------------------------------------------------


@method
@bools_are_bools
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The differences of neighbours along `dim`, n times; first with `prepend` before and `append` after x."""
    d = one_dim(dim, len(input.shape), "diff")
    if not len(input.shape):
        raise ValueError("diff: expects at least one dim, got a 0-d tensor")
    if integer(n, "diff", "n") < 0:
        raise ValueError(f"diff: n must not be negative, got {n}")
    if n == 0:
        return input
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, d) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[d])):
        m = x.shape[d]
        later, earlier = narrow(x, d, min(1, m), max(0, m - 1)), narrow(x, d, 0, max(0, m - 1))
        x = (later ^ earlier) if x.dtype == bool else later - earlier
    return x


def _widths_and_sums(y: Any, x: Any, dx: Any, dim: int, operation: str) -> Any:
    d = one_dim(dim, len(y.shape), operation)
    n = y.shape[d] if len(y.shape) else 0
    both = narrow(y, d, min(1, n), max(0, n - 1)) + narrow(y, d, 0, max(0, n - 1))
    if x is None:
        return both * (dx / 2), d
    if len(x.shape) == 1 and len(y.shape) > 1:
        if x.shape[0] != n:
            raise ValueError(f"{operation}: x of shape {tuple(x.shape)} does not fit dim {dim} of y {tuple(y.shape)}")
        x = _reshape(x, shape=tuple(-1 if i == d else 1 for i in range(len(y.shape))))
    if len(x.shape) != len(y.shape):
        along = d - len(y.shape)
        return both * (diff(x, dim=along) / 2), d
    return both * (diff(x, dim=d) / 2), d


@bools_are_bools
def trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
    """∫ y dx along `dim` by the trapezoidal rule, at the places x or at distances dx."""
    if x is not None and dx != 1.0:
        raise TypeError("trapezoid: give x or dx, not both")
    areas, d = _widths_and_sums(y, x, dx, dim, "trapezoid")
    return sum(areas, d - len(y.shape))


@bools_are_bools
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
    """∫ y dx up to each place along `dim` by the trapezoidal rule."""
    if x is not None and dx != 1.0:
        raise TypeError("cumulative_trapezoid: give x or dx, not both")
    areas, d = _widths_and_sums(y, x, dx, dim, "cumulative_trapezoid")
    return cumsum(areas, d - len(y.shape))


trapz = trapezoid


@method
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariances of the rows of x, whose columns are observations.

    Args:
        input: (variables, observations), or a vector for one variable.
        correction: what to subtract from the number of observations.
        fweights: how often each observation counts, integers; aweights: how much it counts.
    """
    if len(input.shape) > 2:
        raise ValueError(f"cov: expects at most two dims, got shape {tuple(input.shape)}")
    x = input if input.dtype.kind == "f" else input.to(get_default_dtype())
    x = x if len(x.shape) == 2 else _reshape(x, shape=(1, math.prod(x.shape)))
    n = x.shape[1]
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is not None and (len(w.shape) > 1 or math.prod(w.shape) != n):
            raise ValueError(f"cov: {name} of shape {tuple(w.shape)} must have one number for each of {n} observations")
        if w is not None and (w < 0).any():
            raise ValueError(f"cov: {name} must not be negative")
    if fweights is not None and fweights.dtype.kind not in "iu":
        raise TypeError(f"cov: fweights must be integers, got {fweights.dtype}")
    if aweights is not None and aweights.dtype.kind != "f":
        raise TypeError(f"cov: aweights must be floats, got {aweights.dtype}")
    weights = fweights if aweights is None else (aweights if fweights is None else fweights * aweights)
    if weights is None:
        centred = x - (mean(x, 1, keepdim=True) if n else 0)
        total: Any = n
        scaled = centred
    else:
        w = weights
        total = w.sum()
        centred = x - (x * w).sum(1, keepdim=True) / total
        scaled = centred * w
        if aweights is not None and correction:
            total = total - correction * (w * aweights).sum() / total
            correction = 0
    degrees = total - correction
    degrees = degrees.clamp(min=0) if isinstance(degrees, Tensor) else max(0, degrees)
    c = scaled @ transpose(centred, 0, 1)
    c = c / degrees if isinstance(degrees, Tensor) or degrees else c * math.nan
    return c if c.shape[0] != 1 else _reshape(c, shape=())


@method
def corrcoef(input: Any) -> Any:
    """The correlations of the rows of x, whose columns are observations."""
    c = cov(input)
    if not len(c.shape):
        return c / c
    spread = diagonal(c) ** 0.5
    return (c / unsqueeze(spread, 1) / unsqueeze(spread, 0)).clamp(-1, 1)


# Asked outside the graph --------------------------------------------------------------------------------------------


@primitive(differentiable=False)
def isin(xp, elements, test_elements, *, invert=False, assume_unique=False):
    """Whether each element is among the test elements, or, inverted, is not"""
    return xp.isin(elements, test_elements, invert=invert, assume_unique=assume_unique)


@method
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2 … occurs in a vector of integers, or the sum of the weights where it does.

    int64, or float64 with weights, if they are not float32.
    """
    if input.ndim != 1 or input.dtype.kind not in "iu" or (input.numel() and int(input.min()) < 0):
        raise ValueError(f"bincount: expects a vector of integers not below 0, got {input.dtype} {tuple(input.shape)}")
    if minlength < 0:
        raise ValueError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        raise ValueError(f"bincount: weights of shape {tuple(weights.shape)} for input of shape {tuple(input.shape)}")
    xp = backend.array_module(input.array)
    counted = xp.bincount(input.array, None if weights is None else weights.array, minlength=minlength)
    return wrap(counted.astype("float32") if weights is not None and weights.dtype == "float32" else counted)


def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Where in ascending numbers each element of x would have to stand.

    Args:
        sorted_sequence: (n,), or (…, n) with the dims before the last those of x.
        input: numbers, any shape.
        out_int32: give int32 instead of int64.
        right: behind equal elements instead of before them; `side="right"` says the same.
        side: `"left"` or `"right"`.
        sorter: where the numbers stand in ascending order, if they don't themselves: what `argsort` gives.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ValueError(f"searchsorted: side={side!r} does not fit right={right}; give 'left' or 'right'")
    after = right or side == "right"
    numbers = input.array if isinstance(input, Tensor) else as_array(input, None, sorted_sequence.device)
    edges = (sorted_sequence if sorter is None else gather(sorted_sequence, -1, sorter)).array
    if edges.ndim != 1 and edges.shape[:-1] != numbers.shape[:-1]:
        raise ValueError(f"searchsorted: {edges.shape} and {numbers.shape} must agree but for the last dim")
    dtype = "int32" if out_int32 else "int64"
    if edges.ndim == 1:
        places = backend.array_module(edges).searchsorted(edges, numbers, "right" if after else "left")
        return wrap(places.astype(dtype))
    above = (edges[..., None, :] > numbers[..., None]) if after else (edges[..., None, :] >= numbers[..., None])
    return wrap((~above).sum(-1, dtype=dtype))  # NaN stands behind all others


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """Which of the intervals between ascending boundaries each element lies in: `searchsorted`, the other way."""
    if boundaries.ndim != 1:
        raise ValueError(f"bucketize: the boundaries must be a vector, got shape {tuple(boundaries.shape)}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@method
def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements lie in each of so many equal intervals from `min` to `max` (of x, where both are 0)."""
    if bins < 1:
        raise ValueError(f"histc: bins must be positive, got {bins}")
    if min > max:
        raise ValueError(f"histc: min={min} is above max={max}")
    if min == max and input.numel():
        min, max = float(input.min()), float(input.max())
    if not (-math.inf < min and max < math.inf):
        raise ValueError(f"histc: the range from {min} to {max} is not finite; give min and max")
    if min == max:
        min, max = min - 1, max + 1
    xp = backend.array_module(input.array)
    counts, _ = xp.histogram(input.array, bins, (min, max))
    return wrap(counts.astype(input.dtype))


@method
@bools_are_bools
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The element that occurs most often along `dim`, the smallest of several, and where it occurs last."""
    d = one_dim(dim, input.ndim, "mode")
    if not input.ndim:
        return ValuesAndIndices(clone(input), argsort(input))
    _nonempty(input, d, "mode")
    order = [i for i in range(input.ndim) if i != d] + [d]
    x = permute(input.detach(), order)  # (…, n)
    a, b = unsqueeze(x, -1), unsqueeze(x, -2)
    counts = ((a == b) | (isnan(a) & isnan(b))).long().sum(-1)
    most = counts == counts.amax(-1, keepdim=True)
    big, last = (x, math.inf) if x.dtype.kind == "f" else (x.long(), 2**63 - 1)
    chosen = most & (big == where(most & ~isnan(x), big, last).amin(-1, keepdim=True))
    chosen = where(unsqueeze(chosen.any(-1), -1), chosen, most)  # where NaN alone occurs most often
    xp = backend.array_module(x.array)
    places = where(chosen, wrap(xp.arange(x.shape[-1])), -1).amax(-1, keepdim=True)
    inverse = sorted(range(input.ndim), key=order.__getitem__)
    places = permute(places, inverse)
    values = gather(input, d, places)
    return ValuesAndIndices(*((values, places) if keepdim else (squeeze(values, d), squeeze(places, d))))
