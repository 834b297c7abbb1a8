"""PyTorch's `torch.backends`, whose switches tutorials set: they may be set here too, and change nothing.

Without cuDNN there is nothing to choose: what is computed on the CPU is the same each time as it is.
"""

from __future__ import annotations

deterministic, benchmark, enabled, allow_tf32 = True, False, False, False


def is_available() -> bool:
    """No: of none of the libraries."""
    return False


def is_built() -> bool:
    """No: of none of the libraries."""
    return False
