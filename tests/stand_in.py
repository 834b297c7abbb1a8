"""A strict stand-in for CuPy: NumPy in disguise, on a machine without a GPU.

It can't show that results on a GPU are right; only the same tests on a GPU can (`pytest -m cuda`). It shows that no
operation carries an array from one library to the other in silence, which CuPy itself lets pass in places:

- a function of the stand-in refuses a NumPy array, as CuPy's functions do;
- NumPy's functions refuse the stand-in's arrays, which CuPy would quietly take over;
- there are no scalars: what reduces to a number is a 0-d array;
- what CuPy computes otherwise than NumPy it computes in CuPy's way: an index outside wraps around in silence, `//` and
  `%` of floats round the quotient first, and `erf` of float16 is float64 (seen in CuPy 14.2).
"""

from __future__ import annotations

import math
import types
from typing import Any, ClassVar

import numpy as np


class Device:
    """One of two GPUs; results land on the current one, whatever the operands' is."""

    current = 0
    count = 2

    def __init__(self, id: int | None = None) -> None:
        self.id = Device.current if id is None else id

    def use(self) -> None:
        """Make it the current one."""
        if self.id >= Device.count:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        Device.current = self.id

    def synchronize(self) -> None:
        """Wait; here nothing is ever on its way."""


class OutOfMemoryError(MemoryError):
    """What CuPy raises where a GPU's memory is full."""


class PinnedMemoryPointer:
    """Memory of the CPU that a GPU can read by itself; here there is none."""


class MemoryHook:
    """What is called whenever memory is taken or given back, once it was entered."""

    entered: ClassVar[list[Any]] = []

    def __enter__(self) -> MemoryHook:
        MemoryHook.entered.append(self)
        return self


class Pool:
    """The memory that is held."""

    used = 0

    def used_bytes(self) -> int:
        return Pool.used

    def total_bytes(self) -> int:
        return 1024

    def free_all_blocks(self) -> None:
        """Give nothing back."""

    @staticmethod
    def take(size: int, device: int = 0) -> None:
        """Take memory, or give it back where `size` is negative, and call the hooks as CuPy does."""
        Pool.used += size
        for hook in MemoryHook.entered:
            if size > 0:
                hook.malloc_postprocess(device_id=device, size=size, mem_size=size, mem_ptr=1, pmem_id=1)
            else:
                hook.free_postprocess(device_id=device, mem_size=-size, mem_ptr=1, pmem_id=1)


class OnGPU(np.ndarray):
    """An array of the stand-in."""

    device: Any = None  # each array has its own

    def __array_finalize__(self, of: Any) -> None:
        self.device = of.device if isinstance(of, OnGPU) else Device()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        inputs = tuple(_inside(x) for x in inputs)
        kwargs = {name: _inside(value) for name, value in kwargs.items()}
        if out is not None:
            kwargs["out"] = tuple(_inside(x) for x in out)
        compute = CUPYS_OWN.get(ufunc, ufunc) if method == "__call__" else getattr(ufunc, method)
        return _outside(compute(*inputs, **kwargs))

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called on an array of the GPU")

    def __getitem__(self, key: Any) -> Any:
        return _beside(self, self.view(np.ndarray)[_wrapped(_inside(key), self.shape)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view(np.ndarray)[_wrapped(_inside(key), self.shape)] = _inside(value)

    def item(self, *args: Any) -> Any:
        return self.view(np.ndarray).item(*args)

    def tolist(self) -> Any:
        return self.view(np.ndarray).tolist()


def _method(name: str) -> Any:
    def call(self: OnGPU, *args: Any, **kwargs: Any) -> Any:
        return _beside(self, getattr(self.view(np.ndarray), name)(*_inside(args), **_inside(kwargs)))

    return call


def _beside(x: OnGPU, result: Any) -> Any:
    """The result of a method of x, on the device of x where it is a view."""
    z = _outside(result)
    if isinstance(result, np.ndarray) and np.may_share_memory(x.view(np.ndarray), result):
        z.device = x.device
    return z


for _name in ("sum", "max", "min", "mean", "prod", "any", "all", "argmax", "argmin", "copy", "reshape", "transpose"):
    setattr(OnGPU, _name, _method(_name))


def _inside(x: Any) -> Any:
    """What NumPy computes with; an error for a NumPy array, which has no business here."""
    if isinstance(x, OnGPU):
        return x.view(np.ndarray)
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError("a NumPy array met an array of the GPU")
    if isinstance(x, (tuple, list)):
        return type(x)(_inside(y) for y in x)
    return {name: _inside(y) for name, y in x.items()} if isinstance(x, dict) else x


def _outside(x: Any) -> Any:
    """The result of a computation, as an array of the stand-in; there are no scalars."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x).view(OnGPU)
    if isinstance(x, tuple) and hasattr(x, "_fields"):  # linalg's results have names
        return type(x)(*(_outside(y) for y in x))
    return type(x)(_outside(y) for y in x) if isinstance(x, (tuple, list)) else x


def _wrapped(key: Any, shape: tuple[int, ...]) -> Any:
    """A key whose arrays of indices are taken modulo the length of their dim, as CuPy does it in silence."""
    parts, dim, found = key if isinstance(key, tuple) else (key,), 0, []
    for i, part in enumerate(parts):
        if isinstance(part, np.ndarray) and part.dtype.kind in "iu" and part.ndim and shape[dim]:
            part = part % shape[dim]
        found.append(part)
        if part is Ellipsis:
            dim = len(shape) - sum(_dims_read(rest) for rest in parts[i + 1 :])
        else:
            dim += _dims_read(part)
    return tuple(found) if isinstance(key, tuple) else found[0]


def _dims_read(part: Any) -> int:
    if part is None:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1


def _floor_divide(x: Any, y: Any, **options: Any) -> Any:
    if np.result_type(x, y).kind != "f":
        return np.floor_divide(x, y, **options)
    return np.floor(np.true_divide(x, y), **options)


def _remainder(x: Any, y: Any, **options: Any) -> Any:
    if np.result_type(x, y).kind != "f":
        return np.remainder(x, y, **options)
    return np.subtract(x, np.floor(np.true_divide(x, y)) * y, **options)


CUPYS_OWN = {np.floor_divide: _floor_divide, np.remainder: _remainder}
"""What CuPy computes otherwise than NumPy."""


def erf(x: Any) -> Any:
    """What `cupyx.scipy.special.erf` gives: float64, but for float32."""
    z = np.vectorize(math.erf, otypes=["float64"])(_inside(x))
    return _outside(z.astype("float32") if x.dtype == "float32" else z)


class _Function:
    """A function of NumPy's that takes and gives arrays of the stand-in."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = CUPYS_OWN.get(self.function, self.function) if isinstance(self.function, np.ufunc) else self.function
        return _outside(function(*_inside(args), **_inside(kwargs)))

    def __getattr__(self, name: str) -> Any:
        return _Function(getattr(self.function, name))


def _of(module: types.ModuleType, name: str) -> Any:
    """What the stand-in has under a name of NumPy's: a function, a part such as `linalg`, a type, a number."""
    found = getattr(module, name)
    if isinstance(found, types.ModuleType):
        return _Part(found)
    return _Function(found) if callable(found) and not isinstance(found, type) else found


class _Part:
    """A part of the library."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        return _of(self.module, name)


class _Grid:
    def __getitem__(self, key: Any) -> Any:
        return _outside(np.ogrid[key])


class _Library(types.ModuleType):
    """What `import cupy` gives."""

    ndarray = OnGPU
    ogrid = _Grid()
    cuda = types.SimpleNamespace(
        Device=Device,
        MemoryHook=MemoryHook,
        PinnedMemoryPointer=PinnedMemoryPointer,
        alloc_pinned_memory=bytearray,  # which is not pinned: copies from it are ordinary ones
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=RuntimeError,
            getDeviceCount=lambda: Device.count,
            getDeviceProperties=lambda number: {"name": b"stand-in %d" % number},
            memGetInfo=lambda: (60, 100),
        ),
    )

    def get_array_module(self, *arrays: Any) -> Any:
        return self if any(isinstance(a, OnGPU) for a in arrays) else np

    def get_default_memory_pool(self) -> Pool:
        return Pool()

    def asnumpy(self, array: Any) -> Any:
        return array.view(np.ndarray).copy()

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        return x if isinstance(x, OnGPU) and dtype in (None, x.dtype) else np.array(x, dtype).view(OnGPU)

    def __getattr__(self, name: str) -> Any:
        return _of(np, name)


cupy = _Library("cupy")
