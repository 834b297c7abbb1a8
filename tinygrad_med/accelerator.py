"""What PyTorch has under `torch.accelerator`: the GPU, whoever makes it. Here that is CUDA, or none."""

from __future__ import annotations

from tinygrad_med import backend, cuda


def is_available() -> bool:
    """Whether there is a GPU that can be used."""
    return cuda.is_available()


def current_accelerator(check_available: bool = False) -> backend.Device | None:  # noqa: ARG001 - PyTorch's argument
    """The device `cuda`, or `None` where there is none."""
    return backend.Device("cuda") if cuda.is_available() else None


def device_count() -> int:
    """The number of GPUs."""
    return cuda.device_count()


def current_device_index() -> int:
    """The number of the GPU that `"cuda"` means."""
    return cuda.current_device()


def set_device_index(device: cuda.DeviceLike) -> None:
    """Let `"cuda"` mean this GPU from now on."""
    cuda.set_device(device)


def synchronize(device: cuda.DeviceLike = None) -> None:
    """Wait until a GPU has done all that it was given."""
    cuda.synchronize(device)
