"""Questions about tensors, answered outside the graph: are they equal, where are they true, what do they hold?"""

from __future__ import annotations

from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap


def equal(x: Tensor, y: Tensor) -> bool:
    """Whether x and y have the same shape and the same elements."""
    return x.shape == y.shape and bool((x.array == y.array).all())


def allclose(x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |x − y| ≤ atol + rtol · |y| everywhere; x and y are broadcast."""
    xp = backend.array_module(x.array, y.array)
    return bool(xp.allclose(x.array, y.array, rtol, atol, equal_nan))


def nonzero(x: Tensor, as_tuple: bool = False) -> Any:
    """Where the n elements are that are not 0: (n, ndim) integers, or `as_tuple`, as a key, one (n,) for each dim."""
    places = backend.array_module(x.array).argwhere(x.array)
    return tuple(wrap(column) for column in places.T) if as_tuple else wrap(places)


def unique(x: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The different elements of x in order of size, (m,), whether `sorted` or not.

    Args:
        x: any shape.
        sorted: accepted; they are always.
        return_inverse: also where each element of x is among them, in the shape of x.
        return_counts: also how often each is in x, (m,).
    """
    xp = backend.array_module(x.array)
    found = xp.unique(x.array, return_inverse=return_inverse, return_counts=return_counts)
    if not (return_inverse or return_counts):
        return wrap(found)
    values, *asked = found
    if return_inverse:
        asked[0] = asked[0].reshape(x.shape)  # CuPy's is flat
    return wrap(values), *map(wrap, asked)
