"""What PyTorch has under `torch.cuda`: whether there is a GPU, and how many."""

from __future__ import annotations

from tinygrad_med import backend


def is_available() -> bool:
    """Whether CuPy, a driver and a card are here."""
    return backend.cuda_problem() is None


def why_not() -> str | None:
    """What is missing for CUDA and what to install; `None` where it works."""
    return backend.cuda_problem()


def device_count() -> int:
    """The number of GPUs."""
    return backend.require_cupy().cuda.runtime.getDeviceCount() if is_available() else 0


def synchronize() -> None:
    """Wait until the GPU has done what was asked of it."""
    if backend.cuda_in_use:
        backend.require_cupy().cuda.get_current_stream().synchronize()
