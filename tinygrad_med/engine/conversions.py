"""From Python's numbers to arrays and back: what `Tensor(…)` accepts; `item()`, `numpy()`, copying, pickling, printing.

`Conversions` is a base class of `Tensor`, which thereby has the methods that lead out of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.core.methods import Methods
from tinygrad_med.dtypes import as_dtype, float64, get_default_dtype
from tinygrad_med.engine.errors import refuse_foreign

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Record
    from tinygrad_med.core.tensor import Tensor

Array = numpy.ndarray
DType = numpy.dtype

# Into the graph -----------------------------------------------------------------------------------------------------


def as_array(data: Any, dtype: Any = None, device: str | backend.Device | None = None) -> Any:
    """`data` (numbers, nested lists, arrays, tensors) as an array of a supported dtype on `device`."""
    held = data.array if isinstance(data, Conversions) else data
    if backend.is_array(held):
        array = held
    else:
        refuse_foreign("tensor", data if isinstance(data, (list, tuple)) else (data,))
        if isinstance(data, (list, tuple)) and any(isinstance(x, Conversions) for x in data):
            data = [x.tolist() if isinstance(x, Conversions) else x for x in data]
        try:
            array = numpy.array(data)
        except ValueError as error:
            raise ValueError(f"tensor: the nested lists are ragged, rows of one length are needed ({error})") from None
        if dtype is None and array.dtype == object and all(isinstance(x, (int, float)) for x in array.flat):
            if not any(isinstance(x, float) for x in array.flat):
                raise OverflowError("tensor: an integer is too large for int64; give dtype=float64")
            array = array.astype(float64)  # beside a float, the large integer is one too, as in PyTorch
        if dtype is None and array.dtype == float64 and not _of_numpys_floats(data):
            dtype = get_default_dtype()
    if dtype is None and array.dtype.kind not in "biuf":
        raise TypeError(
            f"tensor: can't make numbers of {type(data).__name__} ({array.dtype}); give numbers or arrays of them"
        )
    wanted = as_dtype(array.dtype if dtype is None else dtype)
    if array.dtype != wanted or not array.dtype.isnative:
        array = array.astype(wanted)
    return array if device is None else backend.to_device(array, device)


def instead_of(tensor: Any, data: Any) -> Any:
    """The array that a tensor takes by `x.data = data`: another tensor's, or numbers in the dtype of x."""
    array = as_array(data, *(() if isinstance(data, Conversions) else (tensor.dtype, tensor.device)))
    if tensor.requires_grad and array.dtype.kind != "f":
        raise RuntimeError(f"data: x requires a gradient, which {array.dtype} can't carry; convert it first: y.float()")
    return own_memory(array)


def _of_numpys_floats(data: Any) -> bool:
    """Whether the first number in nested lists is NumPy's float64 or an array, whose dtype was chosen on purpose."""
    while isinstance(data, (list, tuple)) and len(data):
        data = data[0]
    return backend.is_array(data)


def own_memory(array: Any) -> Any:
    """`array`; a 0-d array for a NumPy scalar, which is a value and has no memory that one could write to."""
    return numpy.array(array) if isinstance(array, numpy.generic) else array


def array_of(operand: Any, view: bool) -> Any:
    """What a forward computes on: the array of a tensor, an array or a number as it is.

    A 0-d array becomes a NumPy scalar, whose arithmetic is several times faster, unless the operation makes a `view`.
    """
    array = operand.array if isinstance(operand, Conversions) else operand
    return array[()] if isinstance(array, numpy.ndarray) and not array.ndim and not view else array


class Size(tuple[int, ...]):
    """A shape that can count: what `x.size()` returns. `x.shape`, which is asked for often, is a plain tuple."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"Size({list(self)})"


class Conversions(Methods):
    """What a tensor says of itself, and how it becomes something else: numbers, arrays, copies, text."""

    __slots__ = ()

    __hash__ = object.__hash__  # a tensor is itself, whatever it holds: `==` compares element by element
    __array_ufunc__ = None  # an array to the left of an operator steps back and lets the tensor's own operator work

    if TYPE_CHECKING:  # what Tensor has
        array: Any
        _grad: Tensor | None
        requires_grad: bool
        origin: Record | None
        hooks: list[Any] | None
        shape: tuple[int, ...]
        ndim: int

        @property
        def dtype(self) -> DType: ...  # noqa: D102
        @property
        def device(self) -> backend.Device: ...  # noqa: D102

    @property
    def is_cuda(self) -> bool:
        """Whether the numbers are on a GPU."""
        return self.device.type == "cuda"

    def get_device(self) -> int:
        """The number of the GPU; −1 for the CPU."""
        return -1 if self.device.index is None else self.device.index

    @property
    def grad_fn(self) -> Record | None:
        """PyTorch's name for `origin`."""
        return self.origin

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one dim."""
        return Size(self.shape) if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dims."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(self.array.size)

    def element_size(self) -> int:
        """Bytes per element."""
        return int(self.array.itemsize)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float type, one that can carry a gradient."""
        return self.dtype.kind == "f"

    def is_contiguous(self) -> bool:
        """Whether the elements lie in memory in the order of the dims."""
        return bool(self.array.flags.c_contiguous)

    # Out of the graph, into Python ------------------------------------------------------------------------------

    def numpy(self, *, force: bool = False) -> Array:
        """The numbers as a NumPy array that shares this tensor's memory; with `force` that of `x.detach().cpu()`.

        Raises:
            RuntimeError: without `force`, for a tensor that requires a gradient, or on a GPU.
        """
        if force:
            return backend.to_numpy(self.array)
        if self.requires_grad:
            raise RuntimeError(
                "numpy: this tensor requires a gradient, an array can't carry it; use x.detach().numpy()"
            )
        if self.is_cuda:
            raise RuntimeError(f"numpy: this tensor is on {self.device}; use x.cpu().numpy()")
        return backend.to_numpy(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return numpy.array(self.numpy(), dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory for another library, by the DLPack protocol: `numpy.from_dlpack(x)`, `cupy.from_dlpack(x)` …"""
        return self._shared("__dlpack__").__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[Any, int]:
        """DLPack's number for the kind of device, 1 for the CPU and 2 for CUDA, and the device's own."""
        return self._shared("__dlpack_device__", in_graph=True).__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where the numbers are on a GPU, for Numba, CuPy and others; the CPU's tensors have none."""
        if not self.is_cuda:
            raise AttributeError("__cuda_array_interface__: this tensor is on the CPU")
        return self._shared("__cuda_array_interface__").__cuda_array_interface__

    def _shared(self, protocol: str, in_graph: bool = False) -> Any:
        """The array as memory that others may share."""
        if self.requires_grad and not in_graph:
            raise BufferError(
                f"{protocol}: this tensor requires a gradient, which another library can't carry; use x.detach()"
            )
        self.array = own_memory(self.array)
        return self.array

    def item(self) -> float:
        """The single element as a Python number: a float, an int or a bool, as the dtype says."""
        if self.array.size != 1:
            raise RuntimeError(
                f"item: needs a tensor of one element, got shape {self.shape}; reduce it, or use tolist()"
            )
        if backend.cuda_in_use:
            backend.refuse_reading(self.array)
        number: float = self.array.item()
        if backend.cuda_in_use:
            backend.raise_noted()
        return number

    def tolist(self) -> Any:
        """The numbers as nested lists of Python numbers."""
        if backend.cuda_in_use:
            backend.refuse_reading(self.array)
        numbers = self.array.tolist()
        if backend.cuda_in_use:
            backend.raise_noted()
        return numbers

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind == "f":
            raise TypeError(f"only integer tensors can be an index, got {self.dtype}; use .long()")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(f"the truth of a tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    def __contains__(self, element: Any) -> bool:
        return bool((self.array == (element.array if isinstance(element, Conversions) else element)).any())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.origin is not None:
            raise RuntimeError("deepcopy: only leaves can be copied deeply; use x.detach().clone()")
        backend.array_module(self.array)  # of several GPUs the copy stays on this one
        copy = self._restore(self.array.copy(), self.requires_grad)
        memo[id(self)] = copy
        copy.grad = None if self._grad is None else self._grad.detach().clone()
        return copy

    def __reduce__(self) -> Any:
        if self.origin is not None:
            raise RuntimeError(
                "this tensor is the result of an operation, and only leaves can be copied or pickled; use x.detach(), "
                "and to draw it x.detach().numpy()"
            )
        elsewhere = (str(self.device),) if self.is_cuda else ()
        return type(self)._restore, (backend.to_numpy(self.array), self.requires_grad, *elsewhere)

    @classmethod
    def _restore(cls, array: Array, requires_grad: bool, device: str | None = None) -> Tensor:
        from tinygrad_med.core.tensor import wrap

        tensor = wrap(array if device is None else backend.to_device(array, device), into=cls.__new__(cls))  # type: ignore[arg-type]
        tensor.requires_grad = requires_grad
        return tensor

    # How it prints ----------------------------------------------------------------------------------------------

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if not self.ndim else format(str(self), spec)

    def __repr__(self) -> str:
        numbers = numpy.array2string(
            backend.to_numpy(self.array), precision=4, threshold=100, edgeitems=3, separator=", ", prefix="tensor("
        )
        facts = [numbers]
        if self.array.size > 100 or (not self.array.size and self.shape != (0,)):
            facts.append(f"shape={self.shape}")
        if self.dtype not in (get_default_dtype(), "int64", "bool"):
            facts.append(f"dtype={self.dtype}")
        if self.is_cuda:
            facts.append(f"device='{self.device}'")
        if self.origin is not None:
            facts.append(f"grad_fn=<{self.origin.primitive}>")
        elif self.requires_grad:
            facts.append("requires_grad=True")
        return f"tensor({', '.join(facts)})"
