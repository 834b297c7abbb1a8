"""The array libraries and the devices they compute on.

This is the only part that knows NumPy from CuPy. Everything outside it receives the array library of its operands as
`xp` (`array_module`) and never asks which one it got. CuPy is imported when the first array moves to a GPU, so that
nobody pays for it, or needs it, on a CPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy

Array = Any
"""A `numpy.ndarray`, a NumPy scalar (the 0-d results of NumPy) or a `cupy.ndarray`."""

_cupy: ModuleType | None = None
cuda_in_use = False
"""Whether an array has moved to a GPU; as long as not, every array is NumPy's."""
current_gpu = 0
"""The number of the GPU that `"cuda"` means; `cuda.set_device` changes it."""
tf32 = os.environ.get("CUPY_TF32", "0") not in ("", "0")
"""Whether a GPU's products may round float32 operands to 10 bits; CuPy's own variable says so at first."""


DLPACK_CPU, DLPACK_CUDA, DLPACK_PINNED = 1, 2, 3
"""The DLPack protocol's numbers for kinds of devices; pinned memory is the CPU's."""


before_reading: Callable[[], None] | None = None
"""What raises the mistakes that a GPU has noted (gpu/faults.py), as long as it was never asked to, `None`."""


class _Captured(threading.local):
    graph: Any = None


captured = _Captured()
"""By thread the CUDA graph that is captured now: a GPU's work is put into it instead of being done (cuda/graphs.py)."""


def refuse_captured(what: str, instead: str) -> None:
    """Raise an error where a CUDA graph is captured, for what happens once now, and not in the graph's replays."""
    if captured.graph is not None:
        raise RuntimeError(f"CUDA graph: {what} while it is captured, which its replays would not repeat; {instead}")


class DeviceError(RuntimeError):
    """An operation's operands are on several devices."""


class OutOfMemoryError(RuntimeError):
    """A GPU has too little memory for what was asked of it."""


class Device:
    """Where an array lives: the CPU, or one of the GPUs.

    Args:
        name: `"cpu"`, `"cuda"` or `"cuda:<number>"`, or a device.
        index: the number of the GPU, if the name doesn't have it.

    Attributes:
        type: `"cpu"` or `"cuda"`.
        index: the number of the GPU, `None` for the CPU; by default the current one's.

    A device is equal to its name: `x.device == "cpu"`.
    """

    __slots__ = ("index", "type")

    def __init__(self, name: str | Device = "cpu", index: int | None = None) -> None:
        kind, _, number = str(name).partition(":")
        if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
            raise ValueError(f"device: {name!r} is unknown; give 'cpu', 'cuda' or 'cuda:<number>'")
        self.type = kind
        self.index = int(number or (current_gpu if index is None else index)) if kind == "cuda" else None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device('{self}')"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


CPU = Device("cpu")


def array_module(*arrays: Array) -> ModuleType:
    """The array library that the operands belong to: `numpy`, or `cupy` if any of them is a CuPy array.

    Of several GPUs theirs is made CuPy's current one, so that results, and what is made on the way, lie beside them.
    """
    if _cupy is None:
        return numpy
    for array in arrays:
        if isinstance(array, _cupy.ndarray):
            array.device.use()
            if captured.graph is not None:
                captured.graph.keep(arrays)
            return _cupy
    return numpy


def device_of(array: Array) -> Device:
    """The device that holds `array`."""
    if _cupy is not None and isinstance(array, _cupy.ndarray):
        return Device("cuda", array.device.id)
    return CPU


def same_device(operation: object, arrays: Sequence[Array]) -> None:
    """Raise an error that names both devices unless all arrays of rank > 0 (and all on a GPU) live on one device."""
    if _cupy is None:
        return
    found = {device_of(a): a for a in arrays if isinstance(a, _cupy.ndarray) or getattr(a, "ndim", 0) > 0}
    if len(found) > 1:
        names = " and ".join(sorted(map(str, found)))
        raise DeviceError(f"{operation}: operands are on {names}; move them to one device with .to(...) first")


def refuse_integer_power(x: Array, y: Array) -> None:
    """Refuse negative powers of integers, as NumPy does it on the CPU; CuPy's are 0."""
    if _cupy is None or not (isinstance(x, _cupy.ndarray) or isinstance(y, _cupy.ndarray)):
        return
    if _cupy.result_type(x, y).kind in "iu" and (y < 0 if isinstance(y, int) else bool((y < 0).any())):
        raise ValueError("Integers to negative integer powers are not allowed.")


def to_device(array: Array, device: str | Device) -> Array:
    """`array` on `device`: itself if it is there already, a copy otherwise.

    Raises:
        RuntimeError: for `"cuda"` without CuPy, a driver, a card or one of that number; it says which is wanting.
        OutOfMemoryError: where the GPU has too little memory.
    """
    device = Device(device)
    if device_of(array) == device:
        return array
    cupy = module_of(device)
    if cupy is numpy:
        return to_numpy(array)
    if not isinstance(array, cupy.ndarray):
        refuse_copy_to_gpu()
    try:
        moved = array.copy() if isinstance(array, cupy.ndarray) else cupy.asarray(array)
    except MemoryError as error:
        raise out_of_memory(f"to {device}", error) from error
    if is_pinned(array):
        cupy.cuda.get_current_stream().synchronize()  # else whoever writes the array next may be before the copy
    return moved


def to_numpy(array: Array) -> numpy.ndarray:
    """`array` in the memory of the CPU, without a copy if it is there already."""
    if _cupy is not None and isinstance(array, _cupy.ndarray):
        refuse_reading(array)
        found = _cupy.asnumpy(array)
        raise_noted()
        return found
    return numpy.asarray(array)


def refuse_reading(array: Array) -> None:
    """Raise an error for a GPU's array where a CUDA graph is captured."""
    if captured.graph is not None and device_of(array) != CPU:
        refuse_captured("a GPU's number is read (item, print, if …)", "return the tensor, and read it after a replay")


def refuse_copy_to_gpu() -> None:
    """Raise an error where a CUDA graph is captured."""
    refuse_captured(
        "numbers go from the CPU to the GPU",
        "make the tensor before, and x.copy_(…) new numbers into it before a replay",
    )


def is_pinned(array: Array) -> bool:
    """Whether an array is in page-locked memory of the CPU, that `transfer.pin` made."""
    if _cupy is None or not isinstance(array, numpy.ndarray):
        return False
    return isinstance(memory_owner(array).base, _cupy.cuda.PinnedMemoryPointer)


def raise_noted() -> None:
    """Raise the error for a mistake that a GPU has noted, if any; called where somebody waits for it anyway."""
    if before_reading is not None:
        before_reading()


def as_array(x: object) -> Array:
    """`x` itself if it is an array, else a NumPy array of it."""
    return x if is_array(x) else numpy.asarray(x)


class OfRange(numpy.ndarray):
    """The integers of a range, as NumPy has them: known without being looked at."""

    numbers: range


def of_range(numbers: range) -> Array:
    """The integers of a range, as NumPy has them."""
    found = numpy.arange(numbers.start, numbers.stop, numbers.step).view(OfRange)
    found.numbers = numbers
    return found


def is_array(x: object) -> bool:
    """Whether `x` is an array (or NumPy scalar) of one of the array libraries."""
    return isinstance(x, (numpy.ndarray, numpy.generic)) or (_cupy is not None and isinstance(x, _cupy.ndarray))


def module_of(device: str | Device) -> ModuleType:
    """The array library that computes on `device`; of several GPUs that one is made CuPy's current one."""
    device = Device(device)
    if device.index is None:
        return numpy
    cupy = require_cupy()
    count = cupy.cuda.runtime.getDeviceCount()
    if device.index >= count:
        names = "cuda:0 alone" if count == 1 else f"cuda:0 … cuda:{count - 1}"
        raise RuntimeError(f"cuda: there is no {device}; this machine has {names}")
    cupy.cuda.Device(device.index).use()
    return cupy


def out_of_memory(operation: object, error: MemoryError) -> MemoryError | OutOfMemoryError:
    """The error to raise where memory ran out: of the CPU as it is, of a GPU with what to do."""
    if _cupy is None or not isinstance(error, _cupy.cuda.memory.OutOfMemoryError):
        return error
    return OutOfMemoryError(
        f"{operation}: the GPU's memory is full ({error}); take a smaller batch, compute predictions under no_grad(), "
        "or let go of tensors that are no longer needed and call cuda.empty_cache()"
    )


def indices_for(xp: ModuleType, indices: Array) -> Array:
    """Indices, or a mask, in the array library that is to use them; to a GPU they may come from the CPU."""
    if xp is numpy and device_of(indices) != CPU:
        raise RuntimeError(f"index: the tensor is on cpu, its indices on {device_of(indices)}; use indices.cpu()")
    if captured.graph is not None and device_of(indices) == CPU:
        numbers: Any = getattr(indices, "numbers", None)
        if numbers is None:
            refuse_copy_to_gpu()
        return xp.arange(numbers.start, numbers.stop, numbers.step)
    return xp.asarray(indices)


def from_dlpack(x: Any) -> Array:
    """An array that shares the memory of `x`, which has `__dlpack__`.

    Raises:
        TypeError: where it has not, or is on a device of another kind.
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise TypeError(
            f"from_dlpack: {type(x).__name__} has no __dlpack__; give a tensor or an array, not its capsule"
        )
    kind, number = x.__dlpack_device__()
    if int(kind) == DLPACK_CUDA:
        return module_of(Device("cuda", number)).from_dlpack(x)
    if int(kind) not in (DLPACK_CPU, DLPACK_PINNED):
        raise TypeError(f"from_dlpack: DLPack's device {int(kind)} is neither the CPU (1) nor CUDA (2); move it first")
    try:
        return numpy.from_dlpack(x)
    except RuntimeError as error:  # NumPy's text names the struct of the protocol
        raise TypeError(f"from_dlpack: NumPy can't have its numbers ({getattr(x, 'dtype', error)})") from error


def memory_owner(array: Array) -> Array:
    """The array that owns the memory which `array`, perhaps as a view, looks at."""
    base = getattr(array, "base", None)
    while base is not None and is_array(base):
        array, base = base, base.base
    return array


def address(array: Array) -> int:
    """Where in memory the first element of an array is."""
    return int(array.__array_interface__["data"][0] if isinstance(array, numpy.ndarray) else array.data.ptr)


def cuda_problem() -> str | None:
    """Why there is no CUDA here (no CuPy, no driver or no card) and what to do; `None` where it works."""
    try:
        if not cupy_is_installed():
            return 'CuPy is not installed; pip install "tinygrad_med[cuda13]" (or [cuda12], to match the driver)'
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        return f"CuPy is installed but cannot be imported ({error}); reinstall the one that matches the CUDA driver"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "NoDevice" in str(error):
            return "CuPy and the NVIDIA driver are installed, but there is no CUDA card that they can use"
        return f"CuPy is installed, but no NVIDIA driver answers ({error}); install the driver"
    if not count:
        return "CuPy and the NVIDIA driver are installed, but there is no CUDA card that they can use"
    return _missing_library()


def _missing_library() -> str | None:
    """Which of NVIDIA's libraries CuPy will want at its first kernel and its first product, and not find."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")  # with which CuPy itself looks for them
    except ImportError:
        return None
    try:
        for name in ("nvrtc", "cublas"):
            pathfinder.load_nvidia_dynamic_lib(name)
    except pathfinder.DynamicLibNotFoundError:
        return (
            f"CuPy, the driver and a card are here, but not NVIDIA's library {name}; "
            'pip install "tinygrad_med[cuda13]" (or [cuda12], to match the driver) brings it'
        )
    return None


def require_cupy() -> ModuleType:
    """CuPy, imported at the first call.

    Raises:
        RuntimeError: where CUDA can't be used; the text says why and what to install.
    """
    global _cupy, cuda_in_use
    if _cupy is None:
        problem = cuda_problem()
        if problem is not None:
            raise RuntimeError(f"cuda: {problem}")
        _cupy = importlib.import_module("cupy")
        cuda_in_use = True
        importlib.import_module("tinygrad_med.backend.gpu.compiling").watch()
        if tf32:
            allow_tf32(tf32)
    return _cupy


def allow_tf32(allowed: bool) -> None:
    """Let a GPU's products of float32 matrices, and with them convolutions, use TF32, or forbid it.

    TF32 has float32's range and 10 bits of precision, and is several times faster on cards since 2020. CuPy applies it
    to single products, our kernels to convolutions; stacks of matrices stay in float32.
    """
    global tf32
    tf32 = allowed
    if _cupy is not None:
        products = importlib.import_module("cupy._core._routines_linalg")
        products.set_compute_type("float32", products.COMPUTE_TYPE_TF32 if allowed else products.COMPUTE_TYPE_DEFAULT)


def set_float32_matmul_precision(precision: str) -> None:
    """`"highest"` for products of float32 matrices in float32, `"high"` or `"medium"` to let a GPU use TF32 for them.

    On the CPU they are in float32 in any case.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"set_float32_matmul_precision: give 'highest', 'high' or 'medium', got {precision!r}")
    allow_tf32(precision != "highest")


def get_float32_matmul_precision() -> str:
    """`"high"` where TF32 is allowed, else `"highest"`."""
    return "high" if tf32 else "highest"


def cupy_is_installed() -> bool:
    """Whether there is a CuPy, which may lack a driver and a card."""
    return importlib.util.find_spec("cupy") is not None


def builtin_erf(xp: ModuleType) -> Any:
    """The array library's own error function, `None` for NumPy, which has none."""
    return None if xp is numpy else importlib.import_module("cupyx.scipy.special").erf


def add_at(xp: ModuleType, target: Array, key: Any, values: Array) -> None:
    """target[key] += values, where a place that key names twice receives both."""
    xp.add.at(target, key, values)
