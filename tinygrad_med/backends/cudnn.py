"""NVIDIA's convolutions, which are not used: the switches may be set, and change nothing."""

from __future__ import annotations

enabled, benchmark, deterministic, allow_tf32 = False, False, True, False


def is_available() -> bool:
    """No."""
    return False


def version() -> None:
    """None."""
