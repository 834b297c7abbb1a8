"""Questions about tensors, answered outside the graph: are they equal, where are they true, what do they hold?"""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.methods import method
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.ops.dims import one_dim

__all__ = [
    "allclose",
    "argwhere",
    "equal",
    "is_floating_point",
    "is_nonzero",
    "is_tensor",
    "nonzero",
    "numel",
    "unique",
]


def is_tensor(obj: Any) -> bool:
    """Whether something is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a float type."""
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


@method
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element of x is not 0."""
    return bool(input.item())


@method
def argwhere(input: Tensor) -> Tensor:
    """Where the n elements are that are not 0: (n, ndim) integers."""
    return wrap(backend.array_module(input.array).argwhere(input.array))


@method
def equal(x: Tensor, y: Tensor) -> bool:
    """Whether x and y have the same shape and the same elements."""
    backend.same_device("equal", (x.array, y.array))
    return x.shape == y.shape and bool((x.array == y.array).all())


@method
def allclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |x − y| ≤ atol + rtol · |y| everywhere; x and y are broadcast."""
    backend.same_device("allclose", (x.array, y.array))
    xp = backend.array_module(x.array, y.array)
    return bool(xp.allclose(x.array, y.array, rtol, atol, equal_nan))


@method
def nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    """Where the n elements are that are not 0: (n, ndim) integers, or `as_tuple`, as a key, one (n,) for each dim.

    As a tuple, a 0-d tensor counts as one of one element.
    """
    if as_tuple and not x.ndim:
        x = x.reshape(1)
    places = backend.array_module(x.array).argwhere(x.array)
    return tuple(wrap(column) for column in places.T) if as_tuple else wrap(places)


@method
def unique(
    x: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements of x in order of size, (m,), whether `sorted` or not.

    Args:
        x: any shape.
        sorted: accepted; they are always.
        return_inverse: also where each element of x is among them, in the shape of x; along `dim`, (n,).
        return_counts: also how often each is in x, (m,).
        dim: find the different slices along it instead, in order of their first elements that differ.
    """
    for name, flag in (("sorted", sorted), ("return_inverse", return_inverse), ("return_counts", return_counts)):
        if not isinstance(flag, bool):
            raise TypeError(f"unique: {name} must be True or False, got {flag!r}; a dim is given by name, dim={flag!r}")
    axis = None if dim is None else one_dim(dim, x.ndim, "unique")
    xp = backend.array_module(x.array)
    found = xp.unique(x.array, return_inverse=return_inverse, return_counts=return_counts, axis=axis)
    if not (return_inverse or return_counts):
        return wrap(found)
    values, *asked = found
    if return_inverse:
        asked[0] = asked[0].reshape(x.shape if axis is None else (-1,))  # CuPy's is flat
    return wrap(values), *map(wrap, asked)
