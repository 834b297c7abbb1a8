"""Tensors out of nothing: constants, ranges, and copies of what Python and NumPy hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tinygrad_med import backend
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.dtypes import as_dtype, get_default_dtype
from tinygrad_med.engine.conversions import as_array, own_memory
from tinygrad_med.engine.errors import refuse_size

F = TypeVar("F", bound=Callable[..., Any])


def _in_memory(make: F) -> F:
    """`make`, which says what to do where a GPU's memory is full."""

    @functools.wraps(make)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return make(*args, **kwargs)
        except MemoryError as error:
            raise backend.out_of_memory(make.__name__, error) from error

    return call  # type: ignore[return-value]


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


def from_dlpack(ext_tensor: Any, *, device: str | backend.Device | None = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of another library's: of anything with `__dlpack__`, on the CPU or on a GPU.

    Args:
        ext_tensor: a tensor of PyTorch's, an array of NumPy's, CuPy's, JAX's …; no bare capsule.
        device: where to; another device than that of `ext_tensor` means a copy.
        copy: `True` for memory of its own, `False` for an error where a copy would be needed.

    Raises:
        TypeError: for what doesn't speak the protocol, or a dtype that tensors can't have.
        BufferError: for a tensor in a graph; detach it first.
    """
    array = backend.from_dlpack(ext_tensor)
    if array.dtype != as_dtype(array.dtype):
        raise TypeError(f"from_dlpack: its numbers are {array.dtype}, not in this machine's byte order; copy them")
    found = wrap(array if device is None else backend.to_device(array, device))
    if copy is False and found.array is not array:
        raise ValueError(f"from_dlpack: to {backend.Device(device or 'cpu')} there is no way without a copy")
    return wrap(array.copy()) if copy and found.array is array else found


def _typed(data: Any, dtype: str) -> Tensor:
    refuse_size(data)
    return tensor(data, dtype=dtype)


def FloatTensor(data: Any) -> Tensor:
    """A float32 tensor with a copy of `data`; an older name for `tensor(data, dtype=float32)`."""
    return _typed(data, "float32")


def LongTensor(data: Any) -> Tensor:
    """An int64 tensor with a copy of `data`; an older name for `tensor(data, dtype=int64)`."""
    return _typed(data, "int64")


def DoubleTensor(data: Any) -> Tensor:
    """A float64 tensor with a copy of `data`; an older name for `tensor(data, dtype=float64)`."""
    return _typed(data, "float64")


def IntTensor(data: Any) -> Tensor:
    """An int32 tensor with a copy of `data`; an older name for `tensor(data, dtype=int32)`."""
    return _typed(data, "int32")


def ShortTensor(data: Any) -> Tensor:
    """An int16 tensor with a copy of `data`; an older name for `tensor(data, dtype=int16)`."""
    return _typed(data, "int16")


def ByteTensor(data: Any) -> Tensor:
    """A uint8 tensor with a copy of `data`; an older name for `tensor(data, dtype=uint8)`."""
    return _typed(data, "uint8")


def BoolTensor(data: Any) -> Tensor:
    """A bool tensor with a copy of `data`; an older name for `tensor(data, dtype=bool)`."""
    return _typed(data, "bool")


def shape_of(lengths: tuple[Any, ...], size: Sequence[int] | None) -> tuple[int, ...]:
    """The shape that was given as `(2, 3)`, as one tuple `((2, 3),)`, or by the keyword `size`."""
    if size is not None:
        lengths = (size,)
    if len(lengths) == 1 and isinstance(lengths[0], (tuple, list)):
        lengths = tuple(lengths[0])
    for n in lengths:
        length(n, "shape", "a length")
    return lengths


def _leaf(array: Any, requires_grad: bool) -> Tensor:
    return wrap(array).requires_grad_() if requires_grad else wrap(array)


def _library(device: str | backend.Device | None) -> Any:
    return backend.module_of(device or "cpu")


@_in_memory
def zeros(
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return _leaf(_library(device).zeros(shape_of(lengths, size), as_dtype(dtype or get_default_dtype())), requires_grad)


@_in_memory
def ones(
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones: `ones(2, 3)` or `ones((2, 3))`."""
    return _leaf(_library(device).ones(shape_of(lengths, size), as_dtype(dtype or get_default_dtype())), requires_grad)


@_in_memory
def empty(
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Memory as it happens to be; to be written before it is read."""
    return _leaf(_library(device).empty(shape_of(lengths, size), as_dtype(dtype or get_default_dtype())), requires_grad)


@_in_memory
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere; its type decides the dtype unless given."""
    fill_value = _number(fill_value)
    dtype = as_dtype(dtype if dtype is not None else as_array(fill_value).dtype)
    return _leaf(_library(device).full(shape_of((size,), None), fill_value, dtype), requires_grad)


def _number(x: Any) -> Any:
    """A 0-d tensor as its number."""
    return x.item() if isinstance(x, Tensor) else x


def length(value: Any, operation: str, name: str) -> int:
    """A length or a count, which must be an integer and not negative."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{operation}: {name} must be an integer, got {value!r}")
    if value.__index__() < 0:
        raise ValueError(f"{operation}: {name} must not be negative, got {value}")
    return int(value)


@_in_memory
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … below end: `arange(end)` or `arange(start, end, step)`; int64 if all three are ints."""
    start, end, step = (_number(x) for x in ((0, start, step) if end is None else (start, end, step)))
    if step == 0:
        raise ValueError("arange: step must not be 0")
    if not (-math.inf < start < math.inf and -math.inf < end < math.inf):
        raise ValueError(f"arange: the bounds must be finite, got start={start} and end={end}")
    if (end - start) * step < 0:
        raise ValueError(f"arange: with step={step} there is no way from start={start} to end={end}")
    if dtype is None:
        dtype = "int64" if all(isinstance(x, int) for x in (start, end, step)) else get_default_dtype()
    return _leaf(_library(device).arange(start, end, step).astype(as_dtype(dtype)), requires_grad)


@_in_memory
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
    start, end, steps = _number(start), _number(end), length(steps, "linspace", "steps")
    return _leaf(
        _library(device).linspace(start, end, steps).astype(as_dtype(dtype or get_default_dtype())), requires_grad
    )


@_in_memory
def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """So many numbers from baseˢᵗᵃʳᵗ to baseᵉⁿᵈ, their logarithms equally far apart."""
    exponents = linspace(start, end, steps, dtype="float64", device=device).array
    return _leaf((base**exponents).astype(as_dtype(dtype or get_default_dtype())), requires_grad)


@_in_memory
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal, zeros elsewhere, (n, m)."""
    n, m = length(n, "eye", "n"), None if m is None else length(m, "eye", "m")
    return _leaf(_library(device).eye(n, m, dtype=as_dtype(dtype or get_default_dtype())), requires_grad)


@_in_memory
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = "int64", device: str | backend.Device | None = None
) -> Tensor:
    """The rows and the columns of the lower triangle of a matrix, (2, n), in the order of the rows."""
    return _triangle("tril_indices", row, col, dtype, device, lambda i, j: j - i <= offset)


@_in_memory
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = "int64", device: str | backend.Device | None = None
) -> Tensor:
    """The rows and the columns of the upper triangle of a matrix, (2, n), in the order of the rows."""
    return _triangle("triu_indices", row, col, dtype, device, lambda i, j: j - i >= offset)


def _triangle(operation: str, row: Any, col: Any, dtype: Any, device: Any, inside: Callable[[Any, Any], Any]) -> Tensor:
    n, m, xp = length(row, operation, "row"), length(col, operation, "col"), _library(device)
    i, j = xp.ogrid[:n, :m]
    return wrap(xp.stack(xp.nonzero(inside(i, j))).astype(as_dtype(dtype)))


def scalar_tensor(
    s: Any, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor, of the default dtype unless another is given."""
    return tensor(s, dtype=dtype or get_default_dtype(), device=device, requires_grad=requires_grad)


def zeros_like(
    input: Tensor, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of the shape, dtype and device of x, unless others are given."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    input: Tensor, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones of the shape, dtype and device of x, unless others are given."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(
    input: Tensor, *, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
) -> Tensor:
    """Memory as it happens to be, of the shape, dtype and device of x, unless others are given."""
    return empty(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere, of the shape, dtype and device of x, unless others are given."""
    dtype, device = dtype or input.dtype, device or input.device
    return full(input.shape, fill_value, dtype=dtype, device=device, requires_grad=requires_grad)


# As methods: of the dtype and device of a tensor that is there ------------------------------------------------------


def new_tensor(x: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new leaf with a copy of `data`, of the dtype and device of x, unless others are given."""
    return tensor(data, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def new_full(
    x: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere, of the dtype and device of x, unless others are given."""
    return full(size, fill_value, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def new_zeros(
    x: Tensor,
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros, of the dtype and device of x, unless others are given."""
    return new_full(x, shape_of(lengths, size), 0, dtype=dtype, device=device, requires_grad=requires_grad)


def new_ones(
    x: Tensor,
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones, of the dtype and device of x, unless others are given."""
    return new_full(x, shape_of(lengths, size), 1, dtype=dtype, device=device, requires_grad=requires_grad)


def new_empty(
    x: Tensor,
    *lengths: Any,
    size: Sequence[int] | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Memory as it happens to be, of the dtype and device of x, unless others are given."""
    dtype, device = dtype or x.dtype, device or x.device
    return empty(shape_of(lengths, size), dtype=dtype, device=device, requires_grad=requires_grad)
