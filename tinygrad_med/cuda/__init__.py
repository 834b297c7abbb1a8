"""What PyTorch has under `torch.cuda`: whether there are GPUs, which, how full they are, the time on them, and graphs.

What asks for a GPU's state begins to use it, as `x.cuda()` does; the first of all calls loads CuPy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tinygrad_med import backend
from tinygrad_med.backend import OutOfMemoryError as OutOfMemoryError
from tinygrad_med.cuda import amp as amp
from tinygrad_med.cuda.graphs import (
    CUDAGraph as CUDAGraph,
    capture as capture,
    graph as graph,
    is_current_stream_capturing as is_current_stream_capturing,
)
from tinygrad_med.random import manual_seed as _manual_seed

DeviceLike = str | int | backend.Device | None
"""A GPU: its number, its name, a device, or `None` for the current one."""


def is_available() -> bool:
    """Whether CuPy, NVIDIA's libraries that it needs, a driver and a card are here."""
    return backend.cuda_problem() is None


def why_not() -> str | None:
    """What is missing for CUDA and what to install; `None` where it works."""
    return backend.cuda_problem()


def device_count() -> int:
    """The number of GPUs."""
    return int(backend.require_cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


# Which ----------------------------------------------------------------------------------------------------------------


def current_device() -> int:
    """The number of the GPU that `"cuda"` means."""
    return backend.current_gpu


def set_device(device: DeviceLike) -> None:
    """Let `"cuda"` mean this GPU from now on.

    Raises:
        RuntimeError: where there is no GPU of that number.
    """
    _select(device)


@contextlib.contextmanager
def device(device: DeviceLike) -> Iterator[None]:
    """Within the block `"cuda"` means this GPU."""
    before = backend.current_gpu
    _select(device)
    try:
        yield
    finally:
        backend.current_gpu = before


def _number(device: DeviceLike) -> int:
    if isinstance(device, int):
        return backend.Device("cuda", device).index or 0
    found = backend.Device("cuda" if device is None else device)
    if found.index is None:
        raise ValueError(f"cuda: {device} is no GPU; give 'cuda', 'cuda:<number>' or the number")
    return found.index


def _select(device: DeviceLike) -> None:
    number = _number(device)
    _cupy_at(number)
    backend.current_gpu = number


def _cupy_at(device: DeviceLike) -> Any:
    """CuPy, which from now on computes on this GPU."""
    return backend.module_of(f"cuda:{_number(device)}")


def get_device_name(device: DeviceLike = None) -> str:
    """What the maker calls a GPU."""
    name = _cupy_at(device).cuda.runtime.getDeviceProperties(_number(device))["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


# Waiting, and the time ------------------------------------------------------------------------------------------------


def synchronize(device: DeviceLike = None) -> None:
    """Wait until a GPU has done what was asked of it.

    Raises:
        IndexError: where an operation on a GPU was given an index that is out of range.
    """
    if backend.cuda_in_use:
        backend.refuse_captured("the GPU is waited for", "call synchronize() after a replay")
        _cupy_at(device).cuda.Device(_number(device)).synchronize()
        backend.raise_noted()


class Event:
    """A mark in the work of a GPU, to measure time with: record two, `synchronize()`, and ask for the time between.

    Args:
        enable_timing: whether `elapsed_time` will be asked for.
    """

    def __init__(self, enable_timing: bool = False) -> None:
        cuda = backend.module_of("cuda").cuda
        self._event = cuda.Event(disable_timing=not enable_timing)
        self._elapsed = cuda.get_elapsed_time

    def record(self) -> None:
        """Set the mark behind all work that was asked for so far."""
        self._event.record()

    def query(self) -> bool:
        """Whether the GPU has come to the mark."""
        return bool(self._event.done)

    def synchronize(self) -> None:
        """Wait until the GPU has come to the mark."""
        self._event.synchronize()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this mark to `end`; both must have been passed."""
        return float(self._elapsed(self._event, end._event))


# Memory ---------------------------------------------------------------------------------------------------------------


def memory_allocated(device: DeviceLike = None) -> int:
    """Bytes that tensors, and whatever else CuPy holds, take on a GPU now."""
    return int(_pool(device).used_bytes()) if backend.cuda_in_use else 0


def memory_reserved(device: DeviceLike = None) -> int:
    """Bytes that CuPy has taken from a GPU, used or kept for later."""
    return int(_pool(device).total_bytes()) if backend.cuda_in_use else 0


_peaks: dict[int, list[int]] = {}
"""Per GPU the bytes that tensors take now, and the most they took since the counting began."""


def reset_peak_memory_stats(device: DeviceLike = None) -> None:
    """Begin to count for `max_memory_allocated`, or begin anew; CuPy then calls Python for every piece of memory."""
    cupy = _cupy_at(device)
    peaks = _peaks  # CuPy still frees memory when Python, ending, has taken this module's names away
    if not _peaks:

        class Counter(cupy.cuda.MemoryHook):  # type: ignore[misc, name-defined]
            name = "peak memory"

            def malloc_postprocess(self, *, device_id: int, mem_size: int, **_: Any) -> None:
                if device_id in peaks:
                    now, most = peaks[device_id]
                    peaks[device_id] = [now + mem_size, max(most, now + mem_size)]

            def free_postprocess(self, *, device_id: int, mem_size: int, **_: Any) -> None:
                if device_id in peaks:
                    peaks[device_id][0] -= mem_size

        Counter().__enter__()  # for good
    now = memory_allocated(device)
    _peaks[_number(device)] = [now, now]


def max_memory_allocated(device: DeviceLike = None) -> int:
    """The most bytes that tensors took on a GPU since `reset_peak_memory_stats()`, in the thread that called it.

    Raises:
        RuntimeError: where that was never called; nothing is counted before.
    """
    number = _number(device)
    if number not in _peaks:
        raise RuntimeError("max_memory_allocated: nothing is counted yet; call reset_peak_memory_stats() at the start")
    return _peaks[number][1]


def empty_cache() -> None:
    """Give memory that CuPy keeps for later back to the GPU."""
    if backend.cuda_in_use:
        _pool(None).free_all_blocks()


def mem_get_info(device: DeviceLike = None) -> tuple[int, int]:
    """Bytes of a GPU that are free, and all it has."""
    free, total = _cupy_at(device).cuda.runtime.memGetInfo()
    return int(free), int(total)


def _pool(device: DeviceLike) -> Any:
    return _cupy_at(device).get_default_memory_pool()


# Random numbers -------------------------------------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """As `tinygrad_med.manual_seed`: the one stream of random numbers serves all devices."""
    _manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """As `manual_seed`: the one stream of random numbers serves all devices."""
    _manual_seed(seed)
