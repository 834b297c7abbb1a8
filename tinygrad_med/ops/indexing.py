"""Indexing: one linear map that reads elements, and its adjoint that adds them back.

`gather`, `index_select`, slices, masks, the maximum along a dim: all of them choose positions first, which has no
derivative, and then read there.
"""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend.gpu.faults import look_later
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.engine.conversions import as_array
from tinygrad_med.engine.errors import refuse_foreign
from tinygrad_med.ops.dims import one_dim

__all__ = ["gather", "getitem", "index", "index_select"]


@primitive(view=True)
def index(xp, x, *, key):
    """z = x[key], for any key of NumPy's

    ∂x: g added into zeros at the places that key reads (a place that is read twice receives both)
    """
    return x[_with_ellipsis(on_library(xp, key))]


@primitive
def _index_add(xp, g, *, key, shape):
    """z = zeros of `shape`, with g added at the places of key

    ∂g: the upstream gradient at those places
    """
    z = xp.zeros(shape, g.dtype)
    key = on_library(xp, key)
    if _reads_each_once(key):
        z[key] = g
    else:
        backend.add_at(xp, z, key, g)
    return z


index.vjp(x=lambda g, x_shape, key: _index_add(g, key=key, shape=x_shape))
_index_add.vjp(g=lambda g, key: index(g, key=key))

_index = index  # for `gather` and `index_select`, which have an argument of this name


def _with_ellipsis(key: Any) -> Any:
    """`key` with an ellipsis, so that even x[0] of a vector is a 0-d view of its memory rather than a copied scalar."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if not isinstance(part, int):
            return key
    return (*parts, ...)


def _reads_each_once(key: Any) -> bool:
    """Whether the key can't name a place twice: it has slices, ints and at most one mask, but no array of indices."""
    parts = key if isinstance(key, tuple) else (key,)
    return not any(backend.is_array(p) and p.dtype.kind != "b" for p in parts)


def on_library(xp: Any, key: Any) -> Any:
    """The arrays in a key, moved to the array library that is to use it."""
    if not backend.cuda_in_use:  # then all are NumPy's
        return key
    if isinstance(key, tuple):
        return tuple(on_library(xp, p) for p in key)
    return backend.indices_for(xp, key) if backend.is_array(key) else key


def as_keys(key: Any, shape: tuple[int, ...], reads: bool = False) -> tuple[Any, ...]:
    """An index as Python has it (with tensors, lists, ranges) as one or two keys, applied one after the other.

    PyTorch first takes the places that single integers name, which is a view, and then indexes what is left by arrays.
    NumPy counts an integer beside an array as one more array, and puts the dims of the arrays to the front where a
    slice, `...` or `None` stands between the two, even an ellipsis that stands for no dim. So `x[0, :, [0, 1]]` becomes
    `x[0, :, :][:, [0, 1]]`: two keys where integers and arrays meet, and slices in place of an ellipsis.

    Args:
        key: as Python has it.
        shape: that of the tensor to index; indices are looked at here, because CuPy wraps those outside around.
        reads: whether it is only to read; see `check_range`.
    """
    given = key if isinstance(key, tuple) else (key,)
    if PLAIN.issuperset(map(type, given)):
        return (key,)
    parts = [_as_part(part) for part in given]
    arrays = [backend.is_array(part) for part in parts]
    if not any(arrays):
        return (tuple(parts) if isinstance(key, tuple) else parts[0],)
    alone = all(arrays) and sum(map(_dims_read, parts)) <= len(shape)
    parts = parts if alone else _without_ellipsis(parts, len(shape))
    if backend.cuda_in_use:
        _check_parts(parts, shape, reads)
    if alone:
        return (tuple(parts),)
    everything = slice(None)
    integers: list[Any] = []
    others: list[Any] = []
    for part in parts:
        if isinstance(part, int):
            integers.append(part)
        else:
            integers += [everything] * _dims_read(part)
            others.append(part)
    return (tuple(integers), tuple(others)) if len(others) < len(parts) else (tuple(others),)


PLAIN = frozenset((int, slice, type(None), type(Ellipsis)))
"""The types of the parts of a key that are as NumPy takes them, and read a view."""


def _check_parts(parts: list[Any], shape: tuple[int, ...], reads: bool) -> None:
    """Raise an error for an index outside −n … n − 1 in an array of indices."""
    dim = 0
    for part in parts:
        if backend.is_array(part) and part.dtype != bool and part.size:
            n = shape[dim]
            text = f"index: {{}} is out of range for dim {dim} of length {n}"
            if reads and look_later(part, -n, n, text):
                dim += 1
                continue
            outside = (part < -n) | (part >= n)
            if outside.any():  # on a GPU this waits for its answer
                bad = int(part[outside][0])
                raise IndexError(text.format(bad))
        dim += _dims_read(part)


def _dims_read(part: Any) -> int:
    """How many dims of a tensor a part of a key reads: a mask as many as it has, None not any, all else one."""
    if backend.is_array(part) and part.dtype == bool:
        return int(part.ndim)
    return 0 if part is None or part is Ellipsis else 1


def _without_ellipsis(parts: list[Any], ndim: int) -> list[Any]:
    """The parts of a key with slices in place of `...`, as many as there are dims that no other part reads."""
    places = [i for i, part in enumerate(parts) if part is Ellipsis]
    rest = ndim - sum(map(_dims_read, parts))
    if len(places) > 1 or rest < 0:
        what = "two ellipses" if len(places) > 1 else f"the {ndim - rest} dims of the key"
        raise IndexError(f"index: {what} do not fit a tensor of {ndim} dims")
    return [*parts[: places[0]], *[slice(None)] * rest, *parts[places[0] + 1 :]] if places else parts


def _as_part(part: Any) -> Any:
    if isinstance(part, Tensor):
        part = part.array
    elif isinstance(part, range):
        part = backend.of_range(part)
    elif isinstance(part, list):
        part = as_array(part, None if part else "int64")
    if part is None or part is Ellipsis or isinstance(part, (slice, int)):
        return as_array(part) if isinstance(part, bool) else part
    if backend.is_array(part) and part.dtype.kind in "iub":
        if part.dtype.char == "B":  # bytes, as in PyTorch, whose masks once were of them
            return part.astype(bool)
        return part if part.ndim or part.dtype.kind == "b" else int(part)
    refuse_foreign("index", (part,))
    kind = part.dtype if backend.is_array(part) else type(part).__name__
    raise IndexError(
        f"index: give an int, a slice, None, an ellipsis, a bool mask or an integer tensor, not {kind}; use .long()"
    )


def getitem(x: Any, key: Any) -> Any:
    """`x[key]`."""
    if type(key) in PLAIN:  # a slice, an integer: the key as it is
        return index(x, key=key)
    for part in as_keys(key, tuple(x.shape), reads=True):
        x = index(x, key=part)
    return x


def write(xp: Any, array: Any, key: Any, value: Any) -> None:
    """`array[key] = value` for an array, with a key as `getitem` takes it."""
    *views, last = as_keys(key, array.shape)
    for view in views:
        array = array[_with_ellipsis(view)]
    array[_with_ellipsis(on_library(xp, last))] = value


@primitive
def _setitem(xp, x, y, *, key):
    """z = x with y (broadcast) at the places of key, which must not name a place twice

    ∂x: g with zeros at those places
    ∂y: g at those places
    """
    z = xp.array(x, order="C")  # a copy; of a NumPy scalar an array, too
    z[_with_ellipsis(on_library(xp, key))] = y
    return z


_setitem.vjp(x=lambda g, key: _setitem(g, 0.0, key=key), y=lambda g, key: index(g, key=key))


# Along one dim ------------------------------------------------------------------------------------------------------


@method
def gather(x: Any, dim: int, index: Any) -> Any:
    """z[i, j, k] = x[i, index[i, j, k], k], for dim = 1 of three.

    Args:
        x: (…, n, …).
        dim: along which to choose.
        index: integers of as many dims as x, none longer than x's except along `dim`; negative ones are an error.

    Raises:
        IndexError: for an index outside 0 … n − 1.
    """
    positions = index.array if isinstance(index, Tensor) else index
    if positions.size and positions.ndim and len(x.shape):
        return _index(x, key=_along(x.shape, dim, positions, "gather", reads=True))
    d = one_dim(dim, len(x.shape), "gather")  # where nothing is read, or one of the two is 0-d, as of one element
    if not positions.size:
        check_range(positions, 0, "gather")
        return _index(x.reshape(-1), key=positions)
    if len(x.shape) > 1 or positions.ndim > 1:
        raise ValueError(f"gather: index of shape {positions.shape} does not fit x of shape {tuple(x.shape)}")
    return gather(x.reshape(-1), d, positions.reshape(-1)).reshape(positions.shape)


@method
def index_select(x: Any, dim: int, index: Any) -> Any:
    """The slices of x along `dim` that the integers in `index` (one dim) name, in that order."""
    chosen = index.array if isinstance(index, Tensor) else index
    d = one_dim(dim, len(x.shape), "index_select")
    if chosen.ndim > 1 or (not len(x.shape) and chosen.size != 1):
        raise ValueError(
            f"index_select: index must have one dim, and one element for a 0-d x, got shape {chosen.shape}"
        )
    check_range(chosen, x.shape[d] if len(x.shape) else 1, "index_select", reads=True)
    if not len(x.shape):
        return x * 1
    return _index(x, key=(slice(None),) * d + (chosen.reshape(-1),))


def check_range(positions: Any, length: int, operation: str, reads: bool = False) -> None:
    """Raise an error for a position outside 0 … length − 1 (CuPy would wrap it around, in silence).

    Where they are only for reading, a GPU looks at them, and the error comes when numbers next come back from it.
    """
    if positions.dtype.kind not in "iu":
        raise IndexError(f"{operation}: the index must be of an integer dtype, got {positions.dtype}; use .long()")
    if reads and look_later(
        positions, 0, length, f"{operation}: index {{}} is out of range for a dim of length {length}"
    ):
        return
    if positions.size and int(positions.astype("uint64").max()) >= length:  # where −1 is the largest of all numbers
        bad = int(positions.min()) if int(positions.min()) < 0 else int(positions.max())
        raise IndexError(f"{operation}: index {bad} is out of range for a dim of length {length}")


def _along(shape: tuple[int, ...], dim: int, index: Any, operation: str, reads: bool = False) -> tuple[Any, ...]:
    """The key that reads `index` along `dim` and each other dim in its place."""
    positions = index.array if isinstance(index, Tensor) else index
    d = one_dim(dim, len(shape), operation)
    if positions.ndim != len(shape) or any(
        n > m for i, (n, m) in enumerate(zip(positions.shape, shape, strict=True)) if i != d
    ):
        raise ValueError(
            f"{operation}: index of shape {positions.shape} does not fit x of shape {shape} along dim {dim}"
        )
    check_range(positions, shape[d], operation, reads)
    xp = backend.array_module(positions)
    key = list(xp.ogrid[tuple(slice(n) for n in positions.shape)]) if len(shape) > 1 else [None]
    key[d] = positions
    return tuple(key)
