"""The table that gives `Tensor` its operators and methods.

Every function of `ops/` whose first operand is a tensor is a method of the same name. What stands here besides is what
only a method can be: the conversions, and the writes in place, which stay outside the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from tinygrad_med import backend, ops, random
from tinygrad_med.backend.kernels import kernels
from tinygrad_med.core.backward import backward
from tinygrad_med.core.broadcast import cast
from tinygrad_med.core.methods import METHODS, Methods
from tinygrad_med.core.modes import mode
from tinygrad_med.core.primitive import Primitive
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.creation import new_empty, new_full, new_ones, new_tensor, new_zeros
from tinygrad_med.dtypes import as_dtype
from tinygrad_med.engine.compiled import CALL, OPERATOR, REFLECTED, attach
from tinygrad_med.engine.conversions import as_array
from tinygrad_med.engine.errors import REFUSALS, no_attribute, refuse, refuse_foreign
from tinygrad_med.engine.signatures import by_other_names
from tinygrad_med.engine.writes import writes
from tinygrad_med.ops import elementwise
from tinygrad_med.ops.indexing import write as write_at
from tinygrad_med.ops.rearrange import windows_along

# Conversions --------------------------------------------------------------------------------------------------------


def to(
    x: Tensor,
    *targets: Any,
    dtype: Any = None,
    device: str | backend.Device | None = None,
    non_blocking: bool = False,  # noqa: ARG001 - PyTorch's argument
    copy: bool = False,
    memory_format: Any = None,  # noqa: ARG001 - likewise
) -> Tensor:
    """x in another dtype, on another device, or like another tensor; x itself where nothing changes.

    `x.to("cuda")`, `x.to(float64)`, `x.to("cuda", float64)`, `x.to(other)`. With `copy`, in memory of its own in any
    case. `non_blocking` and `memory_format` do nothing here, and a bool after the targets is one of the former two.
    """
    targets, flags = (tuple(t for t in targets if not isinstance(t, bool)), [t for t in targets if isinstance(t, bool)])
    copy = flags[1] if len(flags) > 1 else copy
    before = x
    for target in targets:
        if isinstance(target, Tensor):
            dtype, device = target.dtype, target.device
        elif isinstance(target, backend.Device) or str(target).partition(":")[0] in ("cpu", "cuda"):
            device = target
        else:
            dtype = target
    if device is not None and backend.Device(device) != x.device:
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


def cuda(x: Tensor, device: int | str | None = None, non_blocking: bool = False) -> Tensor:  # noqa: ARG001 - likewise
    """x on a GPU.

    Raises:
        RuntimeError: without CuPy, a driver or a card; it says which of the three, and what to install.
    """
    return to(x, device=f"cuda:{device}" if isinstance(device, int) else device or "cuda")


def cpu(x: Tensor) -> Tensor:
    """x in the memory of the CPU."""
    return to(x, device="cpu")


def contiguous(x: Tensor, memory_format: Any = None) -> Tensor:  # noqa: ARG001 - likewise
    """x with its elements in memory in the order of the dims: itself, or a copy."""
    return x if x.is_contiguous() else ops.clone(x)


def type_as(x: Tensor, other: Tensor) -> Tensor:
    """x in the dtype of another tensor."""
    return to(x, dtype=other.dtype)


# Writes in place ----------------------------------------------------------------------------------------------------


def _refuse_in_graph(x: Tensor, name: str, *others: Any) -> None:
    """A write in place has no derivative here: it is allowed only where no gradient flows."""
    flows = x.requires_grad or any(isinstance(o, Tensor) and o.requires_grad for o in others)
    if mode.grad and flows:
        kind = "a leaf that requires a gradient" if x.requires_grad and x.is_leaf else "a tensor of the graph"
        raise RuntimeError(
            f"{name}: {kind} can't be written in place while operations are recorded; do it under no_grad(), or use an "
            f"operation that makes a new tensor"
        )


def _write(x: Tensor, compute: Callable[[Any], Any]) -> Tensor:
    """Let `compute(array)` write into the memory of x, or, for a NumPy scalar, exchange the value."""
    writes.note(x.array)
    if isinstance(x.array, numpy.generic):
        box = numpy.array(x.array)
        compute(box)
        x.array = box[()]
    else:
        compute(x.array)
    return x


def _value(y: Any, x: Tensor) -> Any:
    array = y.array if isinstance(y, Tensor) else y
    refuse_foreign("a write in place", (array,))
    backend.same_device("a write in place", (x.array, array))
    return array


def _in_place(name: str, ufunc: str) -> tuple[Callable[..., Tensor], Callable[..., Any]]:
    """`x.mul_(y)` and `x *= y`; of `add_` and `sub_` also `x.add_(y, alpha=1)`, which adds alpha · y."""

    def write(x: Tensor, y: Any) -> Tensor:
        _refuse_in_graph(x, name, y)
        value = _value(y, x)
        xp = backend.array_module(x.array)
        own = getattr(kernels(xp), ufunc, None)

        def compute(a: Any) -> None:
            if own is None:
                getattr(xp, ufunc)(a, value, out=a, casting="same_kind")
            else:
                xp.copyto(a, own(a, value), casting="same_kind")

        try:
            return _write(x, compute)
        except REFUSALS as error:
            refuse(name, error, (x.array, value))

    def operator(x: Tensor, y: Any) -> Any:
        flows = x.requires_grad or (isinstance(y, Tensor) and y.requires_grad)
        if mode.grad and flows and not (x.is_leaf and x.requires_grad):
            return NotImplemented  # Python then takes x = x + y, a new tensor, through which the gradient flows
        return write(x, y)

    def scaled(x: Tensor, y: Any, alpha: Any = 1) -> Tensor:
        return write(x, y if alpha == 1 else y * alpha)

    method: Any = scaled if name in ("add_", "sub_") else write
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"{ufunc} in place, outside the graph; returns x itself."
    return method, operator


def zero_(x: Tensor) -> Tensor:
    """Set every element to 0 in place, outside the graph; returns x itself."""
    return fill_(x, 0)


def fill_(x: Tensor, value: Any) -> Tensor:
    """Set every element to `value` in place, outside the graph; returns x itself."""
    _refuse_in_graph(x, "fill_")
    return _write(x, lambda a: a.fill(value.item() if isinstance(value, Tensor) else value))


def copy_(x: Tensor, other: Any) -> Tensor:
    """Set the elements to those of another tensor, broadcast and converted; returns x itself."""
    _refuse_in_graph(x, "copy_", other)
    array = as_array(other, x.dtype, x.device)

    def assign(a: Any) -> None:
        a[...] = array

    return _write(x, assign)


def clamp_(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Clip in place, outside the graph; returns x itself."""
    _refuse_in_graph(x, "clamp_")
    return copy_(x, ops.clip(x.detach(), min=min, max=max))


def masked_fill_(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Set the elements under the mask to `value` in place, outside the graph; returns x itself."""
    _refuse_in_graph(x, "masked_fill_", value)
    return copy_(x, ops.masked_fill(x.detach(), mask, value))


def uniform_(x: Tensor, a: float = 0.0, b: float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
    """Draw every element anew, uniform in [a, b), outside the graph; returns x itself."""
    _refuse_in_graph(x, "uniform_")
    dtype = random.float_dtype("uniform_", x.dtype)
    if not 0 <= b - a <= float(numpy.finfo(dtype).max):
        raise ValueError(f"uniform_: a={a} must not be greater than b={b}, nor b - a than the largest {dtype}")
    numbers = random.rand(x.shape, generator=generator, dtype=dtype).mul_(b - a).add_(a)  # which may round up to b
    return copy_(x, numbers.clamp_(max=float(numpy.nextafter(dtype.type(b), dtype.type(a)))))


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
    """Draw every element anew from a normal distribution, outside the graph; returns x itself."""
    _refuse_in_graph(x, "normal_")
    random.float_dtype("normal_", x.dtype)
    if not std >= 0:
        raise ValueError(f"normal_: std={std} must not be negative")
    return copy_(x, random.randn(x.shape, generator=generator, dtype=x.dtype) * std + mean)


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`, outside the graph."""
    _refuse_in_graph(x, "item assignment", value)
    array = value.array if isinstance(value, Tensor) else as_array(value, x.dtype, x.device)

    def assign(a: Any) -> None:
        try:
            write_at(backend.array_module(a), a, key, array)
        except ValueError as error:
            raise ValueError(f"item assignment: {error}; x has shape {x.shape}, the value {array.shape}") from None

    _write(x, assign)


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
}
_COMPARISONS = {"lt": ops.lt, "le": ops.le, "gt": ops.gt, "ge": ops.ge, "eq": ops.eq, "ne": ops.ne}
_UNARY = {"neg": ops.neg, "abs": ops.abs, "invert": ops.bitwise_not}

_IN_PLACE = {
    "add": ("add_", "add"),
    "sub": ("sub_", "subtract"),
    "mul": ("mul_", "multiply"),
    "truediv": ("div_", "true_divide"),
    "pow": ("pow_", "power"),
    "floordiv": ("floor_divide_", "floor_divide"),
    "mod": ("remainder_", "remainder"),
    "and": ("bitwise_and_", "bitwise_and"),
    "or": ("bitwise_or_", "bitwise_or"),
    "xor": ("bitwise_xor_", "bitwise_xor"),
}
"""The operators that write in place, as in `x += y`: the method that does the same, and NumPy's function."""


def _attach() -> None:
    for name, operation in _BINARY.items():
        _let_tensors_have(f"__{name}__", operation, OPERATOR)
        _let_tensors_have(f"__r{name}__", operation, REFLECTED)
    for name, operation in (_COMPARISONS | _UNARY).items():
        _let_tensors_have(f"__{name}__", operation, OPERATOR)
    methods: dict[str, Any] = dict(METHODS)
    methods |= {name: by_other_names(f) for name, f in METHODS.items() if not isinstance(f, Primitive)}
    for operator, (name, ufunc) in _IN_PLACE.items():
        methods[name], methods[f"__i{operator}__"] = _in_place(name, ufunc)
    conversions = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32"}
    methods |= {name: _to_dtype(dtype) for name, dtype in (conversions | {"bool": "bool", "byte": "uint8"}).items()}
    methods |= {f.__name__: f for f in (to, cuda, cpu, contiguous, type_as, backward)}
    methods |= {f.__name__: f for f in (zero_, fill_, copy_, clamp_, masked_fill_, uniform_, normal_)}
    methods |= {f.__name__: f for f in (new_tensor, new_full, new_zeros, new_ones, new_empty)}
    methods |= {"__getitem__": ops.getitem, "__setitem__": setitem, "where": _where, "__getattr__": _missing}
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


def _missing(_: Tensor, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    known = [method for method in dir(Tensor) if not method.startswith("_")]
    base = name.rstrip("_")
    if name.endswith("_") and base in known:
        hint = f"use x = x.{base}(…), or under no_grad() x.copy_(x.{base}(…))"
        raise AttributeError(f"Tensor has no attribute {name!r}; {hint}")
    raise no_attribute("Tensor", name, known)


_attach()
