"""Operations that move elements without changing them. Each is linear, and its rule is its adjoint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.broadcast import expand as _expand
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor
from tinygrad_med.ops.dims import all_dims, also_named, bools_are_bools, integer, one_dim, sizes
from tinygrad_med.ops.elementwise import clone, where
from tinygrad_med.ops.indexing import index

__all__ = [
    "cat",
    "chunk",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "narrow",
    "pad",
    "permute",
    "repeat",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unsqueeze",
    "view",
    "view_as",
]


# Reshaping ----------------------------------------------------------------------------------------------------------


@primitive(view=True)
def _reshape(xp, x, *, shape):
    """z = x in another shape, the elements in the same order

    ∂x: g in the shape of x
    """
    try:
        return x.reshape(shape)
    except ValueError as error:  # NumPy's says newaxis for −1
        raise ValueError(
            f"reshape: the {x.size} elements of shape {x.shape} don't go into {shape}; one length alone may be -1"
        ) from error


_reshape.vjp(x=lambda g, x_shape: _reshape(g, x_shape))


@method
@also_named("shape")
def reshape(x: Tensor, *shape: Any) -> Tensor:
    """x in another shape; one length may be −1 and follows from the others."""
    return _reshape(x, shape=sizes(shape, "reshape"))


@method
@also_named("size")
def view(x: Tensor, *shape: Any) -> Tensor:
    """As `reshape`: a view where the memory allows it, else a copy, where PyTorch would refuse."""
    return _reshape(x, shape=sizes(shape, "view"))


@method
def view_as(x: Tensor, other: Tensor) -> Tensor:
    """x in the shape of another tensor."""
    return _reshape(x, shape=other.shape)


@method
def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """x with the dims from `start_dim` to `end_dim` run together."""
    first, last = one_dim(start_dim, x.ndim, "flatten"), one_dim(end_dim, x.ndim, "flatten")
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    length = 1
    for n in x.shape[first : last + 1]:
        length *= n
    return _reshape(x, shape=(*x.shape[:first], length, *x.shape[last + 1 :]))


@method
@bools_are_bools
def squeeze(x: Tensor, dim: Any = None) -> Tensor:
    """x without its dims of length 1, or without those among `dim` (an int or several)."""
    dims = all_dims(dim, x.ndim, "squeeze")
    return _reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if not (n == 1 and i in dims)))


@method
@bools_are_bools
def unsqueeze(x: Any, dim: int) -> Any:
    """x with a new dim of length 1 before `dim`."""
    d = one_dim(dim, len(x.shape) + 1, "unsqueeze")
    return _reshape(x, shape=(*x.shape[:d], 1, *x.shape[d:]))


@method
@also_named("size")
def expand(x: Any, *shape: Any) -> Any:
    """x broadcast to a larger shape without a copy; −1 keeps a dim's length."""
    wanted = sizes(shape, "expand")
    added = len(wanted) - len(x.shape)
    if added < 0:
        raise ValueError(f"expand: {wanted} has fewer dims than the tensor of shape {tuple(x.shape)}")
    return _expand(x, shape=tuple(x.shape[i - added] if n == -1 else n for i, n in enumerate(wanted)))


@method
def expand_as(x: Tensor, other: Tensor) -> Tensor:
    """x broadcast to the shape of another tensor."""
    return _expand(x, shape=other.shape)


# Reordering ---------------------------------------------------------------------------------------------------------


@primitive(view=True)
def _permute(xp, x, *, dims):
    """z = x with its dims in the order `dims`

    ∂x: g with its dims in the inverse order
    """
    return x.transpose(dims)


_permute.vjp(x=lambda g, dims: _permute(g, tuple(sorted(range(len(dims)), key=dims.__getitem__))))


@method
@also_named("dims")
def permute(x: Any, *dims: Any) -> Any:
    """x with its dims in another order, a view."""
    order = tuple(one_dim(d, len(x.shape), "permute") for d in sizes(dims, "permute"))
    if sorted(order) != list(range(len(x.shape))):
        raise ValueError(f"permute: {sizes(dims)} does not name each dim of a tensor of shape {tuple(x.shape)} once")
    return _permute(x, order)


@method
def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """x with two dims exchanged, a view."""
    order = list(range(len(x.shape)))
    i, j = one_dim(dim0, len(order), "transpose"), one_dim(dim1, len(order), "transpose")
    if order:
        order[i], order[j] = order[j], order[i]
    return _permute(x, tuple(order))


@method
def t(x: Tensor) -> Tensor:
    """The transpose of a matrix; a vector stays as it is."""
    if x.ndim > 2:
        raise ValueError(f"t: expects at most two dims, got shape {x.shape}; use transpose(dim0, dim1)")
    return _permute(x, tuple(reversed(range(x.ndim))))


@primitive
def _flip(xp, x, *, dims):
    """z = x with the order of the elements reversed along `dims`

    ∂x: g reversed likewise
    """
    return xp.flip(x, dims).copy()


_flip.vjp(x=lambda g, dims: _flip(g, dims))


@method
@also_named("dims")
def flip(x: Any, *dims: Any) -> Any:
    """x with the order of the elements reversed along `dims`."""
    return _flip(x, all_dims(sizes(dims, "flip"), len(x.shape), "flip"))


@method
def tril(x: Any, diagonal: int = 0) -> Any:
    """The lower triangle of matrices, zeros above the diagonal."""
    row, column = _rows_and_columns(x, "tril")
    kept = column - row <= integer(diagonal, "tril", "diagonal")
    return where(kept, x, False)  # False is the 0 that promotes no dtype


@method
def triu(x: Any, diagonal: int = 0) -> Any:
    """The upper triangle of matrices, zeros below the diagonal."""
    row, column = _rows_and_columns(x, "triu")
    return where(column - row >= integer(diagonal, "triu", "diagonal"), x, False)


def _rows_and_columns(x: Any, operation: str) -> Any:
    if len(x.shape) < 2:
        raise ValueError(f"{operation}: expects matrices in the last two dims, got shape {tuple(x.shape)}")
    xp = backend.array_module(x.array if isinstance(x, Tensor) else x)
    return xp.ogrid[: x.shape[-2], : x.shape[-1]]


@method
@also_named("repeats")
def repeat(x: Any, *repeats: Any) -> Any:
    """x so many times along each dim, as tiles."""
    counts = sizes(repeats, "repeat")
    if len(counts) < len(x.shape):
        raise ValueError(f"repeat: needs a count for each dim of shape {tuple(x.shape)}, got {counts}")
    shape = (1,) * (len(counts) - len(x.shape)) + tuple(x.shape)
    interleaved = _reshape(x, shape=tuple(n for size in shape for n in (1, size)))
    tiled = expand(interleaved, tuple(n for pair in zip(counts, shape, strict=True) for n in pair))
    return _reshape(clone(tiled), shape=tuple(c * n for c, n in zip(counts, shape, strict=True)))


# Joining and splitting ----------------------------------------------------------------------------------------------


@method
def narrow(x: Any, dim: int, start: Any, length: int) -> Any:
    """`length` elements of x along `dim`, from `start` on (counted from the end if negative); a view."""
    d = one_dim(dim, len(x.shape), "narrow")
    if not len(x.shape):
        raise IndexError("narrow: a 0-d tensor has no dim to take a part of")
    if getattr(start, "ndim", 0):
        raise TypeError(f"narrow: start must be an integer, got a tensor of several, {start!r}")
    start, length = integer(start, "narrow", "start"), integer(length, "narrow", "length")
    n = x.shape[d]
    first = start + n if start < 0 else start
    if length < 0 or not 0 <= first <= n - length:
        raise ValueError(f"narrow: {length} elements from {start} on are not all within dim {dim} of length {n}")
    return index(x, key=(slice(None),) * d + (slice(first, first + length),))


@primitive
def _cat(xp, *xs, dim, ends):
    """z = the operands one after the other along `dim`, where they end at `ends`

    ∂xs: the part of g that came from the operand
    """
    return xp.concatenate(xs, dim)


_cat.vjp(xs=lambda g, i, dim, ends: narrow(g, dim, ends[i - 1] if i else 0, ends[i] - (ends[i - 1] if i else 0)))


@bools_are_bools
def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of equal shape, except along `dim`, one after the other along it."""
    if not len(tensors):
        raise ValueError("cat: the list of tensors is empty")
    if wrong := [type(x).__name__ for x in tensors if not hasattr(x, "shape")]:
        raise TypeError(f"cat: expects a list of tensors, got {wrong[0]} in it")
    shapes = [tuple(x.shape) for x in tensors]
    if len(set(shapes)) > 1 and (0,) in shapes:  # PyTorch's first empty tensor, which fits any others
        tensors = [x for x, shape in zip(tensors, shapes, strict=True) if shape != (0,)]
        shapes = [tuple(x.shape) for x in tensors]
    d = one_dim(dim, len(shapes[0]), "cat")
    if len({len(s) for s in shapes}) > 1 or len({(*s[:d], *s[d + 1 :]) for s in shapes}) > 1 or not shapes[0]:
        raise ValueError(f"cat: shapes must have dims and agree except in dim {dim}, got {', '.join(map(str, shapes))}")
    return _cat(*tensors, dim=d, ends=tuple(itertools.accumulate(s[d] for s in shapes)))


@bools_are_bools
def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of equal shape side by side along a new dim."""
    shapes = {tuple(x.shape) for x in tensors}
    if len(shapes) != 1:
        got = ", ".join(map(str, sorted(shapes))) or "an empty list"
        raise ValueError(f"stack: every tensor must have the same shape, got {got}")
    return cat([unsqueeze(x, dim) for x in tensors], dim)


@method
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """A tensor in parts of so many elements along `dim` (the last may be smaller), or in parts of the given lengths."""
    d = one_dim(dim, tensor.ndim, "split")
    total = tensor.shape[d]
    if not isinstance(split_size_or_sections, (tuple, list)):
        size = integer(split_size_or_sections, "split", "the size")
        if size <= 0:
            raise ValueError(f"split: the size must be positive, got {size}")
        sections = [min(size, total - start) for start in range(0, total, size)] or [0]
    else:
        sections = [integer(n, "split", "a section") for n in split_size_or_sections]
        if min(sections, default=0) < 0:
            raise ValueError(f"split: a section must not be negative, got {sections}")
        if sum(sections) != total:
            raise ValueError(f"split: the sections {sections} sum to {sum(sections)}, dim {dim} has length {total}")
    starts = [sum(sections[:i]) for i in range(len(sections))]
    return tuple(narrow(tensor, d, start, n) for start, n in zip(starts, sections, strict=True))


@method
def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """x in so many parts of equal length along `dim`; the last may be smaller, or missing; of nothing all are empty."""
    if integer(chunks, "chunk", "chunks") < 1:
        raise ValueError(f"chunk: the number of chunks must be positive, got {chunks}")
    n = x.shape[one_dim(dim, x.ndim, "chunk")]
    return split(x, -(-n // chunks) if n else [0] * chunks, dim)


@method
def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along `dim`, without that dim."""
    d = one_dim(dim, x.ndim, "unbind")
    if not x.ndim:
        raise IndexError("unbind: a 0-d tensor has no dim to be taken apart along")
    return tuple(x[(slice(None),) * d + (i,)] for i in range(x.shape[d]))


# Padding ------------------------------------------------------------------------------------------------------------


@primitive
def _pad(xp, x, *, widths, value):
    """z = x with so many elements of `value` before and after it in each dim

    ∂x: g without the padding
    """
    return xp.pad(x, widths, constant_values=value)


_pad.vjp(
    x=lambda g, x_shape, widths: index(
        g, key=tuple(slice(before, before + n) for (before, _), n in zip(widths, x_shape, strict=True))
    )
)


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """x with a margin; `pad` is (left, right) of the last dim, then (before, after) of the dim before it, and so on.

    Args:
        pad: the widths; a negative one crops, before anything is added (`"replicate"` of nothing that is left repeats
            the element that was cropped last).
        mode: what the margin holds: `"constant"` for `value`, `"replicate"` for the outermost elements, `"reflect"` for
            those on the other side of the outermost one, `"circular"` for those at the other end.
        value: that of `"constant"`, 0 if it is not given.
    """
    ndim = len(x.shape)
    if mode not in PLACES and mode != "constant":
        raise ValueError(f"pad: mode={mode!r} is unknown; give one of 'constant', {', '.join(map(repr, PLACES))}")
    if len(pad) % 2 or len(pad) > 2 * ndim:
        raise ValueError(
            f"pad: needs a pair per dim, of at most {ndim} dims, got {len(pad)} widths for shape {tuple(x.shape)}"
        )
    pairs = [(0, 0)] * (ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    if any(before + n + after < 0 for (before, after), n in zip(pairs, x.shape, strict=True)):
        raise ValueError(f"pad: {tuple(pad)} crops more than there is in shape {tuple(x.shape)}")
    if mode != "constant" and value is not None:
        raise ValueError(f"pad: value={value} means nothing in mode={mode!r}, whose margin holds elements of x")
    if mode != "replicate" and any(w < 0 for pair in pairs for w in pair):
        crop = tuple(slice(max(0, -b), n - max(0, -a)) for (b, a), n in zip(pairs, x.shape, strict=True))
        x = index(x, key=crop)
        pairs = [(max(0, b), max(0, a)) for b, a in pairs]
    if mode != "constant":
        return _pad_with_own(x, pairs, mode)
    return _pad(x, widths=tuple(pairs), value=0.0 if value is None else value)


# Where the element comes from that stands at place i of a dim of length n: i is negative, or n or more, in the margins.
PLACES: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda i, n: n - 1 - abs(n - 1 - abs(i)),
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


def _pad_with_own(x: Any, pairs: Sequence[tuple[int, int]], mode: str) -> Any:
    xp = backend.array_module(x.array if isinstance(x, Tensor) else x)
    if not any(map(any, pairs)):
        return clone(x)
    for dim, ((before, after), n) in enumerate(zip(pairs, x.shape, strict=True)):
        if (before, after) == (0, 0):
            continue
        most = {"reflect": n - 1, "replicate": math.inf if n else 0, "circular": n}[mode]
        if max(before, after) > most:
            raise ValueError(
                f"pad: mode={mode!r} can make a margin of at most {most} from the {n} elements of dim {dim}, "
                f"got {(before, after)}"
            )
        places = xp.asarray([PLACES[mode](i, n) for i in range(-before, n + after)], dtype="int64")
        x = index(x, key=(slice(None),) * dim + (places,))
    return x
