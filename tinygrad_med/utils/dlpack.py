"""PyTorch's `torch.utils.dlpack`: memory shared with other libraries; `numpy.from_dlpack(x)` does without this."""

from __future__ import annotations

from typing import Any

from tinygrad_med.core.tensor import Tensor
from tinygrad_med.creation import from_dlpack as from_dlpack


def to_dlpack(tensor: Tensor) -> Any:
    """A tensor's memory as a capsule, which another library can take once.

    Raises:
        BufferError: for a tensor in a graph; detach it first.
    """
    return tensor.__dlpack__()
