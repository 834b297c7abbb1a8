"""Writes in place: `x.mul_(y)`, `x += y`, `x[mask] = 0`, `x.zero_()` and their like.

Where no gradient flows, a write changes the numbers in memory and nothing else. Where one flows, the tensor stays who
it is and becomes the result of an operation: `x.mul_(y)` computes `mul(x, y)` as ever, and then x takes the numbers and
the origin of the result. What was computed from x before keeps the old origin, and with it the old derivative.

That leaves the memory. If x alone holds it, x takes the array of the result, and nobody can notice. If others may hold
it (a view, a detached copy, an operation that saved it), the numbers are written to it and the write is logged, in
`engine/writes.py`: an operation that saved what was there says so when the walk comes to it, and a tensor that looks at
the same memory follows the write before it is used (`follow`): where it was written, it is what was written there. So
`row = y[0]; row.mul_(2); y.sum()` has the derivative that it should have. A hook on `row` is for `row` alone then, and
one on `y` for `y` alone, where in PyTorch `row` has become a result of `y`, whose hooks see its gradients too.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import numpy

from tinygrad_med import backend, ops, random
from tinygrad_med.backend.kernels import LARGE, kernels
from tinygrad_med.core.broadcast import cast
from tinygrad_med.core.modes import mode, next_number
from tinygrad_med.core.primitive import Record
from tinygrad_med.core.tensor import Tensor, wrap
from tinygrad_med.engine.compiled import PLAIN, QuickRecord
from tinygrad_med.engine.conversions import as_array, own_memory
from tinygrad_med.engine.errors import REFUSALS, describe, refuse, refuse_foreign
from tinygrad_med.engine.hooks import Retain
from tinygrad_med.engine.switches import switched
from tinygrad_med.engine.writes import Rewrite, place_of, writes
from tinygrad_med.ops import elementwise
from tinygrad_med.ops.indexing import _reads_each_once, _setitem, as_keys, index, write as write_at
from tinygrad_med.ops.scattering import overwrite

CASTING: Final = "same_kind"
"""How far a write may convert, in NumPy's words: float64 to float32, but not 1.5 to 1."""

# In the graph -------------------------------------------------------------------------------------------------------


def flows(x: Tensor, *others: Any) -> bool:
    """Whether a write to x belongs into the graph: a gradient flows through it, or through what is written."""
    if not mode.grad or not (x.requires_grad or any(isinstance(o, Tensor) and o.requires_grad for o in others)):
        return False
    return bool(x.dtype.kind == "f")


def rewrite(x: Tensor, name: str, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """Let x become the result of `operation(x)`, in its place."""
    refuse_leaf(x, name)
    begin = next_number()
    z = operation(wrap(x.array, x.origin))
    refuse_shape(name, z, x)
    refuse_dtype(name, z.dtype, x.dtype)
    z = cast(z, dtype=x.dtype) if z.dtype != x.dtype else z
    if z.origin is None:  # the operation has no derivative: that of what was there is 0
        z = instead(wrap(x.array, x.origin), z)
    elif z.origin.number < begin:  # the operation had nothing to do
        z = ops.clone(z)
    record = z.origin
    assert record is not None
    new = newer_than(begin, record)
    if isinstance(x.array, numpy.generic):
        x.array = z.array
    elif held_alone(x, [*new, *([x.origin] if x.origin else [])]):
        x.array = own_memory(z.array)
    else:
        refuse_overlap(x.array, name)
        refuse_read_only(x.array, name)
        for r in new:
            keep_own(r, x.array)
        x.array[...] = z.array
        writes.note_in_graph(x.array, begin, record, adopted=not x.requires_grad)
        if x.origin is not None and x.origin.primitive.view:
            # who looks at the same memory goes on from the record; a hook on this view concerns this view alone
            view = ops.reshape(wrap(x.array, record), x.shape).origin
            assert view is not None
            record = view
    take_origin(x, record)
    return x


def refuse_leaf(x: Tensor, name: str) -> None:
    """A leaf keeps its numbers while operations are recorded, and so does whatever looks at its memory."""
    node: Any = x.origin
    if x.requires_grad and node is None:
        raise RuntimeError(
            f"{name}: a leaf that requires a gradient can't be written in place while operations are recorded; do it "
            "under no_grad(), or use an operation that makes a new tensor"
        )
    while isinstance(node, Record) and node.primitive.view:
        node, shape = node.inputs[0], node.shape
        if not node.shape and shape:
            raise RuntimeError(f"{name}: a view of a result without dims, which has no memory to share; clone() it")
    if looks_at_leaf(x):
        raise RuntimeError(
            f"{name}: a view of a leaf that requires a gradient can't be written in place while operations are "
            "recorded; do it under no_grad(), or clone() it first"
        )


def looks_at_leaf(x: Tensor) -> bool:
    """Whether x lies in the memory of a leaf that it was computed from: by views, or by a Function or a checkpoint that
    returned what it was given."""
    owner = backend.memory_owner(x.array)
    nodes: list[Record | Tensor | None] = [x.origin]
    for node in nodes:
        if isinstance(node, Tensor) and backend.memory_owner(node.array) is owner:
            return True
        if isinstance(node, Record):
            saved = any(backend.is_array(value) and backend.memory_owner(value) is owner for value in values_of(node))
            nodes += node.inputs if node is x.origin or node.primitive.view or saved else ()
    return False


def refuse_shape(name: str, z: Any, x: Any) -> None:
    """What is written has the shape of x. NumPy would leave out dims of length 1 before the others; PyTorch doesn't."""
    if z.shape != x.shape:
        raise ValueError(f"{name}: the result has shape {z.shape}, it does not fit into x of shape {x.shape}")


def refuse_dtype(name: str, got: Any, wanted: Any) -> None:
    """A result must not lose more than precision where it is written."""
    if not numpy.can_cast(got, wanted, CASTING):
        raise TypeError(f"{name}: the result is {got}, and can't be written to a {wanted} tensor; convert that first")


def refuse_in_place(name: str, error: Exception, arrays: tuple[Any, Any]) -> NoReturn:
    """As `refuse`; where a result would be cut, without NumPy's words for it."""
    if isinstance(error, TypeError) and CASTING in str(error):  # NumPy names the rule that it was given
        raise TypeError(
            f"{name}: the result of {describe(arrays)} can't be written to a {arrays[0].dtype} tensor; make a new one, "
            "x = x + y for x += y, or convert x first: x.float()"
        ) from error
    refuse(name, error, arrays)


def refuse_overlap(array: Any, name: str) -> None:
    """Where several elements are one place in memory, as after expand, none can be written."""
    if any(not stride and n > 1 for stride, n in zip(array.strides, array.shape, strict=True)):
        raise RuntimeError(f"{name}: several elements of x are one place in memory, as after expand; clone() it first")


def refuse_read_only(array: Any, name: str) -> None:
    """Views by expand can't be written outside of the graph either, nor arrays that NumPy may only read."""
    if not getattr(array.flags, "writeable", True):
        refuse_overlap(array, name)
        raise RuntimeError(f"{name}: the memory of x may be read only, as that of the array it is from; clone() it")


def newer_than(number: int, record: Record) -> list[Record]:
    """The records with a larger number that lead to this one, itself included."""
    found = [record]
    for r in found:
        found += [x for x in r.inputs if isinstance(x, Record) and x.number > number and x not in found]
    return found


def values_of(record: Record) -> list[Any]:
    """The values that a record saved."""
    saved = record.values if isinstance(record, QuickRecord) else (record.saved or {}).values()
    return [a for value in saved or () for a in (value if isinstance(value, tuple) else (value,))]


def references(x: Tensor) -> tuple[int, int]:
    """How many hold the array of x, and how many the array that owns its memory."""
    owner = backend.memory_owner(x.array)
    if owner is x.array:
        owner = None
    return sys.getrefcount(x.array), sys.getrefcount(owner)


def held_alone(x: Tensor, known: list[Record]) -> bool:
    """Whether nobody but x and these records holds its memory: nobody looks at it, and whoever saved it may keep it."""
    array, owner = references(x)
    if array - sum(value is x.array for record in known for value in values_of(record)) > ALONE[0]:
        return False
    return backend.memory_owner(x.array) is x.array or owner <= ALONE[1]


def _alone() -> tuple[int, int]:
    x = wrap(numpy.zeros(4).reshape(2, 2))
    return references(x)


ALONE = _alone()
"""The references of a tensor that is alone in holding its array, and whose array is alone in looking at its memory."""


def keep_own(record: Record, array: Any) -> None:
    """Give a record copies of the values that it saved in the memory of `array`, which is about to be written."""
    owner = backend.memory_owner(array)
    if isinstance(record, QuickRecord):
        record.values = copied_from(owner, record.values)
    elif record.saved is not None:
        record.saved = {name: copied_from(owner, value) for name, value in record.saved.items()}


def copied_from(owner: Any, value: Any) -> Any:
    """A saved value, or a copy of it if it looks at the memory of `owner`."""
    if isinstance(value, tuple):
        return tuple([copied_from(owner, v) for v in value])
    return value.copy() if backend.is_array(value) and backend.memory_owner(value) is owner else value


def take_origin(x: Tensor, record: Record) -> None:
    """Let x be the result of another operation; `retain_grad` follows it, hooks stay with what x was before."""
    hooks = x.origin.hooks if x.origin is not None else None
    for hook in [hook for hook in hooks or () if Retain.of(x, hook)]:
        hooks.remove(hook)  # type: ignore[union-attr]
        record.hooks = [*(record.hooks or ()), hook]
    x.origin, x.requires_grad = record, True


# Tensors that look at the same memory -------------------------------------------------------------------------------


def follow(x: Tensor) -> None:
    """Let x follow the writes in the graph that changed its numbers through other tensors.

    Raises:
        RuntimeError: for a constant that may have been one of them, and for a leaf.
    """
    memory = writes.in_graph(x.array)
    if memory is None:
        return
    if x.origin is not None:
        missed = [write for write in memory.writes if write.number > x.origin.number]
        if any(write.adopted and reading(x.array, write) for write in missed):
            refuse_shared(x, missed[-1].line, "through a detached tensor that shares its memory")
        after(x, missed)
        memory.know(x.array)
    elif not memory.knows(x.array):
        missed = [write for write in memory.writes if write.adopted or x.requires_grad]
        if any(reading(x.array, write) for write in missed):
            refuse_shared(x, missed[-1].line, "through a view or another tensor that shares its memory")


def refuse_shared(x: Tensor, line: str, how: str) -> None:
    """Refuse a tensor whose numbers have a derivative by now of which it knows nothing."""
    raise RuntimeError(
        f"the numbers of a tensor of shape {x.shape} were overwritten in place at {line} {how}, by something that has "
        "a gradient, which would be lost here; use the tensor that was written, or detach().clone() before the write"
    )


def after(x: Tensor, log: list[Rewrite]) -> None:
    """Make of x what it is after some writes."""
    for write in log:
        reads = reading(x.array, write)
        if reads is None:
            continue
        if write.record is None:
            raise RuntimeError(
                f"what was written through a view at {write.line} is forgotten; use that view, or clone() before"
            )
        changed, places, size = reads
        xp = backend.array_module(x.array)
        written = xp.zeros(size, x.dtype)
        written[places[changed]] = x.array[changed]
        written = written.reshape(write.place[1])
        with switched("grad", True):
            new = ops.flatten(wrap(written, write.record))
            old = wrap(x.array.copy(), x.origin)
            record = ops.where(changed, index(new, key=places), old).origin
        assert record is not None
        take_origin(x, record)


def reading(array: Any, write: Rewrite) -> tuple[Any, Any, int] | None:
    """Which elements of an array a write changed, to which of those that were written, and how many these are."""
    xp = backend.array_module(array)
    ours, theirs = addresses(xp, *place_of(array)), addresses(xp, *write.place)
    if not ours.size or not theirs.size or ours.max() < theirs.min() or theirs.max() < ours.min():
        return None
    first, step = min(int(ours.min()), int(theirs.min())), array.itemsize
    table = xp.full((max(int(ours.max()), int(theirs.max())) - first) // step + 1, -1)
    table[(theirs.reshape(-1) - first) // step] = xp.arange(theirs.size)
    places = table[(ours - first) // step]
    changed = places >= 0
    return (changed, xp.maximum(places, 0), int(theirs.size)) if changed.any() else None


def addresses(xp: Any, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """Where each element is in memory."""
    found = xp.full(shape, start)
    for dim, (n, stride) in enumerate(zip(shape, strides, strict=True)):
        found = found + (xp.arange(n) * stride).reshape((-1,) + (1,) * (len(shape) - dim - 1))
    return found


# Outside the graph --------------------------------------------------------------------------------------------------


def write(x: Tensor, name: str, compute: Callable[[Any], Any]) -> Tensor:
    """Let `compute(array)` write into the memory of x, or, for a NumPy scalar, exchange the value."""
    writes.note(x.array)
    backend.array_module(x.array)  # of several GPUs, let that of x compute
    if isinstance(x.array, numpy.generic):
        box = numpy.array(x.array)
        compute(box)
        x.array = box[()]
    else:
        refuse_read_only(x.array, name)
        compute(x.array)
    return x


def assign(x: Tensor, name: str, array: Any) -> Tensor:
    """Write the numbers of an array, broadcast and converted, into the memory of x."""

    def into(a: Any) -> None:
        try:
            if array.ndim > a.ndim:  # see refuse_shape
                raise ValueError
            a[...] = array
        except ValueError:
            raise ValueError(f"{name}: what has shape {array.shape} does not fit into x of shape {x.shape}") from None

    return write(x, name, into)


# The methods --------------------------------------------------------------------------------------------------------


def arithmetic(
    name: str, ufunc: str, operation: Callable[..., Any]
) -> tuple[Callable[..., Tensor], Callable[..., Any]]:
    """`x.mul_(y)` and `x *= y`; of `add_` and `sub_` also `x.add_(y, alpha=1)`, which adds alpha · y."""

    of_numpy = None if hasattr(kernels(numpy), ufunc) else getattr(numpy, ufunc)

    def in_place(x: Tensor, y: Any) -> Tensor:
        if flows(x, y):
            return rewrite(x, name, lambda old: operation(old, y))
        array, value = x.array, y.array if isinstance(y, Tensor) else y
        if of_numpy is not None and type(array) is numpy.ndarray and type(value) in PLAIN:  # the ordinary case
            writes.note(array)
            try:
                of_numpy(array, value, out=array, casting=CASTING)
            except REFUSALS as error:
                refuse_read_only(array, name)
                refuse_in_place(name, error, (array, value))
            return x
        refuse_foreign(name, (value,))
        backend.same_device(name, (x.array, value))
        xp = backend.array_module(x.array)
        own = getattr(kernels(xp), ufunc, None)

        def compute(a: Any) -> None:
            if own is None:
                getattr(xp, ufunc)(a, value, out=a, casting=CASTING)
            else:
                z = own(a, value)
                refuse_shape(name, z, a)
                xp.copyto(a, z, casting=CASTING)

        try:
            return write(x, name, compute)
        except REFUSALS as error:
            refuse_in_place(name, error, (x.array, value))

    def scaled(x: Tensor, y: Any, alpha: Any = 1) -> Tensor:
        return in_place(x, y if alpha == 1 else y * alpha)

    method: Any = scaled if name in ("add_", "sub_") else in_place
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"{name[:-1]} in place; returns x itself."
    return method, in_place


def of_operation(name: str, operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation of this name, followed by an underscore: it writes its result to x, and returns x."""

    def in_place(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if flows(x, *args, *kwargs.values()):
            return rewrite(x, f"{name}_", lambda old: operation(old, *args, **kwargs))
        z = operation(x.detach(), *args, **kwargs)
        refuse_shape(f"{name}_", z, x)
        refuse_dtype(f"{name}_", z.dtype, x.dtype)
        return assign(x, f"{name}_", z.array)

    in_place.__name__ = in_place.__qualname__ = f"{name}_"
    in_place.__doc__ = f"{name} in place; returns x itself."
    signature = inspect.signature(operation)
    in_place.__signature__ = signature.replace(return_annotation="Tensor")  # type: ignore[attr-defined]
    return in_place


def instead(old: Tensor, new: Any) -> Tensor:
    """What is there now in the place of `old`, which still gets a gradient: zeros."""
    return ops.where(backend.array_module(old.array).ones((), bool), new, old)


def zero_(x: Tensor) -> Tensor:
    """Set every element to 0 in place; returns x itself."""
    if type(x.array) is numpy.ndarray and x.array.flags.writeable and not flows(x):  # the ordinary case
        writes.note(x.array)
        large = x.array.flags.c_contiguous and x.array.nbytes > LARGE
        (x.array.view("uint8") if large else x.array).fill(0)  # as bytes it is done by C's memset
        return x
    return fill_(x, 0)


def fill_(x: Tensor, value: Any) -> Tensor:
    """Set every element to `value`, a number or a tensor of one element, in place; returns x itself."""
    if flows(x, value):
        if isinstance(value, Tensor):
            return copy_(x, ops.reshape(value, ()))
        return rewrite(x, "fill_", lambda old: instead(old, float(value)))
    return write(x, "fill_", lambda a: a.fill(value.item() if isinstance(value, Tensor) else value))


def copy_(x: Tensor, other: Any) -> Tensor:
    """Set the elements to those of another tensor, broadcast and converted; returns x itself."""
    if flows(x, other):
        value = other if isinstance(other, Tensor) else wrap(as_array(other, x.dtype, x.device))
        value = value if value.dtype == x.dtype else value.to(x.dtype)
        value = value if value.device == x.device else value.to(x.device)
        return rewrite(x, "copy_", lambda old: instead(old, value))
    return assign(x, "copy_", as_array(other, x.dtype, x.device))


def uniform_(x: Tensor, a: float = 0.0, b: float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
    """Draw every element anew, uniform in [a, b), in place; returns x itself."""
    dtype = random.float_dtype("uniform_", x.dtype)
    if not 0 <= b - a <= float(numpy.finfo(dtype).max):
        raise ValueError(f"uniform_: a={a} must not be greater than b={b}, nor b - a than the largest {dtype}")
    numbers = random.rand(x.shape, generator=generator, dtype=dtype).mul_(b - a).add_(a)  # which may round up to b
    return copy_(x, numbers.clamp_(max=float(numpy.nextafter(dtype.type(b), dtype.type(a)))))


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
    """Draw every element anew from a normal distribution, in place; returns x itself."""
    random.float_dtype("normal_", x.dtype)
    if not std >= 0:
        raise ValueError(f"normal_: std={std} must not be negative")
    return copy_(x, random.randn(x.shape, generator=generator, dtype=x.dtype) * std + mean)


def bernoulli_(x: Tensor, p: Any = 0.5, *, generator: random.Generator | None = None) -> Tensor:
    """Set every element to 1 with probability p, a number or a tensor, and to 0 else, in place; returns x itself."""
    chances = wrap(numpy.broadcast_to(backend.to_numpy(as_array(p)), x.shape))
    return copy_(x, random.bernoulli(chances, generator=generator))


def exponential_(x: Tensor, lambd: float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
    """Draw every element anew from the density λ e^(−λ x), in place; returns x itself."""
    random.float_dtype("exponential_", x.dtype)
    if not lambd > 0:
        raise ValueError(f"exponential_: lambd={lambd} must be positive")
    return copy_(x, random.rand(x.shape, generator=generator, dtype="float64").neg_().log1p_().div_(-lambd))


def random_(
    x: Tensor, from_: int | None = None, to: int | None = None, *, generator: random.Generator | None = None
) -> Tensor:
    """Draw every element anew, an integer 0 … to − 1 or from … to − 1, in place; returns x itself.

    Without either, up to the largest below which the dtype holds every integer.
    """
    low, high = (0, from_) if to is None else (from_ or 0, to)
    if high is None:
        kind = x.dtype.kind
        high = 2 if kind == "b" else 2 ** (numpy.finfo(x.dtype).nmant + 1) if kind == "f" else numpy.iinfo(x.dtype).max
    return copy_(x, random.randint(low, high, x.shape, generator=generator))


def fill_diagonal_(x: Tensor, fill_value: float) -> Tensor:
    """Set the elements whose indices are all the same to a number, in place; returns x itself."""
    if x.ndim < 2 or (x.ndim > 2 and len(set(x.shape)) > 1):
        raise ValueError(f"fill_diagonal_: needs a matrix, or dims of one length, got shape {x.shape}")
    setitem(x, (numpy.arange(min(x.shape)),) * x.ndim, fill_value)
    return x


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`."""
    if not flows(x, value):
        array = as_array(value, None if isinstance(value, Tensor) else x.dtype, x.device)

        def into(a: Any) -> None:
            try:
                write_at(backend.array_module(a), a, key, array)
            except ValueError as error:
                raise ValueError(f"item assignment: {error}; x has shape {x.shape}, the value {array.shape}") from None

        write(x, "item assignment", into)
        return
    keys = as_keys(key, x.shape)
    if isinstance(value, Tensor) and written_through(x, keys, value):
        return
    tensor = value if isinstance(value, Tensor) else wrap(as_array(value, x.dtype, x.device))
    tensor = tensor.to(x.device, x.dtype)
    rewrite(x, "item assignment", lambda old: with_items(old, keys, tensor))


def with_items(x: Tensor, keys: tuple[Any, ...], value: Tensor) -> Tensor:
    """x with a value at the places of a key; where an array of indices names one twice, the last counts."""
    key, *rest = keys
    if rest:
        return _setitem(x, with_items(index(x, key=key), tuple(rest), value), key=key)
    room = index(x.detach(), key=key).ndim
    if value.ndim > room:  # as NumPy and PyTorch have it, dims of length 1 before the others don't count
        if any(n != 1 for n in value.shape[: value.ndim - room]):
            raise ValueError(f"item assignment: a value of shape {value.shape} does not fit x of shape {x.shape}")
        value = ops.reshape(value, value.shape[value.ndim - room :])
    return _setitem(x, value, key=key) if _reads_each_once(key) else overwrite(x, key, value)


def written_through(x: Tensor, keys: tuple[Any, ...], value: Tensor) -> bool:
    """Whether `x[key] = value` writes what is there already, as the end of `x[key] += y` does; x then follows that."""
    memory = writes.in_graph(x.array)
    if memory is None or len(keys) > 1 or backend.memory_owner(x.array) is not backend.memory_owner(value.array):
        return False
    if place_of(index(wrap(x.array).array, key=keys[0])) != place_of(value.array) or not value.requires_grad:
        return False
    refuse_leaf(x, "item assignment")
    if x.origin is not None:
        follow(x)
    else:  # a constant takes part from now on: in all that was written through its views, or in this alone if detached
        detached = memory.knows(x.array)
        after(x, [w for w in memory.writes if (w.record is value.origin if detached else w.adopted)])
        memory.know(x.array)
    return x.origin is not None  # of no element, nothing was written: an ordinary item assignment says so


ARITHMETIC = {
    "add": ("add_", "add", elementwise.add),
    "sub": ("sub_", "subtract", elementwise.sub),
    "mul": ("mul_", "multiply", ops.mul),
    "truediv": ("div_", "true_divide", elementwise.div),
    "pow": ("pow_", "power", ops.pow),
    "floordiv": ("floor_divide_", "floor_divide", ops.floordiv),
    "mod": ("remainder_", "remainder", ops.remainder),
    "and": ("bitwise_and_", "bitwise_and", ops.bitwise_and),
    "or": ("bitwise_or_", "bitwise_or", ops.bitwise_or),
    "xor": ("bitwise_xor_", "bitwise_xor", ops.bitwise_xor),
}
"""The operators that write in place, as in `x += y`: the method that does the same, NumPy's function, and ours."""

OPERATIONS = """
    abs absolute acos acosh addbmm addcdiv addcmul addmm addmv addr arccos arccosh arcsin arcsinh arctan arctan2
    arctanh asin asinh atan atan2 atanh baddbmm bitwise_left_shift bitwise_not bitwise_right_shift ceil clamp
    clamp_max clamp_min clip copysign cos cosh cumprod cumsum deg2rad divide eq erf exp exp2 expm1 fix float_power
    floor fmod frac ge greater greater_equal gt heaviside hypot index_add index_copy index_fill index_put ldexp le
    lerp less less_equal log log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill
    masked_scatter multiply nan_to_num ne neg negative not_equal rad2deg reciprocal relu round rsqrt scatter
    scatter_add scatter_reduce sgn sigmoid sign sin sinc sinh sqrt square subtract tan tanh tril triu true_divide trunc
    xlogy
"""
"""The operations that tensors have in place too: `x.exp_()` for `exp`."""


def methods(operations: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """By name the methods of tensors that write in place, of those that make a new tensor."""
    found: dict[str, Any] = {f"{name}_": of_operation(name, operations[name]) for name in OPERATIONS.split()}
    for operator, how in ARITHMETIC.items():
        found[how[0]], found[f"__i{operator}__"] = arithmetic(*how)
    found |= {f.__name__: f for f in (zero_, fill_, copy_, uniform_, normal_, fill_diagonal_)}
    found |= {f.__name__: f for f in (bernoulli_, exponential_, random_)}
    return found | {"__setitem__": setitem}
