"""More ways to move, join, split and repeat elements, each made of those in `shape.py` and of indexing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.methods import method
from tinygrad_med.core.primitive import primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.dims import also_named, bools_are_bools, integer, one_dim, sizes
from tinygrad_med.ops.elementwise import clone, where
from tinygrad_med.ops.indexing import _index_add, gather, index, index_select
from tinygrad_med.ops.shape import (
    _permute,
    _reshape,
    cat,
    expand,
    flatten,
    flip,
    narrow,
    pad,
    permute,
    repeat,
    split,
    stack,
    transpose,
    unsqueeze,
)

__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "cartesian_prod",
    "channel_shuffle",
    "column_stack",
    "combinations",
    "concat",
    "concatenate",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "dsplit",
    "dstack",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "meshgrid",
    "moveaxis",
    "movedim",
    "narrow_copy",
    "pixel_shuffle",
    "pixel_unshuffle",
    "ravel",
    "repeat_interleave",
    "reshape_as",
    "roll",
    "rot90",
    "row_stack",
    "select",
    "split_with_sizes",
    "swapaxes",
    "swapdims",
    "take",
    "take_along_dim",
    "tensor_split",
    "tile",
    "trace",
    "unflatten",
    "vsplit",
    "vstack",
]


def _one_list(operation: str, tensors: Any) -> list[Any]:
    """Tensors given one after the other or as one list."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    if wrong := [type(x).__name__ for x in tensors if not hasattr(x, "shape")]:
        raise TypeError(f"{operation}: expects tensors, got {wrong[0]} among them")
    return list(tensors)


def _positions(x: Any, *bounds: int) -> Any:
    """The integers of a range, in the array library of x."""
    return backend.array_module(x.array if isinstance(x, Tensor) else x).arange(*bounds)


# Reshaping and reordering -------------------------------------------------------------------------------------------


@method
def ravel(input: Any) -> Any:
    """All elements in one dim."""
    return flatten(input)


@method
def reshape_as(input: Any, other: Any) -> Any:
    """x in the shape of another tensor."""
    return _reshape(input, shape=tuple(other.shape))


@method
def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """x with `dim` made several dims of lengths `sizes`, of which one may be −1."""
    d = one_dim(dim, len(input.shape), "unflatten")
    lengths = tuple(integer(n, "unflatten", "a length") for n in sizes)
    if not lengths:
        raise RuntimeError("unflatten: sizes must not be empty; to take a dim away, use squeeze")
    n, known = input.shape[d], math.prod(m for m in lengths if m != -1)
    if lengths.count(-1) > 1 or (n % known if -1 in lengths and known else known != n):
        raise RuntimeError(f"unflatten: lengths {lengths} don't multiply to the length {n} of dim {dim}")
    lengths = tuple(n // known if m == -1 else m for m in lengths)
    return _reshape(input, shape=(*input.shape[:d], *lengths, *input.shape[d + 1 :]))


@method
def movedim(input: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """x with the dims `source` moved to the places `destination`, the others in their order."""
    n = len(input.shape)
    several = [d if isinstance(d, (tuple, list)) else (d,) for d in (source, destination)]
    moved, places = ([one_dim(d, n, "movedim") for d in dims] for dims in several)
    if len(moved) != len(places) or len(set(moved)) < len(moved) or len(set(places)) < len(places):
        raise ValueError(f"movedim: source {source} and destination {destination} must name as many dims, each once")
    rest = iter(d for d in range(n) if d not in moved)
    to = dict(zip(places, moved, strict=True))
    return _permute(input, tuple(to[i] if i in to else next(rest) for i in range(n)))


moveaxis = method(movedim, "moveaxis")


@method
def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """NumPy's name for `transpose(dim0, dim1)`."""
    return transpose(input, axis0, axis1)


@method
def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """Another name for `transpose`."""
    return transpose(input, dim0, dim1)


@method
def adjoint(input: Any) -> Any:
    """The transpose of the matrices in the last two dims."""
    return transpose(input, -2, -1)


@method
def select(input: Any, dim: int, index: int) -> Any:
    """The slice of x at one position of `dim`, without that dim; a view."""
    d = one_dim(dim, len(input.shape), "select")
    if not len(input.shape):
        raise IndexError("select: a 0-d tensor has no dim to select from")
    i, n = integer(index, "select", "index"), input.shape[d]
    if not -n <= i < n:
        raise IndexError(f"select: index {i} is out of range for dim {dim} of length {n}")
    return input[(slice(None),) * d + (i,)]


@method
def narrow_copy(input: Any, dim: int, start: int, length: int) -> Any:
    """As `narrow`, in memory of its own."""
    return clone(narrow(input, dim, start, length))


@method
def fliplr(input: Any) -> Any:
    """x with the second dim reversed, as left and right in a matrix."""
    if len(input.shape) < 2:
        raise ValueError(f"fliplr: expects at least two dims, got shape {tuple(input.shape)}")
    return flip(input, 1)


@method
def flipud(input: Any) -> Any:
    """x with the first dim reversed, as up and down in a matrix."""
    if not len(input.shape):
        raise ValueError("flipud: expects at least one dim, got a 0-d tensor")
    return flip(input, 0)


@method
def rot90(input: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Any:
    """x turned by k quarters of a circle in the plane of two dims, from the first to the second."""
    if len(dims) != 2:
        raise ValueError(f"rot90: dims must be two, got {tuple(dims)}")
    i, j = (one_dim(d, len(input.shape), "rot90") for d in dims)
    if i == j or len(input.shape) < 2:
        raise ValueError(f"rot90: needs two different dims, got {tuple(dims)} for shape {tuple(input.shape)}")
    turns = integer(k, "rot90", "k") % 4
    if turns == 2:
        return flip(input, (i, j))
    if not turns:
        return clone(input)
    return flip(transpose(input, i, j), i if turns == 1 else j)


@method
def roll(input: Any, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Any:
    """x with each element moved on by `shifts` along `dims`, and those beyond the end at the start.

    Args:
        input: any shape.
        shifts: an int, or one for each of `dims`.
        dims: an int or several; `None` moves the elements along the flattened x.
    """
    several = [v if isinstance(v, (tuple, list)) else (v,) for v in (shifts, () if dims is None else dims)]
    steps, along = ([integer(v, "roll", "a shift or dim") for v in vs] for vs in several)
    if dims is None or not along:
        if len(steps) != 1:
            raise ValueError(f"roll: {len(steps)} shifts without dims; give as many dims")
        return reshape_as(_roll(flatten(input), steps[0], 0), input)
    if len(steps) != len(along):
        raise ValueError(f"roll: {len(steps)} shifts for {len(along)} dims; give as many of both")
    for step, dim in zip(steps, along, strict=True):
        if not len(input.shape):
            raise IndexError("roll: a 0-d tensor has no dim to roll along")
        input = _roll(input, step, one_dim(dim, len(input.shape), "roll"))
    return input


def _roll(x: Any, step: int, d: int) -> Any:
    n = x.shape[d]
    first = n - step % n if n else 0
    return cat([narrow(x, d, first, n - first), narrow(x, d, 0, first)], d) if n else clone(x)


# Repeating and broadcasting -----------------------------------------------------------------------------------------


@method
@also_named("dims")
def tile(input: Any, *dims: Any) -> Any:
    """x so many times along each dim; as `repeat`, but counts for missing dims are 1."""
    counts = sizes(dims, "tile")
    return repeat(input, (1,) * (len(input.shape) - len(counts)) + counts)


@method
@bools_are_bools
def repeat_interleave(input: Any, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Any:
    """x with each slice along `dim` so many times in a row.

    Args:
        input: any shape.
        repeats: an int for all, or integers (n,), one per slice.
        dim: along which; `None` for the flattened x.
        output_size: accepted; the length follows from `repeats`.
    """
    del output_size
    if dim is None:
        input, dim = flatten(input), 0
    d = one_dim(dim, len(input.shape), "repeat_interleave")
    x = input if len(input.shape) else _reshape(input, shape=(1,))
    counts = repeats.array if isinstance(repeats, Tensor) else repeats
    if backend.is_array(counts) and (counts.ndim > 1 or counts.dtype.kind not in "iu"):
        raise ValueError(f"repeat_interleave: repeats must be integers in one dim, got {counts.dtype} {counts.shape}")
    if backend.is_array(counts) and counts.size not in (1, x.shape[d]):
        raise ValueError(f"repeat_interleave: {counts.size} repeats for the length {x.shape[d]} of dim {dim}")
    if (counts.min(initial=0) if backend.is_array(counts) else counts) < 0:
        raise ValueError("repeat_interleave: repeats must not be negative")
    if backend.is_array(counts) and counts.size == 1:
        counts = int(counts.item())
    positions = _positions(x, x.shape[d])
    return index_select(x, d, positions.repeat(counts if isinstance(counts, int) else counts.tolist()))


@method
@also_named("size")
def broadcast_to(input: Any, *size: Any) -> Any:
    """x broadcast to a larger shape without a copy."""
    return expand(input, sizes(size, "broadcast_to"))


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that tensors of these shapes broadcast to."""
    lists = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    result = []
    for lengths in itertools.zip_longest(*(s[::-1] for s in lists), fillvalue=1):
        longest = {n for n in lengths if n != 1}
        if len(longest) > 1:
            raise ValueError(f"broadcast_shapes: {', '.join(map(str, lists))} do not fit together")
        result.append(longest.pop() if longest else 1)
    return tuple(result[::-1])


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Tensors broadcast to their common shape."""
    found = _one_list("broadcast_tensors", tensors)
    shape = broadcast_shapes(*(x.shape for x in found))
    return tuple(expand(x, shape) for x in found)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Per vector a grid with its elements along its own dim, repeated along the others.

    Args:
        tensors: vectors or 0-d tensors, or one list of them.
        indexing: `"ij"` for dims in the order of the vectors, `"xy"` with the first two exchanged.
    """
    found = _one_list("meshgrid", tensors)
    if not found or any(len(x.shape) > 1 for x in found):
        raise ValueError(f"meshgrid: expects vectors, got shapes {[tuple(x.shape) for x in found]}")
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing={indexing!r} is unknown; give 'ij' or 'xy'")
    if len({str(x.dtype) for x in found}) > 1:
        raise TypeError(f"meshgrid: expects vectors of one dtype, got {[str(x.dtype) for x in found]}")
    if indexing == "xy" and len(found) > 1:
        first, second, *rest = found
        grids = meshgrid(second, first, *rest)
        return (grids[1], grids[0], *grids[2:])
    shape = tuple(math.prod(x.shape) for x in found)
    n = len(found)
    return tuple(
        expand(_reshape(x, shape=(1,) * i + (shape[i],) + (1,) * (n - i - 1)), shape) for i, x in enumerate(found)
    )


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of the vectors' elements, one a row."""
    found = _one_list("cartesian_prod", tensors)
    if len(found) == 1:
        return clone(found[0])
    return stack([flatten(z) for z in meshgrid(found)], -1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of r elements of a vector, in its order, one a row."""
    if len(input.shape) != 1 or integer(r, "combinations", "r") < 0:
        raise ValueError(f"combinations: expects a vector and r ≥ 0, got shape {tuple(input.shape)} and r={r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    chosen = [list(c) for c in choose(range(input.shape[0]), r)]
    if not r:
        return narrow(input, 0, 0, 0)
    positions = backend.array_module(input.array if isinstance(input, Tensor) else input).asarray(chosen, dtype="int64")
    return index(input, key=positions.reshape(-1, r))


# Joining ------------------------------------------------------------------------------------------------------------


@also_named("tensors")
def atleast_1d(*tensors: Any) -> Any:
    """x with at least one dim; several tensors give a tuple."""
    return _each(tensors, lambda x: x if len(x.shape) else _reshape(x, shape=(1,)))


@also_named("tensors")
def atleast_2d(*tensors: Any) -> Any:
    """x with at least two dims, the new ones before; several tensors give a tuple."""
    return _each(tensors, lambda x: x if len(x.shape) > 1 else _reshape(x, shape=(1, math.prod(x.shape))))


@also_named("tensors")
def atleast_3d(*tensors: Any) -> Any:
    """x with at least three dims: a vector becomes (1, n, 1), a matrix (n, m, 1); several tensors give a tuple."""

    def grow(x: Any) -> Any:
        if len(x.shape) > 2:
            return x
        return unsqueeze(x if len(x.shape) == 2 else _reshape(x, shape=(1, math.prod(x.shape))), -1)

    return _each(tensors, grow)


def _each(tensors: Any, function: Any) -> Any:
    if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple)):
        return function(tensors[0])
    return tuple(function(x) for x in _one_list("atleast", tensors))


def _joined(operation: str, tensors: Any, grown: Any) -> list[Any]:
    if not len(tensors):
        raise ValueError(f"{operation}: the list of tensors is empty")
    return [grown(x) for x in _one_list(operation, (list(tensors),))]


def hstack(tensors: Sequence[Any]) -> Any:
    """Tensors side by side: along the second dim, vectors along their only one."""
    found = _joined("hstack", tensors, atleast_1d)
    return cat(found, 0 if len(found[0].shape) == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Tensors below each other, vectors as rows."""
    return cat(_joined("vstack", tensors, atleast_2d), 0)


def dstack(tensors: Sequence[Any]) -> Any:
    """Tensors behind each other, along a third dim."""
    return cat(_joined("dstack", tensors, atleast_3d), 2)


def column_stack(tensors: Sequence[Any]) -> Any:
    """Tensors side by side, vectors as columns."""
    return cat(_joined("column_stack", tensors, lambda x: x if len(x.shape) > 1 else _reshape(x, shape=(-1, 1))), 1)


row_stack, concat, concatenate = vstack, cat, cat


def block_diag(*tensors: Any) -> Any:
    """A matrix with the given matrices along its diagonal and zeros elsewhere; vectors count as rows."""
    found = _one_list("block_diag", tensors)
    if any(len(x.shape) > 2 for x in found):
        raise ValueError(f"block_diag: expects matrices, got shapes {[tuple(x.shape) for x in found]}")
    found = [atleast_2d(x) for x in found]
    width, rows, start = sum(x.shape[1] for x in found), [], 0
    for x in found:
        n, m = x.shape
        xp = backend.array_module(x.array)
        before, after = xp.zeros((n, start), x.dtype), xp.zeros((n, width - start - m), x.dtype)
        rows.append(cat([wrap(before), x, wrap(after)], 1))
        start += m
    return cat(rows, 0)


# Splitting ----------------------------------------------------------------------------------------------------------


@method
def split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """x in parts of the given lengths along `dim`."""
    return split(input, list(split_sizes), dim)


@method
def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """x in so many parts along `dim`, the first ones longer by one where they can't be equal; or cut at positions.

    Args:
        input: at least one dim.
        indices_or_sections: the number of parts, or the positions at which a part begins.
        dim: along which.
    """
    d = one_dim(dim, len(input.shape), "tensor_split")
    if not len(input.shape):
        raise ValueError("tensor_split: expects at least one dim, got a 0-d tensor")
    if isinstance(indices_or_sections, Tensor):
        if indices_or_sections.ndim > 1 or indices_or_sections.dtype.kind not in "iu":
            raise ValueError("tensor_split: indices_or_sections must be integers in one dim, or a single one")
        indices_or_sections = indices_or_sections.tolist()
    n = input.shape[d]
    if isinstance(indices_or_sections, (list, tuple)):
        cuts = [0, *(_within(integer(i, "tensor_split", "a position"), n) for i in indices_or_sections), n]
    else:
        parts = integer(indices_or_sections, "tensor_split", "the number of parts")
        if parts < 1:
            raise ValueError(f"tensor_split: the number of parts must be positive, got {parts}")
        cuts = [i * (n // parts) + min(i, n % parts) for i in range(parts + 1)]
    return tuple(narrow(input, d, min(a, n), max(0, b - a)) for a, b in itertools.pairwise(cuts))


def _within(i: int, n: int) -> int:
    return max(0, i + n) if i < 0 else min(i, n)


@method
def hsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """x in parts along the second dim, a vector along its only one."""
    return _split_along(input, indices_or_sections, 1 if len(input.shape) > 1 else 0, 1, "hsplit")


@method
def vsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """x in parts along the first dim."""
    return _split_along(input, indices_or_sections, 0, 2, "vsplit")


@method
def dsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """x in parts along the third dim."""
    return _split_along(input, indices_or_sections, 2, 3, "dsplit")


def _split_along(x: Any, parts: Any, dim: int, least: int, operation: str) -> tuple[Any, ...]:
    if len(x.shape) < least:
        raise ValueError(f"{operation}: expects at least {least} dims, got shape {tuple(x.shape)}")
    if not isinstance(parts, (list, tuple, Tensor)):
        n = integer(parts, operation, "the number of parts")
        if n < 1 or x.shape[dim] % n:
            raise ValueError(f"{operation}: dim {dim} of length {x.shape[dim]} can't be cut into {n} equal parts")
    return tensor_split(x, parts, dim)


# Diagonals ----------------------------------------------------------------------------------------------------------


@method
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonals of the matrices in two dims, as the last dim; a view.

    Args:
        input: at least two dims.
        offset: which diagonal: 1 for the one above the main, −1 for the one below.
        dim1, dim2: the rows and the columns.
    """
    if len(input.shape) < 2:
        raise IndexError(f"diagonal: expects at least two dims, got shape {tuple(input.shape)}")
    first, second = (one_dim(d, len(input.shape), "diagonal") for d in (dim1, dim2))
    if first == second:
        raise ValueError(f"diagonal: dim1={dim1} and dim2={dim2} are the same dim of shape {tuple(input.shape)}")
    x = movedim(input, (first, second), (-2, -1))
    k = integer(offset, "diagonal", "offset")
    inside = -x.shape[-2] < k < x.shape[-1] or 0 in x.shape[-2:]
    return _last_diagonal(x, offset=k) if inside else x[..., 0, :0]


@primitive(view=True)
def _last_diagonal(xp, x, *, offset):
    """z[…, i] = x[…, i, i + offset] (x[…, i − offset, i] for a negative one)

    ∂x: g on the diagonals of zeros
    """
    z = xp.diagonal(x, offset, -2, -1)
    if getattr(x.flags, "writeable", False):
        z.flags.writeable = True  # it is a view, and NumPy means to let it be written one day
    return z


def _on_diagonal(g: Any, x_shape: tuple[int, ...], offset: int) -> Any:
    i = _positions(g, g.shape[-1])
    return _index_add(g, key=(..., i + max(-offset, 0), i + max(offset, 0)), shape=x_shape)


_last_diagonal.vjp(x=_on_diagonal)


@method
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices with the last dim of x as their diagonal and zeros elsewhere; the arguments are those of `diagonal`."""
    ndim = len(input.shape) + 1
    first, second = (one_dim(d, ndim, "diag_embed") for d in (dim1, dim2))
    if first == second:
        raise ValueError(f"diag_embed: dim1={dim1} and dim2={dim2} are the same dim")
    k = integer(offset, "diag_embed", "offset")
    n = input.shape[-1] + abs(k)
    i = _positions(input, n)
    above, below = max(k, 0), max(-k, 0)
    wide = pad(input, (below, above))  # the element of row i, at position i
    z = where(i[None, :] - i[:, None] == k, unsqueeze(wide, -1), False)
    return movedim(z, (-2, -1), (first, second))


@method
def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or, of a vector, the matrix that has it as its diagonal."""
    if len(input.shape) not in (1, 2):
        raise ValueError(f"diag: expects a vector or a matrix, got shape {tuple(input.shape)}; use diagonal")
    return diag_embed(input, diagonal) if len(input.shape) == 1 else _diagonal(input, diagonal)


_diagonal = diagonal


@method
def diagflat(input: Any, offset: int = 0) -> Any:
    """The matrix that has all elements of x as its diagonal."""
    return diag_embed(flatten(input), offset)


@method
def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise ValueError(f"trace: expects a matrix, got shape {tuple(input.shape)}")
    return diagonal(input).sum()


# Windows and pixels -------------------------------------------------------------------------------------------------


def windows_along(input: Any, dimension: int, size: int, step: int) -> Any:
    """`Tensor.unfold`: all windows of `size` elements along a dim, `step` apart, their elements as the last dim."""
    d = one_dim(dimension, len(input.shape), "unfold")
    size, step = integer(size, "unfold", "size"), integer(step, "unfold", "step")
    x = input if len(input.shape) else _reshape(input, shape=(1,))
    n = x.shape[d]
    if not 0 <= size <= n or step < 1:
        raise ValueError(f"unfold: windows of {size}, {step} apart, do not fit dim {dimension} of length {n}")
    first = _positions(x, 0, n - size + 1, step)
    key = first[:, None] + _positions(x, size)[None, :]
    z = movedim(index(x, key=(slice(None),) * d + (key,)), d + 1, -1)
    return z if len(input.shape) else _reshape(z, shape=(size,))


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """Channels as pixels, (…, C r², H, W) -> (…, C, H r, W r) (Shi et al. 2016, arXiv:1609.05158)."""
    r, shape = integer(upscale_factor, "pixel_shuffle", "upscale_factor"), tuple(input.shape)
    if len(shape) < 3 or r < 1 or shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle: expects (…, C · {r}², H, W), got shape {shape}")
    *batch, channels, height, width = shape
    n = len(batch)
    x = _reshape(input, shape=(*batch, channels // (r * r), r, r, height, width))
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return _reshape(x, shape=(*batch, channels // (r * r), height * r, width * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """Pixels as channels, (…, C, H r, W r) -> (…, C r², H, W): what undoes `pixel_shuffle`."""
    r, shape = integer(downscale_factor, "pixel_unshuffle", "downscale_factor"), tuple(input.shape)
    if len(shape) < 3 or r < 1 or shape[-1] % r or shape[-2] % r:
        raise ValueError(f"pixel_unshuffle: expects (…, C, H · {r}, W · {r}), got shape {shape}")
    *batch, channels, height, width = shape
    n = len(batch)
    x = _reshape(input, shape=(*batch, channels, height // r, r, width // r, r))
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return _reshape(x, shape=(*batch, channels * r * r, height // r, width // r))


def channel_shuffle(input: Any, groups: int) -> Any:
    """The channels of (N, C, …) dealt out among groups: channel i of group j becomes channel j of group i."""
    shape = tuple(input.shape)
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise ValueError(f"channel_shuffle: expects (N, C, …) with C a multiple of groups={groups}, got shape {shape}")
    x = _reshape(input, shape=(shape[0], groups, shape[1] // groups, *shape[2:]))
    return _reshape(transpose(x, 1, 2), shape=shape)


@method
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """The elements of x at `indices` along `dim`, the other dims broadcast; of the flattened x without a `dim`."""
    if dim is None:
        return gather(flatten(input), 0, flatten(indices))
    if len(input.shape) != len(indices.shape):
        raise ValueError(
            f"take_along_dim: input {tuple(input.shape)} and indices {tuple(indices.shape)} must have as many dims"
        )
    d = one_dim(dim, len(input.shape), "take_along_dim")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"take_along_dim: indices must be integers, got {indices.dtype}; use .long()")
    other = [(*x.shape[:d], 1, *x.shape[d + 1 :]) for x in (input, indices)]
    common = broadcast_shapes(*other)
    x, places = (expand(x, (*common[:d], x.shape[d], *common[d + 1 :])) for x in (input, indices))
    return gather(x, d, places % max(x.shape[d], 1) if (indices < 0).any() else places)


@method
def take(input: Any, index: Any) -> Any:
    """The elements of the flattened x at the places of `index`, in its shape."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"take: the index must be integers, got {index.dtype}; use .long()")
    return flatten(input)[index]
