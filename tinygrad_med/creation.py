"""Tensors out of nothing: constants, ranges, and copies of what Python and NumPy hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import as_dtype, get_default_dtype
from tinygrad_med.engine.conversions import as_array, own_memory


def tensor(
    data: Any, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """A new leaf with a copy of `data`: numbers, nested lists, an array or a tensor.

    Args:
        data: Python floats become float32 and ints int64 unless `dtype` says otherwise; arrays keep their dtype.
    """
    array = as_array(data, dtype, device)
    held = data.array if isinstance(data, Tensor) else data
    leaf = wrap(own_memory(array.copy() if array is held else array))
    return leaf.requires_grad_() if requires_grad else leaf


def as_tensor(data: Any, dtype: Any = None, device: str | backend.Device | None = None) -> Tensor:
    """`data` as a tensor, without a copy where it is a tensor or an array already."""
    if isinstance(data, Tensor) and dtype is None and device is None:
        return data
    return wrap(as_array(data, dtype, device))


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    return wrap(as_array(array))


def FloatTensor(data: Any) -> Tensor:
    """A float32 tensor with a copy of `data`; an older name for `tensor(data, dtype=float32)`."""
    return tensor(data, dtype="float32")


def LongTensor(data: Any) -> Tensor:
    """An int64 tensor with a copy of `data`; an older name for `tensor(data, dtype=int64)`."""
    return tensor(data, dtype="int64")


def shape_of(lengths: tuple[Any, ...], size: Sequence[int] | None) -> tuple[int, ...]:
    """The shape that was given as `(2, 3)`, as one tuple `((2, 3),)`, or by the keyword `size`."""
    if size is not None:
        return tuple(size)
    return tuple(lengths[0]) if len(lengths) == 1 and isinstance(lengths[0], (tuple, list)) else lengths


def _leaf(array: Any, requires_grad: bool) -> Tensor:
    return wrap(array).requires_grad_() if requires_grad else wrap(array)


def _library(device: str | backend.Device | None) -> Any:
    return backend.module_of(device or "cpu")


def zeros(
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return _leaf(_library(device).zeros(shape_of(lengths, size), as_dtype(dtype or get_default_dtype())), requires_grad)


def ones(
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones: `ones(2, 3)` or `ones((2, 3))`."""
    return _leaf(_library(device).ones(shape_of(lengths, size), as_dtype(dtype or get_default_dtype())), requires_grad)


def empty(
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Memory as it happens to be; to be written before it is read."""
    return _leaf(_library(device).empty(shape_of(lengths, size), as_dtype(dtype or get_default_dtype())), requires_grad)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere; its type decides the dtype unless given."""
    dtype = as_dtype(dtype if dtype is not None else as_array(fill_value).dtype)
    return _leaf(_library(device).full(size, fill_value, dtype), requires_grad)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … below end: `arange(end)` or `arange(start, end, step)`; int64 if all three are ints."""
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ValueError("arange: step must not be 0")
    if dtype is None:
        dtype = "int64" if all(isinstance(x, int) for x in (start, end, step)) else get_default_dtype()
    return _leaf(_library(device).arange(start, end, step).astype(as_dtype(dtype)), requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """So many numbers at equal distances from start to end, both included."""
    return _leaf(_library(device).linspace(start, end, steps).astype(dtype or get_default_dtype()), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: str | backend.Device | None = None) -> Tensor:
    """Ones on the diagonal, zeros elsewhere, (n, m)."""
    return wrap(_library(device).eye(n, m, dtype=as_dtype(dtype or get_default_dtype())))


def zeros_like(
    x: Tensor, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of the shape, dtype and device of x, unless others are given."""
    return full_like(x, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    x: Tensor, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones of the shape, dtype and device of x, unless others are given."""
    return full_like(x, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(
    x: Tensor, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """Memory as it happens to be, of the shape, dtype and device of x, unless others are given."""
    return empty(x.shape, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def full_like(
    x: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere, of the shape, dtype and device of x, unless others are given."""
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)
