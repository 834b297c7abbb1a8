"""The table that gives `Tensor` its operators and methods.

Every function of `ops/` whose first operand is a tensor is a method of the same name. What stands here besides is what
only a method can be: the conversions. The writes in place are in `inplace.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_med import backend, inplace, ops
from tinygrad_med.backend import transfer
from tinygrad_med.core.backward import backward
from tinygrad_med.core.broadcast import cast
from tinygrad_med.core.methods import METHODS, Methods
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import new_empty, new_full, new_ones, new_tensor, new_zeros
from tinygrad_med.dtypes import as_dtype
from tinygrad_med.engine.compiled import CALL, OPERATOR, REFLECTED, attach
from tinygrad_med.engine.errors import no_attribute
from tinygrad_med.engine.signatures import by_other_names
from tinygrad_med.ops import elementwise
from tinygrad_med.ops.rearrange import windows_along
from tinygrad_med.random import bernoulli, multinomial

# Conversions --------------------------------------------------------------------------------------------------------


def to(
    x: Tensor,
    *targets: Any,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,  # noqa: ARG001 - PyTorch's argument
) -> Tensor:
    """x in another dtype, on another device, or like another tensor; x itself where nothing changes.

    `x.to("cuda")`, `x.to(1)` (the GPU of that number), `x.to(float64)`, `x.to("cuda", float64)`, `x.to(other)`. With
    `copy`, in memory of its own in any case. With `non_blocking`, x in pinned memory (`pin_memory()`) is copied to a
    GPU while that computes; x must not be written until then. `memory_format` does nothing here, and a bool after the
    targets is one of `non_blocking` and `copy`.
    """
    if targets and isinstance(targets[0], bool):
        raise TypeError(f"to: {targets[0]} is no dtype, device or tensor; give a flag by its name")
    targets, flags = (tuple(t for t in targets if not isinstance(t, bool)), [t for t in targets if isinstance(t, bool)])
    non_blocking, copy = flags[0] if flags else non_blocking, flags[1] if len(flags) > 1 else copy
    before = x
    for target in targets:
        if isinstance(target, Tensor):
            dtype, device = target.dtype, target.device
        elif isinstance(target, int):
            device = backend.Device("cuda", target)
        elif isinstance(target, backend.Device) or str(target).partition(":")[0] in ("cpu", "cuda"):
            device = target
        else:
            dtype = target
    if device is not None and backend.Device(device) != x.device:
        if non_blocking and backend.is_pinned(x.array) and not x.requires_grad:
            return to(wrap(transfer.to_gpu(x.array, backend.Device(device))), dtype=dtype)
        x = ops.to_device(x, device=backend.Device(device), source=x.device)
    if dtype is not None and (dtype := as_dtype(dtype)) != x.dtype:
        between_floats = x.is_floating_point() and dtype.kind == "f"
        x = cast(x, dtype=dtype) if between_floats else wrap(x.array.astype(dtype))
    return ops.clone(x) if copy and x is before else x


def _to_dtype(name: str) -> Callable[[Tensor], Tensor]:
    def convert(x: Tensor, memory_format: Any = None) -> Tensor:  # noqa: ARG001 - likewise
        return to(x, dtype=name)

    convert.__doc__ = f"x as {name}."
    return convert


def cuda(x: Tensor, device: int | str | None = None, non_blocking: bool = False) -> Tensor:
    """x on a GPU; `non_blocking` as in `to`.

    Raises:
        RuntimeError: without CuPy, a driver or a card; it says which of the three, and what to install.
    """
    return to(x, device=f"cuda:{device}" if isinstance(device, int) else device or "cuda", non_blocking=non_blocking)


def pin_memory(x: Tensor) -> Tensor:
    """x in page-locked memory of the CPU, from which `to("cuda", non_blocking=True)` copies while the GPU computes.

    Raises:
        RuntimeError: for a tensor on a GPU; and without CUDA: it says what is missing.
    """
    if x.is_cuda:
        raise RuntimeError(f"pin_memory: this tensor is on {x.device}; only the CPU's memory can be pinned")
    return x if is_pinned(x) else wrap(transfer.pin(x.array))


def is_pinned(x: Tensor) -> bool:
    """Whether x is in memory that `pin_memory` made."""
    return backend.is_pinned(x.array)


def cpu(x: Tensor) -> Tensor:
    """x in the memory of the CPU."""
    return to(x, device="cpu")


def contiguous(x: Tensor, memory_format: Any = None) -> Tensor:  # noqa: ARG001 - likewise
    """x with its elements in memory in the order of the dims: itself, or a copy."""
    return x if x.is_contiguous() else ops.clone(x)


def type_as(x: Tensor, other: Tensor) -> Tensor:
    """x in the dtype of another tensor."""
    return to(x, dtype=other.dtype)


_TYPES = {"Float": "float32", "Double": "float64", "Half": "float16", "Long": "int64", "Int": "int32", "Short": "int16"}
_TYPES |= {"Byte": "uint8", "Bool": "bool"}


def type_(x: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """x in another dtype, also by an older name, as `"torch.FloatTensor"`; without one, that name of its own dtype."""
    if dtype is None:
        name = next(name for name, kind in _TYPES.items() if kind == x.dtype)
        return f"tinygrad_med.{'cuda.' if x.is_cuda else ''}{name}Tensor"
    older = str(getattr(dtype, "__name__", dtype)).rpartition(".")[2].removesuffix("Tensor")
    return to(x, dtype=_TYPES.get(older, dtype), non_blocking=non_blocking)


def stride(x: Tensor, dim: int | None = None) -> Any:
    """How many elements further the next one of each dim lies in memory, or of one dim."""
    strides = tuple(n // x.array.itemsize for n in x.array.strides)
    return strides if dim is None else strides[dim]


def is_same_size(x: Tensor, other: Tensor) -> bool:
    """Whether x has the shape of another tensor."""
    return x.shape == other.shape


def nbytes(x: Tensor) -> int:
    """The bytes of all elements."""
    return x.numel() * x.element_size()


def is_cpu(x: Tensor) -> bool:
    """Whether the numbers are in the memory of the CPU."""
    return not x.is_cuda


# The table ----------------------------------------------------------------------------------------------------------


_BINARY = {
    "add": elementwise.add,
    "sub": elementwise.sub,
    "mul": ops.mul,
    "truediv": elementwise.div,
    "pow": ops.pow,
    "matmul": ops.matmul,
    "floordiv": ops.floordiv,
    "mod": ops.remainder,
    "and": ops.bitwise_and,
    "or": ops.bitwise_or,
    "xor": ops.bitwise_xor,
    "lshift": ops.bitwise_left_shift,
    "rshift": ops.bitwise_right_shift,
}
_COMPARISONS = {"lt": ops.lt, "le": ops.le, "gt": ops.gt, "ge": ops.ge, "eq": ops.eq, "ne": ops.ne}
_UNARY = {"neg": ops.neg, "abs": ops.abs, "invert": ops.bitwise_not}


def _attach() -> None:
    for name, operation in _BINARY.items():
        _let_tensors_have(f"__{name}__", operation, OPERATOR)
        _let_tensors_have(f"__r{name}__", operation, REFLECTED)
    for name, operation in (_COMPARISONS | _UNARY).items():
        _let_tensors_have(f"__{name}__", operation, OPERATOR)
    methods: dict[str, Any] = dict(METHODS)
    methods |= {name: by_other_names(f) for name, f in METHODS.items() if not isinstance(f, Primitive)}
    conversions = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}
    conversions |= {"short": "int16"}
    methods |= {name: _to_dtype(dtype) for name, dtype in (conversions | {"bool": "bool", "byte": "uint8"}).items()}
    methods |= {f.__name__: f for f in (to, cuda, cpu, pin_memory, is_pinned, contiguous, type_as, backward)}
    methods |= {f.__name__: f for f in (stride, is_same_size, bernoulli, multinomial)} | {"type": type_}
    methods |= {"nelement": Tensor.numel, "ndimension": Tensor.dim, "itemsize": property(Tensor.element_size)}
    methods |= {"nbytes": property(nbytes), "is_cpu": property(is_cpu)}
    methods |= inplace.methods(methods)
    methods |= {f.__name__: f for f in (new_tensor, new_full, new_zeros, new_ones, new_empty)}
    methods |= {"__getitem__": ops.getitem, "where": _where, "__getattr__": _missing}
    methods |= {"unfold": windows_along, "T": property(_transposed), "mT": property(_matrices_transposed)}
    methods |= {"H": property(_transposed), "mH": property(_matrices_transposed)}  # of real numbers
    for name, method in methods.items():
        _let_tensors_have(name, method, CALL)


def _let_tensors_have(name: str, operation: Any, form: str) -> None:
    if isinstance(operation, Primitive):
        attach(operation, name, form)
    elif form == REFLECTED:
        setattr(Methods, name, lambda x, y: operation(y, x))
    else:
        setattr(Methods, name, operation)


def _transposed(x: Tensor) -> Tensor:
    """x with its dims in reverse order."""
    return ops.permute(x, *reversed(range(x.ndim)))


def _matrices_transposed(x: Tensor) -> Tensor:
    """x with its last two dims exchanged."""
    return ops.transpose(x, -1, -2)


def _where(x: Tensor, condition: Any, y: Any) -> Tensor:
    """x where the condition holds, y elsewhere."""
    return ops.where(condition, x, y)


_OTHER_SHAPE = ["squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims", "detach"]
"""What can't be written into x: it gives a view of it."""


def _missing(_: Tensor, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    known = [method for method in dir(Tensor) if not method.startswith("_")]
    base = name.rstrip("_")
    if name.endswith("_") and base in known:
        hint = f"use x = x.{base}(…)" + ("" if base in _OTHER_SHAPE else f", or x.copy_(x.{base}(…))")
        raise AttributeError(f"Tensor has no attribute {name!r}; {hint}")
    raise no_attribute("Tensor", name, known)


_attach()
