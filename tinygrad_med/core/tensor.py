"""The tensor: an array that remembers where it came from.

A `Tensor` holds an array, and, if a gradient is to flow through it, either its own `grad` (a leaf: something the user
made) or its `origin` (the record of the operation that made it). It knows no mathematics: `primitive.py` says what an
operation is, `ops/` holds the operations, and `operators.py` hangs them onto this class as operators and methods.

What is imported from `engine/` can be skipped at first. Its names say what it does: `refuse_…` raises an error that
explains itself if something is wrong, and otherwise does nothing; `as_array` converts; `own_memory` makes an array,
which can be written to, of a NumPy scalar, which can't, and leaves every other array as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tinygrad_med import backend
from tinygrad_med.dtypes import get_default_dtype
from tinygrad_med.engine.conversions import Conversions, DType, as_array, instead_of, own_memory
from tinygrad_med.engine.errors import no_gradient_kept, refuse_gradient, refuse_hook, refuse_size
from tinygrad_med.engine.hooks import RemovableHandle, Retain

if TYPE_CHECKING:
    from tinygrad_med.core.primitive import Record


class Tensor(Conversions):
    """An array with a memory of the operation that made it.

    Args:
        data: numbers: nested lists, a NumPy or CuPy array, or a tensor. An array, also a tensor's, is shared
            where dtype and device stay as they are; everything else is copied.
        dtype: the number type; by default that of an array, and the default dtype for Python's numbers, also integers
            (as PyTorch's `Tensor` does; the function `tensor([1, 2])` makes int64 of them).
        device: `"cpu"` or `"cuda"`; by default where the data is.
        requires_grad: whether `backward()` should leave a gradient here.

    Attributes:
        array: the numbers, a `numpy.ndarray` or `cupy.ndarray`. The 0-d result of an operation, such as a sum, is a
            NumPy scalar instead (faster, but a value that can't be written to) until somebody asks to share its memory,
            by `detach()` or `data`.
        requires_grad: whether a gradient flows through this tensor.
        origin: the record of the operation that made it, `None` for a leaf.
        hooks: functions to call with the gradient, if this is a leaf (those of a result are in its record).
    """

    __slots__ = ("array", "_grad", "requires_grad", "origin", "hooks", "__weakref__")

    def __init__(
        self, data: Any, dtype: Any = None, device: str | backend.Device | None = None, requires_grad: bool = False
    ) -> None:
        refuse_size(data)
        if dtype is None and not (isinstance(data, Tensor) or backend.is_array(data)):
            dtype = get_default_dtype()
        wrap(own_memory(as_array(data, dtype, device)), into=self)
        if requires_grad:
            self.requires_grad_()

    # What it is -------------------------------------------------------------------------------------------------

    shape = property(attrgetter("array.shape"), doc="The length of each dim.")  # faster than a method, and often asked
    ndim: property = property(attrgetter("array.ndim"), doc="The number of dims.")

    @property
    def dtype(self) -> DType:
        """The number type."""
        return self.array.dtype

    @property
    def device(self) -> backend.Device:
        """Where the numbers are: `"cpu"` or `"cuda:<number>"`."""
        return backend.device_of(self.array)

    # Its place in the graph -------------------------------------------------------------------------------------

    @property
    def is_leaf(self) -> bool:
        """Whether no operation of the graph made this tensor."""
        return self.origin is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward()` left in this leaf, a tensor of its shape and dtype, or `None`."""
        if self._grad is None and self.origin is not None:
            no_gradient_kept(self.origin)
        return self._grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        self._grad = gradient

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether `backward()` shall leave a gradient in this leaf; returns the tensor itself."""
        refuse_gradient(self, requires_grad)
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """The same numbers (the same memory) outside the graph."""
        self.array = own_memory(self.array)
        return wrap(self.array)

    @property
    def data(self) -> Tensor:
        """The same numbers (the same memory) outside the graph, as `detach()`; assigning takes another tensor's."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        self.array = instead_of(self, value)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` when this tensor's gradient is complete; what it returns, if anything, replaces it."""
        refuse_hook(self)
        node: Tensor | Record = self.origin or self  # the place in the graph: a result's record, or the leaf itself
        node.hooks = node.hooks if node.hooks is not None else []
        return RemovableHandle(node.hooks, hook)

    def retain_grad(self) -> None:
        """Let `backward()` leave `.grad` here too, although this tensor is not a leaf."""
        refuse_hook(self, "retain_grad")
        if not Retain.is_there(self):
            self.register_hook(Retain(self))


def wrap(array: Any, origin: Record | None = None, into: Tensor | None = None) -> Tensor:
    """A tensor around `array` as it is, without the checks and conversions of `Tensor(…)`."""
    tensor = Tensor.__new__(Tensor) if into is None else into
    tensor.array = array
    tensor._grad = None
    tensor.requires_grad = origin is not None
    tensor.origin = origin
    tensor.hooks = None
    return tensor
