"""Writing elements to places, as new tensors: `scatter`, `index_add`, `index_put` and their like.

What is added somewhere is the adjoint of reading there. What overwrites is a choice, made once and constant: of each
element, whether it is the old one or which of the new ones; from where it comes is then read, which is linear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.methods import method
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.conversions import as_array
from tinygrad_med.ops.dims import one_dim
from tinygrad_med.ops.elementwise import clone, floordiv, isfinite, where
from tinygrad_med.ops.indexing import _along, _index_add, as_keys, check_range, index as _index
from tinygrad_med.ops.rearrange import broadcast_shapes
from tinygrad_med.ops.shape import _reshape, expand, flatten

__all__ = [
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "masked_scatter",
    "masked_select",
    "scatter",
    "scatter_add",
    "scatter_reduce",
]


def _positions(index: Any, operation: str) -> Any:
    positions = index.array if isinstance(index, Tensor) else index
    if positions.dtype.kind not in "iu":
        raise IndexError(f"{operation}: the index must be of an integer dtype, got {positions.dtype}; use .long()")
    return positions


def _as_values(value: Any, x: Any, operation: str) -> Any:
    """A tensor of the dtype of x, of a number or a tensor."""
    if not isinstance(value, Tensor):
        return wrap(as_array(value, x.dtype, x.device))
    if value.dtype != x.dtype:
        raise TypeError(f"{operation}: x is {x.dtype}, what is written {value.dtype}; convert it with .to({x.dtype})")
    return value


def overwrite(x: Any, key: Any, values: Any) -> Any:
    """x with `values` (broadcast to the shape of x[key]) at the places of a key; of several at one place, the last."""
    xp = backend.array_module(x.array)
    owners = xp.full(x.shape, -1)
    shape = owners[key].shape
    n = math.prod(shape)
    if not n:
        return clone(x)
    owners[key] = xp.arange(n).reshape(shape)
    read = _index(_reshape(expand(values, shape), shape=(-1,)), key=xp.maximum(owners, 0))
    return where(owners < 0, x, read)


def add_at(x: Any, key: Any, values: Any) -> Any:
    """x with `values` (broadcast to the shape of x[key]) added at the places of a key, as often as it names them."""
    xp = backend.array_module(x.array)
    shape = xp.empty(x.shape, bool)[key].shape
    return x + _index_add(expand(values, shape), key=key, shape=tuple(x.shape))


# Along one dim ------------------------------------------------------------------------------------------------------


@method
def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """z with z[i, index[i, j, k], k] = src[i, j, k], for dim = 1 of three; x elsewhere.

    Where an index occurs twice, the last one counts, and only its element of `src` gets the gradient.

    Args:
        input: (…, n, …).
        dim: along which the index counts.
        index: integers of as many dims, none longer than x's except along `dim`.
        src: of as many dims, none shorter than the index's; or a number.
        value: PyTorch's other name for a number.
        reduce: `"add"` or `"multiply"`, to combine with what is there.
    """
    src = value if src is None else src
    x, src, key = _scattered(input, dim, index, src, "scatter")
    if key is None:
        return clone(input)
    if reduce == "add":
        z = add_at(x, key, src)
    elif reduce == "multiply":
        z = _multiply_at(x, key, src)
    elif reduce is None:
        z = overwrite(x, key, src)
    else:
        raise ValueError(f"scatter: reduce={reduce!r} is unknown; give 'add' or 'multiply'")
    return _reshape(z, shape=tuple(input.shape))


@method
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """z with src[i, j, k] added at z[i, index[i, j, k], k], for dim = 1 of three; arguments as for scatter."""
    x, src, key = _scattered(input, dim, index, src, "scatter_add")
    return clone(input) if key is None else _reshape(add_at(x, key, src), shape=tuple(input.shape))


@method
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """z[i, index[i, j, k], k] made of all src[i, j, k] that go there, for dim = 1 of three; x elsewhere.

    The gradient of an extreme is shared evenly among equal ones. (PyTorch counts an equal x among them even where
    `include_self=False` leaves it out, and loses its share.)

    Args:
        input, dim, index, src: as for scatter.
        reduce: `"sum"`, `"prod"`, `"mean"`, `"amax"` or `"amin"`.
        include_self: whether what is there is one of them.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise ValueError(f"scatter_reduce: reduce={reduce!r} is unknown; give 'sum', 'prod', 'mean', 'amax' or 'amin'")
    x, src, key = _scattered(input, dim, index, src, "scatter_reduce")
    if key is None:
        return clone(input)
    if not include_self:  # begin with what changes nothing: of extremes, one of them
        first = src.detach() if reduce in ("amax", "amin") else _as_values(int(reduce == "prod"), x, "scatter_reduce")
        x = overwrite(x, key, first)
    if reduce == "prod":
        z = _multiply_at(x, key, src)
    elif reduce in ("amax", "amin"):
        z = _extreme_at(x, key, src, reduce, include_self)
    else:
        z = add_at(x, key, src)
    if reduce == "mean":
        one = _as_values(1, x, "scatter_reduce")
        own = expand(one, tuple(x.shape))
        count = add_at(own if include_self else overwrite(own, key, one - one), key, one).clamp(min=1)
        z = z / count if x.dtype.kind == "f" else floordiv(z, count)
    return _reshape(z, shape=tuple(input.shape))


def _extreme_at(x: Any, key: Any, src: Any, reduce: str, include_self: bool) -> Any:
    """The largest or smallest of x and the src that go to a place, as a constant, with its gradient: even parts."""
    xp = backend.array_module(x.array)
    places = _places(xp, x, key)
    src, places = expand(src, places.shape), places.reshape(-1)
    values = src.array.reshape(-1)
    last = _last_at_each(xp, places, values, descending=reduce == "amin")
    found, to = x.array.flatten(), places[last]  # CuPy's maximum.at rounds float64 to float32, and forgets NaN
    found[to] = (xp.maximum if reduce == "amax" else xp.minimum)(found[to], values[last])
    z = wrap(found.reshape(x.shape))
    if x.dtype.kind != "f":
        return z
    named = xp.zeros(x.shape, bool)
    named[key] = True
    ours = (x == z) & wrap(xp.asarray(include_self | ~named))
    theirs = src == _index(z, key=key)
    count = add_at(ours.to(x.dtype), key, theirs.to(x.dtype)).clamp(min=1)
    return z + add_at(_change(x, ours), key, _change(src, theirs)) / count


def _last_at_each(xp: Any, places: Any, values: Any, descending: bool) -> Any:
    """For each of the places the number of the one value there that is the last in order; NaN comes last of all."""
    order = xp.argsort(values)
    order = order[::-1] if descending else order
    for key in ((values != values).astype(xp.int8), places):  # the more important, the later
        order = order[xp.argsort(key[order], kind="stable")]
    there = places[order]
    return order[xp.append(there[1:] != there[:-1], xp.ones(1, bool))]


def _change(x: Any, chosen: Any) -> Any:
    """0, with the gradient of x where it was chosen."""
    finite = where(chosen, x, 0.0)
    return where(isfinite(finite), finite - finite.detach(), 0.0)


def _scattered(input: Any, dim: int, index: Any, src: Any, operation: str) -> tuple[Any, Any, Any]:
    """x, the part of the source that the index names, and the key, `None` for an empty index."""
    positions = _positions(index, operation)
    one_dim(dim, len(input.shape), operation)
    src = _as_values(src, input, operation)
    if not positions.size:
        return input, src, None
    if max(len(input.shape), positions.ndim) <= 1:  # a 0-d tensor counts as one of one element
        input, positions = _reshape(input, shape=(-1,)), positions.reshape(-1)
        src = _reshape(src, shape=(-1,)) if src.ndim <= 1 else src
    key = _along(input.shape, dim, positions, operation)
    if src.ndim:
        if src.ndim != positions.ndim or any(n > m for n, m in zip(positions.shape, src.shape, strict=True)):
            if src.numel() != 1:
                raise ValueError(f"{operation}: index of shape {positions.shape} is larger than src of {src.shape}")
        else:
            src = src[tuple(slice(n) for n in positions.shape)]
    return input, src, key


def _places(xp: Any, x: Any, key: Any) -> Any:
    """Which elements of x, counted row by row, a key names; in the shape of x[key]."""
    return xp.arange(x.numel()).reshape(x.shape)[key]


def _multiply_at(x: Any, key: Any, src: Any) -> Any:
    """x multiplied by src at the places of a key, by one place after another where a place is named twice."""
    xp = backend.array_module(x.array)
    places = _places(xp, x, key)
    src = _reshape(expand(src, places.shape), shape=(-1,))
    z, places = flatten(x), places.reshape(-1)
    left = xp.arange(places.size)
    while left.size:
        _, first = xp.unique(places[left], return_index=True)
        now = left[first]
        z = overwrite(z, places[now], _index(z, key=places[now]) * _index(src, key=now))
        left = xp.delete(left, first)
    return _reshape(z, shape=tuple(x.shape))


def _slices(input: Any, dim: int, index: Any, operation: str) -> tuple[Any, tuple[Any, ...]]:
    """x with at least one dim, and the key of its slices along `dim` that the index names."""
    positions = _positions(index, operation).reshape(-1)
    d = one_dim(dim, len(input.shape), operation)
    x = input if len(input.shape) else _reshape(input, shape=(1,))
    check_range(positions, x.shape[d], operation)
    return x, (slice(None),) * d + (positions,)


def _of_slices(x: Any, key: Any, source: Any, operation: str) -> Any:
    source = _as_values(source, x, operation)
    wanted = tuple(key[-1].size if i == len(key) - 1 else n for i, n in enumerate(x.shape))
    if tuple(source.shape) != wanted and (source.shape or math.prod(wanted) != 1):
        raise ValueError(f"{operation}: source of shape {tuple(source.shape)} should have shape {wanted}")
    return _reshape(source, shape=wanted)


@method
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """x with alpha · the slices of `source` added to its slices along `dim` that the index names."""
    x, key = _slices(input, dim, index, "index_add")
    source = _as_values(source, input, "index_add")
    if bool(source.shape) != bool(input.shape):  # index_copy takes one element of any shape, as in PyTorch
        raise ValueError(
            f"index_add: source of shape {tuple(source.shape)} does not fit x of shape {tuple(input.shape)}: both must "
            "have dims, or neither"
        )
    source = _of_slices(x, key, source, "index_add")
    return _reshape(add_at(x, key, source if alpha == 1 else alpha * source), shape=tuple(input.shape))


@method
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """x with the slices of `source` in the place of its slices along `dim` that the index names."""
    x, key = _slices(input, dim, index, "index_copy")
    return _reshape(overwrite(x, key, _of_slices(x, key, source, "index_copy")), shape=tuple(input.shape))


@method
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """x with a number, or a 0-d tensor, in its slices along `dim` that the index names."""
    x, key = _slices(input, dim, index, "index_fill")
    if isinstance(value, Tensor) and value.ndim:
        raise ValueError(f"index_fill: value must be a number or a 0-d tensor, got shape {value.shape}")
    return _reshape(overwrite(x, key, _as_values(value, x, "index_fill")), shape=tuple(input.shape))


# By a key or a mask -------------------------------------------------------------------------------------------------


@method
def index_put(input: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """x with `values` at the places x[indices]; with `accumulate` added there, as often as a place is named."""
    values = _as_values(values, input, "index_put")
    keys = as_keys(tuple(slice(None) if i is None else i for i in indices), tuple(input.shape))
    if len(keys) > 1:
        raise IndexError("index_put: give tensors of at least one dim as indices")
    return add_at(input, keys[0], values) if accumulate else overwrite(input, keys[0], values)


@method
def masked_select(input: Any, mask: Any) -> Any:
    """The elements of x where the mask is true, in one dim; both are broadcast."""
    truths = mask.array if isinstance(mask, Tensor) else mask
    if truths.dtype != bool:
        raise TypeError(f"masked_select: the mask must be a bool tensor, got {truths.dtype}; compare first: x > 0")
    shape = broadcast_shapes(input.shape, truths.shape)
    xp = backend.array_module(truths)
    return _index(expand(input, shape), key=xp.broadcast_to(truths, shape))


@method
def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """x with the elements of `source`, in their order, where the mask is true."""
    truths = mask.array if isinstance(mask, Tensor) else mask
    if truths.dtype != bool:
        raise TypeError(f"masked_scatter: the mask must be a bool tensor, got {truths.dtype}")
    x = expand(input, broadcast_shapes(input.shape, truths.shape))
    xp = backend.array_module(truths)
    truths = xp.broadcast_to(truths, x.shape)
    n = int(truths.sum())
    source = flatten(_as_values(source, x, "masked_scatter"))
    if n > source.numel():
        raise ValueError(f"masked_scatter: the mask has {n} true elements, source only {source.numel()}")
    return overwrite(x, truths, source[:n]) if n else clone(x)
