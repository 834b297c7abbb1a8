"""The tensor: an array that remembers where it came from.

A `Tensor` holds an array, and, if a gradient is to flow through it, either its own `grad` (a leaf: something the user
made) or its `origin` (the record of the operation that made it). It knows no mathematics: `primitive.py` says what an
operation is, `ops/` holds the operations, and `operators.py` hangs them onto this class as operators and methods.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy

from tinygrad_med import backend
from tinygrad_med.dtypes import as_dtype, float64, get_default_dtype

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Record

Array = numpy.ndarray
DType = numpy.dtype


class Tensor:
    """An array with a memory of the operation that made it.

    Args:
        data: numbers: nested lists, a NumPy or CuPy array, or a tensor. Copied unless it is an array.
        dtype: the number type; by default that of an array, and the default dtype for Python's numbers, also integers
            (as PyTorch has it; `tensor([1, 2])` makes int64 of them).
        device: `"cpu"` or `"cuda"`; by default where the data is.
        requires_grad: whether `backward()` should leave a gradient here.

    Attributes:
        array: the numbers, a `numpy.ndarray` or `cupy.ndarray`; a NumPy scalar for the 0-d results of NumPy, which
            is a value rather than memory: views and detached copies of it don't share it.
        grad: the gradient that `backward()` left, a tensor of the same shape and dtype, or `None`.
        requires_grad: whether a gradient flows through this tensor.
        origin: the record of the operation that made it, `None` for a leaf.
    """

    __slots__ = ("array", "grad", "requires_grad", "origin", "hooks", "__weakref__")

    __hash__ = object.__hash__  # a tensor is itself, whatever it holds: `==` compares element by element
    __array_ufunc__ = None  # an array to the left of an operator steps back and lets the tensor's own operator work

    array: Any
    grad: Tensor | None
    requires_grad: bool
    origin: Record | None
    hooks: list[Callable[[Tensor], Tensor | None]] | None

    if TYPE_CHECKING:  # what operators.py adds when the package is imported

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        device: str | backend.Device | None = None,
        requires_grad: bool = False,
    ) -> None:
        if type(data) is int:  # not of True, which is a number like 1.5
            raise TypeError(
                f"Tensor({data}) is memory for {data} numbers in PyTorch; use zeros({data}), or tensor({data})"
            )
        if dtype is None and not (isinstance(data, Tensor) or backend.is_array(data)):
            dtype = get_default_dtype()
        self.array = as_array(data, dtype, device)
        self.grad = None
        self.origin = None
        self.hooks = None
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # What it is -------------------------------------------------------------------------------------------------

    shape = property(attrgetter("array.shape"), doc="The length of each dim.")  # faster than a method, and often asked

    @property
    def ndim(self) -> int:
        """The number of dims."""
        return self.array.ndim

    @property
    def dtype(self) -> DType:
        """The number type."""
        return self.array.dtype

    @property
    def device(self) -> backend.Device:
        """Where the numbers are: `"cpu"` or `"cuda:<number>"`."""
        return backend.device_of(self.array)

    @property
    def is_cuda(self) -> bool:
        """Whether the numbers are on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_leaf(self) -> bool:
        """Whether no operation of the graph made this tensor."""
        return self.origin is None

    @property
    def grad_fn(self) -> Record | None:
        """PyTorch's name for `origin`."""
        return self.origin

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one dim."""
        return self.shape if dim is None else self.shape[dim]

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

    # Its place in the graph -------------------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether `backward()` shall leave a gradient in this leaf; returns the tensor itself."""
        if requires_grad and self.dtype.kind != "f":
            raise RuntimeError(
                f"requires_grad_: a {self.dtype} tensor can't carry a gradient, only float types can; "
                "convert it first: x.float().requires_grad_()"
            )
        if not requires_grad and self.origin is not None:
            raise RuntimeError(
                f"requires_grad_: this tensor is the result of {self.origin.primitive}; only a leaf can be switched "
                "off, use x.detach()"
            )
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """The same numbers (the same memory) outside the graph."""
        return wrap(self.array)

    @property
    def data(self) -> Tensor:
        """The same numbers (the same memory) outside the graph, as `detach()`; assigning exchanges the numbers."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        self.array = as_array(value, self.dtype, self.device)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` when this tensor's gradient is complete; what it returns, if anything, replaces it."""
        if not self.requires_grad:
            raise RuntimeError("register_hook: this tensor does not require a gradient; call requires_grad_() first")
        node: Tensor | Record = self.origin or self
        if node.hooks is None:
            node.hooks = []
        return RemovableHandle(node.hooks, hook)

    def retain_grad(self) -> None:
        """Let `backward()` leave `.grad` here too, although this tensor is not a leaf."""
        if self.origin is None:
            return
        if not any(isinstance(hook, _Keep) and hook.tensor() is self for hook in self.origin.hooks or ()):
            self.register_hook(_Keep(self))

    # Out of the graph, into Python ------------------------------------------------------------------------------

    def numpy(self) -> Array:
        """The numbers as a NumPy array that shares this tensor's memory.

        Raises:
            RuntimeError: for a tensor that requires a gradient, or on a GPU.
        """
        if self.requires_grad:
            raise RuntimeError(
                "numpy: this tensor requires a gradient, an array can't carry it; use x.detach().numpy()"
            )
        if self.is_cuda:
            raise RuntimeError(f"numpy: this tensor is on {self.device}; use x.cpu().numpy()")
        return backend.to_numpy(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return numpy.array(self.numpy(), dtype, copy=copy)

    def item(self) -> Any:
        """The single element as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(
                f"item: needs a tensor of one element, got shape {self.shape}; reduce it, or use tolist()"
            )
        return self.array.item()

    def tolist(self) -> Any:
        """The numbers as nested lists of Python numbers."""
        return self.array.tolist()

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
        return bool(self.array.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    def __contains__(self, element: Any) -> bool:
        return bool((self.array == (element.array if isinstance(element, Tensor) else element)).any())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.origin is not None:
            raise RuntimeError("deepcopy: only leaves can be copied deeply; use x.detach().clone()")
        copy = type(self).__new__(type(self))
        copy.array, copy.requires_grad, copy.origin, copy.hooks = self.array.copy(), self.requires_grad, None, None
        memo[id(self)] = copy
        copy.grad = None if self.grad is None else wrap(self.grad.array.copy())
        return copy

    def __reduce__(self) -> Any:
        if self.origin is not None:
            raise RuntimeError("pickle: only leaves can be pickled; use x.detach()")
        return type(self)._restore, (backend.to_numpy(self.array), self.requires_grad)

    @classmethod
    def _restore(cls, array: Array, requires_grad: bool) -> Tensor:
        tensor = cls.__new__(cls)
        tensor.array, tensor.grad, tensor.origin, tensor.hooks = array, None, None, None
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
        if self.array.size > 100:
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


class _Keep:
    """The hook of `retain_grad`."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)

    def __call__(self, gradient: Tensor) -> None:
        if (tensor := self.tensor()) is not None:
            tensor.grad = gradient.clone() if tensor.grad is None else tensor.grad + gradient


class RemovableHandle:
    """Takes a hook out again: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook
        hooks.append(hook)

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def wrap(array: Any, origin: Record | None = None) -> Tensor:
    """A tensor around `array` as it is, without the checks and conversions of `Tensor(…)`."""
    tensor = Tensor.__new__(Tensor)
    tensor.array = array
    tensor.grad = None
    tensor.hooks = None
    tensor.origin = origin
    tensor.requires_grad = origin is not None
    return tensor


def as_array(data: Any, dtype: Any = None, device: str | backend.Device | None = None) -> Any:
    """`data` (numbers, nested lists, arrays, tensors) as an array of a supported dtype on `device`."""
    held = data.array if isinstance(data, Tensor) else data
    if backend.is_array(held):
        array = held
    else:
        if isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data):
            data = [x.tolist() if isinstance(x, Tensor) else x for x in data]
        try:
            array = numpy.array(data)
        except ValueError as error:
            raise ValueError(f"tensor: the nested lists are ragged, rows of one length are needed ({error})") from None
        if dtype is None and array.dtype == object and all(isinstance(x, (int, float)) for x in array.flat):
            if not any(isinstance(x, float) for x in array.flat):
                raise OverflowError("tensor: an integer is too large for int64; give dtype=float64")
            array = array.astype(float64)  # beside a float, the large integer is one too, as in PyTorch
        if dtype is None and array.dtype == float64:
            dtype = get_default_dtype()
    if dtype is None and array.dtype.kind not in "biuf":
        raise TypeError(
            f"tensor: can't make numbers of {type(data).__name__} ({array.dtype}); give numbers or arrays of them"
        )
    wanted = as_dtype(array.dtype if dtype is None else dtype)
    if array.dtype != wanted or not array.dtype.isnative:
        array = array.astype(wanted)
    if not array.ndim and array is not held:
        array = array[()]  # a NumPy scalar, whose arithmetic is several times faster than a 0-d array's
    return array if device is None else backend.to_device(array, device)
